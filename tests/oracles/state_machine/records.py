"""What the model remembers, and a request before it is known whom it meets."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EXTENSION = "urn:calendly:scim:schemas:2.0:User"
GROUP_VALUE, DEPARTMENT = f"{EXTENSION}:group", f"{ENTERPRISE}:department"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
IDPS = ("generic", "okta")
ADMIN = 2
Json = dict[str, Any]


def folded(text: str) -> str:
    """Names as they are compared."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


class Refused(Exception):
    """What a request hears that changes nothing."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class Person:
    """A user: whose it is (a connection's number, None = nobody's), and its document."""

    owner: int | None
    doc: Json
    deleted: bool = False


@dataclass
class Team:
    """A group: who pushes it (None = nobody), and its name."""

    owner: int | None
    name: str


@dataclass
class Rules:
    """Map to groups of one connection."""

    enabled: bool = False
    attribute: str | None = None
    rules: tuple[tuple[str, str], ...] = ()  # value, id of the group


@dataclass(frozen=True)
class Op:
    """A request before it is known whom it will meet: `user`, `group` and the like are numbers to choose by."""

    kind: str
    by: int = ADMIN
    user: int = 0
    group: int = 0
    values: Any = None
    members: tuple[int, ...] = ()
    stale: bool = False

    def __repr__(self) -> str:
        usual = Op(self.kind)
        said = [f"{name}={value!r}" for name, value in vars(self).items() if value != vars(usual)[name]]
        return f"Op({', '.join([repr(self.kind), *(each for each in said if not each.startswith('kind='))])})"


@dataclass
class Heard:
    """What came back. `made` are the groups that came in the feed since the request was sent."""

    status: int
    json: Any = None
    made: list[tuple[str, str]] = field(default_factory=list)

    @property
    def uid(self) -> str:
        return self.json["id"] if isinstance(self.json, dict) and "id" in self.json else "?"
