"""Pages of the console where what checks find is mended: warnings and checks of the same name lead to the same one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from gateway.provisioning.caller import console_path


class Page(NamedTuple):
    """A page of the console: its path below that of the organization, with a query or none, and the place on it."""

    path: str
    place: str = ""
    #: Whether it shows one connection.
    of_connection: bool = False

    def locate(self, organization_uid: str, connection_uid: str) -> str:
        """Return the path from the root, with query and fragment."""
        query = ""
        if self.of_connection:
            query = f"{'&' if '?' in self.path else '?'}connection={connection_uid}"
        fragment = f"#{self.place}" if self.place else ""
        return console_path(organization_uid, f"{self.path}{query}{fragment}")


REFUSED_CALLS = Page("activity?outcome=refused", of_connection=True)
NEW_CONNECTION = Page("set-up?connection=new")
PROVISIONING = Page("set-up", "provisioning", of_connection=True)
_ACTIVITY = Page("activity", of_connection=True)
_TEST = Page("set-up", "test", of_connection=True)
_TOKENS = Page("tokens", of_connection=True)
_SAFETY = Page("safety")

#: By the name of the check, where all its findings are mended on one page.
PAGES: Mapping[str, Page] = MappingProxyType({
    "plan": Page("set-up", "plan", of_connection=True),
    "single_sign_on": Page("set-up", "sso", of_connection=True),
    "token": _TOKENS,
    "removals_held": _SAFETY,
    "removals_rejected": _SAFETY,
    "paused": _SAFETY,
    "seats": Page("seats"),
    "adoption": Page("adoption"),
    "adoption_waiting": Page("adoption"),
    "domain": Page("domains"),
    "webhook": Page("webhooks"),
    "no_token": _TOKENS,
    "wrong_token": _TOKENS,
    "foreign_token": _TOKENS,
    "old_token": _TOKENS,
    "base_url": PROVISIONING,
    "unencrypted": PROVISIONING,
    "ignored_attributes": _ACTIVITY,
    "same_refusal": REFUSED_CALLS,
    "map_to_groups": Page("map-to-groups", of_connection=True),
    "waiting_members": Page("groups"),
    "last_call": _TEST,
    "last_success": _TEST,
    "last_partial": _ACTIVITY,
    "last_failure": REFUSED_CALLS,
})  # fmt: skip
