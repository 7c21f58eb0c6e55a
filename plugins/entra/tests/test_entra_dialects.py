"""The same changes, sent in either dialect or in both mixed, make the same user: the one that was sent."""

from __future__ import annotations

from contextlib import suppress

import gateway_entra
import pytest
from gateway_entra import patches
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import ENTERPRISE_URN, USER_URN, InvalidValue

pytestmark = pytest.mark.slow

APPLICATION = "urn:calendly:scim:schemas:2.0:User"

#: What Entra maps, and where it is to be found afterwards: names, or a list and the element with these values.
SINGLE = {
    "title": ("title",),
    "nickName": ("nickName",),
    "displayName": ("displayName",),
    "preferredLanguage": ("preferredLanguage",),
    "externalId": ("externalId",),
    "name.givenName": ("name", "givenName"),
    "name.familyName": ("name", "familyName"),
    "name.formatted": ("name", "formatted"),
    f"{ENTERPRISE_URN}:department": (ENTERPRISE_URN, "department"),
    f"{ENTERPRISE_URN}:employeeNumber": (ENTERPRISE_URN, "employeeNumber"),
    f"{ENTERPRISE_URN}:manager": (ENTERPRISE_URN, "manager", "value"),
    f"{APPLICATION}:group": (APPLICATION, "group"),
}
LISTED = {
    'emails[type eq "work"].value': ("emails", {"type": "work"}, "value"),
    'emails[type eq "home"].value': ("emails", {"type": "home"}, "value"),
    'phoneNumbers[type eq "work"].value': ("phoneNumbers", {"type": "work"}, "value"),
    'phoneNumbers[type eq "mobile"].value': ("phoneNumbers", {"type": "mobile"}, "value"),
    'phoneNumbers[type eq "fax"].value': ("phoneNumbers", {"type": "fax"}, "value"),
    'addresses[type eq "work"].locality': ("addresses", {"type": "work"}, "locality"),
    'addresses[type eq "work"].postalCode': ("addresses", {"type": "work"}, "postalCode"),
    'addresses[type eq "work"].streetAddress': ("addresses", {"type": "work"}, "streetAddress"),
    'roles[primary eq "True"].value': ("roles", {"primary": True}, "value"),
}

words = st.sampled_from(["A", "b", "True", "å é", '"quoted"', "a@b", "urn:x:y", "[1]", "{}"])
cleared = st.sampled_from(["", None])
#: One cycle: what changed of the user, by the path of each mapping. Of `userName` the value is a key of `names`.
changes = st.dictionaries(st.sampled_from([*SINGLE, *LISTED]), words | cleared, min_size=1, max_size=6)
cycles = st.fixed_dictionaries(
    {}, optional={"active": st.booleans(), "userName": st.sampled_from(["own", "soft-deleted"])}
)
histories = st.lists(st.tuples(changes, cycles).map(lambda both: both[0] | both[1]), min_size=1, max_size=5)


def legacy(cycle):
    """An operation for each, capitalised; booleans as text."""
    values = {path: str(value) if isinstance(value, bool) else value for path, value in cycle.items()}
    return [
        {"op": "Add" if number % 2 else "Replace", "path": path, "value": value}
        for number, (path, value) in enumerate(values.items())
    ]


def rfc(cycle):
    """Filtered paths apart, all else in one object."""
    apart = {path: value for path, value in cycle.items() if "[" in path}
    rest = {path: value for path, value in cycle.items() if "[" not in path}
    operations = [{"op": "replace", "path": path, "value": value} for path, value in apart.items()]
    return operations + ([{"op": "replace", "value": rest}] if rest else [])


DIALECTS = {
    "legacy": lambda number: legacy,
    "rfc": lambda number: rfc,
    "mixed": lambda number: (legacy, rfc)[number % 2],
    "mixed the other way": lambda number: (rfc, legacy)[number % 2],
}
NAME = "user1@acme.test"


