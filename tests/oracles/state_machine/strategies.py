"""Strategies: the requests that may come, and a few by name that make a useful beginning."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gateway.testing.deployment import USER
from tests.oracles.state_machine.documents import put
from tests.oracles.state_machine.records import (
    ADMIN,
    DEPARTMENT,
    ENTERPRISE,
    EXTENSION,
    GROUP_VALUE,
    Json,
    Op,
)

NAMES = st.sampled_from(
    [
        "ann@acme.test", "ANN@acme.test", "bob@acme.test", "Bob@Acme.test", "éve@acme.test", "E\u0301VE@acme.test",
        "cy@acme.test",
    ]
)  # fmt: skip
LABELS = st.sampled_from([None, "Ann", "emea"])
VALUES = st.sampled_from([None, "emea", "apac", ["emea", "apac"], ["EMEA"]])
ADDRESSES = st.sampled_from(["a@acme.test", "A@acme.test", "b@acme.test"])
TEAMS = st.sampled_from(["Sales", "sales", "Support", "Legal"])
NUMBERS = st.integers(0, 11)
CONNECTIONS = st.integers(0, 1)
SELDOM = st.sampled_from([False, False, False, True])
EMAIL = st.fixed_dictionaries(
    {"value": ADDRESSES, "type": st.sampled_from(["work", "home"])}, optional={"primary": st.just(True)}
)


@st.composite
def bodies(draw: st.DrawFn) -> Json:
    """A user as an identity provider sends it."""
    body: Json = {"schemas": [USER], "userName": draw(NAMES)}
    put(body, "externalId", draw(st.sampled_from([None, "e1", "e2", "e3"])))
    put(body, "active", draw(st.sampled_from([True, None, False])))
    put(body, "displayName", draw(LABELS))
    emails = draw(st.lists(EMAIL, max_size=2, unique_by=lambda entry: (entry["value"], entry["type"])))
    for entry in emails[1:]:
        entry.pop("primary", None)
    put(body, "emails", emails)
    department, value = draw(LABELS), draw(VALUES)
    put(body, ENTERPRISE, department and {"department": department})
    put(body, EXTENSION, value and {"group": value})
    return body


STEPS = st.one_of(
    st.tuples(st.just("active"), st.booleans()),
    st.tuples(st.just("displayName"), LABELS),
    st.tuples(st.just("userName"), NAMES),
    st.tuples(st.just("add email"), EMAIL),
    st.tuples(st.just("remove email"), ADDRESSES),
    st.tuples(st.just("remove emails")),
    st.tuples(st.just("change email"), ADDRESSES),
    st.tuples(st.just(ENTERPRISE), LABELS),
    st.tuples(st.just(EXTENSION), VALUES),
)
MEMBERS = st.lists(NUMBERS, max_size=3, unique=True).map(tuple)
MEMBER_STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "remove", "replace"]), MEMBERS), st.tuples(st.just("name"), TEAMS)
)


def ops(kind: str, by: st.SearchStrategy[int] | None = None, **parts: st.SearchStrategy[Any]) -> Any:
    return st.builds(Op, st.just(kind), by=st.just(ADMIN) if by is None else by, **parts)


BY_HAND = {"display_name": LABELS, "email": st.one_of(st.none(), ADDRESSES), "active": st.booleans()}
USERS = [
    ops("user_create", CONNECTIONS, values=bodies()),
    ops("user_create", CONNECTIONS, values=bodies()),
    ops("user_put", CONNECTIONS, user=NUMBERS, values=bodies()),
    ops("user_patch", CONNECTIONS, user=NUMBERS, values=st.lists(STEPS, min_size=1, max_size=3), stale=SELDOM),
    ops("user_patch", CONNECTIONS, user=NUMBERS, values=st.lists(STEPS, min_size=1, max_size=1)),
    ops("user_delete", CONNECTIONS, user=NUMBERS),
    ops("user_delete", CONNECTIONS, user=NUMBERS),
]  # fmt: skip
GROUPS = [
    ops("group_create", CONNECTIONS, values=TEAMS, members=MEMBERS),
    ops("group_put", CONNECTIONS, group=NUMBERS, values=TEAMS, members=MEMBERS),
    ops("group_patch", CONNECTIONS, group=NUMBERS, values=st.lists(MEMBER_STEPS, min_size=1, max_size=3)),
    ops("group_delete", CONNECTIONS, group=NUMBERS),
]
BY_ADMIN = [
    ops("admin_user_create", values=st.fixed_dictionaries({"user_name": NAMES}, optional=BY_HAND)),
    ops(
        "admin_user_edit",
        user=NUMBERS,
        values=st.fixed_dictionaries({}, optional={"user_name": NAMES, **BY_HAND}).filter(bool),
    ),
    ops("admin_user_edit", user=NUMBERS, values=st.fixed_dictionaries({"active": st.booleans()})),
    ops("admin_user_delete", user=NUMBERS),
    ops("admin_group_create", values=TEAMS),
    ops("admin_group_rename", group=NUMBERS, values=TEAMS),
    ops("admin_group_delete", group=NUMBERS),
    ops("admin_member", group=NUMBERS, user=NUMBERS, values=st.booleans()),
    ops("limit", values=st.sampled_from([None, 0, 1, 2, 3, 4, 5])),
]
PLANS = st.fixed_dictionaries(
    {
        "enabled": st.sampled_from([True, True, False]),
        "attribute": st.sampled_from([GROUP_VALUE, GROUP_VALUE, "displayName", DEPARTMENT]),
        "rules": st.lists(
            st.fixed_dictionaries({"value": st.sampled_from(["emea", "apac", "Ann"]), "group": TEAMS}),
            max_size=3,
            unique_by=lambda rule: (rule["value"], rule["group"].lower()),
        ),
        "apply_to_existing": st.booleans(),
    }
)  # fmt: skip
MAPPING = ops("map_save", CONNECTIONS, values=PLANS)
ANY = st.one_of(*USERS, *GROUPS, *BY_ADMIN, MAPPING)
IN_BULK = st.lists(
    st.tuples(CONNECTIONS, st.one_of(*USERS, *GROUPS), NUMBERS, NUMBERS), min_size=1, max_size=5
)


ANN: Json = {"schemas": [USER], "userName": "ann@acme.test", "active": True, EXTENSION: {"group": "emea"}}
BOB: Json = {"user_name": "bob@acme.test"}
PLAN: Json = {
    "enabled": True,
    "attribute": GROUP_VALUE,
    "rules": [{"value": "emea", "group": "Sales"}],
    "apply_to_existing": True,
}
ANN_COMES, BOB_COMES = Op("user_create", 0, values=ANN), Op("admin_user_create", values=BOB)
MAPPED, LEGAL = Op("map_save", 0, values=PLAN), Op("admin_group_create", values="Legal")
PUSHED, LINKED = Op("group_create", 0, values="Legal"), Op("group_put", 0, values="Legal")
JOINS, GONE = Op("admin_member", values=True), Op("user_delete", 0)
SETTLED = [
    ANN_COMES,
    MAPPED,
    Op("user_create", 1, values={"schemas": [USER], "userName": "éve@acme.test", "externalId": "e1"}),
    BOB_COMES,
    LEGAL,
    Op("admin_member", user=0, values=True),
    Op("group_create", 1, values="Support", members=(0, 1)),
    Op("limit", values=4),
]
