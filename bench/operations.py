"""The operations that are measured: requests as identity providers send them, each run made from its number.

Users are numbered from 0; id, name and document follow from the number, so that a million need not be remembered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.testing.deployment import PATCH, USER

PAGE = 100
#: Members that come and go while a group is patched; they are users `SMALL` to `SMALL + MOVING` of the first group.
SMALL, MOVING = 10, 16
#: Members of the large group, and of each further one that holds the rest.
LARGE = 100_000
#: The fewest users that every operation can be measured with.
LEAST = 200
#: The step from one picked user to the next, so that neighbours in time are no neighbours in the tables.
_STRIDE = 7919


class Ask(NamedTuple):
    """One request: the path is below the base URL, the body is JSON or nothing."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""


@dataclass
class Subject:
    """The target of requests: the gateway, the limit or a peer, with its users."""

    base: str
    token: str
    users: int
    uid: Callable[[int], str]
    groups: dict[str, str] = field(default_factory=dict)
    cursor: str = ""
    #: Numbers that no user has yet, and the number of the next run of each operation.
    fresh: itertools.count[int] = field(default_factory=itertools.count)
    turns: dict[str, itertools.count[int]] = field(default_factory=dict)

    def next(self, name: str) -> list[Ask]:
        """Return the requests of the next run of an operation."""
        turn = next(self.turns.setdefault(name, itertools.count()))
        return (OPERATIONS | FOR_PEERS)[name].make(self, turn)


def uid(number: int) -> str:
    """Return the id of a filled-in user: its beginning grows with the number, as that of generated ids does."""
    return f"{number:08x}-0000-7000-8000-{number:012x}"


def okta_user(prefix: str, number: int, **others: Any) -> dict[str, Any]:
    """Return the body of a create as Okta sends it; the number always has seven digits."""
    digits = f"{number:07d}"
    name = f"{prefix}{digits}@acme.test"
    return {
        "schemas": [USER],
        "userName": name,
        "name": {"givenName": f"Given{digits}", "familyName": f"Family{digits}"},
        "emails": [{"primary": True, "value": name, "type": "work"}],
        "displayName": f"Given{digits} Family{digits}",
        "locale": "en-US",
        "externalId": f"00u{prefix}{digits}",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    } | others


def _body(value: Any) -> bytes:
    return json.dumps(value).encode()


def _pick(subject: Subject, turn: int) -> int:
    return turn * _STRIDE % (subject.users - 1)


def _lookup(name: str) -> Ask:
    return Ask("GET", "/Users", f"filter=userName+eq+%22{name}@acme.test%22&startIndex=1&count={PAGE}")


def _read(subject: Subject, turn: int) -> list[Ask]:
    return [Ask("GET", f"/Users/{subject.uid(_pick(subject, turn))}")]


def _hit(subject: Subject, turn: int) -> list[Ask]:
    return [_lookup(f"u{_pick(subject, turn):07d}")]


def _miss(subject: Subject, turn: int) -> list[Ask]:
    return [_lookup(f"x{_pick(subject, turn):07d}")]


def list_page(start: int) -> Ask:
    """Return the request for the page of a list that begins at `start`."""
    return Ask("GET", "/Users", f"startIndex={start}&count={PAGE}")


def _any_page(subject: Subject, turn: int) -> list[Ask]:
    """Return the request for a page anywhere in the list, without a bookmark before it."""
    return [list_page(1 + _pick(subject, turn) // PAGE * PAGE)]


def _create(subject: Subject, turn: int) -> list[Ask]:
    return [Ask("POST", "/Users", "", _body(okta_user("n", next(subject.fresh))))]


def _replace(subject: Subject, turn: int) -> list[Ask]:
    number = _pick(subject, turn)
    document = okta_user("u", number, displayName=f"D{turn}")
    return [Ask("PUT", f"/Users/{subject.uid(number)}", "", _body(document))]


def _patch(path: str, operation: dict[str, Any]) -> list[Ask]:
    return [Ask("PATCH", path, "", _body({"schemas": [PATCH], "Operations": [operation]}))]


def _deactivate(subject: Subject, turn: int) -> list[Ask]:
    # Some are deactivated and then reactivated, so that other operations find nearly all users active.
    block, place = divmod(turn, 2 * MOVING)
    number = _pick(subject, block * MOVING + place % MOVING)
    operation = {"op": "replace", "value": {"active": place >= MOVING}}
    return _patch(f"/Users/{subject.uid(number)}", operation)


def _group(subject: Subject, turn: int) -> list[Ask]:
    return [Ask("GET", f"/Groups/{subject.groups['large']}", "excludedAttributes=members")]


def _member(which: str) -> Callable[[Subject, int], list[Ask]]:
    def make(subject: Subject, turn: int) -> list[Ask]:
        moving = subject.uid(SMALL + turn % MOVING)
        if turn // MOVING % 2 == (0 if which == "small" else 1):
            return _add_member(subject, which, moving)
        leaves = {"op": "remove", "path": f'members[value eq "{moving}"]'}
        return _patch(f"/Groups/{subject.groups[which]}", leaves)

    return make


def _add_member(subject: Subject, which: str, member: str) -> list[Ask]:
    joins = {"op": "add", "path": "members", "value": [{"value": member}]}
    return _patch(f"/Groups/{subject.groups[which]}", joins)


def _add_another(subject: Subject, turn: int) -> list[Ask]:
    return _add_member(subject, "small", subject.uid(SMALL + turn % (subject.users - SMALL - 1)))


def _cursor(far: bool) -> Callable[[Subject, int], list[Ask]]:
    return lambda subject, turn: [
        Ask("GET", "/Users", f"cursor={subject.cursor if far else ''}&count={PAGE}")
    ]


def _onboard(subject: Subject, turn: int) -> list[Ask]:
    document = okta_user("n", next(subject.fresh))
    return [_lookup(document["userName"].split("@")[0]), Ask("POST", "/Users", "", _body(document))]


class Operation(NamedTuple):
    """The requests of the n-th run of an operation, and whether the limit supports it too."""

    make: Callable[[Subject, int], list[Ask]]
    of_limit: bool = False


OPERATIONS = {
    "read": Operation(_read, True),
    "lookup": Operation(_hit, True),
    "lookup miss": Operation(_miss, True),
    "list of 100": Operation(lambda subject, turn: [list_page(1)], True),
    "any page": Operation(_any_page),
    "create": Operation(_create, True),
    "onboard": Operation(_onboard, True),
    "replace": Operation(_replace, True),
    "deactivate": Operation(_deactivate),
    "group": Operation(_group),
    "member of 10": Operation(_member("small")),
    "member of many": Operation(_member("large")),
    "first by cursor": Operation(_cursor(False)),
    "last by cursor": Operation(_cursor(True)),
}
ALL_PAGES = "all pages"
#: Operations that most SCIM servers support; the group grows with each run.
FOR_PEERS = {name: OPERATIONS[name] for name in ("read", "lookup", "create", "list of 100", "deactivate")} | {
    "add to a group": Operation(_add_another)
}
