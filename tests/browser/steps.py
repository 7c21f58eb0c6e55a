"""Steps that several tests make in the console."""

from __future__ import annotations

import time

from playwright.sync_api import Locator, Page, expect

from gateway.simulation.http_session import HttpSession
from gateway.testing.deployment import ADMIN_TOKEN, USER
from tests.browser.okta import Okta, person
from tests.browser.served import Customer


def sign_in_operator(page: Page) -> None:
    page.goto("/console/")
    page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Organizations")).to_be_visible()


def open_setup_link(page: Page, customer: Customer) -> None:
    page.goto(customer.setup_link())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("banner")).to_contain_text(customer.name)


def navigation(page: Page, name: str) -> Locator:
    """Return the link of the navigation to a page of the organization."""
    return page.get_by_role("banner").get_by_role("link", name=name, exact=True)


def open_by_navigation(page: Page, name: str) -> None:
    navigation(page, name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def furnish(customer: Customer) -> dict[str, str]:
    """Fill a customer of six seats so that no page is empty; return an id of each kind of thing that a rule names."""
    session = customer.connect()
    people = [
        person(number, value)
        for number, value in enumerate(("Sales EMEA", "Sales EMEA", "Legal", "", "", ""))
    ]
    with Okta(session) as okta:
        okta.assign(*people)
        okta.assign_refused(person(6, "Sales EMEA"))
        okta.push_group("Everyone in Okta", people)
    webhook = customer.post(f"{customer.path}/webhooks", {"url": "https://hooks.acme.test/scim"})
    manual = customer.post(f"{customer.path}/groups", {"name": "Works council"})
    rules = [{"value": "Sales EMEA", "group": "Sales"}]
    mapping = {"enabled": True, "attribute": customer.ATTRIBUTE, "rules": rules, "apply_to_existing": True}
    customer.post(f"/connections/{customer.connection}/group-mapping/preview", mapping, 200)
    customer.call(
        "PUT", f"/connections/{customer.connection}/group-mapping", mapping, If_Match=customer.etag()
    )
    customer.setup_link()
    let_wait(customer, session)
    domain = customer.post(f"{customer.path}/domains", {"name": "acme.test"})
    refused = customer.get(f"{customer.path}/activity?outcome=failure&limit=1")["items"][0]
    return {
        "line": refused["id"],
        "name": domain["name"],
        "import": customer.upload("user_name,groups\nimported@acme.test,Nowhere\nimported@acme.test,\n"),
        "webhook": webhook["id"],
        "attempt": wait_for_attempt(customer, webhook["id"]),
        "organization": customer.id,
        "connection": customer.connection,
        "user": customer.users()[0]["id"],
        "group": manual["id"],
        "link": customer.get(f"{customer.path}/setup-links")["items"][0]["id"],
        "token": customer.get(f"/connections/{customer.connection}/tokens")["items"][0]["id"],
    }


def let_wait(customer: Customer, session: HttpSession) -> None:
    """Have a removal and an adoption wait for an admin, and pause removals: Safety and Adoption show all they can."""
    connection = f"/connections/{customer.connection}"
    brake = {"percent": 0, "least": 0, "minutes": 60}
    customer.call("PATCH", connection, {"brake": brake, "adoption": "ask"})
    (uid,) = (each["id"] for each in customer.users() if each["user_name"] == "user1@acme.test")
    assert session.call("DELETE", f"/Users/{uid}").status == 429
    manual = customer.post(f"{customer.path}/users", {"user_name": "manual@acme.test", "active": False})
    sent = {"schemas": [USER], "userName": "manual@acme.test", "active": False}
    assert session.call("PUT", f"/Users/{manual['id']}", sent).status == 429
    customer.call("PUT", f"{connection}/pause", {"scope": "removals", "reason": "the directory is moved"})


def wait_for_attempt(customer: Customer, webhook: str) -> str:
    """Return the id of an attempt to send an event to a webhook of the customer, which has one within seconds."""
    deadline = time.monotonic() + 15
    while not (found := customer.get(f"{customer.path}/webhooks/{webhook}/attempts")["items"]):
        assert time.monotonic() < deadline, "nothing was sent to the webhook"
        time.sleep(0.05)
    return str(found[0]["id"])
