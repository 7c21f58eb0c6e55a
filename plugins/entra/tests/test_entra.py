"""What Entra sends, translated; and all else that an identity provider's plugin promises, its transcripts too."""

from __future__ import annotations

import json
import time

import pytest
from gateway_entra import documents, patches

from gateway import ENTERPRISE_URN, GROUP_URN, USER_URN
from gateway.testing import Document, IdpPromises, Patch

APPLICATION = "urn:calendly:scim:schemas:2.0:User"
ADSCIM = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"
MANAGER = f"{ENTERPRISE_URN}:manager"
WORK = 'emails[type eq "work"].value'
MOBILE = 'phoneNumbers[type eq "mobile"].value'
ROLE = {"primary": False, "type": "WindowsAzureActiveDirectoryRole"}
SOFT_DELETED = "0a21f0f28d2a4f8ebf987363c4aed4efuser1@acme.test"
REMEDY = "Restore the user there before it is provisioned, or delete it for good."

#: A user as it is stored, with something in most lists.
STORED = {
    "schemas": [USER_URN, ENTERPRISE_URN],
    "userName": "user1@acme.test",
    "active": True,
    "emails": [
        {"type": "work", "value": "user1@acme.test", "primary": True},
        {"type": "home", "value": "user1@home.test"},
    ],
    "roles": [{**ROLE, "value": "User"}, {**ROLE, "value": "Admin"}],
    ENTERPRISE_URN: {"manager": {"value": "m1", "$ref": "https://gateway.acme.test/Users/m1"}},
}


def user(**values):
    return {"schemas": [USER_URN], "userName": "user1@acme.test", **values}


def packed(value):
    return {"value": json.dumps({"id": "06b07648", "value": value, "displayName": value})}


def op(kind, path=None, *value):
    operation = {"op": kind} if path is None else {"op": kind, "path": path}
    return {**operation, "value": value[0]} if value else operation


def add(path, value):
    return op("add", path, value)


def replace(path, value):
    return op("replace", path, value)


def remove(path, *value):
    return op("remove", path, *value)


def at_once(kind="replace", **values):
    """An operation without a path, and the same for each name in its value."""
    return op(kind, None, values), [op(kind, path, value) for path, value in values.items()]


DEPARTMENT, ITS_DEPARTMENT = at_once(
    **{"displayName": "A", "name.givenName": "B", f"{ENTERPRISE_URN}:department": "C"}
)

DOCUMENTS = {
    "a canonical user": Document(user(active=True, emails=STORED["emails"])),
    "nulls, meta, no roles": Document(
        user(meta={"resourceType": "User"}, roles=[], title=None, addresses=None, department=None),
        user(meta={"resourceType": "User"}, roles=[]),
    ),
    "active as text": Document(user(active="False"), user(active=False)),
    "active as text in lower case": Document(user(ACTIVE="true"), user(ACTIVE=True)),
    "primary as text": Document(
        user(emails=[{"value": "a@b", "primary": "True"}]), user(emails=[{"value": "a@b", "primary": True}])
    ),
    "text that is no boolean is a title": Document(user(title="True")),
    "a manager as text": Document(
        user(**{ENTERPRISE_URN: {"manager": "m1", "department": "D"}}),
        user(**{ENTERPRISE_URN: {"manager": {"value": "m1"}, "department": "D"}}),
    ),
    "a manager as an object": Document(user(**{ENTERPRISE_URN: {"manager": {"value": "m1"}}})),
    "an empty manager": Document(user(**{ENTERPRISE_URN: {"manager": ""}})),
    "a manager without its URN": Document(
        user(manager="m1", department="D"),
        user(**{ENTERPRISE_URN: {"manager": {"value": "m1"}, "department": "D"}}),
    ),
    "a manager by its URN": Document(
        user(**{MANAGER: {"value": "m1"}}), user(**{ENTERPRISE_URN: {"manager": {"value": "m1"}}})
    ),
    "names that are paths": Document(
        user(**{"name.givenName": "G", "NAME": {"familyName": "F"}, f"{APPLICATION}:group": "S"}),
        user(NAME={"familyName": "F", "givenName": "G"}, **{APPLICATION: {"group": "S"}}),
    ),
    "a path beside what it leads to": Document(user(**{"name.givenName": "G", "name": {"givenName": "H"}})),
    "an extension of nobody": Document(user(**{"urn:acme:2.0:User": {"badge": "7"}})),
    "roles of a create": Document(
        user(roles=[{**ROLE, "displayName": "Admin", "value": "Admin"}]),
        user(roles=[{**ROLE, "display": "Admin", "value": "Admin"}]),
    ),
    "roles in text": Document(
        user(roles=[packed("Admin")]), user(roles=[{**ROLE, "display": "Admin", "value": "Admin"}])
    ),
    "a role that only begins like JSON": Document(user(roles=[{"value": "{Admin}"}, {"value": "{}"}])),
    "a soft-deleted user": Document(user(userName=SOFT_DELETED), refused=REMEDY),
    "a soft-deleted user in capitals": Document(user(userName=SOFT_DELETED.upper()), refused=REMEDY),
    "32 digits and a domain are a name": Document(user(userName=SOFT_DELETED[:32] + "@acme.test")),
    "31 digits are a name": Document(user(userName=SOFT_DELETED[1:])),
    "32 digits are a name": Document(user(userName=SOFT_DELETED[:32])),
    "a group": Document(
        {"schemas": [GROUP_URN, ADSCIM], "displayName": "Sales", "externalId": "e"}, kind="Group"
    ),
}

