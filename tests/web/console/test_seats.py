"""Seats: how many are in use, who waits, what would let all in, and who may change the number."""

from __future__ import annotations

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.console import Browser, sign_in, text_of


@pytest.fixture
def organization(deployment: Deployment) -> OrganizationRecord:
    """An organization with two seats."""
    return deployment.organization(seats=2)


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection that holds one of the two seats."""
    scim = deployment.connection("okta", organization)
    scim.user("user0@acme.test")
    return scim


def refuse(okta: Scim, *user_names: str) -> None:
    """Take the free seat, then have people refused for want of another one."""
    okta.user("user9@acme.test")
    for user_name in user_names:
        answer = okta.call("POST", "/Users", {"schemas": [USER], "userName": user_name})
        assert answer.status == 403, answer.text


def test_seats_in_use_are_said_in_words(okta: Scim, admin: Browser) -> None:
    answer = admin.get("seats")
    assert "1 of 2 in use, 1 free." in text_of(answer)
    assert '<meter class="seats" min="0" max="2" value="1" low="1.8" high="2" optimum="0"' in answer.get_data(
        True
    )
    assert "Nobody waits for a seat." in text_of(answer)


def test_seats_without_limit_are_said(deployment: Deployment) -> None:
    text = text_of(sign_in(deployment, deployment.organization()).get("seats"))
    assert "0 in use. The number of seats has no limit." in text


def test_people_who_wait_are_listed_with_what_lets_them_in(okta: Scim, admin: Browser) -> None:
    refuse(okta, "user1@acme.test", "user2@acme.test", "user1@acme.test")
    text = text_of(admin.get("seats"))
    assert "2 people were refused for want of a seat" in text
    assert "2 more seats would let all of them in." in text
    assert "none is free" in text
    assert "Retry Selected" not in text
    rows = text.partition("How often")[2]
    assert rows.index("user1@acme.test") < rows.index("user2@acme.test")


def test_page_says_where_to_retry_once_a_seat_is_free(okta: Scim, admin: Browser, operator: Browser) -> None:
    refuse(okta, "user1@acme.test", "user2@acme.test")
    text = text_of(operator.follow(operator.post("seats", {"seats": "3"})))
    assert "There are 3 seats now." in text
    assert "Some can come in now" in text
    assert "1 more seat would let all of them in." in text
    operator.post("seats", {"seats": "4"})
    text = text_of(admin.get("seats"))
    assert "There are seats enough now" in text
    assert "press Retry Selected" in text
    for user_name in ("user1@acme.test", "user2@acme.test"):
        okta.user(user_name)
    assert "Nobody waits for a seat." in text_of(admin.get("seats"))


@pytest.mark.parametrize(
    ("seats", "words"), [("", "There is no limit now."), ("1000", "There are 1,000 seats now.")]
)
def test_operator_changes_the_number(operator: Browser, seats: str, words: str) -> None:
    assert words in text_of(operator.follow(operator.post("seats", {"seats": seats})))


@pytest.mark.parametrize("seats", ["-1", "1.5", "many", "9" * 12, "٣"])
def test_number_that_is_none_is_refused_beside_the_form(
    deployment: Deployment, organization: OrganizationRecord, operator: Browser, seats: str
) -> None:
    answer = operator.post("seats", {"seats": seats})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.get_data(as_text=True)
    assert f'value="{seats}"' in answer.get_data(as_text=True)
    assert deployment.gateway.store.organizations.by_key(organization.id).seat_limit == 2


@pytest.mark.parametrize(("payment", "words"), [
    ("invoice", "pays by invoice: for another number of seats contact support"),
    ("card", "pays by card: its owner changes the number of seats on the Billing page"),
])  # fmt: skip
def test_others_are_told_who_changes_the_number(deployment: Deployment, payment: str, words: str) -> None:
    admin = sign_in(deployment, deployment.organization(seats=2, payment=payment))
    assert words in text_of(admin.get("seats"))
    assert admin.post("seats", {"seats": "9"}).status_code == 403


def test_more_in_use_than_there_are_is_said(okta: Scim, admin: Browser, operator: Browser) -> None:
    okta.user("user9@acme.test")
    operator.post("seats", {"seats": "1"})
    assert "2 of 1 in use, 1 more than there are" in text_of(admin.get("seats"))
