"""The customer's page "How to set up SCIM on Okta", in a browser: from a link in a mail to a saved mapping of groups.

Three people do it: with the mouse, with the keyboard alone, and in a browser without script. The simulator is Okta.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import judge
from tests.browser.hands import Hands, Keyboard, Mouse
from tests.browser.okta import Okta, person
from tests.browser.served import METADATA, Customer, ServedGateway
from tests.browser.steps import navigation, sign_in_operator
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

#: What `make screenshots` takes pictures of, with the element from which on, and how many pixels high at most.
PICTURES = dict.fromkeys(("set-up", "seats", "activity", "home", "organizations"), "body")
PICTURES["map-to-groups"] = "[role=switch]"
TALLEST = 1_100
_PLACE = """selector => {
    const page = document.documentElement, top = document.querySelector(selector).getBoundingClientRect().top
    return [Math.max(0, Math.floor(top + window.scrollY) - 16), page.scrollHeight]
}"""
BASE_URL = r"http://127\.0\.0\.1:\d+/scim/v2/okta-[a-z0-9]+"


def sign_in(hands: Hands, customer: Customer, *, script: bool) -> None:
    """Open the link of a mail. Its code is typed where there is no script to read it from the address."""
    link = customer.setup_link()
    hands.page.goto(link)
    if not script:
        hands.write(hands.page.get_by_label("Code of the link"), link.partition("#")[2])
    hands.press(hands.page.get_by_role("button", name="Continue"))
    expect(hands.page.get_by_role("heading", name="Set up", exact=True)).to_be_visible()


def set_up_sso(hands: Hands) -> None:
    """Steps 7 and 8 of the page: single sign-on comes first."""
    page = hands.page
    hands.write(page.get_by_label("SAML metadata"), METADATA)
    hands.press(page.get_by_role("button", name="Set up single sign-on"))
    expect(page.get_by_text("https://idp.acme.test", exact=True)).to_be_visible()
    hands.press(page.get_by_role("button", name="Choose"))


def turn_on(hands: Hands, *, script: bool) -> None:
    """Step 9."""
    page = hands.page
    switch = page.get_by_role("switch", name="Turn on SCIM provisioning")
    hands.toggle(switch)
    if not script:
        hands.press(page.get_by_role("button", name="Apply"))
    expect(page.get_by_role("status").filter(has_text="turned on")).to_be_visible()
    expect(switch).to_be_checked()


def copy(hands: Hands, button: str, field: str, *, script: bool) -> str:
    """Steps 10 and 12: what is pasted in Okta then."""
    page = hands.page
    if not script:
        return page.get_by_role("textbox", name=field, exact=True).input_value()
    expect(page.get_by_role("button", name=button)).to_be_visible()
    page.evaluate("navigator.clipboard.writeText('')")
    hands.press(page.get_by_role("button", name=button))
    expect(page.get_by_text("Copied.").last).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def generate_token(hands: Hands, look: Callable[[str], None], *, script: bool) -> str:
    """Steps 11 and 12. The token is on this page alone."""
    page = hands.page
    hands.choose(page.get_by_label("Token expires"), "In 90 days")
    hands.press(page.get_by_role("button", name="Generate bearer token"))
    token = copy(hands, "Copy token", "Bearer token", script=script)
    assert re.fullmatch(r"pgw_\w{30,}", token)
    look("token")
    page.reload()
    assert token not in page.content()
    return token


def receive_test_calls(hands: Hands, okta: Okta, *, script: bool) -> None:
    """Step 13: calls appear while the page is open, a refused one with its remedy, and the step is done."""
    expect(hands.page.get_by_text("No call of Okta has arrived yet")).to_be_visible()
    okta.test_wrong_token().result(30)
    wait_for_call(hands, "The token is unknown", script=script)
    okta.test_credentials().result(30)
    wait_for_call(hands, "Okta called GET /Users", script=script)


def wait_for_call(hands: Hands, text: str, *, script: bool) -> None:
    """Wait for a line of the test. A call is written within a second; without script the admin looks again."""
    line = hands.page.get_by_role("main").get_by_text(text).first
    for _ in range(0 if script else 10):
        if line.is_visible():
            break
        hands.page.wait_for_timeout(300)
        hands.press(hands.page.get_by_role("link", name="Look again"))
        hands.page.wait_for_load_state()
    expect(line).to_be_visible()


def assign(hands: Hands, customer: Customer, okta: Okta, look: Callable[[str], None]) -> None:
    """Steps 18 and 19, and "Adding seats over capacity": three seats, four people, then five seats and a retry."""
    page = hands.page
    okta.assign(person(1, "Sales EMEA"), person(2, "Sales EMEA"), person(3, "Legal"))
    waiting = person(4, "sales emea")
    assert "over capacity" in okta.assign_refused(waiting)
    hands.press(navigation(hands.page, "Seats"))
    banner = page.get_by_role("alert").filter(has_text="over capacity")
    support = banner.get_by_role("link", name="Contact support")
    assert support.get_attribute("href") == f"{customer.gateway.url}/contact"
    waiting_people = page.get_by_role("main").get_by_text("user4@acme.test")
    expect(waiting_people.first).to_be_visible()
    look("seats")
    customer.call("PATCH", customer.path, {"seats": {"limit": 5}})
    hands.press(navigation(hands.page, "Seats"))
    expect(page.get_by_role("status").filter(has_text="retry")).to_be_visible()
    expect(waiting_people.first).to_be_visible()
    okta.assign(waiting)
    hands.press(navigation(hands.page, "Seats"))
    expect(page.get_by_role("heading", name="Seats", exact=True)).to_be_visible()
    expect(banner).to_have_count(0)
    expect(waiting_people).to_have_count(0)


def map_to_groups(hands: Hands, customer: Customer, look: Callable[[str], None], *, script: bool) -> None:
    """Steps 4 to 6 of "Assigning users to groups": a new group is made by choosing so; Save does what was previewed."""
    page = hands.page
    hands.press(navigation(hands.page, "Map to groups"))
    if not script:
        hands.press(page.get_by_role("button", name="Show the values"))
    expect(page.get_by_role("cell", name="2", exact=True).first).to_be_visible()
    hands.toggle(page.get_by_role("switch", name="Map to groups"))
    hands.write(page.get_by_label("Value in the identity provider").first, "Sales EMEA")
    hands.write(page.get_by_label("Group", exact=True).first, "Sales")
    if script:
        hands.pick(page.get_by_role("option", name='Create "Sales"'))
    else:
        # The first preview asks whether the group is to be made.
        hands.press(page.get_by_role("button", name="Preview"))
        hands.toggle(page.get_by_label('Create "Sales"'))
    hands.press(page.get_by_role("button", name="Preview"))
    expect(page.get_by_role("heading", name="Joins a group: 2")).to_be_visible()
    expect(page.get_by_role("heading", name="Nobody leaves a group")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("Legal (1 person)")
    assert customer.groups_of("user1@acme.test") == set()
    look("map-to-groups")
    hands.press(page.get_by_role("button", name="Save"))
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert customer.groups_of("user1@acme.test") == {"Sales"}
    assert customer.groups_of("user3@acme.test") == set()


def set_up_all(hands: Hands, customer: Customer, *, script: bool, look: Callable[[str], None]) -> None:
    """Do the whole page; `look` judges what is open after each part, under the name of a picture."""
    sign_in(hands, customer, script=script)
    look("start")
    set_up_sso(hands)
    turn_on(hands, script=script)
    base_url = copy(hands, "Copy base URL", "Base URL", script=script)
    assert re.fullmatch(BASE_URL, base_url)
    token = generate_token(hands, look, script=script)
    with Okta(customer.gateway.session(base_url, token)) as okta:
        receive_test_calls(hands, okta, script=script)
        look("set-up")
        assign(hands, customer, okta, look)
    map_to_groups(hands, customer, look, script=script)
    hands.press(navigation(hands.page, "Activity"))
    expect(hands.page.get_by_role("main")).to_contain_text("over capacity")
    look("activity")
    hands.press(navigation(hands.page, "Home"))
    expect(hands.page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
    look("home")


def look_at_nothing(name: str) -> None:
    """Leave the judging to the test with the mouse."""


@pytest.fixture
def customer(gateway: ServedGateway) -> Customer:
    return gateway.customer("Acme", seats=3)


def test_an_admin_sets_provisioning_up_with_the_mouse(
    watched: Callable[..., tuple[Page, Watch]], customer: Customer
) -> None:
    page, _ = watched(permissions=["clipboard-read", "clipboard-write"])

    def look(name: str) -> None:
        assert (judge.violations(page), judge.sideways(page)) == ([], "")
        take_picture(page, name)

    set_up_all(Mouse(page), customer, script=True, look=look)
    page.get_by_role("button", name="Sign out").click()
    sign_in_operator(page)
    look("organizations")


def test_an_admin_sets_provisioning_up_with_the_keyboard(
    watched: Callable[..., tuple[Page, Watch]], customer: Customer
) -> None:
    page, _ = watched(permissions=["clipboard-read", "clipboard-write"])
    set_up_all(Keyboard(page), customer, script=True, look=look_at_nothing)


def test_an_admin_sets_provisioning_up_without_script(
    watched: Callable[..., tuple[Page, Watch]], customer: Customer
) -> None:
    page, watch = watched(java_script_enabled=False)
    watch.expected.add(422)
    set_up_all(Mouse(page), customer, script=False, look=look_at_nothing)


def take_picture(page: Page, name: str) -> None:
    """Write a picture of the documentation, if `make screenshots` asked for it."""
    folder = os.environ.get("GATEWAY_PICTURES")
    if folder and name in PICTURES:
        path = Path(folder) / f"{name}.png"
        top, height = page.evaluate(_PLACE, PICTURES[name])
        clip = {"x": 0, "y": top, "width": 1200, "height": min(height - top, TALLEST)}
        page.screenshot(path=path, full_page=True, clip=clip)
        assert path.stat().st_size <= 200_000, path
