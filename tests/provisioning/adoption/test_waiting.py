"""A user whom nobody manages, and a connection that may not adopt it by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from gateway.simulation.api import Answer
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP, PATCH, USER
from tests.support.admin import AdminClient

NAME = "user1@acme.test"
Together = Callable[[Deployment, Sequence[Callable[[], Any]]], list[Any]]


@pytest.fixture(name="deployment")
def _deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


class Acme(AdminClient):
    """An organization with a person of before, who is in a group, and a connection that has to ask."""

    def __init__(self, deployment: Deployment, idp: str, adoption: str = "ask", email: str = NAME) -> None:
        self.organization = deployment.organization("Acme")
        super().__init__(deployment, self.organization.uid)
        self.scim: Scim = deployment.connection(idp, self.organization)
        person = {"user_name": NAME, "display_name": "User One"} | ({"email": email} if email else {})
        self.uid = self.post(f"{self.path}/users", person)["id"]
        self.group = self.post(f"{self.path}/groups", {"name": "Sales"})["id"]
        self.call("PUT", f"{self.path}/groups/{self.group}/members/{self.uid}", None, 204)
        self.set_adoption(adoption)

    @property
    def connection(self) -> str:
        return f"/connections/{self.scim.uid}"

    def set_adoption(self, mode: str) -> None:
        shown = self.call("PATCH", self.connection, {"adoption": mode}, 200, If_Match="*")
        assert shown["adoption"] == mode

    def rows(self) -> dict[str, Any]:
        """All rows of the account."""
        read, uid = self.deployment.gateway.store.database.all, self.uid
        (key,) = read("SELECT id FROM users WHERE uid = ?", uid)[0]
        return {
            "user": read("SELECT * FROM users WHERE id = ?", key),
            "emails": read("SELECT * FROM emails WHERE user_id = ? ORDER BY value_key", key),
            "grants": read("SELECT * FROM grants WHERE user_id = ? ORDER BY group_id, source", key),
        }

    def adoptions(self) -> list[Any]:
        return list(self.get(f"{self.connection}/adoptions")["items"])

    def decide(self, decision: str) -> Any:
        (asked,) = self.adoptions()
        return self.post(f"{self.connection}/adoptions/{asked['id']}", {"decision": decision}, 200)

    def verify_domain(self, name: str = "acme.test") -> None:
        """Store a verified domain, as if its DNS record had been found, and as if no other test had verified it."""
        database = self.deployment.gateway.store.database
        database.run("DELETE FROM domains WHERE name = ?", name)
        database.run(
            "INSERT INTO domains (organization_id, name, state, token, verified_by, verified, checked, created)"
            " VALUES (?, ?, 'verified', 't', 'dns', 1, 1, 1)",
            self.organization.id,
            name,
        )

    def event_types(self) -> list[str]:
        return [kind for kind, _ in self.deployment.events(self.organization)]

    def deactivate(self) -> Answer:
        return self.scim.patch(f"/Users/{self.uid}", {"op": "replace", "path": "active", "value": False})


def _document(**other: Any) -> dict[str, Any]:
    return {"schemas": [USER], "userName": NAME, "displayName": "Another", "active": True} | other


def _operations(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


def _conversations(acme: Acme) -> list[tuple[str, str, Any]]:
    """20 requests that would change the account if it were the connection's."""
    user, group, uid = f"/Users/{acme.uid}", f"/Groups/{acme.group}", acme.uid
    member, entra = [{"value": uid}], acme.scim.connection.idp == "entra"
    bulk = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [{"method": "PUT", "path": user, "data": _document()}],
    }
    return [
        ("PUT", user, _document()),
        ("PUT", user, _document(active=False)),
        ("PUT", user, _document(userName="user2@acme.test")),
        ("PUT", user, _document(emails=[{"value": "user2@acme.test", "primary": True}])),
        ("PUT", user, _document(externalId="00u1")),
        ("PATCH", user, _operations({"op": "replace", "path": "active", "value": False})),
        (
            "PATCH",
            user,
            _operations({"op": "Replace", "path": "active", "value": "False" if entra else False}),
        ),
        ("PATCH", user, _operations({"op": "replace", "value": {"active": False}})),
        ("PATCH", user, _operations({"op": "replace", "path": "userName", "value": "user3@acme.test"})),
        ("PATCH", user, _operations({"op": "add", "path": "externalId", "value": "00u1"})),
        ("PATCH", user, _operations({"op": "replace", "path": "displayName", "value": "User One"})),
        ("PATCH", user, _operations({"op": "add", "path": "name.givenName", "value": "Other"})),
        ("DELETE", user, None),
        ("POST", "/Users", _document()),
        ("POST", "/Groups", {"schemas": [GROUP], "displayName": "Pushed", "members": member}),
        ("PATCH", group, _operations({"op": "remove", "path": f'members[value eq "{uid}"]'})),
        ("PATCH", group, _operations({"op": "replace", "path": "members", "value": []})),
        ("PUT", group, {"schemas": [GROUP], "displayName": "Sales", "members": []}),
        ("PUT", group, {"schemas": [GROUP], "displayName": "Sales", "members": member}),
        ("POST", "/Bulk", bulk),
    ]


