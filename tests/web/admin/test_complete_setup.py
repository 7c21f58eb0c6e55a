"""A whole set-up, from a customer without anything to its people in groups: every call, every key of its answer."""

from __future__ import annotations

from typing import Any

from gateway.testing import Deployment

URN = "urn:calendly:scim:schemas:2.0:User"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


def test_a_customer_is_set_up_provisioned_mapped_and_followed(deployment: Deployment, metadata: str) -> None:
    def call(method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        answer = deployment.admin(method, path, body, **headers)
        assert answer.status == status, answer.text
        return answer.json

    body: dict[str, Any] = {"name": "Acme", "plan": "enterprise", "seats": {"limit": 3}}
    organization = call("POST", "/organizations", body | {"billing": {"payment": "invoice"}}, 201)
    path = f"/organizations/{organization.pop('id')}"
    assert organization.pop("created_at") == organization.pop("updated_at")
    assert organization == {
        "name": "Acme",
        "plan": "enterprise",
        "domains": [],
        "seats": {"limit": 3, "used": 0, "available": 3},
        "billing": {
            "payment": "invoice",
            "contact_url": "https://application.example/contact",
            "billing_url": "https://application.example/billing",
        },
        "sso": None,
        "legal_hold": False,
        "outside_domains": "allow",
    }

    sso = call("PUT", f"{path}/sso", {"metadata_xml": metadata})
    assert sso == {
        "entity_id": "https://idp.acme.test/entity",
        "sign_on_url": "https://idp.acme.test/redirect",
        "certificate_expires_at": "2036-01-01T00:00:00.000Z",
    }
    assert call("GET", path)["sso"] == call("GET", f"{path}/sso") == sso

    made = call("POST", f"{path}/connections", {"idp": "okta", "name": "Okta"}, 201)
    connection = f"/connections/{made['id']}"
    assert made.keys() == {
        "id", "slug", "base_url", "idp", "plugin_missing", "name", "settings", "provisioning", "setup_steps",
        "extension_urn", "brake", "pause", "adoption", "created_at", "updated_at",
    }  # fmt: skip
    assert made["base_url"] == f"http://localhost/scim/v2/{made['slug']}"
    assert (made["idp"], made["name"], made["provisioning"]) == ("okta", "Okta", {"enabled": False})
    assert call("PUT", f"{connection}/provisioning", {"enabled": True}) == {"enabled": True}

    token = call("POST", f"{connection}/tokens", {"label": "Okta", "expires_in_days": 365}, 201)
    assert token.keys() == {"id", "label", "token", "prefix", "expires_at", "created_at", "last_used_at"}
    assert (token["label"], token["last_used_at"]) == ("Okta", None)
    assert token["token"].startswith(token["prefix"])

    for number, group in enumerate(("Sales EMEA", "Legal"), 1):
        user = {"schemas": [USER, URN], "userName": f"user{number}@acme.test", URN: {"group": group}}
        headers = {"Authorization": f"Bearer {token['token']}", "Content-Type": "application/scim+json"}
        name = {"displayName": f"Given{number} Family{number}"}
        assert deployment.call("POST", f"/scim/v2/{made['slug']}/Users", user | name, headers).status == 201

    rules = [{"value": "Sales EMEA", "group": "Sales"}]
    plan = {"enabled": True, "attribute": f"{URN}:group", "rules": rules, "apply_to_existing": True}
    assert call("POST", f"{connection}/group-mapping/preview", plan) == {
        "groups_to_create": ["Sales"],
        "joins": [{"user": "user1@acme.test", "group": "Sales"}],
        "leaves": [],
        "unmapped": [{"value": "Legal", "users": 1}],
        "summary": {"users": 1, "joins": 1, "leaves": 0},
    }
    etag = str(deployment.last_headers["ETag"])
    assert call("PUT", f"{connection}/group-mapping", plan, If_Match=etag) == plan

    users = call("GET", f"{path}/users?limit=100")
    sales = call("GET", f"{path}/groups")["items"][0]
    first = users["items"][0]
    assert first.pop("created_at") <= first.pop("updated_at")
    assert users["next"] is None
    assert first == {
        "id": first["id"],
        "user_name": "user1@acme.test",
        "display_name": "Given1 Family1",
        "active": True,
        "protected": False,
        "managed_by": {"connection": made["id"], "idp": "okta"},
        "idp_group": ["Sales EMEA"],
        "groups": [{"id": sales["id"], "name": "Sales", "sources": ["mapping"]}],
    }

    group = call("POST", f"{path}/groups", {"name": "Support"}, 201)
    assert group.keys() == {"id", "name", "source", "managed_by", "members", "created_at", "updated_at"}
    assert [group[key] for key in ("name", "source", "managed_by", "members")] == [
        "Support",
        "manual",
        None,
        0,
    ]
    manual = call("POST", f"{path}/users", {"user_name": "hand@acme.test"}, 201)
    call("PUT", f"{path}/groups/{group['id']}/members/{manual['id']}", status=204)

    seats = call("GET", f"{path}/seats")
    assert seats.pop("message").startswith("You're over capacity: Acme has 3 seats")
    assert seats == {"limit": 3, "used": 3, "available": 0, "enforced": True}

    events = call("GET", f"{path}/events?after=0&limit=100")
    assert events["next"] == len(events["items"]) == 7
    event = events["items"][0]
    assert event.keys() == {"id", "type", "at", "resource", "resource_id", "connection", "data"}
    assert [event[key] for key in ("id", "type", "resource", "resource_id", "connection")] == [
        1, "user.created", "User", first["id"], made["id"],
    ]  # fmt: skip
    assert (event["data"]["userName"], event["data"]["active"]) == ("user1@acme.test", True)

    headers = {"Authorization": f"Bearer {token['token']}", "Content-Type": "application/scim+json"}
    late = {"schemas": [USER], "userName": "user9@acme.test", "title": "Engineer"}
    assert deployment.call("POST", f"/scim/v2/{made['slug']}/Users", late, headers).status == 403
    lines = call("GET", f"{path}/activity?outcome=failure")
    line = lines["items"][0]
    assert lines["next"] is None
    assert line.keys() == {
        "id", "at", "connection", "operation", "user", "status", "outcome", "detail", "ignored", "decisions",
        "request_id", "target", "by", "changed", "members", "restored", "count", "first_at",
    }  # fmt: skip
    assert (line["operation"], line["user"], line["status"]) == ("POST /Users", "user9@acme.test", 403)
    assert (line["outcome"], line["ignored"], line["connection"]) == ("failure", ["title"], made["id"])
    assert line["detail"].startswith("You're over capacity: ")
    assert {"plugin": "billing", "hook": "check_seats", "verdict": "denied"} in line["decisions"]


def test_only_the_name_of_an_organization_is_needed(deployment: Deployment) -> None:
    made = deployment.admin("POST", "/organizations", {"name": "Acme"}).json
    assert (made["plan"], made["domains"], made["seats"]) == (
        "standard",
        [],
        {"limit": None, "used": 0, "available": None},
    )
    assert made["billing"]["payment"] == "invoice"
