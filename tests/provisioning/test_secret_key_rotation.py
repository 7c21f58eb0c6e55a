"""The secret key is changed: what was made with the key before is accepted, and renewed at its use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.config import ConfigurationError
from gateway.testing import Deployment, Scim

pytestmark = pytest.mark.slow

NEW = "the key that is in force from now on and is long enough"


@pytest.fixture
def restarted(scim: Scim, tmp_path: Any) -> Iterator[Callable[..., Deployment]]:
    """The same data, served with other keys."""
    running: list[Deployment] = []
    url = scim.deployment.gateway.config.database_url

    def start(**settings: Any) -> Deployment:
        running.append(Deployment(tmp_path / f"restarted-{len(running)}", database_url=url, **settings))
        return running[-1]

    yield start
    for each in running:
        each.close()


def asked(deployment: Deployment, scim: Scim, query: str = "count=0") -> Any:
    path = f"/scim/v2/{scim.connection.slug}/Users?{query}"
    return deployment.call("GET", path, None, {"Authorization": f"Bearer {scim.token}"})


def test_tokens_outlive_the_key_they_were_made_with_once_they_were_used(scim: Scim, restarted: Any) -> None:
    before = scim.deployment.gateway.config.secret_key
    admin = scim.deployment.gateway.store.admin_tokens.add(None, "operator")[1]
    without = restarted(secret_key=NEW)
    assert asked(without, scim).status == 401
    assert without.admin("GET", "/plugins", token=admin).status == 401
    both = restarted(
        secret_key=NEW, secret_key_old=("another key of former times that is long enough", before)
    )
    assert asked(both, scim).status == 200
    assert both.admin("GET", "/plugins", token=admin).status == 200
    after = restarted(secret_key=NEW)
    assert asked(after, scim).status == 200
    assert after.admin("GET", "/plugins", token=admin).status == 200


def test_a_token_that_is_not_used_meanwhile_keeps_its_key(scim: Scim, restarted: Any) -> None:
    before = scim.deployment.gateway.config.secret_key
    other = scim.deployment.gateway.store.tokens.add(scim.connection, "unused", None)[1]
    both = restarted(secret_key=NEW, secret_key_old=(before,))
    assert asked(both, scim).status == 200
    assert both.gateway.store.tokens.find_refused(both.gateway.store.tokens.digests(other)[:1]) is None
    assert both.gateway.store.tokens.find_refused(both.gateway.store.tokens.digests(other)) is not None


def test_a_revoked_token_is_still_explained(scim: Scim, restarted: Any) -> None:
    before = scim.deployment.gateway.config.secret_key
    store = scim.deployment.gateway.store
    record, value = store.tokens.add(scim.connection, "gone", None)
    with store.transaction():
        store.tokens.remove(scim.connection, record.uid)
    both = restarted(secret_key=NEW, secret_key_old=(before,))
    known = both.gateway.store.tokens.find_refused(both.gateway.store.tokens.digests(value))
    assert known is not None
    assert known.label == "gone"
    assert known.revoked


def test_a_cursor_of_the_key_before_is_opened(scim: Scim, restarted: Any) -> None:
    before = scim.deployment.gateway.config.secret_key
    for name in ("one@acme.test", "two@acme.test"):
        scim.user(name)
    cursor = scim.call("GET", "/Users?cursor=&count=1").json["nextCursor"]
    both = restarted(secret_key=NEW, secret_key_old=(before,))
    assert len(asked(both, scim, f"count=1&cursor={cursor}").json["Resources"]) == 1
    assert asked(restarted(secret_key=NEW), scim, f"count=1&cursor={cursor}").status == 400


@pytest.mark.parametrize("old", ["short", f"{NEW},short"])
def test_an_old_key_is_as_long_as_any_and_shown_nowhere(scim: Scim, restarted: Any, old: str) -> None:
    with pytest.raises(ConfigurationError, match="secret_key_old has fewer than 32 characters"):
        restarted(secret_key=NEW, secret_key_old=old)
    assert NEW not in repr(restarted(secret_key="k" * 40, secret_key_old=NEW).gateway.config)
