"""Planted failures, one at a time: an admin who sees only the console reads the cause of each, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from gateway.store.ids_and_time import in_days, now, rfc3339
from gateway.store.records import HeldRemoval
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.console import sign_in, text_of

DAY = 86_400_000_000
HOUR = DAY // 24

Plant = Callable[[Scim], None]
#: By name: the identity provider of the connection, what plants the failure, and what the page has to say.
PLANTED: dict[str, tuple[str, Plant, tuple[str, ...]]] = {}
#: The page on which it is mended, of some of them.
PAGES = {
    "adoption is automatic": "adoption",
    "a domain is no longer verified": "domains",
    "the connection is paused": "safety",
    "removals are held": "safety",
    "a webhook of the organization fails": "webhooks",
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One for all, whose address is https."""
    deployment = Deployment(
        tmp_path_factory.mktemp("planted") / "instance", public_url="https://scim.acme.test"
    )
    yield deployment
    deployment.close()


def planted(name: str, *words: str, idp: str = "okta") -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        PLANTED[name] = (idp, plant, words)
        return plant

    return register


def run(scim: Scim, sql: str, *values: Any) -> None:
    scim.deployment.gateway.activity_writer.flush()
    scim.deployment.gateway.store.database.run(sql, *values)


def answer_of(scim: Scim) -> TestResponse:
    """The console's page with the checks, as an admin of the organization reads it."""
    return sign_in(scim.deployment, scim.organization).get("set-up", connection=scim.uid, check="yes")


def checks_in(answer: TestResponse) -> str:
    return text_of(answer).partition("Check the connection")[2].partition("Check again")[0]


def links_in(answer: TestResponse) -> list[str]:
    """The paths that the checks lead to."""
    checks = answer.text.partition('<dl class="checks">')[2].partition("</dl>")[0]
    return re.findall(r'href="([^"#?]+)', checks)


# Tokens ---------------------------------------------------------------------------------------------------------------


@planted("a wrong token", "3 requests with a wrong token", "Make a new token and enter it")
def wrong_token(scim: Scim) -> None:
    for _ in range(3):
        scim.call("GET", "/Users", token="pgw_wrong")


@planted("no token", "1 request without a token")
def no_token(scim: Scim) -> None:
    scim.deployment.call("GET", f"{scim.base}/Users", None, {})


@planted(
    "a token of another connection",
    'which belongs to the connection "Generic"',
    "of one and the same connection",
)
def foreign_token(scim: Scim) -> None:
    other = scim.deployment.connection("generic", scim.organization)
    scim.call("GET", "/Users", token=other.token)


@planted("a token of another organization", "a token of another connection, outside of this organization")
def token_from_elsewhere(scim: Scim) -> None:
    scim.call("GET", "/Users", token=scim.deployment.connection("okta").token)


@planted("an expired token is still sent", "which has expired", "Make a new token")
def expired_token(scim: Scim) -> None:
    _, expired = scim.deployment.gateway.store.tokens.add(scim.connection, "Old", now() - DAY)
    scim.call("GET", "/Users", token=expired)


@planted("a revoked token is still sent", "which was revoked")
def revoked_token(scim: Scim) -> None:
    tokens = scim.deployment.gateway.store.tokens
    gone, revoked = tokens.add(scim.connection, "Gone", None)
    tokens.remove(scim.connection, gone.uid)
    scim.call("GET", "/Users", token=revoked)


@planted("the token ends in a week", "ends soon", "in 7 days", "Make another one")
def token_ends(scim: Scim) -> None:
    run(scim, "UPDATE tokens SET expires = ? WHERE connection_id = ?", in_days(7), scim.connection.id)


@planted("all tokens have expired", "Token: not in order All tokens have expired")
def token_ended(scim: Scim) -> None:
    run(scim, "UPDATE tokens SET expires = 1 WHERE connection_id = ?", scim.connection.id)


# The base URL ---------------------------------------------------------------------------------------------------------


@planted(
    "/scim/v2 stands in the base URL twice",
    "an address in which /scim/v2 stands twice",
    "Copy the base URL again",
)
def twice(scim: Scim) -> None:
    scim.deployment.call("GET", f"/scim/v2{scim.base}/Users", None, {})


@planted("the base URL ends in /Users", "a base URL that ends in /Users or /Groups")
def endpoint(scim: Scim) -> None:
    scim.call("GET", "/Users/Users")


