"""A browser for tests of the console that need no real one: it keeps the cookie and sends forms as pages do."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from werkzeug.test import TestResponse

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment
from gateway.testing.deployment import ADMIN_TOKEN

ORIGIN = "http://localhost"
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)


class Browser:
    """Sends requests of one browser; `organization` is what `path` begins with."""

    def __init__(self, deployment: Deployment, organization: OrganizationRecord | None = None) -> None:
        self.deployment, self.organization = deployment, organization
        self.client = deployment.app.test_client()

    def path(self, rest: str) -> str:
        """Return the path of a page of the organization; one that begins with a slash stays as it is."""
        if rest.startswith("/"):
            return rest
        assert self.organization is not None
        return f"/console/organizations/{self.organization.uid}/{rest}"

    def get(self, rest: str, **query: str) -> TestResponse:
        """Open a page; its query is in `rest`, or given by name."""
        return self.client.get(self.path(rest), query_string=query or None)

    def post(
        self, rest: str, form: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        """Send a form, as a page of the console does; a list sends a field several times."""
        return self.client.post(
            self.path(rest), data=dict(form or {}), headers={"Origin": ORIGIN} if headers is None else headers
        )

    def follow(self, response: TestResponse) -> TestResponse:
        """Open the page to which a form led."""
        assert response.status_code == 303, (response.status_code, text_of(response))
        return self.client.get(response.location)


def text_of(response: TestResponse) -> str:
    """Return what a page says, without its tags, spaces joined."""
    return " ".join(html.unescape(_TAG.sub(" ", response.get_data(as_text=True))).split())


def setup_link(deployment: Deployment, organization: OrganizationRecord, **values: Any) -> str:
    """Make a setup link over REST; return its secret."""
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/setup-links", values)
    assert answer.status == 201, answer.text
    return str(answer.json["url"]).partition("#")[2]


def console_link(
    deployment: Deployment, organization: OrganizationRecord, role: str = "admin", **values: Any
) -> str:
    """Make a console link over REST; return its secret."""
    body = {"person": f"{role}@acme.test", "role": role} | values
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/console-links", body)
    assert answer.status == 201, answer.text
    return str(answer.json["url"]).partition("#")[2]


def sign_in(
    deployment: Deployment, organization: OrganizationRecord | None = None, role: str = "admin"
) -> Browser:
    """Return a browser that is signed in: `admin`, `viewer` or `setup` of an organization, or `operator`."""
    browser = Browser(deployment, organization)
    if role == "operator":
        response = browser.post("/console/sign-in", {"token": ADMIN_TOKEN})
    else:
        assert organization is not None
        secret = (
            setup_link(deployment, organization)
            if role == "setup"
            else console_link(deployment, organization, role)
        )
        response = browser.post("/setup", {"code": secret})
    assert response.status_code == 303, text_of(response)
    return browser
