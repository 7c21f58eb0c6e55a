"""The machines of `make failover` serve here as well."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`bench.machines`, which is no part of what is installed."""
    if not shutil.which("pgbouncer", path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"):
        pytest.skip("pgbouncer is not installed")
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.machines")


@pytest.fixture
def running() -> Iterator[tuple[Path, ExitStack]]:
    """A folder that other users may enter, and what is to be ended before it goes."""
    with tempfile.TemporaryDirectory(prefix="gateway-deploy-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        with ExitStack() as stack:
            yield Path(name), stack
