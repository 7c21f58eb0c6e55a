"""The fixtures that pytest finds through the entry point `pytest11`. Imports the core only once a fixture is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gateway.testing.deployment import Deployment, Scim


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A gateway with an empty database and every installed plugin."""
    from gateway.testing.deployment import Deployment  # late, so that coverage sees the core being imported

    deployment = Deployment(tmp_path / "instance")
    yield deployment
    deployment.close()


@pytest.fixture
def scim(deployment: Deployment) -> Scim:
    """A `generic` connection of an organization without a seat limit, ready to be provisioned."""
    return deployment.connection("generic")