@given(history=histories)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_dialect_makes_the_same_user_of_the_same_changes(history, deployment):
    outcomes = {name: provision(deployment, history, dialect) for name, dialect in DIALECTS.items()}
    expected = last_values(history)
    for name, outcome in outcomes.items():
        assert (name, outcome) == (name, outcomes["legacy"])
        assert {path: found(outcome, path) for path in expected} == expected


def provision(deployment, history, dialect):
    """Return the user after all cycles, in an organization of its own."""
    entra = deployment.connection("entra")
    uid = entra.user(NAME)["id"]
    names = {"own": NAME, "soft-deleted": "0a21f0f28d2a4f8ebf987363c4aed4ef" + NAME}
    for number, cycle in enumerate(history):
        sent = {path: names[value] if path == "userName" else value for path, value in cycle.items()}
        answer = entra.patch(f"/Users/{uid}", *dialect(number)(sent))
        assert answer.status == 200, answer.text
    document = entra.call("GET", f"/Users/{uid}").json
    assert document["userName"] == NAME
    stored = {key: value for key, value in document.items() if key not in ("id", "meta")}
    # An unordered set (RFC 7643, 2.4).
    return {
        key: sorted(value, key=repr) if isinstance(value, list) else value for key, value in stored.items()
    }


def last_values(history):
    """Return the last value of each path; None where it was empty."""
    values = {path: value or None for cycle in history for path, value in cycle.items() if path != "userName"}
    return values | {path: value for cycle in history for path, value in cycle.items() if path == "active"}


def found(document, path):
    if path in LISTED:
        name, wanted, last = LISTED[path]
        chosen = [entry for entry in document.get(name, ()) if wanted.items() <= entry.items()]
        return chosen[0].get(last) if len(chosen) == 1 else None
    for part in SINGLE.get(path, (path,)):
        document = document.get(part) if isinstance(document, dict) else None
    return document


NAMES = [
    *SINGLE,
    *LISTED,
    "userName",
    "active",
    "emails",
    "roles",
    "manager",
    ENTERPRISE_URN,
    APPLICATION,
    USER_URN,
]
ODD_NAMES = [
    "",
    ".",
    "a.b.c",
    "urn:",
    "urn:a",
    "emails[",
    "emails[]",
    "emails[type eq ].value",
    'x[y eq "\\"].z',
]
names = st.sampled_from([*NAMES, *ODD_NAMES, *map(str.upper, NAMES)]) | st.text(max_size=5)
texts = words | st.sampled_from(["0a" * 16 + "x@y", '{"value": "A"}', '{"value": 7}', "{" * 9]) | st.text()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.just("value"), inner, max_size=3),
    max_leaves=8,
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "replace", "remove"])}, optional={"path": names, "value": values}
)
CURRENT = {"userName": NAME, "emails": [{"value": NAME, "type": "work"}], "roles": [{"value": "A"}]}


@given(sent=st.lists(operations, max_size=4), document=st.dictionaries(names, values, max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_translated_or_refused_and_never_a_crash(sent, document):
    """A crash would be answered 503, and sent again and again."""
    translated = patches.translate_user_patch(sent, CURRENT, APPLICATION)
    translated += patches.translate_group_patch(sent)
    assert all(each["op"] in ("add", "replace", "remove") for each in translated)
    with suppress(InvalidValue):
        assert isinstance(gateway_entra.gateway_map_resource("User", document), dict)


@pytest.mark.parametrize("first", DIALECTS)
def test_members_are_the_same_whichever_dialect_removed_them(deployment, first):
    """All of both forms in one tenant; the members who stay are the ones that were not named."""
    entra = deployment.connection("entra")
    ids = [entra.user(f"user{number}@acme.test")["id"] for number in range(6)]
    group = f"/Groups/{entra.group('Sales', tuple(ids))['id']}"
    removals = {
        legacy: lambda uid: {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": uid}]},
        rfc: lambda uid: {"op": "remove", "path": f'members[value eq "{uid}"]'},
    }
    for number, uid in enumerate(ids[:4]):
        assert entra.patch(group, removals[DIALECTS[first](number)](uid)).status in (200, 204)
    left = [member["value"] for member in entra.call("GET", group).json["members"]]
    assert sorted(left) == sorted(ids[4:])
