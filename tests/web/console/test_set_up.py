"""Set up: each step of the page, its refusals beside its form, and the test that shows calls as they arrive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from marshmallow import Schema, fields
from werkzeug.test import TestResponse

from gateway import Declaration, hookimpl
from gateway.demo.metadata import saml_metadata
from gateway.store.ids_and_time import now
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from tests.support.console import Browser, sign_in, text_of

_MINUTE = 60_000_000


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection that is turned on, with a token."""
    return deployment.connection("okta", organization)


def marks(response: TestResponse) -> list[str]:
    """The state of each step of the checklist."""
    return re.findall(r'<span class="mark">([\w ]+)</span>', response.get_data(as_text=True))


def tag(response: TestResponse, name: str, *attributes: str) -> str:
    """The only tag of a name that has these attributes."""
    tags = re.findall(rf"<{name}\b[^>]*>", response.get_data(as_text=True))
    (found,) = [each for each in tags if all(attribute in each for attribute in attributes)]
    return str(found)


def look(browser: Browser, okta: Scim, since: int, known: str = "") -> TestResponse:
    return browser.get(f"connections/{okta.uid}/calls", since=str(since), known=known)


def known(response: TestResponse) -> str:
    """What the next look for calls says it knows."""
    (found,) = re.findall(r"known=(\w+)", response.get_data(as_text=True))
    return str(found)


# From nothing to a token ---------------------------------------------------------------------------------------------


def test_customer_sets_up_from_nothing_to_the_first_call(deployment: Deployment) -> None:
    acme = deployment.organization(sso=False)
    browser = sign_in(deployment, acme, "setup")
    assert marks(browser.get("set-up")) == ["Done", "Next", "To do", "To do", "To do", "To do"]

    page = browser.follow(browser.post("connections", {"idp": "okta", "name": ""}))
    (connection,) = deployment.gateway.queries.connections(acme, 0, 10)
    assert (connection.name, connection.provisioning) == ("Okta", 0)
    assert "Okta was added." in text_of(page)
    assert "disabled" in tag(page, "input", 'role="switch"')
    assert "Single sign-on comes first" in text_of(page)

    metadata = saml_metadata("https://idp.acme.test")
    page = browser.follow(browser.post("sso", {"metadata_xml": metadata, "connection": connection.uid}))
    assert "https://idp.acme.test/sso" in text_of(page)
    assert marks(page) == ["Done", "Done", "Done", "Next", "To do", "To do"]
    assert "disabled" not in tag(page, "input", 'role="switch"')

    switch = f"connections/{connection.uid}/provisioning"
    page = browser.follow(browser.post(switch, {"enabled": "on"}))
    assert "checked" in tag(page, "input", 'role="switch"')
    page = browser.follow(
        browser.post(f"connections/{connection.uid}/tokens", {"page": "set-up", "expires": "365"})
    )
    value = re.findall(r'value="(pgw_\w+)"', page.get_data(as_text=True))[0]
    assert marks(page)[-1] == "Next"

    assert Scim(deployment, connection.uid, value).call("GET", "/Users").status == 200
    page = browser.get("set-up")
    assert marks(page) == ["Done"] * 6
    assert "Okta called GET /Users — done" in text_of(page)
    assert not browser.follow(browser.post(switch)).get_data(as_text=True).count(" checked")
    assert not deployment.gateway.queries.connection(connection.uid, None)[0].provisioning


def test_activity_names_the_person_who_set_up(deployment: Deployment) -> None:
    acme = deployment.organization(sso=False)
    browser = sign_in(deployment, acme)
    browser.post("sso", {"metadata_xml": saml_metadata("https://idp.acme.test")})
    browser.post("connections", {"idp": "generic", "name": "Staff"})
    lines = [line for line in deployment.activity(acme) if line.principal == "admin@acme.test"]
    assert [line.operation for line in lines if "Link" not in line.facts] == [
        "POST /organizations/{organization}/connections",
        "PUT /organizations/{organization}/sso",
    ]


def test_token_value_is_shown_once(deployment: Deployment, okta: Scim, admin: Browser) -> None:
    made = admin.post(f"connections/{okta.uid}/tokens", {"page": "set-up", "expires": "never"})
    assert "pgw_" not in made.location
    admin.client.head(made.location)
    assert "Copy token" in admin.follow(made).get_data(as_text=True)
    for page in (admin.follow(made), admin.get("set-up"), admin.get("tokens")):
        assert "Copy token" not in page.get_data(as_text=True)
    assert len(deployment.gateway.queries.tokens(okta.connection, 0)) == 2


