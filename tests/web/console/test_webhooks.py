"""The pages of webhooks: for operators, and for an organization where the operator allows it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway.store.ids_and_time import now
from gateway.store.records import OrganizationRecord, WebhookRecord
from gateway.store.webhooks import FAILING, FAILURE, Attempt
from gateway.testing import Deployment
from tests.support.console import Browser, text_of

URL = "https://hooks.acme.test/scim"


@pytest.fixture
def allowed(deployment: Deployment) -> Iterator[None]:
    """Organizations make webhooks of their own."""
    object.__setattr__(deployment.gateway.config, "organization_webhooks", "on")
    yield
    object.__setattr__(deployment.gateway.config, "organization_webhooks", "off")


def make(browser: Browser, path: str, **form: object) -> str:
    """Make a webhook; return its id."""
    made = browser.post(path, {"url": URL, "format": "standard"} | form)
    assert made.status_code == 303, text_of(made)
    return str(made.location).rpartition("/")[2]


def stored(deployment: Deployment, uid: str) -> WebhookRecord:
    found = deployment.gateway.store.webhooks.by_id(None, uid)
    assert found
    return found


def test_a_secret_is_shown_once(operator: Browser) -> None:
    uid = make(operator, "/console/webhooks", types=["user.created", "organization.created"])
    first, second = operator.get(f"/console/webhooks/{uid}"), operator.get(f"/console/webhooks/{uid}")
    assert re.search(r'value="whsec_[^"]+"', first.get_data(as_text=True))
    assert "whsec_" not in second.get_data(as_text=True)
    assert stored(operator.deployment, uid).type_names == ["organization.created", "user.created"]
    assert URL in text_of(operator.get("/console/webhooks"))
    again = operator.follow(operator.post(f"/console/webhooks/{uid}/rotate-secret"))
    assert "whsec_" in again.get_data(as_text=True)


def test_what_was_typed_stays_beside_a_refusal(operator: Browser) -> None:
    refused = operator.post("/console/webhooks", {"url": "ftp://hooks.acme.test", "format": "thin"})
    assert refused.status_code == 400
    page = refused.get_data(as_text=True)
    assert 'value="ftp://hooks.acme.test"' in page
    assert 'role="alert"' in page


def test_an_organization_has_pages_where_the_operator_allows_it(
    admin: Browser, viewer: Browser, deployment: Deployment, request: pytest.FixtureRequest
) -> None:
    assert "an operator of the application makes them" in text_of(admin.get("webhooks"))
    assert admin.post("webhooks", {"url": URL, "format": "standard"}).status_code == 403
    request.getfixturevalue("allowed")
    uid = make(admin, "webhooks")
    assert stored(deployment, uid).owner == "organization"
    assert "Add webhook" not in text_of(viewer.get("webhooks"))
    assert viewer.get(f"webhooks/{uid}").status_code == 200
    assert viewer.post(f"webhooks/{uid}/pause").status_code == 403
    assert admin.get(f"/console/webhooks/{uid}").status_code == 404
    assert "is paused" in text_of(admin.follow(admin.post(f"webhooks/{uid}/pause")))
    assert "goes on" in text_of(admin.follow(admin.post(f"webhooks/{uid}/resume")))
    admin.follow(admin.post(f"webhooks/{uid}/remove"))
    assert admin.get(f"webhooks/{uid}").status_code == 404


def test_what_an_endpoint_answered_is_shown_escaped(
    operator: Browser, organization: OrganizationRecord, deployment: Deployment
) -> None:
    deployment.connection("generic", organization).user("ann@acme.test")
    uid, store = make(operator, "/console/webhooks"), deployment.gateway.store
    webhook, epoch = stored(deployment, uid), store.webhook_replays.epoch()
    message_id = f"evt_{organization.uid}_{epoch}_1"
    row = Attempt(
        webhook.id, organization.id, 1, "user.created", message_id, now(), FAILURE, 500, 5, None, "<script>x"
    )
    with store.transaction():
        store.webhooks.add_attempts([row])
    key = store.webhooks.attempts(webhook, None, None, 1)[0].id
    assert "Failed" in text_of(operator.get(f"/console/webhooks/{uid}", outcome="failure"))
    page = operator.get(f"/console/webhooks/{uid}/attempts/{key}").get_data(as_text=True)
    assert "&lt;script&gt;x" in page
    assert "<script>x" not in page
    assert "ann@acme.test" in page


def test_a_replay_asks_with_a_count_before_its_button(
    operator: Browser, organization: OrganizationRecord, deployment: Deployment
) -> None:
    deployment.connection("generic", organization).user("ann@acme.test")
    path = f"/console/webhooks/{make(operator, '/console/webhooks')}"
    assert "Send again" not in text_of(operator.get(f"{path}/replay"))
    assert operator.get(f"{path}/replay", number="1").status_code == 400
    asked = {"at": "", "number": "1", "stream": organization.uid}
    page = operator.get(f"{path}/replay", **asked)
    assert "1 event of 1 organization" in text_of(page)
    etag = re.search(r'name="etag" value="&#34;([^&]+)&#34;"', page.get_data(as_text=True))
    assert etag
    done = operator.post(f"{path}/replay/run", asked | {"etag": f'"{etag[1]}"'})
    assert "1 events are sent again" in text_of(operator.follow(done))
    assert operator.post(f"{path}/replay/run", asked | {"etag": "x"}).status_code in (400, 412)


def test_a_failing_webhook_is_on_the_pages_that_people_look_at(
    operator: Browser, organization: OrganizationRecord, deployment: Deployment
) -> None:
    deployment.connection("generic", organization).user("ann@acme.test")
    uid, store = make(operator, "webhooks"), deployment.gateway.store
    webhook = stored(deployment, uid)
    with store.transaction():
        store.webhooks.set_state(webhook.id, webhook.version, FAILING, "The endpoint answered 503.", now())
        store.database.run(
            "UPDATE webhook_positions SET seq = 0, failures = 4 WHERE webhook_id = ?", webhook.id
        )
    for path in ("", "/console/deployment"):
        assert "A webhook is failing: The endpoint answered 503." in text_of(operator.get(path))
    assert "Events that fail" in text_of(operator.get(f"webhooks/{uid}"))
    skipped = operator.follow(operator.post(f"webhooks/{uid}/skip", {"stream": organization.uid}))
    assert "was skipped" in text_of(skipped)
