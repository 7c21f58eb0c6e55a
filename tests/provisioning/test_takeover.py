"""A customer moves from Okta to Entra: the new connection takes over users step by step, never by accident."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from gateway import Unavailable
from gateway.simulation.api import Answer
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, GROUP, USER
from tests.support.admin import AdminClient

pytestmark = pytest.mark.slow

SCHEMA = "urn:calendly:scim:schemas:2.0:User"
Audit = Callable[[Deployment], None]


class Move(AdminClient):
    """Acme with its old identity provider, Okta, and the new one, Entra."""

    def __init__(self, deployment: Deployment, seats: int | None = None, old: str = "okta") -> None:
        self.organization = deployment.organization("Acme", seats=seats)
        super().__init__(deployment, self.organization.uid)
        self.okta = deployment.connection(old, self.organization)
        self.entra = deployment.connection("entra", self.organization)
        self.takeover = f"/connections/{self.entra.uid}/takeover"

    def body(self, **wish: Any) -> dict[str, Any]:
        return {"from": self.okta.uid, "match": "userName"} | wish

    def preview(self, **wish: Any) -> Any:
        """What would happen; nothing does."""
        before = rows(self.deployment)
        shown = self.call("POST", self.takeover, self.body(**wish))
        assert shown["preview"] is True
        assert rows(self.deployment) == before
        return shown

    def take(self, **wish: Any) -> Any:
        """Look, then do it."""
        shown = self.preview(**wish)
        done = self.call("POST", self.takeover, self.body(preview=False, **wish), 200, If_Match=self.etag())
        assert done["preview"] is False
        assert done["moves"] == shown["moves"]
        return done

    def manager(self, user: dict[str, Any]) -> str | None:
        shown = self.call("GET", f"{self.path}/users/{user['id']}")["managed_by"]
        return shown and {self.okta.uid: "okta", self.entra.uid: "entra"}.get(shown["connection"], "other")

    def groups(self, user: dict[str, Any]) -> dict[str, list[str]]:
        shown = self.call("GET", f"{self.path}/users/{user['id']}")
        return {group["name"]: group["sources"] for group in shown["groups"]}

    def assign(self, number: int, **attributes: Any) -> dict[str, Any]:
        """Okta creates a user."""
        name = f"user{number}@acme.test"
        emails = [{"primary": True, "type": "work", "value": name}]
        return self.okta.user(name, **({"externalId": f"00u{number}", "emails": emails} | attributes))


@pytest.fixture
def move(deployment: Deployment) -> Move:
    return Move(deployment)


def rows(deployment: Deployment) -> dict[str, list[Any]]:
    tables = ("users", "groups", "grants", "events", "tallies", "organizations", "connections")
    return {t: sorted(deployment.gateway.store.database.all(f"SELECT * FROM {t}")) for t in tables}


def found(scim: Scim, name: str) -> list[str]:
    """The ids that an identity provider finds by a userName."""
    answer = scim.call("GET", f"/Users?filter=userName+eq+%22{name}%22")
    assert answer.status == 200
    return [user["id"] for user in answer.json["Resources"]]


def named(page: list[dict[str, Any]]) -> dict[str, str]:
    return {each["user_name"]: each["reason"] for each in page}


# The whole conversation -------------------------------------------------------------------------------------------


def test_from_okta_to_entra_step_by_step(move: Move, audit: Audit) -> None:
    okta, entra = move.okta, move.entra
    first, second = move.assign(1, **{SCHEMA: {"group": "Sales"}}), move.assign(2)
    pushed = okta.group("Pushed", (first["id"], second["id"]))
    hand = move.call("POST", f"{move.path}/groups", {"name": "By hand"}, 201)
    move.call("PUT", f"{move.path}/groups/{hand['id']}/members/{first['id']}", None, 204)
    seats = move.call("GET", f"{move.path}/seats")["used"]

    # Before: Entra neither sees nor makes them, and the refusal says how an admin helps.
    assert found(entra, "user1@acme.test") == []
    refused = entra.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"})
    assert (refused.status, refused.json["scimType"]) == (409, "uniqueness")
    assert "an admin of the application lets this connection take it over" in refused.json["detail"]

    # The pilot: one user, by name. The preview moves nobody.
    shown = move.preview(users=["USER1@acme.test", "nobody@acme.test"])
    assert shown["moves"] == [
        {"id": first["id"], "user_name": "user1@acme.test", "found_by": ["user1@acme.test"]}
    ]
    assert named(shown["stays"]) == {"nobody@acme.test": "not_found"}
    assert shown["summary"] == {"moves": 1, "stays": 1, "more": False}
    assert (move.manager(first), move.manager(second)) == ("okta", "okta")
    version = okta.call("GET", f"/Users/{first['id']}").json["meta"]["version"]
    etags = [okta.call("GET", f"/Groups/{pushed['id']}").json["meta"]["version"]]
    move.take(users=["USER1@acme.test", "nobody@acme.test"])
    assert (move.manager(first), move.manager(second)) == ("entra", "okta")

    # Nothing is renamed, the seat and the groups are what they were; what Okta pushed is now theirs by hand.
    kept = move.call("GET", f"{move.path}/users/{first['id']}")
    assert (kept["user_name"], kept["active"], kept["idp_group"]) == ("user1@acme.test", True, ["Sales"])
    assert move.groups(first) == {"Pushed": ["manual"], "By hand": ["manual"]}
    assert move.groups(second) == {"Pushed": ["push"]}
    assert move.call("GET", f"{move.path}/seats")["used"] == seats

    # Okta no longer sees the user, in whatever way it tries, and harms nothing.
    uid = first["id"]
    assert found(okta, "user1@acme.test") == []
    off = {"op": "replace", "value": {"active": False}}
    for answer in (
        okta.call("GET", f"/Users/{uid}"), okta.patch(f"/Users/{uid}", off), okta.call("DELETE", f"/Users/{uid}"),
        okta.call("PUT", f"/Users/{uid}", {"schemas": [USER], "userName": "user1@acme.test", "active": False}),
    ):  # fmt: skip
        assert answer.status == 404
    members = okta.call("GET", f"/Groups/{pushed['id']}").json
    assert [member["value"] for member in members["members"]] == [second["id"]]
    etags.append(members["meta"]["version"])
    assert etags[0] != etags[1]
    remove = {"op": "remove", "path": f'members[value eq "{uid}"]'}
    assert okta.patch(f"/Groups/{pushed['id']}", remove).status in (200, 204)
    whole = {"schemas": [GROUP], "displayName": "Pushed", "members": [{"value": second["id"]}]}
    assert okta.call("PUT", f"/Groups/{pushed['id']}", whole).status == 200
    assert move.groups(first) == {"Pushed": ["manual"], "By hand": ["manual"]}
    again = okta.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"})
    assert (again.status, "'Entra' (entra)" in again.json["detail"]) == (409, True)

    # Entra finds the user, links it and updates it, as in any cycle.
    assert found(entra, "user1@acme.test") == [uid]
    linked = entra.patch(
        f"/Users/{uid}",
        {"op": "Add", "path": "externalId", "value": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"},
        {"op": "Replace", "path": "displayName", "value": "Given1 Family1"},
    )
    assert (linked.status, linked.json["externalId"][:8]) == (200, "0a21f0f2")
    assert (linked.json["displayName"], linked.json["meta"]["version"]) != (None, version)
    assert entra.patch(f"/Users/{uid}", {"op": "Replace", "path": "active", "value": "False"}).status == 200
    assert move.call("GET", f"{move.path}/seats")["used"] == seats - 1
    assert entra.patch(f"/Users/{uid}", {"op": "Replace", "path": "active", "value": "True"}).status == 200

    # Everybody else follows, and Okta has nobody left.
    move.take()
    assert (move.manager(first), move.manager(second)) == ("entra", "entra")
    assert okta.call("GET", "/Users").json["totalResults"] == 0
    assert entra.call("GET", "/Users").json["totalResults"] == 2
    assert move.take()["summary"] == {"moves": 0, "stays": 0, "more": False}

    # Followers of the feed and the activity can see what happened.
    feed = move.call("GET", f"{move.path}/events?after=0&limit=100")["items"]
    moved = [event for event in feed if event["type"] == "user.updated" and event["connection"] is None]
    assert [event["resource_id"] for event in moved] == [first["id"], second["id"]]
    assert "externalId" not in moved[0]["data"]
    assert [group["display"] for group in moved[0]["data"]["groups"]] == ["By hand"]
    lines = move.call("GET", f"{move.path}/activity?user=user1@acme.test")["items"]
    line = next(line for line in lines if "takeover" in line["operation"])
    assert (line["status"], line["connection"]) == (200, entra.uid)
    assert line["detail"] == "The connection 'Entra' took the user over from 'Okta'."

    # In the end Okta goes; its groups are there for Entra to link by their name.
    move.call("DELETE", f"/connections/{okta.uid}", None, 204)
    assert move.groups(first) == {"Pushed": ["manual"], "By hand": ["manual"]}
    audit(move.deployment)


def test_entra_brings_back_whom_it_deleted_after_the_takeover(move: Move, audit: Audit) -> None:
    """Without the externalId of Okta, which would stand in the way."""
    user = move.assign(1)
    move.take()
    assert move.entra.call("DELETE", f"/Users/{user['id']}").status == 204
    body = {"schemas": [USER], "userName": "user1@acme.test", "externalId": "0a21f0f2", "active": True}
    back = move.entra.call("POST", "/Users", body)
    assert (back.status, back.json["id"], move.manager(user)) == (201, user["id"], "entra")
    audit(move.deployment)


def test_two_users_of_one_external_id_are_not_mistaken_for_each_other(move: Move, audit: Audit) -> None:
    """Both providers number their people the same way; the new one had one already."""
    old = move.assign(1, externalId="42")
    new = move.entra.user("new@acme.test", externalId="42")
    move.take()
    answer = move.entra.call("GET", "/Users?filter=externalId+eq+%2242%22").json
    assert [user["id"] for user in answer["Resources"]] == [new["id"]]
    assert move.entra.call("GET", f"/Users/{old['id']}").json.get("externalId") is None
    audit(move.deployment)


# Who stays --------------------------------------------------------------------------------------------------------


def mail(*addresses: str) -> list[dict[str, str]]:
    return [{"type": "work", "value": address} for address in addresses]


def test_by_e_mail_only_who_is_found_for_certain_moves(deployment: Deployment, audit: Audit) -> None:
    """Entra's people have other userNames, and it has made some accounts already: those would be two of one person."""
    move = Move(deployment, old="generic")  # Okta's plugin gives everybody an address
    sure = move.assign(1)
    without, twin, doubled = move.assign(2, emails=[]), move.assign(3), move.assign(4)
    move.assign(5, emails=mail("User3@ACME.test"))
    move.entra.user("given4@new.acme.test", emails=mail("user4@acme.test"))
    gone = move.assign(6, emails=mail("user1@acme.test"))
    assert move.okta.call("DELETE", f"/Users/{gone['id']}").status == 204
    shown = move.take(match="email")
    assert shown["moves"] == [
        {"id": sure["id"], "user_name": "user1@acme.test", "found_by": ["user1@acme.test"]}
    ]
    assert named(shown["stays"]) == {
        "user2@acme.test": "no_email",
        "user3@acme.test": "email_taken",
        "user4@acme.test": "email_taken",
        "user5@acme.test": "email_taken",
    }
    assert [move.manager(user) for user in (sure, without, twin, doubled)] == [
        "entra",
        "okta",
        "okta",
        "okta",
    ]
    answer = move.entra.call("GET", "/Users?filter=emails[type+eq+%22work%22].value+eq+%22USER1@acme.test%22")
    assert [user["id"] for user in answer.json["Resources"]] == [sure["id"]]
    audit(move.deployment)