def test_token_value_is_shown_to_its_session_alone(okta: Scim, admin: Browser, viewer: Browser) -> None:
    made = admin.post(f"connections/{okta.uid}/tokens", {"page": "set-up", "expires": "90"})
    assert "Copy token" not in viewer.get("set-up").get_data(as_text=True)
    assert "Copy token" in admin.follow(made).get_data(as_text=True)


# Refusals ------------------------------------------------------------------------------------------------------------


def test_broken_metadata_is_refused_beside_what_was_typed(admin: Browser, deployment: Deployment) -> None:
    answer = admin.post("sso", {"metadata_xml": "<Entity>&lt;b&gt;</Entity>"})
    assert answer.status_code == 400
    assert "This is not SAML metadata" in text_of(answer)
    assert "&lt;Entity&gt;" in answer.get_data(as_text=True)
    assert "autofocus" in tag(answer, "textarea")
    assert admin.organization is not None
    assert deployment.activity(admin.organization)[0].outcome == "failure"


def test_switch_is_refused_where_the_plan_ends_meanwhile(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    okta = deployment.connection("okta", organization, provisioning=False)
    assert "disabled" not in tag(admin.get("set-up"), "input", 'role="switch"')
    deployment.admin("PATCH", f"/organizations/{organization.uid}", {"plan": "free"})
    answer = admin.post(f"connections/{okta.uid}/provisioning", {"enabled": "on"})
    assert answer.status_code == 409
    assert "part of the enterprise plan" in text_of(answer)
    assert not okta.connection.provisioning


def test_switch_can_be_turned_off_whatever_the_plan(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    deployment.admin("PATCH", f"/organizations/{organization.uid}", {"plan": "free"})
    assert "disabled" not in tag(admin.get("set-up"), "input", 'role="switch"')
    admin.follow(admin.post(f"connections/{okta.uid}/provisioning"))
    assert not okta.connection.provisioning


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"idp": "billing"}, "There is no identity provider"),
        ({"idp": "okta", "name": "two\nlines"}, "Name: Holds the control character"),
        ({}, "There is no identity provider"),
    ],
)
def test_connection_is_refused_beside_its_form(admin: Browser, form: dict[str, str], sentence: str) -> None:
    answer = admin.post("connections", form)
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    assert "Your identity provider" in text_of(answer)


class Demanding:
    """The plugin of an identity provider that cannot do without a setting."""

    class Settings(Schema):
        tenant = fields.String(required=True)

    @hookimpl
    def gateway_declare(self) -> Declaration:
        return Declaration(title="Demanding", idp=True, settings=self.Settings)


def test_identity_provider_that_needs_settings_is_left_to_operators(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "instance")
    deployment.gateway.plugins.add(Demanding(), "demanding")
    browser = sign_in(deployment, deployment.organization())
    answer = browser.post("connections", {"idp": "demanding"})
    assert answer.status_code == 400
    assert "needs settings that the console does not ask for: tenant" in text_of(answer)
    deployment.close()


def test_unknown_connection_of_the_page_is_not_found(admin: Browser) -> None:
    assert admin.get("set-up", connection="01a22379-9ae7-749c-808d-6459aa167202").status_code == 404


# The test ------------------------------------------------------------------------------------------------------------


def test_calls_show_up_at_the_next_look(okta: Scim, admin: Browser) -> None:
    opened = now()
    first = look(admin, okta, opened)
    assert "No call of Okta has arrived yet" in text_of(first)
    assert 'hx-trigger="every 1s"' in first.get_data(as_text=True)
    assert look(admin, okta, opened, known(first)).status_code == 204

    okta.call("GET", "/Users")
    second = look(admin, okta, opened, known(first))
    assert "Okta called GET /Users — done" in text_of(second)
    assert 'id="checklist" hx-swap-oob="true"' in second.get_data(as_text=True)
    assert marks(second) == ["Done"] * 6
    assert look(admin, okta, opened, known(second)).status_code == 204

    refused = okta.call("GET", "/Users", token="pgw_wrong")
    third = look(admin, okta, opened, known(second))
    assert refused.status == 401
    assert "Somebody without a valid token called GET /Users — refused The token is unknown" in text_of(third)
    okta.call("GET", "/Users", token="pgw_wrong")
    assert "GET /Users 2 times — refused" in text_of(look(admin, okta, opened, known(third)))


def test_calls_of_before_are_not_new(okta: Scim, admin: Browser) -> None:
    okta.call("GET", "/Users")
    assert "new" not in text_of(look(admin, okta, now() + 1))
    assert "new" in text_of(look(admin, okta, now() - _MINUTE))


