"""Fills databases: an organization with so many users, each in one large group, some in a small one besides.

One user and the groups are made by requests, like any other. The rest are copies of that user's rows under other
numbers, so no column is known here; tallies, seats and numbers of members are counted up by the store itself. At the
end the gateway is asked whether all is as if each had been created.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from bench.limit import Limit
from bench.operations import LARGE, LEAST, SMALL, Subject, okta_user, uid
from bench.raw import connect, insert, row, settled
from gateway.scim.json_text import fold
from gateway.store.organizations import Reservation
from gateway.testing import Deployment, Scim

#: The number of the user that the others are copies of; no other text in its rows contains it.
_MODEL = 9_999_999
#: A brake that counts each removal and holds none: what is measured pays for it.
NEVER_HELD = "100/9999999/60"
_Copied = Callable[[int], dict[str, Any]]


def fill_gateway(deployment: Deployment, users: int) -> tuple[Subject, Scim]:
    """Fill a new deployment with users and groups, and check the result."""
    if users < LEAST:
        raise SystemExit(f"{users} users are too few: the operations need {LEAST}.")
    scim, store = deployment.connection("okta", brake=True), deployment.gateway.store
    model, copies = scim.call("POST", "/Users", okta_user("u", _MODEL)), users - 1
    assert model.status == 201, model.text
    names = ["Few", *(f"Many {start // LARGE}" for start in range(0, copies, LARGE))]
    pushed = [scim.group(name)["id"] for name in names]
    scim.patch(
        f"/Groups/{pushed[0]}", {"op": "add", "path": "members", "value": [{"value": model.json["id"]}]}
    )
    deployment.gateway.activity_writer.flush()
    organization, connection = scim.organization, scim.connection
    groups = [store.groups.seen(connection, uid) for uid in pushed]
    with connect(deployment.gateway.config.database_url) as raw:
        first = int(row(raw, "users", "id")["id"]) + 1
        _copy(raw, "users", "id", copies, lambda number: {"id": first + number, "uid": uid(number)})
        _copy(raw, "emails", "user_id", copies, lambda number: {"user_id": first + number})
        few, *many = (group.id for group in groups if group)
        _copy(
            raw, "grants", "user_id", SMALL - 1, lambda number: {"user_id": first + number, "group_id": few}
        )
        # These copy the last copy: the model itself stays in the small group alone.
        _copy(
            raw, "grants", "user_id", copies,
            lambda number: {"user_id": first + number, "group_id": many[number // LARGE]},
        )  # fmt: skip
        with store.transaction():
            store.organizations.count(organization.id, "User", connection.id, copies)
            store.organizations.reserve(Reservation(organization.id, organization.policy, copies, 0))
            store.groups.add_members(organization.id, few, SMALL - 1)
            for place, key in enumerate(many):
                store.groups.add_members(organization.id, key, min(LARGE, copies - place * LARGE))
        for table in ("users", "emails", "grants"):
            settled(raw, table)
    subject = Subject(scim.base, scim.token, users, uid, {"small": pushed[0], "large": pushed[1]})
    subject.cursor = _last_page_cursor(scim, users)
    _check(scim, subject)
    deployment.gateway.activity_writer.flush()
    return subject, scim


def fill_limit(url: str, synchronous: str, users: int) -> Subject:
    """Fill the database of the limit with the same users."""

    def rows() -> Iterator[tuple[str, str, str]]:
        for number in range(users):
            document = okta_user("u", number)
            name = fold(document["userName"])
            del document["password"], document["groups"]
            yield uid(number), name, json.dumps(document)

    Limit(url, synchronous).fill(rows())
    with connect(url) as raw:
        settled(raw, "users")
    return Subject("", "", users, uid)


def _copy(raw: Any, table: str, order: str, count: int, changed: _Copied) -> None:
    """Copy the last row, with the number replaced in all its texts, and the id in its document."""
    model, mark = row(raw, table, order), str(_MODEL)
    texts = {name: value for name, value in model.items() if mark in str(value) and not str(value).isdigit()}

    def rows() -> Iterator[list[Any]]:
        for number in range(count):
            digits = f"{number:07d}"
            values = model | {name: value.replace(mark, digits) for name, value in texts.items()}
            new = changed(number)
            if "uid" in new:
                values["doc"] = values["doc"].replace(model["uid"], new["uid"])
            yield list((values | new).values())

    insert(raw, table, list(model), rows())


def _last_page_cursor(scim: Scim, users: int) -> str:
    """Return the cursor of the last full page; the pages before it are larger."""
    cursor, left = "", users - 100
    while left > 0:
        count = min(1000, left)
        answer = scim.call("GET", f"/Users?cursor={cursor}&count={count}&attributes=userName").json
        cursor, left = answer["nextCursor"], left - count
    return str(cursor)


def _check(scim: Scim, subject: Subject) -> None:
    """Compare the answers of the gateway with its stock. Raises SystemExit with a sentence on the first difference."""

    def found(path: str) -> Any:
        answer = scim.call("GET", path)
        return answer.json if answer.status == 200 else {"status": answer.status}

    last, large, search = subject.users - 2, min(LARGE, subject.users - 1), "/Users?filter="
    name = f'"u{last:07d}@acme.test"'
    shown = found(f"/Users/{uid(last)}")
    for words, actual, wanted in (
        ("seats in use", scim.organization.seats_used, subject.users),
        ("users in all", found("/Users?count=1").get("totalResults"), subject.users),
        ("users of that address", found(f"{search}emails.value+eq+{name}").get("totalResults"), 1),
        (
            "users of that name",
            [user["id"] for user in found(search + f"userName+eq+{name}")["Resources"]],
            [uid(last)],
        ),
        ("external id of the last", shown.get("externalId"), f"00uu{last:07d}"),
        (
            "groups of the last",
            [group["display"] for group in shown.get("groups", ())],
            [f"Many {last // LARGE}"],
        ),
        ("groups of the first", len(found(f"/Users/{uid(0)}").get("groups", ())), 2),
        ("members of the small group", len(found(f"/Groups/{subject.groups['small']}")["members"]), SMALL),
        ("members of the large group", len(found(f"/Groups/{subject.groups['large']}")["members"]), large),
        ("users of the last page", len(found(f"/Users?cursor={subject.cursor}&count=100")["Resources"]), 100),
    ):
        if actual != wanted:
            raise SystemExit(
                f"The stock is not what requests would have made: {words} {actual}, not {wanted}."
            )
