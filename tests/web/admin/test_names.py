"""Names are one line, numbers and hosts of any size are refused in a sentence, and no log line is a client's."""

from __future__ import annotations

import base64
import logging
import logging.config

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.server.supervisor import LOGGING
from gateway.testing.deployment import ADMIN_TOKEN, GROUP, PATCH, USER

CONTROLS = ["\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066"]


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


@pytest.mark.parametrize("control", CONTROLS, ids=[f"U+{ord(each):04X}" for each in CONTROLS])
def test_a_name_of_the_admin_rest_is_one_line(acme, control: str) -> None:
    bad = f"a{control}b"
    calls = [
        ("POST", "/organizations", {"name": bad}),
        ("PATCH", acme.path, {"name": bad}),
        ("PATCH", acme.path, {"plan": bad}),
        ("PATCH", acme.path, {"domains": [bad]}),
        ("POST", f"{acme.path}/connections", {"name": bad, "idp": "okta"}),
        ("PATCH", acme.connection, {"name": bad}),
        ("POST", f"{acme.connection}/tokens", {"label": bad}),
        ("POST", f"{acme.path}/admin-tokens", {"name": bad}),
        ("POST", f"{acme.path}/groups", {"name": bad}),
        ("POST", f"{acme.path}/users", {"user_name": bad}),
        ("POST", f"{acme.path}/users", {"user_name": "a@acme.test", "display_name": bad}),
        ("POST", f"{acme.path}/users", {"user_name": "a@acme.test", "email": bad}),
        ("PUT", f"{acme.connection}/group-mapping", acme.mapping({bad: "Staff"})),
        ("PUT", f"{acme.connection}/group-mapping", acme.mapping({"staff": bad})),
    ]
    for method, path, body in calls:
        refused = acme.call(method, path, body, 422)
        assert f"Holds the control character U+{ord(control):04X}" in refused["message"], (path, refused)


def test_a_name_in_another_script_is_taken(acme) -> None:
    for name in ("Müller & Söhne", "\u200fشركة\u200f", "株式会社", "क\u094d\u200dष"):
        assert acme.post("/organizations", {"name": name})["name"] == name


@pytest.mark.parametrize("control", CONTROLS, ids=[f"U+{ord(each):04X}" for each in CONTROLS])
def test_user_names_and_group_names_of_scim_are_one_line(acme, control: str) -> None:
    bad, code = f"a{control}b", f"U+{ord(control):04X}"
    # The plugin for Okta refuses such a userName itself, as no e-mail address.
    generic = acme.deployment.connection("generic", acme.okta.organization)
    group = generic.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "Staff"}).json
    renamed = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": bad}]}
    for answer in (
        generic.call("POST", "/Users", {"schemas": [USER], "userName": f"{bad}@acme.test"}),
        generic.call("POST", "/Groups", {"schemas": [GROUP], "displayName": bad}),
        generic.call("PATCH", f"/Groups/{group['id']}", renamed),
    ):
        assert (answer.status, answer.json.get("scimType")) == (400, "invalidValue"), answer.text
        assert f"holds the control character {code}" in answer.json["detail"]


def test_a_client_writes_no_log_line_of_its_own(capfd) -> None:
    logging.config.dictConfig(LOGGING)
    forged = "x\n2026-01-01T00:00:00+0000 ERROR gateway [1] forged\x1b[31m\u2028y"
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("gateway").exception("request of %s failed", forged)
    written = capfd.readouterr().err
    first, *others = written.splitlines()
    assert r"request of x\n2026-01-01T00:00:00+0000 ERROR gateway [1] forged\x1b[31m\u2028y failed" in first
    assert others
    assert all(line.startswith("| ") for line in others)
    assert "\x1b" not in written


@pytest.mark.parametrize("after", [1 << 40, (1 << 63) - 1])
def test_an_after_beyond_the_newest_event_says_that_the_database_was_restored(acme, after: int) -> None:
    acme.assign(1)
    newest = acme.get(f"{acme.path}/events?limit=1000")["next"]
    end = acme.get(f"{acme.path}/events?after={newest}")
    assert (end["items"], end["next"]) == ([], newest)
    for beyond in (newest + 1, after):
        refused = acme.get(f"{acme.path}/events?after={beyond}", 410)
        assert f"after={beyond} is beyond the newest event, {newest}" in refused["message"]
        assert "restored" in refused["message"]


HOSTS = [
    "a" * 64 + ".acme.test",
    "a..b",
    "[",
    "a\x80b",
    "acme.test:99999999999",
    "acme.test:x",
    "\xff\xfe",
    "a b",
]


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_no_host_header_makes_a_5xx(acme, host: str) -> None:
    scim = f"/scim/v2/{acme.okta.connection.slug}/Users"
    token = {"Authorization": f"Bearer {acme.okta.token}"}
    for path, headers in (
        (scim, token),
        (scim, {}),
        (f"/admin/v1{acme.connection}", {"Authorization": f"Bearer {ADMIN_TOKEN}"}),
        ("/live", {}),
    ):
        response = acme.deployment.app.test_client().get(
            path, headers=headers, environ_overrides={"HTTP_HOST": host}
        )
        assert response.status_code < 500, (path, host, response.text)


def test_a_certificate_of_a_version_that_does_not_exist_is_refused(acme, metadata: str) -> None:
    begin = metadata.index("<ds:X509Certificate>") + len("<ds:X509Certificate>")
    held = metadata[begin : metadata.index("</ds:X509Certificate>")]
    der = x509.load_der_x509_certificate(base64.b64decode(held)).public_bytes(serialization.Encoding.DER)
    odd = base64.b64encode(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04", 1)).decode()
    refused = acme.call("PUT", f"{acme.path}/sso", {"metadata_xml": metadata.replace(held, odd)}, 422)
    assert "A certificate in the metadata cannot be read" in refused["message"]
