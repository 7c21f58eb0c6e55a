"""What is tried with each input, and what must hold.

The rule: nothing but a `Refusal` ever comes out. Beyond that, what was read is held against something that says the
same in another way, so that a wrong answer is found too and not only a crash. A finding is an exception.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.scim.bulk import read_bulk
from gateway.scim.documents import clean
from gateway.scim.errors import InvalidFilter, InvalidPath, Refusal
from gateway.scim.filter_ast import And, Compare, Filter, Not, Or, Present, ValueFilter
from gateway.scim.filters import MAX_LENGTH, parse_filter
from gateway.scim.json_text import dumps, read_json
from gateway.scim.matching import check_filter, matches
from gateway.scim.members import split_members
from gateway.scim.messages import is_descending, read_search
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.paths import PatchPath, parse_path
from gateway.scim.projection import project
from gateway.scim.schemas import (
    BULK_REQUEST_URN,
    ENTERPRISE,
    ENTERPRISE_URN,
    GROUP_URN,
    PATCH_URN,
    SEARCH_URN,
    USER_URN,
    ResourceType,
    application_extension,
    group_type,
    user_type,
)
from gateway.scim.sorting import read_sort

Target = Callable[[bytes], None]

APP_URN = "urn:acme:scim:schemas:2.0:User"
USERS = user_type(ENTERPRISE, application_extension(APP_URN, "Acme"))
GROUPS = group_type()
USER: dict[str, Any] = {
    "schemas": [USER_URN, ENTERPRISE_URN, APP_URN],
    "externalId": "00u1",
    "userName": "user1@acme.test",
    "name": {"givenName": "Given1", "familyName": "Straße"},
    "active": True,
    "emails": [
        {"value": "user1@acme.test", "type": "work", "primary": True},
        {"value": "user1@home.acme.test", "type": "home"},
    ],
    "x509Certificates": [{"value": "TUlJ"}],
    "addresses": [{"type": "work", "locality": "Town"}],
    ENTERPRISE_URN: {"department": "Tours", "manager": {"value": "u2"}},
    APP_URN: {"group": ["Sales", "Support"]},
}
GROUP: dict[str, Any] = {"schemas": [GROUP_URN], "displayName": "Sales"}
META = {
    "resourceType": "User",
    "created": "2026-11-24T08:00:00.000Z",
    "lastModified": "2026-11-24T08:00:00.000Z",
}
SHOWN = USER | {"id": "u1", "meta": META, "groups": [{"value": "g1", "display": "Sales"}]}
_UNTOUCHED = copy.deepcopy([USER, GROUP, SHOWN])

#: The longest sentence of a refusal: it is read by people.
_SENTENCE = 600


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Let refusals pass, if what they say can be sent."""
    try:
        yield
    except Refusal as refusal:
        reported = refusal
    else:
        return
    assert 0 < len(reported.detail) <= _SENTENCE, "A refusal says nothing, or too much."
    reported.as_json()


def as_text(data: bytes) -> str:
    """The text as the web floor decodes it."""
    return data.decode("utf-8", "replace")


def untouched() -> None:
    """Nobody changes what was given to read."""
    assert [USER, GROUP, SHOWN] == _UNTOUCHED, "A document that was only to be read has changed."


# Filters and paths -----------------------------------------------------------------------------------------------


def printed(node: Filter) -> str:
    """A filter in brackets wherever there may be some, by a printer that shares nothing with the reader."""
    if isinstance(node, Compare):
        return f"{node.path} {node.op} {json.dumps(node.value)}"
    if isinstance(node, Present):
        return f"{node.path} pr"
    if isinstance(node, Not):
        return f"not ({printed(node.operand)})"
    if isinstance(node, ValueFilter):
        return f"{node.path}[{printed(node.filter)}]"
    word = " and " if isinstance(node, And) else " or "
    return word.join(f"({printed(operand)})" for operand in node.operands)


def read_again(read: Callable[[str], Any], text: str, same_as: Any) -> None:
    """What was printed is read as it was, unless the printer's brackets made it too long or too deep."""
    try:
        assert read(text) == same_as, f"{text!r} is read as something else."
    except (InvalidFilter, InvalidPath) as refusal:
        if len(text) <= MAX_LENGTH and "brackets are open" not in refusal.detail:
            raise AssertionError(f"{text!r} was printed and cannot be read. {refusal.detail}") from refusal


