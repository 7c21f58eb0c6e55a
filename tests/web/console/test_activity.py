"""Activity: what was refused comes first, each line says what to do, and any line is found again by its request id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP
from tests.support.console import Browser, sign_in, text_of

SEATS = "See the seats, and who waits for one"


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection of the organization, called Okta."""
    return deployment.connection("okta", organization)


def body(user_name: str, **attributes: object) -> dict[str, object]:
    return {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": user_name, **attributes}


def test_activity_opens_with_all_where_nothing_was_refused(okta: Scim, admin: Browser) -> None:
    okta.user("user1@acme.test")
    text = text_of(admin.get("activity"))
    assert "Shown: everything, the newest first." in text
    assert "Done Okta created user1@acme.test" in text


def test_activity_opens_with_what_was_refused(okta: Scim, admin: Browser) -> None:
    okta.user("user1@acme.test")
    okta.call("POST", "/Users", body("user1@acme.test"))
    text = text_of(admin.get("activity"))
    assert "Refused requests only." in text
    assert "Refused Okta asked to create user1@acme.test" in text
    assert "Okta created user1@acme.test" not in text
    assert "Okta created user1@acme.test" in text_of(admin.get("activity", outcome="all"))


def test_line_has_sentence_remedy_and_request_id(deployment: Deployment) -> None:
    organization = deployment.organization(seats=1)
    admin, okta = sign_in(deployment, organization), deployment.connection("okta", organization)
    okta.user("user1@acme.test")
    refused = okta.call("POST", "/Users", body("user2@acme.test", title="Engineer"))
    line = deployment.activity(organization)[0]
    text = text_of(admin.get("activity"))
    assert refused.json["detail"] in text
    assert SEATS in text
    assert "Seats billing: denied" in text
    assert f"Request id for support {line.request_id}" in text
    assert "Token pgw_" in text
    assert "Ignored" in text


@pytest.mark.parametrize(("method", "path", "send", "remedy"), [
    ("POST", "/Users", body("user1@acme.test"), "Look user1@acme.test up"),
    ("POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales"}, "See the groups"),
    ("POST", "/Users", body(""), None),
])  # fmt: skip
def test_remedy_leads_to_the_page_that_mends_the_refusal(
    okta: Scim, admin: Browser, method: str, path: str, send: dict[str, object], remedy: str | None
) -> None:
    okta.user("user1@acme.test")
    okta.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales"})
    assert okta.call(method, path, send).status >= 400
    page = text_of(admin.get("activity"))
    assert (f"What to do {remedy}" if remedy else "What to do") in page or remedy is None
    assert remedy is not None or "What to do" not in page