@pytest.mark.parametrize("idp", ["generic", "okta", "entra"])
def test_nothing_of_an_account_that_waits_changes(deployment: Deployment, idp: str) -> None:
    acme = Acme(deployment, idp)
    before, status = acme.rows(), 429 if idp == "okta" else 409
    conversations = _conversations(acme)
    assert len(conversations) == 20
    for method, path, body in conversations:
        answer = acme.scim.call(method, path, body)
        assert acme.rows() == before, (method, path, body, answer.text)
        if path.startswith("/Users/"):
            assert answer.status == status, answer.text
    (asked,) = acme.adoptions()
    assert (asked["state"], asked["tries"], asked["user"]["id"]) == ("waiting", 14, acme.uid)
    assert acme.event_types().count("user.adoption_waiting") == 1


def test_the_answer_says_who_must_confirm_where(deployment: Deployment) -> None:
    okta, generic = Acme(deployment, "okta"), Acme(deployment, "generic")
    refused = okta.deactivate()
    assert (refused.status, deployment.last_headers["Retry-After"]) == (429, "900")
    page = f"/console/organizations/{okta.organization.uid}/adoption"
    for part in (NAME, "An admin of Acme must confirm", repr(okta.scim.connection.name), page):
        assert part in refused.json["detail"]
    refused = generic.deactivate()
    assert (refused.status, refused.json["scimType"]) == (409, "uniqueness")
    lines = [
        line for line in deployment.activity(generic.organization) if line.operation.startswith("PATCH /U")
    ]
    assert [line.outcome for line in lines] == ["failure"]
    taken = generic.scim.call("POST", "/Users", _document())
    assert taken.status == 409
    assert "waits until an admin of Acme has confirmed it" in taken.json["detail"]


def test_approved_the_next_write_adopts_with_the_groups_that_waited(deployment: Deployment) -> None:
    acme = Acme(deployment, "generic")
    pushed = acme.scim.group("Pushed", (acme.uid,))
    assert pushed.get("members", []) == []
    assert acme.scim.call("PUT", f"/Users/{acme.uid}", _document()).status == 409
    assert acme.decide("approve")["state"] == "approved"
    assert acme.scim.call("PUT", f"/Users/{acme.uid}", _document()).status == 200
    shown = acme.get(f"{acme.path}/users/{acme.uid}")
    assert (shown["display_name"], shown["managed_by"]["connection"]) == ("Another", acme.scim.uid)
    assert {group["name"] for group in shown["groups"]} == {"Pushed", "Sales"}
    assert sorted(acme.event_types()[-3:]) == ["group.members_changed", "user.adopted", "user.updated"]
    assert acme.adoptions() == []


def test_rejected_the_refusal_says_by_whom_and_when_until_it_is_approved(deployment: Deployment) -> None:
    acme = Acme(deployment, "okta")
    assert acme.deactivate().status == 429
    decided = datetime.fromisoformat(acme.decide("reject")["decided_at"])
    moment = f"{decided.day} {decided:%b %Y, %H:%M} UTC"
    before = acme.rows()
    refused = acme.deactivate()
    assert refused.status == 409
    assert f"rejected on {moment} that the connection" in refused.json["detail"]
    assert "Retry-After" not in deployment.last_headers
    assert acme.rows() == before
    acme.decide("approve")
    assert acme.deactivate().status == 200


