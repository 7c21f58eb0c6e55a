"""Explain: the steps of a request, why a line has none, the watch of a connection, and where a refusal is mended."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.store.records import ActivityRecord, OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from tests.support.console import Browser, sign_in, text_of
from tests.support.statements import record_statements

OFF = {"op": "replace", "path": "active", "value": False}


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    return deployment.connection("okta", organization)


def newest(scim: Scim) -> ActivityRecord:
    return scim.deployment.activity(scim.organization)[0]


def refuse(scim: Scim, **attributes: object) -> ActivityRecord:
    """Have a create refused; return its line."""
    scim.call(
        "POST", "/Users", {"schemas": [USER], "userName": "two words", "active": "perhaps", **attributes}
    )
    return newest(scim)


def links(answer: Any) -> list[str]:
    """Return where the links to explanations lead, the last part but one."""
    return re.findall(r'href="[^"]*/activity/([^"/]+)/explain"', answer.get_data(as_text=True))


def test_refusal_is_explained_from_its_sentence_to_its_answer(okta: Scim, admin: Browser) -> None:
    okta.user("user1@acme.test")
    sent = {
        "schemas": [USER],
        "userName": "user1@acme.test",
        "password": "s3cret-passw0rd",
        "nickName": "One",
    }
    refused = okta.call("POST", "/Users", sent)
    assert refused.status == 409
    line = newest(okta)
    assert links(admin.get("activity")) == [str(line.id)]
    page = admin.get(f"activity/{line.id}/explain")
    text = text_of(page)
    assert (
        f"Refused Okta asked to create user1@acme.test {refused.json['detail']} What to do: Look user1"
        in text
    )
    steps = re.findall(r"<li><h3>([^<]*)</h3>", page.get_data(as_text=True))
    assert (steps[0], steps[-1]) == ("Who called", "Outcome")
    assert "Validation" in steps
    assert "Decided by the plugin okta" in text
    assert "Received POST /Users" in text
    assert '"userName": "user1@acme.test"' in text
    assert "s3cret" not in text
    assert "Answered" in text
    assert text_of(admin.get(f"activity/{line.request_id}/explain")) == text


def test_watched_request_shows_times_and_what_the_plugin_made_of_it(okta: Scim, admin: Browser) -> None:
    okta.user("user1@acme.test")
    unwatched = newest(okta)
    assert links(admin.get("activity", outcome="all")) == []
    page = f"activity/{unwatched.id}/explain"
    absent = text_of(admin.get(page))
    assert "carried out while its connection was not watched" in absent
    assert "Watch for an hour" in absent
    pressed = admin.post(f"connections/{okta.uid}/watch", {"page": "explain", "line": str(unwatched.id)})
    assert pressed.location.endswith(page)
    assert "explained for an hour" in text_of(admin.follow(pressed))
    for where in (page, "activity", f"set-up?connection={okta.uid}"):
        assert "Every request of Okta is explained until" in text_of(admin.get(where))
    user = okta.user("user2@acme.test", title="Two")
    line = newest(okta)
    assert links(admin.get("activity", outcome="all")) == [str(line.id)]
    assert links(admin.get(f"people/{user['id']}")) == links(admin.get(f"people/{user['id']}/timeline"))
    assert links(admin.get(f"people/{user['id']}")) == [str(line.id)]
    text = text_of(admin.get(f"activity/{line.id}/explain"))
    assert "ms after the request began" in text
    assert "check_seats" not in text
    assert re.search(r"What the plugin made of it (The plugin|It was decided as it was received)", text)
    assert "Recorded as event 2: user.created." in text
    ended = admin.post(f"connections/{okta.uid}/unwatch", {"page": "set-up"})
    assert f"set-up?connection={okta.uid}#watch" in ended.location
    assert "only refusals are explained" in text_of(admin.follow(ended))
    okta.call("GET", f"/Users/{user['id']}")
    assert links(admin.get("activity", outcome="all")) == [str(line.id)]


def test_line_without_explanation_says_why(
    deployment: Deployment, okta: Scim, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, gateway = refuse(okta), deployment.gateway
    path = f"activity/{line.id}/explain"
    gateway.store.database.run("DELETE FROM traces WHERE organization_id = ?", okta.organization.id)
    assert "of many refusals in one minute only the first" in text_of(admin.get(path))
    gateway.store.database.run("UPDATE activity SET at = 1 WHERE id = ?", line.id)
    assert "This request is older than 7 days" in text_of(admin.get(path))
    monkeypatch.setattr(gateway.explanations, "days", 0)
    absent = text_of(admin.get(path))
    assert "GATEWAY_TRACE_DAYS is 0" in absent
    for page in (path, "activity", "set-up"):
        assert "Watch for an hour" not in text_of(admin.get(page))
    assert admin.post(f"connections/{okta.uid}/watch").status_code == 409
    of_admin = next(
        each for each in deployment.activity(okta.organization) if each.operation.endswith("/setup")
    )
    absent = text_of(admin.get(f"activity/{of_admin.id}/explain"))
    assert "this one is of an admin" in absent


@pytest.mark.parametrize("line", ["0", "9" * 30, "nothing", "%00", "<b>"])
def test_unknown_line_is_no_page(admin: Browser, line: str) -> None:
    answer = admin.get(f"activity/{line}/explain")
    assert answer.status_code == 404
    assert "There is no line" in text_of(answer)


def test_line_of_another_organization_is_no_page(deployment: Deployment, okta: Scim) -> None:
    line = refuse(okta)
    other = sign_in(deployment, deployment.organization("Globex"))
    for name in (line.id, line.request_id):
        assert other.get(f"activity/{name}/explain").status_code == 404


def test_viewer_reads_explanations_and_watches_nothing(okta: Scim, viewer: Browser) -> None:
    line = refuse(okta)
    for page in (f"activity/{line.id}/explain", "activity", "set-up"):
        text = text_of(viewer.get(page))
        assert "only refusals are explained" in text
        assert "Watch for an hour" not in text
    assert viewer.post(f"connections/{okta.uid}/watch").status_code == 403


def test_name_of_the_button_begins_with_its_words(okta: Scim, admin: Browser) -> None:
    """Speech control finds a button by the words on it (WCAG 2.2, 2.5.3)."""
    page = admin.get("activity").get_data(as_text=True)
    assert f'aria-label="Watch for an hour: {okta.connection.name}">Watch for an hour<' in page


def test_any_text_is_shown(okta: Scim, admin: Browser) -> None:
    body = '{"userName": "half \\ud83d \\u202e over \\u0000", "<b>": "&", "active": "\\udc00"}'
    okta.call("POST", "/Users", body)
    page = admin.get(f"activity/{newest(okta).id}/explain")
    assert page.status_code == 200
    text = page.get_data(as_text=True)
    assert "half \\ud83d \\u202e over \\u0000" in text
    assert "&lt;b&gt;" in text
    assert "\u202e" not in text


def test_bulk_operation_is_explained_and_tried_again(okta: Scim, admin: Browser) -> None:
    operations = [{"method": "DELETE", "path": "/Users/one"}]
    schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"]
    okta.call("POST", "/Bulk", {"schemas": schemas, "Operations": operations})
    line = next(line for line in okta.deployment.activity(okta.organization) if line.outcome == "failure")
    text = text_of(admin.get(f"activity/{line.id}/explain"))
    assert "Received DELETE /Users/one It had no body." in text
    tried = okta.deployment.admin("POST", f"/connections/{okta.uid}/explain", {"activity": str(line.id)})
    assert (tried.status, tried.json["status"]) == (200, 404)


def test_removed_connection_leaves_its_explanations(
    deployment: Deployment, okta: Scim, admin: Browser
) -> None:
    line = refuse(okta)
    deployment.admin("DELETE", f"/connections/{okta.uid}")
    text = text_of(admin.get(f"activity/{line.id}/explain"))
    assert "Steps" in text
    assert "Watch" not in text


def test_activity_asks_for_all_explanations_at_once(
    deployment: Deployment, okta: Scim, admin: Browser
) -> None:
    def cost() -> int:
        with record_statements(deployment) as sent:
            admin.get("activity")
        return len(sent)

    refuse(okta)
    few = cost()
    for _ in range(5):
        refuse(okta)
    assert cost() <= few


# Where a refusal is mended ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("idp", ["okta", "generic"])
def test_what_waits_for_adoption_leads_there(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser, idp: str
) -> None:
    scim = deployment.connection(idp, organization)
    admin.post("people/new", {"user_name": "user1@acme.test"})
    deployment.admin("PATCH", f"/connections/{scim.uid}", {"adoption": "ask"})
    (user,) = deployment.admin("GET", f"/organizations/{organization.uid}/users").json["items"]
    body = {"schemas": [USER], "userName": "user1@acme.test"}
    refused = scim.call("PUT", f"/Users/{user['id']}", body)
    assert refused.status == (429 if idp == "okta" else 409)
    assert "What to do See who waits for adoption, and decide" in text_of(admin.get("activity"))
    (asked,) = deployment.admin("GET", f"/connections/{scim.uid}/adoptions").json["items"]
    deployment.admin("POST", f"/connections/{scim.uid}/adoptions/{asked['id']}", {"decision": "reject"})
    assert scim.call("PUT", f"/Users/{user['id']}", body).status == 409
    assert text_of(admin.get("activity")).count("What to do See who waits for adoption") == 2


def test_what_is_paused_or_protected_leads_to_where_that_is_ended(
    deployment: Deployment, okta: Scim, admin: Browser
) -> None:
    user = okta.user("user1@acme.test")["id"]
    admin.post(f"people/{user}/protected", {"protected": "yes"})
    assert okta.patch(f"/Users/{user}", OFF).status == 403
    text = text_of(admin.get("activity"))
    assert "What to do See the person, and end the protection" in text
    assert "What to do See what Set up lacks" not in text
    admin.post(f"safety/{okta.uid}/pause", {"hours": "1", "reason": "A test", "scope": "all"})
    assert okta.call("POST", "/Users", {"schemas": [USER], "userName": "user2@acme.test"}).status == 429
    assert "What to do See what is paused and held, and decide" in text_of(admin.get("activity"))


def test_what_is_held_leads_to_safety(deployment: Deployment, okta: Scim, admin: Browser) -> None:
    users = [okta.user(f"user{number}@acme.test")["id"] for number in range(2)]
    brake = {"percent": 0, "least": 1, "minutes": 60}
    deployment.admin("PATCH", f"/connections/{okta.uid}", {"brake": brake})
    statuses = [okta.patch(f"/Users/{user}", OFF).status for user in users]
    assert statuses[-1] == 429
    assert "What to do See what is paused and held, and decide" in text_of(admin.get("activity"))
    admin.post(f"safety/{okta.uid}/hold", {"action": "reject"})
    assert okta.patch(f"/Users/{users[1]}", OFF).status == 403
    assert text_of(admin.get("activity")).count("What to do See what is paused and held") == 2


def test_too_many_requests_have_no_page_that_mends_them(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    from gateway.provisioning.trace import Trace

    trace = Trace("POST /Users", "one", organization.id)
    assert "page" not in trace.line(429, "Too many requests.").facts
