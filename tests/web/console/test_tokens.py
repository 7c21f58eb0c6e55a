"""Tokens: made, replaced without a gap, revoked with a confirmation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.store.ids_and_time import in_days
from gateway.store.records import OrganizationRecord, TokenRecord
from gateway.testing import Deployment, Scim
from tests.support.console import Browser, text_of

_DAY = 86_400_000_000


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection with a token called `test`, which does not expire."""
    return deployment.connection("okta", organization)


def tokens(okta: Scim) -> list[TokenRecord]:
    return okta.deployment.gateway.queries.tokens(okta.connection, 0)


@pytest.mark.parametrize(("chosen", "days"), [("90", 90), ("365", 365), ("730", 730), ("never", None)])
def test_token_expires_as_it_was_chosen(okta: Scim, admin: Browser, chosen: str, days: int | None) -> None:
    page = admin.follow(
        admin.post(f"connections/{okta.uid}/tokens", {"label": "Okta 2026", "expires": chosen})
    )
    made = tokens(okta)[-1]
    wanted = in_days(days)
    assert made.label == "Okta 2026"
    assert made.expires is wanted is None or abs((made.expires or 0) - (wanted or 0)) < _DAY / 24
    value = re.findall(r'value="(pgw_\w+)"', page.get_data(as_text=True))
    assert okta.call("GET", "/Users", token=value[0]).status == 200


def test_usual_life_of_a_token_is_a_year(okta: Scim, admin: Browser) -> None:
    assert '<option value="365" selected>In 1 year</option>' in admin.get("tokens").get_data(as_text=True)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"expires": "1"}, "Choose when the token expires."),
        ({}, "Choose when the token expires."),
        ({"expires": "90", "label": "two\nlines"}, "Label: Holds the control character"),
    ],
)
def test_token_is_refused_beside_its_form(
    okta: Scim, admin: Browser, form: dict[str, str], sentence: str
) -> None:
    answer = admin.post(f"connections/{okta.uid}/tokens", form)
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    assert len(tokens(okta)) == 1


def test_token_is_replaced_without_a_gap(okta: Scim, admin: Browser) -> None:
    assert okta.call("GET", "/Users").status == 200
    page = admin.get("tokens").get_data(as_text=True)
    assert '<li aria-current="step">Make a new one below.' in page

    made = admin.follow(admin.post(f"connections/{okta.uid}/tokens", {"expires": "365"})).get_data(
        as_text=True
    )
    assert '<li aria-current="step">Paste it in Okta' in made
    assert "It has not used the newest one yet." in made
    new = re.findall(r'value="(pgw_\w+)"', made)[0]
    assert okta.call("GET", "/Users").status == 200
    assert okta.call("GET", "/Users", token=new).status == 200

    used = admin.get("tokens")
    assert '<li aria-current="step">Revoke the old one.' in used.get_data(as_text=True)
    assert text_of(used).count("The newer token is in use: you can revoke this one.") == 1
    old = tokens(okta)[0]
    asked = text_of(admin.get(f"connections/{okta.uid}/tokens/{old.uid}/revoke"))
    assert "The newer token is in use" in asked
    admin.follow(admin.post(f"connections/{okta.uid}/tokens/{old.uid}/revoke"))
    assert okta.call("GET", "/Users").status == 401
    assert okta.call("GET", "/Users", token=new).status == 200


def test_the_only_token_is_revoked_after_a_warning(okta: Scim, admin: Browser) -> None:
    (only,) = tokens(okta)
    assert "all calls are refused until there is a new one" in text_of(
        admin.get(f"connections/{okta.uid}/tokens/{only.uid}/revoke")
    )
    assert len(tokens(okta)) == 1
    assert "The token was revoked." in text_of(
        admin.follow(admin.post(f"connections/{okta.uid}/tokens/{only.uid}/revoke"))
    )
    assert tokens(okta) == []
    assert admin.get(f"connections/{okta.uid}/tokens/{only.uid}/revoke").status_code == 404
    assert admin.post(f"connections/{okta.uid}/tokens/{only.uid}/revoke").status_code == 404


def test_expired_token_is_shown_as_expired(okta: Scim, admin: Browser) -> None:
    with okta.deployment.gateway.store.transaction():
        okta.deployment.gateway.store.tokens.add(okta.connection, "old", in_days(-1))
    assert "expired" in text_of(admin.get("tokens"))


def test_no_token_outlives_the_admin_token_of_the_session(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim
) -> None:
    made = deployment.admin(
        "POST", f"/organizations/{organization.uid}/admin-tokens", {"name": "short", "expires_in_days": 100}
    )
    browser = Browser(deployment, organization)
    assert browser.post("/console/sign-in", {"token": made.json["token"]}).status_code == 303
    answer = browser.post(f"connections/{okta.uid}/tokens", {"expires": "365"})
    assert answer.status_code == 403
    assert "makes no token that is valid for longer" in text_of(answer)
    assert browser.post(f"connections/{okta.uid}/tokens", {"expires": "90"}).status_code == 303


def test_viewer_sees_tokens_without_forms(okta: Scim, viewer: Browser) -> None:
    page = viewer.get("tokens")
    assert "not make or revoke them" in text_of(page)
    assert "Generate bearer token" not in text_of(page)
    assert "Revoke" not in text_of(page)
    assert tokens(okta)[0].prefix in text_of(page)


def test_tokens_of_two_tabs_are_both_shown(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    connection = deployment.connection("okta", organization).connection
    for label in ("first tab", "second tab"):
        admin.post(f"connections/{connection.uid}/tokens", {"expires": "365", "label": label})
    assert admin.get("tokens").get_data(as_text=True).count('value="pgw_') == 2
    assert 'value="pgw_' not in admin.get("tokens").get_data(as_text=True)


def test_values_that_two_tabs_leave_at_once_are_all_kept(
    deployment: Deployment, admin: Browser, together: Any
) -> None:
    access = deployment.gateway.console_access
    held = admin.client.get_cookie("gateway")
    assert held is not None
    session = access.find_session(held.value)
    assert session is not None
    together(deployment, [lambda n=n: access.leave(session, "token", n) for n in range(4)])
    assert sorted(access.take(session, "token")) == [0, 1, 2, 3]
