"""Fixtures of tests in more than one folder. Those of `gateway.testing` come by the entry point `pytest11`."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

# Before they are imported: what an oracle found differs is shown as in a test.
pytest.register_assert_rewrite("tests.oracles")

from gateway.testing import Deployment  # noqa: E402
from tests.oracles import invariants  # noqa: E402


def pytest_collection_finish() -> None:
    """Leave ten thousand collected tests out of each collection of garbage, a tenth of all time otherwise."""
    gc.collect()
    gc.freeze()


def together(deployment: Deployment, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all jobs at once, each in a thread of its own; what each returned. A job that raised fails the test."""
    start = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)
    failures: list[BaseException] = []

    def work(number: int, job: Callable[[], Any]) -> None:
        try:
            start.wait(30)
            results[number] = job()
        except BaseException as failure:  # noqa: BLE001 - raised in the thread of the test
            failures.append(failure)
        finally:
            deployment.gateway.store.database.close()

    threads = [threading.Thread(target=work, args=each) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a job hangs"
    if failures:
        raise failures[0]
    return results


@pytest.fixture(scope="module")
def shared_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment for all tests of a module, each of which makes organizations of its own: far cheaper than one each.

    A module asks for it by a fixture `deployment` that returns it. It is no place for tests that register plugins or
    count what is in the whole database.
    """
    deployment = Deployment(tmp_path_factory.mktemp("shared") / "instance")
    yield deployment
    deployment.close()


@pytest.fixture
def audit() -> Callable[[Deployment], None]:
    """See `invariants.audit`."""
    return invariants.audit


@pytest.fixture(name="together")
def _together() -> Callable[[Deployment, Sequence[Callable[[], Any]]], list[Any]]:
    """See `together`."""
    return together
