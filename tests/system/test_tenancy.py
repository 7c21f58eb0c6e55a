"""Nobody meets what belongs to others: two organizations, each with two connections, at every endpoint there is.

The endpoints are read from the application, so that a new one is tried here from its first day.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from werkzeug.routing import Map

from gateway.provisioning.webhooks.messages import new_secret
from gateway.simulation.api import Answer
from gateway.store.console import SETUP
from gateway.store.ids_and_time import new_id
from gateway.store.records import OrganizationRecord
from gateway.store.tokens import new_token
from gateway.store.webhooks import FAILURE, Attempt
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, GROUP, PATCH, USER
from tests.support.tables import read_tables

pytestmark = pytest.mark.slow

#: Discovery needs no token, by contract; nothing else is open.
OPEN = {
    "/ServiceProviderConfig",
    "/ResourceTypes",
    "/ResourceTypes/<uid>",
    "/Schemas",
    "/Schemas/<path:uid>",
}
NOBODY = "nobody"


@dataclass
class World:
    """Two organizations; connections, user ids and group ids by `<organization> <idp>`, or `… manual`."""

    deployment: Deployment
    organizations: dict[str, OrganizationRecord] = field(default_factory=dict)
    connections: dict[str, Scim] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def seen(self, place: str) -> set[str]:
        """The places whose users and groups a connection sees: its own, and what nobody manages."""
        return {place, f"{place.split()[0]} manual"}

    def foreign(self, place: str, ids: dict[str, str]) -> dict[str, str]:
        """The ids that a connection must not meet."""
        return {other: uid for other, uid in ids.items() if other not in self.seen(place)}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment in which organizations have webhooks of their own."""
    deployment = Deployment(tmp_path / "instance", organization_webhooks="on")
    yield deployment
    deployment.close()


@pytest.fixture(autouse=True)
def _unslowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hundreds of wrong tokens a second in; tests/provisioning/test_refused_tokens.py slows them down."""
    for module in ("scim.authentication", "flask_app"):
        monkeypatch.setattr(f"gateway.web.{module}.WRONG_TOKENS", 0)


@pytest.fixture
def world(deployment: Deployment) -> World:
    """In each place a user with a group that it is in. All groups have one name, all externalIds are equal."""
    world = World(deployment)
    for title in ("Acme", "Other"):
        name = title.lower()
        organization = world.organizations[name] = deployment.organization(title)
        for idp in ("generic", "okta"):
            place = f"{name} {idp}"
            scim = world.connections[place] = deployment.connection(idp, organization)
            user = scim.user(f"{idp}@{name}.acme.test", externalId="00u1", displayName=f"Of {place}")
            world.users[place] = user["id"]
            world.groups[place] = scim.group("Sales", (user["id"],))["id"]
            assert scim.call("DELETE", "/Users/unknown").status == 404
        path = f"/organizations/{organization.uid}"
        person = {"user_name": f"manual@{name}.acme.test", "display_name": f"Of {name} manual"}
        manual = deployment.admin("POST", f"{path}/users", person)
        group = deployment.admin("POST", f"{path}/groups", {"name": "Support"})
        link = deployment.admin("POST", f"{path}/setup-links", {})
        # One that is polled: nothing is sent.
        deployment.gateway.store.webhooks.add(
            organization, "organization", "", "set", None, new_secret(), None
        )
        file = f"user_name\nimported@{name}.acme.test\n"
        uploaded = deployment.admin("POST", f"{path}/imports", file, Content_Type="text/csv")
        assert uploaded.status == 201, uploaded.text
        assert (manual.status, group.status, link.status) == (201, 201, 201), manual.text + group.text
        world.users[f"{name} manual"], world.groups[f"{name} manual"] = manual.json["id"], group.json["id"]
        # The generic connection has asked for the manual user.
        generic, store = world.connections[f"{name} generic"].connection, deployment.gateway.store
        record = store.users.of(organization, manual.json["id"])
        store.adoptions.count_try(organization.id, generic.id, record.id if record else 0, "userName", "")
        add_webhook(deployment, organization, name)
        domain = deployment.admin("POST", f"{path}/domains", {"name": f"{name}-own.test"})
        assert domain.status == 201, domain.text
        # Everybody of the organization is in the group that everybody sees.
        for place, uid in world.users.items():
            if place.startswith(name):
                member = deployment.admin("PUT", f"{path}/groups/{group.json['id']}/members/{uid}")
                assert member.status == 204, member.text
    return world


def add_webhook(deployment: Deployment, organization: OrganizationRecord, name: str) -> None:
    """A webhook of an organization with an attempt and a parked event."""
    url, webhooks = {"url": f"https://hooks.{name}.acme.test/"}, deployment.gateway.store.webhooks
    made = deployment.admin("POST", f"/organizations/{organization.uid}/webhooks", url)
    assert made.status == 201, made.text
    webhook = webhooks.page(organization, 0, 2)[-1]
    message_id = f"evt_{organization.uid}_1_1"
    attempt = Attempt(
        webhook.id, organization.id, 1, "user.created", message_id, 1, FAILURE, 500, 1, None, name
    )
    with deployment.gateway.store.transaction():
        webhooks.add_attempts([attempt])
        webhooks.park(webhook.id, organization.id, 1, "422")


def endpoints(url_map: Map, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every (method, rule) below a prefix."""
    found = 0
    for rule in url_map.iter_rules():
        if rule.rule.startswith(prefix):
            for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
                found += 1
                yield method, rule.rule.removeprefix(prefix)
    assert found > 10


