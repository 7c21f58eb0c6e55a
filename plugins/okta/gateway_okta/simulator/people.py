"""Okta's conversations about one person: look up, assign or link, and update."""

from __future__ import annotations

from gateway import Json
from gateway_okta.simulator import checks, wire
from gateway_okta.simulator.person import Person, fetch, find, put
from gateway_okta.simulator.scenes import Line


def look_up(line: Line, person: Person) -> str:
    found = find(line, person.user_name)
    person.id = found["id"] if found else ""
    return "This user name is there already, so Okta links." if found else "Nobody has this user name yet."


def assign(line: Line, person: Person) -> str:
    if person.id:
        return link(line, person)
    created = checks.user(line.post("/Users", wire.new_user(person.profile())), person.user_name, 201)
    person.id = created["id"]
    return f"Created with the id {person.id}."


def read_back(line: Line, person: Person) -> str:
    _expect_profile(fetch(line, person), person, active=True)
    return "The server holds what Okta sent."


def link(line: Line, person: Person) -> str:
    """A user that was found: Okta keeps its id, fetches it, and puts its own profile over it, active."""
    if not person.id:
        raise checks.Unmet("a user to link")
    linked = put(line, person, {**person.profile(), "active": True})
    checks.equal(linked, "active", True)
    return f"Linked to the user with the id {person.id}."


def find_in_capitals(line: Line, person: Person) -> str:
    found = find(line, person.user_name.upper())
    if found is None:
        raise checks.Unmet("the user: letter case does not tell user names apart (RFC 7643, 4.1.1)")
    checks.same_id(found, person.id)
    return "Found in capitals too."


def create_again(line: Line, person: Person) -> str:
    body = wire.new_user(person.profile())
    body["emails"] = [{**body["emails"][0], "value": f"another.{person.user_name}"}]
    detail = checks.error(line.post("/Users", body), 409)
    return f'Refused with 409 although the e-mail is another: "{detail}"'


def link_again(line: Line, person: Person) -> str:
    found = find(line, person.user_name)
    if found is None:
        raise checks.Unmet("the user that was created before")
    checks.same_id(found, person.id)
    return link(line, person)


def be_refused(line: Line, person: Person) -> str:
    """One more than there are seats: Okta shows the detail to its admin word for word."""
    if find(line, person.user_name) is not None:
        raise checks.Unmet("nobody of this name yet")
    detail = checks.error(line.post("/Users", wire.new_user(person.profile())), 403)
    if find(line, person.user_name) is not None:
        raise checks.Unmet("nobody of this name, since the create was refused")
    return f'Refused, and nothing was stored. The server says: "{detail}"'


def update(line: Line, person: Person) -> str:
    person.family = f"New{person.family}"
    put(line, person, person.profile())
    _expect_profile(fetch(line, person), person, active=True)
    return "The family name is the new one."


def push_empty_values(line: Line, person: Person) -> str:
    """The setting «push empty values»: text becomes empty, an entry of a list loses its value."""
    told = person.profile()
    told["name"] = {**told["name"], "middleName": ""}
    told.update(title="", phoneNumbers=[{"primary": True, "type": "work", "value": ""}])
    put(line, person, told)
    return "Empty values were taken without complaint."


def _expect_profile(document: Json, person: Person, *, active: bool) -> None:
    checks.equal(document, "name.givenName", person.given)
    checks.equal(document, "name.familyName", person.family)
    checks.equal(document, "emails.0.value", person.user_name)
    checks.equal(document, "active", active)
