"""Adoption: what waits, the preview before the first push, and decisions."""

from __future__ import annotations

import re

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.console import Browser, text_of


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection that asks, of an organization with two people of before and one verified domain."""
    scim = deployment.connection("okta", organization)
    # A domain is verified for one organization of a deployment.
    domain = f"acme{organization.id}.test"
    first, second = f"user1@{domain}", f"user2@{domain}"
    for name, email in ((first, first), (second, f"other@{domain}")):
        made = deployment.admin(
            "POST", f"/organizations/{organization.uid}/users", {"user_name": name, "email": email}
        )
        assert made.status == 201, made.text
    deployment.gateway.store.database.run(
        "INSERT INTO domains (organization_id, name, state, token, verified_by, verified, checked, created)"
        " VALUES (?, ?, 'verified', 't', 'dns', 1, 1, 1)",
        organization.id,
        domain,
    )
    return scim


def push(okta: Scim, person: str) -> int:
    """Have the connection update a person whom it finds by name."""
    name = f"{person}@acme{okta.organization.id}.test"
    listed = okta.call("GET", f'/Users?filter=userName%20eq%20"{name}"')
    uid = listed.json["Resources"][0]["id"]
    body = {"schemas": [USER], "userName": name, "active": True}
    return okta.call("PUT", f"/Users/{uid}", body).status


def ask(admin: Browser, okta: Scim) -> None:
    answer = admin.post(f"adoption/{okta.uid}/setting", {"adoption": "ask"})
    assert answer.status_code == 303, text_of(answer)


def test_a_person_waits_until_it_is_approved_on_the_page(okta: Scim, admin: Browser) -> None:
    assert "2 people are here already" in text_of(admin.get("adoption"))
    ask(admin, okta)
    assert push(okta, "user1") == 429
    assert "Accounts wait for an admin to confirm their adoption" in text_of(admin.get(""))
    page = admin.get("adoption")
    assert f"user1@acme{okta.organization.id}.test waiting" in text_of(page)
    found = re.search(r"/adoptions/([-0-9a-f]+)\"", page.get_data(as_text=True))
    assert found is not None
    decided = admin.post(f"adoption/{okta.uid}/adoptions/{found[1]}", {"decision": "approve"})
    assert ".test is approved." in text_of(admin.follow(decided))
    assert push(okta, "user1") == 200
    name = f"user1@acme{okta.organization.id}.test"
    user = okta.call("GET", f'/Users?filter=userName%20eq%20"{name}"').json["Resources"][0]["id"]
    assert "Accounts wait" not in text_of(admin.get(""))
    timeline = text_of(admin.get(f"people/{user}/timeline"))
    assert "Approved for the connection 'Okta'." in timeline
    assert "an admin has to confirm it" in timeline
    assert "The identity provider manages the account from now on" in timeline
    assert "1 person is here already" in text_of(admin.get("adoption"))


def test_all_safe_ones_are_approved_by_the_preview_that_was_shown(okta: Scim, admin: Browser) -> None:
    ask(admin, okta)
    path = f"adoption/{okta.uid}"
    page = admin.get(f"{path}/preview")
    assert "its userName and its primary e-mail address are not the same" in text_of(page)
    found = re.search(r'name="etag" value="&#34;(\w+)&#34;"', page.get_data(as_text=True))
    assert found is not None
    form = {"approve": "safe", "etag": f'"{found[1]}"'}
    stale = admin.post(f"{path}/approve", {"approve": "safe", "etag": '"of another one"'})
    assert stale.status_code == 412
    done = admin.post(f"{path}/approve", form)
    assert "approved" in text_of(admin.follow(done))
    assert admin.post(f"{path}/approve", form).status_code == 412, "a preview approves once"
    assert [push(okta, f"user{number}") for number in (1, 2)] == [200, 429]


def test_who_may_only_look_decides_nothing(okta: Scim, admin: Browser, viewer: Browser) -> None:
    ask(admin, okta)
    assert push(okta, "user1") == 429
    assert "Accounts wait for an admin to confirm their adoption" in text_of(admin.get(""))
    page = viewer.get("adoption").get_data(as_text=True)
    assert "user1@acme" in page
    assert "Approve" not in page
    assert viewer.post(f"adoption/{okta.uid}/setting", {"adoption": "automatic"}).status_code == 403
