"""Verified domains: names, look-ups in a DNS of the test's own, what follows, and the policy for addresses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway.provisioning.caller import Caller
from gateway.provisioning.domains.daily_checks import DailyChecks
from gateway.provisioning.domains.names import domain_of, read_name
from gateway.provisioning.domains.records import Answer, TxtRecords, host_of, value_of
from gateway.provisioning.domains.states import judge
from gateway.provisioning.domains.verification import DomainVerification
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.scim.errors import Conflict, InvalidValue, NotFound
from gateway.store.ids_and_time import now
from gateway.store.records import DomainRecord
from gateway.testing import Deployment
from gateway.testing.deployment import USER
from tests.conftest import together
from tests.support.dns_server import NOTHING, SERVFAIL, SILENCE, NameServer, name_server
from tests.support.timing import check_seconds

DAY = 86_400_000_000


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


@pytest.fixture(scope="module")
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


class Domains:
    """Operations of one organization, whose DNS and clock are the test's."""

    def __init__(self, deployment: Deployment, dns: NameServer) -> None:
        self.deployment, self.dns, gateway = deployment, dns, deployment.gateway
        self.organization = deployment.organization()
        self.moment = now()
        records = TxtRecords(["127.0.0.1"], dns.port, 0.3)
        units_of_work = UnitsOfWork(gateway.store, gateway.callers)
        self.verification = DomainVerification(gateway.store, units_of_work, records, lambda: self.moment)

    @property
    def caller(self) -> Caller:
        stored = self.deployment.gateway.store.organizations.by_key(self.organization.id)
        return self.deployment.gateway.callers.admin(stored)

    def add(self, name: str) -> DomainRecord:
        return self.verification.add(self.caller, name, self.deployment.trace(self.organization))

    def check(self, name: str) -> DomainRecord:
        return self.verification.check(self.caller, name, self.deployment.trace(self.organization))

    def verify(self, name: str) -> DomainRecord:
        return self.verification.verify(self.caller, name, self.deployment.trace(self.organization))

    def publish(self, domain: DomainRecord) -> None:
        self.dns.records[host_of(domain)] = [f'"{value_of(domain)}"']

    def pass_days(self, days: float) -> int:
        """Let days pass, then run the daily checks; return how many domains of the organization were looked up."""
        self.moment += int(days * DAY)
        gateway, asked = self.deployment.gateway, len(self.dns.asked)
        DailyChecks(gateway.store, gateway.callers, self.verification, lambda: self.moment).check_due()
        own = {host_of(domain) for domain in self.verification.page(self.organization, 0, 100)}
        return len(own.intersection(self.dns.asked[asked:]))

    def state(self, name: str) -> str:
        return self.verification.find(self.organization, name).state

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(kind, data["id"]) for kind, data in self.deployment.events(self.organization)]


@pytest.fixture
def acme(deployment: Deployment, dns: NameServer) -> Domains:
    return Domains(deployment, dns)


@pytest.mark.sqlite  # no database is asked
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Acme.TEST.", "acme.test"),
        (" münchen.example ", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("shop.acme.co.uk", "shop.acme.co.uk"),
    ],
)
def test_a_name_is_stored_in_a_labels(text: str, name: str) -> None:
    assert read_name(text) == name


@pytest.mark.sqlite  # no database is asked
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no name of a domain"),
        ("acme", "is no name of a domain"),
        ("-acme.test", "is no name of a domain"),
        ("a..test", "is no name of a domain"),
        ("acme test.example", "is no name of a domain"),
        ("a_b.test", "is no name of a domain"),
        ("*.acme.test", "is no name of a domain"),
        ("é" * 64 + ".test", "is no name of a domain"),
        ("ann@acme.test", "what stands behind the @"),
        ("https://acme.test", "what stands behind the @"),
        (".".join(["a" * 60] * 4), "at most 234 characters"),
        ("192.0.2.1", "an address of a computer"),
        ("gmail.com", "Anybody can have an address in gmail.com"),
        ("Outlook.com", "Anybody can have an address in outlook.com"),
        ("co.uk", "Anybody can register names below co.uk"),
        ("github.io", "Anybody can register names below github.io"),
    ],
)
def test_a_name_that_nobody_holds_alone_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        read_name(text)


@pytest.mark.sqlite  # no database is asked
def test_the_domain_of_an_address() -> None:
    addresses = ["ann@Acme.Test", "a@b@acme.test", "ann@münchen.example", "ann", "@acme.test", "ann@"]
    found = [domain_of(address) for address in addresses]
    assert found == ["acme.test", "acme.test", "xn--mnchen-3ya.example", None, None, None]


