"""The documentation: OpenAPI and Swagger UI are served from here alone, and the page of docs/ is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.testing import Deployment, Scim

PAGE = Path(__file__).parents[3] / "docs" / "admin-api.md"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
URN = "urn:calendly:scim:schemas:2.0:User"
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def openapi(deployment: Deployment) -> dict:
    return deployment.app.test_client().get("/admin/v1/openapi.json").get_json()


def operations(openapi: dict) -> dict[str, dict]:
    return {
        f"{method.upper()} {path.removeprefix('/admin/v1')}": entry[method]
        for path, entry in openapi["paths"].items()
        for method in METHODS
        if method in entry
    }


@pytest.mark.sqlite  # no database is asked
def test_every_operation_is_described(openapi: dict) -> None:
    assert openapi["openapi"].startswith("3.1.")
    assert openapi["security"] == [{"token": []}]
    assert openapi["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    reported = operations(openapi)
    assert len(reported) >= 90
    for name, operation in reported.items():
        assert operation["summary"].endswith("."), name
        assert operation["tags"], name
        assert {"200", "201", "204"} & operation["responses"].keys(), name
        assert "default" in operation["responses"], name
    edited = [name for name in reported if re.match("PATCH|DELETE", name) and "members" not in name]
    versioned = [
        name
        for name, o in reported.items()
        if any(p.get("name") == "If-Match" for p in o.get("parameters", ()))
    ]
    assert set(edited) - set(versioned) == {
        "DELETE /organizations/{organization}/sso",
        "DELETE /connections/{connection}/pause",
        "DELETE /connections/{connection}/watch",
        "DELETE /connections/{connection}/tokens/{token}",
        "DELETE /admin-tokens/{token}",
        "DELETE /organizations/{organization}/admin-tokens/{token}",
        "DELETE /organizations/{organization}/setup-links/{link}",
        "DELETE /organizations/{organization}/imports/{import}",
        "DELETE /organizations/{organization}/domains/{name}",
        "DELETE /webhooks/{webhook}/parked/{event}",
        "DELETE /organizations/{organization}/webhooks/{webhook}/parked/{event}",
    }


@pytest.mark.sqlite  # no database is asked
def test_swagger_ui_asks_nobody_outside(deployment: Deployment) -> None:
    client = deployment.app.test_client()
    page = client.get("/admin/v1/docs")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert '"validatorUrl": null' in page.text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for path in assets:
        answer = client.get(path)
        assert (answer.status_code, len(answer.data) > 10_000) == (200, True)
        answer.close()
    assert client.get("/admin/v1/docs/assets/../../etc/passwd").status_code == 404


@pytest.mark.sqlite  # no database is asked
def test_the_page_names_every_operation_and_no_other(openapi: dict) -> None:
    named = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`? ]*)", PAGE.read_text("utf-8")))
    assert named == operations(openapi).keys()


def test_the_bodies_of_the_page_are_taken_and_answered_as_it_says(
    deployment: Deployment, metadata: str
) -> None:
    """Each example is a request line with its body, then the status and the keys of its answer."""
    known: dict[str, str] = {"metadata": json.dumps(metadata)[1:-1]}
    examples = re.findall(r"^```http\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(examples) >= 15
    for example in examples:
        sent, answered = example.split("\n\n", 1)
        request, _, body = _filled(sent, known).partition("\n")
        method, path = request.split(" ")
        match = re.match(r"(If-Match): (.*)\n", body)
        headers = {"If_Match": match[2]} if match else {}
        answer = deployment.admin(method, path, (body[match.end() :] if match else body) or None, **headers)
        status, _, shown = answered.strip().partition("\n")
        assert answer.status == int(status.split()[0]), (request, answer.text)
        if "ETag" in deployment.last_headers:
            known["etag"] = deployment.last_headers["ETag"]
        if path.endswith("/tokens") and "token" in answer.json:
            known["old"] = _provision(deployment, answer.json["token"], known["connection"])
        if shown:
            _learn(json.loads(re.sub(r'"<(\w+)>"', r'"{{\1}}"', shown)), answer.json, known, request)


def _provision(deployment: Deployment, token: str, connection: str) -> str:
    """The identity provider does what the page takes for granted, and so did the one before, whose id is returned."""
    scim = Scim(deployment, connection, token)
    for number, group in enumerate(("Sales EMEA", "Legal"), 1):
        body = {"schemas": [USER, URN], "userName": f"user{number}@acme.test", URN: {"group": group}}
        assert scim.call("POST", "/Users", body).status == 201
    old = deployment.connection("generic", scim.organization)
    old.user("mover@acme.test", active=False)
    return old.uid


def _filled(text: str, known: dict[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda m: known.get(m[1], m[0]), text)


def _learn(shown: object, found: object, known: dict[str, str], at: str) -> None:
    """Compare what the page shows; `…` is any text, and `<name>` is remembered."""
    if isinstance(shown, dict):
        assert isinstance(found, dict), at
        assert shown.keys() == found.keys(), (at, found)
        for key in shown:
            _learn(shown[key], found[key], known, f"{at} {key}")
    elif isinstance(shown, list):
        assert isinstance(found, list)
        # An `…` at the end of a list stands for more of the kind.
        assert len(shown) == len(found) or shown[-1:] == ["…"], (at, found)
        for one, other in zip(shown, found, strict=False):
            _learn(one, other, known, at)
    elif isinstance(shown, str) and (name := re.fullmatch(r"\{\{(\w+)\}\}", shown)):
        known[name[1]] = str(found)
    elif isinstance(shown, str) and "…" in shown:
        assert re.fullmatch(re.escape(shown).replace("…", ".*"), str(found)), (at, found)
    else:
        assert shown == found, (at, found)
