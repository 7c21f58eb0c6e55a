"""Seats, the feed of events, and the activity."""

from __future__ import annotations

from gateway.testing import Deployment


def test_seats_say_what_a_refusal_would_say(acme) -> None:
    free = {"limit": None, "used": 0, "available": None, "enforced": True, "message": None}
    assert acme.get(f"{acme.path}/seats") == free
    acme.call("PATCH", acme.path, {"seats": {"limit": 1}, "billing": {"payment": "card"}})
    assert "Billing page" in acme.get(f"{acme.path}/seats")["message"]
    acme.assign(1)
    seats = acme.get(f"{acme.path}/seats")
    assert (seats["used"], seats["available"]) == (1, 0)
    said = acme.refused().json["detail"]
    assert said.replace(" No seat was left for late@acme.test.", "") == seats["message"]
    acme.call("PATCH", acme.path, {"seats": {"limit": 0}})
    assert acme.get(f"{acme.path}/seats")["available"] == 0


def test_without_the_billing_plugin_nothing_limits_seats(tmp_path) -> None:
    deployment = Deployment(tmp_path / "other", plugins_disabled=("billing",))
    organization = deployment.organization(seats=0)
    deployment.connection("okta", organization).user()
    seats = deployment.admin("GET", f"/organizations/{organization.uid}/seats").json
    assert seats == {"limit": 0, "used": 1, "available": 0, "enforced": False, "message": None}
    deployment.close()


def test_events_are_followed_without_gap_or_repeat(acme) -> None:
    for number in range(7):
        acme.assign(number)
    seen, after = [], 0
    for _ in range(3):
        part = acme.get(f"{acme.path}/events?after={after}&limit=3")
        seen += [event["id"] for event in part["items"]]
        after = part["next"]
    assert (seen, after) == (list(range(1, 8)), 7)
    end = acme.get(f"{acme.path}/events?after=7")
    assert (end["items"], end["next"]) == ([], 7)
    acme.refused()
    acme.assign(8)
    assert [event["id"] for event in acme.get(f"{acme.path}/events?after=7")["items"]] == [8, 9]
    other = acme.deployment.organization("Other")
    assert acme.get(f"/organizations/{other.uid}/events")["items"] == []


def test_events_of_all_organizations_are_followed_in_one_order(acme) -> None:
    other = acme.deployment.organization("Other")
    acme.assign(1)
    acme.deployment.connection("okta", other).user()
    publisher = acme.deployment.gateway.publisher
    publisher.publish()
    page = acme.get("/events?limit=3")
    following = acme.get(f"/events?after={page['next']}")
    items = page["items"] + following["items"]
    assert [item["number"] for item in items] == list(range(1, len(items) + 1))
    types = [(item["type"], item["organization"]) for item in items]
    uid = acme.path.rpartition("/")[2]
    assert types.index(("organization.created", uid)) < types.index(("user.created", uid))
    assert types.index(("organization.created", other.uid)) < types.index(("user.created", other.uid))

    acme.call("DELETE", f"/organizations/{other.uid}", status=204)
    publisher.publish()
    after = acme.get(f"/events?after={following['next']}")
    assert [item["type"] for item in after["items"]] == ["organization.removed"]
    assert {item["organization"] for item in acme.get("/events")["items"]} == {uid, other.uid}
    assert ("user.created", other.uid) not in [
        (item["type"], item["organization"]) for item in acme.get("/events")["items"]
    ]
    newest = acme.get("/events?newest=true")
    assert newest == {"items": [], "next": after["next"], "epoch": following["epoch"]}
    own = acme.get(f"{acme.path}/events?limit=1000")
    assert acme.get(f"{acme.path}/events?newest=true") == own | {"items": []}
    beyond = after["next"] + 1
    assert f"after={beyond} is beyond" in acme.get(f"/events?after={beyond}", 410)["message"]
    assert "a backup was restored" in acme.get("/events?epoch=1", 410)["message"]
    assert "a backup was restored" in acme.get(f"{acme.path}/events?epoch=1", 410)["message"]