def scim_endpoints(world: World) -> list[tuple[str, str]]:
    """Every (method, path) below a base URL."""
    return list(endpoints(world.deployment.app.extensions["dispatcher"].scim.url_map))


def body_for(method: str, path: str) -> Any:
    """A body that would be taken: a refusal must not be due to it."""
    if method in ("GET", "DELETE"):
        return None
    if method == "PATCH":
        return {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"displayName": "Taken over"}}]}
    if path.endswith("/.search"):
        return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]}
    if "/Groups" in path:
        return {"schemas": [GROUP], "displayName": "Taken over"}
    return {"schemas": [USER], "userName": "taken@acme.test", "displayName": "Taken over"}


def stored(deployment: Deployment) -> dict[str, list[Any]]:
    """All that tenants own, as it is on disk."""
    # A process does so from time to time, and records organizations that were created past it.
    deployment.gateway.publisher.publish()
    database = deployment.gateway.store.database
    kept: dict[str, list[Any]] = {**read_tables(
        deployment, "organizations", "connections", "users", "emails", "groups", "grants", "waiting_members", "events",
        "mapping_rules", "tallies", "webhooks", "webhook_parked", "webhook_positions",
        "domains",
    )}  # fmt: skip
    kept["admin_tokens"] = sorted(database.all("SELECT uid, scope, digest FROM admin_tokens"))
    return kept | {"tokens": sorted(database.all("SELECT uid, connection_id, digest FROM tokens"))}


# Tokens and ids of others ---------------------------------------------------------------------------------------


def test_every_endpoint_is_closed_to_every_foreign_token(world: World) -> None:
    tokens = {place: scim.token for place, scim in world.connections.items()}
    tokens |= {NOBODY: new_token("pgw"), "operator": ADMIN_TOKEN, "typing error": "pgw_abc"}
    tokens["admin"] = world.deployment.gateway.store.admin_tokens.add(world.organizations["acme"], "admin")[1]
    before, tried = stored(world.deployment), 0
    for method, path in scim_endpoints(world):
        if path in OPEN:
            continue
        for place, scim in world.connections.items():
            ids = [NOBODY] if "<" not in path else [new_id(), *world.users.values(), *world.groups.values()]
            heard = set()
            for _, token in sorted({**tokens, place: ""}.items()):
                for uid in ids if token in ("", tokens[NOBODY]) else ids[:3]:
                    answer = scim.call(
                        method, path.replace("<uid>", uid), body_for(method, path), token=token
                    )
                    heard.add((answer.status, answer.text if token else "no token"))
                    tried += 1
            assert {status for status, _ in heard} == {401}, f"{method} {path}"
            assert len(heard) == 2, f"{method} {path} shows who asks"
    assert tried > 1000
    assert stored(world.deployment) == before


