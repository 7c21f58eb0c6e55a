"""The OpenAPI document: valid, with names that stay, and a client generated from it makes the whole set-up."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.provisioning.event_types import ORGANIZATION_TYPES
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN

# The document is the same on every engine.
pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

#: Functions of generated clients, by the route. A client breaks when one of them is renamed: add, never change.
OPERATIONS = {
    "PATCH /connections/{connection}": "changeConnection",
    "GET /connections/{connection}": "readConnection",
    "DELETE /connections/{connection}": "removeConnection",
    "GET /connections/{connection}/group-mapping": "readMapping",
    "PUT /connections/{connection}/group-mapping": "saveMapping",
    "POST /connections/{connection}/group-mapping/preview": "previewMapping",
    "PUT /connections/{connection}/provisioning": "setProvisioning",
    "POST /connections/{connection}/takeover": "takeOver",
    "PUT /connections/{connection}/pause": "pauseConnection",
    "DELETE /connections/{connection}/pause": "resumeConnection",
    "GET /connections/{connection}/hold": "readHold",
    "POST /connections/{connection}/hold": "decideHold",
    "POST /connections/{connection}/undo": "undoChanges",
    "POST /connections/{connection}/test": "testConnection",
    "POST /connections/{connection}/tokens": "addToken",
    "GET /connections/{connection}/tokens": "listTokens",
    "DELETE /connections/{connection}/tokens/{token}": "revokeToken",
    "POST /admin-tokens": "addOperatorToken",
    "GET /admin-tokens": "listAdminTokensOfAll",
    "DELETE /admin-tokens/{token}": "revokeAnyAdminToken",
    "GET /organizations/{organization}/users/{user}/timeline": "readTimeline",
    "POST /organizations/{organization}/domains": "addDomain",
    "GET /organizations/{organization}/domains": "listDomains",
    "DELETE /organizations/{organization}/domains/{name}": "removeDomain",
    "POST /organizations/{organization}/domains/{name}/check": "checkDomain",
    "POST /organizations/{organization}/domains/{name}/verify": "verifyDomain",
    "POST /organizations/{organization}/setup-links": "addSetupLink",
    "GET /organizations/{organization}/setup-links": "listSetupLinks",
    "DELETE /organizations/{organization}/setup-links/{link}": "revokeSetupLink",
    "POST /organizations/{organization}/console-links": "addConsoleLink",
    "POST /organizations/{organization}/admin-tokens": "addAdminToken",
    "GET /organizations/{organization}/admin-tokens": "listAdminTokens",
    "DELETE /organizations/{organization}/admin-tokens/{token}": "revokeAdminToken",
    "POST /organizations": "addOrganization",
    "GET /organizations": "listOrganizations",
    "PATCH /organizations/{organization}": "changeOrganization",
    "GET /organizations/{organization}": "readOrganization",
    "DELETE /organizations/{organization}": "removeOrganization",
    "GET /activity": "listActivityOfAll",
    "GET /organizations/{organization}/activity": "listActivity",
    "GET /organizations/{organization}/activity/{line}/explanation": "readExplanation",
    "GET /connections/{connection}/adoptions": "listAdoptions",
    "POST /connections/{connection}/adoptions/{adoption}": "decideAdoption",
    "POST /connections/{connection}/adoption/preview": "previewAdoption",
    "POST /connections/{connection}/adoption": "approveAdoptions",
    "PUT /connections/{connection}/watch": "watchConnection",
    "DELETE /connections/{connection}/watch": "endWatch",
    "POST /connections/{connection}/explain": "explainRequest",
    "POST /organizations/{organization}/connections": "addConnection",
    "GET /organizations/{organization}/connections": "listConnections",
    "GET /organizations/{organization}/events": "listEvents",
    "GET /events": "listEventsOfAll",
    "GET /organizations/{organization}/snapshot": "exportSnapshot",
    "POST /webhooks/{webhook}/poll": "pollWebhook",
    "POST /organizations/{organization}/webhooks/{webhook}/poll": "pollOrganizationWebhook",
    "POST /organizations/{organization}/groups": "addGroup",
    "GET /organizations/{organization}/groups": "listGroups",
    "PATCH /organizations/{organization}/groups/{group}": "changeGroup",
    "GET /organizations/{organization}/groups/{group}": "readGroup",
    "DELETE /organizations/{organization}/groups/{group}": "removeGroup",
    "GET /organizations/{organization}/groups/{group}/members": "listMembers",
    "PUT /organizations/{organization}/groups/{group}/members/{user}": "addMember",
    "DELETE /organizations/{organization}/groups/{group}/members/{user}": "removeMember",
    "POST /organizations/{organization}/imports": "uploadImport",
    "GET /organizations/{organization}/imports": "listImports",
    "GET /organizations/{organization}/imports/{import}": "readImport",
    "DELETE /organizations/{organization}/imports/{import}": "removeImport",
    "POST /organizations/{organization}/imports/{import}/apply": "applyImport",
    "GET /organizations/{organization}/imports/{import}/result.csv": "readImportResult",
    "GET /organizations/{organization}/seats": "readSeats",
    "GET /organizations/{organization}/sso": "readSso",
    "DELETE /organizations/{organization}/sso": "removeSso",
    "PUT /organizations/{organization}/sso": "setSso",
    "POST /organizations/{organization}/users": "addUser",
    "GET /organizations/{organization}/users": "listUsers",
    "GET /organizations/{organization}/users.csv": "exportUsers",
    "PATCH /organizations/{organization}/users/{user}": "changeUser",
    "GET /organizations/{organization}/users/{user}": "readUser",
    "DELETE /organizations/{organization}/users/{user}": "removeUser",
    "GET /organizations/{organization}/users/{user}/export": "exportUser",
    "POST /organizations/{organization}/users/{user}/erase": "eraseUser",
    "POST /webhooks": "addWebhook",
    "GET /webhooks": "listWebhooks",
    "GET /webhooks/{webhook}": "readWebhook",
    "PATCH /webhooks/{webhook}": "changeWebhook",
    "DELETE /webhooks/{webhook}": "removeWebhook",
    "POST /webhooks/{webhook}/pause": "pauseWebhook",
    "POST /webhooks/{webhook}/resume": "resumeWebhook",
    "POST /webhooks/{webhook}/rotate-secret": "rotateWebhookSecret",
    "POST /webhooks/{webhook}/test": "testWebhook",
    "GET /webhooks/{webhook}/attempts": "listWebhookAttempts",
    "GET /webhooks/{webhook}/attempts/{attempt}": "readWebhookAttempt",
    "GET /webhooks/{webhook}/parked": "listWebhookParked",
    "POST /webhooks/{webhook}/parked/{event}/retry": "retryWebhookParked",
    "DELETE /webhooks/{webhook}/parked/{event}": "removeWebhookParked",
    "POST /webhooks/{webhook}/replay": "replayWebhook",
    "POST /webhooks/{webhook}/skip": "skipWebhookEvent",
    "POST /organizations/{organization}/webhooks": "addWebhookOfOrganization",
    "GET /organizations/{organization}/webhooks": "listWebhooksOfOrganization",
    "GET /organizations/{organization}/webhooks/{webhook}": "readWebhookOfOrganization",
    "PATCH /organizations/{organization}/webhooks/{webhook}": "changeWebhookOfOrganization",
    "DELETE /organizations/{organization}/webhooks/{webhook}": "removeWebhookOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/pause": "pauseWebhookOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/resume": "resumeWebhookOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/rotate-secret": "rotateWebhookSecretOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/test": "testWebhookOfOrganization",
    "GET /organizations/{organization}/webhooks/{webhook}/attempts": "listWebhookAttemptsOfOrganization",
    "GET /organizations/{organization}/webhooks/{webhook}/attempts/{attempt}": "readWebhookAttemptOfOrganization",
    "GET /organizations/{organization}/webhooks/{webhook}/parked": "listWebhookParkedOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/parked/{event}/retry": "retryWebhookParkedOfOrganization",
    "DELETE /organizations/{organization}/webhooks/{webhook}/parked/{event}": "removeWebhookParkedOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/replay": "replayWebhookOfOrganization",
    "POST /organizations/{organization}/webhooks/{webhook}/skip": "skipWebhookEventOfOrganization",
    "GET /plugins": "listPlugins",
}


@pytest.fixture
def openapi(deployment: Deployment) -> dict[str, Any]:
    document = deployment.app.test_client().get("/admin/v1/openapi.json").get_json()
    assert isinstance(document, dict)
    return document


def operations(openapi: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path.removeprefix('/admin/v1')}": operation
        for path, entry in openapi["paths"].items()
        for method, operation in entry.items()
        if method != "parameters"
    }


def test_it_is_valid(openapi: dict[str, Any]) -> None:
    """With its defaults, which must pass the rules beside them."""
    from openapi_spec_validator import validate

    validate(openapi)


def test_every_operation_has_its_name_for_good(openapi: dict[str, Any]) -> None:
    """A new route is named here, by its view function."""
    assert {route: each.get("operationId") for route, each in operations(openapi).items()} == OPERATIONS
    assert len(set(OPERATIONS.values())) == len(OPERATIONS)


def test_it_says_where_who_and_what_a_refusal_holds(openapi: dict[str, Any]) -> None:
    assert openapi["servers"][0]["url"] == "/"
    assert openapi["security"] == [{"token": []}]
    assert all(tag["description"].endswith(".") for tag in openapi["tags"])
    used = {tag for each in operations(openapi).values() for tag in each["tags"]}
    assert used == {tag["name"] for tag in openapi["tags"]}
    for route, each in operations(openapi).items():
        wanted = {"401", "403", "default"} | ({"404"} if "{" in route else set())
        assert wanted <= each["responses"].keys(), route
        for status in wanted:
            reference = each["responses"][status]["$ref"].rpartition("/")[2]
            content = openapi["components"]["responses"][reference]["content"]
            assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_patterns_are_those_of_ecma_262(openapi: dict[str, Any]) -> None:
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(openapi))
    assert patterns
    assert [pattern for pattern in patterns if re.search(r"\\[AZzGh]|\(\?[P<]", pattern)] == []


def test_the_types_of_events_are_listed(deployment: Deployment, openapi: dict[str, Any]) -> None:
    """All that the code records, and no other."""
    assert openapi["components"]["schemas"]["Event"]["properties"]["type"]["enum"] == list(ORGANIZATION_TYPES)
    code = "".join(path.read_text() for path in Path("gateway/provisioning").rglob("*.py"))
    reported = set(re.findall(r'"((?:user|group|domain|connection)\.[a-z_]+)"', code))
    assert reported == set(ORGANIZATION_TYPES)


@pytest.fixture
def generated(openapi: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the client that openapi-python-client generates."""
    (tmp_path / "openapi.json").write_text(json.dumps(openapi))
    (tmp_path / "config.yml").write_text(
        "post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: text/plain\n"
        "  text/csv: application/octet-stream\n"
    )
    command = [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none"]
    command += ["--path", "openapi.json", "--config", "config.yml", "--output-path", "generated_client"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    reported = done.stdout + done.stderr
    assert done.returncode == 0, reported
    assert "WARNING" not in reported, reported
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"generated_client.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "generated_client"]:
        del sys.modules[name]


def test_a_generated_client_makes_the_whole_set_up(
    deployment: Deployment, generated: Any, metadata: str
) -> None:
    import httpx

    def client_with(token: str) -> Any:
        return generated("client").AuthenticatedClient(
            base_url="http://localhost",
            token=token,
            httpx_args={"transport": httpx.WSGITransport(deployment.app)},
        )

    client = client_with(ADMIN_TOKEN)
    models = generated("models")

    def call(tag: str, operation: str, *path: str, **given: Any) -> Any:
        response = generated(f"api.{tag}.{operation}").sync_detailed(*path, client=client, **given)
        assert response.status_code < 300, response.content
        return response.parsed

    organization = call(
        "organizations",
        "add_organization",
        body=models.NewOrganization(name="Acme", plan="enterprise", seats=models.SeatLimit(limit=3)),
    )
    sso = call("organizations", "set_sso", organization.id, body=models.Metadata(metadata_xml=metadata))
    assert sso.entity_id == "https://idp.acme.test/entity"
    connection = call(
        "connections",
        "add_connection",
        organization.id,
        body=models.NewConnection(idp="okta", name="Okta"),
    )
    on = call("connections", "set_provisioning", connection.id, body=models.Provisioning(enabled=True))
    assert on.enabled is True
    token = call("connections", "add_token", connection.id, body=models.TokenRequest(label="Okta"))
    follower = call(
        "admin_tokens",
        "add_admin_token",
        organization.id,
        body=models.AdminTokenRequest(name="the application", scope=models.AdminTokenRequestScope.EVENTS),
    )
    scim = Scim(deployment, connection.id, token.token)
    user = scim.user()
    events = generated("api.feeds.list_events").sync(organization.id, client=client_with(follower.token))
    assert [(event.type_.value, event.resource_id) for event in events.items] == [
        ("user.created", user["id"])
    ]
    lines = call("feeds", "list_activity", organization.id)
    assert "POST /Users" in {line.operation for line in lines.items}
    checkup = call("connections", "test_connection", connection.id)
    assert checkup.ok is True
    refused = generated("api.organizations.read_organization").sync_detailed("nobody", client=client)
    assert refused.status_code == 404
    assert refused.parsed.message == 'There is no organization with the id "nobody" here.'
