"""The client of an admin."""

from __future__ import annotations

from typing import Any

from gateway.testing import Deployment


class AdminClient:
    """Calls of the admin REST about one organization, whose status is asserted."""

    def __init__(self, deployment: Deployment, organization: str) -> None:
        self.deployment = deployment
        self.path = f"/organizations/{organization}"

    def call(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """Send a request below `/admin/v1`; return the JSON of the answer, which has this status."""
        answer = self.deployment.admin(method, path, body, **headers)
        assert answer.status == status, (method, path, answer.status, answer.text)
        return answer.json

    def get(self, path: str, status: int = 200) -> Any:
        return self.call("GET", path, None, status)

    def post(self, path: str, body: Any, status: int = 201) -> Any:
        return self.call("POST", path, body, status)

    def etag(self) -> str:
        """Return the entity tag of the last answer."""
        return str(self.deployment.last_headers["ETag"])
