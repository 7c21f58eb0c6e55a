"""Map to groups from end to end: shown, saved as it was shown, followed by every later write, and switched off."""

from __future__ import annotations

import threading

import pytest

URN = "urn:calendly:scim:schemas:2.0:User"


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def members(acme, name: str) -> list[str]:
    group = next(item for item in acme.get(f"{acme.path}/groups")["items"] if item["name"] == name)
    listed = acme.get(f"{acme.path}/groups/{group['id']}/members")["items"]
    assert group["members"] == len(listed)
    return [member["user_name"] for member in listed]


def changes(acme, after: int) -> list[tuple[str, int, int]]:
    """Events since, with how many came and went."""
    events = acme.get(f"{acme.path}/events?after={after}")["items"]
    return [(e["type"], len(e["data"].get("added", ())), len(e["data"].get("removed", ()))) for e in events]


def newest_event(acme) -> int:
    return acme.get(f"{acme.path}/events?limit=1000")["next"]


def put(acme, rules: dict[str, str], status: int, etag: str | None, **values):
    headers = {"If_Match": etag} if etag is not None else {}
    return acme.call(
        "PUT", f"{acme.connection}/group-mapping", acme.mapping(rules, **values), status, **headers
    )


def test_before_anything_is_saved_the_mapping_is_off(acme) -> None:
    shown = acme.get(f"{acme.connection}/group-mapping")
    assert shown == {"enabled": False, "attribute": None, "rules": [], "apply_to_existing": False}
    before = acme.etag()
    acme.save({"a": "A"})
    shown = acme.get(f"{acme.connection}/group-mapping")
    assert shown["rules"] == [{"value": "a", "group": "A"}]
    assert acme.etag() != before


def test_the_preview_shows_what_the_save_does_and_changes_nothing(acme) -> None:
    sales, legal, both, none = (
        acme.assign(1, "Sales EMEA"),
        acme.assign(2, "Legal"),
        acme.assign(3, "x", "y"),
        acme.assign(4),
    )
    old = acme.post(f"{acme.path}/groups", {"name": "Old"})
    acme.call("PUT", f"{acme.path}/groups/{old['id']}/members/{sales['id']}", None, 204)
    rules = {"Sales EMEA": "Sales", "x": "sales", "y": "Old"}
    at = newest_event(acme)
    preview = acme.preview(rules)
    assert preview == {
        "groups_to_create": ["Sales"],
        "joins": [
            {"user": "user1@acme.test", "group": "Sales"},
            {"user": "user3@acme.test", "group": "Old"},
            {"user": "user3@acme.test", "group": "Sales"},
        ],
        "leaves": [{"user": "user1@acme.test", "group": "Old"}],
        "unmapped": [{"value": "Legal", "users": 1}],
        "summary": {"users": 2, "joins": 3, "leaves": 1},
    }
    etag = acme.etag()
    assert (newest_event(acme), len(acme.get(f"{acme.path}/groups")["items"])) == (at, 1)
    acme.preview(rules)
    assert acme.etag() == etag

    put(acme, rules, 200, etag)
    assert acme.groups_of(sales) == {"Sales": ["mapping"]}
    assert acme.groups_of(both) == {"Old": ["mapping"], "Sales": ["mapping"]}
    assert acme.groups_of(legal) == acme.groups_of(none) == {}
    assert (members(acme, "Sales"), members(acme, "Old")) == (
        ["user1@acme.test", "user3@acme.test"],
        ["user3@acme.test"],
    )
    assert sorted(changes(acme, at)) == [
        ("group.created", 0, 0),
        ("group.members_changed", 1, 1),
        ("group.members_changed", 2, 0),
    ]


def test_a_mapping_is_saved_only_as_it_was_previewed(acme) -> None:
    acme.assign(1, "Sales EMEA")
    rules = {"Sales EMEA": "Sales"}
    reported = put(acme, rules, 428, None)
    assert (reported["status"], "preview" in reported["message"]) == ("Precondition Required", True)
    acme.preview(rules)
    etag = acme.etag()
    for other in ({"Sales EMEA": "Sales", "x": "X"}, {"Sales EMEA": "Other"}):
        put(acme, other, 412, etag)
    put(acme, rules, 412, etag, apply_to_existing=False)
    put(acme, rules, 412, "*")
    acme.get(f"{acme.connection}/group-mapping")
    put(acme, rules, 412, acme.etag())
    acme.assign(2, "Sales EMEA")  # one more would move now
    put(acme, rules, 412, etag)
    assert acme.get(f"{acme.path}/groups")["items"] == []
    acme.preview(rules)
    put(acme, rules, 200, f'"x", {acme.etag()}')


