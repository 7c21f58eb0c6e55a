"""The test of a connection: what it costs however long the activity is, and what a plugin adds to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest
from gateway_entra.checks import find_checks

from gateway import Connection, Declaration, PluginCheck, RecentCalls, hookimpl
from gateway.provisioning.diagnostics.checks import Check
from gateway.provisioning.diagnostics.warnings import decide
from gateway.store.connection_health import Warned
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim
from gateway.testing.engines import is_postgresql
from tests.store.engine.test_statements import counted

#: A step that goes through all of something that grows.
WHOLE = re.compile(
    r"(Seq Scan on|SCAN) (users|groups|grants|emails|events|activity|waiting_members|connections|c|w|h)\b"
)
SECOND = 1_000_000


def checks(scim: Scim) -> dict[str, dict[str, Any]]:
    answer = scim.deployment.admin("POST", f"/connections/{scim.uid}/test").json
    return {each["name"]: each for each in answer["checks"]}


# Cost -----------------------------------------------------------------------------------------------------------------


def plan(deployment: Deployment, sql: str, parameters: Sequence[Any]) -> list[str]:
    database = deployment.gateway.store.database
    if not is_postgresql():
        return [row[3] for row in database.all(f"EXPLAIN QUERY PLAN {sql}", *parameters)]
    # Of tables so small it would read the whole one: asked is whether an index could serve a larger one.
    database.run("SET enable_seqscan = off")
    steps = database.all(f"EXPLAIN {sql}", *parameters)
    database.run("RESET enable_seqscan")
    return [row[0].strip("-> ") for row in steps]


def test_every_statement_follows_an_index(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are constants of the statements, so the number of rows is bounded where no step reads a whole table."""
    scim = deployment.connection("entra")
    scim.user()
    scim.call("GET", "/Users", token="wrong")
    deployment.gateway.worker.stop()
    gateway, database = deployment.gateway, deployment.gateway.store.database
    gateway.activity_writer.flush()
    sent: list[tuple[str, Sequence[Any]]] = []
    execute = database._execute

    def note(sql: str, parameters: Sequence[Any]) -> Any:
        sent.append((sql, parameters))
        return execute(sql, parameters)

    monkeypatch.setattr(database, "_execute", note)
    gateway.diagnostics.of(scim.organization, scim.connection)
    gateway.connection_warnings.current(scim.organization, 20)
    monkeypatch.undo()
    of_activity = [(sql, plan(deployment, sql, given)) for sql, given in sent if sql.startswith("SELECT")]
    assert len(of_activity) > 10
    for sql, steps in of_activity:
        assert [step for step in steps if WHOLE.match(step)] == [], sql


