"""Domains as stored: one organization has a name verified, others may wait for it."""

from __future__ import annotations

from importlib import util
from sqlite3 import IntegrityError

import pytest

from gateway.store import Store, WriteConflict
from gateway.store.domains import BY_DNS, LOST, UNVERIFIED, VERIFIED
from gateway.store.engine.base import MIGRATIONS
from gateway.store.ids_and_time import now
from gateway.store.records import DomainRecord
from gateway.testing import Deployment

NAME, TOKEN = "acme.test", "a" * 26


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


@pytest.fixture
def store(deployment: Deployment) -> Store:
    return deployment.gateway.store


def add(store: Store, organization_id: int, name: str = NAME) -> DomainRecord:
    with store.transaction():
        assert store.domains.add(organization_id, name, TOKEN)
    return again(store, organization_id, name)


def again(store: Store, organization_id: int, name: str = NAME) -> DomainRecord:
    found = store.domains.by_name(organization_id, name)
    assert found
    return found


def test_verified_and_lost_names_count_and_those_of_others_do_not(
    deployment: Deployment, store: Store
) -> None:
    own, foreign = deployment.organization().id, deployment.organization().id
    names = {state: f"{state}.test" for state in (UNVERIFIED, VERIFIED, LOST)}
    with store.transaction():
        for state, name in names.items():
            before = add(store, own, name)
            assert store.domains.store(before, before._replace(state=state, checked=1, verified_by=BY_DNS))
    assert store.domains.verified(own) == {"verified.test", "lost.test"}
    assert store.domains.verified(foreign) == frozenset()
    assert store.domains.by_name(foreign, "verified.test") is None
    assert store.domains.holder("verified.test") == own
    assert store.domains.holder("unverified.test") is None
    due = store.domains.due(2, 10)
    assert {domain.name for domain in due} == {"verified.test", "lost.test"}
    with store.transaction():
        claimed = store.domains.claim(due[0], now())
        assert claimed
        assert store.domains.claim(due[0], now() + 1) is None
    assert len(store.domains.due(2, 10)) == 1


def test_a_name_is_verified_for_one_organization(deployment: Deployment, store: Store) -> None:
    first, second = (add(store, deployment.organization().id, "shared.test") for _ in range(2))
    with store.transaction():
        store.domains.store(first, first._replace(state=VERIFIED, checked=1))
    # SQLite has one writer at a time, who looks before.
    with pytest.raises((WriteConflict, IntegrityError)), store.transaction():
        store.domains.store(second, second._replace(state=VERIFIED, checked=1))
    assert again(store, second.organization_id, "shared.test").state == UNVERIFIED


def test_names_noted_before_domains_were_verified_wait_for_their_records(
    deployment: Deployment, store: Store
) -> None:
    values = ["Acme-Old.test", "acme-old.test", "no", "a b.test", "münchen.test", "shop.acme-old.test"]
    organization = deployment.organization()
    store.organizations.edit(organization, {"domains": values})
    spec = util.spec_from_file_location("safety", MIGRATIONS / "0013_safety.py")
    assert spec
    assert spec.loader
    migration = util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    with store.transaction():
        for _ in range(2):
            migration.up(None, store.database.peewee)
    rows = store.domains.page(organization.id, 0, 10)
    assert [(row.name, row.state, len(row.token)) for row in rows] == [
        ("acme-old.test", UNVERIFIED, 26),
        ("shop.acme-old.test", UNVERIFIED, 26),
    ]
    assert rows[0].token != rows[1].token
    assert abs(rows[0].created - now()) < 10**8