def test_whoever_is_named_and_cannot_move_is_told_why(move: Move) -> None:
    okta = move.assign(1)
    entra = move.entra.user("entra@acme.test")
    hand = move.call("POST", f"{move.path}/users", {"user_name": "hand@acme.test"}, 201)
    gone = move.assign(2)
    assert move.okta.call("DELETE", f"/Users/{gone['id']}").status == 204
    foreign = move.deployment.connection("okta").user("foreign@acme.test")
    everybody = [
        okta["id"],
        "USER1@ACME.TEST",
        entra["id"],
        hand["id"],
        gone["id"],
        "user2@acme.test",
        foreign["id"],
    ]
    shown = move.take(users=everybody)
    assert [user["user_name"] for user in shown["moves"]] == ["user1@acme.test"]
    assert [(each["user_name"], each["reason"]) for each in shown["stays"]] == [
        ("entra@acme.test", "already_managed"),
        ("hand@acme.test", "managed_elsewhere"),
        ("user2@acme.test", "deleted"),
        ("user2@acme.test", "not_found"),
        (foreign["id"], "not_found"),
    ]
    assert all(each["message"].endswith(".") for each in shown["stays"])


def test_a_limit_takes_the_first_and_says_that_there_are_more(move: Move) -> None:
    users = [move.assign(number) for number in range(1, 6)]
    for expected, more in ((2, True), (2, True), (1, False)):
        assert move.take(limit=2)["summary"] == {"moves": expected, "stays": 0, "more": more}
    assert {move.manager(user) for user in users} == {"entra"}


