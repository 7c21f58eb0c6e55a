"""Groups for the admin: made, renamed, filled and removed by hand; pushed ones are only looked at."""

from __future__ import annotations

import pytest


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def test_a_group_is_made_renamed_filled_emptied_and_removed(acme) -> None:
    users = [acme.assign(number) for number in range(3)]
    made = acme.post(f"{acme.path}/groups", {"name": "  Sales "})
    path = f"{acme.path}/groups/{made['id']}"
    assert (made["name"], acme.get(path)) == ("Sales", made)
    for user in (*users, users[0]):
        acme.call("PUT", f"{path}/members/{user['id']}", None, 204)
    assert acme.get(path)["members"] == 3
    first = acme.get(f"{path}/members?limit=2")
    second = acme.get(f"{path}/members?limit=2&after={first['next']}")
    listed = first["items"] + second["items"]
    assert [member["id"] for member in listed] == [user["id"] for user in users]
    assert (second["next"], listed[0]["sources"]) == (None, ["manual"])
    for _ in range(2):
        acme.call("DELETE", f"{path}/members/{users[0]['id']}", None, 204)
    assert acme.call("PATCH", path, {"name": "SALES"})["name"] == "SALES"
    assert acme.call("PATCH", path, {})["members"] == 2
    acme.call("DELETE", path, None, 204)
    acme.get(path, 404)
    assert acme.groups_of(users[1]) == {}
    events = acme.get(f"{acme.path}/events?after=3")["items"]
    reported = [(event["type"], event["data"].get("added"), event["data"].get("removed")) for event in events]
    assert reported == [
        ("group.created", None, None),
        *(("group.members_changed", [user["id"]], []) for user in users),
        ("group.members_changed", [], [users[0]["id"]]),
        ("group.updated", None, None),
        ("group.deleted", None, None),
    ]


def test_names_are_unique_letter_case_aside_among_all_that_are_seen(acme) -> None:
    acme.post(f"{acme.path}/groups", {"name": "Vertrieb Süd"})
    acme.okta.group("Pushed")
    other = acme.post(f"{acme.path}/groups", {"name": "Other"})
    for name, whose in (
        ("VERTRIEB SÜD", "made in the application"),
        ("PUSHED", "an identity provider pushes"),
    ):
        assert whose in acme.post(f"{acme.path}/groups", {"name": name}, 409)["message"]
        acme.call("PATCH", f"{acme.path}/groups/{other['id']}", {"name": name}, 409)


def test_groups_are_found_by_the_beginning_of_their_name(acme) -> None:
    for name in ("Sales", "sales EMEA", "Support", "Übersicht", "100%_x"):
        acme.post(f"{acme.path}/groups", {"name": name})

    def names(query: str) -> list[str]:
        return [group["name"] for group in acme.get(f"{acme.path}/groups?{query}")["items"]]

    assert names("q=SALES") == ["Sales", "sales EMEA"]
    assert names("q=s&limit=2") == ["Sales", "sales EMEA"]
    assert names("q=üb") == ["Übersicht"]
    assert names("q=100%25_") == ["100%_x"]
    assert names("q=%25") == names("q=_") == []
    assert len(names("q=")) == 5


def test_a_pushed_group_is_changed_at_the_identity_provider_only(acme) -> None:
    user = acme.assign(1)
    pushed = acme.okta.group("Pushed", (user["id"],))
    path = f"{acme.path}/groups/{pushed['id']}"
    shown = acme.get(path)
    assert (shown["source"], shown["managed_by"], shown["members"]) == (
        "push",
        {"connection": acme.okta.uid, "idp": "okta"},
        1,
    )
    for method, at, body in (
        ("PATCH", path, {"name": "x"}),
        ("DELETE", path, None),
        ("PUT", f"{path}/members/{user['id']}", None),
        ("DELETE", f"{path}/members/{user['id']}", None),
    ):
        refused = acme.call(method, at, body, 409)
        assert "is pushed by the connection 'Okta'" in refused["message"]
    assert acme.get(f"{path}/members")["items"][0]["sources"] == ["push"]


def test_an_edit_of_an_old_version_of_a_group_is_refused(acme) -> None:
    path = f"{acme.path}/groups/{acme.post(f'{acme.path}/groups', {'name': 'Sales'})['id']}"
    old = acme.etag()
    acme.call("PATCH", path, {"name": "Sales 2"}, If_Match=old)
    acme.call("PATCH", path, {"name": "Sales 3"}, 412, If_Match=old)
    acme.call("DELETE", path, None, 412, If_Match=old)
    acme.call("DELETE", path, None, 204, If_Match=acme.etag() if acme.get(path) else "")


def test_unknown_groups_and_users_are_not_found(acme) -> None:
    group = acme.post(f"{acme.path}/groups", {"name": "Sales"})
    user = acme.assign(1)
    for path in (f"{group['id']}/members/nobody", f"nothing/members/{user['id']}"):
        for method in ("PUT", "DELETE"):
            acme.call(method, f"{acme.path}/groups/{path}", None, 404)
    acme.get(f"{acme.path}/groups/nothing/members", 404)
