"""What cannot be taken is refused in a sentence that names it, never with a 5xx, and nothing is stored."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

LONG = "x" * 201
NEW = {"name": "B"}

ORGANIZATION: list[tuple[Any, str]] = [
    ({}, "name: Missing data for required field."),
    ({"name": None}, "name: Field may not be null."),
    ({"name": ""}, "name: Length must be between 1 and 200."),
    ({"name": "   "}, "name: Length must be between 1 and 200."),
    ({"name": LONG}, "name: Length must be between 1 and 200."),
    ({"name": 7}, "name: Not a valid string."),
    ({"name": ["B"]}, "name: Not a valid string."),
    (NEW | {"colour": "red"}, "colour: Unknown field."),
    (NEW | {"id": "x"}, "id: Unknown field."),
    (NEW | {"sso": None}, "sso: Unknown field."),
    (NEW | {"plan": ""}, "plan: Length"),
    (NEW | {"plan": "x" * 61}, "plan: Length"),
    (NEW | {"domains": "acme.test"}, "domains: Not a valid list."),
    (NEW | {"domains": [1]}, "domains.0: Not a valid string."),
    (NEW | {"domains": ["x"] * 101}, "domains: Longer than maximum length 100."),
    (NEW | {"seats": 3}, "seats: Invalid input type."),
    (NEW | {"seats": {"limit": "3"}}, "seats.limit: Not a valid integer."),
    (NEW | {"seats": {"limit": 3.0}}, "seats.limit: Not a valid integer."),
    (NEW | {"seats": {"limit": True}}, "seats.limit: Not a valid integer."),
    (NEW | {"seats": {"limit": -1}}, "seats.limit: Must be greater than or equal to 0"),
    (NEW | {"seats": {"limit": 10**30}}, "seats.limit: Must be greater"),
    (NEW | {"seats": {"used": 0}}, "seats.used: Unknown field."),
    (NEW | {"legal_hold": "yes"}, "legal_hold: Not a valid boolean."),
    (NEW | {"billing": {"payment": "cash"}}, "billing.payment: Must be one of: card, invoice."),
    (NEW | {"billing": {"payment": None}}, "billing.payment: Field may not be null."),
    (NEW | {"billing": {"billing_url": "ftp://acme.test"}}, "billing.billing_url: Not an http or https URL."),
    (NEW | {"billing": {"billing_url": "https://["}}, "billing.billing_url: Not an http or https URL."),
    (NEW | {"billing": {"contact_url": "https://acme.test/ x"}}, "billing.contact_url: Not an http"),
    (NEW | {"billing": {"contact_url": "https://" + "x" * 2000}}, "billing.contact_url: Longer than maximum"),
    ({"name": "a\0b"}, "name holds a NUL character"),
    ({"name": "a", "a\0": 1}, "NUL character"),
]
BELOW: list[tuple[str, str, Any, str]] = [
    ("POST", "{o}/connections", {}, "idp: Missing data for required field."),
    ("POST", "{o}/connections", {"idp": "nothing"}, 'no identity provider "nothing"'),
    ("POST", "{o}/connections", {"idp": "okta", "name": LONG}, "name: Length"),
    ("POST", "{o}/connections", {"idp": "okta", "settings": []}, "settings: Not a valid mapping type."),
    (
        "POST",
        "{o}/connections",
        {"idp": "generic", "settings": {"a": 1}},
        "settings.a: This identity provider has no",
    ),
    ("PATCH", "{c}", {"idp": "generic"}, "idp: Unknown field."),
    ("PATCH", "{c}", {"settings": None}, "settings: Field may not be null."),
    ("PUT", "{c}/provisioning", {}, "enabled: Missing data for required field."),
    ("PUT", "{c}/provisioning", {"enabled": "true"}, "enabled: Not a valid boolean."),
    ("PUT", "{c}/provisioning", {"enabled": 1}, "enabled: Not a valid boolean."),
    ("PUT", "{c}/provisioning", {"enabled": None}, "enabled: Field may not be null."),
    ("POST", "{c}/tokens", {"label": ""}, "label: Length must be between 1 and 200."),
    ("POST", "{c}/tokens", {"label": LONG}, "label: Length"),
    ("POST", "{c}/tokens", {"expires_in_days": 0}, "expires_in_days: Must be greater"),
    ("POST", "{c}/tokens", {"expires_in_days": 3651}, "expires_in_days: Must be greater"),
    ("POST", "{c}/tokens", {"expires_in_days": "30"}, "expires_in_days: Not a valid integer."),
    ("POST", "{o}/users", {}, "user_name: Missing data for required field."),
    ("POST", "{o}/users", {"user_name": " "}, "user_name: Length"),
    ("POST", "{o}/users", {"user_name": "x" * 321}, "user_name: Length must be between 1 and 320."),
    ("POST", "{o}/users", {"user_name": "x", "active": "yes"}, "active: Not a valid boolean."),
    ("POST", "{o}/users", {"user_name": "x", "display_name": ""}, "display_name: Length"),
    ("POST", "{o}/users", {"user_name": "x", "email": 1}, "email: Not a valid string."),
    ("POST", "{o}/users", {"user_name": "x", "groups": []}, "groups: Unknown field."),
    ("POST", "{o}/groups", {"name": ""}, "name: Length"),
    ("POST", "{o}/groups", {"name": LONG}, "name: Length"),
    ("PUT", "{o}/sso", {"metadata_xml": ""}, "metadata_xml: Length"),
    ("PUT", "{o}/sso", {"metadata_xml": None}, "metadata_xml: Field may not be null."),
]
RAW: list[tuple[bytes, str, int, str]] = [
    (b"", "application/json", 400, "The body is empty"),
    (b"{", "application/json", 400, "The body is not JSON"),
    (b"[]", "application/json", 400, "must be a JSON object, but an array came"),
    (b"null", "application/json", 400, "must be a JSON object"),
    (b'{"name": "a", "name": "b"}', "application/json", 400, 'The key "name" stands twice'),
    (b'{"name": NaN}', "application/json", 400, "NaN is not JSON"),
    (b'{"name": "\xff"}', "application/json", 400, "not UTF-8"),
    (b'{"a":' * 70 + b"1" + b"}" * 70, "application/json", 400, "nested too deeply"),
    (b'{"name": "\\ud800"}', "application/json", 422, "lone surrogate"),
    (b'{"name": ' + b"9" * 5000 + b"}", "application/json", 422, "too many digits"),
    (b'{"name": "a"}', "text/plain", 415, "send application/json"),
    (b'{"name": "a"}', "application/x-www-form-urlencoded", 415, "send application/json"),
    (b"<a/>", "application/xml", 415, "send application/json"),
    (b'{"name": "' + b"x" * 1_100_000 + b'"}', "application/json", 413, "larger than the gateway reads"),
]
QUERIES = (
    "limit=0 limit=1001 limit=x limit=-1 limit=1.5 limit=1_0 limit=%D9%A1 after=x after=-1 colour=red outcome=maybe"
    " after=99999999999999999999"
)


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def rows(acme) -> dict[str, int]:
    """How much of everything is stored, the activity aside."""
    database = acme.deployment.gateway.store.database
    tables = (
        "organizations",
        "connections",
        "tokens",
        "users",
        "groups",
        "grants",
        "events",
        "mapping_rules",
    )
    counted = {table: database.all(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables}
    return counted | {"versions": database.all("SELECT SUM(version) FROM organizations")[0][0]}


def refused(acme, answer: Any, status: int, sentence: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, status), answer.text
    assert answer.json.keys() == {"code", "status", "message", "errors"}
    assert sentence in answer.json["message"]
    assert acme.deployment.last_headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("body", "sentence"), ORGANIZATION, ids=repr)
def test_an_organization_of_another_shape_is_refused(acme, body: Any, sentence: str) -> None:
    before = rows(acme)
    refused(acme, acme.deployment.admin("POST", "/organizations", body), 422, sentence)
    if "name" in body or body:
        refused(acme, acme.deployment.admin("PATCH", acme.path, body), 422, sentence)
    assert rows(acme) == before


@pytest.mark.parametrize(("method", "path", "body", "sentence"), BELOW, ids=repr)
def test_what_is_in_an_organization_is_refused_alike(
    acme, method: str, path: str, body: Any, sentence: str
) -> None:
    before = rows(acme)
    answer = acme.deployment.admin(method, path.format(o=acme.path, c=acme.connection), body)
    refused(acme, answer, 422, sentence)
    assert rows(acme) == before
    line = acme.deployment.activity(acme.okta.organization)[0]
    assert (line.status, line.detail, line.principal) == (422, answer.json["message"], "operator")


@pytest.mark.parametrize(("body", "kind", "status", "sentence"), RAW, ids=lambda value: repr(value)[:40])
def test_a_body_that_is_no_json_object_is_refused(
    acme, body: bytes, kind: str, status: int, sentence: str
) -> None:
    before = rows(acme)
    for method, path in (("POST", "/organizations"), ("PATCH", acme.path), ("POST", f"{acme.path}/users")):
        refused(acme, acme.deployment.admin(method, path, body, Content_Type=kind), status, sentence)
    assert rows(acme) == before


def test_a_body_in_chunks_is_measured_too(acme) -> None:
    client = acme.deployment.app.test_client()
    headers = {
        "Authorization": "Bearer an-operator-of-a-test-and-of-nothing-else",
        "Content-Type": "application/json",
    }
    answer = client.post(
        "/admin/v1/organizations",
        input_stream=BytesIO(b'{"name": "' + b"x" * 1_100_000 + b'"}'),
        headers=headers,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.json["code"]) == (413, 413)


@pytest.mark.parametrize("query", QUERIES.split())
def test_a_query_that_nobody_understands_is_refused(acme, query: str) -> None:
    answer = acme.deployment.admin("GET", f"{acme.path}/activity?{query}")
    refused(acme, answer, 422, f"{query.split('=')[0]}: ")


@pytest.mark.parametrize("path", ["/users", "/groups", "/events", "/connections"])
def test_every_list_refuses_a_limit_beyond_the_largest(acme, path: str) -> None:
    refused(acme, acme.deployment.admin("GET", f"{acme.path}{path}?limit=1001"), 422, "limit: ")


def test_json_by_another_name_and_without_one_is_read(acme) -> None:
    for kind in ("application/json; charset=utf-8", "application/merge-patch+json", ""):
        answer = acme.deployment.admin("PATCH", acme.path, json.dumps({"name": "B"}), Content_Type=kind)
        assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/organizations/", 404),
        ("DELETE", "/organizations", 405),
        ("GET", "/organizations/%00", 404),
        ("GET", "/organizations/%ED%A0%80", 404),
        ("GET", "/organizations/" + "x" * 3000, 404),
    ],
)
def test_what_is_not_served_is_told_in_the_same_words(acme, method: str, path: str, status: int) -> None:
    answer = acme.deployment.admin(method, path)
    assert (answer.status, answer.json["code"]) == (status, status)
    assert len(answer.text) < 1000
    if status == 405:
        assert "POST" in acme.deployment.last_headers["Allow"]


@pytest.mark.parametrize("path", ["/users/%00", "/users/" + "x" * 500, "/groups/%FF", "/groups/x/members"])
def test_ids_that_can_be_nobodys_are_not_found(acme, path: str) -> None:
    acme.get(acme.path + path, 404)


def test_scim_goes_on_answering_in_the_words_of_scim(acme) -> None:
    for path, body, kind, status in (
        ("/Users", b"{", "application/scim+json", 400),
        ("/Users", b"x", "text/plain", 415),
        ("/Nothing", None, "application/json", 404),
    ):
        answer = acme.okta.call("POST", path, body, headers={"Content-Type": kind})
        assert (answer.status, answer.json["status"]) == (status, str(status))
        assert acme.deployment.last_headers["Content-Type"] == "application/scim+json"
    assert acme.okta.call("DELETE", "/Users").json["status"] == "405"


def test_an_unknown_field_of_any_size_is_named_in_short(acme) -> None:
    answer = acme.deployment.admin("PATCH", acme.path, {"x" * 100_000: 1, **{f"k{n}": 1 for n in range(9)}})
    assert answer.status == 422
    assert "And 5 more." in answer.json["message"]
    assert len(answer.json["message"]) < 500
