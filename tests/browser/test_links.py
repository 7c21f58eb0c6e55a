"""A link opens the console once, by a click; what scanners of mail do with it uses nothing up."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from gateway.testing.deployment import ADMIN_TOKEN
from tests.browser.served import ServedGateway
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow


def test_a_setup_link_opens_the_console_by_a_click_and_leaves_the_address(
    page: Page, gateway: ServedGateway
) -> None:
    customer = gateway.customer()
    link = customer.setup_link()
    page.goto(link)
    assert page.url == f"{gateway.url}/setup"
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("banner")).to_contain_text(customer.name)
    assert page.url.startswith(f"{gateway.url}/console/organizations/{customer.id}/")
    code = link.partition("#")[2]
    assert code.startswith("pgs_")
    assert code not in page.content()
    assert code not in gateway.log.read_text()


def test_requests_and_a_browser_that_clicks_nothing_use_no_link_up(
    page: Page, gateway: ServedGateway
) -> None:
    customer = gateway.customer()
    link = customer.setup_link()
    for method in ("GET", "HEAD", "GET", "HEAD", "GET", "HEAD"):
        with urllib.request.urlopen(urllib.request.Request(link, method=method)) as answer:
            assert answer.status == 200
    for _ in range(3):
        page.goto(link)
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.goto("about:blank")
    page.goto(link)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("banner")).to_contain_text(customer.name)


def test_a_used_a_revoked_and_a_wrong_link_say_what_to_do(
    watched: Callable[..., tuple[Page, Watch]], gateway: ServedGateway
) -> None:
    customer = gateway.customer()
    page, _ = watched()
    used = customer.setup_link()
    page.goto(used)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("banner")).to_contain_text(customer.name)
    revoked = customer.setup_link()
    for each in customer.get(f"{customer.path}/setup-links")["items"]:
        if each["used_at"] is None:
            customer.call("DELETE", f"{customer.path}/setup-links/{each['id']}", status=204)
    stranger, watch = watched()
    watch.expected.add(401)
    for link, sentence in (
        (used, "opened already"),
        (revoked, "revoked"),
        (f"{used}x", "not the code of a link"),
    ):
        stranger.goto("about:blank")
        stranger.goto(link)
        stranger.get_by_role("button", name="Continue").click()
        expect(stranger.get_by_role("alert")).to_contain_text(sentence)
    stranger.goto("/console/")
    expect(stranger.get_by_role("heading", name="Sign in")).to_be_visible()
    page.reload()
    expect(page.get_by_role("banner")).to_contain_text(customer.name)


def test_a_link_without_script_asks_for_its_code(plain_page: Page, gateway: ServedGateway) -> None:
    customer = gateway.customer()
    link = customer.setup_link()
    plain_page.goto(link)
    plain_page.get_by_label("Code of the link").fill(link.partition("#")[2])
    plain_page.get_by_role("button", name="Continue").click()
    expect(plain_page.get_by_role("banner")).to_contain_text(customer.name)


def test_a_console_link_of_the_application_opens_without_a_click(page: Page, gateway: ServedGateway) -> None:
    customer = gateway.customer()
    page.goto(customer.console_link("viewer", "user7@acme.test"))
    expect(page.get_by_role("banner")).to_contain_text("user7@acme.test")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_operator_signs_in_with_a_token_that_no_page_shows(page: Page, gateway: ServedGateway) -> None:
    customer = gateway.customer("Acme of the operator")
    page.goto("/console/")
    page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name=customer.name).click()
    expect(page).to_have_url(re.compile(f"/console/organizations/{customer.id}/"))
    assert ADMIN_TOKEN not in page.content()
    assert ADMIN_TOKEN not in gateway.log.read_text()