PATCHES = {
    "plain operations": Patch([replace("title", "Guide"), add("name.givenName", "G"), remove("nickName")]),
    "disabled, legacy": Patch([replace("active", "False")], [replace("active", False)]),
    "disabled by Add": Patch([add("active", "false")], [replace("active", False) | {"op": "add"}]),
    "disabled, RFC": Patch([replace("active", False)]),
    "disabled without a path": Patch([op("replace", None, {"active": "False"})], [replace("active", False)]),
    "a title that reads like a boolean": Patch([replace("title", "True")]),
    "names that are paths": Patch([DEPARTMENT], ITS_DEPARTMENT),
    "an extension as an object": Patch(
        [op("replace", None, {ENTERPRISE_URN: {"manager": "m2", "department": "D"}})],
        [
            replace(MANAGER, {"$ref": None, "value": "m2"}),
            replace(f"{ENTERPRISE_URN}:department", "D"),
        ],
    ),
    "the application's own attribute": Patch(
        [op("add", None, {f"{APPLICATION}:group": "S"})], [add(f"{APPLICATION}:group", "S")]
    ),
    "what belongs to the protocol": Patch(
        [op("replace", None, {"schemas": [USER_URN], "meta": {}, "title": "Guide"})],
        [replace("title", "Guide"), op("replace", None, {"schemas": [USER_URN], "meta": {}})],
    ),
    "the URN of the core schema": Patch([replace(f"{USER_URN}:active", "True")], [replace("active", True)]),
    "an element that is there": Patch([replace(WORK, "new@acme.test")], current=STORED),
    "an element that is there, in other letters": Patch(
        [replace('emails[type eq "WORK"].value', "new@acme.test")], current=STORED
    ),
    "an element that is missing": Patch(
        [replace(WORK, "new@acme.test")], [add("emails", [{"type": "work", "value": "new@acme.test"}])]
    ),
    "an element of another type": Patch(
        [add('emails[type eq "other"].value', "a@b")],
        [add("emails", [{"type": "other", "value": "a@b"}])],
        current=STORED,
    ),
    "several paths fill one element": Patch(
        [
            add('addresses[type eq "work"].locality', "Here"),
            add('addresses[type eq "work"].postalCode', "1000"),
        ],
        [add("addresses", [{"type": "work", "locality": "Here", "postalCode": "1000"}])],
    ),
    "a type before its value": Patch(
        [
            add('phoneNumbers[type eq "work"].type', "work"),
            replace('emails[type eq "home"].primary', "True"),
            replace('phoneNumbers[type eq "work"].value', "+1"),
            replace('emails[type eq "home"].value', "a@b"),
        ],
        [
            add("phoneNumbers", [{"type": "work", "value": "+1"}]),
            add("emails", [{"type": "home", "primary": True, "value": "a@b"}]),
        ],
    ),
    "a role, its value in the middle": Patch(
        [
            add('roles[primary eq "True"].display', "Administrator"),
            add('roles[primary eq "True"].value', "Admin"),
            add('roles[primary eq "True"].type', "Guide"),
        ],
        [
            add(
                "roles",
                [{"primary": True, "display": "Administrator", "value": "Admin", "type": "Guide"}],
            )
        ],
    ),
    "an element of a list without its value, which comes": Patch(
        [add("phoneNumbers", [{"type": "work"}]), add('phoneNumbers[type eq "work"].value', "+1")],
        [add("phoneNumbers", [{"type": "work", "value": "+1"}])],
    ),
    "the manager by a filter": Patch(
        [remove(f'{MANAGER}[value eq "m1"]')], [remove(MANAGER)], current=STORED
    ),
    "the manager by a filter without its URN": Patch(
        [remove('manager[value eq "m1"]')], [remove(MANAGER)], current=STORED
    ),
    "the manager by its id": Patch([remove("manager", "m1")], [remove(MANAGER)], current=STORED),
    "the manager as an element": Patch(
        [remove(MANAGER, [{"value": "m1"}])], [remove(MANAGER)], current=STORED
    ),
    "another manager than the stored one": Patch(
        [remove(MANAGER, "m2"), replace("title", "Guide")], [replace("title", "Guide")], current=STORED
    ),
    "nobody but another manager": Patch(
        [remove('manager[value eq "m2"]')], [op("add", None, {})], current=STORED
    ),
    "removed, and made again": Patch(
        [remove('emails[type eq "work"]'), add(WORK, "new@acme.test")],
        [
            remove('emails[type eq "work"]'),
            add("emails", [{"type": "work", "value": "new@acme.test"}]),
        ],
        current=STORED,
    ),
    "another type, and what has it by now": Patch(
        [replace('emails[type eq "work"].type', "other"), replace('emails[type eq "other"].value', "a@b")],
        current=STORED,
    ),
    "a type removed, and an element made for it": Patch(
        [remove('emails[type eq "work"].type'), add(WORK, "a@b")],
        [remove('emails[type eq "work"].type'), add("emails", [{"type": "work", "value": "a@b"}])],
        current=STORED,
    ),
    "a missing element as an object": Patch(
        [replace('emails[type eq "other"]', [{"value": "a@b", "primary": "False"}])],
        [add("emails", [{"type": "other", "value": "a@b", "primary": False}])],
        current=STORED,
    ),
    "two terms of a filter": Patch(
        [add('emails[type eq "home" and primary eq "true"].value', "a@b")],
        [add("emails", [{"type": "home", "primary": True, "value": "a@b"}])],
        current=STORED,
    ),
    "a filter that Entra does not send": Patch([remove('emails[value co "home"]')], current=STORED),
    "emptied": Patch([replace("title", ""), replace(f"{ENTERPRISE_URN}:department", None)]),
    "an element emptied": Patch([replace(WORK, "")], current=STORED),
    "an element emptied that is missing": Patch([replace(MOBILE, None)], [remove(MOBILE)]),
    "a manager as text": Patch([add(MANAGER, "m2")], [add(MANAGER, {"$ref": None, "value": "m2"})]),
    "a manager in the older form": Patch(
        [add("manager", [{"$ref": "http://127.0.0.1/Users/m2", "value": "m2"}])],
        [add(MANAGER, {"$ref": None, "value": "m2"})],
        current=STORED,
    ),
    "a manager emptied": Patch([replace(MANAGER, "")], current=STORED),
    "a manager removed": Patch([remove(MANAGER)], current=STORED),
    "a manager's id": Patch([replace(f"{MANAGER}.value", "m2")], current=STORED),
    "roles in text": Patch(
        [add("roles", [packed("Test"), packed("User")])],
        [add("roles", [{**ROLE, "display": "Test", "value": "Test"}, {"display": "User", "value": "User"}])],
        current=STORED,
    ),
    "roles replaced by text": Patch(
        [replace("roles", [packed("User")])],
        [replace("roles", [{**ROLE, "display": "User", "value": "User"}])],
        current=STORED,
    ),
    "a single role that is missing": Patch(
        [replace('roles[primary eq "True"].value', "Admin")],
        [add("roles", [{"primary": True, "value": "Admin"}])],
    ),
    "a single role that is there": Patch(
        [replace('roles[primary eq "True"].value', "Admin")],
        [replace("roles[primary eq true].value", "Admin")],
        current=user(roles=[{"primary": True, "value": "User"}]),
    ),
    "roles removed by a list": Patch(
        [remove("roles", [packed("User")])], [remove('roles[value eq "User"]')], current=STORED
    ),
    "e-mails removed by a list, and one made again": Patch(
        [remove("emails", [{"value": "user1@acme.test"}]), add(WORK, "new@acme.test")],
        [
            remove('emails[value eq "user1@acme.test"]'),
            add("emails", [{"type": "work", "value": "new@acme.test"}]),
        ],
        current=STORED,
    ),
    "soft-deleted": Patch(
        [replace("userName", SOFT_DELETED), replace("active", "False")],
        [replace("userName.softDeleted", SOFT_DELETED), replace("active", False)],
    ),
    "soft-deleted without a path": Patch(
        [op("replace", None, {"userName": SOFT_DELETED, "active": False})],
        [replace("userName.softDeleted", SOFT_DELETED), replace("active", False)],
    ),
    "soft-deleted, an address too": Patch(
        [replace(WORK, SOFT_DELETED)], [replace("emails.softDeleted", SOFT_DELETED)], current=STORED
    ),
    "soft-deleted, a name without a domain": Patch(
        [replace("userName", SOFT_DELETED[:32] + "User1")],
        [replace("userName.softDeleted", SOFT_DELETED[:32] + "User1")],
        current=user(userName="user1"),
    ),
    "a name that was stored with such a prefix": Patch(
        [replace("userName", SOFT_DELETED)], current=user(userName=SOFT_DELETED)
    ),
    "renamed": Patch([replace("userName", "user2@acme.test")]),
    "renamed to 32 digits": Patch([replace("userName", SOFT_DELETED[:32])]),
    "members added": Patch([add("members", [{"$ref": None, "value": "u1"}])], kind="Group"),
    "members removed, legacy": Patch(
        [remove("members", [{"$ref": None, "value": "u1"}, {"value": 'u"2'}, {"value": "u1"}])],
        [remove('members[value eq "u1"]'), remove('members[value eq "u\\"2"]')],
        kind="Group",
    ),
    "one member removed, legacy": Patch(
        [remove("members", {"value": "u1"})], [remove('members[value eq "u1"]')], kind="Group"
    ),
    "nobody removed": Patch([remove("members", [])], [add("members", [])], kind="Group"),
    "a member removed, RFC": Patch([remove('members[value eq "u1"]')], kind="Group"),
    "all members removed": Patch([remove("members")], kind="Group"),
    "a group renamed": Patch([replace("displayName", "Sales"), replace("externalId", "e")], kind="Group"),
}