def filters(folder: Path) -> Target:
    """A filter: read, printed and read again, held against a user, and its opposite too."""

    def target(data: bytes) -> None:
        text = as_text(data)
        with refusals():
            tree = parse_filter(text)
            read_again(parse_filter, printed(tree), tree)
            with refusals():
                check_filter(tree, USERS)
            found = matches(tree, SHOWN, USERS)
            assert matches(Not(tree), SHOWN, USERS) is (not found)
            assert (
                matches(And((tree, tree)), SHOWN, USERS) is found is matches(Or((tree, tree)), SHOWN, USERS)
            )

    return target


def filters_in_sql(folder: Path) -> Target:
    """A filter: what the database finds is what `matches` says of each user and group that is served."""
    from gateway.store.query.query import Query
    from gateway.testing import Deployment

    scim = Deployment(folder / "instance").connection("generic")
    ids = [scim.call("POST", "/Users", _person(number)).json["id"] for number in range(6)]
    for number in range(3):
        scim.group(f"Sales {number}", tuple(ids[: number * 2]))
    kept, connection, search = scim.caller().kept, scim.connection, scim.deployment.gateway.store.search
    served = [
        (kind, scim.call("GET", f"{kind.endpoint}?count=100").json["Resources"])
        for kind in (kept.user, kept.group)
    ]

    def target(data: bytes) -> None:
        text = as_text(data)
        # Locations hold the public URL, which the database does not know.
        if "ref" in text.lower() or "location" in text.lower():
            return
        with refusals():
            tree = parse_filter(text)
            for kind, documents in served:
                with refusals():
                    check_filter(tree, kind)
                    page = search.page(connection, Query((kind,), tree), 1, 100)
                    wanted = [document["id"] for document in documents if matches(tree, document, kind)]
                    found = [record.uid for record in page.records]
                    assert found == wanted, (
                        f"{kind.name}: the database finds {found}, the filter means {wanted}."
                    )

    return target


def _person(number: int) -> dict[str, Any]:
    """A user; each has other attributes."""
    every = [item for item in USER.items() if item[0] not in ("schemas", "userName", "externalId", APP_URN)]
    some = {name: value for place, (name, value) in enumerate(every) if number == 0 or place % number}
    return {"schemas": [USER_URN], "userName": f"user{number}@acme.test", "externalId": f"00u{number}"} | some


def paths(folder: Path) -> Target:
    """A path: read, printed and read again, sorted by, and what is there replaced, added to or removed."""
    changes = {"op": "remove"}, {"op": "replace", "value": "x"}, {"op": "add", "value": {"value": "x"}}

    def target(data: bytes) -> None:
        text = as_text(data)
        with refusals():
            read_sort(text, False, (USERS, GROUPS))
        with refusals():
            path = parse_path(text, USERS.urns)
            read_again(lambda text: parse_path(text, USERS.urns), _printed(path), path)
            patched([{**changes[len(data) % 3], "path": text}], USERS if len(data) % 2 else GROUPS)

    return target


def _printed(path: PatchPath) -> str:
    if not path.name:
        return str(path.urn)
    name = f"{path.urn}:{path.name}" if path.urn else path.name
    chosen = "" if path.filter is None else f"[{printed(path.filter)}]"
    return name + chosen + (f".{path.sub}" if path.sub else "")


# Reading JSON ----------------------------------------------------------------------------------------------------


def canonical(kind: ResourceType, document: Mapping[str, Any]) -> None:
    """A canonical document stays as it is, and nothing of it is ignored."""
    again = clean(kind, document)
    assert again.document == document, "A canonical document changes when it is cleaned."
    assert not again.ignored


def patched(operations: list[dict[str, Any]], *kinds: ResourceType) -> None:
    """Apply operations to a user; or to a group, without what is about members."""
    if USERS in kinds:
        with refusals():
            canonical(USERS, apply(USERS, USER, operations, resource_id="u1").document)
    if GROUPS in kinds:
        with refusals():
            _, others = split_members(operations)
            canonical(GROUPS, apply(GROUPS, GROUP, others, resource_id="g1").document)
    untouched()


