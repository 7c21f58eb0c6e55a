"""Home: how the organization stands, and one next step with a link that leads there."""

from __future__ import annotations

import re

from gateway.store.ids_and_time import in_days, now
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from tests.support.console import Browser, sign_in, text_of
from tests.support.statements import record_statements


def next_step(browser: Browser) -> tuple[str, str]:
    """The title of the next step, and where its link leads."""
    page = browser.get("").get_data(as_text=True)
    (title,) = re.findall(r'<h2 id="next-step">([^<]*)</h2>', page)
    (card,) = re.findall(r'<article class="next-step".*?</article>', page, re.DOTALL)
    (link,) = re.findall(r'<a href="([^"]*)"', card)
    return title, link.removeprefix(browser.path(""))


def test_next_step_leads_through_the_set_up(deployment: Deployment) -> None:
    organization = deployment.organization(plan="free", sso=False)
    browser = sign_in(deployment, organization)
    path = f"/organizations/{organization.uid}"
    assert next_step(browser)[0] == "Change the plan"
    deployment.admin("PATCH", path, {"plan": "enterprise"})
    assert next_step(browser) == ("Set up single sign-on", "set-up#sso")
    record = deployment.gateway.store.organizations.by_key(organization.id)
    with_sso = deployment.organization("Other").sso
    deployment.gateway.store.organizations.edit(record, {"sso": with_sso})
    assert next_step(browser) == ("Choose your identity provider", "set-up#connection")
    browser.post("connections", {"idp": "okta"})
    assert next_step(browser) == ("Turn on SCIM provisioning", "set-up#provisioning")
    (connection,) = deployment.gateway.queries.connections(organization, 0, 2)
    browser.post(f"connections/{connection.uid}/provisioning", {"enabled": "on"})
    assert next_step(browser) == ("Generate a bearer token", "set-up#token")
    browser.post(f"connections/{connection.uid}/tokens", {"expires": "365"})
    assert next_step(browser) == ("Paste base URL and token in Okta, and test", "set-up#test")


def test_plan_leads_to_support_or_the_billing_page(deployment: Deployment) -> None:
    billing = {"contact_url": "https://acme.test/contact", "billing_url": "javascript:alert(1)"}
    made = deployment.admin("POST", "/organizations", {"name": "Acme", "plan": "free"}).json
    organization = deployment.gateway.queries.organization(made["id"], None)
    for values in ({"billing_url": None}, {"contact_url": billing["contact_url"]}):
        deployment.gateway.store.organizations.edit(organization, values)
    assert next_step(sign_in(deployment, organization))[1] == billing["contact_url"]
    deployment.gateway.store.organizations.edit(
        organization, {"payment": "card", "billing_url": billing["billing_url"]}
    )
    assert "set-up" in next_step(sign_in(deployment, organization))[1]


def test_home_shows_seats_connection_token_and_refusals(deployment: Deployment) -> None:
    okta = deployment.connection("okta", deployment.organization(seats=3))
    browser = sign_in(deployment, okta.organization, "viewer")
    assert "Never called" in text_of(browser.get(""))
    okta.user("user1@acme.test")
    assert okta.call("GET", "/Nothing").status == 404
    page = text_of(browser.get(""))
    assert "Seats in use 1 of 3" in page
    assert next_step(browser) == ("Look at the refused calls", "activity")
    assert "Refused in the last 24 hours 1 call " in page
    assert re.search(r"Okta Last call (just now|1 second ago) ?, refused", page), page
    assert "Token Does not expire" in page
    assert "Calls in the last 7 days" in page
    assert "Seats in the last 7 days" in page
    deployment.admin("PUT", f"/connections/{okta.uid}/provisioning", {"enabled": False})
    assert "Okta Provisioning is off" in text_of(browser.get(""))


