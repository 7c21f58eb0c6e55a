"""Two connections and an admin do whatever comes to their minds, and a model in plain Python says what each must hear.

The model below was written beside the documents, not beside the code. After each step the whole deployment is held
against it: the lists of both connections, the admin REST, the feed replayed from nothing, and the rows themselves.

`GATEWAY_MACHINE` in the environment is the number of sequences of fifty steps to try, with fresh dice, where the few
that are tried by themselves are not enough.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.simulation.api import Answer
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP, PATCH, USER
from gateway.testing.engines import is_postgresql

SEQUENCES = int(os.environ.get("GATEWAY_MACHINE", "0"))
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EXTENSION = "urn:calendly:scim:schemas:2.0:User"
GROUP_VALUE, DEPARTMENT = f"{EXTENSION}:group", f"{ENTERPRISE}:department"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
IDPS = ("generic", "okta")
ADMIN = 2
Json = dict[str, Any]


def deploy(folder: Path) -> Deployment:
    """The deployment of one sequence. Whatever else is in its database belongs to other organizations."""
    return Deployment(folder)


def folded(text: str) -> str:
    """Names as they are compared."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


# The model --------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """What a request hears that changes nothing."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class Person:
    """A user: whose it is (a connection's number, None = nobody's), and its document."""

    owner: int | None
    doc: Json
    deleted: bool = False


@dataclass
class Team:
    """A group: who pushes it (None = nobody), and its name."""

    owner: int | None
    name: str


@dataclass
class Rules:
    """Map to groups of one connection."""

    enabled: bool = False
    attribute: str | None = None
    rules: tuple[tuple[str, str], ...] = ()  # value, id of the group


@dataclass(frozen=True)
class Op:
    """A request before it is known whom it will meet: `user`, `group` and the like are numbers to choose by."""

    kind: str
    by: int = ADMIN
    user: int = 0
    group: int = 0
    values: Any = None
    members: tuple[int, ...] = ()
    stale: bool = False

    def __repr__(self) -> str:
        usual = Op(self.kind)
        said = [f"{name}={value!r}" for name, value in vars(self).items() if value != vars(usual)[name]]
        return f"Op({', '.join([repr(self.kind), *(each for each in said if not each.startswith('kind='))])})"


@dataclass
class Heard:
    """What came back. `made` are the groups that the feed told of since the request was sent."""

    status: int
    json: Any = None
    made: list[tuple[str, str]] = field(default_factory=list)

    @property
    def uid(self) -> str:
        return self.json["id"] if isinstance(self.json, dict) and "id" in self.json else "?"