def test_rules_that_another_admin_saved_meanwhile_are_not_overwritten_unseen(acme) -> None:
    acme.preview({"a": "A"}, apply_to_existing=False)
    etag = acme.etag()
    acme.save({"b": "B"}, apply_to_existing=False)
    put(acme, {"a": "A"}, 412, etag, apply_to_existing=False)
    assert acme.get(f"{acme.connection}/group-mapping")["rules"] == [{"value": "b", "group": "B"}]


def test_users_who_are_there_already_move_only_when_it_is_asked_for(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    old = acme.post(f"{acme.path}/groups", {"name": "Old"})
    acme.call("PUT", f"{acme.path}/groups/{old['id']}/members/{user['id']}", None, 204)
    preview = acme.preview({"Sales EMEA": "Sales", "z": "Z"}, apply_to_existing=False)
    assert (preview["joins"], preview["leaves"], preview["unmapped"]) == ([], [], [])
    acme.save({"Sales EMEA": "Sales"}, apply_to_existing=False)
    assert acme.groups_of(user) == {"Old": ["manual"]}
    # Its next write brings it to where the rules lead, and ends what was given by hand.
    acme.okta.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"displayName": "New"}})
    assert acme.groups_of(user) == {"Sales": ["mapping"]}


def test_everybody_follows_the_value_that_the_identity_provider_sends_next(acme) -> None:
    acme.save({"Sales EMEA": "Sales", "Legal": "Legal"})
    user = acme.assign(1, "Sales EMEA")
    assert acme.groups_of(user) == {"Sales": ["mapping"]}
    for value, groups in (
        ("Legal", {"Legal": ["mapping"]}),
        (["Legal", "Sales EMEA"], {"Sales": ["mapping"], "Legal": ["mapping"]}),
        ("sales emea", {}),  # values compare exactly
        ("Legal", {"Legal": ["mapping"]}),
    ):
        operation = {"op": "replace", "path": f"{URN}:group", "value": value}
        assert acme.okta.patch(f"/Users/{user['id']}", operation).status == 200
        assert acme.groups_of(user) == groups
    assert acme.get(f"{acme.path}/users/{user['id']}")["idp_group"] == ["Legal"]
    assert acme.okta.patch(f"/Users/{user['id']}", {"op": "remove", "path": f"{URN}:group"}).status == 200
    assert acme.groups_of(user) == {}


def test_values_without_a_rule_are_counted_the_most_frequent_first(acme) -> None:
    for number, value in enumerate(("a", "b", "b", "c")):
        acme.assign(number, value)
    acme.assign(9, "b", "b")
    assert acme.preview({"c": "C"})["unmapped"] == [{"value": "b", "users": 3}, {"value": "a", "users": 1}]


def test_long_lists_are_cut_and_the_summary_counts_all(acme) -> None:
    for number in range(102):
        acme.assign(number, f"value {number}")
    preview = acme.preview({f"value {number}": f"Group {number:03}" for number in range(101)})
    assert len(preview["groups_to_create"]) == len(preview["joins"]) == 100
    assert preview["summary"] == {"users": 101, "joins": 101, "leaves": 0}


