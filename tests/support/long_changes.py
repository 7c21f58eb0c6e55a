"""Long changes that a process left unfinished, in tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gateway.testing import Deployment


def finish_abandoned(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, is_done: Callable[[], bool]
) -> None:
    """Have what was begun be gone on with until it is done, by this thread or by the worker, which runs as well."""
    monkeypatch.setattr("gateway.provisioning.long_changes.ABANDONED_AFTER", -1.0)
    runner, deadline = deployment.gateway.long_changes, time.monotonic() + 15
    while not is_done():
        assert time.monotonic() < deadline, "it is never done"
        runner._searched = -100.0
        runner.resume()
