"""A check of a connection: how it stands, what was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.provisioning.diagnostics.pages import PAGES, Page

#: `ok`: in order, or a finding without a verdict. `note`: worth knowing. `warn`: something is lost or will end soon.
#: `broken`: the connection cannot work until it is mended.
Level = Literal["ok", "note", "warn", "broken"]
#: Days after which a warning that lasts is recorded again.
WEEKLY, DAILY = 7, 1


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a connection, and its finding in plain words.

    `remedy` says what to do, "" where nothing is to be done. `seen` is the moment of the newest evidence in
    microseconds, None where the finding is how things stand now.
    """

    name: str
    level: Level
    message: str
    remedy: str = ""
    seen: int | None = None
    #: Days after which it is recorded again while it lasts.
    every: int = WEEKLY
    #: Values and names that make the finding plain, for the organization's own admins: no event has them.
    example: str = ""
    #: The page where this finding is looked into, in place of that of `PAGES`.
    other_page: Page | None = None

    @property
    def page(self) -> Page | None:
        """The page of the console where the remedy is done, None where there is none or all is in order."""
        return self.other_page or (None if self.level == "ok" else PAGES.get(self.name))

    @property
    def sentence(self) -> str:
        """The message with its example."""
        return f"{self.message} {self.example}".rstrip()

    @property
    def ok(self) -> bool:
        """Whether the connection can work as far as this check sees."""
        return self.level != "broken"

    @property
    def is_warning(self) -> bool:
        """Whether somebody should do something about it soon."""
        return self.level in ("warn", "broken")

    def describe_remedy(self, public_url: str, organization_uid: str, connection_uid: str) -> str:
        """Return what to do, with the URL of the page where that is done, if there is one and the address is known."""
        path = self.page.locate(organization_uid, connection_uid) if public_url and self.page else ""
        return " ".join(filter(None, (self.remedy, path and f"{public_url}{path}")))


def count(number: int, one: str, many: str) -> str:
    """Return a number with its noun: `1 person`, `1,200 people`."""
    return f"{number:,} {one if number == 1 else many}"