def test_only_discovery_is_open_and_it_names_nobody(world: World) -> None:
    for method, path in scim_endpoints(world):
        for place, scim in world.connections.items():
            asked = re.sub(r"<.*>", "User", path)
            answer = scim.call(method, asked, body_for(method, path), token="")
            if path not in OPEN:
                assert answer.status == 401, f"{method} {path}"
                continue
            assert answer.status in (200, 404), f"{method} {path}"
            hidden = [*world.users.values(), *world.groups.values(), "Acme", "Other", "Sales"]
            hidden += [other.connection.slug for name, other in world.connections.items() if name != place]
            text = answer.text.replace(scim.base, "").replace("acme.test", "")
            assert [word for word in hidden if word in text] == [], f"{method} {path}"


def test_a_base_url_that_names_nothing_is_as_closed(world: World) -> None:
    token = world.connections["acme generic"].token
    for method, path in scim_endpoints(world):
        url = f"/scim/v2/generic-2222222222{re.sub('<.*>', new_id(), path)}"
        answer = world.deployment.call(
            method, url, body_for(method, path), {"Authorization": f"Bearer {token}"}
        )
        assert answer.status == (404 if path in OPEN else 401), f"{method} {path}"


def test_every_id_of_others_is_answered_like_one_that_does_not_exist(world: World) -> None:
    """The same bytes, up to the id. A deleted user of one's own is no exception."""
    for place, scim in world.connections.items():
        gone = scim.user(f"gone@{place.split()[0]}.acme.test")["id"]
        assert scim.call("DELETE", f"/Users/{gone}").status == 204
        world.users[f"{place}, deleted"] = gone
    before = stored(world.deployment)
    tried = 0
    for method, path in scim_endpoints(world):
        if "<" not in path or path in OPEN:
            continue
        # A user's id at /Groups is as unknown as a group's at /Users.
        crossed = world.groups if path.startswith("/Users") else world.users
        for place, scim in world.connections.items():
            known = world.users if path.startswith("/Users") else world.groups
            ids = {**world.foreign(place, known), **{f"crossed {name}": uid for name, uid in crossed.items()}}

            def answer_to(
                uid: str, scim: Scim = scim, method: str = method, path: str = path
            ) -> tuple[Any, ...]:
                answer = scim.call(method, path.replace("<uid>", uid), body_for(method, path))
                headers = dict(scim.deployment.last_headers)
                headers = {name: headers[name] for name in headers if name != "X-Request-Id"}
                return answer.status, answer.text.replace(uid, "…"), headers

            unknown = answer_to(new_id())
            assert unknown[0] == 404, f"{method} {path}"
            for name, uid in ids.items():
                assert answer_to(uid) == unknown, f"{method} {path} of {name} by {place}"
                tried += 1
    assert tried > 200
    assert stored(world.deployment) == before


def test_a_bulk_request_reaches_no_further(world: World) -> None:
    """Whatever is closed by its path is closed inside a bulk request."""
    before = stored(world.deployment)
    closed = [(m, p) for m, p in scim_endpoints(world) if "<uid>" in p and p not in OPEN and m != "GET"]
    assert len(closed) == 6
    for place, scim in world.connections.items():
        answer_to: dict[tuple[str, str], set[str]] = {}
        hidden = [
            each for known in (world.users, world.groups) for each in world.foreign(place, known).values()
        ]
        for uid in (new_id(), *hidden):
            operations = [
                {"method": method, "path": path.replace("<uid>", uid), "data": body_for(method, path)}
                for method, path in closed
            ]
            body = {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
                "Operations": operations,
            }
            answer = scim.call("POST", "/Bulk", body)
            assert answer.status == 200, answer.text
            for each, endpoint in zip(answer.json["Operations"], closed, strict=True):
                assert each["status"] == "404"
                answer_to.setdefault(endpoint, set()).add(json.dumps(each).replace(uid, "…"))
        assert {endpoint: len(answers) for endpoint, answers in answer_to.items()} == dict.fromkeys(closed, 1)
    assert stored(world.deployment) == before


