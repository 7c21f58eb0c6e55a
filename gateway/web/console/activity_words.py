"""The activity in words: who did or asked for what, how it ended, and which page of the console mends a refusal."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from gateway.provisioning.explanations.reading import is_of_admin
from gateway.store.records import ActivityRecord

_USER, _GROUP = "/organizations/{organization}/users", "/organizations/{organization}/groups"
_CONNECTION, _IMPORT = "/connections/{connection}", "/organizations/{organization}/imports"
#: Its lines with a user are of people who came back.
_UNDO = "POST /connections/{connection}/undo"
#: What an operation does, as `created` and `to create`; {} is its target.
_VERBS = {
    "POST /Users": ("created {}", "to create {}"),
    "GET /Users": ("looked for {}", "to look for {}"),
    "GET /Users/{id}": ("read {}", "to read {}"),
    "PUT /Users/{id}": ("updated {}", "to update {}"),
    "PATCH /Users/{id}": ("updated {}", "to update {}"),
    "DELETE /Users/{id}": ("deleted {}", "to delete {}"),
    "POST /Groups": ("created the group {}", "to create the group {}"),
    "GET /Groups": ("looked for groups", "to look for groups"),
    "GET /Groups/{id}": ("read the group {}", "to read the group {}"),
    "PUT /Groups/{id}": ("updated the group {}", "to update the group {}"),
    "PATCH /Groups/{id}": ("updated the group {}", "to update the group {}"),
    "DELETE /Groups/{id}": ("deleted the group {}", "to delete the group {}"),
    "POST /Bulk": ("sent several changes at once", "to make several changes at once"),
    "GET /ServiceProviderConfig": ("asked what the gateway can do", "what the gateway can do"),
    "GET /ResourceTypes": ("asked what the gateway stores", "what the gateway stores"),
    "GET /Schemas": ("asked which attributes there are", "which attributes there are"),
    f"POST {_USER}": ("added {}", "to add {}"),
    f"PATCH {_USER}/{{user}}": ("changed {}", "to change {}"),
    f"DELETE {_USER}/{{user}}": ("removed {}", "to remove {}"),
    f"POST {_USER}/{{user}}/erase": ("erased a person", "to erase a person"),
    f"POST {_IMPORT}": ("uploaded a file of people", "to upload a file of people"),
    f"POST {_IMPORT}/{{import}}/apply": ("imported people from a file", "to import people from a file"),
    f"DELETE {_IMPORT}/{{import}}": ("deleted an import", "to delete an import"),
    f"POST {_GROUP}": ("made the group {}", "to make a group"),
    f"PATCH {_GROUP}/{{group}}": ("renamed the group {}", "to rename a group"),
    f"DELETE {_GROUP}/{{group}}": ("removed the group {}", "to remove a group"),
    f"PUT {_GROUP}/{{group}}/members/{{user}}": ("put a person into the group {}", "to put a person into a group"),
    f"DELETE {_GROUP}/{{group}}/members/{{user}}": (
        "took a person out of the group {}", "to take a person out of a group",
    ),
    "POST /organizations": ("made the organization", "to make the organization"),
    "PATCH /organizations/{organization}": ("changed the organization", "to change the organization"),
    "POST /organizations/{organization}/domains": ("added the domain {}", "to add a domain"),
    "DELETE /organizations/{organization}/domains/{name}": ("removed the domain {}", "to remove the domain {}"),
    "POST /organizations/{organization}/domains/{name}/check": ("checked the domain {}", "to check the domain {}"),
    "POST /organizations/{organization}/domains/{name}/verify": (
        "marked the domain {} as verified", "to mark the domain {} as verified",
    ),
    "PUT /organizations/{organization}/sso": ("set up single sign-on", "to set up single sign-on"),
    "DELETE /organizations/{organization}/sso": ("took single sign-on away", "to take single sign-on away"),
    "POST /organizations/{organization}/connections": ("added the connection {}", "to add a connection"),
    "POST /organizations/{organization}/setup-links": ("made a setup link", "to make a setup link"),
    "DELETE /organizations/{organization}/setup-links/{link}": ("revoked a setup link", "to revoke a setup link"),
    "POST /organizations/{organization}/console-links": ("made a console link", "to make a console link"),
    "POST /organizations/{organization}/admin-tokens": ("made an admin token", "to make an admin token"),
    "DELETE /organizations/{organization}/admin-tokens/{token}": (
        "removed an admin token", "to remove an admin token",
    ),
    f"POST {_CONNECTION}/adoptions/{{adoption}}": ("decided whether {} may be managed", "to decide an adoption"),
    f"POST {_CONNECTION}/adoption": ("approved people for the connection {}", "to approve people for a connection"),
    f"PUT {_CONNECTION}/watch": ("began to watch the connection {}", "to watch the connection {}"),
    f"POST {_CONNECTION}/explain": (
        "tried a request on the connection {}, which changed nothing",
        "to try a request on the connection {}",
    ),
    f"DELETE {_CONNECTION}/watch": ("ended the watch of the connection {}", "to end the watch of the connection {}"),
    f"PATCH {_CONNECTION}": ("changed the connection {}", "to change the connection {}"),
    f"DELETE {_CONNECTION}": ("removed the connection {}", "to remove the connection {}"),
    f"PUT {_CONNECTION}/provisioning": ("switched SCIM provisioning", "to switch SCIM provisioning"),
    f"POST {_CONNECTION}/tokens": ("generated a bearer token", "to generate a bearer token"),
    f"DELETE {_CONNECTION}/tokens/{{token}}": ("removed a bearer token", "to remove a bearer token"),
    f"POST {_CONNECTION}/test": ("tested the connection {}", "to test the connection {}"),
    f"POST {_CONNECTION}/takeover": ("took people over", "to take people over"),
    f"PUT {_CONNECTION}/group-mapping": ("saved Map to groups", "to save Map to groups"),
    f"POST {_CONNECTION}/group-mapping/preview": ("previewed Map to groups", "to preview Map to groups"),
    f"POST {_CONNECTION}/adoption/preview": ("previewed adoption", "to preview adoption"),
    f"PUT {_CONNECTION}/pause": ("paused the connection {}", "to pause the connection {}"),
    f"DELETE {_CONNECTION}/pause": ("ended the pause of the connection {}", "to end the pause of the connection {}"),
    f"POST {_CONNECTION}/hold": ("decided on held removals", "to decide on held removals"),
    _UNDO: ("undid what the connection {} did", "to undo what the connection {} did"),
    "POST /setup": ("opened the console with a link", "to open the console with a link"),
}  # fmt: skip
#: Refusals of one hold or pause, one after the other, from which on they are one line.
_RUN = 3
_OUTCOMES = {"success": "Done", "partial": "In part", "failure": "Refused"}
#: What hooks are called, by which a step may be named.
HOOKS = {
    "check_seats": "Seats",
    "check_entitlement": "Plan",
    "guard_change": "Protection",
    "held_removal": "Held removal",
    "resolve_groups": "Groups",
    "map_resource": "Translation",
    "map_patch": "Translation of a change",
    "authenticate": "Sign-in of the identity provider",
}
_VERBS |= {
    f"{method} {path}{rest}": words
    for path in ("/webhooks", "/organizations/{organization}/webhooks")
    for method, rest, words in (
        ("POST", "", ("added a webhook", "to add a webhook")),
        ("PATCH", "/{webhook}", ("changed a webhook", "to change a webhook")),
        ("DELETE", "/{webhook}", ("removed a webhook", "to remove a webhook")),
        ("POST", "/{webhook}/test", ("sent a test to a webhook", "to send a test to a webhook")),
        ("POST", "/{webhook}/pause", ("paused a webhook", "to pause a webhook")),
        ("POST", "/{webhook}/resume", ("resumed a webhook", "to resume a webhook")),
        (
            "POST",
            "/{webhook}/rotate-secret",
            ("rotated the secret of a webhook", "to rotate the secret of a webhook"),
        ),
        ("POST", "/{webhook}/replay", ("replayed events to a webhook", "to replay events to a webhook")),
        ("POST", "/{webhook}/skip", ("skipped an event of a webhook", "to skip an event of a webhook")),
        ("POST", "/{webhook}/poll", ("polled security event tokens", "to poll security event tokens")),
        (
            "POST",
            "/{webhook}/parked/{event}/retry",
            ("sent a parked event again", "to send a parked event again"),
        ),
        ("DELETE", "/{webhook}/parked/{event}", ("forgot a parked event", "to forget a parked event")),
    )
}


class Remedy(NamedTuple):
    """A page of the console that mends a refusal: endpoint, its arguments, words of the link."""

    endpoint: str
    arguments: Mapping[str, Any]
    words: str


class Line(NamedTuple):
    """A line of the activity as it is shown."""

    record: ActivityRecord
    words: str
    outcome: str
    facts: Mapping[str, Any]
    ignored: tuple[str, ...]
    #: Who said what: the plugin, the question, its answer.
    decisions: tuple[tuple[str, str, str], ...]
    remedy: Remedy | None
    #: Whether its steps are stored.
    explained: bool


class RefusedTogether(NamedTuple):
    """Consecutive lines that a hold or a pause of one connection refused: what their sentences share, and its page."""

    connection: str
    reason: str
    remedy: Remedy
    lines: tuple[Line, ...]


def join_refusals(lines: Iterable[Line], connections: Mapping[str, str]) -> list[Line | RefusedTogether]:
    """Return lines with those in one that the same hold or pause refused one after the other.

    `connections`: their names by their ids.
    """
    shown: list[Line | RefusedTogether] = []
    for (uid, reason), run in groupby(lines, _shared_refusal):
        found = tuple(run)
        if not reason or len(found) < _RUN:
            shown += found
            continue
        name = connections.get(uid, "An identity provider")
        shown.append(RefusedTogether(name, f"{reason}.", _BY_PAGE["safety"], found))
    return shown


def _shared_refusal(line: Line) -> tuple[str, str]:
    """Return the connection of a line that a hold or a pause refused, and the sentence that says so; else nothing."""
    record = line.record
    if record.outcome != "failure" or line.facts.get("page") != "safety" or record.connection_uid is None:
        return "", ""
    return record.connection_uid, (record.detail or "").partition(". ")[0]


def describe(
    record: ActivityRecord, connections: Mapping[str, str], explained: Container[str | None] = ()
) -> Line:
    """Return a line in words. `connections`: their names by their ids; `explained`: request ids with an explanation."""
    facts, decisions = json.loads(record.facts), json.loads(record.decisions)
    from_idp = not is_of_admin(record.operation)
    failed = record.outcome == "failure" and record.status >= 500
    return Line(
        record,
        f"{_who(record, from_idp, connections)} {_what(record, facts)}",
        "Failed" if failed else _OUTCOMES[record.outcome],
        facts,
        tuple(json.loads(record.ignored)),
        tuple((each["plugin"], HOOKS.get(each["hook"], each["hook"]), each["verdict"]) for each in decisions),
        _remedy(record, from_idp, facts, decisions),
        record.request_id in explained,
    )


def _who(record: ActivityRecord, from_idp: bool, connections: Mapping[str, str]) -> str:
    if not from_idp:
        return record.principal or "An admin"
    if record.principal is None:
        return "Somebody without a valid token"
    return connections.get(record.connection_uid or "", "An identity provider")


def _what(record: ActivityRecord, facts: Mapping[str, Any]) -> str:
    operation = record.operation.removesuffix(" (bulk)")
    refused = record.outcome == "failure"
    target = facts.get("name") or record.user
    if facts.get("type") == "Organization" and operation in (f"POST {_USER}", f"POST {_GROUP}"):
        target = record.user  # The body was refused before it was known whom or what to make.
    if operation not in _VERBS:
        if operation.startswith("GET /console"):
            return "asked for a page of the console"
        return f"asked for {operation}" if refused else f"did {operation}"
    done, asked = _VERBS[operation]
    if operation == "POST /Users" and facts.get("restored"):
        done = "brought {} back"
    if operation == _UNDO and record.user:
        done, asked = "brought {} back", "to bring {} back"
    if target is None:
        target = "people" if operation.endswith("/Users") and operation.startswith("GET") else "somebody"
        if "group {}" in done:
            done, asked, target = (
                done.replace("the group {}", "a group"),
                asked.replace("the group {}", "a group"),
                "",
            )
        elif "connection {}" in done or "domain {}" in done:
            target = ""
    return f"asked {asked.format(target)}".rstrip() if refused else done.format(target).rstrip()


def _remedy(
    record: ActivityRecord, from_idp: bool, facts: Mapping[str, Any], decisions: list[dict[str, str]]
) -> Remedy | None:
    """Return the page that mends a refusal: the one that it names, else by its status and by what plugins decided."""
    if (page := facts.get("page")) is not None:
        return _BY_PAGE.get(page) or _person_page(record.target_uid)
    of_groups = record.operation.partition(" ")[2].startswith("/Groups")
    if {"hook": "check_seats", "verdict": "denied"}.items() <= _last(decisions).items():
        return _SEATS
    if not from_idp:
        return None
    if record.outcome == "partial":
        return _GROUPS if of_groups else _MAPPING
    if record.outcome == "failure" and record.status == 409:
        return _GROUPS if of_groups else _of_person(record.user)
    return _BY_STATUS.get(record.status)


def _last(decisions: list[dict[str, str]]) -> dict[str, str]:
    """Return what was decided last, which is what refused."""
    return decisions[-1] if decisions else {}


def _of_person(user: str | None) -> Remedy | None:
    return Remedy("show_people", {"q": user}, f"Look {user} up") if user else None


def _person_page(uid: str | None) -> Remedy | None:
    return Remedy("show_person", {"user": uid}, "See the person, and end the protection") if uid else None


_MAPPING = Remedy("show_mapping", {}, "Look at Map to groups")
_GROUPS = Remedy("show_groups", {}, "See the groups")
_SEATS = Remedy("show_seats", {}, "See the seats, and who waits for one")
#: By the page that a refusal names.
_BY_PAGE = {
    "safety": Remedy("show_safety", {}, "See what is paused and held, and decide"),
    "adoption": Remedy("show_adoption", {}, "See who waits for adoption, and decide"),
    "domains": Remedy("show_domains", {}, "See the domains, and which addresses are let in"),
}
_BY_STATUS = {
    401: Remedy("show_tokens", {}, "See the tokens"),
    # Beside a lack of seats: plan, single sign-on, or the switch.
    403: Remedy("show_set_up", {}, "See what Set up lacks"),
}
