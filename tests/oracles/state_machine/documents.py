"""Users as the model keeps them, and single steps of a PATCH, done to a document and as they are sent."""

from __future__ import annotations

import copy
from typing import Any

from gateway.testing.deployment import USER
from tests.oracles.state_machine.records import (
    DEPARTMENT,
    ENTERPRISE,
    EXTENSION,
    GROUP_VALUE,
    IDPS,
    Json,
    Refused,
    folded,
)


def canonical(by: int, body: Json) -> Json:
    """A user as it is kept by a connection of that kind. Bodies here hold no empty values and nothing malformed."""
    doc = copy.deepcopy(body)
    if IDPS[by] == "okta":
        doc.pop(ENTERPRISE, None)
        doc.setdefault("emails", [{"value": doc["userName"], "type": "work", "primary": True}])
        if not any(entry.get("primary") for entry in doc["emails"]):
            doc["emails"][0]["primary"] = True
    if "emails" in doc:
        doc["emails"] = once(doc["emails"])
    return with_schemas(doc)


def once(emails: list[Json]) -> list[Json]:
    """Each pair of address and type once; the one that comes later completes the first."""
    kept: dict[Any, Json] = {}
    for entry in emails:
        first = kept.setdefault(pair(entry), entry)
        first |= {name: part for name, part in entry.items() if name not in ("value", "type")}
    return list(kept.values())


def pair(entry: Json) -> tuple[str, str]:
    """What an e-mail address is known by, letter case aside."""
    return folded(entry["value"]), entry["type"]


def with_schemas(doc: Json) -> Json:
    """The document with the URNs of what it holds."""
    return {**doc, "schemas": [USER, *(urn for urn in (ENTERPRISE, EXTENSION) if urn in doc)]}


def by_hand(values: Json) -> Json:
    """The document of a user that an admin makes."""
    doc: Json = {"userName": values["user_name"], "active": values.get("active", True)}
    if values.get("display_name"):
        doc["displayName"] = values["display_name"]
    if values.get("email"):
        doc["emails"] = [{"value": values["email"], "type": "work", "primary": True}]
    return with_schemas(doc)


def mapped(attribute: str | None, doc: Json) -> list[str]:
    """The values of a user that the rules look at."""
    urn, _, name = (attribute or "").rpartition(":")
    value = (doc.get(urn, {}) if urn else doc).get(name, [])
    return value if isinstance(value, list) else [value]


def patch_step(by: int, doc: Json, verb: str, *given: Any) -> None:
    """One operation of a PATCH, done to a document."""
    emails = doc.get("emails", [])
    if verb in ("active", "displayName", "userName"):
        put(doc, verb, given[0])
    elif verb in (ENTERPRISE, EXTENSION):
        if verb == EXTENSION or IDPS[by] != "okta":
            put(doc, verb, given[0] and {"group" if verb == EXTENSION else "department": given[0]})
    elif verb == "add email":
        put(doc, "emails", with_email(emails, given[0]))
    elif verb == "remove email":
        put(doc, "emails", [entry for entry in emails if folded(entry["value"]) != folded(given[0])])
    elif verb == "remove emails":
        put(doc, "emails", None)
    elif verb == "change email":
        chosen = [entry for entry in emails if entry["type"] == "work"]
        if not chosen:
            raise Refused(400)
        for entry in chosen:
            entry["value"] = given[0]
        doc["emails"] = once(emails)


def with_email(emails: list[Json], new: Json) -> list[Json]:
    """An address more, or one completed that is there; there is one primary at most."""
    known = [entry for entry in emails if pair(entry) == pair(new)]
    added = known[0] if known else {}
    added |= {**new, **added, **{name: part for name, part in new.items() if name == "primary"}}
    for entry in emails:
        if new.get("primary") and entry is not added and entry.get("primary"):
            entry["primary"] = False
    return emails if known else [*emails, added]


def put(doc: Json, name: str, value: Any) -> None:
    """Assign, or unassign what would be empty."""
    doc.pop(name, None)
    if value not in (None, [], ""):
        doc[name] = value


def operation(verb: str, *given: Any) -> Json:
    """The same step as it is sent."""
    simple = {EXTENSION: GROUP_VALUE, ENTERPRISE: DEPARTMENT}
    if verb == "active":
        return {"op": "replace", "value": {"active": given[0]}}
    if verb in ("displayName", "userName", EXTENSION, ENTERPRISE):
        path = simple.get(verb, verb)
        if given[0] is None:
            return {"op": "remove", "path": path}
        return {"op": "replace", "path": path, "value": given[0]}
    return {
        "add email": lambda: {"op": "add", "path": "emails", "value": [given[0]]},
        "remove email": lambda: {"op": "remove", "path": f'emails[value eq "{given[0]}"]'},
        "remove emails": lambda: {"op": "remove", "path": "emails"},
        "change email": lambda: {
            "op": "replace", "path": 'emails[type eq "work"].value', "value": given[0],
        },
    }[verb]()  # fmt: skip


def member_operations(verb: str, ids: Any) -> list[Json]:
    """A step of a group's PATCH as it is sent."""
    if verb == "name":
        return [{"op": "replace", "value": {"displayName": ids}}]
    if verb == "remove":
        return [{"op": "remove", "path": f'members[value eq "{uid}"]'} for uid in ids]
    if verb == "replace" and not ids:
        return [{"op": "remove", "path": "members"}]
    return [{"op": verb, "path": "members", "value": [{"value": uid} for uid in ids]}]
