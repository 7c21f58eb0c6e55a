"""A connection that adopts by itself, as each does unless an admin says otherwise, meets people of before."""

from __future__ import annotations

import pytest

from gateway.simulation.api import SimulationOptions
from gateway.testing import Deployment

USERS = 3


@pytest.fixture(name="deployment")
def _deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


@pytest.mark.parametrize(
    ("idp", "style"),
    [
        ("okta", "oin"),
        ("okta", "aiw"),
        ("entra", "legacy"),
        ("entra", "rfc"),
        ("onelogin", "suspend"),
        ("onelogin", "delete"),
        ("jumpcloud", "custom"),
    ],
)
def test_what_each_identity_provider_sends_takes_over_people_who_were_there(
    deployment: Deployment, idp: str, style: str
) -> None:
    scim = deployment.connection(idp)
    assert deployment.admin("GET", f"/connections/{scim.uid}").json["adoption"] == "automatic"
    path, before = f"/organizations/{scim.organization.uid}/users", set[str]()
    for number in range(1, USERS + 1):
        name = f"user{number}@acme.test"
        person = {"user_name": name, "display_name": "Somebody", "email": name}
        before.add(deployment.admin("POST", path, person).json["id"])
    declaration = deployment.gateway.plugins.declared.of(idp)
    assert declaration is not None
    assert declaration.simulator is not None

    steps = list(
        declaration.simulator.run(scim, SimulationOptions(users=USERS, style=style, keep_active=True))
    )

    assert [step for step in steps if not step.ok] == []
    kept = {user["userName"]: user["id"] for user in scim.call("GET", "/Users?count=100").json["Resources"]}
    assert set(kept.values()) - before <= {kept.get("test@acme.test", "")}
    assert len(kept.keys() & {f"user{number}@acme.test" for number in range(1, USERS + 1)}) >= USERS - 1