def test_verified_adopts_by_a_verified_domain_and_asks_for_the_others(deployment: Deployment) -> None:
    acme = Acme(deployment, "generic", "verified")
    refused = acme.deactivate()
    assert refused.status == 409
    assert "in no verified domain" in refused.json["detail"]
    acme.verify_domain()
    renamed = acme.scim.call("PUT", f"/Users/{acme.uid}", _document(userName="user9@acme.test"))
    assert renamed.status == 409, "an address that changes in the same request proves nothing"
    assert acme.deactivate().status == 200
    assert "user.adopted" in acme.event_types()
    other = Acme(deployment, "generic", "verified", email="user1@other.test")
    other.verify_domain("other.test")
    assert other.deactivate().status == 409
    assert other.adoptions()[0]["risks"] == ["address_differs"]


def test_the_list_says_what_speaks_against_an_account_as_it_is_now(deployment: Deployment) -> None:
    acme = Acme(deployment, "generic", "verified")
    acme.verify_domain("verified.acme.test")
    assert acme.deactivate().status == 409
    assert acme.adoptions()[0]["risks"] == ["domain_not_verified"]
    path, name = f"{acme.path}/users/{acme.uid}", "user1@verified.acme.test"
    acme.call("PATCH", path, {"user_name": name, "email": name, "active": False})
    acme.call("PATCH", path, {"protected": True})
    (asked,) = acme.adoptions()
    assert (asked["risks"], asked["message"]) == (
        ["protected", "inactive"],
        "it is protected, and it is not active",
    )
    acme.call("PATCH", path, {"protected": False})
    assert acme.decide("approve")["risks"] == ["inactive"]


def test_a_preview_comes_in_pages(deployment: Deployment) -> None:
    acme = Acme(deployment, "generic")
    acme.post(f"{acme.path}/users", {"user_name": "user2@acme.test"})
    body: dict[str, Any] = {"match": "userName", "limit": 1, "after": 0}
    first = acme.post(f"{acme.connection}/adoption/preview", body, 200)
    second = acme.post(f"{acme.connection}/adoption/preview", body | {"after": first["next"]}, 200)
    assert [page["items"][0]["user"]["user_name"] for page in (first, second)] == [NAME, "user2@acme.test"]
    assert second["next"] is None
    for wrong in ({"limit": "1"}, {"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": 1.0}):
        acme.post(f"{acme.connection}/adoption/preview", body | wrong, 422)


@pytest.mark.parametrize("address_is", ["email", "userName"])
def test_verified_asks_where_another_user_has_an_address_of_the_account(
    deployment: Deployment, address_is: str
) -> None:
    acme = Acme(deployment, "generic", "verified", email=NAME if address_is == "email" else "")
    acme.verify_domain()
    acme.post(f"{acme.path}/users", {"user_name": "user2@acme.test", "email": NAME})
    refused = acme.deactivate()
    assert refused.status == 409
    assert acme.adoptions()[0]["risks"] == ["two_candidates"]
    preview = acme.post(f"{acme.connection}/adoption/preview", {"match": "userName"}, 200)
    risks = {item["user"]["user_name"]: item["risks"] for item in preview["items"]}
    assert risks == {NAME: ["two_candidates"], "user2@acme.test": ["address_differs", "two_candidates"]}


@pytest.mark.parametrize(
    ("domain", "status"), [("B\u00fccher.test", 200), ("xn--bcher-kva.test", 200), ("bucher.test", 409)]
)
def test_verified_knows_a_domain_by_each_of_its_names(
    deployment: Deployment, domain: str, status: int
) -> None:
    acme = Acme(deployment, "generic", "verified")
    acme.verify_domain("xn--bcher-kva.test")
    name = f"user1@{domain}"
    uid = acme.post(f"{acme.path}/users", {"user_name": name, "email": name})["id"]
    off = {"op": "replace", "path": "active", "value": False}
    assert acme.scim.patch(f"/Users/{uid}", off).status == status


