"""People: the list, one person, and those that are added by hand."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP
from tests.support.console import Browser, sign_in, text_of
from tests.support.statements import record_statements


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection of the organization, called Okta."""
    return deployment.connection("okta", organization)


def add(browser: Browser, user_name: str, **form: str) -> str:
    """Add a person by hand; return the id."""
    answer = browser.post("people/new", {"user_name": user_name} | form)
    assert answer.status_code == 303, text_of(answer)
    return str(answer.location).rpartition("/")[2]


def test_list_says_who_manages_a_person_and_why_in_which_group(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    user = okta.user("user1@acme.test", displayName="Given1 Family1")
    okta.call(
        "POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales", "members": [{"value": user["id"]}]}
    )
    by_hand = add(admin, "user2@acme.test")
    admin.post(f"people/{by_hand}/active", {"active": "no"})
    text = text_of(admin.get("people"))
    assert "2 people, 1 of them active" in text
    assert "user1@acme.test Given1 Family1 Active Okta Sales — pushed by Okta" in text
    assert "user2@acme.test Inactive By hand" in text


def test_search_finds_by_a_part_of_a_name(okta: Scim, admin: Browser) -> None:
    okta.user("user1@acme.test", displayName="Ada")
    okta.user("user2@acme.test")
    text = text_of(admin.get("people", q="aDa"))
    assert "user1@acme.test" in text
    assert "user2@acme.test" not in text
    assert "Nobody has “nowhere” in their name" in text_of(admin.get("people", q="nowhere"))


def test_list_is_read_in_pages(admin: Browser, okta: Scim) -> None:
    for number in range(51):
        okta.user(f"user{number:02}@acme.test")
    first = admin.get("people")
    assert "user49@acme.test" in text_of(first)
    assert "user50@acme.test" not in text_of(first)
    page = first.get_data(as_text=True)
    following = page.partition("Next page")[0].rpartition('href="')[2].partition('"')[0]
    second = text_of(admin.client.get(following.replace("&amp;", "&")))
    assert "user50@acme.test" in second
    assert "user49@acme.test" not in second
    assert "Next page" not in second


@pytest.mark.parametrize(
    "query", [{"after": "x"}, {"after": "9" * 400}, {"after": "-1"}, {"q": "%_\\"}, {"q": "\x00"}]
)
def test_list_takes_any_query(admin: Browser, query: dict[str, str]) -> None:
    assert admin.get("people", **query).status_code == 200


def test_page_of_many_people_costs_as_many_statements_as_one_of_few(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser, okta: Scim
) -> None:
    for number in range(60):
        okta.user(f"user{number:02}@acme.test")
    costs, looked_at = [], []
    for copies in (0, 1000):
        _copy_users(deployment, organization, copies)
        with record_statements(deployment) as sent:
            assert admin.get("people").status_code == 200
        costs.append(len(sent))
        looked_at.append([sql for sql in sent if "COUNT(" in sql.upper()])
    assert costs[0] == costs[1] > 0
    assert looked_at == [[], []]


def _copy_users(deployment: Deployment, organization: OrganizationRecord, times: int) -> None:
    database = deployment.gateway.store.database
    names = "connection_id, display, display_key, doc, doc_key, created, modified"
    with deployment.gateway.store.transaction(organization_id=organization.id):
        database.run_many(
            "INSERT INTO users (uid, organization_id, user_name, user_name_key, active, deleted, version,"
            f" {names}) SELECT ?, organization_id, ?, ?, 1, 0, 1, {names} FROM users"
            " WHERE organization_id = ? ORDER BY id LIMIT 1",
            [
                (f"{organization.uid}-{n}", f"copy{n}@acme.test", f"copy{n}@acme.test", organization.id)
                for n in range(times)
            ],
        )


