"""A node says when the database has too few connections for it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.testing import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.postgresql]


@pytest.mark.parametrize(("workers", "warned"), [(12, False), (13, True)])
def test_a_node_that_may_want_more_connections_than_there_are_says_so(
    machines: Any, running: tuple[Path, ExitStack], workers: int, warned: bool
) -> None:
    """PostgreSQL has 100 unless set, 3 of them for superusers. The server does not start: its port is taken."""
    folder, stack = running
    server = machines.Postgres(folder / "primary")
    stack.callback(server.stop)
    url = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    deployment = Deployment(folder / "instance", database_url=url, secret_key="a-key-for-tests-only" * 2)
    stack.callback(deployment.close)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        reported = CliRunner().invoke(
            main, ["serve", "--port", port, "--workers", str(workers)], env=deployment.environment
        )
    assert f"Port {port} is taken" in reported.stderr
    words = f"Warning: {workers} workers may want {workers * 8} connections to the database, which gives 97"
    assert (words in reported.stderr) is ("Warning" in reported.stderr) is warned