def test_deactivated_users_move_as_they_are(move: Move, audit: Audit) -> None:
    user = move.assign(1)
    assert (
        move.okta.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"active": False}}).status == 200
    )
    move.take()
    assert move.entra.call("GET", f"/Users/{user['id']}").json["active"] is False
    assert move.deployment.used(move.organization) == 0
    audit(move.deployment)


def test_no_seat_is_needed_however_full_it_is(deployment: Deployment, audit: Audit) -> None:
    move = Move(deployment, seats=2)
    for number in (1, 2):
        move.assign(number)
    move.call("PATCH", move.path, {"seats": {"limit": 1}})
    assert move.take()["summary"]["moves"] == 2
    assert deployment.used(move.organization) == 2
    audit(deployment)


# Groups -----------------------------------------------------------------------------------------------------------


def save_mapping(move: Move, connection: Scim, **mapping: str) -> None:
    rules = [{"value": value, "group": group} for value, group in mapping.items()]
    body = {"enabled": True, "attribute": f"{SCHEMA}:group", "rules": rules, "apply_to_existing": True}
    path = f"/connections/{connection.uid}/group-mapping"
    move.call("POST", f"{path}/preview", body)
    move.call("PUT", path, body, 200, If_Match=move.etag())


def test_what_a_mapping_granted_is_kept(move: Move, audit: Audit) -> None:
    """By hand where the new connection maps nobody; else by its mapping, which decides at the user's next change."""
    first, second = (move.assign(number, **{SCHEMA: {"group": "Sales"}}) for number in (1, 2))
    save_mapping(move, move.okta, Sales="Sales team")
    move.take(users=[first["id"]])
    assert move.groups(first) == {"Sales team": ["manual"]}
    save_mapping(move, move.entra, Sales="Sales team")
    assert move.groups(first) == {"Sales team": ["mapping"]}
    move.take(users=[second["id"]])
    assert move.groups(second) == {"Sales team": ["mapping"]}
    change = {"op": "Replace", "path": f"{SCHEMA}:group", "value": "Legal"}
    assert move.entra.patch(f"/Users/{second['id']}", change).status == 200
    assert (move.groups(first), move.groups(second)) == ({"Sales team": ["mapping"]}, {})
    audit(move.deployment)