FILTERS = {
    "externalId eq abc": 'externalId eq "abc"',
    "ID EQ 5171a35d82074e068ce2": 'ID EQ "5171a35d82074e068ce2"',
    "externalId eq 4711 or (id eq true)": 'externalId eq "4711" or (id eq "true")',
    'id eq "a" and manager eq "b"': f'id eq "a" and {MANAGER} eq "b"',
    "manager pr": f"{MANAGER} pr",
    'externalId eq "abc"': None,
    f'{MANAGER} eq "b"': None,
    'userName eq "manager eq x"': None,
    "userName eq abc": None,
    "externalId eq": None,
    "": None,
    'externalId eq "': None,
}


class TestEntra(IdpPromises):
    plugin = "entra"
    documents = DOCUMENTS
    patches = PATCHES
    filters = FILTERS


NOT_TRANSLATED = {
    "no boolean": ("User", replace("active", "Perhaps"), "active"),
    "members without an id": ("Group", remove("members", [{"display": "A"}]), "members"),
    "e-mails without a value": ("User", remove("emails", [{"type": "work"}]), "emails"),
    "a value for one that is single": ("User", remove("title", "Guide"), "title"),
    "one name twice": ("User", op("replace", None, {"title": "A", "TITLE": "B"}), "title"),
    "a path that leads nowhere": ("User", replace('emails[type eq "work"', "a@b"), "emails"),
}


