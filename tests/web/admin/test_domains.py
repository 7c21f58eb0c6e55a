"""Domains over the admin REST: what is shown, who may do what, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.provisioning.domains.records import TxtRecords
from gateway.testing import Deployment
from tests.support.dns_server import NameServer, name_server


@pytest.fixture
def dns(deployment: Deployment) -> Iterator[NameServer]:
    with name_server() as server:
        deployment.gateway.domain_verification.records = TxtRecords(["127.0.0.1"], server.port, 0.3)
        yield server


def test_a_domain_from_its_record_to_its_removal(acme: Any, dns: NameServer) -> None:
    path = f"{acme.path}/domains"
    added = acme.post(path, {"name": "Acme.test"})
    record = added["record"]
    assert (added["name"], added["state"], added["checked_at"]) == ("acme.test", "unverified", None)
    assert (record["type"], record["host"]) == ("TXT", "_gateway-challenge.acme.test")
    assert re.fullmatch(r"gateway-domain=[a-z2-7]{26}", record["value"])
    missing = acme.post(f"{path}/acme.test/check", None, 200)
    assert "There is nothing at _gateway-challenge.acme.test" in missing["problem"]
    dns.records[record["host"]] = [record["value"]]
    checked = acme.post(f"{path}/acme.test/check", None, 200)
    assert (checked["state"], checked["verified_by"], checked["problem"]) == ("verified", "dns", None)
    assert acme.get(path) == {"items": [checked], "next": None}
    assert acme.get(f"{path}?limit=1")["next"] is None
    organization = acme.call("PATCH", acme.path, {"outside_domains": "refuse"})
    assert organization["outside_domains"] == "refuse"
    event = acme.get(f"{acme.path}/events")["items"][-1]
    assert (event["type"], event["resource"], event["resource_id"]) == (
        "domain.verified", "Domain", "acme.test",
    )  # fmt: skip
    acme.call("DELETE", f"{path}/acme.test", status=204)
    assert acme.get(path)["items"] == []
    operations = {line["operation"].rpartition("/")[2] for line in acme.get(f"{acme.path}/activity")["items"]}
    assert {"domains", "check", "{name}"} <= operations


def test_only_an_operator_marks_a_domain_as_verified(acme: Any, dns: NameServer) -> None:
    path, gateway = f"{acme.path}/domains", acme.deployment.gateway
    acme.post(path, {"name": "word.test"})
    own = gateway.store.admin_tokens.add(acme.okta.organization, "own")[1]
    refused = acme.deployment.admin("POST", f"{path}/word.test/verify", token=own)
    assert refused.status == 403
    assert "Only an operator of the application can mark a domain as verified" in refused.json["message"]
    assert acme.post(f"{path}/word.test/verify", None, 200)["verified_by"] == "operator"
    assert acme.deployment.admin("GET", path, token=own).json["items"][0]["state"] == "verified"
    assert dns.asked == []


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"name": "gmail.com"}, 422, "Anybody can have an address in gmail.com"),
        ({"name": "co.uk"}, 422, "Anybody can register names below co.uk"),
        ({"name": "a@acme.test"}, 422, "what stands behind the @"),
        ({"name": "x" * 254}, 422, "253"),
        ({"name": "a\x07.test"}, 422, "control character"),
        ({"name": 7}, 422, "string"),
        ({}, 422, "required"),
        ({"name": "there.test"}, 409, "has the domain there.test already"),
    ],
)
def test_a_name_that_cannot_be_added_is_refused_in_a_sentence(
    acme: Any, body: dict[str, Any], status: int, sentence: str
) -> None:
    acme.post(f"{acme.path}/domains", {"name": "there.test"})
    refused = acme.post(f"{acme.path}/domains", body, status)
    assert sentence in str(refused)
    assert len(acme.get(f"{acme.path}/domains")["items"]) == 1


def test_a_policy_that_would_let_nobody_in_is_refused(acme: Any) -> None:
    refused = acme.call("PATCH", acme.path, {"outside_domains": "refuse"}, 409)
    assert "No domain is verified yet" in refused["message"]
    assert "allow, refuse" in str(acme.call("PATCH", acme.path, {"outside_domains": "ask"}, 422))
    unknown = acme.post(f"{acme.path}/domains/no.test/check", None, 404)
    assert "has no domain" in unknown["message"]
