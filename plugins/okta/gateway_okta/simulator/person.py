"""A person of Okta's directory, and the three calls of which most conversations about one are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gateway import Json
from gateway.simulation import Actor
from gateway_okta.simulator import checks, wire
from gateway_okta.simulator.scenes import Line


@dataclass
class Person(Actor):
    """A person of Okta's directory. `family` changes with the profile update."""

    given: str = ""
    family: str = ""

    @property
    def user_name(self) -> str:
        return self.label

    def profile(self) -> Json:
        # The id of an Okta user: 00u and 17 more characters.
        external_id = "00u" + hashlib.sha256(self.user_name.encode()).hexdigest()[:17]
        return wire.profile(self.user_name, self.given, self.family, external_id)


def find(line: Line, user_name: str) -> Json | None:
    """One call, as Okta looks somebody up. Its documentation allows 404 for nobody, next to an empty list."""
    answer = line.get(wire.user_named(user_name))
    if answer.status == 404:
        checks.error(answer, 404)
        return None
    total, found = checks.listing(answer)
    if not all(checks.same_name(user.get("userName"), user_name) for user in found):
        raise checks.Unmet(f"nobody but {user_name}: the filter was not followed")
    if total != len(found) or total > 1:
        raise checks.Unmet("at most one user, and as many as totalResults says")
    return found[0] if found else None


def fetch(line: Line, person: Person) -> Json:
    found = checks.user(line.get(f"/Users/{person.id}"), person.user_name, 200)
    checks.same_id(found, person.id)
    return found


def put(line: Line, person: Person, told: Json) -> Json:
    body = wire.laid_over(fetch(line, person), told)
    answered = checks.user(line.put(f"/Users/{person.id}", body), person.user_name, 200)
    checks.same_id(answered, person.id)
    return answered
