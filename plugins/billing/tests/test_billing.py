"""Plans, seats and the sentences of both refusals, tested with plain values."""

from __future__ import annotations

import logging

import gateway_billing
import pytest

from gateway import Billing, Event, Organization, SeatRequest, Seats
from gateway.testing import EntitlementPromises, ListenerPromises, SeatPromises

CONTACT = "https://acme.test/contact"
PAGE = "https://acme.test/billing"
USER = SeatRequest("user4@acme.test")


def organization(limit=3, used=0, *, plan="enterprise", payment="invoice", page=PAGE, contact=CONTACT):
    return Organization("o1", "Acme", plan, True, Seats(limit, used), Billing(payment, page, contact))


def verdict(*args, request=USER, **billing):
    return gateway_billing.gateway_check_seats(organization(*args, **billing), request)


def entitled(feature="scim", **values):
    return gateway_billing.gateway_check_entitlement(organization(**values), feature)


class TestBilling(EntitlementPromises, SeatPromises, ListenerPromises):
    plugin = "billing"
    allowed = ("enterprise", "Enterprise", " ENTERPRISE ")
    denied = ("team", "free", "", "enterprise-trial")
    denial = "a new request at https://acme.test/contact"
    mends = {
        "invoice": "a new request at https://acme.test/contact",
        "card": "the Billing page at https://acme.test/billing",
    }


def test_billing_is_no_identity_provider():
    declaration = gateway_billing.gateway_declare()
    assert (declaration.title, declaration.idp) == ("Billing", False)


# Seats ------------------------------------------------------------------------------------------------------

HOW_MANY = [
    (0, "Acme has no seats."),
    (1, "Acme has 1 seat and it is in use."),
    (2, "Acme has 2 seats and all of them are in use."),
    (3, "Acme has 3 seats and all of them are in use."),
]


@pytest.mark.parametrize(("limit", "words"), HOW_MANY)
def test_the_limit_is_the_ceiling_and_the_sentence_counts_in_english(limit, words):
    answer = verdict(limit)
    assert answer.ceiling == limit
    assert answer.sentence.startswith(f"You're over capacity: {words} No seat was left for user4@acme.test. ")


def test_who_pays_by_invoice_is_sent_to_support():
    assert verdict().sentence == (
        "You're over capacity: Acme has 3 seats and all of them are in use. "
        "No seat was left for user4@acme.test. "
        "Acme pays by invoice: to get more seats, contact support by opening a new request at "
        "https://acme.test/contact and, once the seats are there, "
        "retry the assignment in your identity provider."
    )


def test_who_pays_by_card_is_sent_to_the_billing_page():
    assert verdict(payment="card").sentence == (
        "You're over capacity: Acme has 3 seats and all of them are in use. "
        "No seat was left for user4@acme.test. "
        "Acme pays by card: add seats on the Billing page at https://acme.test/billing and, "
        "once the seats are there, retry the assignment in your identity provider."
    )


@pytest.mark.parametrize(
    ("payment", "words"), [("invoice", "a new request and, once"), ("card", "the Billing page and, once")]
)
def test_without_an_address_the_sentence_is_still_one(payment, words):
    assert words in verdict(payment=payment, page="", contact="").sentence


def test_the_same_question_has_the_same_answer_however_many_seats_are_in_use():
    assert {verdict(3, used) for used in (0, 2, 3, 9)} == {verdict(3)}


def test_many_seats_at_once_and_nobody_in_particular():
    answer = verdict(request=SeatRequest("", seats=5))
    assert "Acme has 3 seats, and fewer than 5 of them are free. Acme pays" in answer.sentence
    assert "Acme has 1 seat, and fewer" in verdict(1, request=SeatRequest("", seats=2)).sentence


def test_unlimited_seats_need_no_judge():
    assert verdict(None) is None


# Plans ------------------------------------------------------------------------------------------------------


def test_the_denial_says_who_can_mend_it():
    assert entitled(plan="team", payment="card").sentence == (
        "Acme is on the team plan, and provisioning by SCIM is part of the enterprise plan. "
        "The owner of Acme can change the plan on the Billing page at https://acme.test/billing by card."
    )
    assert entitled(plan="team").sentence.endswith(
        "Acme pays by invoice: to change the plan, "
        "contact support by opening a new request at https://acme.test/contact."
    )


@pytest.mark.parametrize(
    ("setting", "allowed", "words"),
    [
        ("team, business ,enterprise", True, None),
        ("business,enterprise", False, "part of the business or enterprise plan."),
        ("a,b,c", False, "part of the a, b or c plan."),
        ("", False, "part of the enterprise plan."),
        (" , ", False, "part of the enterprise plan."),
    ],
)
def test_the_operator_says_which_plans_have_scim(monkeypatch, setting, allowed, words):
    monkeypatch.setenv("GATEWAY_BILLING_SCIM_PLANS", setting)
    answer = entitled(plan="team")
    assert answer.allowed is allowed
    assert words is None or words in answer.sentence


# The operator's warning -------------------------------------------------------------------------------------


def told(caplog, limit, used, *, kind="user.created", active=True):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="gateway.billing"):
        data = {"userName": "user1@acme.test", "active": active}
        now = organization(limit, used)
        gateway_billing.gateway_provisioned(Event(1, kind, "", now, "c1", "User", "u1", data))
    return [record.getMessage() for record in caplog.records]


def test_the_operator_is_warned_once_nine_tenths_of_the_seats_are_in_use(caplog):
    assert told(caplog, 10, 8) == []
    assert told(caplog, 10, 9) == ["Acme uses 9 of 10 seats and pays by invoice"]
    assert told(caplog, 10, 10) == ["Acme uses 10 of 10 seats and pays by invoice"]
    assert told(caplog, 3, 5) == ["Acme uses 5 of 3 seats and pays by invoice"]
    assert told(caplog, 11, 9) == []


@pytest.mark.parametrize("kind", ["user.created", "user.reactivated", "user.restored"])
def test_every_change_that_takes_a_seat_counts(caplog, kind):
    assert told(caplog, 1, 1, kind=kind)


@pytest.mark.parametrize("kind", ["user.updated", "user.deactivated", "group.created"])
def test_other_changes_do_not(caplog, kind):
    assert told(caplog, 1, 1, kind=kind) == []


def test_nor_an_inactive_user_nor_unlimited_seats(caplog):
    assert told(caplog, 1, 1, active=False) == []
    assert told(caplog, None, 99) == []