def test_a_rejection_holds_on_a_connection_that_is_made_automatic(deployment: Deployment) -> None:
    acme = Acme(deployment, "generic")
    assert acme.deactivate().status == 409
    acme.decide("reject")
    acme.set_adoption("automatic")
    before = acme.rows()
    refused = acme.deactivate()
    assert refused.status == 409
    assert "rejected on" in refused.json["detail"]
    assert acme.rows() == before
    acme.decide("approve")
    assert acme.deactivate().status == 200


def test_a_protected_user_is_never_adopted(deployment: Deployment) -> None:
    acme = Acme(deployment, "generic", "automatic")
    deployment.gateway.store.database.run("UPDATE users SET protected = 1 WHERE uid = ?", acme.uid)
    before = acme.rows()
    for mode in ("automatic", "ask"):
        acme.set_adoption(mode)
        for answer in (acme.deactivate(), acme.scim.call("DELETE", f"/Users/{acme.uid}")):
            assert answer.status == 403
            assert "is protected in Acme" in answer.json["detail"]
    assert acme.rows() == before
    assert acme.adoptions() == []


def test_an_automatic_connection_adopts_at_once_and_records_no_event_of_its_own(
    deployment: Deployment,
) -> None:
    acme = Acme(deployment, "generic", "automatic")
    assert acme.deactivate().status == 200
    assert [kind for kind in acme.event_types() if "adopt" in kind] == []


def test_eight_writers_make_one_row_and_one_event(deployment: Deployment, together: Together) -> None:
    acme = Acme(deployment, "okta")
    answers = together(deployment, [acme.deactivate] * 8)
    assert {answer.status for answer in answers} == {429}
    (asked,) = acme.adoptions()
    assert asked["tries"] == 8
    assert acme.event_types().count("user.adoption_waiting") == 1
    data = json.loads(
        deployment.gateway.store.database.all(
            "SELECT data FROM events WHERE type = 'user.adoption_waiting' AND organization_id = ?",
            acme.organization.id,
        )[0][0]
    )
    assert (data["id"], data["connection"]) == (acme.uid, acme.scim.uid)


def _member_operation(kind: str, uid: str) -> dict[str, Any]:
    return {
        "remove": {"op": "remove", "path": f'members[value eq "{uid}"]'},
        "clear": {"op": "remove", "path": "members"},
        "replace": {"op": "replace", "path": "members", "value": []},
        "add": {"op": "add", "path": "members", "value": [{"value": uid}]},
    }[kind]


@pytest.mark.parametrize("kind", ["remove", "clear", "replace", "add"])
def test_the_activity_says_which_changes_of_members_an_admin_has_to_confirm(
    deployment: Deployment, kind: str
) -> None:
    acme = Acme(deployment, "entra")
    group = acme.scim.group("Pushed")["id"] if kind == "add" else acme.group
    if kind != "add":
        acme.scim.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": []})
    answer = acme.scim.patch(f"/Groups/{group}", _member_operation(kind, acme.uid))
    assert answer.status in (200, 204)
    line = next(
        each for each in deployment.activity(acme.organization) if each.operation == "PATCH /Groups/{id}"
    )
    assert (line.outcome, str(line.detail).split(" in the group")[0].split(" the group")[0]) == (
        "partial",
        "Members whom no identity provider manages " + ("join" if kind == "add" else "stay"),
    )
    assert "not here" not in line.detail


def test_a_group_of_the_application_that_was_taken_over_is_not_deleted_with_its_people(
    deployment: Deployment,
) -> None:
    acme = Acme(deployment, "generic")
    member = acme.scim.user("user2@acme.test")["id"]
    linked = acme.scim.patch(f"/Groups/{acme.group}", _member_operation("add", member))
    assert linked.status in (200, 204)
    before = acme.rows()
    refused = acme.scim.call("DELETE", f"/Groups/{acme.group}")
    assert refused.status == 409
    assert "Confirm them on the page Adoption" in refused.json["detail"]
    assert acme.rows() == before
    acme.set_adoption("automatic")
    assert acme.deactivate().status == 200
    acme.set_adoption("ask")
    assert acme.scim.call("DELETE", f"/Groups/{acme.group}").status == 204