def test_a_group_that_the_new_provider_pushed_too_early_gets_its_members(move: Move, audit: Audit) -> None:
    user = move.assign(1)
    group = move.entra.group("Early", (user["id"],))
    assert move.groups(user) == {}
    move.take()
    assert move.groups(user) == {"Early": ["push"]}
    assert move.entra.call("GET", f"/Groups/{group['id']}").json["members"][0]["value"] == user["id"]
    audit(move.deployment)


# Never by accident ------------------------------------------------------------------------------------------------


def send(move: Move, body: dict[str, Any], **headers: str) -> Answer:
    return move.deployment.admin("POST", move.takeover, body, **headers)


def test_nobody_moves_without_a_preview_of_just_this(move: Move) -> None:
    first = move.assign(1)
    assert send(move, move.body(preview=False)).status == 428
    assert send(move, move.body(preview=False), If_Match='"0"').status == 412
    assert send(move, move.body(preview=False), If_Match="*").status == 412
    move.preview()
    etag = move.etag()
    before = rows(move.deployment)
    for other in ({"match": "email"}, {"users": ["nobody@acme.test"]}):
        assert send(move, move.body(preview=False, **other), If_Match=etag).status == 412
    assert rows(move.deployment) == before
    # Somebody came: it is another takeover now.
    late = move.assign(2)
    refused = send(move, move.body(preview=False), If_Match=etag)
    assert (refused.status, "new preview" in refused.json["message"]) == (412, True)
    assert move.okta.call("DELETE", f"/Users/{late['id']}").status == 204
    # And as many again, but not the same.
    assert move.okta.call("DELETE", f"/Users/{first['id']}").status == 204
    instead = move.assign(3)
    assert send(move, move.body(preview=False), If_Match=etag).status == 412
    move.preview()
    etag = move.etag()
    renamed = {"schemas": [USER], "userName": "renamed@acme.test", "active": True}
    assert move.okta.call("PUT", f"/Users/{instead['id']}", renamed).status == 200
    assert send(move, move.body(preview=False), If_Match=etag).status == 412
    assert move.take()["summary"]["moves"] == 1