# Lists, filters, members ----------------------------------------------------------------------------------------


def names_of(answer: Answer) -> set[str]:
    """Who is in a list; the total says the same."""
    assert answer.status == 200, answer.text
    assert answer.json["totalResults"] == len(answer.json["Resources"])
    return {resource["id"] for resource in answer.json["Resources"]}


def test_lists_hold_what_is_ones_own_and_what_nobody_manages(world: World) -> None:
    for place, scim in world.connections.items():
        for path, known in (("/Users", world.users), ("/Groups", world.groups)):
            visible = {known[name] for name in world.seen(place)}
            assert names_of(scim.call("GET", path)) == visible
            assert names_of(scim.call("POST", f"{path}/.search", body_for("POST", "/.search"))) == visible
            assert scim.call("GET", f"{path}?count=0").json["totalResults"] == 2
            hidden = {
                *world.foreign(place, world.users).values(),
                *world.foreign(place, world.groups).values(),
            }
            text = "".join(
                scim.call("GET", f"{path}?{query}").text
                for query in ("count=1", "startIndex=2&count=1", "startIndex=2", "attributes=groups,members")
            )
            assert [uid for uid in hidden if uid in text] == []


FILTERS = (
    'id eq "{id}"',
    'userName eq "{name}"',
    'userName sw "{name}"',
    'emails.value eq "{name}"',
    'emails[value eq "{name}"]',
    'displayName eq "{display}"',
    'displayName co "{display}"',
    'groups.value eq "{group}"',
    'groups[value eq "{group}"]',
    'not (userName eq "nobody@acme.test")',
    'externalId eq "00u1"',
    "userName pr",
    'meta.created gt "2020-01-01T00:00:00Z"',
    'active eq true or active eq false or id eq "{id}"',
)


@pytest.mark.parametrize("template", FILTERS)
def test_no_filter_finds_a_user_of_others(world: World, template: str) -> None:
    for place, scim in world.connections.items():
        visible = {world.users[name] for name in world.seen(place)}
        for other, uid in world.users.items():
            organization, idp = other.split()
            asked = template.format(
                id=uid,
                name=f"{idp}@{organization}.acme.test",
                display=f"Of {other}",
                group=world.groups[other],
            )
            answers = [
                scim.deployment.app.test_client().get(
                    f"{scim.base}/Users",
                    query_string={"filter": asked},
                    headers={"Authorization": f"Bearer {scim.token}"},
                ).get_json(),
                scim.call("POST", "/Users/.search", body_for("POST", "/.search") | {"filter": asked}).json,
            ]  # fmt: skip
            found = [{user["id"] for user in answer["Resources"]} for answer in answers]
            assert found[0] == found[1] <= visible, f"{asked} by {place}"
            assert [answer["totalResults"] for answer in answers] == [len(found[0])] * 2
            if "{id}" in template and other in world.seen(place):
                assert uid in found[0]


@pytest.mark.parametrize(
    "template", ['members.value eq "{id}"', 'members[value eq "{id}"]', 'id eq "{group}"']
)
def test_no_filter_finds_a_group_by_a_member_or_id_of_others(world: World, template: str) -> None:
    for place, scim in world.connections.items():
        for other in world.users:
            asked = template.format(id=world.users[other], group=world.groups[other])
            found = names_of(scim.call("GET", f"/Groups?filter={asked}"))
            if other in world.seen(place):
                assert world.groups[other] in found, f"{asked} by {place}"
            else:
                assert found == set(), f"{asked} by {place}"


