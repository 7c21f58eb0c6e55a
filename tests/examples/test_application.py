"""examples/application beside the gateway with Okta played, as `make example ARGS=--once` runs it, and its webhooks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from gateway_client.fake import GatewayFake
from standardwebhooks.webhooks import Webhook

from examples.application.__main__ import main
from examples.application.application import create_app

SECRET = "whsec_c2VjcmV0LW9mLWEtdGVzdC1hbmQtb2Ytbm90aGluZw=="


def test_each_step_holds_by_webhooks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two threads of the gateway look twice a second each. With one of them a busy machine keeps to a second, too.
    monkeypatch.setattr("gateway.provisioning.worker.PAUSE_SECONDS", 0.05)
    status = main(["--once"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert printed.count("✓") == 7
    assert "by the webhook" in printed


def test_a_step_that_does_not_hold_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("examples.application.__main__.PATIENCE", 0.0)
    assert main(["--once"]) == 1
    assert "✗ Okta" in capsys.readouterr().out


@pytest.fixture
def application(gateway_fake: GatewayFake, tmp_path: Any) -> Any:
    app = create_app(
        {
            "GATEWAY_URL": gateway_fake.url,
            "GATEWAY_TOKEN": gateway_fake.token,
            "GATEWAY_ORGANIZATION": gateway_fake.organization,
            "DATABASE": str(tmp_path / "application.sqlite3"),
            "WEBHOOK_SECRETS": SECRET,
        }
    )
    yield app
    app.extensions["follower"].stop()


def send(client: Any, body: str, secret: str = SECRET) -> int:
    moment = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", moment, body),
    }
    return int(client.post("/hooks", data=body, headers=headers).status_code)


BODY = (
    '{"type":"user.created","timestamp":"2026-01-01T00:00:00.000Z","organization":"o1","epoch":1,"id":1,'
    '"connection":null,"data":{}}'
)


def test_a_webhook_is_verified_and_makes_the_application_look_at_once(
    gateway_fake: GatewayFake, application: Any
) -> None:
    client = application.test_client()
    gateway_fake.assign("ada@acme.test", displayName="Ada Lovelace")
    assert send(client, BODY, "whsec_YW5vdGhlci1zZWNyZXQtb2YtYS10ZXN0LW9ubHk=") == 400
    assert "Ada" not in client.get("/").text
    assert send(client, BODY) == 204
    deadline = time.monotonic() + 5  # half of the seconds after which it looks by itself
    while "Ada Lovelace" not in client.get("/").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