def test_who_changed_between_the_look_and_the_move_is_looked_at_again(
    move: Move, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = move.deployment.connection("generic", move.organization)
    kept, gone, elsewhere, already, doubled = (move.assign(number) for number in range(1, 6))
    takeover = move.deployment.gateway.takeover
    preview, once = takeover.preview, [True]

    def and_then(*arguments: Any) -> Any:
        shown = preview(*arguments)
        if once and once.pop():
            assert move.okta.call("DELETE", f"/Users/{gone['id']}").status == 204
            for user, target in ((elsewhere, third), (already, move.entra)):
                url, wish = f"/connections/{target.uid}/takeover", move.body(users=[user["id"]])
                move.call("POST", url, wish)
                move.call("POST", url, wish | {"preview": False}, 200, If_Match=move.etag())
            third.user("other@acme.test", emails=mail("user5@acme.test"))
        return shown

    move.call("POST", move.takeover, move.body(match="email"))
    etag = move.etag()
    monkeypatch.setattr(takeover, "preview", and_then)
    done = move.call("POST", move.takeover, move.body(match="email", preview=False), 200, If_Match=etag)
    assert [user["user_name"] for user in done["moves"]] == ["user1@acme.test"]
    assert {each["user_name"]: each["reason"] for each in done["stays"]} == {
        "user2@acme.test": "deleted",
        "user3@acme.test": "managed_elsewhere",
        "user4@acme.test": "already_managed",
        "user5@acme.test": "email_taken",
    }
    assert [move.manager(user) for user in (kept, elsewhere, already, doubled)] == [
        "entra",
        "other",
        "entra",
        "okta",
    ]
    audit(move.deployment)


def test_a_takeover_that_breaks_off_names_the_users_moved_before(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        move.assign(number)
    monkeypatch.setattr("gateway.provisioning.takeover._USERS_PER_PORTION", 1)
    takeover = move.deployment.gateway.takeover
    step, steps = takeover._move_portion, []

    def breaks_off(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) > 2:
            raise Unavailable("The disk is full. Nothing was changed.")
        return step(*arguments)

    move.preview()
    etag = move.etag()
    monkeypatch.setattr(takeover, "_move_portion", breaks_off)
    refused = send(move, move.body(preview=False), If_Match=etag)
    assert (refused.status, "Before that 2 users were taken over" in refused.json["message"]) == (503, True)
    monkeypatch.setattr(takeover, "_move_portion", step)
    assert move.take()["summary"] == {"moves": 1, "stays": 0, "more": False}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing said": ({"from": None, "match": None}, "from: Field may not be null."),
    "an unknown way": ({"match": "displayName"}, "match: Must be one of: userName, email."),
    "itself": ({"from": "entra"}, "`from` is this very connection"),
    "a connection of somebody else": ({"from": "foreign"}, "`from` is not the id of a connection of this"),
    "one that is not there": ({"from": "nowhere"}, "`from` is not the id of a connection of this"),
    "nobody": ({"users": []}, "users: Length must be between 1 and 1000."),
    "too few": ({"limit": 0}, "limit: Must be greater than or equal to 1"),
    "too many": (
        {"limit": 10_001},
        "limit: Must be greater than or equal to 1 and less than or equal to 10000.",
    ),
    "perhaps": ({"preview": "no"}, "preview: Not a valid boolean."),
    "a misspelt field": ({"user": ["user1@acme.test"]}, "user: Unknown field."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_and_moves_nobody(move: Move, case: str) -> None:
    wish, sentence = REFUSED[case]
    user = move.assign(1)
    places = {"entra": move.entra.uid, "foreign": move.deployment.connection("okta").uid}
    wish = wish | ({"from": places.get(wish["from"], wish["from"])} if "from" in wish else {})
    for preview in (True, False):
        refused = send(move, {"preview": preview} | move.body(**wish), If_Match="*")
        assert refused.status == 422, refused.text
        assert sentence in refused.json["message"]
    assert move.manager(user) == "okta"


def test_an_admin_of_another_organization_takes_nobody(move: Move) -> None:
    user = move.assign(1)
    other = move.deployment.connection("okta", move.deployment.organization("Other"))
    _, token = move.deployment.gateway.store.admin_tokens.add(other.organization, "other")
    answer = move.deployment.admin("POST", move.takeover, move.body(), token=token)
    assert answer.status == 404
    into = move.deployment.admin("POST", f"/connections/{other.uid}/takeover", move.body(), token=token)
    assert (into.status, "`from` is not the id" in into.json["message"]) == (422, True)
    scim = move.deployment.admin("POST", move.takeover, move.body(), token=move.entra.token)
    assert (scim.status, move.manager(user)) == (401, "okta")


def test_users_can_be_taken_from_a_plugin_that_is_gone_but_not_by_one(move: Move, tmp_path: Any) -> None:
    user = move.assign(1)
    move.deployment.close()
    for disabled, status in (("entra", 409), ("okta", 200)):
        later = Deployment(tmp_path / "instance", plugins_disabled=(disabled,))
        answer = later.admin("POST", move.takeover, move.body())
        assert answer.status == status, answer.text
        if status == 200:
            etag = later.last_headers["ETag"]
            assert later.admin("POST", move.takeover, move.body(preview=False), If_Match=etag).status == 200
            assert (
                Scim(later, move.entra.uid, move.entra.token).call("GET", f"/Users/{user['id']}").status
                == 200
            )
        later.close()


# Many, and at once --------------------------------------------------------------------------------------------------


def test_okta_writes_on_while_it_is_taken_over(deployment: Deployment, audit: Audit, together: Any) -> None:
    """Each of its answers is true: what it was answered to be stored is stored, the rest is 404 or 409."""
    move = Move(deployment)
    users = [move.assign(number) for number in range(60)]
    outcomes: dict[str, list[int]] = {user["id"]: [] for user in users}

    def writer(own: list[dict[str, Any]]) -> None:
        for turn in range(3):
            for user in own:
                active = {"op": "replace", "value": {"active": turn % 2 == 1, "title": f"Turn {turn}"}}
                outcomes[user["id"]].append(move.okta.patch(f"/Users/{user['id']}", active).status)

    def taker() -> None:
        # A client of its own: `deployment.last_headers` are of whoever called last.
        client, moved = deployment.app.test_client(), 1
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        while moved:
            wish, url = move.body(limit=7), f"/admin/v1{move.takeover}"
            etag = client.post(url, json=wish, headers=headers).headers["ETag"]
            tried = client.post(url, json=wish | {"preview": False}, headers=headers | {"If-Match": etag})
            assert tried.status_code == 200, tried.text
            moved = tried.get_json()["summary"]["moves"]

    together(deployment, [taker, *(lambda n=n: writer(users[n::3]) for n in range(3))])
    assert {status for each in outcomes.values() for status in each} <= {200, 404}
    assert {move.manager(user) for user in users} == {"entra"}
    last: dict[str, dict[str, Any]] = {}
    for kind, data in deployment.events(move.organization):
        if kind.startswith("user."):
            last[data["id"]] = data
    for user in users:
        statuses = outcomes[user["id"]]
        # Once it was gone it stayed gone.
        assert statuses == sorted(statuses)
        stored = move.entra.call("GET", f"/Users/{user['id']}").json
        turn = statuses.count(200) - 1
        assert stored["active"] is (True if turn < 0 else turn % 2 == 1)
        assert {**stored, "meta": {**stored["meta"], "location": None}} == {
            **last[user["id"]], "meta": {**last[user["id"]]["meta"], "location": None},
        }  # fmt: skip
    audit(deployment)


@pytest.mark.slow
@pytest.mark.sqlite  # memory and time of this process
def test_thousands_of_users_move_in_seconds_and_in_little_memory(deployment: Deployment) -> None:
    move, number = Move(deployment), 3_000
    store, record = deployment.gateway.store, move.okta.connection
    with store.transaction():
        for n in range(number):
            name = f"user{n}@acme.test"
            document = {"schemas": [USER], "userName": name, "displayName": f"Given{n}", "externalId": f"00u{n}",
                        "emails": mail(name), "active": True}  # fmt: skip
            store.users.add(record.organization_id, record.id, document)
        store.organizations.count(record.organization_id, "User", record.id, number)
        store.database.run(
            "UPDATE organizations SET seats_used = ? WHERE id = ?", number, record.organization_id
        )
    shown = move.call("POST", move.takeover, move.body(match="email"))
    assert (shown["summary"]["moves"], len(shown["moves"])) == (number, 100)
    etag = move.etag()
    tracemalloc.start()
    began = time.process_time()
    body = move.body(match="email", preview=False)
    done = move.call("POST", move.takeover, body, 200, If_Match=etag)
    seconds = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done["summary"] == {"moves": number, "stays": 0, "more": False}
    assert move.entra.call("GET", "/Users?count=0").json["totalResults"] == number
    assert move.okta.call("GET", "/Users?count=0").json["totalResults"] == 0
    # Traced memory slows everything down; untraced it is a third of it.
    assert seconds < 30
    # A portion takes one to two megabytes, however many portions there are.
    assert peak < 3_000_000
    reported = store.database.one("SELECT COUNT(*) FROM events WHERE type = 'user.updated'")
    assert reported == (number,)
    assert done["moves"][0]["found_by"] == ["user0@acme.test"]