def test_members_and_groups_show_only_whom_a_connection_sees(world: World) -> None:
    """The manual group holds everybody of its organization; each connection sees its own and the manual user."""
    for place, scim in world.connections.items():
        manual = f"{place.split()[0]} manual"
        shown = scim.call("GET", f"/Groups/{world.groups[manual]}").json["members"]
        assert {member["value"] for member in shown} == {world.users[place], world.users[manual]}
        pushed = scim.call("GET", f"/Groups/{world.groups[place]}").json["members"]
        assert {member["value"] for member in pushed} == {world.users[place]}
        groups = scim.call("GET", f"/Users/{world.users[place]}").json["groups"]
        assert {group["value"] for group in groups} == {world.groups[place], world.groups[manual]}
        groups = scim.call("GET", f"/Users/{world.users[manual]}").json["groups"]
        assert {group["value"] for group in groups} == {world.groups[manual]}


# Names and ids that meet ----------------------------------------------------------------------------------------


def test_equal_external_ids_and_equal_group_names_live_side_by_side(world: World) -> None:
    """The world is built on it; here it stays so when both are looked up and written again."""
    for place, scim in world.connections.items():
        found = scim.call("GET", '/Users?filter=externalId eq "00u1"').json["Resources"]
        assert [user["id"] for user in found] == [world.users[place]]
        again = scim.call("PUT", f"/Users/{found[0]['id']}", {**found[0], "displayName": "Again"})
        assert (again.status, again.json["externalId"]) == (200, "00u1")
        found = scim.call("GET", '/Groups?filter=displayName eq "sales"').json["Resources"]
        assert [group["id"] for group in found] == [world.groups[place]]
        taken = scim.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "SALES"})
        assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")


def test_a_name_of_another_connection_is_not_found_and_creating_it_says_who_has_it(world: World) -> None:
    generic, okta = world.connections["acme generic"], world.connections["acme okta"]
    name = "generic@acme.acme.test"
    assert okta.call("GET", f'/Users?filter=userName eq "{name}"').json["totalResults"] == 0
    before = stored(world.deployment)
    for body in ({"schemas": [USER], "userName": name.upper()}, {"schemas": [USER], "userName": name}):
        refused = okta.call("POST", "/Users", body)
        assert (refused.status, refused.json["scimType"]) == (409, "uniqueness")
        detail = refused.json["detail"]
        assert body["userName"] in detail
        assert "'Generic' (generic)" in detail
        assert "hand the user over" in detail
        assert "admin" in detail
        assert world.users["acme generic"] not in refused.text
    mine = okta.call("GET", f"/Users/{world.users['acme okta']}").json
    renamed = okta.call("PUT", f"/Users/{mine['id']}", {**mine, "userName": name})
    assert (renamed.status, renamed.json["scimType"]) == (409, "uniqueness")
    assert "'Generic' (generic)" in renamed.json["detail"]
    assert stored(world.deployment) == before
    # As it says: deleted there, the name is free here, for a new user.
    assert generic.call("DELETE", f"/Users/{world.users['acme generic']}").status == 204
    assert okta.user(name)["id"] != world.users["acme generic"]
    # In another organization nobody has that name at all.
    assert world.connections["other okta"].user(name)["id"]


def test_a_connection_that_is_removed_leaves_its_users_to_be_linked(world: World, audit: Any) -> None:
    okta = world.connections["acme okta"]
    removed = world.deployment.admin("DELETE", f"/connections/{world.connections['acme generic'].uid}")
    assert removed.status == 204
    found = okta.call("GET", '/Users?filter=userName eq "generic@acme.acme.test"').json["Resources"]
    assert [user["id"] for user in found] == [world.users["acme generic"]]
    linked = okta.call("PUT", f"/Users/{found[0]['id']}", {**found[0], "externalId": "00u2"})
    assert linked.status == 200, linked.text
    audit(world.deployment)


