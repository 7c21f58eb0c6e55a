"""The page of domains: add, copy the record, check, policy."""

from __future__ import annotations

from gateway.provisioning.domains.records import TxtRecords
from gateway.testing import Deployment
from tests.support.console import Browser, text_of
from tests.support.dns_server import name_server


def test_a_domain_is_added_published_checked_and_protects(deployment: Deployment, admin: Browser) -> None:
    assert "There is no domain yet." in text_of(admin.get("domains"))
    page = admin.follow(admin.post("domains", {"name": "Acme.test"}))
    assert "acme.test was added. Put its record into the DNS" in text_of(page)
    assert 'value="_gateway-challenge.acme.test"' in page.text
    assert "Copy value" in page.text
    refused = admin.post("domains/policy", {"policy": "refuse"})
    assert (refused.status_code, "No domain is verified yet" in text_of(refused)) == (409, True)
    assert admin.organization
    domain = deployment.gateway.domain_verification.find(admin.organization, "acme.test")
    with name_server() as dns:
        deployment.gateway.domain_verification.records = TxtRecords(["127.0.0.1"], dns.port, 0.3)
        dns.records["_gateway-challenge.acme.test"] = ['"<script>alert(1)</script>"']
        page = admin.follow(admin.post("domains/acme.test/check"))
        assert 'says "<script>alert(1)</script>" and not gateway-domain=' in text_of(page).replace("\\", "")
        assert "<script>alert" not in page.text
        dns.records["_gateway-challenge.acme.test"] = [f"gateway-domain={domain.token}"]
        page = admin.follow(admin.post("domains/acme.test/check"))
    assert "The record of acme.test was found." in text_of(page)
    assert "Verified by its record" in text_of(page)
    page = admin.follow(admin.post("domains/policy", {"policy": "refuse"}))
    assert "Addresses outside of the verified domains are refused from now on." in text_of(page)
    page = admin.follow(admin.post("domains/acme.test/remove"))
    assert "There is no domain yet." in text_of(page)
    words = text_of(admin.get("activity", outcome="all"))
    assert "admin@acme.test checked the domain acme.test" in words
    assert "admin@acme.test removed the domain acme.test" in words


def test_who_may_change_domains(viewer: Browser, admin: Browser, operator: Browser) -> None:
    name = {"name": "mine.test"}
    assert viewer.post("domains", name).status_code == 403
    assert "not to change domains" in text_of(viewer.get("domains"))
    problem = admin.post("domains", {"name": "gmail.com"})
    assert (problem.status_code, 'value="gmail.com"' in problem.text) == (400, True)
    admin.post("domains", name)
    assert admin.post("domains/mine.test/verify").status_code == 404
    page = operator.follow(operator.post("domains/mine.test/verify"))
    assert "Verified by an operator" in text_of(page)