def test_refused_call_shows_its_remedy(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    deployment.admin("PUT", f"/connections/{okta.uid}/provisioning", {"enabled": False})
    assert okta.call("GET", "/Users").status == 403
    shown = look(admin, okta, now() - _MINUTE)
    assert "Okta called GET /Users — refused Provisioning is switched off" in text_of(shown)
    assert marks(shown)[-1] == "To do"


def test_test_stops_looking_after_ten_minutes(okta: Scim, admin: Browser) -> None:
    ended = look(admin, okta, now() - 10 * _MINUTE)
    assert "hx-get" not in ended.get_data(as_text=True)
    assert "Look again" in text_of(ended)
    assert "hx-get" in look(admin, okta, now() - 9 * _MINUTE).get_data(as_text=True)


@pytest.mark.parametrize("since", ["", "x", "-1", "9" * 30])
def test_wrong_moment_of_a_look_ends_it(okta: Scim, admin: Browser, since: str) -> None:
    answer = admin.get(f"connections/{okta.uid}/calls", since=since)
    assert (answer.status_code, "hx-get" in answer.get_data(as_text=True)) == (200, False)


def test_look_of_an_ended_session_says_so_in_its_place(okta: Scim, admin: Browser) -> None:
    path = admin.path(f"connections/{okta.uid}/calls")
    admin.post("/console/sign-out")
    answer = admin.client.get(path, headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert "<html" not in answer.get_data(as_text=True)
    assert "Your session has ended" in text_of(answer)


def test_look_for_a_removed_connection_is_refused_in_its_place(
    deployment: Deployment, okta: Scim, admin: Browser
) -> None:
    path = admin.path(f"connections/{okta.uid}/calls")
    deployment.admin("DELETE", f"/connections/{okta.uid}")
    answer = admin.client.get(path, headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert "<html" not in answer.get_data(as_text=True)


def test_connection_is_checked_in_words(okta: Scim, admin: Browser) -> None:
    assert "Plan: in order" not in text_of(admin.get("set-up"))
    okta.deployment.admin("PUT", f"/connections/{okta.uid}/provisioning", {"enabled": False})
    page = text_of(admin.get("set-up", check="yes"))
    assert "Plan: in order The plan enterprise has provisioning." in page
    assert "Provisioning: not in order Provisioning is switched off" in page
    assert "Last refused call No call was refused" in page


# Several connections, rename, remove ---------------------------------------------------------------------------------


def test_page_shows_the_connection_that_is_asked_for(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    other = deployment.connection("generic", organization)
    assert f"/scim/v2/{okta.connection.slug}" in admin.get("set-up").get_data(as_text=True)
    page = admin.get("set-up", connection=other.uid)
    assert f'value="http://localhost/scim/v2/{other.connection.slug}"' in page.get_data(as_text=True)
    assert "Enter http://localhost/scim/v2/" in text_of(page)
    assert "Another identity provider" in text_of(admin.get("set-up", connection="new"))


def test_connection_beyond_those_of_the_overview_is_shown(
    organization: OrganizationRecord, okta: Scim, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.provisioning.overview.CONNECTIONS", 0)
    assert f"/scim/v2/{okta.connection.slug}" in admin.get("set-up", connection=okta.uid).get_data(
        as_text=True
    )
    assert "Okta" in text_of(admin.get("tokens", connection=okta.uid))
    assert "No identity provider was chosen yet" in text_of(admin.get("tokens"))


def test_connection_is_renamed(okta: Scim, admin: Browser) -> None:
    assert "Okta EMEA" in text_of(
        admin.follow(admin.post(f"connections/{okta.uid}/name", {"name": "Okta EMEA"}))
    )
    answer = admin.post(f"connections/{okta.uid}/name", {"name": "  "})
    assert (answer.status_code, okta.connection.name) == (400, "Okta EMEA")
    assert "Name: " in text_of(answer)


def test_connection_is_removed_once_confirmed_and_its_people_stay(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    okta.user("user1@acme.test")
    asked = text_of(admin.get(f"connections/{okta.uid}/remove"))
    assert "Its people and groups stay" in asked
    assert "Okta was removed" in text_of(admin.follow(admin.post(f"connections/{okta.uid}/remove")))
    assert deployment.gateway.queries.connections(organization, 0, 10) == []
    assert deployment.used(organization) == 1


def test_viewer_sees_the_state_and_why_it_cannot_be_changed(okta: Scim, viewer: Browser) -> None:
    page = viewer.get("set-up")
    assert "lets you look at single sign-on, connections and tokens, not change them" in text_of(page)
    assert "disabled" in tag(page, "input", 'role="switch"')
    assert 'method="post" action="/console/organizations' not in page.get_data(as_text=True).replace(
        f'action="/console/organizations/{okta.organization.uid}/connections/{okta.uid}/provisioning"', ""
    )