def test_token_that_ends_soon_is_the_next_step(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    okta = deployment.connection("okta", organization)
    okta.user("user1@acme.test")
    (old,) = deployment.gateway.queries.tokens(okta.connection, 0)
    with deployment.gateway.store.transaction():
        deployment.gateway.store.tokens.add(okta.connection, "", in_days(10))
        deployment.gateway.store.tokens.remove(okta.connection, old.uid)
    assert next_step(admin) == ("Replace the token that ends soon", "tokens")


def test_viewer_is_told_that_others_take_the_step(organization: OrganizationRecord, viewer: Browser) -> None:
    page = text_of(viewer.get(""))
    assert "Choose your identity provider" in page
    assert "somebody who may change it has to do this" in page


def test_admin_takes_the_step(admin: Browser) -> None:
    assert "somebody who may change it" not in text_of(admin.get(""))


def check(*scims: Scim) -> None:
    """Check connections as the worker does once an hour."""
    gateway = scims[0].deployment.gateway
    gateway.activity_writer.flush()
    for scim in scims:
        gateway.connection_warnings.check(scim.connection, scim.organization, now())


def warnings_of(browser: Browser) -> list[tuple[str, str]]:
    """The warnings on Home, and where each leads."""
    _, _, section = browser.get("").get_data(as_text=True).partition('<h2 id="warnings">')
    found = re.findall(r'<li><a href="([^"]*)">([^<]*)</a>', section.partition("</section>")[0])
    return [(words, link.removeprefix(browser.path("")).replace("&amp;", "&")) for link, words in found]


def test_warnings_lead_to_the_page_that_mends_them(deployment: Deployment) -> None:
    okta = deployment.connection("okta", deployment.organization(seats=1))
    browser = sign_in(deployment, okta.organization, "viewer")
    okta.user("user1@acme.test")
    check(okta)
    assert ("All seats are in use", "seats") in warnings_of(browser)
    okta.call("GET", "/Users", token="pgw_wrong")
    check(okta)
    assert ("Requests come with a wrong token", f"tokens?connection={okta.uid}") in warnings_of(browser)
    assert "Since" in text_of(browser.get(""))
    database = deployment.gateway.store.database
    database.run("UPDATE connection_warnings SET cause = 'okta_agent' WHERE cause = 'wrong_token'")
    (found,) = [link for words, link in warnings_of(browser) if words == "Okta agent"]
    assert found == f"set-up?check=yes&connection={okta.uid}#check"
    deployment.admin("PUT", f"/connections/{okta.uid}/provisioning", {"enabled": False})
    assert warnings_of(browser) == []


def test_what_waits_for_a_decision_is_a_warning(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    okta, browser = deployment.connection("okta", organization), sign_in(deployment, organization)
    users = [okta.user(f"user{number}@acme.test")["id"] for number in range(2)]
    assert warnings_of(browser) == []
    deployment.admin(
        "PATCH", f"/connections/{okta.uid}", {"brake": {"percent": 0, "least": 1, "minutes": 60}}
    )
    for user in users:
        okta.patch(f"/Users/{user}", {"op": "replace", "path": "active", "value": False})
    held = ("Removals are held until somebody decides", "safety")
    assert warnings_of(browser) == [held]
    page = text_of(browser.get(""))
    assert "Next step Decide on the removals that are held Okta removes more people at once" in page
    assert "See who is held, and decide" in page
    browser.post(f"safety/{okta.uid}/pause", {"hours": "1", "reason": "A test", "scope": "removals"})
    assert warnings_of(browser) == [held, ("The connection is paused", "safety")]
    other = sign_in(deployment, deployment.organization("Globex"))
    assert warnings_of(other) == []


def test_rejected_removals_are_a_warning_until_they_pass_again(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    """Home said that nothing was wrong while each further removal was refused."""
    okta, browser = deployment.connection("okta", organization), sign_in(deployment, organization)
    users = [okta.user(f"user{number}@acme.test")["id"] for number in range(2)]
    brake = {"percent": 0, "least": 1, "minutes": 60}
    deployment.admin("PATCH", f"/connections/{okta.uid}", {"brake": brake})
    for user in users:
        okta.patch(f"/Users/{user}", {"op": "replace", "path": "active", "value": False})
    browser.post(f"safety/{okta.uid}/hold", {"action": "reject"})
    words = "Removals were rejected and are refused: assign the people again, or allow them"
    assert warnings_of(browser) == [(words, "safety")]
    assert next_step(browser) == ("Assign the people again in Okta", "safety")
    assert re.search(r"Since [^·]* UTC , until \d", text_of(browser.get("")))
    checks = deployment.admin("POST", f"/connections/{okta.uid}/test").json["checks"]
    (found,) = [each for each in checks if each["name"] == "removals_rejected"]
    assert "rejected them" in found["message"]
    safety = text_of(browser.get("safety"))
    assert ("Allow all for 4 hours" in safety, "Reject for" in safety) == (True, False)
    # The person is removed by hand, and nothing is held any more.
    deployment.admin("DELETE", f"/organizations/{organization.uid}/users/{users[1]}")
    okta.deployment.gateway.store.brakes.drop_obsolete(okta.connection.id)
    safety = text_of(browser.get("safety"))
    assert "Allow all for" not in safety
    assert (
        "Nothing is held any more. To end the rejection, let removals that Okta sends from now on" in safety
    )
    browser.post(f"safety/{okta.uid}/hold", {"action": "allow_all"})
    safety = text_of(browser.get("safety"))
    assert ("Allow all for" in safety, "Refuse further removals for 24 hours" in safety) == (False, True)
    assert warnings_of(browser) == []
    browser.post(f"safety/{okta.uid}/hold", {"action": "reject"})
    assert [cause for cause, _ in warnings_of(browser)] == [words]
    deployment.gateway.store.database.run("UPDATE holds SET until = 1")
    assert warnings_of(browser) == []
    assert next_step(browser)[0] != "Assign the people again in Okta"


def test_warning_of_the_organization_stands_once(deployment: Deployment) -> None:
    organization = deployment.organization(seats=1)
    okta, entra = deployment.connection("okta", organization), deployment.connection("entra", organization)
    okta.user("user1@acme.test")
    for scim in (okta, entra):
        scim.call("GET", "/Users", token="pgw_wrong")
    check(okta, entra)
    words = [words for words, _ in warnings_of(sign_in(deployment, organization))]
    assert words.count("All seats are in use") == 1
    assert words.count("Requests come with a wrong token") == 2


def test_warnings_cost_one_statement(deployment: Deployment) -> None:
    okta = deployment.connection("okta", deployment.organization(seats=1))
    browser = sign_in(deployment, okta.organization)
    okta.user("user1@acme.test")

    def statements() -> list[str]:
        with record_statements(deployment) as sent:
            browser.get("")
        return sent

    okta.call("GET", "/Users", token="pgw_wrong")
    browser.get("")
    before = statements()
    check(okta)
    after = statements()
    assert len(warnings_of(browser)) > 1
    assert len(after) <= len(before)
    assert sum("connection_warnings" in sql for sql in after) == 1
