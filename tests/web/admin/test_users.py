"""Users for the admin: those of an identity provider, those made by hand, and all of them as CSV."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.testing.deployment import ADMIN_TOKEN

URN = "urn:calendly:scim:schemas:2.0:User"


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def test_a_user_made_by_hand_takes_a_seat_and_can_be_edited_whole(acme) -> None:
    new = {"user_name": "hand@acme.test", "display_name": "By Hand", "email": "hand@acme.test"}
    made = acme.post(f"{acme.path}/users", new)
    assert (made["active"], made["managed_by"], made["groups"], made["idp_group"]) == (True, None, [], [])
    path = f"{acme.path}/users/{made['id']}"
    assert acme.get(path) == made
    assert acme.get(f"{acme.path}/seats")["used"] == 1
    edited = acme.call("PATCH", path, {"user_name": "other@acme.test", "display_name": None})
    assert (edited["user_name"], edited["display_name"], edited["active"]) == ("other@acme.test", None, True)
    assert acme.call("PATCH", path, {"active": False})["active"] is False
    assert acme.get(f"{acme.path}/seats")["used"] == 0
    acme.call("DELETE", path, None, 204)
    acme.get(path, 404)
    acme.call("DELETE", path, None, 404)
    types = [event["type"] for event in acme.get(f"{acme.path}/events")["items"]]
    assert types == ["user.created", "user.updated", "user.deactivated", "user.deleted"]


def test_the_event_of_a_deleted_user_says_that_it_is_not_active(acme) -> None:
    """Whoever follows the feed by `active` alone would keep the user otherwise."""
    made = acme.post(f"{acme.path}/users", {"user_name": "hand@acme.test"})
    acme.call("DELETE", f"{acme.path}/users/{made['id']}", None, 204)
    created, deleted = acme.get(f"{acme.path}/events")["items"]
    assert created["data"]["active"] is True
    assert deleted["data"] == {**created["data"], "active": False}


def test_an_address_is_changed_among_those_that_are_kept(acme) -> None:
    emails = [
        {"value": "a@acme.test", "type": "home"},
        {"value": "b@acme.test", "type": "work", "primary": True},
    ]
    user = acme.okta.user("user1@acme.test", emails=emails)
    acme.call("DELETE", acme.connection, None, 204)
    path = f"{acme.path}/users/{user['id']}"
    for email, kept in (
        ("c@acme.test", [{"value": "c@acme.test", "type": "work", "primary": True}, emails[0]]),
        (None, [emails[0]]),
        ("d@acme.test", [{"value": "d@acme.test", "type": "home", "primary": True}]),
        (None, None),
        ("e@acme.test", [{"value": "e@acme.test", "type": "work", "primary": True}]),
    ):
        acme.call("PATCH", path, {"email": email})
        document = acme.get(f"{acme.path}/events?after=1")["items"][-1]["data"]
        assert document.get("emails") == kept
        assert document["displayName"] == "user1"


def test_a_name_that_is_taken_is_refused_whoever_has_it(acme) -> None:
    user = acme.assign(1)
    taken = acme.post(f"{acme.path}/users", {"user_name": "USER1@acme.test"}, 409)
    assert "userName 'USER1@acme.test' is taken" in taken["message"]
    manual = acme.post(f"{acme.path}/users", {"user_name": "hand@acme.test"})
    acme.call("PATCH", f"{acme.path}/users/{manual['id']}", {"user_name": "user1@acme.test"}, 409)
    acme.call("DELETE", f"{acme.path}/users/{user['id']}", None, 204)
    acme.call("PATCH", f"{acme.path}/users/{manual['id']}", {"user_name": "user1@acme.test"})


def test_without_a_seat_an_admin_hears_the_same_sentence_as_the_identity_provider(acme) -> None:
    acme.call("PATCH", acme.path, {"seats": {"limit": 1}})
    user = acme.assign(1)
    refused = acme.post(f"{acme.path}/users", {"user_name": "late@acme.test"}, 403)
    assert refused["message"] == acme.refused().json["detail"]
    assert refused["message"].startswith("You're over capacity: Acme has 1 seat")
    idle = acme.post(f"{acme.path}/users", {"user_name": "idle@acme.test", "active": False})
    acme.call("PATCH", f"{acme.path}/users/{idle['id']}", {"active": True}, 403)
    acme.call("PATCH", f"{acme.path}/users/{user['id']}", {"active": False})
    assert acme.call("PATCH", f"{acme.path}/users/{idle['id']}", {"active": True})["active"] is True


def test_of_a_user_of_an_identity_provider_only_active_can_be_changed(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    path = f"{acme.path}/users/{user['id']}"
    for change in (
        {"display_name": "x"},
        {"user_name": "x@acme.test", "active": False},
        {"email": "x@acme.test"},
    ):
        refused = acme.call("PATCH", path, change, 409)
        assert "only `active` can be changed here" in refused["message"]
    assert acme.call("PATCH", path, {"active": False})["active"] is False
    shown = acme.okta.call("GET", f"/Users/{user['id']}").json
    assert (shown["active"], shown[URN]) == (False, {"group": "Sales EMEA"})
    acme.call("DELETE", path, None, 204)
    assert acme.okta.call("GET", f"/Users/{user['id']}").status == 404
    assert acme.assign(1)["id"] == user["id"]


def test_an_edit_of_an_old_version_of_a_user_is_refused(acme) -> None:
    user = acme.assign(1)
    path = f"{acme.path}/users/{user['id']}"
    acme.get(path)
    old = acme.etag()
    acme.call("PATCH", path, {"active": False}, If_Match=old)
    acme.call("PATCH", path, {"active": True}, 412, If_Match=old)
    acme.call("DELETE", path, None, 412, If_Match=old)
    assert acme.get(path)["active"] is False


def test_users_are_listed_in_pages_and_found_by_name(acme) -> None:
    for number in range(5):
        acme.assign(number)
    first = acme.get(f"{acme.path}/users?limit=3")
    second = acme.get(f"{acme.path}/users?limit=3&after={first['next']}")
    names = [user["user_name"] for user in first["items"] + second["items"]]
    assert names == [f"user{number}@acme.test" for number in range(5)]
    assert second["next"] is None
    assert acme.get(f"{acme.path}/users?limit=2&after={first['next']}")["next"] is None
    found = acme.get(f"{acme.path}/users?user_name=USER3@acme.test")
    assert [user["user_name"] for user in found["items"]] == ["user3@acme.test"]
    assert acme.get(f"{acme.path}/users?user_name=nobody") == {"items": [], "next": None}


def test_every_reason_for_a_membership_is_shown(acme) -> None:
    user = acme.assign(1)
    sales = acme.post(f"{acme.path}/groups", {"name": "Sales"})
    acme.call("PUT", f"{acme.path}/groups/{sales['id']}/members/{user['id']}", None, 204)
    acme.save({"x": "Sales"}, apply_to_existing=False)
    acme.okta.patch(f"/Users/{user['id']}", {"op": "add", "path": f"{URN}:group", "value": "x"})
    acme.okta.group("Pushed", (user["id"],))
    shown = acme.get(f"{acme.path}/users/{user['id']}")
    assert [(group["name"], group["sources"]) for group in shown["groups"]] == [
        ("Sales", ["mapping"]),
        ("Pushed", ["push"]),
    ]


def csv_rows(acme) -> list[dict[str, str]]:
    text = acme.deployment.admin("GET", f"{acme.path}/users.csv").text
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "dangerous",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "\tx", '=HYPERLINK("https://acme.test")', "\r=1+1", "\n=1+1", " =1+1",
        "\u00a0=1", "\u3000=1", "\u200b=1", "\ufeff=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)",
        "\ufe661", "\ufe6bSUM(A1)", "\u22121", "'quoted", "'=1+1", "''",
    ],
)  # fmt: skip
def test_no_cell_of_the_csv_is_a_formula(acme, dangerous: str) -> None:
    acme.okta.user("user1@acme.test", displayName=dangerous, **{URN: {"group": [dangerous, "b"]}})
    (row,) = csv_rows(acme)
    assert (row["display_name"], row["idp_group"]) == (f"'{dangerous}", f"'{dangerous}; b")


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "'=1+1",
        "'",
        "''a",
        "O'Neill",
        "a=b",
        "(Sales)",
        "\n=x",
        'say "hi", please',
        "a\r\nb",
        "Ünï",
        "2-3",
    ],
)
def test_the_csv_is_read_back_as_it_was_stored(acme, name: str) -> None:
    """One `'` at the beginning of a cell is taken away: docs/admin-api.md."""
    acme.okta.user("user1@acme.test", displayName=name)
    (row,) = csv_rows(acme)
    assert row["display_name"].removeprefix("'") == name


def test_a_portion_of_the_csv_holds_so_many_bytes_and_no_statement_stays_open(acme, monkeypatch) -> None:
    for number in range(6):
        acme.okta.user(f"user{number}@acme.test", title="x" * 200)
    monkeypatch.setattr("gateway.store.portions.BYTES", 1500)
    database = acme.deployment.gateway.store.database
    read: list[int] = []
    whole = database.all

    def counted(sql: str, *parameters):
        rows = whole(sql, *parameters)
        if "FROM users" in sql and "LENGTH" not in sql and "octet_length" not in sql:
            read.append(len(rows))
        return rows

    monkeypatch.setattr(database, "all", counted)
    assert len(csv_rows(acme)) == 6
    assert sum(read) == 6
    assert len(read) > 1
    assert max(read) < 6


def test_a_csv_is_sent_only_when_it_is_whole(acme) -> None:
    """Its length is known, so that a transfer that ends early is noticed; and sending it asks the database nothing."""
    for number in range(4):
        acme.assign(number)
    app, headers = acme.deployment.app, {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = app.test_client().get(f"/admin/v1{acme.path}/users.csv", headers=headers, buffered=False)
    with acme.deployment.gateway.store.transaction():
        acme.deployment.gateway.store.database.run("DELETE FROM emails")
        acme.deployment.gateway.store.database.run("DELETE FROM users")
    assert len(answer.data) == int(answer.headers["Content-Length"])
    assert len(answer.text.splitlines()) == 5


def test_the_csv_holds_all_users(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    acme.save({"Sales EMEA": 'Sales, "EMEA"'})
    acme.post(f"{acme.path}/users", {"user_name": "Ünï@acme.test", "active": False})
    answer = acme.deployment.admin("GET", f"{acme.path}/users.csv")
    headers = acme.deployment.last_headers
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"] == 'attachment; filename="users.csv"'
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["id", "user_name", "display_name", "active", "managed_by", "idp_group", "groups"]
    assert rows[1] == [user["id"], "user1@acme.test", "user1", "true", "okta", "Sales EMEA", 'Sales, "EMEA"']
    assert rows[2][1:] == ["Ünï@acme.test", "", "false", "manual", "", ""]


def test_the_csv_is_whole_beyond_one_portion(acme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.web.users_csv._CSV_PORTION", 2)
    for number in range(5):
        acme.assign(number)
    rows = list(csv.reader(io.StringIO(acme.deployment.admin("GET", f"{acme.path}/users.csv").text)))
    assert [row[1] for row in rows[1:]] == [f"user{number}@acme.test" for number in range(5)]