def test_what_is_understood_by_nobody_is_refused_and_nothing_is_stored(deployment):
    """The core names it; a 200 would claim that it was done."""
    entra = deployment.connection("entra")
    there = entra.user("user1@acme.test", emails=STORED["emails"])
    group = entra.group("Sales", (there["id"],))
    paths = {"User": f"/Users/{there['id']}", "Group": f"/Groups/{group['id']}"}
    before = {kind: entra.call("GET", path).json for kind, path in paths.items()}
    for name, (kind, operation, word) in NOT_TRANSLATED.items():
        refused = entra.patch(paths[kind], replace("displayName", "Changed"), operation)
        assert (name, refused.status) == (name, 400)
        assert word in refused.json["detail"].lower()
    assert {kind: entra.call("GET", path).json for kind, path in paths.items()} == before


def test_an_ignored_user_name_is_named_in_the_activity_and_makes_no_rename_event(deployment):
    entra = deployment.connection("entra")
    uid = entra.user("user1@acme.test")["id"]
    entra.patch(f"/Users/{uid}", replace("userName", SOFT_DELETED), replace("active", "False"))
    assert "userName.softDeleted" in deployment.activity(entra.organization)[0].ignored
    kind, data = deployment.events(entra.organization)[-1]
    assert (kind, "0a21f0f2" in json.dumps(data)) == ("user.deactivated", False)
    assert deployment.used(entra.organization) == 0


