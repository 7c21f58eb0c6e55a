"""What goes on beside a form: a second tab, the back button, a second click, a session that ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.okta import Okta, person
from tests.browser.served import Customer, ServedGateway
from tests.browser.steps import open_by_navigation, open_setup_link
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow


@pytest.fixture
def customer(gateway: ServedGateway) -> Customer:
    """A customer with two people and the groups Sales and Legal."""
    customer = gateway.customer(sso=True)
    session = customer.connect()
    with Okta(session) as okta:
        okta.assign(person(1, "Sales EMEA"), person(2, "Legal"))
    for name in ("Sales", "Legal"):
        customer.post(f"{customer.path}/groups", {"name": name})
    return customer


def open_page(page: Page, customer: Customer, name: str) -> None:
    page.goto(customer.console_link())
    open_by_navigation(page, name)
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def fill_rules(page: Page, *rules: tuple[str, str]) -> None:
    page.get_by_role("switch", name="Map to groups").check()
    for number, (value, group) in enumerate(rules):
        if page.get_by_label("Value in the identity provider").count() <= number:
            page.get_by_role("button", name="Add row", exact=True).click()
        page.get_by_label("Value in the identity provider").nth(number).fill(value)
        page.get_by_label("Group", exact=True).nth(number).fill(group)


def typed_rules(page: Page) -> list[tuple[str, str]]:
    columns = [
        [field.input_value() for field in page.get_by_label(label, exact=True).all()]
        for label in ("Value in the identity provider", "Group")
    ]
    return list(zip(*columns, strict=True))


def preview(page: Page) -> None:
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="Preview", exact=True)).to_be_visible()


def changes(customer: Customer, operation: str) -> Sequence[Any]:
    """Return what the activity has of an operation."""
    items = customer.get(f"{customer.path}/activity?limit=100")["items"]
    return [item for item in items if item["operation"].startswith(operation)]


SALES, LEGAL = ("Sales EMEA", "Sales"), ("Legal", "Legal")


def test_a_second_tab_that_saves_first_is_shown_to_the_other_one(
    watched: Callable[..., tuple[Page, Watch]], customer: Customer
) -> None:
    first, watch = watched()
    open_page(first, customer, "Map to groups")
    second = first.context.new_page()
    second.goto(first.url)
    fill_rules(first, SALES)
    preview(first)
    fill_rules(second, LEGAL)
    preview(second)
    second.get_by_role("button", name="Save").click()
    expect(second.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    watch.expected.add(412)
    first.get_by_role("button", name="Save").click()
    expect(first.get_by_role("alert").filter(has_text="Nothing was saved")).to_be_visible()
    expect(first.get_by_role("main")).to_contain_text("Legal → Legal")
    assert typed_rules(first) == [SALES]
    assert customer.groups_of("user1@acme.test") == set()
    first.get_by_role("button", name="Save").click()
    expect(first.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert customer.groups_of("user1@acme.test") == {"Sales"}


def test_the_back_button_shows_no_token_again_and_makes_no_second_one(page: Page, customer: Customer) -> None:
    open_page(page, customer, "Tokens")
    before = len(customer.get(f"/connections/{customer.connection}/tokens")["items"])
    page.get_by_role("button", name="Generate bearer token").first.click()
    token = page.get_by_label("Bearer token", exact=True).input_value()
    assert token.startswith("pgw_")
    open_by_navigation(page, "Home")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Tokens", exact=True)).to_be_visible()
    shown = page.locator("input").evaluate_all("all => all.map(each => each.value)")
    assert not any(token in text for text in [page.content(), *shown])
    page.reload()
    assert token not in page.content()
    assert len(customer.get(f"/connections/{customer.connection}/tokens")["items"]) == before + 1


def test_a_double_click_on_save_saves_once(page: Page, customer: Customer) -> None:
    open_page(page, customer, "Map to groups")
    fill_rules(page, SALES)
    preview(page)
    page.get_by_role("button", name="Save").dblclick()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert customer.groups_of("user1@acme.test") == {"Sales"}
    assert [each["outcome"] for each in changes(customer, "PUT /connections")][:1] == ["success"]
    assert len(changes(customer, "PUT /connections/{connection}/group-mapping")) == 1


def test_rows_outlive_a_session_that_ends_in_mid_form(
    watched: Callable[..., tuple[Page, Watch]], customer: Customer
) -> None:
    page, watch = watched()
    open_setup_link(page, customer)
    open_by_navigation(page, "Map to groups")
    fill_rules(page, SALES, LEGAL)
    (link,) = customer.get(f"{customer.path}/setup-links")["items"]
    customer.call("DELETE", f"{customer.path}/setup-links/{link['id']}", status=204)
    watch.expected.add(401)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    for text in (*SALES, *LEGAL):
        expect(page.get_by_role("cell", name=text, exact=True).first).to_be_visible()
    again = page.context.new_page()
    open_setup_link(again, customer)
    page.get_by_role("button", name="Send what I typed again").click()
    expect(page.get_by_role("heading", name="Preview", exact=True)).to_be_visible()
    assert typed_rules(page) == [SALES, LEGAL]
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert customer.groups_of("user2@acme.test") == {"Legal"}
