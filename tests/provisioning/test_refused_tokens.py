"""Refused tokens: support reads which of the four it was, a storm is one line a minute, a right token passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.provisioning.activity_writer import PRUNED_PER_LINE
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim

DAY = 86_400_000_000


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A deployment that soon slows wrong tokens down, however slow the machine is."""
    for module in ("scim.authentication", "flask_app"):
        monkeypatch.setattr(f"gateway.web.{module}.WRONG_TOKENS", 1)
    deployment = Deployment(tmp_path / "slow")
    yield deployment
    deployment.close()


@pytest.fixture
def okta(deployment: Deployment) -> Scim:
    return deployment.connection("okta", deployment.organization())


def until_slowed_down(call: Callable[[], int]) -> list[int]:
    """The statuses of calls with a wrong token, up to the first 429."""
    statuses: list[int] = []
    while 429 not in statuses:
        statuses.append(call())
        assert len(statuses) < 2000
    assert set(statuses[:-1]) == {401}
    assert len(statuses) > 5
    return statuses


def newest(okta: Scim) -> Any:
    return okta.deployment.activity(okta.organization, outcome="failure")[0]


def test_the_activity_says_which_of_the_four_it_was(deployment: Deployment, okta: Scim) -> None:
    store = deployment.gateway.store
    connection = store.connections.by_id(okta.uid)[0]
    other = deployment.connection("okta", okta.organization)
    foreign = deployment.connection("okta", deployment.organization("Other"))
    _, expired = store.tokens.add(connection, "Old", now() - DAY)
    gone, revoked = store.tokens.add(connection, "Gone", None)
    path = f"/connections/{okta.uid}/tokens/{gone.uid}"
    assert deployment.admin("DELETE", path).status == 204
    reported = {}
    for name, token in (
        ("unknown", "pgw_nothing"), ("strange", foreign.token), ("expired", expired), ("revoked", revoked),
        ("foreign", other.token),
    ):  # fmt: skip
        answer = okta.call("GET", "/Users", token=token)
        assert answer.status == 401
        reported[name] = (answer.json["detail"], newest(okta).detail)
    assert len({outside for outside, _ in reported.values()}) == 1
    # Of which organization it is, and what it is called there, is said to nobody else.
    assert reported["strange"][1].startswith("The token is one of another connection, outside of this")
    assert "Other" not in reported["strange"][1]
    assert foreign.token[:8] not in reported["strange"][1]
    assert reported["unknown"][1].startswith("The token is unknown")
    assert f"Old {expired[:8]}… expired on 20" in reported["expired"][1]
    assert f"Gone {revoked[:8]}… was revoked on 20" in reported["revoked"][1]
    assert f"{other.token[:8]}… belongs to the connection 'Okta'" in reported["foreign"][1]
    checks = deployment.admin("POST", f"/connections/{okta.uid}/test").json["checks"]
    assert "belongs to the connection" in checks[-1]["message"]


def test_a_storm_of_wrong_tokens_is_a_few_lines_and_a_right_token_passes(slow: Deployment) -> None:
    okta = slow.connection("okta", slow.organization())
    statuses = until_slowed_down(lambda: okta.call("GET", "/Users", token="wrong").status)
    assert int(okta.deployment.last_headers["Retry-After"]) >= 1
    assert okta.call("GET", "/Users").status == 200
    lines = okta.deployment.activity(okta.organization, outcome="failure")
    assert len(lines) < 10
    assert sum(line.times for line in lines) == len(statuses)
    okta.call("GET", "/Users", token="wrong")
    again = okta.deployment.activity(okta.organization, outcome="failure")
    assert (len(again) < 10, sum(line.times for line in again)) == (True, len(statuses) + 1)
    assert all(line.first_at <= line.at for line in again)


def test_paths_without_an_endpoint_are_counted_by_status_and_minute(okta: Scim) -> None:
    calls = [("GET", f"/Userss{n}", 404) for n in range(30)]
    calls += [("PUT", "/Schemas", 405)] * 10 + [("GET", f"/Schemas/urn:none:{n}", 404) for n in range(10)]
    for method, path, status in calls:
        assert okta.call(method, path, token=None).status == status
    lines = okta.deployment.activity(okta.organization, outcome="failure")
    assert {line.status for line in lines} == {404, 405}
    assert len(lines) <= 8
    assert sum(line.times for line in lines) == len(calls)


def test_wrong_admin_tokens_are_slowed_down_and_a_right_one_passes(slow: Deployment) -> None:
    until_slowed_down(lambda: slow.admin("GET", "/organizations", token="wrong").status)
    assert slow.admin("GET", "/organizations").status == 200


def test_a_clock_that_jumps_ahead_neither_erases_the_activity_nor_keeps_it(
    deployment: Deployment, okta: Scim, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity, writer = deployment.gateway.store.activity, deployment.gateway.activity_writer
    deployment.gateway.store.database.run("DELETE FROM activity")
    line = deployment.trace(okta.organization).line(200)
    activity.add([(now(), line)] * 100)
    true = now
    for module in ("gateway.provisioning.activity_writer", "gateway.store.activity"):
        monkeypatch.setattr(f"{module}.now", lambda: true() + 4000 * DAY)
    okta.call("GET", "/Users")
    writer.flush()
    assert 100 - PRUNED_PER_LINE <= len(deployment.activity(okta.organization)) <= 101
    monkeypatch.undo()
    # Lines from the time in which the clock was ahead are forgotten with those that were written after them.
    deployment.gateway.store.database.run("DELETE FROM activity")
    activity.add([(now() + 4000 * DAY, line)] * 5 + [(now() - 200 * DAY, line)] * 20 + [(now(), line)] * 3)
    for _ in range(30):
        activity.prune(now() - 90 * DAY, 2)
    assert len(deployment.activity(okta.organization)) == 3
