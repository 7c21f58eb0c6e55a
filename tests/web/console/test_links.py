"""Links that open the console once: who makes them, what uses them up, what a person is told when they do not work."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.store.ids_and_time import now
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment
from tests.support.console import Browser, console_link, setup_link, sign_in, text_of

HOUR = 3_600_000_000


def links(deployment: Deployment, organization: OrganizationRecord) -> list[dict[str, Any]]:
    return deployment.listed(f"/organizations/{organization.uid}/setup-links")


def test_setup_link_is_shown_once_and_listed(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    path = f"/organizations/{organization.uid}/setup-links"
    body = {"email": "it@acme.test", "rights": ["mapping"], "expires_in_hours": 2}
    answer = deployment.admin("POST", path, body)
    assert answer.status == 201
    assert answer.json["url"].startswith("http://localhost/setup#pgs_")
    listed = links(deployment, organization)
    assert [(link["email"], link["rights"], link["state"], link["created_by"]) for link in listed] == [
        ("it@acme.test", ["mapping"], "open", "operator")
    ]
    assert "url" not in listed[0]
    assert answer.json["url"].partition("#")[2] not in str(listed)
    activity = deployment.activity(organization)
    assert any("setup-links" in line.operation and "SetupLink" in line.facts for line in activity)


def test_looking_at_a_link_uses_nothing_up(deployment: Deployment, organization: OrganizationRecord) -> None:
    secret = setup_link(deployment, organization)
    browser = Browser(deployment)
    for _ in range(3):
        assert browser.client.get("/setup").status_code == 200
        assert browser.client.head("/setup").status_code == 200
    assert links(deployment, organization)[0]["state"] == "open"
    assert browser.post("/setup", {"code": secret}).status_code == 303
    assert links(deployment, organization)[0]["state"] == "used"


def test_link_opens_once(deployment: Deployment, organization: OrganizationRecord) -> None:
    secret = setup_link(deployment, organization)
    assert Browser(deployment).post("/setup", {"code": secret}).status_code == 303
    again = Browser(deployment).post("/setup", {"code": secret})
    assert again.status_code == 401
    assert "was opened already" in text_of(again)
    assert "Set-Cookie" not in again.headers
    refused = [line for line in deployment.activity(organization) if line.outcome == "failure"]
    assert "was opened already" in refused[0].detail


def test_one_of_two_redemptions_at_once_wins(
    deployment: Deployment, organization: OrganizationRecord, together: Any
) -> None:
    for _ in range(5):
        secret = console_link(deployment, organization)
        browsers = [Browser(deployment) for _ in range(4)]

        def redeem(browser: Browser, code: str = secret) -> int:
            return browser.post("/setup", {"code": code}).status_code

        deployment.app.extensions["wrong_codes"]._buckets.clear()
        statuses = together(deployment, [lambda b=each: redeem(b) for each in browsers])
        assert sorted(statuses) == [303, 401, 401, 401]


@pytest.mark.parametrize("state", ["revoked", "expired", "wrong", "cut off", "empty"])
def test_link_that_does_not_work_says_why(
    deployment: Deployment, organization: OrganizationRecord, state: str
) -> None:
    secret = setup_link(deployment, organization)
    link = links(deployment, organization)[-1]
    sentence = {"revoked": "was revoked", "expired": "expired on"}.get(state, "is not the code of a link")
    if state == "revoked":
        path = f"/organizations/{organization.uid}/setup-links/{link['id']}"
        assert deployment.admin("DELETE", path).status == 204
    if state == "expired":
        deployment.gateway.store.database.run(
            "UPDATE console_links SET expires = ? WHERE uid = ?", now() - 1, link["id"]
        )
    code = {"wrong": "pgs_" + "0" * 38, "cut off": secret[:-1], "empty": ""}.get(state, secret)
    answer = Browser(deployment).post("/setup", {"code": code})
    assert answer.status_code == 401
    assert sentence in text_of(answer)


def test_revoking_a_link_ends_its_session(deployment: Deployment, organization: OrganizationRecord) -> None:
    browser = sign_in(deployment, organization, "setup")
    assert browser.get("").status_code == 200
    link = links(deployment, organization)[-1]
    deployment.admin("DELETE", f"/organizations/{organization.uid}/setup-links/{link['id']}")
    assert browser.get("").status_code == 401


def test_three_setup_links_are_open_at_most(deployment: Deployment, organization: OrganizationRecord) -> None:
    for _ in range(3):
        setup_link(deployment, organization)
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/setup-links", {})
    assert answer.status == 409
    assert "Revoke one of them first" in answer.json["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"rights": ["everything"]},
        {"rights": []},
        {"expires_in_hours": 0},
        {"expires_in_hours": 721},
        {"email": "a\nb"},
        {"other": 1},
    ],
)
def test_bad_setup_links_are_refused(
    deployment: Deployment, organization: OrganizationRecord, body: dict[str, Any]
) -> None:
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/setup-links", body)
    assert answer.status == 422
    assert links(deployment, organization) == []


@pytest.mark.parametrize(
    "url",
    ["https://evil.test/", "https://app.acme.test.evil.test/", "https://app.acme.test@evil.test/", "//evil.test",
     "javascript:alert(1)", "https://APP.acme.test:443/"],
)  # fmt: skip
def test_return_url_leads_to_the_application_alone(
    deployment: Deployment, organization: OrganizationRecord, url: str
) -> None:
    body = {"person": "a@acme.test", "role": "admin", "return_url": url}
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/console-links", body)
    assert answer.status == 422


def test_return_url_of_the_application_is_led_back_to(tmp_path: Any) -> None:
    deployment = Deployment(tmp_path / "instance", console_return_origins=("https://app.acme.test",))
    try:
        organization = deployment.organization()
        browser = Browser(deployment, organization)
        secret = console_link(deployment, organization, return_url="https://app.acme.test/settings?tab=sso")
        browser.post("/setup", {"code": secret})
        assert 'href="https://app.acme.test/settings?tab=sso"' in browser.get("").get_data(as_text=True)
        out = browser.post("/console/sign-out")
        assert out.status_code == 200
        assert out.headers["Refresh"] == "0; url=https://app.acme.test/settings?tab=sso"
        assert 'href="https://app.acme.test/settings?tab=sso"' in out.get_data(as_text=True)
        assert browser.get("").status_code == 303
    finally:
        deployment.close()


def test_console_link_lasts_five_minutes(deployment: Deployment, organization: OrganizationRecord) -> None:
    secret = console_link(deployment, organization)
    found = deployment.gateway.store.console_links.find(secret)
    assert found is not None
    assert 0 < found.expires - now() <= HOUR // 12


def test_token_that_ends_makes_no_link_that_outlives_it(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    path = f"/organizations/{organization.uid}"
    made = deployment.admin("POST", f"{path}/admin-tokens", {"name": "day", "expires_in_days": 1})
    answer = deployment.admin(
        "POST", f"{path}/setup-links", {"expires_in_hours": 48}, token=made.json["token"]
    )
    assert answer.status == 403
    assert (
        deployment.admin(
            "POST", f"{path}/setup-links", {"expires_in_hours": 20}, token=made.json["token"]
        ).status
        == 201
    )


def test_failed_redemptions_are_limited(deployment: Deployment) -> None:
    limits = deployment.app.extensions["wrong_codes"]
    limits._buckets.clear()
    statuses = [Browser(deployment).post("/setup", {"code": "pgs_x"}).status_code for _ in range(40)]
    limits._buckets.clear()
    assert statuses[0] == 401
    assert statuses[-1] == 429


def test_secrets_are_in_no_row_and_no_repr(deployment: Deployment, organization: OrganizationRecord) -> None:
    secret = console_link(deployment, organization)
    browser = Browser(deployment, organization)
    browser.post("/setup", {"code": secret})
    cookie = browser.client.get_cookie("gateway")
    assert cookie is not None
    access = deployment.gateway.console_access
    session = access.find_session(cookie.value)
    assert session is not None
    access.leave(session, "token", "the value that is shown once")
    rows = [
        str(deployment.gateway.store.database.all(f"SELECT * FROM {table}"))
        for table in ("console_links", "console_sessions", "activity")
    ]
    for value in (secret, cookie.value, "the value that is shown once"):
        assert all(value not in row for row in rows)
        assert value not in repr(session)
    assert access.take(session, "token") == ["the value that is shown once"]
    assert access.take(session, "token") == []


def test_link_is_not_used_up_where_its_cookie_would_be_refused(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    secret = setup_link(deployment, organization)
    headers = {"Host": "scim.acme.test", "Sec-Fetch-Site": "same-origin"}
    answer = Browser(deployment).post("/setup", {"code": secret}, headers)
    assert answer.status_code == 403
    assert "GATEWAY_PUBLIC_URL" in text_of(answer)
    assert links(deployment, organization)[-1]["state"] == "open"


def test_failed_redemptions_leave_one_line_a_minute_without_the_person(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    secret = setup_link(deployment, organization, email="it@acme.test")
    Browser(deployment).post("/setup", {"code": secret})
    deployment.app.extensions["wrong_codes"]._buckets.clear()
    for _ in range(40):
        Browser(deployment).post("/setup", {"code": secret})
    deployment.app.extensions["wrong_codes"]._buckets.clear()
    refused = [line for line in deployment.activity(organization) if line.outcome == "failure"]
    assert 1 <= len(refused) <= 2
    assert {line.principal for line in refused} == {None}
    assert "was opened already" in refused[0].detail


@pytest.mark.parametrize(("kind", "field"), [("setup-links", "email"), ("console-links", "person")])
def test_link_for_somebody_called_operator_is_refused(
    deployment: Deployment, organization: OrganizationRecord, kind: str, field: str
) -> None:
    body = {field: " Operator"} | ({"role": "admin"} if kind == "console-links" else {})
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/{kind}", body)
    assert answer.status == 422
    assert "reserved" in answer.text


def test_operators_token_that_ends_makes_no_link_that_outlives_it_in_the_console(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    made = deployment.admin("POST", "/admin-tokens", {"name": "a day", "expires_in_days": 1})
    browser = Browser(deployment, organization)
    browser.post("/console/sign-in", {"token": made.json["token"]})
    answer = browser.post("setup-links", {"email": "", "rights": "mapping", "hours": "720"})
    assert answer.status_code == 403
    assert links(deployment, organization) == []


def test_made_link_waits_for_the_page_that_shows_it(
    deployment: Deployment, organization: OrganizationRecord, operator: Browser
) -> None:
    for email in ("a@acme.test", "b@acme.test"):
        operator.post("setup-links", {"email": email, "rights": "mapping", "hours": "24"})
    operator.client.head(operator.path("setup-links"))
    page = operator.get("setup-links").get_data(as_text=True)
    assert page.count('value="http://localhost/setup#pgs_') == 2
    assert "/setup#pgs_" not in operator.get("setup-links").get_data(as_text=True)


def test_link_that_is_revoked_in_the_moment_of_its_redemption_is_refused(
    deployment: Deployment, organization: OrganizationRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, access = setup_link(deployment, organization), deployment.gateway.console_access
    redeem = access.redeem

    def redeem_and_revoke(*arguments: Any) -> str:
        value = redeem(*arguments)
        deployment.gateway.store.database.run("UPDATE console_links SET revoked = ?", now())
        return value

    monkeypatch.setattr(access, "redeem", redeem_and_revoke)
    answer = Browser(deployment).post("/setup", {"code": secret})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_link_of_a_browser_that_is_signed_in_waits_for_its_button(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    assert "data-submits-itself" in Browser(deployment).get("/setup").get_data(as_text=True)
    page = sign_in(deployment, organization).get("/setup")
    assert "data-submits-itself" not in page.get_data(as_text=True)
    assert "ends that session" in text_of(page)


@pytest.mark.parametrize(("path", "field"), [("/setup", "code"), ("/console/sign-in", "token")])
def test_secret_that_was_typed_is_on_no_page(deployment: Deployment, path: str, field: str) -> None:
    limits = deployment.app.extensions["wrong_codes"]
    limits._buckets.clear()
    answers = [Browser(deployment).post(path, {field: "what was typed"}) for _ in range(30)]
    limits._buckets.clear()
    assert answers[-1].status_code == 429
    assert all("what was typed" not in answer.get_data(as_text=True) for answer in answers)
