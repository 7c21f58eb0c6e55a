"""Sessions: how they begin and end, and what they may do at each moment."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.store.ids_and_time import now
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment
from gateway.testing.deployment import ADMIN_TOKEN
from tests.support.console import Browser, sign_in, text_of

MINUTE = 60_000_000


def cookie(browser: Browser) -> str:
    held = browser.client.get_cookie("gateway")
    assert held is not None
    return held.value


def age(deployment: Deployment, browser: Browser, minutes: int, column: str = "seen") -> None:
    """Make a session look as if its last request, or its end, was so long ago."""
    session = deployment.gateway.console_access.find_session(cookie(browser))
    assert session is not None
    deployment.gateway.store.database.run(
        f"UPDATE console_sessions SET {column} = ? WHERE uid = ?",
        now() - minutes * MINUTE,
        session.record.uid,
    )


def test_operator_signs_in_with_the_configured_token(deployment: Deployment) -> None:
    organization = deployment.organization("Found by the operator")
    browser = sign_in(deployment, None, "operator")
    assert "Found by the operator" in text_of(browser.get("/console/", q="found by"))
    browser.organization = organization
    assert browser.get("").status_code == 200


def test_wrong_token_is_refused_in_a_sentence(deployment: Deployment) -> None:
    answer = Browser(deployment).post("/console/sign-in", {"token": "wrong"})
    assert answer.status_code == 401
    assert "admin token is wrong" in text_of(answer)
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(("scope", "status"), [("full", 303), ("read", 303), ("events", 403)])
def test_token_of_an_organization_opens_it_alone(
    deployment: Deployment, organization: OrganizationRecord, scope: str, status: int
) -> None:
    path = f"/organizations/{organization.uid}/admin-tokens"
    made = deployment.admin("POST", path, {"name": "console", "scope": scope})
    browser = Browser(deployment, organization)
    answer = browser.post("/console/sign-in", {"token": made.json["token"]})
    assert answer.status_code == status
    if status == 303:
        assert browser.get("").status_code == 200
        browser.organization = deployment.organization("Another")
        assert browser.get("").status_code == 404


def test_session_ends_with_its_token(deployment: Deployment) -> None:
    made = deployment.admin("POST", "/admin-tokens", {"name": "an operator"})
    browser = Browser(deployment)
    browser.post("/console/sign-in", {"token": made.json["token"]})
    assert browser.get("/console/sessions").status_code == 200
    deployment.admin("DELETE", f"/admin-tokens/{made.json['id']}")
    assert browser.get("/console/sessions").status_code == 401


def test_session_ends_when_the_configured_token_is_replaced(tmp_path: Any) -> None:
    deployment = Deployment(tmp_path / "instance")
    browser = sign_in(deployment, None, "operator")
    value = cookie(browser)
    settings = {"database_url": deployment.gateway.config.database_url}
    settings |= {"secret_key": deployment.gateway.config.secret_key}
    other = Deployment(tmp_path / "instance", admin_token="another token of an operator of tests", **settings)
    try:
        assert deployment.gateway.console_access.find_session(value) is not None
        assert other.gateway.console_access.find_session(value) is None
    finally:
        other.close()
        deployment.close()


@pytest.mark.parametrize(("role", "minutes", "status"), [
    ("operator", 29, 200), ("operator", 31, 401), ("admin", 59, 200), ("admin", 61, 401), ("setup", 300, 200),
])  # fmt: skip
def test_session_ends_without_requests(
    deployment: Deployment, organization: OrganizationRecord, role: str, minutes: int, status: int
) -> None:
    browser = sign_in(deployment, organization, role)
    browser.organization = organization
    age(deployment, browser, minutes)
    assert browser.get("").status_code == status


@pytest.mark.parametrize("role", ["operator", "admin", "viewer", "setup"])
def test_session_ends_after_eight_hours(
    deployment: Deployment, organization: OrganizationRecord, role: str
) -> None:
    browser = sign_in(deployment, organization, role)
    session = deployment.gateway.console_access.find_session(cookie(browser))
    assert session is not None
    assert 0 < session.record.expires - now() <= 8 * 60 * MINUTE
    age(deployment, browser, 0, "expires")
    browser.organization = organization
    assert browser.get("").status_code == 401


def test_signing_out_ends_the_session(deployment: Deployment, admin: Browser) -> None:
    value = cookie(admin)
    assert admin.post("/console/sign-out").status_code == 303
    assert deployment.gateway.console_access.find_session(value) is None


def test_signing_in_again_gives_a_new_cookie_and_ends_the_old_session(deployment: Deployment) -> None:
    browser = sign_in(deployment, None, "operator")
    before = cookie(browser)
    browser.post("/console/sign-in", {"token": ADMIN_TOKEN})
    assert cookie(browser) != before
    assert deployment.gateway.console_access.find_session(before) is None


def test_session_of_another_browser_can_be_ended(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser, operator: Browser
) -> None:
    session = deployment.gateway.console_access.find_session(cookie(admin))
    assert session is not None
    assert session.record.person in text_of(operator.get("sessions"))
    assert operator.post(f"/console/sessions/{session.record.uid}/end").status_code == 303
    assert admin.get("").status_code == 401


def test_sessions_of_others_cannot_be_ended(deployment: Deployment, organization: OrganizationRecord) -> None:
    operators = deployment.gateway.console_access.find_session(cookie(sign_in(deployment, None, "operator")))
    other = deployment.gateway.console_access.find_session(
        cookie(sign_in(deployment, deployment.organization("Another")))
    )
    viewer = sign_in(deployment, organization, "viewer")
    admins = deployment.gateway.console_access.find_session(cookie(sign_in(deployment, organization)))
    assert operators
    assert other
    assert admins
    for session in (operators, other):
        assert viewer.post(f"/console/sessions/{session.record.uid}/end").status_code == 404
    assert viewer.post(f"/console/sessions/{admins.record.uid}/end").status_code == 403


def test_form_that_was_typed_is_kept_when_the_session_ends(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    age(deployment, admin, 120)
    answer = admin.post(f"/console/sessions/{organization.uid}/end", {"value": ["<b>Sales</b>", "EMEA"]})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 401
    assert '<input type="hidden" name="value" value="&lt;b&gt;Sales&lt;/b&gt;">' in page
    assert '<input type="hidden" name="value" value="EMEA">' in page


def test_use_is_recorded_once_a_minute(deployment: Deployment, admin: Browser) -> None:
    age(deployment, admin, 2)
    admin.get("")
    session = deployment.gateway.console_access.find_session(cookie(admin))
    assert session is not None
    assert now() - session.record.seen < MINUTE


def test_console_over_plain_http_is_for_this_machine(tmp_path: Any) -> None:
    deployment = Deployment(tmp_path / "instance", public_url="http://gateway.acme.test")
    try:
        headers = {"Origin": "http://gateway.acme.test"}
        answer = Browser(deployment).post("/console/sign-in", {"token": ADMIN_TOKEN}, headers)
        assert answer.status_code == 403
        assert "HTTPS only" in text_of(answer)
    finally:
        deployment.close()


def test_cookie_over_https_is_the_hosts_alone(tmp_path: Any) -> None:
    deployment = Deployment(tmp_path / "instance", public_url="https://gateway.acme.test")
    try:
        headers = {"Origin": "https://gateway.acme.test"}
        answer = Browser(deployment).post("/console/sign-in", {"token": ADMIN_TOKEN}, headers)
        assert answer.status_code == 303
        set_cookie = answer.headers["Set-Cookie"]
        assert set_cookie.startswith("__Host-gateway=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(set_cookie.split("; ")[1:])
    finally:
        deployment.close()


def test_redemption_names_the_person(deployment: Deployment, organization: OrganizationRecord) -> None:
    sign_in(deployment, organization)
    lines = [line for line in deployment.activity(organization) if line.operation == "POST /setup"]
    assert [(line.principal, line.outcome) for line in lines] == [("admin@acme.test", "success")]


def test_end_of_a_session_names_who_ended_it(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser, operator: Browser
) -> None:
    session = deployment.gateway.console_access.find_session(cookie(admin))
    assert session is not None
    operator.post(f"/console/sessions/{session.record.uid}/end")
    lines = [line for line in deployment.activity(organization) if line.operation.endswith("/end")]
    assert [(line.principal, line.outcome) for line in lines] == [("operator", "success")]
    assert "admin@acme.test" in lines[0].facts


def test_sign_in_with_a_token_is_in_the_activity(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    path = f"/organizations/{organization.uid}/admin-tokens"
    made = deployment.admin("POST", path, {"name": "the team", "expires_in_days": 1}).json
    Browser(deployment).post("/console/sign-in", {"token": made["token"]})
    deployment.gateway.store.database.run(
        "UPDATE admin_tokens SET expires = ? WHERE uid = ?", now() - 1, made["id"]
    )
    Browser(deployment).post("/console/sign-in", {"token": made["token"]})
    lines = [line for line in deployment.activity(organization) if line.operation == "POST /console/sign-in"]
    assert sorted(line.outcome for line in lines) == ["failure", "success"]
    assert [line.principal for line in lines if line.outcome == "success"] == ["the team"]
    assert made["token"] not in str(lines)


@pytest.mark.parametrize("seats", ["0" * 12 + "9" * 30, "0" * 12 + "9" * 5000])
def test_seats_of_very_many_digits_are_refused(operator: Browser, seats: str) -> None:
    form = {"name": "Acme", "plan": "business", "payment": "card", "seats": seats}
    assert operator.post("/console/organizations", form).status_code == 400
