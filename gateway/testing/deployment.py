"""A whole gateway in a temporary folder, and a client for each connection that a test creates in it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from werkzeug.test import Client

from gateway.app import make_flask_app, make_parts
from gateway.plugin.declarations import settings_of
from gateway.provisioning import IdpCaller, Provisioning, Trace
from gateway.simulation.api import Answer
from gateway.store.records import ConnectionRecord, OrganizationRecord
from gateway.testing import engines
from gateway.web.flask_app import FlaskApp

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ADMIN_TOKEN = "an-operator-of-a-test-and-of-nothing-else"  # noqa: S105 - opens a database that lives for one test


class Deployment:
    """The application (`app`), its use cases (`gateway`), and shortcuts for the set-up of a test."""

    def __init__(self, instance: Path, **settings: Any) -> None:
        self._instance = instance
        usual = {"instance": instance, "admin_token": ADMIN_TOKEN, "sqlite_synchronous": "NORMAL"}
        own = "database_url" in settings
        new = not own and not (instance / engines.DATABASE).exists()
        if not own:
            usual |= engines.take_database(instance)
        settings = usual | settings
        self._parts = make_parts(settings)
        self.gateway: Provisioning = self._parts.gateway
        self.gateway.store.database.migrate()
        if new:
            engines.cache_migrated(instance)

    @cached_property
    def app(self) -> FlaskApp:
        """The application; it is made when something else than SCIM is asked for, which most tests never do."""
        return make_flask_app(self._parts)

    def close(self) -> None:
        """Stop the background worker and close the database."""
        self.gateway.close()
        self.gateway.store.database.close()
        engines.return_database(self._instance)

    @property
    def environment(self) -> dict[str, str]:
        """The environment with which another process serves the same data, without any other `GATEWAY_*` variable."""
        config = self.gateway.config
        settings = {"INSTANCE": str(config.instance), "ADMIN_TOKEN": config.admin_token}
        settings |= {"DATABASE_URL": config.database_url, "SECRET_KEY": config.secret_key}
        settings |= {"SQLITE_SYNCHRONOUS": config.sqlite_synchronous}
        others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return others | {f"GATEWAY_{name}": value for name, value in settings.items()}

    # Setting up -----------------------------------------------------------------------------------------------------

    def organization(
        self, name: str = "Acme", seats: int | None = None, plan: str = "enterprise", payment: str = "invoice",
        sso: bool = True,
    ) -> OrganizationRecord:  # fmt: skip
        """Create an organization, with single sign-on unless `sso` is false."""
        values: dict[str, Any] = {
            "name": name,
            "plan": plan,
            "domains": [],
            "seat_limit": seats,
            "payment": payment,
        }
        values |= {"billing_url": None, "contact_url": None}
        organization = self.gateway.setup.add_organization(values, self.trace())
        # Now, and not at any moment of the test: its first publication writes organization.created.
        self.gateway.publisher.schedule([organization.id])
        self.gateway.publisher.publish()
        if sso:
            entity = {"entity_id": "https://idp.acme.test", "sign_on_url": "https://idp.acme.test/sso"}
            entity["certificate_expires_at"] = "2036-01-01T00:00:00.000Z"
            organization = self.gateway.store.organizations.edit(organization, {"sso": json.dumps(entity)})
        return organization

    def connection(
        self, idp: str, organization: OrganizationRecord | None = None, settings: Mapping[str, Any] | None = None,
        provisioning: bool = True, brake: bool = False,
    ) -> Scim:  # fmt: skip
        """Create a connection with a token and, by default, provisioning switched on; return its client.

        It may remove any number of people unless `brake`: a test removes more than an admin would let pass.
        """
        organization = organization or self.organization()
        trace = self.trace(organization)
        declaration = self.gateway.plugins.declared.of(idp)
        assert declaration, f"no plugin is an identity provider called {idp!r}"
        connection = self.gateway.setup.add_connection(
            self.gateway.callers.admin(organization),
            idp,
            idp.title(),
            settings_of(declaration, settings or {}),
            trace,
        )
        self.gateway.store.connections.edit(
            connection, provisioning=int(provisioning), **({} if brake else {"brake": None})
        )
        _, token = self.gateway.store.tokens.add(connection, "test", None)
        return Scim(self, connection.uid, token)

    def trace(self, organization: OrganizationRecord | None = None) -> Trace:
        """Return a trace for a use case that a test calls itself."""
        return Trace("test", "test", organization.id if organization else 0)

    # Looking --------------------------------------------------------------------------------------------------------

    def used(self, organization: OrganizationRecord) -> int:
        """Return the number of seats in use."""
        return self.gateway.store.organizations.by_key(organization.id).seats_used

    def events(self, organization: OrganizationRecord) -> list[tuple[str, dict[str, Any]]]:
        """Return all events, as (type, data)."""
        records = self.gateway.store.events.page(organization.id, 0, 100_000)
        return [(record.type, json.loads(record.data)) for record in records]

    def activity(self, organization: OrganizationRecord, **wanted: Any) -> list[Any]:
        """Return the activity, newest first, after the buffered lines were written."""
        self.gateway.activity_writer.flush()
        return self.gateway.store.activity.page(organization.id, None, 100_000, **wanted)

    def deliver_events(self) -> None:
        """Deliver all committed events to listening plugins now, not half a second later in the background."""
        self.gateway.event_relay.deliver()

    def listed(self, path: str) -> list[dict[str, Any]]:
        """Return a whole list of the admin REST, read page by page."""
        items: list[dict[str, Any]] = []
        after = ""
        while after is not None:
            page = self.admin("GET", f"{path}?limit=100{after and f'&after={after}'}").json
            items, after = items + page["items"], page["next"]
        return items

    def admin(
        self, method: str, path: str, body: Any = None, *, token: str = ADMIN_TOKEN, **headers: str
    ) -> Answer:
        """Send a request to the admin REST; `path` follows `/admin/v1`, header names have `_` for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call(method, f"/admin/v1{path}", body, {"Authorization": f"Bearer {token}"} | given)

    def call(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """Send any request. A body of bytes or text is sent as it is, any other as JSON."""
        raw = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **headers} if raw is not None else dict(headers)
        begun = time.perf_counter()
        scim_alone = path.startswith("/scim/") and "app" not in self.__dict__
        client = Client(self._parts.scim) if scim_alone else self.app.test_client()
        response = client.open(path, method=method, data=raw, headers=headers)
        text = response.get_data(as_text=True)
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        self.last_headers = response.headers
        return Answer(response.status_code, parsed, text, time.perf_counter() - begun)


