"""The pages that failed checks and warnings lead to: each is there, with the place on it, and both lead to the same."""

from __future__ import annotations

import re

import pytest

from gateway.provisioning.diagnostics.checks import Check
from gateway.provisioning.diagnostics.pages import NEW_CONNECTION, PAGES, PROVISIONING, REFUSED_CALLS, Page
from gateway.store.records import TroubleRecord
from gateway.testing import Deployment, Scim
from gateway.web.console.trouble_words import describe_troubles
from tests.support.console import sign_in, text_of


@pytest.fixture(scope="module")
def okta(shared_deployment: Deployment) -> Scim:
    shared_deployment.connection("entra", organization := shared_deployment.organization())
    okta = shared_deployment.connection("okta", organization)
    # The set-up page shows the plan where it lacks provisioning.
    shared_deployment.admin("PATCH", f"/organizations/{organization.uid}", {"plan": "free"})
    return okta


@pytest.mark.parametrize("page", sorted({*PAGES.values(), NEW_CONNECTION, PROVISIONING, REFUSED_CALLS}))
def test_page_of_a_check_is_there_and_shows_its_connection(
    deployment: Deployment, okta: Scim, page: Page
) -> None:
    browser = sign_in(deployment, okta.organization)
    url = page.locate(okta.organization.uid, okta.uid)
    answer = browser.client.get(url)
    assert answer.status_code == 200, url
    shown = answer.get_data(as_text=True)
    assert not page.place or f'id="{page.place}"' in shown
    if page.of_connection:
        assert re.search(r'aria-current="page">Okta|selected>Okta|<h[12][^>]*>[^<]*Okta', shown), url


@pytest.mark.parametrize("cause", PAGES)
def test_warning_leads_where_its_check_leads(deployment: Deployment, cause: str) -> None:
    with deployment.app.test_request_context():
        (shown,) = describe_troubles("acme", [TroubleRecord("uid", "Okta", cause, 0)])
    page = Check(cause, "warn", "Found.").page
    assert page is not None
    assert shown.url == page.locate("acme", "uid")


def test_remedy_of_map_to_groups_leads_to_its_connection(deployment: Deployment, okta: Scim) -> None:
    """It led to a page that is not there, and without the connection to the rules of the first one."""
    remedy = Check("map_to_groups", "warn", "Found.", "Add a rule.").describe_remedy(
        "https://acme.test", okta.organization.uid, okta.uid
    )
    assert remedy.startswith("Add a rule. https://acme.test/console/")
    page = sign_in(deployment, okta.organization).client.get(remedy.partition("acme.test")[2])
    assert "Map to groups" in text_of(page)
