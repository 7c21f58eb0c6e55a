"""A pause or a hold in the midst of what an identity provider sends: it ends as if nothing had been in between.

Each identity provider does with a 429 what is documented of it, and nobody touches it but where the console says so.
Time passes by moving what the gateway has stored of it into the past.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest

from gateway.simulation import Phase, SimulationOptions, Target
from gateway.simulation.api import Answer
from gateway.simulation.client import ExpectationError
from gateway.testing import Deployment, Scim

USERS, CYCLE, HOUR = 3, 2400, 3600
# Pauses and holds themselves are held on both engines by tests/provisioning/safety.
pytestmark = pytest.mark.sqlite

#: Tries after which Okta gives a request up (documented).
OKTA_TRIES = 10
#: The call of the conversation before which a pause begins: some users are there, others are to be made.
MIDST = 15
UPDATED = {"jumpcloud": "user.updated"}
PAUSED = {"reason": "a migration"}


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


@dataclass
class Clock:
    """Lets time pass for a connection, and has the admin do something at a moment of it."""

    scim: Scim
    seconds: int = 0
    due: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def sleep(self, seconds: int) -> None:
        until = self.seconds + seconds
        for moment, act in sorted(self.due, key=lambda each: each[0]):
            if moment <= until:
                self._pass(moment - self.seconds)
                self.due.remove((moment, act))
                act()
        self._pass(until - self.seconds)

    def _pass(self, seconds: int) -> None:
        self.seconds += seconds
        store = self.scim.deployment.gateway.store
        connection = self.scim.connection
        if connection.pause:
            pause = json.loads(connection.pause)
            moved = {name: pause[name] - seconds * 1_000_000 for name in ("since", "until")}
            store.connections.edit(connection, pause=json.dumps(pause | moved))
        store.database.run(
            "UPDATE holds SET until = until - ? WHERE connection_id = ?", seconds * 1_000_000, connection.id
        )
        store.database.run(
            "UPDATE brakes SET minute = minute - ? WHERE connection_id = ?", seconds // 60, connection.id
        )
        store.database.run("DELETE FROM removals WHERE connection_id = ?", connection.id)


@dataclass
class Wire:
    """The session of an identity provider that reports each 429; `before_call` happens before that call."""

    scim: Scim
    clock: Clock
    before_call: tuple[int, Callable[[], None]] | None = None
    calls: int = 0
    waited: Counter[str] = field(default_factory=Counter)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        self.calls += 1
        if self.before_call and self.calls == self.before_call[0]:
            self.before_call[1]()
        answer = self.scim.call(method, path, body, **more)
        if answer.status == 429:
            self.waited[method] += 1
        return answer


@dataclass
class RetryingWire(Wire):
    """It keeps `Retry-After` exactly, and sends the same request again, as Okta does; ten tries, then it is a task."""

    tries: int = OKTA_TRIES
    tasks: list[str] = field(default_factory=list)
    most: int = 0

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        tried = 0
        while True:
            answer, tried = super().call(method, path, body, **more), tried + 1
            self.most = max(self.most, tried)
            if answer.status != 429:
                return answer
            if tried % self.tries == 0:
                # Somebody has read what the console says, and presses Retry Selected a day later.
                self.tasks.append(f"{method} {path}")
                self.clock.sleep(24 * HOUR)
            else:
                self.clock.sleep(int(self.scim.deployment.last_headers["Retry-After"]))


def converse(wire: RetryingWire, phases: Sequence[Phase]) -> None:
    """Do all actions one after the other."""
    for phase in phases:
        for step in phase.run(wire, 1):
            assert step.ok, step


def run_cycles(wire: Wire, phases: Sequence[Phase]) -> int:
    """Do all actions; what is refused for now is left for the next cycle, with all that follows it. Returns how many.

    What was not done of a user or group begins in the next cycle with the same action, read anew.
    """
    done: Counter[tuple[int, int]] = Counter()
    for cycle in range(1, 50):
        if all(list(_cycle(wire, phase, done)) == [] for phase in phases):
            return cycle
        wire.clock.sleep(CYCLE)
    raise AssertionError(f"it does not end: {wire.waited}")


def _cycle(wire: Wire, phase: Phase, done: Counter[tuple[int, int]]) -> Iterator[Target]:
    """Do what is left of a phase. Yields the targets that have to wait."""
    for target in phase.targets:
        key = (id(phase), id(target))
        for action in phase.actions[done[key] :]:
            client, before = phase.client(wire), copy(vars(target))
            try:
                action.run(client, target)
            except ExpectationError as expected:
                if client.answers[-1].status != 429:
                    raise AssertionError(client.explain(str(expected))) from expected
                vars(target).update(before)
                yield target
                break
            done[key] += 1


def phases_of(idp: str, style: str) -> Sequence[Phase]:
    plugin = import_module(f"gateway_{idp}.simulator.scenario")
    made: Sequence[Phase] = plugin.phases(SimulationOptions(users=USERS, groups=1, style=style))
    return made


def state(scim: Scim) -> Any:
    """Return users and groups with their members by name, seats, and how often each type of event was told."""
    users = scim.call("GET", "/Users?count=100").json["Resources"]
    groups = scim.call("GET", "/Groups?count=100").json["Resources"]
    names = {user["id"]: user["userName"] for user in users}
    shown = {user["userName"]: {**user, "id": "", "meta": "", "groups": ""} for user in users}
    for user in shown.values():
        # A manager is another user, by id.
        user.update(json.loads(_named(json.dumps(user), names)))
    members = {
        group["displayName"]: sorted(names[member["value"]] for member in group.get("members", []))
        for group in groups
    }
    told = Counter(kind for kind, _ in scim.deployment.events(scim.organization))
    # Those about the pause and the hold; and the test begins JumpCloud's long activation anew, with an update.
    for kind in list(told):
        if kind.startswith("connection.") or kind in ("user.removal_held", UPDATED.get(scim.connection.idp)):
            del told[kind]
    return shown, members, scim.deployment.used(scim.organization), told


def _named(text: str, names: Mapping[str, str]) -> str:
    for uid, name in names.items():
        text = text.replace(uid, name)
    return text


@dataclass(frozen=True)
class Provider:
    """An identity provider whose conversation is known, and how it takes a 429."""

    idp: str
    style: str
    #: Of which simulator, where the connection is another.
    simulator: str = ""
    retries: bool = False

    def play(self, wire_of: Callable[[type[Wire]], Wire]) -> tuple[Wire, int]:
        """Send everything. Returns the session, and in how many cycles."""
        phases = phases_of(self.simulator or self.idp, self.style)
        wire = wire_of(RetryingWire if self.retries else Wire)
        if isinstance(wire, RetryingWire):
            converse(wire, phases)
            return wire, 1
        return wire, run_cycles(wire, phases)


PROVIDERS = [
    Provider("okta", "oin", retries=True),
    Provider("okta", "aiw", retries=True),
    Provider("entra", "legacy"),
    Provider("entra", "rfc"),
    Provider("onelogin", "suspend"),
    Provider("jumpcloud", "custom"),
    Provider("generic", "custom", "jumpcloud", retries=True),
]


@pytest.fixture(scope="module")
def undisturbed(shared_deployment: Deployment) -> Callable[[Provider], Any]:
    """The state after the same conversation without anything in between; each is played once."""
    known: dict[Provider, Any] = {}

    def look(provider: Provider) -> Any:
        if provider not in known:
            scim = shared_deployment.connection(provider.idp)
            provider.play(lambda kind: kind(scim, Clock(scim)))
            known[provider] = state(scim)
        return known[provider]

    return look


def _id(provider: Provider) -> str:
    return f"{provider.idp}-{provider.style}"


@pytest.mark.parametrize("provider", PROVIDERS, ids=_id)
def test_a_pause_in_the_midst_ends_by_itself_and_leaves_no_trace(
    deployment: Deployment, provider: Provider, undisturbed: Callable[[Provider], Any]
) -> None:
    """Four hours, as long as a pause lasts that says nothing else."""
    scim = deployment.connection(provider.idp, brake=True)
    unlimited(scim)

    def pause() -> None:
        assert deployment.admin("PUT", f"/connections/{scim.uid}/pause", PAUSED).status == 200

    wire, cycles = provider.play(lambda kind: kind(scim, Clock(scim), (MIDST, pause)))

    assert wire.waited.total(), "nothing met the pause"
    assert state(scim) == undisturbed(provider)
    assert 4 * HOUR <= wire.clock.seconds < 4 * HOUR + CYCLE
    if isinstance(wire, RetryingWire):
        assert wire.tasks == [], "a person has to press Retry Selected"
    else:
        # In the first cycle after the end: none is left out.
        assert cycles == 1 + 4 * HOUR // CYCLE


@pytest.mark.parametrize("provider", PROVIDERS, ids=_id)
def test_what_was_held_is_done_once_it_is_allowed(
    deployment: Deployment, provider: Provider, undisturbed: Callable[[Provider], Any]
) -> None:
    scim = deployment.connection(provider.idp, brake=True)
    limited(scim)
    clock = Clock(scim)
    # The admin comes after two hours.
    clock.due.append((2 * HOUR, lambda: decide(scim, action="allow_all", hours=24)))

    wire, cycles = provider.play(lambda kind: kind(scim, clock))

    assert wire.waited.total(), "nothing was held"
    assert state(scim) == undisturbed(provider)
    assert 2 * HOUR <= clock.seconds < 2 * HOUR + CYCLE
    after = deployment.admin("GET", f"/connections/{scim.uid}/hold").json["after"]
    if provider.idp == "okta":
        assert isinstance(wire, RetryingWire)
        assert "nothing has to be pressed" in after
        assert wire.tasks == []
    if provider.idp == "entra":
        assert "tries again in its next cycle, within about 40 minutes" in after
        assert cycles == 1 + 2 * HOUR // CYCLE


def test_what_okta_has_given_up_is_done_when_it_is_retried_as_the_console_says(
    deployment: Deployment, undisturbed: Callable[[Provider], Any]
) -> None:
    """The admin comes after a night, when the ten tries are over."""
    provider = PROVIDERS[0]
    scim = deployment.connection(provider.idp, brake=True)
    limited(scim)
    clock = Clock(scim)
    clock.due.append((14 * HOUR, lambda: decide(scim, action="allow_all", hours=24)))

    wire, _ = provider.play(lambda kind: kind(scim, clock))

    assert isinstance(wire, RetryingWire)
    assert len(wire.tasks) == 1
    assert wire.most == OKTA_TRIES + 1
    assert state(scim) == undisturbed(provider)
    after = deployment.admin("GET", f"/connections/{scim.uid}/hold").json["after"]
    assert "up to ten times" in after
    assert "press Retry Selected" in after


def limited(scim: Scim) -> None:
    """Let the connection make two removals an hour."""
    brake = {"percent": 1, "least": 2, "minutes": 60}
    assert scim.deployment.admin("PATCH", f"/connections/{scim.uid}", {"brake": brake}).status == 200


def unlimited(scim: Scim) -> None:
    assert scim.deployment.admin("PATCH", f"/connections/{scim.uid}", {"brake": None}).status == 200


def decide(scim: Scim, **decision: Any) -> None:
    answer = scim.deployment.admin("POST", f"/connections/{scim.uid}/hold", decision)
    assert answer.status == 200, answer.json