def test_csv_has_everybody_and_no_formula(okta: Scim, admin: Browser) -> None:
    okta.user("user1@acme.test", displayName="=1+1")
    answer = admin.get("people.csv")
    rows = list(csv.reader(io.StringIO(answer.get_data(as_text=True))))
    assert answer.mimetype == "text/csv"
    assert [row[1:5] for row in rows] == [
        ["user_name", "display_name", "active", "managed_by"],
        ["user1@acme.test", "'=1+1", "true", "okta"],
    ]


def test_person_is_added_by_hand_and_takes_a_seat(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    answer = admin.post(
        "people/new", {"user_name": "user1@acme.test", "display_name": "Given1", "email": "mail@acme.test"}
    )
    text = text_of(admin.follow(answer))
    assert "user1@acme.test was added." in text
    assert "Given1" in text
    assert "mail@acme.test" in text
    assert deployment.used(organization) == 1
    line = deployment.activity(organization)[0]
    assert (line.principal, line.operation, line.user) == (
        "admin@acme.test", "POST /organizations/{organization}/users", "user1@acme.test",
    )  # fmt: skip


def test_refusal_of_a_new_person_is_beside_the_form_with_what_was_typed(deployment: Deployment) -> None:
    organization = deployment.organization(seats=1)
    admin = sign_in(deployment, organization)
    add(admin, "user1@acme.test")
    answer = admin.post("people/new", {"user_name": "user2@acme.test", "display_name": '"><b>'})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 403
    assert 'role="alert" tabindex="-1" id="problem">You&#39;re over capacity' in page
    assert 'value="user2@acme.test"' in page
    assert "<b>" not in page.partition('<form method="post" action="/console/organizations')[2]


@pytest.mark.parametrize(("form", "sentence"), [
    ({}, "User name:"),
    ({"user_name": " "}, "User name:"),
    ({"user_name": "a\nb"}, "User name: Holds the control character"),
    ({"user_name": "user1@acme.test", "display_name": "x" * 201}, "Display name:"),
])  # fmt: skip
def test_wrong_value_is_named_as_the_page_does(admin: Browser, form: dict[str, str], sentence: str) -> None:
    answer = admin.post("people/new", form)
    assert answer.status_code == 400
    assert sentence in text_of(answer)


def test_taken_name_is_refused(admin: Browser) -> None:
    add(admin, "user1@acme.test")
    answer = admin.post("people/new", {"user_name": "USER1@acme.test"})
    assert answer.status_code == 409
    assert "is taken" in text_of(answer)


def test_person_is_deactivated_and_activated_again(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    uid = okta.user("user1@acme.test")["id"]
    path = f"people/{uid}"
    assert "The names of this person are changed in Okta only." in text_of(admin.get(path))
    answer = admin.follow(admin.post(f"{path}/active", {"active": "no"}))
    assert "user1@acme.test is deactivated, and the seat is free." in text_of(answer)
    assert deployment.used(organization) == 0
    admin.post(f"{path}/active", {"active": "yes"})
    assert deployment.used(organization) == 1
    operations = {
        line.operation for line in deployment.activity(organization) if line.principal == "admin@acme.test"
    }
    assert "PATCH /organizations/{organization}/users/{user}" in operations


def test_activation_without_a_seat_is_refused_on_the_page(deployment: Deployment) -> None:
    organization = deployment.organization(seats=1)
    admin = sign_in(deployment, organization)
    first = add(admin, "user1@acme.test")
    admin.post(f"people/{first}/active", {"active": "no"})
    add(admin, "user2@acme.test")
    answer = admin.post(f"people/{first}/active", {"active": "yes"})
    assert answer.status_code == 403
    assert 'id="problem">You&#39;re over capacity' in answer.get_data(as_text=True)
    assert "Inactive: takes no seat" in text_of(answer)


def test_names_of_a_person_made_by_hand_are_changed(admin: Browser) -> None:
    path = f"people/{add(admin, 'user1@acme.test', display_name='Given1')}"
    form: dict[str, Any] = {"user_name": "user2@acme.test", "display_name": "", "email": "mail@acme.test"}
    text = text_of(admin.follow(admin.post(f"{path}/names", form)))
    assert "user2@acme.test was changed." in text
    assert "Given1" not in text
    answer = admin.post(f"{path}/names", form | {"user_name": ""})
    assert answer.status_code == 400
    assert 'name="user_name" value=""' in answer.get_data(as_text=True)


def test_names_of_a_managed_person_are_not_changed(okta: Scim, admin: Browser) -> None:
    uid = okta.user("user1@acme.test")["id"]
    answer = admin.post(f"people/{uid}/names", {"user_name": "user2@acme.test"})
    assert answer.status_code == 409
    assert "managed by an identity provider" in text_of(answer)


def test_person_made_by_hand_is_removed(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    path = f"people/{add(admin, 'user1@acme.test')}"
    assert "Remove user1@acme.test?" in text_of(admin.get(f"{path}/remove"))
    assert "user1@acme.test was removed." in text_of(admin.follow(admin.post(f"{path}/remove")))
    assert deployment.used(organization) == 0
    gone = admin.get(path)
    assert gone.status_code == 404
    assert "user1@acme.test was deleted on" in text_of(gone)


def test_deleted_person_is_exported_and_erased_by_name(
    deployment: Deployment, okta: Scim, admin: Browser
) -> None:
    uid = okta.user("user1@acme.test")["id"]
    path = f"people/{uid}"
    managed = admin.post(f"{path}/erase", {"reason": "Asked for.", "confirm": "user1@acme.test"})
    assert (managed.status_code, "managed by Okta" in text_of(managed)) == (409, True)
    okta.call("DELETE", f"/Users/{uid}")
    assert "Erase this person" in text_of(admin.get(path))
    exported = admin.get(f"{path}/export.json")
    assert exported.mimetype == "application/json"
    assert exported.get_json()["user"]["userName"] == "user1@acme.test"
    assert "Erase user1@acme.test?" in text_of(admin.get(f"{path}/erase"))
    wrong = admin.post(f"{path}/erase", {"reason": "Asked for.", "confirm": "user1"})
    assert (wrong.status_code, "Nothing was erased" in text_of(wrong)) == (400, True)
    done = admin.follow(admin.post(f"{path}/erase", {"reason": "Asked for.", "confirm": "user1@acme.test"}))
    assert "The person is being erased." in text_of(done)
    for gone in (path, f"{path}/erase", f"{path}/export.json"):
        assert admin.get(gone).status_code == 404
    row = deployment.gateway.store.database.one("SELECT user_name FROM users WHERE uid = ?", uid)
    assert row == ("",)


def test_viewer_sees_no_form(okta: Scim, viewer: Browser) -> None:
    uid = okta.user("user1@acme.test")["id"]
    text = text_of(viewer.get(f"people/{uid}")) + text_of(viewer.get("people"))
    assert "Deactivate" not in text
    assert "Add a person" not in text
    assert "You are signed in to look" in text_of(viewer.get("people/new"))


def test_person_of_another_organization_is_not_found(deployment: Deployment, admin: Browser) -> None:
    other = deployment.organization("Other")
    uid = deployment.connection("okta", other).user("user1@acme.test")["id"]
    assert admin.get(f"people/{uid}").status_code == 404
    assert admin.post(f"people/{uid}/remove").status_code == 404
    assert admin.post(f"people/{uid}/active", {"active": "no"}).status_code == 404


def test_form_that_does_not_say_whether_a_person_is_active_changes_nothing(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    scim = deployment.connection("okta", organization)
    user = scim.user("unchanged@acme.test")["id"]
    for form in ({}, {"active": ""}, {"active": "true"}):
        answer = admin.post(f"people/{user}/active", form)
        assert answer.status_code == 400
        assert "nothing was changed" in text_of(answer)
    assert scim.call("GET", f"/Users/{user}").json["active"] is True
