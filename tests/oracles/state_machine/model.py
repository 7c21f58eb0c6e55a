"""The model: what is stored, and what follows from a request. Written beside the documents, not beside the code."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from gateway.testing.deployment import GROUP
from tests.oracles.state_machine.documents import by_hand, canonical, mapped, patch_step, with_schemas
from tests.oracles.state_machine.records import (
    ADMIN,
    GROUP_VALUE,
    Heard,
    Json,
    Person,
    Refused,
    Rules,
    Team,
    folded,
)


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
            "active": person.doc["active"], "protected": False, "owner": person.owner,
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
