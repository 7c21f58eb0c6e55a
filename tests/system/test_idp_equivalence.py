"""The same changes of a person, as each identity provider sends them, end in the same user.

The person is created, changes family name and address, gets a title and a department, is deactivated and comes back.
How that is said is each provider's own; what the gateway then shows must not depend on who said it.
"""

from pathlib import Path

import pytest

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
DEPARTMENT = f"{ENTERPRISE}:department"
WORK = 'emails[type eq "work"].value'
NAME, ADDRESS = "user1@acme.test", "new.user1@acme.test"

#: What stands at the end, whichever provider sent it.
KEPT = {
    "schemas": [USER, ENTERPRISE],
    "userName": NAME,
    "displayName": "Given1 New1",
    "name": {"givenName": "Given1", "familyName": "New1"},
    "emails": [{"value": ADDRESS, "type": "work", "primary": True}],
    "externalId": "e1",
    "title": "Guide",
    "active": True,
    ENTERPRISE: {"department": "Tours"},
}


def profile(family="Family1", address=NAME, **more):
    """A whole user, as the providers that put send it."""
    return {
        "schemas": [USER],
        "userName": NAME,
        "displayName": f"Given1 {family}",
        "name": {"givenName": "Given1", "familyName": family},
        "emails": [{"primary": True, "value": address, "type": "work"}],
        "externalId": "e1",
        "active": True,
        **more,
    }


NEW = profile("New1", ADDRESS, title="Guide", **{ENTERPRISE: {"department": "Tours"}})
CHANGED = {"displayName": "Given1 New1", "name.familyName": "New1"}
ADDED = {"title": "Guide", DEPARTMENT: "Tours"}


def put(*bodies):
    return [("PUT", body) for body in bodies]


def patch(*operations):
    schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
    return [("PATCH", {"schemas": schemas, "Operations": list(operations)})]


def one_each(op, values):
    return [{"op": op, "path": path, "value": value} for path, value in values.items()]


def entra(family="Family1", address=NAME):
    """A create as Entra sends it, with the nulls and empty lists of its samples."""
    asked = {"schemas": [USER, ENTERPRISE], "meta": {"resourceType": "User"}, "roles": [], "addresses": None}
    return {**profile(family, address), **asked}


OKTA_CREATE = profile(groups=[], password="1mz050nq")
OKTA = {"extra_attributes": ["title", DEPARTMENT]}
OLD = {"schemas": ["urn:scim:schemas:core:1.0"], "active": "true"}

#: The provider, the settings of its connection, the body of its create, and what follows.
PROVIDERS = {
    "okta, an app of the catalogue": (
        "okta",
        OKTA,
        OKTA_CREATE,
        [
            *put(NEW),
            *patch({"op": "replace", "value": {"active": False}}),
            *patch({"op": "replace", "value": {"active": True}}),
            *put(NEW),
        ],
    ),
    "okta, an app of the wizard": ("okta", OKTA, OKTA_CREATE, put(NEW, {**NEW, "active": False}, NEW)),
    "entra, legacy": (
        "entra",
        {},
        entra(),
        [
            *patch(*one_each("Replace", CHANGED | {WORK: ADDRESS})),
            *patch(*one_each("Add", ADDED)),
            *patch(*one_each("Replace", {"active": "False"})),
            *patch(*one_each("Replace", {"active": "True"})),
        ],
    ),
    "entra, with the flag": (
        "entra",
        {},
        entra(),
        [
            *patch(*one_each("replace", {WORK: ADDRESS}), {"op": "replace", "value": CHANGED}),
            *patch({"op": "add", "value": ADDED}),
            *patch(*one_each("replace", {"active": False})),
            *patch(*one_each("replace", {"active": True})),
        ],
    ),
    "entra, soft-deleted and restored": (
        "entra",
        {},
        entra(),
        [
            *patch(*one_each("Replace", CHANGED | {WORK: ADDRESS} | ADDED)),
            *patch(*one_each("Replace", {"userName": f"{'0a' * 16}{NAME}", "active": "False"})),
            *patch({"op": "replace", "value": {"userName": NAME, "active": True}}),
        ],
    ),
    "onelogin": ("onelogin", {}, profile(), put(NEW, {**NEW, "active": False}, NEW)),
    "onelogin, a template of SCIM 1.1": (
        "onelogin",
        {},
        profile() | OLD,
        put(NEW | OLD, NEW | OLD | {"active": "false"}, NEW | OLD),
    ),
    "jumpcloud": ("jumpcloud", {}, profile(), put(NEW, {**NEW, "active": False}, NEW)),
    "an identity provider that follows the RFC": (
        "generic",
        {},
        profile(),
        [
            *patch(*one_each("replace", CHANGED | {WORK: ADDRESS}), *one_each("add", ADDED)),
            *patch(*one_each("replace", {"active": False})),
            *patch(*one_each("replace", {"active": True})),
        ],
    ),
}


@pytest.mark.parametrize(("idp", "settings", "create", "steps"), PROVIDERS.values(), ids=PROVIDERS)
def test_the_same_changes_end_in_the_same_user_by_every_idp(deployment, idp, settings, create, steps):
    client = deployment.connection(idp, settings=settings)
    created = client.call("POST", "/Users", create)
    assert created.status == 201, created.text
    path = f"/Users/{created.json['id']}"
    statuses, seats = [], []
    for method, body in steps:
        statuses.append(client.call(method, path, body).status)
        seats.append(deployment.used(client.organization))
    assert set(statuses) == {200}
    # Deactivated once, in between, and back at the end.
    assert (seats.count(0), seats[-1]) == (1, 1)
    shown = client.call("GET", path).json
    assert {name: value for name, value in shown.items() if name not in ("id", "meta")} == KEPT
    kinds = [kind for kind, _ in deployment.events(client.organization) if kind != "user.updated"]
    assert kinds == ["user.created", "user.deactivated", "user.reactivated"]


def test_every_identity_provider_of_this_repository_tells_the_story(deployment):
    """A new one is compared as well."""
    here = {path.name for path in (Path(__file__).parents[2] / "plugins").iterdir()}
    providers = {plugin.name for plugin in deployment.gateway.plugins.declared.plugins() if plugin.idp}
    assert here & providers <= {idp for idp, *_ in PROVIDERS.values()}
