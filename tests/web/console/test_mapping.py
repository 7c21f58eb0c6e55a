"""Map to groups in the console: plain forms edit and preview the rows, and save only what was previewed."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP
from gateway.web.console import mapping
from tests.support.admin import AdminClient
from tests.support.console import Browser, sign_in, text_of

URN = "urn:calendly:scim:schemas:2.0:User"
ATTRIBUTE = f"{URN}:group"


class Page:
    """The page of one connection, whose form is sent with the hidden fields of the last answer, as a browser does."""

    def __init__(self, deployment: Deployment, okta: Scim, browser: Browser) -> None:
        self.okta, self.browser = okta, browser
        self.rest = AdminClient(deployment, okta.organization.uid)
        self.hidden: dict[str, str] = {}

    def assign(self, number: int, *values: str) -> dict[str, Any]:
        """Okta creates a user whose attribute `group` has these values."""
        group = {URN: {"group": list(values)}} if values else {}
        return self.okta.user(f"user{number}@acme.test", **group)

    def send(self, action: str, rules: list[tuple[str, str]], **fields: Any) -> TestResponse:
        """Send the form with a button."""
        form = {"enabled": "yes", "attribute": ATTRIBUTE, "apply_to_existing": "yes"} | self.hidden
        form |= {"value": [value for value, _ in rules], "group": [group for _, group in rules]} | fields
        form = {name: value for name, value in form.items() if value is not None}
        answer = self.browser.post(f"connections/{self.okta.uid}/map-to-groups/{action}", form)
        if answer.status_code != 303:
            text = answer.get_data(as_text=True)
            self.hidden = {
                name: html.unescape(value)
                for name, value in re.findall(r'type="hidden" name="(_\w+)" value="([^"]*)"', text)
            }
        return answer

    def preview(self, rules: list[tuple[str, str]], **fields: Any) -> TestResponse:
        return self.send("preview", rules, **fields)

    def save(self, rules: list[tuple[str, str]], **fields: Any) -> TestResponse:
        return self.send("save", rules, **fields)

    def groups_of(self, user: dict[str, Any]) -> dict[str, list[str]]:
        shown = self.rest.get(f"{self.rest.path}/users/{user['id']}")
        return {group["name"]: group["sources"] for group in shown["groups"]}

    def saved(self) -> dict[str, str]:
        rules = self.rest.get(f"/connections/{self.okta.uid}/group-mapping")["rules"]
        return {rule["value"]: rule["group"] for rule in rules}


@pytest.fixture
def page(deployment: Deployment, organization: OrganizationRecord, admin: Browser) -> Page:
    return Page(deployment, deployment.connection("okta", organization), admin)


def can_save(answer: TestResponse) -> bool:
    """Whether the button Save of a page can be pressed."""
    (button,) = re.findall(r'<button[^>]*id="save"[^>]*>Save</button>', answer.get_data(as_text=True))
    return "disabled" not in button


def rows_of(answer: TestResponse) -> list[tuple[str, str]]:
    """The rows of a page, without the one that script copies."""
    text = re.sub(r"<template.*?</template>", "", answer.get_data(as_text=True), flags=re.DOTALL)
    fields = [re.findall(rf'<input name="{name}" value="([^"]*)"', text) for name in ("value", "group")]
    return [(html.unescape(value), html.unescape(group)) for value, group in zip(*fields, strict=True)]


def test_page_says_what_switching_on_means(page: Page) -> None:
    answer = page.browser.get("map-to-groups")
    text = text_of(answer)
    assert answer.status_code == 200
    assert "you will no longer be able to manage groups of these people by hand" in text
    body = answer.get_data(as_text=True)
    assert f'name="attribute" value="{ATTRIBUTE}"' in body
    assert re.search(r'role="switch" name="enabled" value="yes">Map to groups</label>', body)
    assert rows_of(answer) == [("", "")]
    assert not can_save(answer)


def test_organization_without_connection_has_nothing_to_map(admin: Browser) -> None:
    assert "There is no connection" in text_of(admin.get("map-to-groups"))


def test_preview_shows_who_leaves_before_who_joins_and_save_does_it(page: Page) -> None:
    sales, legal = page.assign(1, "Sales EMEA"), page.assign(2, "Legal")
    old = page.rest.post(f"{page.rest.path}/groups", {"name": "Old"})
    page.rest.call("PUT", f"{page.rest.path}/groups/{old['id']}/members/{sales['id']}", None, 204)
    rules = [("Sales EMEA", "Sales")]
    shown = page.preview(rules, create="Sales")
    text = text_of(shown)
    assert (shown.status_code, can_save(shown)) == (200, True)
    leaves, joins = (
        text.index("Who leaves a group: 1 membership ends"),
        text.index("Who joins a group: 1 membership begins"),
    )
    assert leaves < text.index("user1@acme.test Old") < joins < text.index("user1@acme.test Sales")
    assert "Legal (1 person)" in text[joins:]
    assert "Groups that are made: 1 Sales" in text
    assert (page.saved(), page.groups_of(sales)) == ({}, {"Old": ["manual"]})

    answer = page.browser.follow(page.save(rules, create="Sales"))
    assert "Saved. Map to groups is on." in text_of(answer)
    assert rows_of(answer) == rules
    assert page.groups_of(sales) == {"Sales": ["mapping"]}
    assert page.groups_of(legal) == {}


def test_group_is_made_only_by_choosing_it(page: Page) -> None:
    page.rest.post(f"{page.rest.path}/groups", {"name": "Sales"})
    page.assign(1, "a")
    refused = page.preview([("a", "Sals"), ("b", "Sals")])
    text = text_of(refused)
    assert (refused.status_code, can_save(refused)) == (422, False)
    assert "There is no group 'Sals'. Did you mean Sales?" in text
    assert refused.get_data(as_text=True).count('name="create" value="Sals"') == 1
    assert 'Create "Sals"' in text
    assert 'href="#row-2"' in refused.get_data(as_text=True)
    # A box that was ticked for another name does not count.
    assert page.preview([("a", "Sals")], create="Salz").status_code == 422
    assert page.save([("a", "Sals")]).status_code == 422
    assert can_save(page.preview([("a", "Sals")], create="Sals"))
    assert [group["name"] for group in page.rest.get(f"{page.rest.path}/groups")["items"]] == ["Sales"]
    assert can_save(page.preview([("a", "sALES")]))


def test_save_without_a_preview_shows_one_and_saves_nothing(page: Page) -> None:
    page.assign(1, "a")
    answer = page.save([("a", "A")], create="A")
    assert answer.status_code == 428
    assert "Nothing was saved" in text_of(answer)
    assert page.saved() == {}
    assert page.save([("a", "A")], create="A").status_code == 303
    assert page.saved() == {"a": "A"}


def test_save_after_people_changed_shows_what_changed(page: Page) -> None:
    page.assign(1, "a")
    page.preview([("a", "A")], create="A")
    page.assign(2, "a")
    answer = page.save([("a", "A")], create="A")
    text = text_of(answer)
    assert (answer.status_code, can_save(answer)) == (412, True)
    assert "saving would now do something else" in text
    assert "People who join a group 1 2 (changed)" in text
    assert "New among those who join a group (1 of those that the previews list) user2@acme.test: A" in text
    assert page.saved() == {}
    assert page.save([("a", "A")], create="A").status_code == 303
    assert page.saved() == {"a": "A"}


def test_save_in_a_second_tab_shows_the_rules_that_it_would_replace(page: Page) -> None:
    page.assign(1, "a")
    page.preview([("a", "A")], create="A")
    first_tab = page.hidden
    page.preview([("b", "B")], create="B")
    assert page.save([("b", "B")], create="B").status_code == 303
    page.hidden = first_tab
    answer = page.save([("a", "A")], create="A")
    assert answer.status_code == 412
    assert "Somebody else has saved other rules meanwhile" in text_of(answer)
    assert "yours lack b → B" in text_of(answer)
    assert page.saved() == {"b": "B"}


def test_save_of_rows_that_were_edited_after_the_preview_shows_a_new_one(page: Page) -> None:
    page.preview([("a", "A")], create="A")
    answer = page.save([("a", "A"), ("c", "A")], create="A")
    assert answer.status_code == 412
    assert "the form was changed after its preview" in text_of(answer)
    assert page.saved() == {}


def test_second_save_of_the_same_form_says_saved(page: Page) -> None:
    user = page.assign(1, "a")
    page.preview([("a", "A")], create="A")
    for _ in range(2):
        answer = page.browser.follow(page.save([("a", "A")], create="A"))
        assert "Saved. Map to groups is on." in text_of(answer)
    assert page.groups_of(user) == {"A": ["mapping"]}


def test_same_rules_are_not_called_saved_while_people_do_not_follow_them(page: Page) -> None:
    user = page.assign(1, "a")
    page.preview([("a", "A")], create="A", apply_to_existing="no")
    page.save([("a", "A")], create="A", apply_to_existing="no")
    assert page.groups_of(user) == {}
    page.preview([("a", "A")])
    page.hidden["_etag"] = '"outdated"'
    assert page.save([("a", "A")]).status_code == 412
    assert page.save([("a", "A")]).status_code == 303
    assert page.groups_of(user) == {"A": ["mapping"]}


def test_switching_off_makes_memberships_manual(page: Page) -> None:
    user = page.assign(1, "a")
    page.preview([("a", "A")], create="A")
    page.save([("a", "A")], create="A")
    shown = page.preview([("a", "A")], enabled=None)
    assert "memberships stay as they are and become manual" in text_of(shown)
    answer = page.browser.follow(page.save([("a", "A")], enabled=None))
    assert "Saved. Map to groups is off." in text_of(answer)
    assert page.groups_of(user) == {"A": ["manual"]}


def test_buttons_add_and_remove_rows_and_lose_nothing_that_was_typed(page: Page) -> None:
    rules = [("a", "A"), ("b", "half-typed")]
    answer = page.send("rows", rules, add="", create="A", apply_to_existing="no", attribute="title")
    assert rows_of(answer) == [*rules, ("", "")]
    body = answer.get_data(as_text=True)
    assert 'value="A" checked> Create "A"' in body
    assert 'value="no" checked' in body
    assert 'name="attribute" value="title"' in body
    assert rows_of(page.send("rows", rules, remove="1")) == [rules[1]]
    assert rows_of(page.send("rows", rules, remove="99")) == rules
    assert rows_of(page.send("rows", [*rules, ("", "")], add="Legal")) == [*rules, ("Legal", "")]
    assert rows_of(page.send("rows", rules, add="Legal")) == [*rules, ("Legal", "")]


def test_pasted_lines_become_rows(page: Page) -> None:
    pasted = 'Sales EMEA\tSales\r\n"Sales, US", Sales\n\nLegal,Legal & Tax\n'
    answer = page.send("rows", [("a", "A"), ("", "")], pasted=pasted)
    assert rows_of(answer) == [
        ("a", "A"),
        ("Sales EMEA", "Sales"),
        ("Sales, US", "Sales"),
        ("Legal", "Legal & Tax"),
    ]
    answer = page.send("rows", [("a", "A")], pasted="a,b\nonly a value")
    assert answer.status_code == 422
    assert "Line 2 is not a value" in text_of(answer)
    assert "only a value</textarea>" in answer.get_data(as_text=True)
    # Lines that nobody turned into rows are previewed too.
    assert rows_of(page.preview([], pasted="a,A", create="A")) == [("a", "A")]
    assert page.preview([], pasted="a").status_code == 422


def test_values_that_people_have_are_counted_and_those_without_a_row_can_be_added(page: Page) -> None:
    for number, value in enumerate(("Sales", "Sales", "Sales", "sales", "Legal <b>", "Legal <b>"), 1):
        page.assign(number, value)
    page.assign(7)
    answer = page.send("values", [("Sales", "A")])
    body, text = answer.get_data(as_text=True), text_of(answer)
    assert '<option value="Sales" label="3 people">' in body
    assert re.findall(r'data-add="([^"]*)"', body) == ["Legal &lt;b&gt;", "sales"]
    assert "Did you mean Sales?" in text
    assert "6 of 7 people have a value" in text
    assert "<html" not in body
    whole = page.send("rows", [("Sales", "A")], show_values="yes")
    assert "Did you mean Sales?" in text_of(whole)
    assert rows_of(whole) == [("Sales", "A")]
    assert "Nobody has the value" not in text
    unused = text_of(page.send("values", [("Sales", "A"), ("SALES", "A"), ("Sals", "A")]))
    assert "Nobody has the value of these rows now: SALES (did you mean Sales?), Sals." in unused
    nothing = page.send("values", [], attribute="name.familyName")
    assert "None of the 7 people" in text_of(nothing)
    assert "No values can be read" in text_of(page.send("values", [], attribute="no such thing"))


def test_rule_for_a_pushed_group_is_refused_beside_its_row(page: Page) -> None:
    page.okta.call(
        "POST",
        "/Groups",
        {"schemas": [GROUP], "displayName": "Pushed"},
    )
    answer = page.preview([("", ""), ("a", "A"), ("b", "pushed")], create="A")
    assert answer.status_code == 422
    row = answer.get_data(as_text=True).split('aria-label="Remove row 3"')[1].split('class="rule"')[0]
    assert "which an identity provider pushes" in row
    assert "Create" not in row


def test_attribute_that_the_connection_does_not_keep_is_refused_beside_its_field(page: Page) -> None:
    answer = page.preview([("a", "A")], create="A", attribute="urn:acme:nothing")
    assert answer.status_code == 422
    error = answer.get_data(as_text=True).split('id="attribute-error">')[1].partition("<")[0]
    assert "urn:acme:nothing" in html.unescape(error)
    answer = page.preview([("a", "A")], create="A", attribute="")
    assert "Name the attribute whose values decide." in text_of(answer)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (("", "A"), "Type the value exactly as your identity provider sends it."),
        (("a", ""), "Choose a group."),
        (("a\x00", "A"), "control character"),
        (("a", "x" * 201), "Length must be between 1 and 200."),
        (("é" * 1000, "é" * 199), "bytes in UTF-8"),
    ],
)
def test_malformed_row_is_refused_beside_its_field(page: Page, rule: tuple[str, str], sentence: str) -> None:
    answer = page.preview([("ok", "A"), rule], create=["A", rule[1]])
    assert answer.status_code == 422
    assert sentence in text_of(answer)
    assert not can_save(answer)


def test_thousand_rows_of_a_hundred_characters_are_previewed_and_saved(page: Page) -> None:
    rules = [(f"{number:04} {'v' * 95}", f"Group {number % 10} {'g' * 92}") for number in range(1000)]
    create = sorted({group for _, group in rules})
    shown = page.preview(rules, create=create)
    assert (shown.status_code, can_save(shown)) == (200, True)
    assert len(shown.get_data()) < 900_000
    assert page.save(rules, create=create).status_code == 303
    assert page.saved() == dict(rules)
    answer = page.preview([*rules, ("one", "too many")], create=[*create, "too many"])
    assert answer.status_code == 422
    assert "1000" in text_of(answer)


def test_form_of_a_thousand_rows_may_be_larger_than_other_bodies(deployment: Deployment, page: Page) -> None:
    rules = [(f"{number:04}{'ф' * 96}", f"{number % 10}{'ф' * 99}") for number in range(1000)]
    create = sorted({group for _, group in rules})
    sent = urlencode([("value", value) for value, _ in rules] + [("group", group) for _, group in rules])
    assert len(sent) > deployment.gateway.config.body_limit
    assert can_save(page.preview(rules, create=create))
    assert page.save(rules, create=create).status_code == 303
    assert page.saved() == dict(rules)


def test_save_for_many_people_goes_on_after_its_answer(
    deployment: Deployment, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = page.assign(1, "a")
    monkeypatch.setattr(mapping, "_SAVE_SECONDS", 0.0)
    page.preview([("a", "A")], create="A")
    shown = page.browser.follow(page.save([("a", "A")], create="A"))
    assert "The saved rules hold for 0 of 1 people so far" in text_of(shown)
    assert '<progress value="0" max="1">' in shown.get_data(as_text=True)
    assert page.groups_of(user) == {}
    part = f"connections/{page.okta.uid}/map-to-groups/progress"
    assert "every 2s" in page.browser.get(part).get_data(as_text=True)
    # A second press of the button says that it is saved, and does not begin anew.
    assert page.save([("a", "A")], create="A").status_code == 303
    change = deployment.gateway.store.long_changes.find(page.okta.organization.id, page.okta.connection)
    assert deployment.gateway.long_changes.finish(change.uid, deployment.trace(page.okta.organization))
    done = page.browser.get(part).get_data(as_text=True)
    assert "The saved rules hold for everybody now." in done
    assert "every 2s" not in done
    assert page.groups_of(user) == {"A": ["mapping"]}


def test_form_that_could_not_be_served_can_be_sent_again(deployment: Deployment, page: Page) -> None:
    deployment.gateway.store.connections.edit(page.okta.connection, idp="gone")
    answer = page.preview([("a", "A <b>")], create="A <b>")
    body = answer.get_data(as_text=True)
    assert answer.status_code == 503
    assert 'name="group" value="A &lt;b&gt;"' in body
    assert "<button>Try again</button>" in body


def test_viewer_sees_the_rules_as_a_table(page: Page, viewer: Browser) -> None:
    page.preview([("a", "A <b>")], create="A <b>")
    page.save([("a", "A <b>")], create="A <b>")
    answer = viewer.get("map-to-groups")
    assert "Map to groups is on" in text_of(answer)
    assert '<th scope="row">a</th><td>A &lt;b&gt;</td>' in answer.get_data(as_text=True)
    assert 'name="value"' not in answer.get_data(as_text=True)
    page.browser = viewer
    assert page.preview([("a", "A")]).status_code == 403


def test_each_connection_has_its_own_rules(
    deployment: Deployment, organization: OrganizationRecord, page: Page
) -> None:
    second = Page(deployment, deployment.connection("entra", organization), page.browser)
    second.preview([("e", "E")], create="E")
    answer = second.browser.follow(second.save([("e", "E")], create="E"))
    assert rows_of(answer) == [("e", "E")]
    assert rows_of(page.browser.get("map-to-groups")) == [("", "")]
    assert "Entra" in text_of(page.browser.get("map-to-groups"))
    other = deployment.connection("okta", deployment.organization("Other"))
    assert page.browser.get("map-to-groups", connection=other.uid).status_code == 404


@pytest.mark.parametrize("action", ["preview", "save"])
def test_session_that_ended_keeps_the_form_until_it_is_sent_again(
    deployment: Deployment, organization: OrganizationRecord, page: Page, action: str
) -> None:
    page.assign(1, "a")
    rules = [("a", "A"), ('b"<i>', "B")]
    page.preview(rules, create=["A", "B"])
    cookie = page.browser.client.get_cookie("gateway")
    access = deployment.gateway.console_access
    access.end(access.find_session(cookie.value).record)
    ended = page.send(action, rules, create=["A", "B"])
    body = ended.get_data(as_text=True)
    assert ended.status_code == 401
    assert "_previewed" not in text_of(ended)
    assert page.saved() == {}
    form: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', body):
        form.setdefault(name, []).append(html.unescape(value))
    # Signed in again in another tab, which shares the cookie.
    page.browser = sign_in(deployment, organization)
    answer = page.browser.post(
        html.unescape(re.findall(r'<form method="post" action="([^"]*)"', body)[-1]), form
    )
    if action == "preview":
        assert (rows_of(answer), can_save(answer)) == (rules, True)
    else:
        assert answer.status_code == 303
        assert page.saved() == dict(rules)


def test_groups_are_offered_by_the_beginning_of_their_names(page: Page) -> None:
    for name in ("Sales", "Sales EMEA", "Legal"):
        page.rest.post(f"{page.rest.path}/groups", {"name": name})
    page.okta.call(
        "POST",
        "/Groups",
        {"schemas": [GROUP], "displayName": "Sales pushed"},
    )
    assert page.browser.get("map-to-groups/groups", q="sal").json == {
        "names": ["Sales", "Sales EMEA"],
        "missing": True,
        "like": ["Sales"],
    }
    assert page.browser.get("map-to-groups/groups", q="SALES").json["missing"] is False
    assert page.browser.get("map-to-groups/groups").json["names"] == ["Legal", "Sales", "Sales EMEA"]


def test_change_in_the_console_is_recorded_with_the_person(page: Page) -> None:
    page.preview([("a", "A")], create="A")
    page.save([("a", "A")], create="A")
    lines = page.rest.get(f"{page.rest.path}/activity?limit=100")["items"]
    (line,) = [each for each in lines if each["operation"] == "PUT /connections/{connection}/group-mapping"]
    assert (line["status"], line["by"]["name"]) == (200, "admin@acme.test")
