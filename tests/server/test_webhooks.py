"""A webhook from its making to its message, by what a customer of the gateway has: REST, SCIM, client library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from gateway_client import verify

from gateway.testing import Scim
from gateway.testing.deployment import ADMIN_TOKEN
from tests.server.conftest import Served
from tests.support.receiver import Receiver

pytestmark = pytest.mark.slow

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
#: Seconds from the answer to the identity provider to the message.
PATIENCE = 3.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_created_user_arrives_signed_and_the_client_accepts_it(
    serve: Callable[..., Served], okta: Callable[[Served], Scim], receiver: Receiver
) -> None:
    served = serve(WEBHOOK_ALLOW="127.0.0.0/8")
    scim, wire = okta(served), served.connect()
    wanted = {"url": f"{receiver.url}/hooks", "organization": scim.organization.uid}
    status, _, body = wire.send("POST", "/admin/v1/webhooks", ADMIN_TOKEN, wanted).answer()
    assert status == 201, body
    webhook = json.loads(body)
    user = {"schemas": [USER], "userName": "ada@acme.test", "active": True}
    user["emails"] = [{"value": "ada@acme.test", "primary": True}]
    status, _, body = wire.send("POST", f"{scim.base}/Users", scim.token, user).answer()
    assert status == 201, body
    deadline = time.monotonic() + PATIENCE
    while not receiver.raw:
        assert time.monotonic() < deadline, f"nothing came within {PATIENCE:.0f} s"
        time.sleep(0.01)
    path, headers, _ = receiver.got[0]
    event = verify(receiver.raw, headers, webhook["secret"])
    assert (path, event.key) == ("/hooks", headers["webhook-id"])
    assert (event.type, event.organization, event.id) == ("user.created", scim.organization.uid, 1)
    assert (event.resource_id, event.connection) == (json.loads(body)["id"], scim.uid)
    assert event.data
    assert event.data["userName"] == "ada@acme.test"