def test_an_event_says_on_whose_behalf_it_came_about(acme) -> None:
    user = acme.assign(1)
    acme.call("PATCH", f"{acme.path}/users/{user['id']}", {"active": False})
    events = acme.get(f"{acme.path}/events")["items"]
    assert [(event["type"], event["connection"]) for event in events] == [
        ("user.created", acme.okta.uid),
        ("user.deactivated", None),
    ]
    assert events[1]["data"]["active"] is False


def test_the_activity_is_filtered_and_walked_from_the_newest(acme) -> None:
    acme.assign(1)
    acme.okta.call("GET", '/Users?filter=userName eq "user1@acme.test"')
    acme.okta.call("POST", "/Users", {"schemas": [], "userName": "user1@acme.test"})
    acme.okta.call("GET", "/Users", token="wrong")
    acme.call("PATCH", acme.path, {"name": "Acme 2"})

    def operations(query: str) -> list[tuple[str, int]]:
        return [
            (line["operation"], line["status"]) for line in acme.get(f"{acme.path}/activity?{query}")["items"]
        ]

    assert operations("user=USER1@acme.test") == [
        ("POST /Users", 400),
        ("GET /Users", 200),
        ("POST /Users", 201),
    ]
    assert operations("user=user1@acme.test&outcome=success") == [("GET /Users", 200), ("POST /Users", 201)]
    assert operations(f"outcome=failure&user=&connection={acme.okta.uid}") == [
        ("GET /Users", 401),
        ("POST /Users", 400),
    ]
    assert operations("connection=nobody") == []
    assert operations("outcome=success&limit=1") == [("PATCH /organizations/{organization}", 200)]
    pages, after = [], ""
    while after is not None:
        part = acme.get(f"{acme.path}/activity?limit=2&after={after}")
        pages += [line["id"] for line in part["items"]]
        after = part["next"]
    whole = acme.get(f"{acme.path}/activity")["items"]
    assert sorted(pages) == sorted(line["id"] for line in whole)
    assert [line["at"] for line in whole] == sorted((line["at"] for line in whole), reverse=True)


def test_reads_of_an_admin_leave_no_line(acme) -> None:
    before = len(acme.get(f"{acme.path}/activity")["items"])
    for path in ("", "/users", "/groups", "/seats", "/events", "/users.csv", "/connections"):
        acme.deployment.admin("GET", f"{acme.path}{path}")
    acme.preview({"a": "A"})
    acme.call("POST", f"{acme.connection}/test", None)
    assert len(acme.get(f"{acme.path}/activity")["items"]) == before


def test_plugins_are_listed_with_their_hooks(acme) -> None:
    items = {item["name"]: item for item in acme.get("/plugins")["items"]}
    assert list(items) == sorted(items)
    operations = {name: items[name]["idp"] for name in ("billing", "generic", "okta")}
    assert operations == {"billing": False, "generic": True, "okta": True}
    assert items["okta"]["hooks"] == ["gateway_declare", "gateway_map_patch", "gateway_map_resource"]
    assert all(
        item.keys() == {"name", "version", "idp", "hooks"} and item["version"] for item in items.values()
    )


def test_what_was_read_a_moment_ago_is_in_the_activity(acme) -> None:
    for number in range(3):
        acme.okta.call("GET", f"/Users?startIndex={number + 1}")
        lines = acme.get(f"{acme.path}/activity")["items"]
        assert [line["operation"] for line in lines].count("GET /Users") == number + 1


def test_lines_of_one_moment_are_all_walked(acme) -> None:
    store = acme.deployment.gateway.store
    store.database.run("DELETE FROM activity")
    trace = acme.deployment.trace(acme.okta.organization)
    store.activity.add([(1_000_000, trace.line(200)) for _ in range(4)])
    seen, after = [], "0"
    while after is not None:
        part = acme.get(f"{acme.path}/activity?limit=1&after={after}")
        seen += [line["id"] for line in part["items"]]
        after = part["next"]
    assert len(seen) == len(set(seen)) == 4
