"""`make onboarding`, small: two servers of their own, sixteen connections, one organization at its limit."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from rich.console import Console

pytestmark = [pytest.mark.slow, pytest.mark.postgresql]


def test_many_connections_through_two_nodes_overshoot_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    onboarding = importlib.import_module("bench.onboarding")
    result = onboarding.onboard(300, 16, Console(quiet=True))
    assert result["wrong"] == {}
    limited, *others = result["organizations"]
    assert (limited["created"], limited["refused"], limited["seats in use"]) == (60, 15, 60)
    assert [(each["created"], each["refused"]) for each in others] == [(75, 0)] * 3
    assert result["milliseconds"]["create"]["count"] == 285
