"""Text of an identity provider is shown as text: on every page no part of it becomes markup, script or an address."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page

from gateway import GROUP_URN, USER_URN
from tests.browser import judge
from tests.browser.conftest import NARROW
from tests.browser.hostile_texts import REFUSED, TEXTS
from tests.browser.served import EXTENSION, Customer, ServedGateway
from tests.browser.steps import sign_in_operator, wait_for_attempt
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

_TRAP = "window.ran = () => console.error('a hostile text ran')"
#: Elements and attributes that no template writes.
_INTRUDERS = """() => {
    const foreign = 'marquee, iframe, object, embed, plaintext, base, math, video, style, body script,'
        + ' template:not([id]), meta[http-equiv], hx-partial, details[ontoggle], svg script, animate'
    const found = [...document.querySelectorAll(foreign)]
    for (const each of document.body.querySelectorAll('*'))
        for (const {name, value} of each.attributes)
            if (/^on|^style$/.test(name) || /^\\s*(javascript|data):/i.test(value)
                && ['href', 'src', 'action', 'formaction'].includes(name)) found.push(each)
    return found.map(each => each.outerHTML.slice(0, 200))
}"""


class Target(NamedTuple):
    """A customer with hostile texts wherever an identity provider or an admin can put them."""

    customer: Customer
    pages: dict[str, str]
    user_names: list[str]


def create_user(session: Any, name: str, text: str) -> Any:
    return session.call(
        "POST",
        "/Users",
        {
            "schemas": [USER_URN, EXTENSION], "userName": name, "displayName": text, "externalId": text,
            "name": {"givenName": text, "familyName": text}, "active": True,
            "emails": [{"primary": True, "type": "work", "value": name}], EXTENSION: {"group": text},
        },
    )  # fmt: skip


def upload_texts(customer: Customer) -> str:
    """Upload a file with hostile texts in its cells; return the id of the import."""
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["user_name", "groups"])
    rows.writerows([[text, text] for text in TEXTS])
    return customer.upload(file.getvalue())


@pytest.fixture(scope="module")
def target(gateway: ServedGateway) -> Target:
    customer = gateway.customer("<script>ran()</script> & \"Söhne\" 'Acme'", seats=1000, sso=True)
    session = customer.connect()
    user_names = []
    for number, text in enumerate(TEXTS):
        made = create_user(session, f"user{number}@acme.test", text)
        assert made.status == 201, (text, made.text)
        group = session.call("POST", "/Groups", {"schemas": [GROUP_URN], "displayName": text, "members": []})
        assert group.status == 201, (text, group.text)
        name = f"{text.replace(' ', '')[:60]}@acme.test"
        if create_user(session, name, text).status == 201:
            user_names.append(name)
    assert len(user_names) >= 60
    for number, text in enumerate(REFUSED):
        refused = session.call(
            "POST", "/Groups", {"schemas": [GROUP_URN], "displayName": text, "members": []}
        )
        assert refused.status == 400, (text, refused.text)
        create_user(session, f"control{number}@acme.test", text)
    rules = [{"value": text, "group": f"{text[:50]} mapped"} for text in TEXTS]
    mapping = {"enabled": True, "attribute": customer.ATTRIBUTE, "rules": rules, "apply_to_existing": True}
    customer.post(f"/connections/{customer.connection}/group-mapping/preview", mapping, 200)
    customer.call(
        "PUT", f"/connections/{customer.connection}/group-mapping", mapping, If_Match=customer.etag()
    )
    webhook = customer.post(f"{customer.path}/webhooks", {"url": "https://hooks.acme.test/scim"})
    customer.post(f"{customer.path}/groups", {"name": "Sent to the webhook"})
    token = customer.post(f"/connections/{customer.connection}/tokens", {"label": TEXTS[0]})
    customer.setup_link()
    domain = customer.post(f"{customer.path}/domains", {"name": "hostile.test"})
    user = next(user for user in customer.users() if user["display_name"] == TEXTS[3])
    group = customer.get(f"{customer.path}/groups?limit=1")["items"][0]
    # Refused for its lack of a userName, and explained with all that it brought.
    assert session.call("POST", "/Users", {"schemas": [USER_URN], "texts": TEXTS}).status == 400
    refused = customer.get(f"{customer.path}/activity?outcome=failure&limit=1")["items"][0]
    ids = {
        "line": refused["id"],
        "organization": customer.id,
        "connection": customer.connection,
        "user": user["id"],
        "group": group["id"],
        "token": token["id"],
        "link": customer.get(f"{customer.path}/setup-links")["items"][0]["id"],
        "webhook": webhook["id"],
        "name": domain["name"],
        "import": upload_texts(customer),
        "attempt": wait_for_attempt(customer, webhook["id"]),
    }
    return Target(customer, gateway.pages(**ids), user_names)


@pytest.fixture
def narrow(watched: Callable[..., tuple[Page, Watch]]) -> Page:
    """An operator's narrow page, in which a text that runs is an error of the console."""
    page, _ = watched(**NARROW)
    page.context.add_init_script(_TRAP)
    sign_in_operator(page)
    return page


def follow(page: Page, path: str) -> Iterator[None]:
    """Open a page of a list and those that follow it."""
    page.goto(path)
    yield
    for _ in range(20):
        following = page.get_by_role("link", name="Next page")
        if following.count() == 0:
            return
        following.click()
        page.wait_for_load_state()
        yield
    raise AssertionError("the list does not end")


def test_hostile_texts_run_nowhere(narrow: Page, target: Target) -> None:
    faults = {}
    for endpoint, path in target.pages.items():
        if not narrow.request.get(path).text().startswith("<!doctype html>"):
            continue
        narrow.goto(path)
        if fault := narrow.evaluate(_INTRUDERS) or judge.sideways(narrow):
            faults[endpoint] = fault
    assert faults == {}


@pytest.mark.parametrize("name", ["people", "groups", "mapping"])
def test_hostile_names_are_listed_as_they_were_sent(narrow: Page, target: Target, name: str) -> None:
    texts = [*TEXTS, *target.user_names] if name == "people" else TEXTS
    for _ in follow(narrow, target.pages[f"console.show_{name}"]):
        texts = judge.missing_texts(narrow, texts)
        assert narrow.evaluate(_INTRUDERS) == []
        assert judge.sideways(narrow) == ""
    assert texts == []


def test_hostile_texts_are_explained_as_they_were_sent(narrow: Page, target: Target) -> None:
    narrow.goto(target.pages["console.show_explanation"])
    # In JSON, where what cannot be seen is escaped.
    plain = [text for text in TEXTS if text.isprintable() and not set(text) & set('"\\')]
    assert len(plain) > 60
    assert judge.missing_texts(narrow, plain) == []


def test_a_hostile_name_is_no_formula_of_a_spreadsheet(narrow: Page, target: Target) -> None:
    answer = narrow.request.get(target.pages["console.export_people"])
    rows = list(csv.reader(answer.text().splitlines()))
    assert len(rows) > len(TEXTS)
    assert [cell for row in rows for cell in row if re.match(r"[=+\-@\t\r]", cell)] == []


def test_intruders_are_noticed(narrow: Page) -> None:
    narrow.evaluate(
        "document.querySelector('h1').innerHTML = '<marquee onstart=1>x</marquee><a href=javascript:1>y</a>'"
    )
    assert len(narrow.evaluate(_INTRUDERS)) == 3
    assert judge.missing_texts(narrow, ["x", "<b>"]) == ["<b>"]
