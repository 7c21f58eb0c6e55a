"""The one thing to do next, and the steps of setting up, as an organization moves on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.plugin.contracts import Billing
from gateway.provisioning import overview as steps
from gateway.provisioning.overview import ConnectionState, NextStep, Overview
from gateway.provisioning.token_rotation import ENTER, MAKE, REVOKE, rotation_step, token_states
from gateway.store.ids_and_time import in_days, now, rfc3339
from gateway.store.records import ActivityRecord, ConnectionRecord, OrganizationRecord, TokenRecord
from gateway.testing import Deployment
from gateway.testing.deployment import USER
from tests.store.engine.test_statements import counted

_SECOND = 1_000_000


def organization(certificate_days: int | None = 300) -> OrganizationRecord:
    """An organization of plain values; `certificate_days` is None without single sign-on."""
    sso = None
    if certificate_days is not None:
        ends = rfc3339(in_days(certificate_days) or 0)
        sso = json.dumps({"entity_id": "https://idp.acme.test", "certificate_expires_at": ends})
    return OrganizationRecord(
        1, "o1", "Acme", "enterprise", "[]", None, 0, "invoice", None, None, sso, 0, 0, 0, 1, 0
    )


def token(number: int = 1, days: int | None = 365, used: int | None = None) -> TokenRecord:
    return TokenRecord(number, f"t{number}", 1, "", f"pgw_{number}", 0, in_days(days), used)


def call(outcome: str = "success") -> ActivityRecord:
    return ActivityRecord(
        1,
        now(),
        "c1",
        "test",
        "GET /Users",
        None,
        200,
        outcome,
        None,
        "[]",
        "[]",
        None,
        None,
        "{}",
        1,
        None,
        1,
    )


def state(
    *tokens: TokenRecord, on: bool = True, called: ActivityRecord | None = None, mapped: bool = False,
    missing: bool = False, uid: str = "c1",
) -> ConnectionState:  # fmt: skip
    connection = ConnectionRecord(1, uid, "okta-1", 1, "okta", "Okta", "{}", on, mapped, None, 0, 0, 1)
    done = called if called and called.outcome != "failure" else None
    return ConnectionState(connection, "Okta", missing, tokens, called, done)


def overview(*states: ConnectionState, **values: Any) -> Overview:
    given = {
        "organization": organization(),
        "denial": None,
        "billing": Billing("invoice", "", ""),
        "refused": 0,
    } | values
    return Overview(connections=states, **given)


READY = state(token(), called=call())
EACH_STEP = {
    "plan first": (overview(denial="No SCIM.", organization=organization(None)), steps.PLAN),
    "then single sign-on": (overview(organization=organization(None)), steps.SSO),
    "then an identity provider": (overview(), steps.CONNECT),
    "a plugin is missing": (overview(state(token(), called=call(), missing=True)), steps.CONNECT),
    "then the switch": (overview(state(on=False)), steps.SWITCH),
    "then a token": (overview(state()), steps.TOKEN),
    "an expired token is none": (overview(state(token(days=-1), called=call())), steps.TOKEN),
    "then the test": (overview(state(token())), steps.CALL),
    "a refused test is not done": (overview(state(token(), called=call("failure"))), steps.CALL),
    "a token that ends": (overview(state(token(days=20), called=call()), refused=3), steps.RENEW),
    "one that ends beside a lasting one": (
        overview(state(token(days=2), token(2), called=call("partial"))),
        steps.MAPPING,
    ),
    "a certificate that ends": (overview(READY, organization=organization(5)), steps.CERTIFICATE),
    "a certificate that ended": (overview(READY, organization=organization(-5)), steps.CERTIFICATE),
    "refused calls": (overview(READY, refused=1), steps.REFUSED),
    "then Map to groups": (overview(READY), steps.MAPPING),
    "nothing": (overview(state(token(days=None), called=call(), mapped=True)), steps.NOTHING),
    "groups that are pushed need no mapping": (overview(READY._replace(groups=1)), steps.NOTHING),
    "the first connection that is not ready": (
        overview(READY, state(on=False, uid="c2")),
        steps.SWITCH,
    ),
}


@pytest.mark.parametrize("case", EACH_STEP)
def test_next_step_is_one_by_what_is_missing(case: str) -> None:
    given, expected = EACH_STEP[case]
    step = given.next_step()
    assert (step.name, bool(step.title and step.text)) == (expected, True)


def test_next_step_names_the_connection() -> None:
    second = state(on=False, uid="c2")
    step = overview(READY, second).next_step()
    assert step == NextStep(
        steps.SWITCH,
        "Turn on SCIM provisioning",
        "Okta is turned off: every call of Okta is refused.",
        second.connection,
    )


def test_steps_of_setting_up_are_done_one_by_one() -> None:
    def done(given: Overview) -> list[bool]:
        return [step.done for step in given.steps(given.state_of(None))]

    assert done(overview(denial="No.", organization=organization(None))) == [False] * 6
    assert done(overview()) == [True, True, False, False, False, False]
    assert done(overview(state(on=False))) == [True, True, True, False, False, False]
    assert done(overview(state(token()))) == [True] * 5 + [False]
    assert done(overview(state(token(), called=call("failure")))) == [True] * 5 + [False]
    assert done(overview(READY)) == [True] * 6


def test_obstacles_of_the_switch_are_plan_and_single_sign_on() -> None:
    both = overview(denial="The plan has none.", organization=organization(None)).obstacles
    assert (len(both), both[0]) == (2, "The plan has none.")
    assert overview().obstacles == []


def test_state_of_an_unknown_connection_is_none() -> None:
    assert overview(READY).state_of("c2") is None
    assert overview(READY).state_of(None) == overview(READY).state_of("c1") == READY


# Replacing a token ---------------------------------------------------------------------------------------------------

MINUTE = 60 * _SECOND


@pytest.mark.parametrize(
    ("tokens", "step"),
    [
        ([], MAKE),
        ([token(1, used=now())], MAKE),
        ([token(1, used=now()), token(2)], ENTER),
        ([token(1, used=now() - MINUTE), token(2, used=now())], REVOKE),
        ([token(1, days=-1, used=now() - MINUTE), token(2, used=now())], MAKE),
    ],
)
def test_rotation_goes_on_by_the_use_of_tokens(tokens: list[TokenRecord], step: int) -> None:
    assert rotation_step(token_states(tokens)) == step


def test_old_token_can_be_revoked_once_a_newer_one_was_used() -> None:
    old, new = token(1, used=now() - MINUTE), token(2, used=now())
    newest_first = token_states([old, new])
    assert [each.token.id for each in newest_first] == [2, 1]
    assert [each.hint for each in newest_first] == [
        "",
        "The newer token is in use: you can revoke this one.",
    ]
    still_sent = token_states([old._replace(last_used=now() + MINUTE), new])
    assert "something still sends this one" in still_sent[1].hint
    assert token_states([old, new._replace(last_used=None)])[1].hint == ""


# As it is read -------------------------------------------------------------------------------------------------------


def test_overview_follows_what_happens(deployment: Deployment, audit: Callable[[Deployment], None]) -> None:
    overviews = deployment.gateway.overviews
    acme = deployment.organization(plan="free", sso=False)
    denied = overviews.of(acme)
    assert denied.next_step().name == steps.PLAN
    assert "part of the enterprise plan" in str(denied.denial)

    okta = deployment.connection("okta", deployment.organization(seats=1))
    assert overviews.of(okta.organization).next_step().name == steps.CALL
    assert okta.call("GET", "/Users", token="wrong").status == 401
    tried = overviews.of(okta.organization)
    assert (tried.next_step().name, tried.refused) == (steps.CALL, 1)
    (line,) = overviews.last_calls(okta.connection, 5)
    assert (line.principal, line.outcome) == (None, "failure")

    okta.user("user1@acme.test")
    assert okta.call("POST", "/Users", {"schemas": [USER], "userName": "user2@acme.test"}).status == 403
    after = overviews.of(okta.organization)
    assert (after.next_step().name, after.refused) == (steps.REFUSED, 2)
    assert after.connections[0].works
    assert [each.outcome for each in overviews.last_calls(okta.connection, 2)] == ["failure", "success"]

    assert after.connections[0].groups == 0
    okta.group("Sales")
    assert overviews.of(okta.organization).connections[0].groups == 1

    okta.deployment.admin("PUT", f"/connections/{okta.uid}/provisioning", {"enabled": False})
    assert overviews.of(okta.organization).next_step().name == steps.SWITCH
    # What an admin did is no call of the identity provider.
    assert len(overviews.last_calls(okta.connection, 5)) == 4
    audit(deployment)


def test_one_connection_costs_as_much_among_many(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test of Set up reads once a second."""
    okta = deployment.connection("okta")
    deployment.gateway.worker.stop()
    statements = []
    for _ in range(2):
        with counted(deployment, monkeypatch) as sent:
            deployment.gateway.overviews.of(okta.organization, okta.connection)
        statements.append(len(sent))
        for _ in range(3):
            deployment.connection("generic", okta.organization)
    assert statements[0] == statements[1] <= 8