def _bulk(body: dict[str, Any]) -> None:
    job = read_bulk(body)
    order, stuck = job.order()
    assert sorted(order + stuck) == list(range(len(job.operations))), "An operation is lost or done twice."
    ids = dict.fromkeys((name for operation in job.operations for name in operation.names), "u1")
    for operation in job.operations:
        assert not operation.resolve(ids).references, "A reference was left."
        with refusals():
            operation.resolve({})
        if operation.method == "PATCH":
            with refusals():
                patched(read_operations(operation.data or {}), USERS, GROUPS)


def _messages(body: dict[str, Any]) -> None:
    """The body as each message; without the right `schemas` no reader would look at the rest."""
    for kind in (USERS, GROUPS):
        with refusals():
            cleaned = clean(kind, {**_rest(body), "schemas": [kind.schema.id]}).document
            canonical(kind, cleaned)
            assert read_json(dumps(cleaned).encode()) == cleaned
    with refusals():
        patched(read_operations({**_rest(body), "schemas": [PATCH_URN]}), USERS, GROUPS)
    with refusals():
        _bulk({**_rest(body), "schemas": [BULK_REQUEST_URN]})
    with refusals():
        search = read_search({**_rest(body), "schemas": [SEARCH_URN]})
        assert search.start >= 1
        assert search.count is None or search.count >= 0
    for kind in (USERS, GROUPS):
        with refusals():
            clean(kind, body)


def _rest(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key.lower() != "schemas"}


def bodies(folder: Path) -> Target:
    """Any bytes as a body: what is read is what the standard library reads, and each message is tried with it."""

    def target(data: bytes) -> None:
        with refusals():
            body = read_json(data)
            assert body == json.loads(data.decode("utf-8-sig")), "The body is read as something else."
            assert read_json(dumps(body).encode()) == body, "What is written is read as something else."
            _messages(body)
            with refusals():
                _bulk(body)

    return target


_SHAPES = (
    *(
        "userName",
        "Operations",
        "name",
        "emails",
        "members",
        "active",
        "displayName",
        "x509Certificates",
        "roles",
    ),
    *(
        "addresses",
        "externalId",
        "id",
        "meta",
        "groups",
        "schemas",
        "value",
        "type",
        "primary",
        "op",
        "path",
        "method",
    ),
    *(
        "bulkId",
        "data",
        "version",
        "$ref",
        "display",
        "givenName",
        "locality",
        "manager",
        "department",
        "group",
    ),
    *("EMAILS", "Value", "unknown", "filter", "count", "startIndex", "sortBy", "cursor", "attributes"),
    *("failOnErrors", USER_URN, ENTERPRISE_URN, APP_URN, f"{ENTERPRISE_URN}:department", "emails.value"),
)
_OPS, _METHODS = ("add", "replace", "remove"), ("POST", "PUT", "PATCH", "DELETE")
_PLACES = ("/Users", "/Groups/1", "/Users/bulkId:a")
_PATHS = (
    *(
        "members",
        "emails",
        'emails[type eq "work"]',
        'emails[type eq "work"].value',
        "emails[not (value pr)]",
        "active",
    ),
    *(
        'members[value eq "u1"]',
        "name.givenName",
        "addresses[type pr].locality",
        "x509Certificates",
        "emails.type",
    ),
    *(
        "emails.primary",
        USER_URN,
        ENTERPRISE_URN,
        f"{APP_URN}:group",
        f"{ENTERPRISE_URN}:manager",
        "id",
        "meta",
    ),
    *(
        f"{ENTERPRISE_URN}:manager.value",
        f"{USER_URN}:emails[primary eq true]",
        "roles",
        "externalId",
        "unknown",
    ),
)
_TEXTS = (
    *(
        "",
        "a",
        "A",
        "work",
        "home",
        "user1@acme.test",
        "bulkId:a",
        "bulkId:",
        "u1",
        "u2",
        "TUlJ",
        "%",
        "İ",
        " ",
    ),
    *("ascending", "Replace", "2026-11-24T08:00:00Z", *_OPS, *_METHODS, *_PLACES, *_PATHS),
)
_OTHERS = (None, True, False, 0, 1, -1, 1.5, 10**20, 1e300, "true", [], {})


