"""A gateway that serves, its operator, and the customers that a test makes in it."""

from __future__ import annotations

import itertools
import json
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

from werkzeug.routing import Rule

from gateway.demo.metadata import saml_metadata
from gateway.simulation.api import Answer
from gateway.simulation.http_session import HttpSession
from gateway.testing import Deployment
from gateway.testing.deployment import ADMIN_TOKEN
from tests.support.admin import AdminClient
from tests.support.server import Server

METADATA = saml_metadata("https://idp.acme.test")
#: Rules of GET that show nothing of their own.
NO_PAGES = {
    "console.static",
    "console.show_start_without_slash",
    "console.show_nothing",
    "console.begin_sign_in",
    "console.finish_sign_in",
}
EXTENSION = "urn:calendly:scim:schemas:2.0:User"


class ServedGateway:
    """The admin REST of a server, with the operator's token. It stands in for a `Deployment` in `AdminClient`."""

    def __init__(self, url: str, log: Path, rules: Sequence[Rule]) -> None:
        """`rules` are those of the console."""
        self.url, self.log, self._rules = url, log, rules
        self.last_headers = Message()
        self._sessions = ExitStack()
        self._admin = self.session(f"{url}/admin/v1", ADMIN_TOKEN)
        self._numbers = itertools.count(1)

    def session(self, base_url: str, token: str) -> HttpSession:
        """Return a session over HTTP that ends with this."""
        return self._sessions.enter_context(HttpSession(base_url, token))

    def close(self) -> None:
        self._sessions.close()

    def admin(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            given["Content-Type"] = "application/json"
        answer, self.last_headers = self._admin.exchange(method, path, body, headers=given)
        return answer

    def customer(
        self,
        name: str = "",
        seats: int | None = None,
        payment: str = "invoice",
        plan: str = "enterprise",
        sso: bool = False,
    ) -> Customer:
        """Create an organization, with the single sign-on of acme.test if `sso`."""
        billing = {
            "payment": payment,
            "contact_url": f"{self.url}/contact",
            "billing_url": f"{self.url}/billing",
        }
        body = {"name": name or f"Acme {next(self._numbers)}", "plan": plan, "billing": billing}
        if seats is not None:
            body["seats"] = {"limit": seats}
        made = self.admin("POST", "/organizations", body)
        assert made.status == 201, made.text
        customer = Customer(self, made.json["id"], made.json["name"])
        if sso:
            customer.call("PUT", f"{customer.path}/sso", {"metadata_xml": METADATA})
        return customer

    def pages(self, **arguments: str) -> dict[str, str]:
        """Return the path of every page of the console by its endpoint, with these values in the rules.

        A rule with a value that is not among them fails: no page is left out because nobody thought of it.
        """
        return self._paths(arguments, self._rules)

    def pages_of_organization(self, organization: str) -> dict[str, str]:
        """Return the paths of the pages that every organization has, by endpoint."""
        rules = [rule for rule in self._rules if rule.arguments == {"organization"}]
        return self._paths({"organization": organization}, rules)

    def _paths(self, arguments: Mapping[str, str], rules: Sequence[Rule]) -> dict[str, str]:
        return {
            rule.endpoint: str(rule.build({name: arguments[name] for name in rule.arguments})[1])
            for rule in rules
            if "GET" in (rule.methods or ()) and rule.endpoint not in NO_PAGES
        }


class Customer(AdminClient):
    """An organization, as the operator's application sees it."""

    #: The attribute that `Map to groups` reads.
    ATTRIBUTE = f"{EXTENSION}:group"

    def __init__(self, gateway: ServedGateway, organization: str, name: str) -> None:
        super().__init__(gateway, organization)  # type: ignore[arg-type]
        self.gateway, self.id, self.name = gateway, organization, name
        #: The id of the connection that `connect` made last.
        self.connection = ""

    def setup_link(self, *rights: str, hours: int = 24) -> str:
        """Make a setup link; return its URL."""
        body = {"rights": list(rights or ("sso", "connections", "mapping")), "expires_in_hours": hours}
        return str(self.post(f"{self.path}/setup-links", body)["url"])

    def console_link(self, role: str = "admin", person: str = "user1@acme.test") -> str:
        """Make a console link, as the application does for a person who is signed in there; return its URL."""
        return str(self.post(f"{self.path}/console-links", {"person": person, "role": role})["url"])

    def connect(self, idp: str = "okta") -> HttpSession:
        """Create a connection that is switched on; return a session with its token."""
        made = self.post(f"{self.path}/connections", {"idp": idp, "name": idp.title()})
        self.call("PUT", f"/connections/{made['id']}/provisioning", {"enabled": True})
        token = self.post(f"/connections/{made['id']}/tokens", {"label": "test"})["token"]
        self.connection = made["id"]
        return self.gateway.session(made["base_url"], token)

    def upload(self, text: str) -> str:
        """Upload a CSV file of people; return the id of the import, which is not applied."""
        request = urllib.request.Request(
            f"{self.gateway.url}/admin/v1{self.path}/imports",
            text.encode(),
            {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "text/csv"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["id"])

    def users(self) -> list[dict[str, Any]]:
        return list(self.get(f"{self.path}/users?limit=100")["items"])

    def groups_of(self, user_name: str) -> set[str]:
        (user,) = (user for user in self.users() if user["user_name"] == user_name)
        return {group["name"] for group in user["groups"]}


@contextmanager
def serve(folder: Path, **settings: str) -> Iterator[ServedGateway]:
    """Run `gateway serve` on an empty SQLite database. Settings are those of `GATEWAY_*`, in capitals."""
    deployment = Deployment(folder / "instance")
    environment = deployment.environment | {f"GATEWAY_{name}": value for name, value in settings.items()}
    rules = [rule for rule in deployment.app.url_map.iter_rules() if rule.endpoint.startswith("console.")]
    deployment.close()
    server = Server(environment, folder / "server.log")
    try:
        with closing(ServedGateway(server.url, server.log, rules)) as served:
            yield served
        assert server.stop() == 0, server.log.read_text()
    finally:
        server.close()


def faults(log: Path) -> list[str]:
    """Return the lines of a server's log that report a fault of its own."""
    return re.findall(r"^.* (?:ERROR|CRITICAL) .*$", log.read_text("utf-8"), re.MULTILINE)
