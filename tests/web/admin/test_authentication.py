"""Whose token opens what: an operator's everything, an organization's only itself, a connection's nothing here."""

from __future__ import annotations

import pytest

from gateway.testing import Deployment

NOBODY = "01a20cbe-0000-7000-8000-000000000000"


@pytest.fixture
def own(deployment: Deployment, acme) -> str:
    """A token of the organization Acme."""
    return deployment.gateway.store.admin_tokens.add(acme.okta.organization, "Acme's admin")[1]


@pytest.mark.parametrize("path", ["/organizations", "/plugins", f"/organizations/{NOBODY}"])
def test_without_a_good_admin_token_nothing_is_told(deployment: Deployment, acme, path: str) -> None:
    made = deployment.gateway.store.admin_tokens.add(None, "revoked")
    assert deployment.gateway.store.admin_tokens.remove(made[0])
    for header in (
        "",
        "Bearer",
        "Bearer x",
        "Basic eDp5",
        "Bearer é",
        f"Bearer {made[1]}",
        f"Bearer {acme.okta.token}",
    ):
        answer = deployment.call("GET", f"/admin/v1{path}", None, {"Authorization": header} if header else {})
        assert (answer.status, answer.json["code"], answer.json["status"]) == (401, 401, "Unauthorized")
        assert deployment.last_headers["WWW-Authenticate"] == 'Bearer realm="admin"'


def test_an_empty_configured_token_opens_nothing(tmp_path) -> None:
    deployment = Deployment(tmp_path / "other", admin_token="")
    for header in ("Bearer ", "Bearer", ""):
        assert deployment.call("GET", "/admin/v1/plugins", None, {"Authorization": header}).status == 401
    deployment.close()


def test_a_token_of_an_organization_sees_only_that_organization(
    deployment: Deployment, acme, own: str
) -> None:
    listed = deployment.admin("GET", "/organizations", token=own).json
    assert ([item["name"] for item in listed["items"]], listed["next"]) == (["Acme"], None)
    assert (
        deployment.admin("GET", f"/organizations?after={acme.okta.organization.id}", token=own).json["items"]
        == []
    )
    assert deployment.admin("GET", acme.path, token=own).status == 200
    assert deployment.admin("GET", acme.connection, token=own).status == 200
    assert deployment.admin("GET", "/plugins", token=own).status == 200


def test_what_belongs_to_another_is_answered_as_if_it_were_not_there(
    deployment: Deployment, acme, own: str
) -> None:
    other = deployment.connection("okta", deployment.organization("Other"))
    user, group = other.user(), other.group()
    for method, path, body in (
        ("GET", "/organizations/{o}", None),
        ("PATCH", "/organizations/{o}", {"name": "Mine"}),
        ("DELETE", "/organizations/{o}", None),
        ("PUT", "/organizations/{o}/sso", {"metadata_xml": "x"}),
        ("POST", "/organizations/{o}/connections", {"idp": "okta"}),
        ("GET", "/organizations/{o}/users", None),
        ("GET", "/organizations/{o}/users.csv", None),
        ("GET", "/organizations/{o}/events", None),
        ("GET", "/organizations/{o}/activity", None),
        ("GET", "/connections/{c}", None),
        ("DELETE", "/connections/{c}", None),
        ("POST", "/connections/{c}/tokens", {}),
        ("POST", "/connections/{c}/test", None),
        ("GET", "/connections/{c}/group-mapping", None),
    ):
        reported = [
            deployment.admin(method, path.format(o=o, c=c), body, token=own)
            for o, c in ((other.organization.uid, other.uid), (NOBODY, NOBODY))
        ]
        assert [answer.status for answer in reported] == [404, 404], path
        texts = [answer.json["message"].replace(other.organization.uid, NOBODY) for answer in reported]
        assert texts[0].replace(other.uid, NOBODY) == texts[1]
    # Below an organization of one's own, too, the ids of another's do not count.
    for path in (f"/users/{user['id']}", f"/groups/{group['id']}"):
        for method, body in (
            ("GET", None),
            ("PATCH", {"active": False} if "users" in path else {"name": "x"}),
        ):
            assert deployment.admin(method, acme.path + path, body, token=own).status == 404
        assert deployment.admin("DELETE", acme.path + path, token=own).status == 404
    assert deployment.activity(other.organization, outcome="failure") == []
    assert deployment.used(other.organization) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", {"name": "Second"}),
        ("DELETE", "/{o}", None),
        ("PATCH", "/{o}", {"plan": "enterprise"}),
        ("PATCH", "/{o}", {"seats": {"limit": 1000}}),
        ("PATCH", "/{o}", {"billing": {"payment": "card"}}),
    ],
)
def test_what_is_sold_and_who_is_a_customer_is_an_operators(
    deployment: Deployment, acme, own: str, method: str, path: str, body: object
) -> None:
    path = "/organizations" + path.format(o=acme.okta.organization.uid)
    answer = deployment.admin(method, path, body, token=own)
    assert (answer.status, "Only an operator" in answer.json["message"]) == (403, True)
    assert deployment.admin("GET", acme.path).json["plan"] == "enterprise"
    assert deployment.admin("GET", acme.path).json["seats"]["limit"] is None
    assert deployment.admin("PATCH", acme.path, {"name": "Acme 2"}, token=own).json["name"] == "Acme 2"


def test_the_activity_says_who_wrote_and_where_it_was_refused(deployment: Deployment, acme, own: str) -> None:
    deployment.admin("POST", f"{acme.path}/groups", {"name": "Sales"}, token=own, X_Request_Id="r1")
    deployment.admin("POST", f"{acme.path}/groups", {"name": "sales"}, X_Request_Id="r2")
    deployment.admin("POST", f"{acme.path}/groups", {"name": 5}, X_Request_Id="r3")
    reported = deployment.activity(acme.okta.organization)[:3]
    operation = "POST /organizations/{organization}/groups"
    assert [(line.operation, line.principal, line.status, line.request_id) for line in reported] == [
        (operation, "operator", 422, "r3"),
        (operation, "operator", 409, "r2"),
        (operation, "Acme's admin", 201, "r1"),
    ]


def test_when_a_token_was_last_used_is_known_to_the_minute(deployment: Deployment, own: str) -> None:
    assert deployment.gateway.store.admin_tokens.all()[0].last_used is None
    deployment.admin("GET", "/plugins", token=own)
    used = deployment.gateway.store.admin_tokens.all()[0].last_used
    deployment.admin("GET", "/plugins", token=own)
    assert used is not None
    assert deployment.gateway.store.admin_tokens.all()[0].last_used == used
