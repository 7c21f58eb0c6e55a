"""What a webhook sends, and that the official verifiers of Standard Webhooks accept it and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.provisioning.webhooks.messages import (
    BODY_LIMIT,
    OutboundEvent,
    build,
    message_id,
    new_secret,
    signature_headers,
    signing_secrets,
)

ORGANIZATION, USER = "0192f3a1-0000-7000-8000-000000000001", "0192f3a1-0000-7000-8000-000000000002"
DATA = f'{{"id":"{USER}","userName":"zoë@acme.test","note":"\\ud83d 😀 \\u2028"}}'
EVENT = OutboundEvent(
    ORGANIZATION, 1_795_000_000, 7, "user.created", 1_795_000_123_456_789, "User", USER, "0192-c", DATA
)
MINUTE, HOUR = 60_000_000, 3_600_000_000
#: A secret, a body and headers.
Message = tuple[str, bytes, dict[str, str]]
#: Verifies what stands on the standard input, `[[secret, body, headers], …]`, and prints whether each was accepted.
NODE_VERIFIER = """
const {Webhook, WebhookVerificationError} = require("standardwebhooks");
const accepted = ([secret, body, headers]) => {
  try { new Webhook(secret).verify(body, headers); return true; }
  catch (error) { if (error instanceof WebhookVerificationError) return false; throw error; }
};
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0, "utf8")).map(accepted)));
"""


def accepted_by_python(messages: list[Message]) -> list[bool]:
    def is_accepted(secret: str, body: bytes, headers: dict[str, str]) -> bool:
        try:
            Webhook(secret).verify(body, headers)
        except WebhookVerificationError:
            return False
        return True

    return [is_accepted(*message) for message in messages]


def accepted_by_npm(messages: list[Message]) -> list[bool]:
    texts = [[secret, body.decode(), headers] for secret, body, headers in messages]
    done = subprocess.run(
        ["node", "-e", NODE_VERIFIER], input=json.dumps(texts), text=True, capture_output=True, check=True
    )
    found: list[bool] = json.loads(done.stdout)
    return found


@pytest.fixture(params=["python", "npm"])
def accepted(request: pytest.FixtureRequest) -> Callable[[list[Message]], list[bool]]:
    """The official verifier of a language: it returns for each message whether it is accepted."""
    if request.param == "python":
        return accepted_by_python
    look = ["node", "-e", "require.resolve('standardwebhooks')"]
    if not shutil.which("node") or subprocess.run(look, capture_output=True).returncode:
        pytest.skip("needs node with the npm package standardwebhooks, which NODE_PATH may name")
    return accepted_by_npm


def now() -> int:
    return time.time_ns() // 1000


def test_a_body_is_compact_json_with_the_document_as_it_was_stored():
    body = build(EVENT, "standard", "https://scim.acme.test")
    assert json.loads(body) == {
        "type": "user.created", "timestamp": "2026-11-18T11:08:43.456Z", "organization": ORGANIZATION,
        "epoch": 1_795_000_000, "id": 7, "connection": "0192-c", "data": json.loads(DATA),
    }  # fmt: skip
    assert body.endswith(DATA.encode() + b"}")
    assert b", " not in body.replace(DATA.encode(), b"")


def test_a_thin_body_names_the_resource_without_its_document():
    assert json.loads(build(EVENT, "thin", "")) == {
        "type": "user.created", "timestamp": "2026-11-18T11:08:43.456Z", "organization": ORGANIZATION,
        "epoch": 1_795_000_000, "id": 7, "connection": "0192-c", "resource": "User", "resource_id": USER,
    }  # fmt: skip


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_above_the_limit_is_thin_and_names_its_page_of_the_feed(over: int):
    room = BODY_LIMIT - len(build(EVENT._replace(data='""'), "standard", "")) + over
    body = build(EVENT._replace(data=json.dumps("x" * room)), "standard", "https://scim.acme.test")
    message = json.loads(body)
    assert ("data" in message) == (len(body) == BODY_LIMIT) == (not over)
    url = f"https://scim.acme.test/admin/v1/organizations/{ORGANIZATION}/events?after=6&limit=1"
    assert message.get("url") == (url if over else None)


def test_an_id_is_that_of_one_event_of_one_epoch():
    ids = [
        message_id(event)
        for event in (
            EVENT,
            EVENT._replace(seq=8),
            EVENT._replace(epoch=1),
            EVENT._replace(organization=None),
        )
    ]
    assert ids[0] == f"evt_{ORGANIZATION}_1795000000_7"
    assert ids[3] == "evt_deployment_1795000000_7"
    assert len(set(ids)) == 4
    assert not any("." in each for each in ids)


def test_secrets_are_32_bytes_of_their_own():
    made = [new_secret() for _ in range(5)]
    assert {len(base64.b64decode(each.removeprefix("whsec_"), validate=True)) for each in made} == {32}
    assert len(set(made)) == 5


@pytest.mark.parametrize(
    ("old", "until", "moment", "signing"),
    [
        (None, None, 0, ("new",)),
        ("old", None, 0, ("new",)),
        ("old", 24 * HOUR, 0, ("new", "old")),
        ("old", 24 * HOUR, 24 * HOUR - 1, ("new", "old")),
        ("old", 24 * HOUR, 24 * HOUR, ("new",)),
        ("old", 24 * HOUR, 25 * HOUR, ("new",)),
    ],
)
def test_an_old_secret_signs_until_its_end(
    old: str | None, until: int | None, moment: int, signing: tuple[str, ...]
):
    assert signing_secrets("new", old, until, moment) == signing


def test_the_official_verifiers_accept_a_message_and_no_other(
    accepted: Callable[[list[Message]], list[bool]],
):
    secret, old, moment = new_secret(), new_secret(), now()
    body, uid = build(EVENT, "standard", ""), message_id(EVENT)
    headers = signature_headers(uid, body, moment, [secret])
    # After a rotation both secrets verify for 24 hours, then the old one does not.
    rotated = [
        signature_headers(
            uid, body, moment, signing_secrets(secret, old, moment + (24 - hours) * HOUR, moment)
        )
        for hours in (0, 23, 24)
    ]
    expected: list[tuple[Message, bool]] = [
        ((secret, body, headers), True),
        ((secret, body.replace(b"zo", b"zp"), headers), False),
        ((secret, body, headers | {"webhook-id": message_id(EVENT._replace(seq=8))}), False),
        ((new_secret(), body, headers), False),
        ((secret, body, signature_headers(uid, body, moment - 4 * MINUTE, [secret])), True),
        ((secret, body, signature_headers(uid, body, moment - 6 * MINUTE, [secret])), False),
        *(((secret, body, each), True) for each in rotated),
        *(((old, body, each), hours < 24) for each, hours in zip(rotated, (0, 23, 24), strict=True)),
    ]
    assert accepted([message for message, _ in expected]) == [answer for _, answer in expected]