@planted("a typo in the base URL", "a base URL that is nearly this one", "Copy the base URL again")
def typo(scim: Scim) -> None:
    scim.deployment.call("GET", f"{scim.base[:-2]}/Users", None, {"Authorization": "Bearer pgw_wrong"})


@planted("the base URL of another connection that was removed, with this one's token", "nearly this one")
def unknown_base_url(scim: Scim) -> None:
    scim.deployment.call("GET", "/scim/v2/okta-gone/Users", None, {"Authorization": f"Bearer {scim.token}"})


@planted("http in place of https", "calls with http", "Enter the base URL with https")
def unencrypted(scim: Scim) -> None:
    scim.call("GET", "/Users", headers={"X-Forwarded-Proto": "http"})


# The identity provider ------------------------------------------------------------------------------------------------


@planted("Okta on a connection for others", "Okta calls here", "Add a connection for Okta", idp="generic")
def okta_elsewhere(scim: Scim) -> None:
    scim.call("GET", "/Users", headers={"User-Agent": "Okta SCIM Client 1.0.0"})


@planted(
    "Entra on a connection for Okta",
    "Microsoft Entra ID calls here",
    "Add a connection for Microsoft Entra ID",
)
def entra_elsewhere(scim: Scim) -> None:
    scim.call("GET", "/Users?aadOptscim062020")


@planted(
    "Entra without its flag", "the flag aadOptscim062020 is missing", "behind the Tenant URL", idp="entra"
)
def without_flag(scim: Scim) -> None:
    scim.patch(f"/Users/{scim.user()['id']}", {"op": "replace", "path": "emails[", "value": "x"})


@planted("Entra has stopped", "No call has succeeded since", "calls about every 40 minutes", idp="entra")
def silent(scim: Scim) -> None:
    scim.user()
    run(scim, "UPDATE activity SET at = at - ? WHERE connection_uid = ?", 3 * HOUR, scim.uid)


@planted("Entra's quarantine is near", "50 %", "into quarantine", "calls only once a day", idp="entra")
def quarantine(scim: Scim) -> None:
    scim.user()
    assert scim.call("POST", "/Users", {"schemas": [], "userName": "x@acme.test"}).status == 400
    run(
        scim,
        "UPDATE activity SET times = 3000 WHERE connection_uid = ? AND operation LIKE '% /Users'",
        scim.uid,
    )


# What becomes of the calls --------------------------------------------------------------------------------------------


@planted("no call since the connection was made", "Okta has never called since", "start provisioning there")
def never_called(scim: Scim) -> None:
    run(scim, "UPDATE connections SET created = created - ? WHERE id = ?", 2 * DAY, scim.connection.id)


@planted("nothing has succeeded for days, though calls arrive", "Calls arrive, but none has succeeded since")
def attempts_alone(scim: Scim) -> None:
    scim.user()
    run(scim, "UPDATE activity SET at = at - ? WHERE connection_uid = ?", 2 * DAY, scim.uid)
    scim.call("POST", "/Users", {"schemas": []})


@planted("an attribute is always ignored", "Of 10 changes", '"title"')
def ignored(scim: Scim) -> None:
    for number in range(10):
        scim.user(f"user{number}@acme.test", title="Engineer")


@planted(
    "ten people meet the same refusal", "The same refusal met 10 people", "(POST, 400)", "user9@acme.test"
)
def same_refusal(scim: Scim) -> None:
    for number in range(10):
        scim.call("POST", "/Users", {"schemas": [], "userName": f"user{number}@acme.test"})


@planted("all seats are in use", "All 1 seats are in use", "You're over capacity")
def seats(scim: Scim) -> None:
    run(scim, "UPDATE organizations SET seat_limit = 1 WHERE id = ?", scim.organization.id)
    scim.user()


@planted("values that no rule covers", "a value that no rule covers", '"Legal"', "Add a rule")
def unruled(scim: Scim) -> None:
    attribute = "urn:calendly:scim:schemas:2.0:User"
    rules = [{"value": "Sales EMEA", "group": "Sales"}]
    body = {"enabled": True, "attribute": f"{attribute}:group", "rules": rules, "apply_to_existing": True}
    path = f"/connections/{scim.uid}/group-mapping"
    assert scim.deployment.admin("POST", f"{path}/preview", body).status == 200
    etag = scim.deployment.last_headers["ETag"]
    assert scim.deployment.admin("PUT", path, body, If_Match=etag).status == 200
    scim.user(**{"schemas": [USER, attribute], attribute: {"group": "Legal"}})