class Maker:
    """Makes a JSON value out of bytes, a choice a byte; when they end, so does the value."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def _number(self, below: int) -> int:
        return next(self._data, 0) % below

    def value(self, depth: int) -> Any:
        """Half of all values hold others, down to a depth."""
        form = self._number(8)
        if form < 2 and depth:
            return [self.value(depth - 1) for _ in range(self._number(4))]
        if form < 5 and depth:
            return self.object(depth)
        return _OTHERS[self._number(len(_OTHERS))] if form == 5 else _TEXTS[self._number(len(_TEXTS))]

    def object(self, depth: int) -> dict[str, Any]:
        return {_SHAPES[self._number(len(_SHAPES))]: self.value(depth - 1) for _ in range(self._number(5))}

    def one(self, choices: Sequence[str]) -> str:
        return choices[self._number(len(choices))]

    def operations(self) -> list[dict[str, Any]]:
        return [self._operation() for _ in range(1 + self._number(4))]

    def _operation(self) -> dict[str, Any]:
        if self._number(3):
            return {"op": self.one(_OPS), "path": self.one(_PATHS), "value": self.value(3)}
        return {"op": self.one(_OPS), "value": self.object(4)}

    def jobs(self) -> list[dict[str, Any]]:
        return [self._job() for _ in range(1 + self._number(4))]

    def _job(self) -> dict[str, Any]:
        data = {"Operations": self.operations()} if self._number(2) else self.object(3)
        named = {"method": self.one(_METHODS), "path": self.one(_PLACES), "bulkId": self.one("abcd")}
        return named | {"data": {"schemas": [PATCH_URN]} | data}


def made_bodies(folder: Path) -> Target:
    """Bodies put together from what SCIM knows: users, operations and bulk requests that go deep."""

    def target(data: bytes) -> None:
        maker = Maker(data[1:])
        form = data[0] % 4 if data else 0
        body = maker.object(5)
        if form == 1:
            body["userName"] = body["displayName"] = "user1@acme.test"
        elif form > 1:
            body["Operations"] = maker.operations() if form == 2 else maker.jobs()
        with refusals():
            _messages(read_json(json.dumps(body).encode()))

    return target


# Query parameters ------------------------------------------------------------------------------------------------


def parameters(folder: Path) -> Target:
    """Seven lines: attributes, excludedAttributes, sortBy, sortOrder, cursor, startIndex, count."""
    from gateway.provisioning.cursors import Cursors
    from gateway.store.records import ConnectionRecord
    from gateway.web.scim import endpoints as web

    cursors = Cursors("a key of acme.test")
    connection = ConnectionRecord(**dict.fromkeys(ConnectionRecord._fields, 1))

    def target(data: bytes) -> None:
        lines = [*as_text(data).split("\n"), *[""] * 7]
        wanted, excluded = web._names(lines[0]), web._names(lines[1])
        projected(wanted, excluded)
        with refusals():
            read_sort(lines[2], False, (USERS, GROUPS))
        with refusals():
            is_descending(lines[3])
        with refusals():
            place = cursors.open(connection, lines[0], lines[4])
            assert not (place and len(lines[4]) != 96)
        for line in lines[5:7]:
            with refusals():
                number = web._read_number("count", line, 7)
                assert abs(number) < 10**18
        untouched()

    return target


def projected(wanted: tuple[str, ...], excluded: tuple[str, ...]) -> None:
    """What is shown always is shown, nothing is added, and asking twice changes nothing."""
    part = project(USERS, SHOWN, wanted, excluded)
    assert part["id"] == "u1"
    assert part["schemas"] == SHOWN["schemas"]
    assert part.keys() <= SHOWN.keys()
    assert project(USERS, part, wanted, excluded) == part
    dumps(part)


class Plan(NamedTuple):
    """How a target is run: out of how many executions it takes its share, the longest input in bytes."""

    make: Callable[[Path], Target]
    share: float
    longest: int


TARGETS = {
    "filter": Plan(filters, 0.40, 400),
    "path": Plan(paths, 0.24, 400),
    "json": Plan(bodies, 0.30, 512),
    "made": Plan(made_bodies, 0.02, 256),
    "parameters": Plan(parameters, 0.03, 512),
    "filter_sql": Plan(filters_in_sql, 0.01, 512),
}
