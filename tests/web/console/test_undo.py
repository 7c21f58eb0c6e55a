"""Undo on the page Safety: the preview, what it says of the rest, and the button."""

from __future__ import annotations

import re

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from tests.support.console import Browser, text_of

OFF = {"op": "replace", "path": "active", "value": False}
#: A time as people read it.
MOMENT = r"\d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC"
#: A day on which nothing was undone yet.
QUERY = "from=2026-01-01T00:00&to=&what=deactivated&what=deleted"


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection that has deactivated a person and deleted another."""
    scim = deployment.connection("okta", organization)
    first, second = (scim.user(f"user{number}@acme{organization.id}.test")["id"] for number in (1, 2))
    scim.patch(f"/Users/{first}", OFF)
    scim.call("DELETE", f"/Users/{second}")
    return scim


def active(scim: Scim) -> list[bool]:
    return [user["active"] for user in scim.call("GET", "/Users").json["Resources"]]


def tag(page: str) -> str:
    found = re.search(r'name="etag" value="&#34;(\w+)&#34;"', page)
    assert found is not None, page
    return f'"{found[1]}"'


def test_people_are_brought_back_by_the_preview_that_was_shown(okta: Scim, admin: Browser) -> None:
    assert f"undo what {okta.connection.name} did" in text_of(admin.get("safety"))
    path = f"safety/{okta.uid}/undo"
    form = admin.get(path)
    assert "Who would come back" not in text_of(form)
    okta.user(f"user3@acme{okta.organization.id}.test")
    # All of it is of this minute, in which nobody was here before.
    page = text_of(admin.get(f"{path}?{QUERY}"))
    assert "Nobody: Okta removed nobody" in page
    assert f"user3@acme{okta.organization.id}.test the account It was not here at the beginning" in page
    assert "3 were not here at the beginning of that time: Okta made them" in page
    assert active(okta) == [False, True]


def test_the_button_does_what_the_page_shows(okta: Scim, admin: Browser) -> None:
    path = f"safety/{okta.uid}/undo"
    okta.deployment.gateway.store.database.run(
        "UPDATE events SET at = 1 WHERE organization_id = ? AND type = 'user.created'", okta.organization.id
    )
    shown = admin.get(f"{path}?{QUERY}")
    assert "2 people: 1 active again, 1 here again after a deletion" in text_of(shown)
    assert admin.post(f"{path}?{QUERY}", {"etag": '"old"'}).status_code == 412
    done = admin.post(f"{path}?{QUERY}", {"etag": tag(shown.get_data(as_text=True))})
    assert done.status_code == 303, text_of(done)
    after = text_of(admin.follow(done))
    assert (
        "2 people are back. Removals of Okta are paused: mend the assignment there before the pause ends"
        in after
    )
    assert re.search(
        rf"Removals wait until {MOMENT} ?: what it did since 1 Jan 2026, 00:00 UTC is undone", after
    )
    activity = text_of(admin.get("activity?outcome=all"))
    assert f"brought user2@acme{okta.organization.id}.test back" in activity
    assert activity.count("undid what the connection Okta did") == 2  # The pause before, and the undo.
    assert active(okta) == [True, True]
    assert "Nobody: Okta removed nobody" in text_of(admin.get(f"{path}?{QUERY}"))


@pytest.mark.parametrize("query", ["from=2026-01-01T00:00", "from=noon&what=deleted", f"{QUERY}&what=all"])
def test_what_cannot_be_read_is_said(okta: Scim, admin: Browser, query: str) -> None:
    path = f"safety/{okta.uid}/undo?{query}"
    for answer in (admin.get(path), admin.post(path, {"etag": '"x"'})):
        assert answer.status_code == 400
        assert "Bring" not in text_of(answer)