def test_it_costs_as_many_statements_with_more_activity(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    scim = deployment.connection("okta")
    scim.user()
    deployment.gateway.worker.stop()
    deployment.gateway.activity_writer.flush()
    statements = []
    for _ in range(2):
        with counted(deployment, monkeypatch) as sent:
            deployment.gateway.diagnostics.of(scim.organization, scim.connection)
        statements.append(len(sent))
        for number in range(5):
            scim.call("POST", "/Users", {"schemas": [], "userName": f"user{number}@acme.test"})
        deployment.gateway.activity_writer.flush()
    assert statements[0] == statements[1] <= 20


# What a plugin adds ---------------------------------------------------------------------------------------------------


class Watchful:
    """An identity provider whose plugin looks at its calls, and fails once it sees a refusal."""

    @hookimpl
    def gateway_declare(self) -> Declaration:
        return Declaration(title="Watchful", idp=True, checks=self.look, user_agents=("watchful/",))

    def look(self, connection: Connection, recent: RecentCalls) -> list[PluginCheck]:
        if recent.refused:
            raise RuntimeError("broken")
        return [PluginCheck("agent", "note", f"{recent.calls} calls of {recent.agent}.", "Nothing.")]


def test_a_plugin_adds_checks_and_a_failure_of_it_hides_no_other(deployment: Deployment) -> None:
    deployment.gateway.plugins.add(Watchful(), "watchful")
    scim = deployment.connection("watchful")
    scim.call("GET", "/Users", headers={"User-Agent": "Watchful/1"})
    found = checks(scim)["watchful_agent"]
    assert (found["level"], found["message"], found["ok"]) == ("note", "1 calls of Watchful/1.", True)
    scim.call("POST", "/Users", {"schemas": []})
    assert {"watchful_agent", "last_failure"} & checks(scim).keys() == {"last_failure"}


def recent(calls: int = 0, refused: int = 0, bad_patches: int = 0, *flags: str) -> RecentCalls:
    refusals = {("PATCH", 400): bad_patches} if bad_patches else {}
    return RecentCalls(calls, refused, MappingProxyType(refusals), "", frozenset(flags))


@pytest.mark.parametrize(
    ("calls", "named"),
    [
        (recent(6000, 2400), ["quarantine"]),
        (recent(6000, 1200), []),
        (recent(100, 90), []),
        (recent(bad_patches=1), ["flag"]),
        (recent(0, 0, 1, "aadOptscim062020"), []),
    ],
)
def test_entra_is_near_its_quarantine_or_lacks_its_flag(calls: RecentCalls, named: list[str]) -> None:
    connection = Connection("1", "entra-1", "entra", "Entra", None, {}, "", "")  # type: ignore[arg-type]
    assert [check.name for check in find_checks(connection, calls)] == named


# Evidence -------------------------------------------------------------------------------------------------------------


def test_a_success_that_is_too_old_is_none_though_calls_arrive(deployment: Deployment) -> None:
    scim = deployment.connection("okta")
    scim.user()
    deployment.gateway.activity_writer.flush()
    deployment.gateway.store.database.run("UPDATE activity SET at = at - ?", 172_800 * SECOND)
    scim.call("POST", "/Users", {"schemas": []})
    found = checks(scim)["last_success"]
    assert found["level"] == "warn"
    assert found["seen"] < checks(scim)["last_failure"]["seen"]
    scim.user("user2@acme.test")
    assert "last_success" not in checks(scim)


def test_the_client_is_stored_once_an_hour(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    scim, health = deployment.connection("okta"), deployment.gateway.store.connection_health
    written = []
    record = health.record_clients
    monkeypatch.setattr(health, "record_clients", lambda clients: (written.append(clients), record(clients)))
    for agent in ("curl/8", "curl/8", "Okta SCIM Client 1.0.0\x1b" + "x" * 500):
        scim.call("GET", "/Users", headers={"User-Agent": agent})
        deployment.gateway.activity_writer.flush()
    assert [client.agent[:8] for each in written for client in each.values()] == ["curl/8", "Okta SCI"]
    client = health.client(scim.connection.id)
    assert client
    assert (len(client.agent), client.agent.isprintable(), client.flags) == (119, True, ())
    assert client.hour == now() // (3600 * SECOND)


# Warnings as events ---------------------------------------------------------------------------------------------------

HOUR = 3600 * SECOND
DAY = 24 * HOUR
WARN, BROKEN = Check("a", "warn", "A."), Check("a", "broken", "A.", every=1)


@pytest.mark.parametrize(
    ("found", "row", "event", "after"),
    [
        (WARN, None, "connection.warning", Warned(9 * DAY, 9 * DAY)),
        (WARN, Warned(3 * DAY, 3 * DAY), None, None),
        (WARN, Warned(DAY, 2 * DAY), "connection.warning", Warned(DAY, 9 * DAY)),
        (BROKEN, Warned(3 * DAY, 8 * DAY), "connection.warning", Warned(3 * DAY, 9 * DAY)),
        (BROKEN, Warned(3 * DAY, 8 * DAY + 1), None, None),
        (None, Warned(3 * DAY, 9 * DAY - 1), "connection.well", Warned(0, 9 * DAY - 1)),
        # It came and went: neither is said again before a day is over.
        (WARN, Warned(0, 9 * DAY - 1), None, None),
        (WARN, Warned(0, 8 * DAY), "connection.warning", Warned(9 * DAY, 9 * DAY)),
        (None, Warned(0, 9 * DAY - 1), None, None),
    ],
)
def test_a_cause_is_recorded_once_a_day_at_most(
    found: Check | None, row: Warned | None, event: str | None, after: Warned | None
) -> None:
    decided = decide({"a": found} if found else {}, {"a": row} if row else {}, 9 * DAY)
    assert [(each.event, each.row) for each in decided] == ([(event, after)] if event else [])


def test_refusals_of_a_hold_are_no_cause_to_mend_beside_it(shared_deployment: Deployment) -> None:
    """They were warned of for a day after somebody had decided."""
    scim = shared_deployment.connection("okta")
    for number in range(10):
        scim.user(f"user{number}@acme.test")
    users = [user["id"] for user in scim.call("GET", "/Users").json["Resources"]]
    brake = {"percent": 0, "least": 0, "minutes": 60}
    scim.deployment.admin("PATCH", f"/connections/{scim.uid}", {"brake": brake})
    for uid in users:
        assert scim.call("DELETE", f"/Users/{uid}").status == 429
    assert {"removals_held", "same_refusal"} & checks(scim).keys() == {"removals_held"}
    scim.deployment.admin("POST", f"/connections/{scim.uid}/hold", {"action": "allow_all"})
    assert {"removals_held", "same_refusal"} & checks(scim).keys() == set()


def test_warnings_are_events_without_names_and_end(deployment: Deployment, audit: Any) -> None:
    scim = deployment.connection("okta")
    for number in range(10):
        scim.call("POST", "/Users", {"schemas": [], "userName": f"user{number}@acme.test"})
    warnings, before = deployment.gateway.connection_warnings, len(deployment.events(scim.organization))
    health, moment = deployment.gateway.store.connection_health, now()
    assert health.due(moment - HOUR, 5) == []
    assert health.due(moment + HOUR, 5) == [scim.connection.id]
    assert warnings.check(scim.connection, scim.organization, moment)
    assert not warnings.check(scim.connection, scim.organization, moment + HOUR)
    assert health.due(moment + HOUR, 5) == []
    told = deployment.events(scim.organization)[before:]
    assert [(kind, data["cause"]) for kind, data in told] == [
        ("connection.warning", "last_success"),
        ("connection.warning", "same_refusal"),
    ]
    assert told[1][1]["message"] == "The same refusal met 10 people in the last 24 hours (POST, 400)."
    assert "@acme.test" not in str(told)
    scim.user()
    assert warnings.check(scim.connection, scim.organization, moment + 2 * HOUR)
    kind, data = deployment.events(scim.organization)[-1]
    assert (kind, data["cause"]) == ("connection.well", "last_success")
    audit(deployment)