class Model:
    """What is there, and what follows from a request."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.people: dict[str, Person] = {}
        self.teams: dict[str, Team] = {}
        self.grants: set[tuple[str, str, str]] = set()  # group, user, reason
        self.waiting: set[tuple[str, str]] = set()
        self.mapping = (Rules(), Rules())

    # What is seen

    def live(self) -> dict[str, Person]:
        return {uid: person for uid, person in self.people.items() if not person.deleted}

    def seats(self) -> int:
        return sum(person.doc["active"] for person in self.live().values())

    def sees(self, by: int, thing: Person | Team) -> bool:
        return by == ADMIN or thing.owner in (by, None)

    def person(self, by: int, uid: str) -> Person:
        found = self.people.get(uid)
        if found is None or found.deleted or not self.sees(by, found):
            raise Refused(404)
        return found

    def team(self, by: int, uid: str) -> Team:
        found = self.teams.get(uid)
        if found is None or not self.sees(by, found):
            raise Refused(404)
        return found

    def inside(self, group: str) -> set[str]:
        return {user for held, user, _ in self.grants if held == group}

    def shown_user(self, by: int, uid: str) -> Json:
        """As the connection sees it; its groups as a set."""
        held = {group for group, user, _ in self.grants if user == uid and self.sees(by, self.teams[group])}
        return {**self.people[uid].doc, "id": uid, "groups": {(g, self.teams[g].name) for g in held}}

    def shown_group(self, by: int, uid: str) -> Json:
        seen = {user for user in self.inside(uid) if self.sees(by, self.people[user])}
        names = {(u, self.people[u].doc.get("displayName", self.people[u].doc["userName"])) for u in seen}
        return {"schemas": [GROUP], "id": uid, "displayName": self.teams[uid].name, "members": names}

    # Users

    def user_create(self, by: int, body: Json, heard: Heard) -> Json:
        doc = canonical(by, body)
        doc.setdefault("active", True)
        known = self._restorable(by, doc)
        self._check_unique(known, doc)
        self._check_seat(doc["active"])
        uid = known or heard.uid
        if not known and uid in self.people:
            raise Refused(0)
        self.people[uid] = Person(by, doc)
        self._settle(by, uid)
        if known:
            for group in [g for g, user in self.waiting if user == uid and self.teams[g].owner == by]:
                self.waiting.discard((group, uid))
                self.grants.add((group, uid, "push"))
        return self.shown_user(by, uid)

    def _restorable(self, by: int, doc: Json) -> str | None:
        gone = [(uid, p.doc) for uid, p in reversed(self.people.items()) if p.deleted and p.owner == by]
        external = doc.get("externalId")
        same = [uid for uid, old in gone if external is not None and old.get("externalId") == external]
        if len(same) == 1:
            return same[0]
        for uid, old in gone:
            if folded(old["userName"]) == folded(doc["userName"]) and None in (
                external,
                old.get("externalId"),
            ):
                return uid
        return None

    def _check_unique(self, but: str | None, doc: Json) -> None:
        for uid, other in self.live().items():
            if uid != but and folded(other.doc["userName"]) == folded(doc["userName"]):
                raise Refused(409)

    def _check_seat(self, wanted: bool) -> None:
        if wanted and self.limit is not None and self.seats() >= self.limit:
            raise Refused(403)

    def user_put(self, by: int, uid: str, body: Json) -> Json:
        person = self.person(by, uid)
        doc = canonical(by, body)
        doc.setdefault("active", person.doc["active"])
        return self._rewrite(by, uid, doc)

    def user_patch(self, by: int, uid: str, steps: Sequence[tuple[Any, ...]], stale: bool = False) -> Json:
        person = self.person(by, uid)
        if stale:
            raise Refused(412)
        doc = copy.deepcopy(person.doc)
        for step in steps:
            patch_step(by, doc, *step)
        return self._rewrite(by, uid, with_schemas(doc))

    def _rewrite(self, by: int, uid: str, doc: Json) -> Json:
        person = self.person(by, uid)
        owner = by if person.owner is None and by != ADMIN else person.owner
        self._check_unique(uid, doc)
        self._check_seat(doc["active"] and not person.doc["active"])
        person.owner, person.doc = owner, doc
        self._settle(by, uid)
        return self.shown_user(by, uid)

    def user_delete(self, by: int, uid: str) -> None:
        person = self.person(by, uid)
        person.deleted = True
        person.doc["active"] = False
        self.grants = {grant for grant in self.grants if grant[1] != uid}

    def _settle(self, by: int, uid: str) -> None:
        """A change by its connection brings a user where the rules lead; what was given by hand ends."""
        if by == ADMIN or not self.mapping[by].enabled:
            return
        pushed = {grant for grant in self.grants if grant[1] == uid and grant[2] == "push"}
        others = {grant for grant in self.grants if grant[1] != uid}
        values = mapped(self.mapping[by].attribute, self.people[uid].doc)
        led = {(group, uid, "mapping") for value, group in self.mapping[by].rules if value in values}
        self.grants = others | pushed | led

    # Groups that are pushed

    def group_create(self, by: int, name: str, members: Sequence[str], heard: Heard) -> Json:
        self._check_name(by, name)
        if heard.uid in self.teams:
            raise Refused(0)
        self.teams[heard.uid] = Team(by, name)
        self._members(by, heard.uid, [("add", members)])
        return self.shown_group(by, heard.uid)

    def group_put(self, by: int, uid: str, name: str, members: Sequence[str]) -> Json:
        self._push(by, uid, name, [("replace", members)])
        return self.shown_group(by, uid)

    def group_patch(self, by: int, uid: str, steps: Sequence[tuple[str, Any]]) -> None:
        self.team(by, uid)
        names = [value for verb, value in steps if verb == "name"]
        self._push(by, uid, names[-1] if names else self.teams[uid].name, steps)

    def _push(self, by: int, uid: str, name: str, steps: Sequence[tuple[str, Any]]) -> None:
        team = self.team(by, uid)
        if team.owner is None:
            # The first write of a connection links it: who is in it is decided there from now on.
            self._check_no_rule(uid)
            self._check_name(by, name, uid)
            self.grants = {(g, u, "push" if g == uid else why) for g, u, why in self.grants}
        self._check_name(by, name, uid)
        team.owner, team.name = by, name
        self._members(by, uid, steps)

    def _members(self, by: int, group: str, steps: Sequence[tuple[str, Any]]) -> None:
        for verb, ids in steps:
            here = {uid for uid in ids if uid in self.people and verb != "name"}
            here = {uid for uid in here if not self.people[uid].deleted and self.sees(by, self.people[uid])}
            if verb == "replace":
                self.waiting = {pair for pair in self.waiting if pair[0] != group}
                self.grants = {grant for grant in self.grants if grant[0] != group or grant[2] != "push"}
            if verb in ("add", "replace"):
                self.grants |= {(group, uid, "push") for uid in here}
                self.waiting |= {(group, uid) for uid in ids if uid not in here}
            elif verb == "remove":
                # Also who went to the other connection since: the group is this one's own.
                self.waiting -= {(group, uid) for uid in ids}
                self.grants -= {(group, uid, "push") for uid in ids}

    def group_delete(self, by: int, uid: str) -> None:
        team = self.team(by, uid)
        if by == ADMIN and team.owner is not None:
            raise Refused(409)
        self._check_no_rule(uid)
        del self.teams[uid]
        self.grants = {grant for grant in self.grants if grant[0] != uid}
        self.waiting = {pair for pair in self.waiting if pair[0] != uid}

    def _check_no_rule(self, uid: str) -> None:
        if any(group == uid for rules in self.mapping for _, group in rules.rules):
            raise Refused(409)

    def _check_name(self, by: int, name: str, but: str | None = None) -> None:
        """No two groups of one name for anybody who looks at them."""
        for uid, team in self.teams.items():
            if uid != but and folded(team.name) == folded(name) and self.sees(by, team):
                raise Refused(409)

    # The admin

    def admin_user_create(self, values: Json, heard: Heard) -> Json:
        doc = by_hand(values)
        self._check_unique(None, doc)
        self._check_seat(doc["active"])
        if heard.uid in self.people:
            raise Refused(0)
        self.people[heard.uid] = Person(None, doc)
        return self.admin_view(heard.uid)

    def admin_user_edit(self, uid: str, values: Json) -> Json:
        person = self.person(ADMIN, uid)
        if person.owner is not None and values.keys() - {"active"}:
            raise Refused(409)
        if person.owner is None:
            old = person.doc
            email = old["emails"][0]["value"] if "emails" in old else None
            was = {"user_name": old["userName"], "display_name": old.get("displayName"), "email": email}
            doc = by_hand({**was, "active": old["active"], **values})
        else:
            doc = {**person.doc, **values}
        self._rewrite(ADMIN, uid, doc)
        return self.admin_view(uid)

    def admin_view(self, uid: str) -> Json:
        person = self.people[uid]
        held = {(g, self.teams[g].name, why) for g, user, why in self.grants if user == uid}
        return {
            "id": uid, "user_name": person.doc["userName"], "display_name": person.doc.get("displayName"),
            "active": person.doc["active"], "owner": person.owner,
            "idp_group": mapped(GROUP_VALUE, person.doc), "groups": held,
        }  # fmt: skip

    def admin_group_create(self, name: str, heard: Heard) -> Json:
        self._check_name(ADMIN, name)
        if heard.uid in self.teams:
            raise Refused(0)
        self.teams[heard.uid] = Team(None, name)
        return {"id": heard.uid, "name": name, "owner": None, "members": 0}

    def admin_group_rename(self, uid: str, name: str) -> Json:
        team = self.team(ADMIN, uid)
        if team.owner is not None:
            raise Refused(409)
        self._check_name(ADMIN, name, uid)
        team.name = name
        return {"id": uid, "name": name, "owner": None, "members": len(self.inside(uid))}

    def admin_member(self, group: str, user: str, inside: bool) -> None:
        if self.team(ADMIN, group).owner is not None:
            raise Refused(409)
        owner = self.person(ADMIN, user).owner
        if owner is not None and self.mapping[owner].enabled:
            raise Refused(409)
        (self.grants.add if inside else self.grants.discard)((group, user, "manual"))

    # Map to groups

    def effect(self, by: int, plan: Json) -> Json:
        """What a preview shows; `was` is what it would replace."""
        enabled, rules = plan["enabled"], [(rule["value"], rule["group"]) for rule in plan["rules"]]
        places: dict[str, str] = {}
        made = []
        for _, name in rules:
            if folded(name) in places:
                continue
            namesakes = {uid: t for uid, t in self.teams.items() if folded(t.name) == folded(name)}
            manual = [uid for uid, team in namesakes.items() if team.owner is None]
            if namesakes and not manual:
                raise Refused(422)
            made += [] if manual else [name]
            places[folded(name)] = manual[0] if manual else f"new {name}"
        joins, leaves, unmapped = [], [], {}
        for uid, person in self.live().items():
            if person.owner != by or not enabled:
                continue
            values = list(dict.fromkeys(mapped(plan["attribute"], person.doc)))
            led = {places[folded(name)] for value, name in rules if value in values}
            for value in values:
                if value not in [known for known, _ in rules]:
                    unmapped[value] = unmapped.get(value, 0) + 1
            if plan["apply_to_existing"]:
                before = {group for group, user, _ in self.grants if user == uid}
                after = led | {group for group, user, why in self.grants if user == uid and why == "push"}
                joins += [(person.doc["userName"], self._called(place)) for place in after - before]
                leaves += [(person.doc["userName"], self._called(place)) for place in before - after]
        shown = {"groups_to_create": sorted(made), "joins": sorted(joins), "leaves": sorted(leaves)}
        return {**shown, "unmapped": unmapped, "was": copy.deepcopy(self._named(self.mapping[by]))}

    def _called(self, place: str) -> str:
        return place.removeprefix("new ") if place.startswith("new ") else self.teams[place].name

    def _named(self, rules: Rules) -> Any:
        return (
            rules.enabled,
            rules.attribute,
            [(value, self.teams[group].name) for value, group in rules.rules],
        )

    def map_save(self, by: int, plan: Json, previewed: Json, heard: Heard) -> None:
        if self.effect(by, plan) != previewed:
            raise Refused(412)
        unclaimed = [(uid, name) for uid, name in heard.made if uid not in self.teams]
        for wanted in previewed["groups_to_create"]:
            uid = next((uid for uid, name in unclaimed if name == wanted), None)
            if uid is None:
                raise Refused(0)
            self.teams[uid] = Team(None, wanted)
        by_name = {folded(team.name): uid for uid, team in self.teams.items() if team.owner is None}
        rules = tuple((rule["value"], by_name[folded(rule["group"])]) for rule in plan["rules"])
        self.mapping[by].enabled, self.mapping[by].attribute = plan["enabled"], plan["attribute"]
        self.mapping[by].rules = rules
        mine = {uid for uid, person in self.live().items() if person.owner == by}
        if not plan["enabled"]:
            hand = {("mapping", True): "manual"}
            self.grants = {(g, u, hand.get((why, u in mine), why)) for g, u, why in self.grants}
        elif plan["apply_to_existing"]:
            for uid in mine:
                self._settle(by, uid)


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


# What may come to their minds -------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "ann@acme.test", "ANN@acme.test", "bob@acme.test", "Bob@Acme.test", "éve@acme.test", "E\u0301VE@acme.test",
        "cy@acme.test",
    ]
)  # fmt: skip
LABELS = st.sampled_from([None, "Ann", "emea"])
VALUES = st.sampled_from([None, "emea", "apac", ["emea", "apac"], ["EMEA"]])
ADDRESSES = st.sampled_from(["a@acme.test", "A@acme.test", "b@acme.test"])
TEAMS = st.sampled_from(["Sales", "sales", "Support", "Legal"])
NUMBERS = st.integers(0, 11)
CONNECTIONS = st.integers(0, 1)
SELDOM = st.sampled_from([False, False, False, True])
EMAIL = st.fixed_dictionaries(
    {"value": ADDRESSES, "type": st.sampled_from(["work", "home"])}, optional={"primary": st.just(True)}
)


@st.composite
def bodies(draw: st.DrawFn) -> Json:
    """A user as an identity provider tells it."""
    body: Json = {"schemas": [USER], "userName": draw(NAMES)}
    put(body, "externalId", draw(st.sampled_from([None, "e1", "e2", "e3"])))
    put(body, "active", draw(st.sampled_from([True, None, False])))
    put(body, "displayName", draw(LABELS))
    emails = draw(st.lists(EMAIL, max_size=2, unique_by=lambda entry: (entry["value"], entry["type"])))
    for entry in emails[1:]:
        entry.pop("primary", None)
    put(body, "emails", emails)
    department, value = draw(LABELS), draw(VALUES)
    put(body, ENTERPRISE, department and {"department": department})
    put(body, EXTENSION, value and {"group": value})
    return body


STEPS = st.one_of(
    st.tuples(st.just("active"), st.booleans()),
    st.tuples(st.just("displayName"), LABELS),
    st.tuples(st.just("userName"), NAMES),
    st.tuples(st.just("add email"), EMAIL),
    st.tuples(st.just("remove email"), ADDRESSES),
    st.tuples(st.just("remove emails")),
    st.tuples(st.just("change email"), ADDRESSES),
    st.tuples(st.just(ENTERPRISE), LABELS),
    st.tuples(st.just(EXTENSION), VALUES),
)
MEMBERS = st.lists(NUMBERS, max_size=3, unique=True).map(tuple)
MEMBER_STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "remove", "replace"]), MEMBERS), st.tuples(st.just("name"), TEAMS)
)


def ops(kind: str, by: st.SearchStrategy[int] | None = None, **parts: st.SearchStrategy[Any]) -> Any:
    return st.builds(Op, st.just(kind), by=st.just(ADMIN) if by is None else by, **parts)


BY_HAND = {"display_name": LABELS, "email": st.one_of(st.none(), ADDRESSES), "active": st.booleans()}
USERS = [
    ops("user_create", CONNECTIONS, values=bodies()),
    ops("user_create", CONNECTIONS, values=bodies()),
    ops("user_put", CONNECTIONS, user=NUMBERS, values=bodies()),
    ops("user_patch", CONNECTIONS, user=NUMBERS, values=st.lists(STEPS, min_size=1, max_size=3), stale=SELDOM),
    ops("user_patch", CONNECTIONS, user=NUMBERS, values=st.lists(STEPS, min_size=1, max_size=1)),
    ops("user_delete", CONNECTIONS, user=NUMBERS),
    ops("user_delete", CONNECTIONS, user=NUMBERS),
]  # fmt: skip
GROUPS = [
    ops("group_create", CONNECTIONS, values=TEAMS, members=MEMBERS),
    ops("group_put", CONNECTIONS, group=NUMBERS, values=TEAMS, members=MEMBERS),
    ops("group_patch", CONNECTIONS, group=NUMBERS, values=st.lists(MEMBER_STEPS, min_size=1, max_size=3)),
    ops("group_delete", CONNECTIONS, group=NUMBERS),
]
BY_ADMIN = [
    ops("admin_user_create", values=st.fixed_dictionaries({"user_name": NAMES}, optional=BY_HAND)),
    ops(
        "admin_user_edit",
        user=NUMBERS,
        values=st.fixed_dictionaries({}, optional={"user_name": NAMES, **BY_HAND}).filter(bool),
    ),
    ops("admin_user_edit", user=NUMBERS, values=st.fixed_dictionaries({"active": st.booleans()})),
    ops("admin_user_delete", user=NUMBERS),
    ops("admin_group_create", values=TEAMS),
    ops("admin_group_rename", group=NUMBERS, values=TEAMS),
    ops("admin_group_delete", group=NUMBERS),
    ops("admin_member", group=NUMBERS, user=NUMBERS, values=st.booleans()),
    ops("limit", values=st.sampled_from([None, 0, 1, 2, 3, 4, 5])),
]
PLANS = st.fixed_dictionaries(
    {
        "enabled": st.sampled_from([True, True, False]),
        "attribute": st.sampled_from([GROUP_VALUE, GROUP_VALUE, "displayName", DEPARTMENT]),
        "rules": st.lists(
            st.fixed_dictionaries({"value": st.sampled_from(["emea", "apac", "Ann"]), "group": TEAMS}),
            max_size=3,
            unique_by=lambda rule: (rule["value"], rule["group"].lower()),
        ),
        "apply_to_existing": st.booleans(),
    }
)  # fmt: skip
MAPPING = ops("map_save", CONNECTIONS, values=PLANS)
ANY = st.one_of(*USERS, *GROUPS, *BY_ADMIN, MAPPING)
IN_BULK = st.lists(
    st.tuples(CONNECTIONS, st.one_of(*USERS, *GROUPS), NUMBERS, NUMBERS), min_size=1, max_size=5
)


ANN: Json = {"schemas": [USER], "userName": "ann@acme.test", "active": True, EXTENSION: {"group": "emea"}}
BOB: Json = {"user_name": "bob@acme.test"}
PLAN: Json = {
    "enabled": True,
    "attribute": GROUP_VALUE,
    "rules": [{"value": "emea", "group": "Sales"}],
    "apply_to_existing": True,
}
ANN_COMES, BOB_COMES = Op("user_create", 0, values=ANN), Op("admin_user_create", values=BOB)
MAPPED, LEGAL = Op("map_save", 0, values=PLAN), Op("admin_group_create", values="Legal")
PUSHED, LINKED = Op("group_create", 0, values="Legal"), Op("group_put", 0, values="Legal")
JOINS, GONE = Op("admin_member", values=True), Op("user_delete", 0)
SETTLED = [
    ANN_COMES,
    MAPPED,
    Op("user_create", 1, values={"schemas": [USER], "userName": "éve@acme.test", "externalId": "e1"}),
    BOB_COMES,
    LEGAL,
    Op("admin_member", user=0, values=True),
    Op("group_create", 1, values="Support", members=(0, 1)),
    Op("limit", values=4),
]


# The machine ------------------------------------------------------------------------------------------------------


@dataclass
class Request:
    """An operation with the ids of whom it meets: how it is sent, and what the model says of it."""

    send: Callable[[], Answer]
    expect: Callable[[Model, Heard], Any]
    #: Compares the answer with what the model shows; None where only the status counts.
    shown: Callable[[Json], Json] | None = None
    status: int = 200


class Gateway(RuleBasedStateMachine):
    """One organization with seats and two connections, another one that nobody may touch, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-machine-"))
        self.deployment = deploy(self.folder / "instance")
        self.acme = self.deployment.organization("Acme", seats=3)
        self.scims = [self.deployment.connection(idp, self.acme) for idp in IDPS]
        self.model = Model(3)
        other = self.deployment.organization("Other", seats=2)
        stranger = self.deployment.connection("generic", other)
        self.strange_user = stranger.user("ann@acme.test", externalId="e1")["id"]
        self.strange_group = stranger.group("Sales", (self.strange_user,))["id"]
        self.other, self.others_rows = other, self.rows_of(other.id)
        #: Ids in the order in which they were heard of: requests choose from them, gone ones included.
        self.users, self.groups = [self.strange_user], [self.strange_group]
        self.feed = Feed()
        self.fresh_groups: list[tuple[str, str]] = []
        self.versions: dict[str, tuple[str, str]] = {}
        self.counted: dict[str, int] = {}
        self.previews: list[tuple[int, Json, Json, str]] = []
        self.turn = 0

    def teardown(self) -> None:
        try:
            for by in range(2):
                self.check_lists(by)
            again = Feed()
            again.follow(self.deployment, self.acme.uid)
            assert again == self.feed
        finally:
            self.deployment.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # Rules

    @initialize(settled=st.booleans())
    def some_are_there(self, settled: bool) -> None:
        """Half of all begin where people are in groups already, for each reason, and one seat is left."""
        for op in SETTLED if settled else ():
            self.one(op)

    @rule(op=st.one_of(*USERS))
    def user(self, op: Op) -> None:
        self.one(op)

    @rule(op=st.one_of(*GROUPS))
    def group(self, op: Op) -> None:
        self.one(op)

    @rule(op=st.one_of(*BY_ADMIN))
    def by_hand(self, op: Op) -> None:
        self.one(op)

    @rule(op=MAPPING)
    def map_to_groups(self, op: Op) -> None:
        self.one(op)

    @rule(by=CONNECTIONS)
    def switch_mapping_off(self, by: int) -> None:
        """Attribute and rules stay."""
        rules = self.model.mapping[by]
        named = [{"value": value, "group": self.model.teams[g].name} for value, g in rules.rules]
        plan = {"enabled": False, "attribute": rules.attribute, "rules": named, "apply_to_existing": False}
        request = self.mapping(by, plan, sent={"enabled": False})
        self.settle([request] if request else [])

    @rule(number=NUMBERS)
    def save_an_old_preview(self, number: int) -> None:
        if self.previews:
            self.settle([self.saving(*self.previews[number % len(self.previews)])])

    @rule(by=CONNECTIONS, listed=IN_BULK, patience=st.sampled_from([None, None, 1]), backwards=st.booleans())
    def bulk(self, by: int, listed: list[Any], patience: int | None, backwards: bool) -> None:
        self.in_bulk(by, listed, patience, backwards)

    @rule(one=ANY, other=ANY)
    def at_once(self, one: Op, other: Op) -> None:
        """Two requests at the same moment: the answers are those of one order or of the other."""
        self.settle(self.requests(one, other), self.together)

    @rule(one=ANY, other=ANY)
    def in_between(self, one: Op, other: Op) -> None:
        """The second request is answered after the first one has read, and before it writes."""
        self.settle(self.requests(one, other), self.interrupted)

    # Sending

    def one(self, op: Op) -> None:
        self.settle(self.requests(op))

    def requests(self, *wanted: Op) -> list[Request]:
        return [request for op in wanted if (request := self.request(op))]

    def settle(
        self, requests: list[Request], how: Callable[[list[Request]], list[Answer]] | None = None
    ) -> None:
        """Send, and go on with the model of an order that explains all answers and what is stored now."""
        answers = how(requests) if how else [request.send() for request in requests]
        self.catch_up()
        reasons = []
        for order in itertools.permutations(range(len(requests))):
            model = copy.deepcopy(self.model)
            try:
                for number in order:
                    self.explain(model, requests[number], answers[number], alone=len(requests) == 1)
                if len(requests) > 1:
                    self.compare(model)
            except AssertionError as reason:
                reasons.append(reason)
                continue
            self.model = model
            return
        if reasons:
            told = "\n\n".join(f"order {number}: {reason}" for number, reason in enumerate(reasons))
            raise AssertionError(told) from reasons[0]

    def explain(self, model: Model, request: Request, answer: Answer, alone: bool = True) -> None:
        heard = Heard(answer.status, answer.json, self.fresh_groups)
        try:
            shown, status = request.expect(model, heard), request.status
        except Refused as refused:
            shown, status = None, refused.status
        assert answer.status == status, f"{answer.status}, expected {status}: {answer.text}"
        if shown is not None and request.shown and alone:
            assert request.shown(answer.json) == shown
        if status >= 400:
            assert answer.json.get("detail") or answer.json.get("message"), answer.text
            assert status != 409 or "scimType" not in answer.json or answer.json["scimType"] == "uniqueness"

    def together(self, requests: list[Request]) -> list[Answer]:
        """Send all at once, each from a thread of its own."""
        start, answers = threading.Barrier(max(1, len(requests))), {}

        def work(number: int) -> None:
            try:
                start.wait(10)
                answers[number] = requests[number].send()
            finally:
                self.deployment.gateway.store.database.close()

        running = [threading.Thread(target=work, args=(number,)) for number in range(len(requests))]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(30)
            assert not thread.is_alive(), "a request hangs"
        return [answers[number] for number in range(len(requests))]

    def interrupted(self, requests: list[Request]) -> list[Answer]:
        """Send the first; when it begins its transaction, the others come first."""
        if len(requests) < 2:
            return [request.send() for request in requests]
        store, mine, answers = self.deployment.gateway.store, threading.get_ident(), []

        @contextmanager
        def transaction(*arguments: Any, **named: Any) -> Iterator[None]:
            if threading.get_ident() == mine and not answers:
                answers.append(None)
                answers[:] = self.together(requests[1:])
            with store.database.transaction(*arguments, **named):
                yield

        store.transaction = transaction
        try:
            first = requests[0].send()
        finally:
            store.transaction = store.database.transaction
        return [first, *(answers or [request.send() for request in requests[1:]])]

    def uid(self, number: int) -> str:
        return self.users[-1 - number % len(self.users)]

    def gid(self, number: int) -> str:
        return self.groups[-1 - number % len(self.groups)]

    def uids(self, numbers: Sequence[int]) -> list[str]:
        """Members: mostly users, sometimes an id that nobody has."""
        return list(dict.fromkeys("nobody" if number == 11 else self.uid(number) for number in numbers))

    def request(self, op: Op) -> Request | None:
        """The operation with ids."""
        if op.kind == "map_save":
            return self.mapping(op.by, op.values)
        if op.by == ADMIN:
            return self.admin_request(op)
        scim, method, path, body, expect = self.scims[op.by], *self.told(op)
        headers = {"If-Match": 'W/"0"'} if op.stale else {}
        shown = user_shown if op.kind.startswith("user") else group_shown
        status = {"POST": 201, "DELETE": 204}.get(method, 204 if op.kind == "group_patch" else 200)
        return Request(lambda: scim.call(method, path, body, headers=headers), expect, shown, status)

    def told(self, op: Op) -> tuple[str, str, Json | None, Callable[[Model, Heard], Any]]:
        """Method, path, body, and what the model makes of it, for a single request or one in bulk."""
        by, values, uid, gid, members = (
            op.by,
            op.values,
            self.uid(op.user),
            self.gid(op.group),
            self.uids(op.members),
        )
        group = {"schemas": [GROUP], "displayName": values, "members": [{"value": each} for each in members]}
        if op.kind == "user_create":
            return "POST", "/Users", values, lambda model, heard: model.user_create(by, values, heard)
        if op.kind == "user_put":
            return "PUT", f"/Users/{uid}", values, lambda model, _: model.user_put(by, uid, values)
        if op.kind == "user_patch":
            body = {"schemas": [PATCH], "Operations": [operation(*step) for step in values]}
            return (
                "PATCH",
                f"/Users/{uid}",
                body,
                lambda model, _: model.user_patch(by, uid, values, op.stale),
            )
        if op.kind == "user_delete":
            return "DELETE", f"/Users/{uid}", None, lambda model, _: model.user_delete(by, uid)
        if op.kind == "group_create":
            return (
                "POST",
                "/Groups",
                group,
                lambda model, heard: model.group_create(by, values, members, heard),
            )
        if op.kind == "group_put":
            return "PUT", f"/Groups/{gid}", group, lambda model, _: model.group_put(by, gid, values, members)
        if op.kind == "group_delete":
            return "DELETE", f"/Groups/{gid}", None, lambda model, _: model.group_delete(by, gid)
        steps = [(verb, given if verb == "name" else self.uids(given)) for verb, given in values]
        steps = [(verb, given) for verb, given in steps if given or verb == "replace"] or [("replace", [])]
        body = {
            "schemas": [PATCH],
            "Operations": [each for step in steps for each in member_operations(*step)],
        }
        return "PATCH", f"/Groups/{gid}", body, lambda model, _: model.group_patch(by, gid, steps)

    def admin_request(self, op: Op) -> Request:
        values, uid, gid = op.values, self.uid(op.user), self.gid(op.group)
        member = ("DELETE", "PUT")[bool(values)]
        made: dict[str, tuple[str, str, Any, Callable[[Model, Heard], Any]]] = {
            "admin_user_create": ("POST", "/users", values, lambda m, heard: m.admin_user_create(values, heard)),
            "admin_user_edit": ("PATCH", f"/users/{uid}", values, lambda m, _: m.admin_user_edit(uid, values)),
            "admin_user_delete": ("DELETE", f"/users/{uid}", None, lambda m, _: m.user_delete(ADMIN, uid)),
            "admin_group_create": (
                "POST", "/groups", {"name": values}, lambda m, heard: m.admin_group_create(values, heard),
            ),
            "admin_group_rename": (
                "PATCH", f"/groups/{gid}", {"name": values}, lambda m, _: m.admin_group_rename(gid, values),
            ),
            "admin_group_delete": ("DELETE", f"/groups/{gid}", None, lambda m, _: m.group_delete(ADMIN, gid)),
            "admin_member": (
                member, f"/groups/{gid}/members/{uid}", None, lambda m, _: m.admin_member(gid, uid, values),
            ),
            "limit": ("PATCH", "", {"seats": {"limit": values}}, lambda m, _: setattr(m, "limit", values)),
        }  # fmt: skip
        method, path, body, expect = made[op.kind]
        status = 204 if op.kind == "admin_member" else {"POST": 201, "DELETE": 204}.get(method, 200)
        shown = self.admin_user if "user" in op.kind else self.admin_group
        return Request(lambda: self.admin_call(method, path, body), expect, shown, status)

    def admin_call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.deployment.admin(method, f"/organizations/{self.acme.uid}{path}", body, **headers)

    def owner(self, managed: Json | None) -> int | None:
        if managed is None:
            return None
        owner = [scim.uid for scim in self.scims].index(managed["connection"])
        assert managed["idp"] == IDPS[owner]
        return owner

    def admin_user(self, shown: Json) -> Json:
        user = {
            key: value
            for key, value in shown.items()
            if key not in ("created_at", "updated_at", "managed_by")
        }
        held = {(group["id"], group["name"], why) for group in shown["groups"] for why in group["sources"]}
        return user | {"owner": self.owner(shown["managed_by"]), "groups": held}

    def admin_group(self, shown: Json) -> Json:
        owner = self.owner(shown["managed_by"])
        assert shown["source"] == ("manual" if owner is None else "push")
        return {key: shown[key] for key in ("id", "name", "members")} | {"owner": owner}

    # Map to groups

    def mapping(self, by: int, plan: Json, sent: Json | None = None) -> Request | None:
        """Look at the preview; the request that saves it."""
        answer = self.deployment.admin(
            "POST", f"/connections/{self.scims[by].uid}/group-mapping/preview", sent or plan
        )
        kept = IDPS[by] != "okta" or plan["attribute"] != DEPARTMENT
        try:
            if not kept and (plan["enabled"] or plan["attribute"] != self.model.mapping[by].attribute):
                raise Refused(422)
            effect = self.model.effect(by, plan)
            status = 200
        except Refused as refused:
            status = refused.status
        assert answer.status == status, answer.text
        if status != 200:
            return None
        shown = {
            key: sorted((m["user"], m["group"]) for m in answer.json[key]) for key in ("joins", "leaves")
        }
        shown["unmapped"] = {entry["value"]: entry["users"] for entry in answer.json["unmapped"]}
        assert shown | {"groups_to_create": answer.json["groups_to_create"], "was": effect["was"]} == effect
        preview = by, plan, effect, self.deployment.last_headers["ETag"]
        self.previews = [*self.previews[-3:], preview]
        return self.saving(*preview, sent=sent)

    def saving(self, by: int, plan: Json, effect: Json, tag: str, sent: Json | None = None) -> Request:
        path = f"/connections/{self.scims[by].uid}/group-mapping"
        return Request(
            lambda: self.deployment.admin("PUT", path, sent or plan, If_Match=tag),
            lambda model, heard: model.map_save(by, plan, effect, heard),
        )

    # Bulk

    def in_bulk(self, by: int, listed: list[Any], patience: int | None, backwards: bool) -> None:
        """Operations of which some name users and groups that the same request creates."""
        sent, expected = [], []
        for number, (_, op, referred, target) in enumerate(listed):
            op = replace(op, by=by, stale=False)
            method, path, body, expect = self.told(op)
            creates = [n for n, entry in enumerate(listed[:number]) if entry[1].kind == "user_create"]
            named = f"bulkId:b{creates[referred % len(creates)]}" if creates and referred % 2 else None
            if named and op.kind in ("group_create", "group_put"):
                body = {**body, "members": [*body["members"], {"value": named}]}
            if named and op.kind in ("user_put", "user_patch", "user_delete") and target % 2:
                path = f"/Users/{named}"
            entry = {"method": method, "path": path, "bulkId": f"b{number}"}
            sent.append(entry if body is None else entry | {"data": body})
            expected.append((op, entry, named, path, body, expect))
        if backwards:
            sent.reverse()
            expected.reverse()
        body = {"schemas": [BULK], "Operations": sent} | ({"failOnErrors": patience} if patience else {})
        answer = self.scims[by].call("POST", "/Bulk", body)
        self.catch_up()
        assert answer.status == 200, answer.text
        answers = {each["bulkId"]: each for each in answer.json["Operations"]}
        assert len(answers) == len(answer.json["Operations"])
        self.explain_bulk(by, expected, answers, patience)

    def explain_bulk(
        self, by: int, expected: list[Any], answers: dict[str, Json], patience: int | None
    ) -> None:
        """In the order of the request, but nothing before what it refers to."""
        left, ids, errors, done = list(expected), {}, 0, set()
        while left:
            ready = next(e for e in left if not self.refers(e) - done)
            left.remove(ready)
            op, entry, _, path, body, expect = ready
            done.add(entry["bulkId"])
            if patience is not None and errors >= patience:
                assert entry["bulkId"] not in answers
                continue
            told = answers[entry["bulkId"]]
            uid = told.get("location", "/").rsplit("/", 1)[1]
            heard = Heard(int(told["status"]), {"id": uid})
            status = {"POST": 201, "DELETE": 204}.get(
                entry["method"], 204 if op.kind == "group_patch" else 200
            )
            try:
                if self.refers(ready) - ids.keys():
                    raise Refused(400)
                path, body = json.loads(filled(json.dumps([path, body]), ids))
                self.apply(by, op, path, body, heard, expect)
            except Refused as refused:
                status = refused.status
            assert told["status"] == str(status), f"{entry}: {told}, expected {status}"
            errors += status >= 400
            if status == 201:
                ids[entry["bulkId"]] = uid

    def refers(self, entry: Any) -> set[str]:
        _, _, named, path, body, _ = entry
        return {named.removeprefix("bulkId:")} if named and named in json.dumps([path, body]) else set()

    def apply(
        self, by: int, op: Op, path: str, body: Any, heard: Heard, expect: Callable[[Model, Heard], Any]
    ) -> None:  # fmt: skip
        """What the model makes of an operation whose references are filled in."""
        model, uid = self.model, path.rsplit("/", 1)[1]
        members = [entry["value"] for entry in body.get("members", ())] if body else []
        if op.kind == "user_create":
            assert model.user_create(by, body, heard)["id"] == heard.uid
        elif op.kind == "user_put":
            model.user_put(by, uid, body)
        elif op.kind == "user_patch":
            model.user_patch(by, uid, op.values)
        elif op.kind == "user_delete":
            model.user_delete(by, uid)
        elif op.kind == "group_create":
            model.group_create(by, op.values, members, heard)
        elif op.kind == "group_put":
            model.group_put(by, uid, op.values, members)
        else:
            expect(model, heard)

    # What must hold after each step

    def catch_up(self) -> None:
        """Read the feed on, and learn the ids that it tells of."""
        self.fresh_groups = []
        for event in self.feed.follow(self.deployment, self.acme.uid):
            known = self.users if event["resource"] == "User" else self.groups
            if event["resource_id"] not in known:
                known.append(event["resource_id"])
                if event["resource"] == "Group":
                    self.fresh_groups.append((event["resource_id"], event["data"]["displayName"]))

    @invariant()
    def holds(self) -> None:
        self.turn += 1
        self.compare(self.model)
        self.check_lists(self.turn % 2)
        self.check_rows()
        assert self.rows_of(self.other.id) == self.others_rows

    def compare(self, model: Model) -> None:
        """The admin REST and the feed show what the model holds."""
        users = self.admin_call("GET", "/users?limit=1000").json["items"]
        groups = self.admin_call("GET", "/groups?limit=1000").json["items"]
        assert [self.admin_user(each) for each in users] == [model.admin_view(uid) for uid in model.live()]
        assert {each["id"]: self.admin_group(each) for each in groups} == {
            uid: {"id": uid, "name": team.name, "owner": team.owner, "members": len(model.inside(uid))}
            for uid, team in model.teams.items()
        }
        assert self.feed.users == {uid: person.doc for uid, person in model.live().items()}
        assert self.feed.groups == {uid: team.name for uid, team in model.teams.items()}
        assert self.feed.members == {uid: model.inside(uid) for uid in model.teams}
        seats = self.admin_call("GET", "/seats").json
        assert (seats["used"], seats["limit"]) == (model.seats(), model.limit)
        self.compare_kept(model)

    def check_lists(self, by: int) -> None:
        model, scim, count = self.model, self.scims[by], (1, 2, 3, 100)[self.turn // 2 % 4]
        users = [model.shown_user(by, uid) for uid, person in model.live().items() if model.sees(by, person)]
        groups = [model.shown_group(by, uid) for uid, team in model.teams.items() if model.sees(by, team)]
        found = pages(scim, "/Users?", count)
        assert [user_shown(each) for each in found] == users
        found_groups = pages(scim, "/Groups?", count)
        by_id = {each["id"]: group_shown(each) for each in found_groups}
        assert by_id == {each["id"]: each for each in groups}
        for each in (*found, *found_groups):
            self.check_version(each)
        wanted = users[self.turn // 2 % len(users)] if users else {"userName": "ann@acme.test"}
        self.check_filters(scim, users, wanted)

    def check_filters(self, scim: Scim, users: list[Json], wanted: Json) -> None:
        name = wanted["userName"]
        tests: list[tuple[str, Callable[[Json], bool]]] = [
            (f'userName eq "{name.upper()}"', lambda user: folded(user["userName"]) == folded(name)),
            ("active eq true", lambda user: user["active"]),
            ('externalId eq "e1"', lambda user: user.get("externalId") == "e1"),
            (
                'emails.value eq "a@acme.test"',
                lambda user: "a@acme.test" in [folded(entry["value"]) for entry in user.get("emails", ())],
            ),
            ('displayName sw "AN"', lambda user: user.get("displayName", "").startswith("Ann")),
        ]
        text, test = tests[self.turn // 2 % len(tests)]
        found = [user_shown(each) for each in pages(scim, f"/Users?filter={quote(text)}&", 100)]
        assert found == [user for user in users if test(user)], text

    def check_version(self, shown: Json) -> None:
        """Another version with every change of what is stored."""
        stored = json.dumps({key: shown[key] for key in shown if key not in ("meta", "groups", "members")})
        version, known = self.versions.get(shown["id"], ("", ""))
        assert stored == known or shown["meta"]["version"] != version, shown
        self.versions[shown["id"]] = shown["meta"]["version"], stored

    def check_rows(self) -> None:
        database = self.deployment.gateway.store.database
        assert {told: rows for told, sql in OFFENCES.items() if (rows := database.all(sql))} == {}
        for table in ("users", "groups"):
            counted = f"SELECT uid, version FROM {table} WHERE organization_id = ?"
            for uid, version in database.all(counted, self.acme.id):
                assert version >= self.counted.get(uid, 1)
                self.counted[uid] = version

    def compare_kept(self, model: Model) -> None:
        """What no list shows: who is waited for, and the rules."""
        database = self.deployment.gateway.store.database
        waiting = database.all(
            "SELECT g.uid, w.user_uid FROM waiting_members w JOIN groups g ON g.id = w.group_id"
            " WHERE g.organization_id = ?",
            self.acme.id,
        )
        assert {tuple(row) for row in waiting} == model.waiting
        for by, scim in enumerate(self.scims):
            rules = database.all(
                "SELECT m.value, g.uid FROM mapping_rules m JOIN groups g ON g.id = m.group_id"
                " WHERE m.connection_id = ? ORDER BY m.id",
                scim.connection.id,
            )
            kept = model.mapping[by]
            assert [tuple(row) for row in rules] == list(kept.rules)
            assert (bool(scim.connection.mapping_enabled), scim.connection.mapping_attribute) == (
                kept.enabled, kept.attribute,
            )  # fmt: skip

    def rows_of(self, organization: int) -> dict[str, list[Any]]:
        """Every row of an organization but those of reading (tokens, activity, walks)."""
        database = self.deployment.gateway.store.database
        users = "user_id IN (SELECT id FROM users WHERE organization_id = ?)"
        groups = "group_id IN (SELECT id FROM groups WHERE organization_id = ?)"
        tables = {
            "organizations": "id = ?", "connections": "organization_id = ?", "users": "organization_id = ?",
            "groups": "organization_id = ?", "events": "organization_id = ?", "tallies": "organization_id = ?",
            "emails": "organization_id = ?", "grants": users, "waiting_members": groups, "mapping_rules": groups,
        }  # fmt: skip
        return {
            table: sorted(map(repr, database.all(f"SELECT * FROM {table} WHERE {where}", organization)))
            for table, where in tables.items()
        }


#: What must never be, each with a statement that finds it, in words that every engine understands.
OFFENCES = {
    "seats in use are not the active users": """
        SELECT o.uid, o.seats_used FROM organizations o WHERE o.seats_used <>
          (SELECT COUNT(*) FROM users u WHERE u.organization_id = o.id AND u.active = 1 AND u.deleted = 0)""",
    "a deleted user is active": "SELECT uid FROM users WHERE deleted = 1 AND active = 1",
    "event numbers have a gap": """
        SELECT o.uid FROM organizations o LEFT JOIN events e ON e.organization_id = o.id
        GROUP BY o.id, o.uid, o.event_seq
        HAVING o.event_seq <> COUNT(e.seq) OR COALESCE(MIN(e.seq), 1) <> 1 OR COALESCE(MAX(e.seq), 0) <> o.event_seq""",
    "a tally of users is wrong": """
        SELECT t.connection, t.n FROM tallies t WHERE t.resource = 'User' AND t.n <> (SELECT COUNT(*) FROM users u
          WHERE u.organization_id = t.organization_id AND u.deleted = 0
          AND COALESCE(u.connection_id, 0) = t.connection)""",
    "a tally of groups is wrong": """
        SELECT t.connection, t.n FROM tallies t WHERE t.resource = 'Group' AND t.n <> (SELECT COUNT(*) FROM groups g
          WHERE g.organization_id = t.organization_id AND COALESCE(g.connection_id, 0) = t.connection)""",
    "users nobody tallies": """
        SELECT u.uid FROM users u WHERE u.deleted = 0 AND NOT EXISTS (SELECT 1 FROM tallies t WHERE t.resource = 'User'
          AND t.organization_id = u.organization_id AND t.connection = COALESCE(u.connection_id, 0))""",
    "groups nobody tallies": """
        SELECT g.uid FROM groups g WHERE NOT EXISTS (SELECT 1 FROM tallies t WHERE t.resource = 'Group'
          AND t.organization_id = g.organization_id AND t.connection = COALESCE(g.connection_id, 0))""",
    "a grant leads nowhere": """
        SELECT r.group_id, r.user_id, r.source FROM grants r LEFT JOIN users u ON u.id = r.user_id
        LEFT JOIN groups g ON g.id = r.group_id
        WHERE u.id IS NULL OR g.id IS NULL OR u.deleted = 1 OR u.organization_id <> g.organization_id""",
    "a group's number of members is wrong": """
        SELECT g.uid, g.members FROM groups g
        WHERE g.members <> (SELECT COUNT(DISTINCT r.user_id) FROM grants r WHERE r.group_id = g.id)""",
    "a reason of a group that is not its own": """
        SELECT g.uid, r.source FROM grants r JOIN groups g ON g.id = r.group_id WHERE
          (r.source = 'push' AND g.connection_id IS NULL) OR (r.source <> 'push' AND g.connection_id IS NOT NULL)""",
    "a group waits that is not there": """
        SELECT w.group_id FROM waiting_members w LEFT JOIN groups g ON g.id = w.group_id WHERE g.id IS NULL""",
    "a rule leads nowhere": """
        SELECT m.id FROM mapping_rules m LEFT JOIN groups g ON g.id = m.group_id
        LEFT JOIN connections c ON c.id = m.connection_id
        WHERE g.id IS NULL OR c.id IS NULL OR g.connection_id IS NOT NULL OR g.organization_id <> c.organization_id""",
    "an address without its user": """
        SELECT e.user_id, e.value_key FROM emails e LEFT JOIN users u ON u.id = e.user_id
        WHERE u.id IS NULL OR u.organization_id <> e.organization_id""",
}  # fmt: skip


class Feed:
    """A copy that knows nothing but the events."""

    def __init__(self) -> None:
        self.users: dict[str, Json] = {}
        self.groups: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.gone: set[str] = set()
        self.last = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Feed) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def follow(self, deployment: Deployment, organization: str) -> list[Json]:
        """Ask for what is new until nothing is."""
        heard: list[Json] = []
        while True:
            answer = deployment.admin(
                "GET", f"/organizations/{organization}/events?after={self.last}&limit=50"
            )
            assert answer.status == 200, answer.text
            for event in answer.json["items"]:
                assert event["id"] == self.last + 1
                self.last = event["id"]
                self._hear(event["type"], event["resource_id"], event["data"])
                heard.append(event)
            if len(answer.json["items"]) < 50:
                return heard

    def _hear(self, kind: str, uid: str, data: Json) -> None:
        assert data["id"] == uid
        if kind == "group.members_changed":
            added, removed = set(data["added"]), set(data["removed"])
            assert added or removed
            assert added <= self.users.keys()
            assert not added & self.members[uid]
            assert removed <= self.members[uid]
            assert data["displayName"] == self.groups[uid]
            self.members[uid] = (self.members[uid] | added) - removed
            return
        here = self.users if kind.startswith("user.") else self.groups
        restored = kind == "user.restored"
        assert (uid in here) != (kind.endswith(".created") or restored), (kind, uid)
        assert (uid in self.gone) == restored, (kind, uid)
        if kind.startswith("user."):
            self._hear_user(kind, uid, data)
        elif kind == "group.deleted":
            del self.groups[uid], self.members[uid]
        else:
            self.groups[uid] = data["displayName"]
            self.members.setdefault(uid, set())

    def _hear_user(self, kind: str, uid: str, data: Json) -> None:
        if kind == "user.deleted":
            del self.users[uid]
            self.gone.add(uid)
            self.members = {group: members - {uid} for group, members in self.members.items()}
            return
        active = self.users.get(uid, data)["active"]
        turned = {"user.deactivated": (True, False), "user.reactivated": (False, True)}
        assert (active, data["active"]) == turned.get(kind, (active, active))
        self.gone.discard(uid)
        self.users[uid] = {key: value for key, value in data.items() if key not in ("id", "meta", "groups")}


def user_shown(answer: Json) -> Json:
    """A user of an answer, its groups as a set."""
    held = {(group["value"], group["display"]) for group in answer.get("groups", ())}
    return {key: value for key, value in answer.items() if key != "meta"} | {"groups": held}


def group_shown(answer: Json) -> Json:
    """A group of an answer, its members as a set."""
    members = {(member["value"], member["display"]) for member in answer.get("members", ())}
    return {key: value for key, value in answer.items() if key != "meta"} | {"members": members}


def pages(scim: Scim, path: str, count: int) -> list[Json]:
    """A whole list, page by page. A page may begin where an older walk would have: nobody is missed by that."""
    found: dict[str, Json] = {}
    start, total = 1, 1
    while start <= total:
        answer = scim.call("GET", f"{path}startIndex={start}&count={count}")
        assert answer.status == 200, answer.text
        listed, total = answer.json.get("Resources", []), answer.json["totalResults"]
        if not listed:
            break
        found.update((each["id"], each) for each in listed)
        start += len(listed)
    assert count < 100 or total == len(found)
    return list(found.values())


def filled(text: str, ids: dict[str, str]) -> str:
    """References of a bulk request put into its operations."""
    for name, uid in ids.items():
        text = text.replace(f"bulkId:{name}", uid)
    return text


# What was wrong once: each is a story, and two requests of which the second comes between the first one's reading and
# its writing.

INTERRUPTED = {
    "no change, deleted": ([ANN_COMES, MAPPED], Op("user_put", 0, values=ANN), GONE),
    "put in by hand, deleted": ([ANN_COMES, LEGAL], JOINS, GONE),
    "put in by hand, pushed": ([ANN_COMES, LEGAL], JOINS, LINKED),
    "put in by hand, adopted": (
        [MAPPED, BOB_COMES, LEGAL], JOINS, Op("user_put", 0, values={**ANN, "userName": "bob@acme.test"}),
    ),
    "removed by hand, linked": ([LEGAL], Op("admin_group_delete"), LINKED),
    "removed, linked": ([LEGAL], Op("group_delete", 0), LINKED),
    "removed, linked by the other": ([LEGAL], Op("group_delete", 0), replace(LINKED, by=1)),
    "mapped, pushed": ([], MAPPED, Op("group_create", 1, values="Sales")),
    "no change, unmapped": (
        [ANN_COMES, MAPPED], Op("user_put", 0, values=ANN), replace(MAPPED, values={**PLAN, "enabled": False}),
    ),
    "renamed by hand, pushed": (
        [LEGAL], Op("admin_group_rename", values="Support"), Op("group_create", 1, values="Support"),
    ),
    "filled, renamed": (
        [ANN_COMES, PUSHED], Op("group_patch", 0, values=[("add", (0,))]),
        Op("group_patch", 0, values=[("name", "Support")]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", INTERRUPTED)
def test_what_was_read_before_still_holds_when_it_is_written(story: str) -> None:
    before, one, other = INTERRUPTED[story]
    gateway = Gateway()
    try:
        for op in before:
            gateway.one(op)
        gateway.in_between(one, other)
        gateway.holds()
    finally:
        gateway.teardown()


def test_who_follows_hears_of_a_user_before_its_memberships() -> None:
    gateway = Gateway()
    try:
        gateway.one(MAPPED)
        gateway.one(ANN_COMES)
        kinds = [kind for kind, _ in gateway.deployment.events(gateway.acme)]
        assert kinds == ["group.created", "user.created", "group.members_changed"]
    finally:
        gateway.teardown()


def test_a_member_that_another_connection_adopted_can_be_taken_out() -> None:
    """The connection that put it in no longer sees it, but the group is its own."""
    gateway = Gateway()
    try:
        gateway.one(BOB_COMES)
        gateway.one(Op("group_create", 0, values="Sales", members=(0,)))
        gateway.one(Op("user_put", 1, values={**ANN, "userName": "bob@acme.test"}))
        (group,), bob = gateway.model.teams, gateway.uid(0)
        assert gateway.model.inside(group) == {bob}
        assert gateway.scims[0].call("GET", f"/Users/{bob}").status == 404
        gateway.one(Op("group_patch", 0, values=[("remove", (0,))]))
        assert gateway.model.inside(group) == set()
        gateway.holds()
    finally:
        gateway.teardown()


def test_members_that_an_earlier_mapping_left_are_handed_over_with_their_group() -> None:
    """Else the connection could not take them out of a group that it pushes: its removal would do nothing."""
    gateway = Gateway()
    try:
        gateway.one(MAPPED)
        gateway.one(ANN_COMES)
        gateway.one(replace(MAPPED, values={**PLAN, "rules": [], "apply_to_existing": False}))
        gateway.one(Op("group_put", 0, values="Sales", members=(0,)))
        (group,), ann = gateway.model.teams, gateway.uid(0)
        assert gateway.model.grants == {(group, ann, "push")}
        gateway.holds()
        gateway.one(Op("group_patch", 0, values=[("remove", (0,))]))
        gateway.holds()
        assert gateway.model.inside(group) == set()
    finally:
        gateway.teardown()


# What asks a server after each step takes longer.
SIZE: Json = {"max_examples": 8 if is_postgresql() else 14, "stateful_step_count": 20, "derandomize": True}
if SEQUENCES:
    SIZE = {"max_examples": SEQUENCES, "stateful_step_count": 50, "print_blob": True}
TestGateway = Gateway.TestCase
TestGateway.settings = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False, **SIZE
)
