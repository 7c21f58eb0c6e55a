"""A customer whose admin calls the admin REST, and the SAML metadata of its identity provider."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest

from gateway.demo.metadata import signing_certificate
from gateway.simulation.api import Answer
from gateway.testing import Deployment, Scim
from tests.support.admin import AdminClient

URN = "urn:calendly:scim:schemas:2.0:User"


class Acme(AdminClient):
    """An organization with an Okta connection; `get`, `post` and so on are calls below `/admin/v1`."""

    def __init__(self, deployment: Deployment, seats: int | None = None) -> None:
        self.okta: Scim = deployment.connection("okta", deployment.organization(seats=seats))
        super().__init__(deployment, self.okta.organization.uid)
        self.connection = f"/connections/{self.okta.uid}"

    def assign(self, number: int, *values: str) -> dict[str, Any]:
        """Okta creates a user whose attribute `group` has these values."""
        group = {URN: {"group": values[0] if len(values) == 1 else list(values)}} if values else {}
        return self.okta.user(f"user{number}@acme.test", **group)

    def groups_of(self, user: dict[str, Any]) -> dict[str, list[str]]:
        """The groups of a user with the reasons."""
        shown = self.get(f"{self.path}/users/{user['id']}")
        return {group["name"]: group["sources"] for group in shown["groups"]}

    def mapping(self, rules: dict[str, str], **values: Any) -> dict[str, Any]:
        """A mapping as it is sent: on, by the application's own attribute, for everybody who is there already."""
        listed = [{"value": value, "group": group} for value, group in rules.items()]
        body = {"enabled": True, "attribute": f"{URN}:group", "rules": listed, "apply_to_existing": True}
        return body | values

    def preview(self, rules: dict[str, str], status: int = 200, **values: Any) -> Any:
        return self.call(
            "POST", f"{self.connection}/group-mapping/preview", self.mapping(rules, **values), status
        )

    def save(self, rules: dict[str, str], **values: Any) -> Any:
        """Preview a mapping and save it."""
        self.preview(rules, **values)
        body, etag = self.mapping(rules, **values), self.etag()
        return self.call("PUT", f"{self.connection}/group-mapping", body, 200, If_Match=etag)

    def refused(self) -> Answer:
        """Okta assigns one more."""
        body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "late@acme.test"}
        return self.okta.call("POST", "/Users", body)


@pytest.fixture
def acme(deployment: Deployment) -> Acme:
    return Acme(deployment)


@pytest.fixture(scope="session")
def metadata() -> str:
    """SAML metadata as Okta shows it, with a certificate that ends in 2036."""
    days = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2026, 2036))
    der = base64.b64encode(signing_certificate(*days)).decode()
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor entityID="https://idp.acme.test/entity" xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">
  <md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
    <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>
      <ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
      Location="https://idp.acme.test/post"/>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
      Location="https://idp.acme.test/redirect"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>"""