@planted("members who are not provisioned", "Pushed groups wait for 1 member", "Assign these users")
def waiting(scim: Scim) -> None:
    scim.group("Sales", ("nobody",))


# The organization -----------------------------------------------------------------------------------------------------


@planted(
    "the certificate ends in ten days", "Single sign-on: warning The certificate of", "Renew the certificate"
)
def certificate(scim: Scim) -> None:
    sso = {"entity_id": "https://idp.acme.test", "sign_on_url": "https://idp.acme.test/sso"}
    sso["certificate_expires_at"] = rfc3339(in_days(10) or 0)
    run(scim, "UPDATE organizations SET sso = ? WHERE id = ?", json.dumps(sso), scim.organization.id)


@planted("single sign-on was removed", "Single sign-on: not in order", "Add the SAML metadata")
def no_single_sign_on(scim: Scim) -> None:
    run(scim, "UPDATE organizations SET sso = NULL WHERE id = ?", scim.organization.id)


@planted("the plan has no provisioning", "Plan: not in order", "enterprise plan")
def plan(scim: Scim) -> None:
    run(scim, "UPDATE organizations SET plan = 'free' WHERE id = ?", scim.organization.id)


@planted("provisioning is switched off", "Provisioning: not in order", "Turn on SCIM provisioning")
def switched_off(scim: Scim) -> None:
    run(scim, "UPDATE connections SET provisioning = 0 WHERE id = ?", scim.connection.id)


@planted("the connection is paused", "The connection is paused until", "End the pause")
def paused(scim: Scim) -> None:
    body = {"scope": "all", "reason": "audit"}
    assert scim.deployment.admin("PUT", f"/connections/{scim.uid}/pause", body).status == 200


@planted("removals are held", "1 removal is held", "Allow or reject them")
def held(scim: Scim) -> None:
    brakes, user = scim.deployment.gateway.store.brakes, scim.user()
    with scim.deployment.gateway.store.transaction():
        brakes.open_hold(scim.connection.id, now(), 10, 10)
        removal = HeldRemoval("User", user["id"], user["userName"], "deactivate", 1, now(), now(), 1, 0)
        brakes.keep(scim.connection.id, removal)


@planted("a domain is no longer verified", "acme.test is no longer verified", "Enter the TXT record again")
def domain(scim: Scim) -> None:
    values = "organization_id, name, state, token, checked, lost_since, created"
    run(
        scim,
        f"INSERT INTO domains ({values}) VALUES (?, 'acme.test', 'lost', 't', 0, ?, 0)",
        scim.organization.id,
        now() - DAY,
    )


@planted("adoption is automatic", "Adoption is automatic", "choose another kind of adoption")
def adoption(scim: Scim) -> None:
    run(scim, "UPDATE connections SET adoption = 'automatic' WHERE id = ?", scim.connection.id)


@planted("a webhook of the organization fails", "1 webhook of this organization fails", "resume it")
def webhook(scim: Scim) -> None:
    webhooks, organization = scim.deployment.gateway.store.webhooks, scim.organization
    made = webhooks.add(
        organization, "organization", "https://app.acme.test/h", "standard", None, "whsec_x", None
    )
    run(scim, "UPDATE webhooks SET state = 'failing', failing_since = ? WHERE id = ?", now() - DAY, made.id)


# The tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANTED)
def test_admin_names_the_cause(deployment: Deployment, name: str) -> None:
    idp, plant, words = PLANTED[name]
    scim = deployment.connection(idp)
    plant(scim)
    answer = answer_of(scim)
    page, links = checks_in(answer), links_in(answer)
    assert [each for each in words if each not in page] == [], page
    pages = deployment.app.url_map.bind("scim.acme.test")
    assert [link for link in links if not pages.test(link, "GET")] == []
    if name in PAGES:
        assert f"/console/organizations/{scim.organization.uid}/{PAGES[name]}" in links


def test_a_connection_that_works_has_nothing_to_mend(deployment: Deployment) -> None:
    for idp in ("okta", "entra", "generic"):
        scim = deployment.connection(idp)
        scim.user()
        page = checks_in(answer_of(scim))
        assert ": warning" not in page
        assert ": not in order" not in page