def test_a_reason_more_moves_nobody_and_a_push_is_left_alone(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    sales = acme.post(f"{acme.path}/groups", {"name": "Sales"})
    acme.call("PUT", f"{acme.path}/groups/{sales['id']}/members/{user['id']}", None, 204)
    acme.okta.group("Pushed", (user["id"],))
    at = newest_event(acme)
    preview = acme.preview({"Sales EMEA": "SALES"})
    assert (preview["groups_to_create"], preview["joins"], preview["leaves"]) == ([], [], [])
    acme.save({"Sales EMEA": "SALES"})
    assert acme.groups_of(user) == {"Pushed": ["push"], "Sales": ["mapping"]}
    assert changes(acme, at) == []


def test_switching_off_keeps_everybody_where_they_are_as_by_hand(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    acme.save({"Sales EMEA": "Sales"})
    at = newest_event(acme)
    off = {"enabled": False}
    preview = acme.call("POST", f"{acme.connection}/group-mapping/preview", off)
    assert preview["summary"] == {"users": 0, "joins": 0, "leaves": 0}
    saved = acme.call("PUT", f"{acme.connection}/group-mapping", off, If_Match=acme.etag())
    assert (saved["enabled"], saved["attribute"], len(saved["rules"])) == (False, f"{URN}:group", 1)
    assert acme.groups_of(user) == {"Sales": ["manual"]}
    assert changes(acme, at) == []
    group = acme.get(f"{acme.path}/groups")["items"][0]
    acme.call("DELETE", f"{acme.path}/groups/{group['id']}/members/{user['id']}", None, 204)
    assert acme.groups_of(user) == {}
    # Switched on again, by the rules that were kept.
    acme.save({"Sales EMEA": "Sales"})
    assert acme.groups_of(user) == {"Sales": ["mapping"]}


def test_switching_off_with_other_rules_keeps_those(acme) -> None:
    acme.save({"a": "A"})
    saved = acme.save({}, enabled=False, attribute=None)
    assert acme.get(f"{acme.connection}/group-mapping") == saved | {"apply_to_existing": False}
    group = acme.get(f"{acme.path}/groups")["items"][0]
    acme.call("DELETE", f"{acme.path}/groups/{group['id']}", None, 204)


def test_while_it_is_on_nobody_is_moved_by_hand_and_its_groups_stay(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    acme.save({"Sales EMEA": "Sales"})
    sales = acme.get(f"{acme.path}/groups")["items"][0]
    other = acme.post(f"{acme.path}/groups", {"name": "Other"})
    for method, group in (("PUT", other), ("DELETE", sales)):
        path = f"{acme.path}/groups/{group['id']}/members/{user['id']}"
        assert "Map to groups is on" in acme.call(method, path, None, 409)["message"]
    assert "Map to groups" in acme.call("DELETE", f"{acme.path}/groups/{sales['id']}", None, 409)["message"]
    # Whom nobody manages can be moved as ever.
    manual = acme.post(f"{acme.path}/users", {"user_name": "hand@acme.test"})
    acme.call("PUT", f"{acme.path}/groups/{sales['id']}/members/{manual['id']}", None, 204)
    assert members(acme, "Sales") == ["user1@acme.test", "hand@acme.test"]
    acme.call("PATCH", f"{acme.path}/groups/{sales['id']}", {"name": "Sales 2"})
    assert acme.get(f"{acme.connection}/group-mapping")["rules"] == [
        {"value": "Sales EMEA", "group": "Sales 2"}
    ]


@pytest.mark.parametrize(
    ("rules", "values", "sentence"),
    [
        ({"a": "Pushed"}, {}, "names the group 'Pushed', which an identity provider pushes"),
        ({"a": "PUSHED"}, {"enabled": False}, "which an identity provider pushes"),
        ({"": "Sales"}, {}, "rules.0.value"),
        ({"a": "  "}, {}, "rules.0.group"),
        ({"a": "Sales"}, {"attribute": None}, "attribute is missing"),
        ({"a": "Sales"}, {"attribute": "shoeSize"}, "'shoeSize' is not a text attribute"),
        (
            {"a": "Sales"},
            {"attribute": "title"},
            "'title' is not a text attribute that this connection keeps",
        ),
        ({"a": "Sales"}, {"attribute": "active"}, "not a text attribute"),
        ({"a": "Sales"}, {"attribute": "groups.display"}, "not a text attribute"),
        ({"a": "Sales"}, {"attribute": "id"}, "not a text attribute"),
        ({"a": "Sales"}, {"attribute": "name"}, "not a text attribute"),
        ({"a": "Sales"}, {"attribute": URN}, "not a text attribute"),
        ({"a": "Sales"}, {"attribute": 'emails[type eq "work"].value'}, "not a text attribute"),
        ({"a": "Sales"}, {"attribute": "emails["}, "attribute cannot be read"),
        ({"a": "Sales"}, {"attribute": 7}, "attribute: Not a valid string."),
        ({"a": "Sales"}, {"apply_to_existing": "yes"}, "apply_to_existing: Not a valid boolean."),
    ],
)
def test_a_mapping_that_cannot_stand_is_refused_with_its_reason(acme, rules, values, sentence: str) -> None:
    acme.okta.group("Pushed")
    assert sentence in acme.preview(rules, 422, **values)["message"]
    assert sentence in put(acme, rules, 422, '"x"', **values)["message"]
    assert [group["name"] for group in acme.get(f"{acme.path}/groups")["items"]] == ["Pushed"]


def test_switching_on_needs_attribute_and_rules(acme) -> None:
    refused = acme.call("POST", f"{acme.connection}/group-mapping/preview", {"enabled": True}, 422)
    assert refused["errors"]["json"].keys() == {"attribute", "rules"}


def test_any_text_attribute_that_is_kept_can_be_mapped(acme) -> None:
    user = acme.assign(1)
    acme.okta.patch(f"/Users/{user['id']}", {"op": "add", "path": "name.familyName", "value": "Sales"})
    for attribute in ("name.familyName", "urn:ietf:params:scim:schemas:core:2.0:User:name.familyName"):
        preview = acme.preview({"Sales": "S"}, attribute=attribute)
        assert preview["joins"] == [{"user": "user1@acme.test", "group": "S"}]
    acme.okta.user("user2@acme.test", emails=[{"value": "a@acme.test"}, {"value": "b@acme.test"}])
    preview = acme.preview({"b@acme.test": "B"}, attribute="emails.value")
    assert preview["joins"] == [{"user": "user2@acme.test", "group": "B"}]


def test_a_save_and_writes_of_the_identity_provider_leave_everybody_where_the_rules_lead(acme) -> None:
    users = [acme.assign(number, "a") for number in range(10)]
    acme.save({"a": "A", "b": "B"})

    def provision() -> None:
        for user in users:
            operation = {"op": "replace", "path": f"{URN}:group", "value": "b"}
            assert acme.okta.patch(f"/Users/{user['id']}", operation).status == 200
        acme.deployment.gateway.store.database.close()

    worker = threading.Thread(target=provision)
    worker.start()
    for rules in ({"a": "B", "b": "A"}, {"a": "A", "b": "C"}):
        acme.deployment.admin("POST", f"{acme.connection}/group-mapping/preview", acme.mapping(rules))
        etag = acme.etag()
        answer = acme.deployment.admin(
            "PUT", f"{acme.connection}/group-mapping", acme.mapping(rules), If_Match=etag
        )
        assert answer.status in (200, 412)
    worker.join()
    acme.save({"a": "A", "b": "C"})
    assert [acme.groups_of(user) for user in users] == [{"C": ["mapping"]}] * 10
    for group in acme.get(f"{acme.path}/groups")["items"]:
        assert len(members(acme, group["name"])) == group["members"]


def test_a_change_of_the_rules_is_in_the_activity_of_its_connection(acme) -> None:
    acme.save({"a": "A"})
    put(acme, {"a": "B"}, 412, '"old"')
    lines = acme.get(f"{acme.path}/activity?connection={acme.okta.uid}")["items"]
    operation = "PUT /connections/{connection}/group-mapping"
    assert [(line["operation"], line["status"]) for line in lines[:2]] == [(operation, 412), (operation, 200)]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"a": "b"}, "rules: Not a valid list."),
        ([{"value": "a", "group": "b", "colour": 1}], "rules.0.colour: Unknown field."),
        ([{"value": "a"}], "rules.0.group: Missing data for required field."),
        (["a"], "rules.0: Invalid input type."),
        ([{"value": "a", "group": "b" * 201}], "rules.0.group: Length must be between 1 and 200."),
        ([{"value": "a", "group": "b"}] * 1001, "rules: Longer than maximum length 1000."),
    ],
)
def test_rules_of_another_shape_are_refused_at_their_place(acme, rules, sentence: str) -> None:
    body = acme.mapping({}) | {"rules": rules}
    assert acme.call("POST", f"{acme.connection}/group-mapping/preview", body, 422)["message"] == sentence