class Scim:
    """The client of one connection: a `gateway.simulation.Session` that needs no socket."""

    def __init__(self, deployment: Deployment, connection_uid: str, token: str) -> None:
        self.deployment, self.uid, self.token = deployment, connection_uid, token

    @property
    def connection(self) -> ConnectionRecord:
        """The record of the connection as it is stored now."""
        found = self.deployment.gateway.store.connections.by_id(self.uid)
        assert found is not None
        return found[0]

    @property
    def organization(self) -> OrganizationRecord:
        """The record of its organization as it is stored now."""
        return self.deployment.gateway.store.organizations.by_key(self.connection.organization_id)

    @property
    def base(self) -> str:
        """The path of the base URL."""
        return f"/scim/v2/{self.connection.slug}"

    def caller(self) -> IdpCaller:
        """Return the caller that use cases take."""
        return self.deployment.gateway.callers.connection(
            self.connection, self.organization, "http://localhost"
        )

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Send one request with the connection's token, or with `token` in its place."""
        given = {"Authorization": f"Bearer {self.token if token is None else token}"}
        given |= {"Content-Type": "application/scim+json"} if body is not None else {}
        return self.deployment.call(method, self.base + path, body, given | dict(headers or {}))

    def user(self, name: str = "user1@acme.test", **attributes: Any) -> dict[str, Any]:
        """Create a user; return its representation."""
        body = {
            "schemas": [USER],
            "userName": name,
            "displayName": name.split("@")[0],
            "active": True,
        } | attributes
        answer = self.call("POST", "/Users", body)
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def group(self, name: str = "Sales", members: tuple[str, ...] = ()) -> dict[str, Any]:
        """Push a group; return its representation."""
        listed = [{"value": member} for member in members]
        answer = self.call("POST", "/Groups", {"schemas": [GROUP], "displayName": name, "members": listed})
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def patch(self, path: str, *operations: dict[str, Any]) -> Answer:
        """Send a PATCH with these operations."""
        return self.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})
