"""Each refusal has an explanation, each request of a watched connection too, and none of them holds a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.provisioning.explanations.masking import MOST_BYTES, dump, mask
from gateway.provisioning.explanations.pending import REFUSALS
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import PATCH, USER

BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
SECRETS = ("s3cret-passw0rd", "MIIDQzCCAqygAwIBAgICEAA")


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


@pytest.fixture
def okta(deployment: Deployment) -> Scim:
    return deployment.connection("okta", deployment.organization(seats=50))


def newest(scim: Scim) -> Any:
    """Return the explanation of the newest line of the activity."""
    organization = scim.organization
    line = scim.deployment.activity(organization)[0]
    answer = scim.deployment.admin("GET", f"/organizations/{organization.uid}/activity/{line.id}/explanation")
    return answer.json if answer.status == 200 else answer


def stored(scim: Scim) -> list[tuple[Any, ...]]:
    """Return all rows of explanations of the organization, as they are stored."""
    scim.deployment.gateway.activity_writer.flush()
    return scim.deployment.gateway.store.database.all(
        "SELECT request, response, steps FROM traces WHERE organization_id = ?", scim.organization.id
    )


def test_a_refusal_is_explained_step_by_step(okta: Scim) -> None:
    okta.user("user1@acme.test")
    body = {"schemas": [USER], "userName": "user1@acme.test", "password": SECRETS[0]}
    refused = okta.call("POST", "/Users", body)
    explanation = newest(okta)
    assert refused.status == explanation["response"]["status"] == explanation["line"]["status"] == 409
    assert explanation["request"]["path"] == "/Users"
    assert explanation["request"]["body"] == body | {"password": "***"}
    assert explanation["request"]["scheme"] == "Bearer"
    steps = [step["step"] for step in explanation["steps"]]
    assert steps[0] == "admission"
    assert steps[-1] == "outcome"
    assert "is taken" in explanation["steps"][-1]["sentence"]
    assert "seats" in steps


def test_a_request_that_is_carried_out_is_explained_only_while_its_connection_is_watched(okta: Scim) -> None:
    admin, path = okta.deployment.admin, f"/connections/{okta.uid}/watch"
    okta.user("user1@acme.test")
    assert newest(okta).status == 404
    assert admin("PUT", path, {"minutes": 60}).status == 200
    user = okta.user("user2@acme.test", groups=[])
    explanation = newest(okta)
    assert explanation["response"]["status"] == 201
    sentences = " ".join(step["sentence"] for step in explanation["steps"])
    assert "Recorded as event 2: user.created." in sentences
    assert all(
        step["ms"] is not None for step in explanation["steps"] if step["step"] in ("admission", "events")
    )
    operation = {"op": "replace", "path": "active", "value": False}
    okta.patch(f"/Users/{user['id']}", operation)
    assert "user.deactivated" in json.dumps(newest(okta)["steps"])
    okta.call("GET", '/Users?filter=userName eq "user2@acme.test"')
    assert "Looked up" in json.dumps(newest(okta)["steps"])
    assert admin("DELETE", path).status == 204
    okta.call("GET", f"/Users/{user['id']}")
    assert newest(okta).status == 404
    assert admin("PUT", path, {"minutes": 241}).status == 422


def test_a_watched_request_stores_what_any_other_stores(
    okta: Scim, deployment: Deployment, audit: Any
) -> None:
    deployment.admin("PUT", f"/connections/{okta.uid}/watch", {})
    user = okta.user("user1@acme.test")
    okta.patch(f"/Users/{user['id']}", {"op": "replace", "path": "displayName", "value": "Another"})
    okta.group("Sales", (user["id"],))
    okta.call("DELETE", f"/Users/{user['id']}")
    restored = okta.user("user1@acme.test")
    assert restored["id"] == user["id"]
    assert "is restored with its id" in json.dumps(newest(okta)["steps"])
    kinds = [kind for kind, _ in deployment.events(okta.organization)]
    assert kinds.count("user.created") == kinds.count("user.updated") == kinds.count("user.restored") == 1
    audit(deployment)


def test_no_secret_is_stored(okta: Scim) -> None:
    okta.deployment.admin("PUT", f"/connections/{okta.uid}/watch", {})
    password, certificate = SECRETS
    user = okta.user("user1@acme.test", password=password, x509Certificates=[{"value": certificate}])
    path = f"/Users/{user['id']}"
    okta.patch(path, {"op": "replace", "path": "password", "value": password})
    okta.patch(
        path, {"op": "replace", "value": {"password": password, "x509Certificates.value": certificate}}
    )
    okta.patch(path, {"op": "add", "path": f"{USER}:x509Certificates", "value": [{"value": certificate}]})
    okta.call("GET", f'/Users?filter=password eq "{password}"')
    okta.call("POST", "/Users/.search", {"filter": f'password eq "{password}"'})
    okta.call("POST", "/Users", f'{{"userName": "broken", "password": "{password}"')
    okta.call("POST", "/Users", {"userName": okta.token, "password": password})
    okta.call("POST", "/Users", {"userName": "user1@acme.test", "password": password}, token="okta_wrong")
    bulk = {"method": "PUT", "path": "/Users/unknown", "data": {"userName": "a", "password": password}}
    okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": [bulk]})
    rows = stored(okta)
    assert len(rows) >= 9
    for secret in (*SECRETS, okta.token):
        assert not [row for row in rows if secret in str(row)]


def test_a_token_in_the_address_of_a_refused_request_is_not_stored(okta: Scim) -> None:
    assert okta.call("GET", f"/Users/{okta.token}").status == 404
    assert okta.call("GET", f"/{okta.token}/Users").status == 404
    lines = okta.deployment.activity(okta.organization)
    assert "GET /***/Users" in {line.operation for line in lines}
    rows = okta.deployment.gateway.store.database.all(
        "SELECT * FROM traces WHERE organization_id = ?", okta.organization.id
    )
    assert len(rows) == 2
    assert not [row for row in (*rows, *lines) if okta.token in str(row)]


def test_a_line_of_a_bulk_request_has_the_explanation_of_its_operation(okta: Scim) -> None:
    operations = [{"method": "DELETE", "path": f"/Users/{name}"} for name in ("one", "two")]
    okta.call("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})
    organization = okta.organization
    paths = [
        okta.deployment.admin("GET", f"/organizations/{organization.uid}/activity/{line.id}/explanation").json
        for line in okta.deployment.activity(organization)
        if line.outcome == "failure"
    ]
    assert [each["request"]["path"] for each in paths] == ["/Users/two", "/Users/one"]


def test_refused_requests_do_not_fill_the_disk(okta: Scim, deployment: Deployment) -> None:
    for number in range(5):
        okta.call("GET", f"/Users/{number}", token=f"okta_wrong{number}")
    assert len(stored(okta)) == 1
    for number in range(REFUSALS + 5):
        okta.call("GET", f"/Users/{number}")
    # A minute may end in between.
    rows = stored(okta)
    assert REFUSALS <= len(rows) - 1 <= REFUSALS + 5
    assert any("are not explained" in steps for _, _, steps in rows) or len(rows) > REFUSALS + 1


def test_old_explanations_are_pruned(okta: Scim, deployment: Deployment) -> None:
    okta.call("GET", "/Users/unknown")
    assert stored(okta)
    store = deployment.gateway.store
    assert store.explanations.prune(0, 100) == 0
    assert store.explanations.prune(1 << 62, 10_000) >= 1
    assert stored(okta) == []


def test_explanations_go_with_the_user(okta: Scim, deployment: Deployment) -> None:
    user = okta.user("user1@acme.test")
    okta.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": "perhaps"})
    okta.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"})
    okta.call("GET", "/Users/unknown")
    assert len(stored(okta)) == 3
    assert (
        deployment.gateway.store.explanations.erase(okta.organization.id, user["id"], ["user1@acme.test"])
        == 2
    )
    assert len(stored(okta)) == 1


def test_another_organization_reads_no_explanation(okta: Scim, deployment: Deployment) -> None:
    okta.call("GET", "/Users/unknown")
    line = deployment.activity(okta.organization)[0]
    other = deployment.organization("Globex")
    for name in (line.id, line.request_id):
        assert (
            deployment.admin("GET", f"/organizations/{other.uid}/activity/{name}/explanation").status == 404
        )
        own = f"/organizations/{okta.organization.uid}/activity/{name}/explanation"
        assert deployment.admin("GET", own).status == 200


@pytest.mark.parametrize(
    "value", [{"body": "x" * 100_000}, {"body": [{"value": str(n)} for n in range(10_000)]},
              {"body": {str(n): ["y" * 1000] * 10 for n in range(100)}}]
)  # fmt: skip
def test_what_is_stored_is_short(value: Any) -> None:
    text = dump({"method": "POST"} | value)
    assert len(text.encode()) <= MOST_BYTES
    assert json.loads(text)["method"] == "POST"


def test_masking_leaves_names_that_are_no_secrets() -> None:
    kept = {
        "userName": "user1@acme.test",
        "path": "emails",
        "value": 1,
        "nested": [{"op": "add", "path": "active"}],
    }
    assert mask(kept) == kept
    assert mask({"op": "add", "path": "password", "Value": "x"})["Value"] == "***"
    assert mask({"OP": "add", "PATH": "password", "VALUE": "x"})["VALUE"] == "***"
    for path in ('password[value eq "x1"]', 'x509Certificates[value eq "x1"].type', 'password.value eq "x1"'):
        assert "x1" not in str(mask({"op": "remove", "path": path}))
    assert PATCH not in str(mask({"Authorization": PATCH}))
