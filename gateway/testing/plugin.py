"""The fixtures that pytest finds by the entry point `pytest11`. The core is imported when a fixture is first used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gateway.testing.deployment import Deployment, Scim

# Before their import, so that a failed assertion shows the values that it compared.
pytest.register_assert_rewrite("gateway.testing.promises")

ENGINES = ("sqlite", "postgresql")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--engine`, the database of deployments."""
    parser.addoption("--engine", choices=ENGINES, default="sqlite", help="the database of deployments")


def pytest_configure(config: pytest.Config) -> None:
    """Start the server of a run on PostgreSQL, once for all its processes."""
    for engine in ENGINES:
        config.addinivalue_line("markers", f"{engine}: looks into that engine itself; left out on the other")
    config.addinivalue_line("markers", "no_examples: a promise that the class gives no example of; left out")
    if config.getoption("engine") != "postgresql" or hasattr(config, "workerinput"):
        return
    from gateway.testing import engines

    os.environ[engines.ENGINE] = "postgresql"
    if engines.SERVER not in os.environ:
        running = ExitStack()
        os.environ[engines.SERVER] = running.enter_context(engines.server())
        config.add_cleanup(running.close)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of the engine that this run is not on, and promises without an example."""
    (other,) = set(ENGINES) - {config.getoption("engine")}
    left_out = [item for item in items if any(map(item.get_closest_marker, (other, "no_examples")))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Provide a gateway with an empty database and every installed plugin."""
    from gateway.testing.deployment import Deployment  # late, so that coverage sees the core being imported

    deployment = Deployment(tmp_path / "instance")
    yield deployment
    deployment.close()


@pytest.fixture
def gateway(deployment: Deployment) -> Deployment:
    """Provide the same as `deployment`."""
    return deployment


@pytest.fixture
def connection(request: pytest.FixtureRequest, deployment: Deployment) -> Scim:
    """Provide a connection with provisioning enabled, of the `plugin` and with the `settings` of the test's class."""
    return deployment.connection(
        getattr(request.cls, "plugin", "generic"), settings=getattr(request.cls, "settings", None)
    )


@pytest.fixture
def scim(deployment: Deployment) -> Scim:
    """Provide a `generic` connection with provisioning enabled, of an organization without a seat limit."""
    return deployment.connection("generic")
