"""Keys of security event tokens: verified as a receiver does, against what `/.well-known/jwks.json` shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.provisioning.webhooks.security_events import event_uris
from gateway.provisioning.webhooks.signing_keys import ANNOUNCED, RETIRED, SIGNING, TokenKeys
from gateway.store.ids_and_time import now
from gateway.testing import Deployment
from tests.support.statements import record_statements

KEYS = "/.well-known/jwks.json"
DAY, MINUTE = 86_400_000_000, 60_000_000
CLAIMS = {"iss": "https://scim.acme.test", "jti": "evt_1", "events": {}}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "instance")
    yield made
    made.close()


def kids(keys: TokenKeys, moment: int) -> list[str]:
    return [key["kid"] for key in keys.public_keys(moment)]


def header(token: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes_of(token.split(b".")[0]))
    return found


def bytes_of(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def integer_of(data: bytes) -> int:
    return int.from_bytes(data, "big")


def integer(part: str) -> int:
    return integer_of(bytes_of(part.encode()))


def test_receivers_verify_a_token_with_the_keys_that_are_shown(deployment: Deployment):
    client = deployment.app.test_client()
    empty = client.get(KEYS)
    assert (empty.json, empty.headers["Cache-Control"]) == ({"keys": []}, "no-store")

    token = deployment.gateway.token_keys.sign(CLAIMS, now())
    answer = client.get(KEYS)
    assert (answer.status_code, answer.content_type) == (200, "application/jwk-set+json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    [shown] = answer.json["keys"]
    assert {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256"}.items() <= shown.items()
    assert "d" not in shown
    assert header(token) == {"alg": "ES256", "typ": "secevent+jwt", "kid": shown["kid"]}

    key_set = KeySet.import_key_set(answer.json)
    assert jwt.decode(token.decode(), key_set, algorithms=["ES256"]).claims == CLAIMS
    # Without a library of JOSE: RFC 7515, 5.2 with the point of the key and the two halves of the signature.
    public = ec.EllipticCurvePublicNumbers(
        integer(shown["x"]), integer(shown["y"]), ec.SECP256R1()
    ).public_key()
    signed, _, signature = token.rpartition(b".")
    halves = (integer_of(bytes_of(signature)[at : at + 32]) for at in (0, 32))
    public.verify(encode_dss_signature(*halves), signed, ec.ECDSA(hashes.SHA256()))
    changed = signed.replace(b".eyJ", b".eyK")
    with pytest.raises(JoseError):
        jwt.decode(f"{changed.decode()}.{signature.decode()}", key_set, algorithms=["ES256"])


def test_a_key_signs_for_90_days_and_is_shown_a_day_before_and_a_week_after(deployment: Deployment):
    keys, begin = deployment.gateway.token_keys, now()

    def signer(moment: int) -> str:
        kid: str = header(keys.sign(CLAIMS, moment))["kid"]
        return kid

    first = signer(begin)
    assert signer(begin + SIGNING - ANNOUNCED - 1) == first
    assert kids(keys, begin + SIGNING - ANNOUNCED - 1) == [first]
    # A day before: the next one is shown, and the first one still signs.
    assert signer(begin + SIGNING - ANNOUNCED) == first
    second, old = kids(keys, begin + SIGNING - ANNOUNCED)
    assert old == first
    assert signer(begin + SIGNING - 1) == first
    assert signer(begin + SIGNING) == second
    assert kids(keys, begin + SIGNING + RETIRED - 1) == [second, first]
    assert kids(keys, begin + SIGNING + RETIRED) == [second]
    # Its row goes when the next key is made.
    third_shown = begin + 2 * SIGNING - ANNOUNCED
    assert signer(third_shown) == second
    assert [key.kid for key in deployment.gateway.store.signing_keys.all()][1:] == [second]


def test_a_key_that_nobody_used_for_months_still_signs_until_the_next_one_was_shown_for_a_day(
    deployment: Deployment,
):
    keys, begin = deployment.gateway.token_keys, now()
    first, late = header(keys.sign(CLAIMS, begin))["kid"], begin + 200 * DAY
    assert header(keys.sign(CLAIMS, late))["kid"] == first
    assert len(kids(keys, late)) == 2
    assert header(keys.sign(CLAIMS, late + ANNOUNCED))["kid"] != first


def test_processes_sign_with_one_key(deployment: Deployment):
    one, other, moment = TokenKeys(deployment.gateway.store), TokenKeys(deployment.gateway.store), now()
    assert other.public_keys(moment) == []
    kid = header(one.sign(CLAIMS, moment))["kid"]
    # The other one has read no key a moment ago, and looks again before it makes one.
    assert header(other.sign(CLAIMS, moment + 1))["kid"] == kid
    assert len(deployment.gateway.store.signing_keys.all()) == 1


def test_the_keys_are_read_once_a_minute_however_often_they_are_asked_for(deployment: Deployment):
    client = deployment.app.test_client()
    deployment.gateway.token_keys.sign(CLAIMS, now())
    client.get(KEYS)
    with record_statements(deployment) as run:
        for _ in range(10):
            client.get(KEYS)
            deployment.gateway.token_keys.sign(CLAIMS, now())
    assert not [sql for sql in run if "signing_keys" in sql]


def test_private_keys_are_encrypted_and_a_new_one_replaces_those_that_cannot_be_read(tmp_path: Path):
    deployment = Deployment(tmp_path / "instance", secret_key="k" * 40)
    first = header(deployment.gateway.token_keys.sign(CLAIMS, now()))["kid"]
    [stored] = deployment.gateway.store.signing_keys.all()
    assert "PRIVATE KEY" not in stored.private
    assert stored.private not in repr(stored)
    deployment.close()

    # The former key still opens it; without it another one is made, and the old one stays to be verified.
    renewed = Deployment(tmp_path / "instance", secret_key="n" * 40, secret_key_old=("k" * 40,))
    assert header(renewed.gateway.token_keys.sign(CLAIMS, now()))["kid"] == first
    renewed.close()
    only_new = Deployment(tmp_path / "instance", secret_key="n" * 40)
    assert header(only_new.gateway.token_keys.sign(CLAIMS, now()))["kid"] == first
    only_new.close()
    lost = Deployment(tmp_path / "instance", secret_key="x" * 40)
    second = header(lost.gateway.token_keys.sign(CLAIMS, now()))["kid"]
    assert second != first
    assert kids(lost.gateway.token_keys, now()) == [second, first]
    lost.close()


def test_discovery_names_the_events_once_there_is_a_key(deployment: Deployment):
    connection = deployment.connection("okta")
    assert "securityEvents" not in connection.call("GET", "/ServiceProviderConfig").json
    deployment.gateway.token_keys.prepare(now() + 2 * MINUTE)
    config = connection.call("GET", "/ServiceProviderConfig").json
    assert config["securityEvents"] == {"asyncRequest": "none", "eventUris": event_uris()}
