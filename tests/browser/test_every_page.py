"""Every page of the console, as the operator sees it: readable by all, in light and dark, narrow and zoomed.

The pages are those of the URL map, so that a new one is looked at without being listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import judge
from tests.browser.conftest import NARROW, ZOOMED
from tests.browser.served import Customer, ServedGateway
from tests.browser.steps import furnish, sign_in_operator
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def customer(gateway: ServedGateway) -> Customer:
    return gateway.customer("Acme", seats=6, sso=True)


@pytest.fixture(scope="module")
def pages(gateway: ServedGateway, customer: Customer) -> dict[str, str]:
    return gateway.pages(**furnish(customer))


def look(page: Page, pages: dict[str, str], find_fault: Callable[[Page], Any]) -> dict[str, Any]:
    """Open each page, and return the faults that are found, by its endpoint. Downloads and fragments are no pages."""
    faults = {}
    looked_at = 0
    for endpoint, path in pages.items():
        answer = page.request.get(path)
        if not answer.text().startswith("<!doctype html>"):
            assert answer.ok, (endpoint, answer.status)
            continue
        page.goto(path)
        looked_at += 1
        if fault := find_fault(page):
            faults[endpoint] = fault
    assert looked_at >= 4
    return faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(
    watched: Callable[..., tuple[Page, Watch]], pages: dict[str, str], scheme: str
) -> None:
    page, watch = watched(color_scheme=scheme)
    assert look_at_strangers_pages(page, watch, judge.violations) == [[], []]
    sign_in_operator(page)
    assert look(page, pages, judge.violations) == {}
    watch.expected.add(404)
    page.goto("/console/nowhere")
    assert judge.violations(page) == []


def test_pages_of_an_empty_organization_that_a_viewer_opens_are_accessible(
    watched: Callable[..., tuple[Page, Watch]],
    gateway: ServedGateway,
    customer: Customer,
    pages: dict[str, str],
) -> None:
    page, _ = watched()
    page.goto(customer.console_link("viewer"))
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
    seen = {
        endpoint: path
        for endpoint, path in pages.items()
        if path.startswith("/console/organizations/") and page.request.get(path).ok
    }
    empty = gateway.customer("Empty")
    page.goto(empty.console_link("admin"))
    # The browser is signed in already, so this link does not submit itself.
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("banner")).to_contain_text("Empty")
    mine = {
        endpoint: path
        for endpoint, path in gateway.pages_of_organization(empty.id).items()
        if endpoint in seen
    }
    assert look(page, mine, judge.violations) == {}


@pytest.mark.parametrize("window", [NARROW, ZOOMED], ids=["320 px", "200 %"])
def test_no_page_scrolls_sideways(
    watched: Callable[..., tuple[Page, Watch]], pages: dict[str, str], window: dict[str, Any]
) -> None:
    page, watch = watched(**window)
    assert look_at_strangers_pages(page, watch, judge.sideways) == ["", ""]
    sign_in_operator(page)
    assert look(page, pages, judge.sideways) == {}


def look_at_strangers_pages(page: Page, watch: Watch, find_fault: Callable[[Page], Any]) -> list[Any]:
    """Return the faults of the page to sign in and of that of a used-up link."""
    page.goto("/console/")
    faults = [find_fault(page)]
    watch.expected.add(401)
    page.goto("/setup#pgs_0")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    watch.expected.clear()
    return [*faults, find_fault(page)]


def test_faults_of_a_page_are_noticed(page: Page) -> None:
    page.goto("/console/")
    assert (judge.violations(page), judge.sideways(page)) == ([], "")
    page.evaluate(
        "document.querySelector('input').closest('label').replaceWith(document.createElement('input'))"
    )
    assert any(fault.startswith("label (critical)") for fault in judge.violations(page))
    page.evaluate("document.querySelector('h1').append('W'.repeat(500))")
    assert judge.sideways(page) == ""
    page.evaluate("document.querySelector('h1').style.whiteSpace = 'nowrap'")
    assert "px: " in judge.sideways(page)