@pytest.mark.sqlite  # no database is asked
def test_what_is_found_in_the_dns_is_said_in_a_sentence(dns: NameServer) -> None:
    token = "k" * 26
    domain = DomainRecord(1, 1, "told.test", "unverified", token, None, None, 0, None, None, 0)
    host, value = "_gateway-challenge.told.test", f"gateway-domain={token}"
    records = TxtRecords(["127.0.0.1"], dns.port, 0.3)
    cases: list[tuple[list[str] | str | None, bool, str]] = [
        (
            None,
            True,
            f"There is nothing at {host} in the DNS. Add a TXT record at {host} with the value {value},",
        ),
        (NOTHING, True, f"There is no TXT record at {host}"),
        (['"v=spf1 -all"', '"<b>x"'], True, f'says "<b>x", "v=spf1 -all" and not {value}. Correct'),
        (["a", "b", "c", "d", "e"], True, '"a", "b", "c" and 2 more and not'),
        (SERVFAIL, False, "with an error, as SERVFAIL"),
        (SILENCE, False, "has not answered the question"),
    ]
    for published, conclusive, sentence in cases:
        dns.records.pop(host, None)
        if published is not None:
            dns.records[host] = published
        started = time.monotonic()
        answer = records.look_up(domain)
        assert (answer.found, answer.conclusive) == (False, conclusive), published
        assert answer.problem
        assert sentence in answer.problem
        check_seconds(time.monotonic() - started, 2)
    accepted: list[list[str]] = [
        [f'"{value}"'],
        ['"other"', f'"{value[:9]}" "{value[9:]}"'],
        [f'"\\"{value}\\""'],
    ]
    for texts in accepted:
        dns.records[host] = texts
        assert records.look_up(domain) == Answer(True, True, None), texts
    dns.records["elsewhere.test"] = dns.records.pop(host)
    dns.cname[host] = "elsewhere.test"
    assert records.look_up(domain).found


@pytest.mark.sqlite  # no database is asked
def test_a_resolver_out_of_service_takes_no_domain_away() -> None:
    verified = DomainRecord(1, 1, "acme.test", "verified", "", "dns", 1, 1, None, None, 0)
    missing, silent = Answer(False, True, "nothing"), Answer(False, False, "silence")
    assert judge(verified, silent, 60 * DAY) == verified._replace(checked=60 * DAY, problem="silence")
    first = judge(verified, missing, DAY)
    assert (first.state, first.lost_since) == ("verified", DAY)
    assert judge(first, silent, 60 * DAY).state == "verified"
    assert judge(first, missing, 8 * DAY - 1).state == "verified"
    assert judge(first, missing, 8 * DAY).state == "lost"
    back = judge(first._replace(state="lost"), Answer(True, True, None), 9 * DAY)
    assert (back.state, back.lost_since, back.verified, back.problem) == ("verified", None, 1, None)
    assert judge(first, missing, 31 * DAY).state == "unverified"


def test_a_domain_is_verified_by_its_record_lost_after_a_week_and_unverified_after_a_month(
    acme: Domains,
) -> None:
    added = acme.add("month.test")
    assert len(added.token) == 26
    assert acme.check("month.test").problem
    policy = acme.caller.organization.policy
    assert acme.state("month.test") == "unverified"
    acme.publish(added)
    assert acme.check("MONTH.test").verified_by == "dns"
    assert acme.caller.organization.policy > policy
    assert acme.verification.verified_names(acme.organization) == ["month.test"]
    assert acme.pass_days(0.9) == 0
    assert acme.pass_days(0.2) == 1
    assert acme.pass_days(0.5) == 0
    del acme.dns.records[host_of(added)]
    assert [(acme.pass_days(days), acme.state("month.test"))[1] for days in (1.1, 6.5, 1.1)] == [
        "verified", "verified", "lost",
    ]  # fmt: skip
    acme.dns.records[host_of(added)] = SERVFAIL
    acme.pass_days(30)
    assert acme.state("month.test") == "lost"
    del acme.dns.records[host_of(added)]
    acme.pass_days(1.1)
    assert acme.state("month.test") == "unverified"
    assert acme.events == [("domain.verified", "month.test"), ("domain.lost", "month.test")]
    principals = {line.principal for line in acme.deployment.activity(acme.organization)}
    assert "the daily check" in principals
    assert acme.pass_days(2) == 0