def test_members_of_others_are_not_added_and_are_named_in_the_activity(world: World, audit: Any) -> None:
    okta, group = world.connections["acme okta"], world.groups["acme okta"]
    hidden = world.foreign("acme okta", world.users)
    entries = [{"value": uid} for uid in hidden.values()]
    own = world.users["acme okta"]
    add = [{"op": "add", "path": "members", "value": entries}]
    whole = {"schemas": [GROUP], "displayName": "Sales", "members": [*entries, {"value": own}]}
    pushes = (
        ("PATCH", f"/Groups/{group}", {"schemas": [PATCH], "Operations": add}),
        ("PUT", f"/Groups/{group}", whole),
        ("POST", "/Groups", {"schemas": [GROUP], "displayName": "New", "members": entries}),
    )  # fmt: skip
    for method, path, body in pushes:
        pushed = okta.call(method, path, body)
        assert pushed.status in (200, 201, 204), pushed.text
        line = world.deployment.activity(world.organizations["acme"])[0]
        assert set(json.loads(line.ignored)) == {f'members[value eq "{uid}"]' for uid in hidden.values()}
    shown = okta.call("GET", "/Groups").json["Resources"]
    assert {member["value"] for each in shown for member in each.get("members", ())} <= {
        own,
        world.users["acme manual"],
    }
    for place, uid in hidden.items():
        if "manual" in place:
            continue
        groups = world.connections[place].call("GET", f"/Users/{uid}").json["groups"]
        assert {each["value"] for each in groups} & {world.groups["acme okta"], shown[-1]["id"]} == set()
    audit(world.deployment)


def test_a_group_that_waits_for_a_user_of_others_does_not_win_it_when_it_comes_back(
    world: World, audit: Any
) -> None:
    """Deleted and restored by its own connection: no group of another one gets it by having named its id before."""
    generic, okta = world.connections["acme generic"], world.connections["acme okta"]
    uid = world.users["acme generic"]
    assert okta.patch(
        f"/Groups/{world.groups['acme okta']}", {"op": "add", "path": "members", "value": [{"value": uid}]}
    ).status == 204  # fmt: skip
    own = generic.group("Waiting", (uid,))
    assert generic.call("DELETE", f"/Users/{uid}").status == 204
    pushed = generic.patch(
        f"/Groups/{own['id']}", {"op": "add", "path": "members", "value": [{"value": uid}]}
    )
    assert pushed.status == 204
    restored = generic.user("generic@acme.acme.test", externalId="00u1")
    assert restored["id"] == uid
    shown = world.deployment.admin("GET", f"/organizations/{world.organizations['acme'].uid}/users/{uid}")
    assert {group["id"] for group in shown.json["groups"]} == {own["id"]}
    audit(world.deployment)


# The admin REST -------------------------------------------------------------------------------------------------

