"""The real gateway for an application's tests: in a temporary folder, behind a socket, with Okta played on demand.

It needs the gateway and its plugin for Okta in the same environment; nothing else of this library does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Self

from gateway_okta.simulator import groups, users
from gateway_okta.simulator.client import Client
from werkzeug.serving import WSGIRequestHandler, make_server

from gateway.simulation import ExpectationError, SimulatedGroup
from gateway.testing.deployment import ADMIN_TOKEN, Deployment
from gateway_client.feed import Feed


class ProvisioningRefused(Exception):
    """The gateway refused what Okta sent: `status`, and the sentence that the customer's admin reads there."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail = status, detail


class GatewayFake:
    """A gateway with one organization and its Okta connection.

    `url` and `token` (an operator's) are those that the application gets, `base_url` and `bearer_token` those that Okta
    gets; `organization` and `connection` are ids.
    Methods do what an admin does in Okta, by the requests that Okta sends, and return when the gateway has answered.
    """

    token = ADMIN_TOKEN

    def __init__(self, folder: Path, seats: int | None = None) -> None:
        """`folder` is empty; `seats` limits those of the organization."""
        # The application is made for the URL, which is known once the server has its port.
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_QuietHandler)
        self.url = f"http://127.0.0.1:{self._server.port}"
        # Not what the environment names: a test must never reach the database of a gateway in use.
        settings = {"database_url": "", "public_url": self.url, "plugins_disabled": "", "rate_limit": "0"}
        # The application under test is on this machine, an address that webhooks do not reach otherwise.
        settings |= {"webhooks": "on", "webhook_allow": "127.0.0.0/8"}
        self._deployment = Deployment(folder, **settings)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        organization = self._deployment.organization(seats=seats)
        self._scim = self._deployment.connection("okta", organization)
        self.organization, self.connection = organization.uid, self._scim.uid
        self.base_url, self.bearer_token = self.url + self._scim.base, self._scim.token
        self._users: dict[str, _User] = {}
        self._groups: dict[str, SimulatedGroup] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and close the database."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._deployment.close()

    def assign(self, email: str, **attributes: Any) -> str:
        """Assign a user to the application in Okta, or push changed attributes of one, and return the user's id.

        `attributes` are those of SCIM, as `displayName="Ada"`. Raises ProvisioningRefused.
        """
        user = self._users.get(email)
        if user is None:
            user = _User(email, given=email.partition("@")[0].title(), family="Test", attributes=attributes)
            self._play(users.look_up, user)
            self._play(users.assign, user)
            self._users[email] = user
        else:
            user.attributes |= attributes
            self._play(users.link_again, user)
        return user.id

    def deactivate(self, email: str) -> None:
        """Take the application from a user in Okta, which deactivates the user here. Raises KeyError for a stranger."""
        self._play(users.deactivate_by_patch, self._users[email])

    def reactivate(self, email: str) -> None:
        """Give it back. Raises KeyError for a stranger, ProvisioningRefused."""
        self._play(users.reactivate_by_patch, self._users[email])

    def push_group(self, name: str, members: Iterable[str]) -> str:
        """Push a group with just these members, by their e-mail addresses, and return its id."""
        joined = [self._users[email] for email in members]
        group = self._groups.get(name)
        if group is None:
            group = SimulatedGroup(name)
            self._play(groups.create, group)
            self._groups[name] = group
        group.users = joined
        self._play(groups.patch_all_members, group)
        return group.id

    def delete_group(self, name: str) -> None:
        """Unlink a pushed group in Okta and delete it here. Raises KeyError for one that was not pushed."""
        self._play(groups.delete, self._groups.pop(name))

    def over_capacity(self) -> None:
        """Leave no seat free: the next `assign` of a new user is refused as it is in production."""
        self.set_seats(self._deployment.used(self._scim.organization))

    def set_seats(self, limit: int | None) -> None:
        """Set the number of seats; None lifts the limit."""
        answer = self._deployment.admin(
            "PATCH", f"/organizations/{self.organization}", {"seats": {"limit": limit}}
        )
        assert answer.status == 200, answer.text

    def add_webhook(self, url: str, types: Iterable[str] | None = None) -> str:
        """Make a webhook of the organization to a URL of this machine, and return its secret, `whsec_…`.

        It gets the events from now on, about half a second after each change, as the gateway delivers in production.
        `types` are those that it wants, None for all.
        """
        body = {"url": url, "organization": self.organization, "types": types and list(types)}
        answer = self._deployment.admin("POST", "/webhooks", body)
        assert answer.status == 201, answer.text
        self._deployment.gateway.start()
        return str(answer.json["secret"])

    def feed(self, position: str | None = None) -> Feed:
        """Return a feed of the organization, which asks every hundredth of a second."""
        return Feed(
            self.url, self.token, self.organization, position, wait=0, poll_seconds=0.01, retry_seconds=0.01
        )

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return self._deployment.app(environ, start_response)

    def _play(self, action: Callable[[Client, Any], str], target: Any) -> None:
        client = Client(self._scim)
        try:
            action(client, target)
        except ExpectationError:
            answer = client.answers[-1]
            detail = answer.json.get("detail") if isinstance(answer.json, dict) else None
            raise ProvisioningRefused(answer.status, detail or answer.text) from None


@dataclass
class _User(users.User):
    """A user of Okta's directory with attributes of the test's own."""

    attributes: dict[str, Any] = field(default_factory=dict)

    def profile(self) -> Any:
        """Return what Okta's mappings send."""
        profile = super().profile() | self.attributes
        extensions = [name for name in self.attributes if name.startswith("urn:")]
        return profile | {"schemas": [*profile["schemas"], *extensions]}


class _QuietHandler(WSGIRequestHandler):
    """A handler that writes no line for each request into the output of tests."""

    def log_request(self, *_: object) -> None:
        """Write nothing."""
