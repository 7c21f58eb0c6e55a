"""Events and positions: the values that the feed and webhooks have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from gateway_client.errors import UnexpectedAnswer

_OF_DEPLOYMENT = frozenset({"Organization", "Webhook"})
_RESOURCES = {"user": "User", "group": "Group", "organization": "Organization", "webhook": "Webhook"}


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change.

    `organization` is the id of the organization, None for events of the deployment itself: `organization.created` and
    `organization.removed`, of which `resource_id` is the organization, and those about webhooks. `id` counts in that
    organization, `number` in the feed of all (None elsewhere). `epoch` is another number after the gateway's database
    was restored from a backup, so `key` names an event for ever: it is the `webhook-id` of a message too, and two
    events with the same key are the same event. `data` is the whole user or group after the change; None where a
    webhook of the format `thin` left it out. `connection` is the id of the connection that made the change, None where
    an admin did.
    """

    organization: str | None
    id: int
    epoch: int
    type: str
    at: datetime
    resource: str
    resource_id: str
    connection: str | None
    data: Mapping[str, Any] | None
    number: int | None = None

    @property
    def key(self) -> str:
        """Return what names this event for ever."""
        return f"evt_{self.organization or 'deployment'}_{self.epoch}_{self.id}"

    @property
    def position(self) -> str:
        """Return the position of a feed right after this event, to be stored with what was done about it.

        Of an event that a webhook brought it is the position in its organization's feed.
        """
        if self.number is not None:
            return str(Position(self.epoch, self.number, None))
        # The events of the deployment have no feed of their own: this is no position of any.
        return str(Position(self.epoch, self.id, self.organization or "deployment"))


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """A user or group in a snapshot: `resource` is `User` or `Group`; `data` of a group has its `members`."""

    organization: str
    resource: str
    data: Mapping[str, Any]


class Position(NamedTuple):
    """A place in the feed of one organization or (None) of all; its text is opaque to applications."""

    epoch: int
    number: int
    organization: str | None

    def __str__(self) -> str:
        place = f"{self.epoch}-{self.number}"
        return place if self.organization is None else f"{place}-{self.organization}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a position. Raises ValueError."""
        epoch, _, rest = text.partition("-")
        number, separator, organization = rest.partition("-")
        if not (epoch.isdecimal() and number.isdecimal() and len(text) <= 400):
            raise ValueError(
                f"{text[:80]!r} is no position of a feed: store what `position` gives, unchanged."
            )
        return cls(int(epoch), int(number), organization if separator else None)


def read_feed_item(item: Any, epoch: int, organization: str | None) -> Event:
    """Make an event of an item of a feed: of that organization, or (None) of the feed of all."""
    try:
        # The feed of all names the organization that an event of the deployment is about; its number is not of it.
        of_deployment = item["resource"] in _OF_DEPLOYMENT
        return Event(
            organization or (None if of_deployment else str(item["organization"])),
            int(item["id"]),
            epoch,
            str(item["type"]),
            datetime.fromisoformat(item["at"]),
            str(item["resource"]),
            str(item["resource_id"]),
            _optional(item["connection"]),
            _object(item["data"]),
            None if organization is not None else int(item["number"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"An item of the feed is no event: {_describe(error)}.") from None


def read_message(text: bytes | str) -> Event:
    """Make an event of the body of a webhook in the formats `standard` and `thin`."""
    try:
        body = json.loads(text)
        kind, data = str(body["type"]), _object(body.get("data"))
        resource = body.get("resource") or _RESOURCES.get(kind.partition(".")[0], "")
        return Event(
            _optional(body.get("organization")),
            int(body["id"]),
            int(body["epoch"]),
            kind,
            datetime.fromisoformat(body["timestamp"]),
            str(resource),
            str(body.get("resource_id") or (data or {}).get("id") or ""),
            _optional(body.get("connection")),
            data,
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnexpectedAnswer(f"The signed body is no event: {_describe(error)}.") from None


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


def _object(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError("`data` is no object")
    return value


def _describe(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)[:200]