#: Documentation holds nothing of anybody.
DOCUMENTATION = ("/docs", "/openapi.json")
#: What a valid body is, where a body is needed at all.
ADMIN_BODIES: dict[str, Any] = {
    "POST /organizations": {"name": "Third"},
    "POST /organizations/<organization>/webhooks": {"url": "https://hooks.acme.test/"},
    "PATCH /organizations/<organization>/webhooks/<webhook>": {"url": "https://hooks.acme.test/2"},
    "POST /organizations/<organization>/webhooks/<webhook>/resume": {},
    "POST /organizations/<organization>/webhooks/<webhook>/skip": {},
    "POST /organizations/<organization>/webhooks/<webhook>/replay": {"from": 1, "preview": True},
    "PATCH /organizations/<organization>": {"name": "Taken over"},
    "POST /organizations/<organization>/domains": {"name": "taken.test"},
    "PUT /organizations/<organization>/sso": {"metadata_xml": "<EntityDescriptor/>"},
    "POST /organizations/<organization>/connections": {"idp": "generic", "name": "Taken over"},
    "PATCH /connections/<connection>": {"name": "Taken over"},
    "PUT /connections/<connection>/provisioning": {"enabled": False},
    "PUT /connections/<connection>/pause": {"reason": "taken over"},
    "POST /connections/<connection>/hold": {"action": "reject"},
    "POST /connections/<connection>/undo": {"from": "2026-01-01T00:00:00Z"},
    "POST /connections/<connection>/explain": {"method": "GET", "path": "/Users"},
    "POST /connections/<connection>/tokens": {"label": "Taken over"},
    "POST /connections/<connection>/group-mapping/preview": {"enabled": False},
    "POST /connections/<connection>/adoption/preview": {},
    "POST /connections/<connection>/adoption": {"approve": "safe"},
    "POST /connections/<connection>/adoptions/<adoption>": {"decision": "approve"},
    "PUT /connections/<connection>/group-mapping": {"enabled": False},
    "POST /organizations/<organization>/users": {"user_name": "taken@acme.test"},
    "PATCH /organizations/<organization>/users/<user>": {"active": False},
    "POST /organizations/<organization>/users/<user>/erase": {"reason": "taken over", "confirm": "taken"},
    "POST /organizations/<organization>/groups": {"name": "Taken over"},
    "POST /organizations/<organization>/webhooks/<webhook>/poll": {"maxEvents": 1},
    "POST /organizations/<organization>/console-links": {"person": "a@acme.test", "role": "admin"},
    "PATCH /organizations/<organization>/groups/<group>": {"name": "Taken over"},
}


def admin_endpoints(world: World) -> Iterator[tuple[str, str, Any]]:
    """Every (method, path, valid body) of the admin REST that holds anything of anybody."""
    for method, path in endpoints(world.deployment.app.url_map, "/admin/v1"):
        if not path.startswith(DOCUMENTATION):
            yield method, path, ADMIN_BODIES.get(f"{method} {path}")


def call_admin(world: World, method: str, path: str, body: Any, token: str) -> Answer:
    """A call with a token, naming any version where one is named at all."""
    named = {"If_Match": "*"} if method in ("PUT", "PATCH", "DELETE") else {}
    return world.deployment.admin(method, path, body, token=token, **named)


def fill(path: str, ids: dict[str, str]) -> str:
    """The path with its ids."""
    return re.sub(r"<(\w+)>", lambda name: ids[name[1]], path)


def ids_of(world: World, name: str, place: str) -> dict[str, str]:
    """An id of each kind that belongs to an organization, its users and groups those of a place."""
    scim = world.connections[f"{name} generic"]
    store, organization = world.deployment.gateway.store, world.organizations[name]
    token = store.tokens.by_connection(scim.connection)[0].uid
    link = store.console_links.page(organization, SETUP, 0, 1)[0].uid
    ids = {"organization": organization.uid, "connection": scim.uid, "token": token, "link": link}
    webhook = store.webhooks.page(organization, 0, 2)[-1]
    ids |= {"webhook": webhook.uid, "attempt": str(store.webhooks.attempts(webhook, None, None, 1)[0].id)}
    ids |= {"event": str(store.webhooks.parked(webhook, 0, 1)[0].id)}
    explained = store.activity.page(organization.id, None, 100, outcome="failure", connection=scim.uid)
    ids |= {"line": str(next(line.id for line in explained if line.operation == "DELETE /Users/{id}"))}
    ids |= {"import": store.imports.page(organization, 0, 1)[0].uid}
    manual = store.users.of(scim.organization, world.users[f"{name} manual"])
    assert manual is not None
    asked = store.adoptions.find(scim.connection.id, manual.id)
    assert asked is not None
    ids["adoption"] = asked.uid
    ids |= {"name": store.domains.page(organization.id, 0, 1)[0].name}
    return ids | {"user": world.users[f"{name} {place}"], "group": world.groups[f"{name} {place}"]}


@pytest.fixture
def acme_token(world: World) -> str:
    """An admin token of one organization."""
    return world.deployment.gateway.store.admin_tokens.add(world.organizations["acme"], "admin")[1]


