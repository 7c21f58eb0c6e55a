"""The machine that Hypothesis drives: it sends requests, and compares everything that can be seen with the model."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.simulation.api import Answer
from gateway.testing import Deployment, Scim
from tests.oracles.invariants import OFFENCES
from tests.oracles.state_machine.answers import group_shown, pages, user_shown
from tests.oracles.state_machine.feed import Feed
from tests.oracles.state_machine.model import Model
from tests.oracles.state_machine.records import IDPS, Heard, Json, Op, Refused, folded
from tests.oracles.state_machine.requests import Request, RequestBuilder
from tests.oracles.state_machine.strategies import (
    ANY,
    BY_ADMIN,
    CONNECTIONS,
    GROUPS,
    IN_BULK,
    MAPPING,
    NUMBERS,
    SETTLED,
    USERS,
)


class ProvisioningMachine(RequestBuilder, RuleBasedStateMachine):
    """One organization with seats and two connections, another one that nobody may touch, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-machine-"))
        self.deployment = Deployment(self.folder / "instance")
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
            reported = "\n\n".join(f"order {number}: {reason}" for number, reason in enumerate(reasons))
            raise AssertionError(reported) from reasons[0]

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

    # What must hold after each step

    def catch_up(self) -> None:
        """Read the feed on, and learn the ids in it."""
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
        assert {reported: rows for reported, sql in OFFENCES.items() if (rows := database.all(sql))} == {}
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
        """Every row of an organization but those of reading (tokens, activity, page bookmarks)."""
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
