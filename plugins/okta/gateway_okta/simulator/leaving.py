"""Okta's conversations about somebody who leaves and comes back. It never deletes a user (documented)."""

from __future__ import annotations

from gateway_okta.simulator import checks, wire
from gateway_okta.simulator.person import Person, fetch, find, put
from gateway_okta.simulator.scenes import Line


def deactivate_by_patch(line: Line, person: Person) -> str:
    _patch_active(line, person, False)
    return "Answered as Okta needs it."


def deactivate_by_put(line: Line, person: Person) -> str:
    """An app made with the wizard can only put: the whole user, as it was fetched, not active."""
    answered = put(line, person, {"name": {}, "active": False})
    checks.equal(answered, "active", False)
    return "Answered with the user, inactive."


def read_inactive(line: Line, person: Person) -> str:
    checks.equal(fetch(line, person), "active", False)
    return "Still readable, and inactive."


def reactivate_by_patch(line: Line, person: Person) -> str:
    _find_again(line, person)
    _patch_active(line, person, True)
    put(line, person, person.profile())
    return _expect_active(line, person)


def reactivate_by_put(line: Line, person: Person) -> str:
    _find_again(line, person)
    put(line, person, {**person.profile(), "active": True})
    return _expect_active(line, person)


def _find_again(line: Line, person: Person) -> None:
    found = find(line, person.user_name)
    if found is None:
        raise checks.Unmet("the inactive user, so that Okta can reactivate it")
    checks.same_id(found, person.id)


def _patch_active(line: Line, person: Person, active: bool) -> None:
    answer = checks.status(line.patch(f"/Users/{person.id}", wire.set_active(active)), 200, 204)
    if answer.status == 200:
        checks.equal(checks.user(answer, person.user_name, 200), "active", active)


def _expect_active(line: Line, person: Person) -> str:
    checks.equal(fetch(line, person), "active", True)
    return "Active again, with the same id."
