"""The timeline of a user: everything about it in one order, over renames, and nothing of a namesake."""

from __future__ import annotations

from typing import Any

from gateway.testing.deployment import USER
from tests.support.console import sign_in, text_of


def put(scim: Any, uid: str, name: str, **values: Any) -> int:
    return int(scim.call("PUT", f"/Users/{uid}", {"schemas": [USER], "userName": name} | values).status)


def test_a_timeline_follows_renames_and_leaves_namesakes_out(acme: Any) -> None:
    scim, organization = acme.okta, acme.okta.organization
    user = scim.user("<b>ann@acme.test")
    uid = user["id"]
    path = f"{acme.path}/users/{uid}/timeline"
    assert put(scim, uid, "beth@acme.test") == 200
    namesake = scim.user("<b>ann@acme.test")["id"]
    acme.call("PATCH", f"{acme.path}/users/{uid}", {"active": False})
    store = acme.deployment.gateway.store
    key = store.users.of(organization, uid).id
    with store.transaction():
        store.database.run(
            "INSERT INTO adoptions (uid, organization_id, connection_id, user_id, found_by, risk, first, last, tries,"
            " state, decided_by, decided) VALUES ('a', ?, ?, ?, 'userName', '', 1, 1, 1, 'approved', 'ann', 2)",
            *(organization.id, scim.connection.id, key),
        )
        store.database.run(
            "INSERT INTO held_removals (connection_id, resource, uid, name, action, people, first, last, tries,"
            " allowed) VALUES (?, 'User', ?, 'n', 'delete', 1, 3, 3, 2, 0)",
            *(scim.connection.id, uid),
        )
    items = acme.get(path)["items"]
    assert items == sorted(items, key=lambda each: each["at"], reverse=True)
    what = [(each["kind"], each["what"].partition(" (event")[0]) for each in items]
    assert what == [
        ("admin", "PATCH /organizations/{organization}/users/{user} was done"),
        ("event", "The account was deactivated"),
        ("request", "PUT /Users/{id} was done"),
        ("event", "The account was changed"),
        ("request", "POST /Users was done"),
        ("event", "The account was made"),
        ("hold", "Asked to delete the account, 2 times: this is held back"),
        ("adoption", "Decided that Okta may manage the account"),
        ("adoption", "Asked to manage the account"),
    ]
    assert [each["who"] for each in items[2:4]] == ["Okta", "Okta"]
    pages, before = [], ""
    for _ in range(9):
        page = acme.get(f"{path}?limit=2{before}")
        pages += page["items"]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert pages == items
    assert "beth" not in str(acme.get(f"{acme.path}/users/{namesake}/timeline"))
    assert len(acme.get(f"{acme.path}/users/{namesake}/timeline")["items"]) == 2
    acme.call("DELETE", f"{acme.path}/users/{uid}", status=204)
    assert "The account was deleted" in str(acme.get(path)["items"][1]["what"])
    page = sign_in(acme.deployment, organization).get(f"people/{uid}/timeline")
    assert "This person is deleted." in text_of(page)
    assert "Okta created <b>ann@acme.test" in text_of(page)
    assert "<b>ann" not in page.text


def test_a_timeline_that_is_not_there_is_refused_in_a_sentence(acme: Any) -> None:
    uid = acme.okta.user("one@acme.test")["id"]
    assert "There is no user" in acme.get(f"{acme.path}/users/unknown/timeline", 404)["message"]
    refused = acme.get(f"{acme.path}/users/{uid}/timeline?before=1.2", 422)
    assert "give the `next` of the page before" in refused["message"]


def test_a_refusal_of_a_user_leads_to_its_steps(acme: Any) -> None:
    uid = acme.okta.user("steps@acme.test")["id"]
    acme.okta.user("taken@acme.test")
    assert put(acme.okta, uid, "taken@acme.test") == 409
    acme.deployment.gateway.activity_writer.flush()
    first = acme.get(f"{acme.path}/users/{uid}/timeline")["items"][0]
    assert "PUT /Users/{id} was refused with 409" in first["what"]
    assert first["explanation"]
    assert acme.get(first["explanation"].removeprefix("/admin/v1"))