def test_the_worker_never_waits_for_the_dns(acme: Domains) -> None:
    gateway = acme.deployment.gateway
    added = acme.add("slow.test")
    acme.publish(added)
    acme.check("slow.test")
    acme.dns.records[host_of(added)] = SILENCE
    checks = DailyChecks(gateway.store, gateway.callers, acme.verification, lambda: acme.moment + 2 * DAY)
    started = time.monotonic()
    checks.begin_due()
    check_seconds(time.monotonic() - started, 0.2)
    until = started + 5
    while not (problem := acme.verification.find(acme.organization, "slow.test").problem):
        assert time.monotonic() < until
        time.sleep(0.02)
    checks.stop()
    assert "has not answered" in problem


def test_a_domain_belongs_to_one_organization(acme: Domains, deployment: Deployment, dns: NameServer) -> None:
    other = Domains(deployment, dns)
    domains = [each.add("both.test") for each in (acme, other)]
    host = host_of(domains[0])
    dns.records[host] = [f'"{value_of(domain)}"' for domain in domains]

    def check(each: Domains) -> str:
        try:
            return each.check("both.test").state
        except Conflict as refusal:
            return refusal.detail

    outcomes = together(deployment, [lambda each=each: check(each) for each in (acme, other)])  # type: ignore[misc]
    sentence = "both.test is verified already, and a domain belongs to one organization. If it is yours, write to the"
    assert sorted(outcome[: len(sentence)] for outcome in outcomes) == [sentence, "verified"]
    third = Domains(deployment, dns)
    with pytest.raises(Conflict, match="verified already"):
        third.add("both.test")
    with pytest.raises(NotFound, match="has no domain"):
        third.check("both.test")


def test_an_operators_word_needs_no_record(acme: Domains) -> None:
    acme.add("word.test")
    assert acme.verify("word.test").verified_by == "operator"
    assert acme.check("word.test").state == "verified"
    assert acme.pass_days(90) == 0
    acme.verification.remove(acme.caller, "word.test", acme.deployment.trace(acme.organization))
    assert acme.verification.verified_names(acme.organization) == []
    with pytest.raises(NotFound):
        acme.check("word.test")


def test_an_organization_has_a_hundred_domains_at_most(acme: Domains) -> None:
    with acme.deployment.gateway.store.transaction():
        for number in range(99):
            acme.deployment.gateway.store.domains.add(acme.organization.id, f"d{number}.test", "t")
    acme.add("last.test")
    with pytest.raises(Conflict, match="has 100 domains already"):
        acme.add("more.test")
    with pytest.raises(Conflict, match=r"has the domain d1\.test already|has 100 domains"):
        acme.add("d1.test")


@pytest.mark.parametrize("idp", ["generic", "okta"])
def test_addresses_outside_are_refused_to_identity_providers_with_the_way(
    deployment: Deployment, acme: Domains, idp: str
) -> None:
    gateway, name = deployment.gateway, f"inside-{idp}.test"
    scim = deployment.connection(idp, acme.organization)
    before = scim.user("old@elsewhere.test", emails=[{"value": "old@elsewhere.test", "primary": True}])
    refused = {"outside_domains": "refuse"}
    with pytest.raises(Conflict, match="No domain is verified yet"):
        gateway.setup.edit_organization(acme.caller, refused, deployment.trace(acme.organization))
    acme.add(name)
    acme.verify(name)
    gateway.setup.edit_organization(acme.caller, refused, deployment.trace(acme.organization))

    def send(method: str, path: str, user_name: str, address: str, **values: object) -> tuple[int, str]:
        body = {"schemas": [USER], "userName": user_name, "emails": [{"value": address, "primary": True}]}
        answer = scim.call(method, path, body | values)
        return answer.status, answer.json.get("detail", "")

    status, detail = send("POST", "/Users", "ann@evil.test", f"ann@{name}")
    page = f"/console/organizations/{acme.organization.uid}/domains"
    assert status == 403
    assert f'"ann@evil.test" is outside of the verified domains of Acme: {name}.' in detail
    assert "have an admin verify evil.test or allow other domains: http" in detail
    assert detail.endswith(f"{page}.")
    assert send("POST", "/Users", f"ann@{name}", "ann@evil.test")[0] == 403
    assert send("POST", "/Users", f"ann@{name}", f"Ann@{name.upper()}")[0] == 201
    own = f"/Users/{before['id']}"
    assert send("PUT", own, "old@elsewhere.test", "old@elsewhere.test", displayName="Old")[0] == 200
    assert send("PUT", own, "new@elsewhere.test", "old@elsewhere.test")[0] == 403
    assert send("PUT", own, f"new@{name}", f"new@{name}")[0] == 200
    # An admin's word needs no domain.
    person = {"user_name": f"guest-{idp}@elsewhere.test"}
    assert deployment.admin("POST", f"/organizations/{acme.organization.uid}/users", person).status == 201