def test_a_large_group_loses_those_who_are_named_and_nobody_else(deployment):
    entra = deployment.connection("entra")
    ids = [entra.user(f"user{number}@acme.test")["id"] for number in range(60)]
    group = entra.group("Sales", tuple(ids))["id"]
    entra.patch(f"/Groups/{group}", remove("members", [{"value": each} for each in ids[:50]]))
    left = entra.call("GET", f"/Groups/{group}").json["members"]
    assert sorted(member["value"] for member in left) == sorted(ids[50:])


def test_all_attributes_are_declared_but_the_one_that_entra_refuses(deployment):
    """`emails.display` makes Entra's "Test schema" fail."""
    declared = {
        idp: names(deployment.connection(idp).call("GET", "/Schemas").json) for idp in ("entra", "generic")
    }
    assert declared["generic"] - declared["entra"] == {f"{USER_URN}:emails.display"}
    assert declared["entra"] <= declared["generic"]


def names(schemas):
    found = set()
    for schema in schemas["Resources"]:
        for attribute in schema["attributes"]:
            found.add(f"{schema['id']}:{attribute['name']}")
            found |= {
                f"{schema['id']}:{attribute['name']}.{sub['name']}"
                for sub in attribute.get("subAttributes", ())
            }
    return found


@pytest.mark.parametrize(
    "names",
    [
        lambda number: f'emails[type eq "t{number}"].value',
        lambda number: f'emails[type eq "t{number}"].type',
        lambda number: f'emails[type eq "t{number}" and primary eq "True"].value',
        lambda number: f"name.n{number}",
        lambda number: f"n{number}",
        lambda number: f"{ENTERPRISE_URN}:n{number}",
    ],
)
@pytest.mark.parametrize("what", ["patch", "document"])
@pytest.mark.slow
def test_the_cost_of_many_names_grows_with_their_number_and_not_faster(what, names):
    def cost(count):
        value = {names(number): "x" for number in range(count)}
        began = time.process_time()
        if what == "patch":
            patches.translate_user_patch([op("add", None, value)], STORED, APPLICATION)
        else:
            documents.translate_user(user(**value))
        return time.process_time() - began

    few, many = (min(cost(count) for _ in range(3)) for count in (250, 4000))
    # 16 times as many; squared it would be 256 times the cost.
    assert many < 64 * few


def test_a_patch_without_any_operation_changes_nothing(deployment):
    """Microsoft's validator sends one; elsewhere it is refused (RFC 7644, 3.5.2)."""
    for idp, status, of_group in (("entra", 200, 204), ("generic", 400, 400)):
        scim = deployment.connection(idp)
        uid = scim.user("user1@acme.test")["id"]
        group = scim.group("Sales", (uid,))["id"]
        before = scim.call("GET", f"/Users/{uid}").json, scim.call("GET", f"/Groups/{group}").json
        events = len(deployment.events(scim.organization))
        assert scim.patch(f"/Users/{uid}").status == status
        assert scim.patch(f"/Groups/{group}").status == of_group
        assert (scim.call("GET", f"/Users/{uid}").json, scim.call("GET", f"/Groups/{group}").json) == before
        assert len(deployment.events(scim.organization)) == events
