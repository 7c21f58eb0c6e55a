"""Every page of the console, as the operator sees it: readable by all, in light and dark, narrow and zoomed.

The pages are those of the URL map, so that a new one is looked at without being listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import judge
from tests.browser.conftest import NARROW, WINDOW, ZOOMED
from tests.browser.served import Customer, ServedGateway
from tests.browser.steps import furnish, sign_in_operator
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

WINDOWS = {"320 px": NARROW, "200 %": ZOOMED}
#: What a colour scheme decides; the other rules hold in one as in the other.
RULES_OF_COLOURS = ("color-contrast", "link-in-text-block")


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


def faults_in_all_looks(page: Page) -> list[str]:
    """Return the faults in light and dark, narrow and zoomed: a page is loaded once and then looked at in each."""
    found = judge.violations(page)
    page.emulate_media(color_scheme="dark")
    found += judge.violations(page, *RULES_OF_COLOURS)
    page.emulate_media(color_scheme="light")
    for name, window in WINDOWS.items():
        page.set_viewport_size(window["viewport"])
        found += [f"{name}: {fault}" for fault in [judge.sideways(page)] if fault]
    page.set_viewport_size(WINDOW["viewport"])
    return found


def test_every_page_is_accessible_and_scrolls_one_way(
    watched: Callable[..., tuple[Page, Watch]], pages: dict[str, str]
) -> None:
    page, watch = watched()
    page.goto("/console/")
    assert faults_in_all_looks(page) == []
    watch.expected.add(401)
    page.goto("/setup#pgs_0")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert faults_in_all_looks(page) == []
    watch.expected.clear()
    sign_in_operator(page)
    assert look(page, pages, faults_in_all_looks) == {}
    watch.expected.add(404)
    page.goto("/console/nowhere")
    assert faults_in_all_looks(page) == []


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


def test_faults_of_a_page_are_noticed(page: Page) -> None:
    page.goto("/console/")
    assert (faults_in_all_looks(page), judge.sideways(page)) == ([], "")
    page.evaluate(
        "document.querySelector('input').closest('label').replaceWith(document.createElement('input'))"
    )
    assert any(fault.startswith("label (critical)") for fault in judge.violations(page))
    page.evaluate("document.querySelector('h1').append('W'.repeat(500))")
    assert judge.sideways(page) == ""
    page.evaluate("document.querySelector('h1').style.whiteSpace = 'nowrap'")
    assert "px: " in judge.sideways(page)
    page.evaluate(
        "document.styleSheets[0].insertRule('@media (prefers-color-scheme: dark) { h1 { color: #222 !important } }')"
    )
    found = faults_in_all_looks(page)
    assert {"color-contrast", "320", "200"} <= {fault.split()[0] for fault in found}