def test_an_admin_of_one_organization_meets_nothing_of_another(world: World, acme_token: str) -> None:
    before = stored(world.deployment)
    kinds = (
        "organization",
        "connection",
        "user",
        "group",
        "token",
        "link",
        "webhook",
        "attempt",
        "event",
        "line",
        "import",
        "adoption",
        "name",
    )
    unknown = {name: new_id() for name in kinds}
    own = ids_of(world, "acme", "manual")
    tried = 0
    for method, path, body in admin_endpoints(world):
        if "<organization>" not in path and "<connection>" not in path:
            continue
        for place in ("generic", "manual"):
            other = ids_of(world, "other", place)
            # Everything foreign; then, below one's own organization or connection, the last id alone.
            mixed = [(other, unknown)]
            if len(re.findall("<", path)) > 1:
                last = re.findall(r"<(\w+)>", path)[-1]
                mixed.append(({**own, last: other[last]}, {**own, last: unknown[last]}))
                if "<group>" in path and "<user>" in path:
                    mixed.append(({**own, "group": other["group"]}, {**own, "group": unknown["group"]}))
            for foreign, missing in mixed:
                answer_to = []
                for ids in (foreign, missing):
                    answer = call_admin(world, method, fill(path, ids), body, acme_token)
                    text = answer.text
                    for uid in ids.values():
                        text = text.replace(f'\\"{uid}\\"', '\\"…\\"')
                        text = text.replace(uid, "…") if "-" in uid else text
                    answer_to.append((answer.status, text))
                assert answer_to[0] == answer_to[1], f"{method} {path}"
                assert answer_to[0][0] == 404, f"{method} {path}: {answer_to[0]}"
                tried += 1
    assert tried > 60
    assert stored(world.deployment) == before


#: Lists over all organizations begin with these.
OF_OPERATORS = ("/activity", "/admin-tokens", "/events", "/webhooks")


def test_lists_of_an_admin_hold_one_organization(world: World, acme_token: str) -> None:
    hidden = {uid for name, uid in {**world.users, **world.groups}.items() if name.startswith("other")}
    hidden |= {scim.uid for place, scim in world.connections.items() if place.startswith("other")}
    hidden |= {world.organizations["other"].uid}
    own = ids_of(world, "acme", "generic")
    for method, path, body in admin_endpoints(world):
        if method == "GET":
            answer = call_admin(world, method, fill(path, own), body, acme_token)
            assert answer.status == (403 if path.startswith(OF_OPERATORS) else 200), (
                f"{method} {path}: {answer.text}"
            )
            assert [uid for uid in hidden if uid in answer.text] == [], f"{method} {path}"
    listed = world.deployment.admin("GET", "/organizations", token=acme_token)
    assert [each["id"] for each in listed.json["items"]] == [world.organizations["acme"].uid]
    made = world.deployment.admin("POST", "/organizations", {"name": "Third"}, token=acme_token)
    assert made.status == 403


def test_an_organizations_token_cannot_sell_itself_anything(world: World, acme_token: str) -> None:
    path = f"/organizations/{world.organizations['acme'].uid}"
    for body in ({"plan": "enterprise"}, {"seats": {"limit": None}}, {"billing": {"payment": "card"}}):
        assert world.deployment.admin("PATCH", path, body, token=acme_token).status == 403
    assert world.deployment.admin("DELETE", path, token=acme_token).status == 403


def test_no_token_of_a_connection_opens_the_admin_rest(world: World) -> None:
    before = stored(world.deployment)
    own = ids_of(world, "acme", "generic")
    wrong = ["", "pga_abc", new_token("pga"), world.connections["acme generic"].token]
    wrong.append(world.connections["other okta"].token)
    for method, path, body in admin_endpoints(world):
        for token in wrong:
            answer = call_admin(world, method, fill(path, own), body, token)
            assert answer.status == 401, f"{method} {path} with {token[:4]!r}"
            assert world.deployment.last_headers["WWW-Authenticate"]
    assert stored(world.deployment) == before
