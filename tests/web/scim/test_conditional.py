"""Conditional requests: a 304 is given for what the client has, and never for what it has not (RFC 9110, 13)."""

import random

import pytest

from gateway.scim.schemas import BULK_REQUEST_URN
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, PATCH, USER

pytestmark = pytest.mark.slow


class House:
    """Two connections of one organization, and what each sees: its own users and groups, and those of nobody."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.gateway = deployment, deployment.gateway
        self.organization = deployment.organization()
        self.a = deployment.connection("generic", self.organization)
        self.b = deployment.connection("generic", self.organization)
        self.bases = {scim: scim.base for scim in (self.a, self.b)}
        self.ada, self.bob = self.a.user("ada@acme.test"), self.a.user("bob@acme.test", displayName=None)
        self.eve = self.b.user("eve@acme.test")
        self.hand = self.as_admin(self.gateway.users.make, {"user_name": "hand@acme.test"}).user
        self.staff, self.other = (
            self.as_admin(self.gateway.groups.make, name) for name in ("Staff", "Other")
        )
        for uid in (self.ada["id"], self.eve["id"], self.hand.uid):
            self.as_admin(self.gateway.groups.set_member, self.staff.uid, uid, True)
        self.sales = self.a.group("Sales", (self.ada["id"], self.bob["id"]))
        self.bs = self.b.group("Bs", (self.eve["id"], self.hand.uid))
        users = f"/Users/{self.ada['id']}", f"/Users/{self.hand.uid}"
        groups = f"/Groups/{self.sales['id']}", f"/Groups/{self.staff.uid}"
        asked = "", "?excludedAttributes=members", "?attributes=displayName,groups,members.display"
        self.views = {
            f"{name} {path}{query}": (scim, path + query)
            for name, scim in (("a", self.a), ("b", self.b))
            for path in users + groups
            for query in asked
            if name == "a" or path in (users[1], groups[1])
        }  # fmt: skip

    def as_admin(self, use_case, *arguments):
        """Run an operation as an admin."""
        return use_case(
            self.gateway.callers.admin(self.organization),
            *arguments,
            self.deployment.trace(self.organization),
        )

    def get(self, view, tag=None, method="GET"):
        """The answer and its tag."""
        scim, path = self.views[view]
        headers = {"Authorization": f"Bearer {scim.token}"} | ({} if tag is None else {"If-None-Match": tag})
        answer = self.deployment.call(method, self.bases[scim] + path, None, headers)
        return answer, self.deployment.last_headers.get("ETag")

    def patch(self, path, *operations, scim=None):
        answer = (scim or self.a).patch(path, *operations)
        assert answer.status < 300, answer.text

    def rename(self, uid, name, attribute="displayName", scim=None):
        self.patch(f"/Users/{uid}", {"op": "replace", "path": attribute, "value": name}, scim=scim)

    def members(self, op, *uids):
        operation = {"op": op, "path": "members", "value": [{"value": uid} for uid in uids]}
        if op == "remove":
            operation = {"op": op, "path": f'members[value eq "{uids[0]}"]'}
        self.patch(f"/Groups/{self.sales['id']}", operation)

    def delete(self, path, scim=None):
        assert (scim or self.a).call("DELETE", path).status == 204

    def remove_b(self):
        self.as_admin(self.gateway.setup.remove_connection, self.b.connection)

    def wait_and_restore(self):
        """A group waits for a deleted user, who comes back."""
        self.delete(f"/Users/{self.bob['id']}")
        self.members("add", self.bob["id"])
        self.a.user("bob@acme.test")


def is_projection(view):
    """Whether something of the stored text is left out; members that are not wanted were never in it."""
    return "?attributes" in view or ("/Users" in view and "?" in view)


@pytest.fixture
def house(deployment):
    return House(deployment)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """One for those who change nothing."""
    deployment = Deployment(tmp_path_factory.mktemp("still") / "instance")
    yield House(deployment)
    deployment.close()


def test_what_the_client_has_is_not_sent_again(still):
    for view in still.views:
        if is_projection(view):
            continue
        answer, tag = still.get(view)
        for method in ("GET", "HEAD"):
            again, same = still.get(view, tag, method)
            assert (again.status, again.text, same) == (304, "", tag), view
            headers = still.deployment.last_headers
            assert not {"Content-Type", "Content-Length", "Transfer-Encoding"} & set(headers.keys())
            # RFC 9110, 15.4.5: what the 200 would say of where it is.
            assert headers["Content-Location"] == answer.json["meta"]["location"]
        assert still.get(view)[0].json == answer.json


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("*", 304), (" * ", 304), ("{tag}", 304), ("{strong}", 304), ('W/"0", {tag}', 304), ('{tag},"x"', 304),
        (', ,\t{tag} ,', 304), ('"a,b", {tag}', 304), ('"", {tag}', 304), ('"ä",{tag}', 304),
        ("", 200), ('W/"0"', 200), ('"0", W/"00"', 200), ("{bare}", 200), ('{tag}, {bare}', 200), ("*, {tag}", 200),
        ("{tag} {tag}", 200), ("w/{strong}", 200), ("W/ {strong}", 200), ('"a {tag}', 200), ("'{bare}'", 200),
        ('"{tag}"', 200), (" ," * 4000 + "x", 200), (" " * 60_000 + "x", 200),
    ],
)  # fmt: skip
def test_a_list_of_tags_is_read_as_the_rfc_has_it(still, header, status):
    view = f"a /Groups/{still.sales['id']}"
    tag = still.get(view)[1]
    header = header.format(tag=tag, strong=tag.removeprefix("W/"), bare=tag[3:-1])
    assert still.get(view, header)[0].status == status


# Each way in which what is shown may change: what is done, and a view that it changes -----------------------------

CHANGES = {
    "a user is changed": (lambda h: h.rename(h.ada["id"], "Countess"), "a {ada}"),
    "a user is deactivated": (lambda h: h.rename(h.ada["id"], False, "active"), "a {ada}"),
    "a user joins": (lambda h: h.as_admin(h.gateway.groups.set_member, h.other.uid, h.ada["id"], True), "a {ada}"),
    "a user leaves": (lambda h: h.members("remove", h.ada["id"]), "a {ada}"),
    "a user's group is renamed": (
        lambda h: h.patch(f"/Groups/{h.sales['id']}", {"op": "replace", "path": "displayName", "value": "Sold"}),
        "a {ada}"),
    "a user's group is renamed by an admin": (
        lambda h: h.as_admin(h.gateway.groups.rename, h.staff.uid, "Crew"), "a {ada}"),
    "a user's group is removed": (lambda h: h.delete(f"/Groups/{h.sales['id']}"), "a {ada}"),
    "a user's group takes another's name": (
        lambda h: (h.delete(f"/Groups/{h.sales['id']}"), h.a.group("Sales", (h.ada["id"],))), "a {ada}"),
    "a user's hidden group comes to light": (lambda h: h.remove_b(), "a {hand}"),
    "a user's group is taken over": (
        lambda h: h.patch(f"/Groups/{h.staff.uid}", {"op": "replace", "path": "externalId", "value": "x"}), "b {hand}"),
    "a user is deleted and restored": (
        lambda h: (h.delete(f"/Users/{h.ada['id']}"), h.a.user("ada@acme.test")), "a {ada}"),
    "a group is renamed": (
        lambda h: h.patch(f"/Groups/{h.sales['id']}", {"op": "replace", "path": "displayName", "value": "Sold"}),
        "a {sales}"),
    "a member joins": (lambda h: h.members("add", h.hand.uid), "a {sales}"),
    "a member leaves": (lambda h: h.members("remove", h.ada["id"]), "a {sales}"),
    "members are swapped": (lambda h: h.members("replace", h.ada["id"], h.hand.uid), "a {sales}"),
    "a member is renamed": (lambda h: h.rename(h.ada["id"], "Countess"), "a {sales}"),
    "a member without a display name has another user name": (
        lambda h: h.rename(h.bob["id"], "bob2@acme.test", "userName"), "a {sales}"),
    "a member that nobody manages is renamed by an admin": (
        lambda h: h.as_admin(h.gateway.users.edit, h.hand.uid, {"display_name": "Hand"}), "b {staff}"),
    "a member is renamed in a group of nobody": (lambda h: h.rename(h.hand.uid, "Hand"), "a {staff}"),
    "a member is deleted": (lambda h: h.delete(f"/Users/{h.ada['id']}"), "a {sales}"),
    "a member is deleted by an admin": (lambda h: h.as_admin(h.gateway.users.delete, h.hand.uid), "b {staff}"),
    "a member is deleted and restored": (
        lambda h: (h.delete(f"/Users/{h.ada['id']}"), h.a.user("ada@acme.test")), "a {sales}"),
    "a member that was waited for comes": (lambda h: h.wait_and_restore(), "a {sales}"),
    "a member is taken over by another connection": (lambda h: h.rename(h.hand.uid, "Hand"), "b {staff}"),
    "a hidden member comes to light": (lambda h: h.remove_b(), "a {staff}"),
    "what a connection keeps of a user is set otherwise": (
        lambda h: h.as_admin(lambda c, t: h.gateway.setup.edit_connection(c, h.a.connection, {"name": "A"}, t)), None),
    "nothing": (lambda h: None, None),
}  # fmt: skip


def see(house):
    """What each view shows, with its tag."""
    return {view: house.get(view) for view in house.views}


@pytest.mark.parametrize("name", CHANGES)
def test_a_304_given_before_a_change_is_not_given_after_it(house, name):
    change, changed = CHANGES[name]
    before = see(house)
    change(house)
    for view, (old, tag) in before.items():
        now, _ = house.get(view)
        again, _ = house.get(view, tag)
        assert again.status in (304, now.status), view
        assert now.text == old.text or (again.status, again.text) == (now.status, now.text), view
    if changed:
        words = {"ada": house.ada["id"], "hand": house.hand.uid}
        groups = {"sales": house.sales["id"], "staff": house.staff.uid}
        paths = {word: f"/Users/{uid}" for word, uid in words.items()}
        view = changed.format(**paths, **{word: f"/Groups/{uid}" for word, uid in groups.items()})
        assert house.get(view)[0].text != before[view][0].text
        assert house.get(view, before[view][1])[0].status != 304


def test_of_a_user_one_tag_never_names_two_bodies(house):
    """And a 304 stands for every body that anybody got with that tag, whatever happened since."""
    dice, seen = random.Random(7), {view: {} for view in house.views}
    kept = 0

    def look():
        nonlocal kept
        for view, bodies in seen.items():
            now, tag = house.get(view)
            for old in list(bodies):
                if house.get(view, old)[0].status == 304:
                    assert bodies[old] == {now.text}, (view, old)
                    kept += 1
            if now.status == 200:
                bodies.setdefault(tag, set()).add(now.text)
                assert len(bodies[tag]) == 1 or "/Users" not in view, (view, bodies[tag])

    def step(number):
        uid = dice.choice([house.ada["id"], house.bob["id"], house.hand.uid])
        dice.choice([
            lambda: house.rename(uid, f"Name{number % 3}"),
            lambda: house.members("add", uid),
            lambda: house.members("remove", uid),
            lambda: house.as_admin(house.gateway.groups.set_member, house.other.uid, uid, dice.random() < 0.5),
            lambda: house.as_admin(house.gateway.groups.rename, house.other.uid, f"Other{number % 2}"),
        ])()  # fmt: skip

    look()
    for number in range(12):
        step(number)
        look()
    assert kept > 60


def test_a_projection_is_always_sent_whole(house):
    for view in house.views:
        assert house.get(view, house.get(view)[1])[0].status == (200 if is_projection(view) else 304)


# One tag for one user, wherever it is shown -----------------------------------------------------------------------


def test_the_tag_is_the_version_in_lists_searches_and_bulk(house):
    for view, (scim, path) in house.views.items():
        answer, tag = house.get(view)
        if "?" in path:
            continue
        assert answer.json["meta"]["version"] == tag
        uid, kind = answer.json["id"], path.split("/")[1]
        listed = scim.call("GET", f'/{kind}?filter=id eq "{uid}"').json["Resources"][0]
        search = {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
            "filter": f'id eq "{uid}"',
        }
        found = scim.call("POST", "/.search", search).json["Resources"][0]
        assert listed["meta"]["version"] == found["meta"]["version"] == tag
    assert "-" in house.get(f"a /Users/{house.ada['id']}")[1]
    data = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "title", "value": "Dr"}]}
    operation = {"method": "PATCH", "path": f"/Users/{house.ada['id']}", "data": data}
    as_admin = house.a.call("POST", "/Bulk", {"schemas": [BULK_REQUEST_URN], "Operations": [operation]}).json[
        "Operations"
    ]
    assert as_admin[0]["version"] == house.get(f"a /Users/{house.ada['id']}")[1]
    patched = house.a.patch(f"/Users/{house.ada['id']}", {"op": "replace", "path": "title", "value": "Prof"})
    assert patched.json["meta"]["version"] == house.deployment.last_headers["ETag"] != as_admin[0]["version"]
    assert house.get(f"a /Users/{house.ada['id']}")[1] == patched.json["meta"]["version"]


def test_if_match_asks_for_the_version_and_not_for_groups(house):
    path, title = f"/Users/{house.ada['id']}", {"op": "replace", "path": "title"}
    tag = house.get(f"a {path}")[1]
    house.as_admin(house.gateway.groups.set_member, house.other.uid, house.ada["id"], True)
    body = {"schemas": [PATCH], "Operations": [title | {"value": "Dr"}]}
    assert house.get(f"a {path}")[1] != tag
    assert house.a.call("PATCH", path, body, headers={"If-Match": f'"x", {tag}'}).status == 200
    refused = house.a.call("PATCH", path, body, headers={"If-Match": tag})
    assert (refused.status, refused.json["detail"][:45]) == (
        412,
        'The resource has changed: its version is W/"2',
    )
    for wrong in ("2", 'W/"2', '"2-"', '"-2"', '"two"', ""):
        assert house.a.call("PATCH", path, body, headers={"If-Match": wrong}).status == 412, wrong
    assert house.a.call("PATCH", path, body, headers={"If-Match": '"2"'}).status == 200


def test_a_put_that_may_only_create_is_refused(house):
    only = {"If-None-Match": "*"}
    user = {"schemas": [USER], "userName": "ada@acme.test"}
    group = {"schemas": [GROUP], "displayName": "Sales", "members": []}
    for path, body in ((f"/Users/{house.ada['id']}", user), (f"/Groups/{house.sales['id']}", group)):
        assert house.a.call("PUT", path, body, headers=only).status == 412
        assert house.a.call("PUT", path + "0", body, headers=only).status == 404
        assert house.a.call("PUT", path, body, headers={"If-None-Match": 'W/"1", W/"2"'}).status == 200


def test_other_methods_do_not_look_at_if_none_match(house):
    path, only = f"/Users/{house.ada['id']}", {"If-None-Match": "*"}
    patch = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "title", "value": "Dr"}]}
    assert house.a.call("PATCH", path, patch, headers=only).status == 200
    assert (
        house.a.call("POST", "/Users", {"schemas": [USER], "userName": "new@acme.test"}, headers=only).status
        == 201
    )
    assert house.a.call("GET", "/Users", headers=only).status == 200
    assert house.a.call("DELETE", path, headers=only).status == 204
    assert house.a.call("GET", path, headers=only).status == 404


def test_a_304_is_a_success_in_the_activity(house):
    view = f"a /Users/{house.ada['id']}"
    house.get(view, house.get(view)[1])
    line = house.deployment.activity(house.organization)[0]
    assert (line.operation, line.status, line.outcome, line.user) == (
        "GET /Users/{id}", 304, "success", "ada@acme.test",
    )  # fmt: skip