def test_refusal_of_provisioning_leads_to_set_up(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    deployment.connection("okta", organization, provisioning=False).call("GET", "/Users")
    assert "What to do See what Set up lacks" in text_of(admin.get("activity"))


def test_wrong_token_leads_to_the_tokens(okta: Scim, admin: Browser) -> None:
    okta.token = "pgw_wrong"
    for _ in range(3):
        okta.call("GET", "/Users")
    text = text_of(admin.get("activity"))
    assert "Somebody without a valid token asked to look for people, 3 times" in text
    assert "How often 3 times since" in text
    assert "What to do See the tokens" in text


def test_partial_change_leads_to_the_groups(okta: Scim, admin: Browser) -> None:
    okta.call("POST", "/Groups", {
        "schemas": [GROUP], "displayName": "Sales", "members": [{"value": "01a22379-9ae7-749c-808d-6459aa167202"}],
    })  # fmt: skip
    text = text_of(admin.get("activity", outcome="partial"))
    assert "In part Okta created the group Sales" in text
    assert "What is missing 1 member is not here" in text
    assert "What to do See the groups" in text


def test_request_is_found_by_its_id(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    okta.user("user1@acme.test")
    okta.user("user2@acme.test")
    line = next(line for line in deployment.activity(organization) if line.user == "user1@acme.test")
    answer = admin.get("activity", request=line.request_id or "")
    assert "user2@acme.test" not in text_of(answer)
    assert "<details open>" in answer.get_data(as_text=True)


def test_activity_is_filtered_by_person_connection_and_day(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    other = deployment.connection("entra", organization)
    okta.user("user1@acme.test")
    other.call("GET", "/Groups")
    today = datetime.now(UTC).date()
    by_person = text_of(admin.get("activity", person="USER1@acme.test"))
    by_connection = text_of(admin.get("activity", connection=other.uid))
    assert "Okta created user1@acme.test" in by_person
    assert "Entra looked" not in by_person
    assert "Entra looked for groups" in by_connection
    assert "Okta created" not in by_connection
    assert "Okta created" in text_of(admin.get("activity", day=today.isoformat()))
    assert "There is nothing to show." in text_of(admin.get("activity", day=str(today - timedelta(days=3))))


@pytest.mark.parametrize("query", [
    {"before": "x-y"}, {"before": "9" * 30}, {"day": "9999-12-31"}, {"day": "never"}, {"outcome": "else"},
    {"connection": "else"}, {"request": "<b>"}, {"person": "\x00"},
    {"request": "\x00"}, {"connection": "\x00"},
])  # fmt: skip
def test_activity_takes_any_query(admin: Browser, query: dict[str, str]) -> None:
    assert admin.get("activity", **query).status_code == 200


def test_activity_is_read_in_pages(okta: Scim, admin: Browser) -> None:
    for number in range(60):
        okta.call("PATCH", f"/Users/{number}", {"schemas": []})
    first = admin.get("activity").get_data(as_text=True)
    following = (
        first.partition("Next page")[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    )
    second = admin.client.get(following).get_data(as_text=True)
    assert (first.count("<details"), second.count("<details")) == (50, 10)
    assert "Next page" not in second


def test_changes_of_people_name_them_and_what_they_did(okta: Scim, admin: Browser) -> None:
    user = okta.user("user1@acme.test")["id"]
    admin.post(f"people/{user}/active", {"active": "no"})
    admin.post("groups", {"name": "Board"})
    text = text_of(admin.get("activity", outcome="all"))
    assert "admin@acme.test changed user1@acme.test" in text
    assert "admin@acme.test made the group Board" in text
    assert "admin@acme.test opened the console with a link" in text
    person = text_of(admin.get(f"people/{user}"))
    assert "Okta created user1@acme.test" in person
    assert "made the group" not in person


def test_every_operation_of_the_admin_rest_that_changes_something_has_words(deployment: Deployment) -> None:
    from gateway.web.console.activity_words import _VERBS

    operations = {
        f"{method} {rule.rule.removeprefix('/admin/v1').replace('<', '{').replace('>', '}')}"
        for rule in deployment.app.url_map.iter_rules()
        for method in rule.methods or ()
        if rule.rule.startswith("/admin/v1") and method in ("POST", "PUT", "PATCH", "DELETE")
    }
    # What is of no organization leaves no line in one.
    of_operators = {
        "POST /admin-tokens",
        "DELETE /admin-tokens/{token}",
        "DELETE /organizations/{organization}",
    }
    assert operations - _VERBS.keys() == of_operators


def test_refusal_of_a_person_added_by_hand_leads_to_the_seats(deployment: Deployment) -> None:
    admin = sign_in(deployment, deployment.organization(seats=0))
    admin.post("people/new", {"user_name": "user1@acme.test"})
    admin.post("people/new", {"user_name": ""})
    text = text_of(admin.get("activity"))
    assert "admin@acme.test asked to add user1@acme.test" in text
    assert "admin@acme.test asked to add somebody" in text
    assert text.count("What to do") == text.count(SEATS) == 1


def test_refusals_of_one_hold_are_one_line_that_leads_to_it(okta: Scim, admin: Browser) -> None:
    """A page of the activity was one sentence forty times."""
    for number in range(5):
        okta.user(f"user{number}@acme.test")
    users = [user["id"] for user in okta.call("GET", "/Users").json["Resources"]]
    brake = {"percent": 0, "least": 1, "minutes": 60}
    okta.deployment.admin("PATCH", f"/connections/{okta.uid}", {"brake": brake})
    statuses = [okta.call("DELETE", f"/Users/{uid}").status for uid in users]
    assert statuses == [204, 429, 429, 429, 429]
    page = admin.get("activity").get_data(as_text=True)
    assert page.count("<details>") == 5  # the one, and the four in it
    text = text_of(admin.get("activity"))
    assert "Refused Okta asked for 4 changes in a row" in text
    assert "are allowed in 60 minutes. See what is paused and held, and decide" in text
    assert "Okta asked to delete user3@acme.test" in text
    # Two are shown as they are.
    okta.deployment.admin("POST", f"/connections/{okta.uid}/hold", {"action": "reject"})
    assert [okta.call("DELETE", f"/Users/{uid}").status for uid in users[1:3]] == [403, 403]
    assert text_of(admin.get("activity")).count("changes in a row") == 1
    other = okta.deployment.connection("entra", okta.organization)
    other.call("POST", "/Nothing", {})
    assert text_of(admin.get("activity", connection=other.uid)).count("changes in a row") == 0
