"""Okta as its admin acts in it: the simulator's requests, one action at a time, and in a thread where a page waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

from gateway_okta.simulator import directory, groups, users
from gateway_okta.simulator.client import Client

from gateway import Json
from gateway.simulation import ExpectationError, SimulatedGroup
from gateway.simulation.http_session import HttpSession
from tests.browser.served import EXTENSION


@dataclass
class Person(users.User):
    """A user of Okta's directory with a value of the attribute that is mapped to groups."""

    value: str = ""

    def profile(self) -> Json:
        profile = super().profile()
        if self.value:
            profile |= {"schemas": [*profile["schemas"], EXTENSION], EXTENSION: {"group": self.value}}
        return profile


def person(number: int, value: str = "") -> Person:
    """Return a user who was not assigned yet."""
    return Person(f"user{number}@acme.test", given=f"Given{number}", family=f"Family{number}", value=value)


class Okta:
    """One app in Okta; the session has base URL and token, as they were pasted from the console."""

    def __init__(self, session: HttpSession) -> None:
        self._session = session
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def test_credentials(self) -> Future[str]:
        """Press *Test API Credentials* while a page waits for the call."""
        return self._executor.submit(directory.list_two_users, self._client(), directory.Directory())

    def test_wrong_token(self) -> Future[str]:
        """Press it with a token that was pasted wrongly, which must be refused."""
        return self._executor.submit(directory.expect_refused_token, self._client(), directory.Directory())

    def assign(self, *people: Person) -> None:
        """Look each person up and create or link them."""
        for each in people:
            self._do(users.look_up, each)
            self._do(users.assign, each)

    def assign_refused(self, each: Person) -> str:
        """Assign a person who gets no seat; return the task's error, which Okta shows to its admin."""
        self._do(users.look_up, each)
        try:
            self._do(users.assign, each)
        except ExpectationError:
            return self._last.describe_last_answer()
        raise AssertionError(f"{each.label} was created")

    def deactivate(self, each: Person) -> None:
        self._do(users.deactivate_by_patch, each)

    def push_group(self, name: str, people: Sequence[Person]) -> None:
        """Push a group with all of its members."""
        group = SimulatedGroup(name, users=people)
        self._do(groups.create, group)
        self._do(groups.patch_all_members, group)

    def _do(self, action: Callable[[Client, Any], str], target: Any) -> None:
        self._last = self._client()
        self._executor.submit(action, self._last, target).result(30)

    def _client(self) -> Client:
        return Client(self._session)
