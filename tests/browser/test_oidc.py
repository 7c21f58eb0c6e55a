"""An operator signs in at an OpenID provider, another site: cookies and the policy let the browser come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import judge
from tests.browser.served import ServedGateway, serve
from tests.browser.watch import Watch
from tests.support.openid import CLIENT, SECRET, ProviderOfTests, openid_provider

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderOfTests]:
    """A provider whose site is not the one of the gateway, 127.0.0.1."""
    with openid_provider("localhost") as provider:
        yield provider


@pytest.fixture(scope="module")
def gateway(
    browser: Browser, provider: ProviderOfTests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedGateway]:
    """A server whose operators sign in at the provider."""
    settings = {"OIDC_ISSUER": provider.issuer, "OIDC_CLIENT_ID": CLIENT, "OIDC_CLIENT_SECRET": SECRET}
    with serve(tmp_path_factory.mktemp("served"), **settings, OIDC_OPERATOR_CLAIM="role=operator") as served:
        yield served


def sign_in(page: Page, watch: Watch) -> None:
    page.goto("/console/")
    page.get_by_role("button", name="Sign in with localhost").click()
    page.wait_for_load_state()
    # The provider is the one other site that may be opened.
    assert [problem for problem in watch.take() if "/authorize?" not in problem] == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_operator_comes_back_signed_in(
    watched: Callable[..., tuple[Page, Watch]], provider: ProviderOfTests, script: bool
) -> None:
    provider.claims = {"role": "operator", "email": "op@acme.test", "email_verified": True}
    page, watch = watched(java_script_enabled=script)
    sign_in(page, watch)
    expect(page.get_by_role("heading", name="Organizations")).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text("op@acme.test (operator)")


def test_account_without_the_claim_reads_why(
    watched: Callable[..., tuple[Page, Watch]], provider: ProviderOfTests
) -> None:
    provider.claims = {"role": "clerk"}
    page, watch = watched()
    watch.expected.add(403)
    sign_in(page, watch)
    expect(page.get_by_role("alert")).to_contain_text("the claim 'role' of your account is missing")
    expect(page.get_by_label("Admin token")).to_be_visible()
    assert judge.violations(page) == []
