"""A plugin that is careless, broken or slow harms its own connections, is named, and nobody else notices.

The plugins of these tests are wrong on purpose. Each is registered before or behind all others, with a name that
sorts before or behind theirs.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from marshmallow import Schema, fields

from gateway import (
    Declaration,
    GroupGrant,
    Principal,
    Refusal,
    SeatVerdict,
    Verdict,
    hookimpl,
)
from gateway.plugin import hookspecs
from gateway.plugin.manager import PluginManager
from gateway.simulation.api import Answer
from gateway.store.delivery_positions import Position
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP, USER
from tests.support.timing import check_seconds

# What a plugin does harms others the same on every engine.
pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

#: Asked of the plugin of the connection's identity provider alone.
NARROWED = ("gateway_authenticate", "gateway_map_resource", "gateway_map_patch", "gateway_resolve_groups")
#: Asked of every plugin, for every organization.
OF_ALL = ("gateway_check_entitlement", "gateway_check_seats")
PLACES = [(name, first) for name in ("aaa", "zzz") for first in (True, False)]

each_place = pytest.mark.parametrize(("name", "first"), PLACES, ids=[f"{n} {f}" for n, f in PLACES])


def crash(**_: Any) -> Any:
    raise RuntimeError("a plugin of a test failed with the secret s3cret")


def leave(**_: Any) -> Any:
    raise SystemExit(3)


def recurse(**arguments: Any) -> Any:
    return recurse(**arguments)


def invalid(**_: Any) -> Any:
    return object()


class Silent(Refusal):
    """A refusal without a sentence, which says that all is well."""

    status = 200

    def __init__(self) -> None:
        Exception.__init__(self)


def refuse_oddly(**_: Any) -> Any:
    raise Silent


def claim(**arguments: Any) -> Any:
    """Whatever is asked: it is mine."""
    if "credentials" in arguments:
        return Principal("anybody")
    if "operations" in arguments:
        return [{"op": "replace", "path": "displayName", "value": "Taken"}]
    if "document" in arguments:
        return {**arguments["document"], "displayName": "Taken", "userName": "taken@acme.test"}
    return [GroupGrant("Admins")]


def spoil(**arguments: Any) -> Any:
    """Change whatever can be changed, and say that it was nothing."""
    spoilt = (value for value in arguments.values() if isinstance(value, dict | list))
    for value in (*spoilt, getattr(arguments.get("user"), "document", None)):
        _spoil(value)


def _spoil(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _spoil(each)
        value.append("spoilt")
    elif isinstance(value, dict):
        for key in list(value):
            _spoil(value[key])
            value[key] = "spoilt"
    elif value is not None and not isinstance(value, str | int | float):
        for held in value.values():
            _spoil(held)


WAYS: dict[str, Callable[..., Any]] = {
    "claims": claim, "crashes": crash, "exits": leave, "recurses": recurse, "answers something invalid": invalid,
    "refuses oddly": refuse_oddly, "spoils": spoil,
}  # fmt: skip
each_way = pytest.mark.parametrize("way", WAYS)


def plugin(idp: bool = False, settings: Any = None, **hooks: Callable[..., Any]) -> Any:
    """A plugin whose hooks do what a test wants, with all arguments by name."""
    members: dict[str, Any] = {}
    for hook, does in hooks.items():
        names = getattr(hookspecs, hook).__code__.co_varnames[: getattr(hookspecs, hook).__code__.co_argcount]
        space = {"does": does}
        given = ", ".join(f"{name}={name}" for name in names)
        exec(f"def {hook}(self, {', '.join(names)}): return does({given})", space)
        members[hook] = hookimpl(space[hook])
    if idp:
        members["gateway_declare"] = hookimpl(
            lambda self: Declaration(title="Careless", idp=True, settings=settings)
        )
    return type("Careless", (), members)()


@pytest.fixture
def with_plugin(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Deployment]]:
    """Makes a deployment with one more plugin, registered before or behind all others."""
    made: list[Deployment] = []
    load = PluginManager._load

    def make(more: Any = None, name: str = "zzz", first: bool = False, **settings: Any) -> Deployment:
        def with_more(host: PluginManager) -> None:
            steps = [lambda: load(host), lambda: more and host._manager.register(more, name)]
            for step in reversed(steps) if first else steps:
                step()

        monkeypatch.setattr(PluginManager, "_load", with_more)
        deployment = Deployment(tmp_path / str(len(made)), **settings)
        made.append(deployment)
        return deployment

    yield make
    for deployment in made:
        deployment.close()


def body(user_name: str = "user1@acme.test", /, **attributes: Any) -> dict[str, Any]:
    return {"schemas": [USER], "userName": user_name, "displayName": "Given1", "active": True} | attributes


def conversation(deployment: Deployment, idp: str) -> list[tuple[int, str]]:
    """What an identity provider asks and is answered, without what differs from run to run."""
    scim = deployment.connection(idp, deployment.organization(seats=2))
    path = f"/organizations/{scim.organization.uid}"
    reported: list[Answer] = []

    def call(method: str, where: str, sent: Any = None, **more: Any) -> Answer:
        reported.append(scim.call(method, where, sent, **more))
        return reported[-1]

    reported.append(deployment.admin("POST", f"{path}/groups", {"name": "Admins"}))
    call("GET", "/Users", token="wrong")
    call("GET", "/Schemas")
    uid = call("POST", "/Users", body()).json["id"]
    reported.append(scim.patch(f"/Users/{uid}", {"op": "replace", "path": "displayName", "value": "Given2"}))
    call("PUT", f"/Users/{uid}", body(displayName="Given3"))
    call("POST", "/Users", body("user2@acme.test"))
    call("POST", "/Users", body("user3@acme.test"))
    group = call("POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales", "members": [{"value": uid}]})
    reported.append(
        scim.patch(f"/Groups/{group.json['id']}", {"op": "replace", "value": {"displayName": "EMEA"}})
    )
    call("GET", "/Users?filter=userName eq %22user1@acme.test%22")
    call("GET", "/Groups")
    call("DELETE", f"/Users/{uid}")
    for read in (f"{path}/users", f"{path}/groups", f"{path}/connections", f"{path}/seats", f"{path}/events"):
        reported.append(deployment.admin("GET", read))
    reported.append(deployment.admin("POST", f"/connections/{scim.uid}/test"))
    lines = [line for line in deployment.activity(scim.organization) if " /Users" in line.operation]
    shown = [(answer.status, _same(answer.text)) for answer in reported]
    return [*shown, *((line.status, _same(f"{line.detail} {line.decisions}")) for line in lines)]


def _same(text: str) -> str:
    """Ids, slugs, moments, epochs and prefixes of tokens are other ones each time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "<id>", text)
    text = re.sub(r"(okta|generic)-[a-z0-9]{10}", r"\1-<slug>", text)
    text = re.sub(r'"epoch":\d+', '"epoch":0', text)
    text = re.sub(r"\d+ \w{3} \d{4}, \d\d:\d\d UTC", "<minute>", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|pgw_\w+|W/\\?\"\d+-[0-9a-f]+", "<moment>", text)


@pytest.mark.parametrize("idp", ["okta", "generic"])
@each_place
def test_a_careless_identity_provider_changes_nothing_for_any_other(
    with_plugin: Callable[..., Deployment], idp: str, name: str, first: bool
) -> None:
    """The same conversation beside each of them as without one, to the letter, the activity included."""
    alone = conversation(with_plugin(), idp)
    for way, does in WAYS.items():
        careless = plugin(idp=True, **dict.fromkeys(NARROWED, does))
        beside = conversation(with_plugin(careless, name, first), idp)
        assert beside == alone, way


# At home ------------------------------------------------------------------------------------------------------


def own(deployment: Deployment, **settings: Any) -> tuple[Scim, str]:
    """A connection of the plugin `zzz` with a user of it."""
    scim = deployment.connection("zzz", deployment.organization(seats=5), **settings)
    return scim, scim.user()["id"]


def ask(scim: Scim, uid: str, hook: str) -> Answer:
    """The request that asks that hook."""
    if hook == "gateway_map_patch":
        return scim.patch(f"/Users/{uid}", {"op": "replace", "path": "displayName", "value": "Given2"})
    return scim.call("POST", "/Users", body("user2@acme.test"))


NAMED = {
    "crashes": (crash, "failed", "failed: RuntimeError"),
    "exits": (leave, "failed", "failed: SystemExit"),
    "recurses": (recurse, "failed", "failed: RecursionError"),
    "answers something invalid": (invalid, "invalid", "invalid: answer is a object"),
    "refuses oddly": (refuse_oddly, "invalid", "invalid: raised a refusal that is none"),
}


def counted(deployment: Deployment, name: str = "zzz") -> dict[tuple[str, str], float]:
    """The calls of a plugin as /metrics shows them, by hook and outcome."""
    text = deployment.app.test_client().get("/metrics").get_data(as_text=True)
    found = re.findall(
        rf'^gateway_plugin_calls_total{{hook="(\w+)",outcome="(\w+)",plugin="{name}"}} ([\d.]+)', text, re.M
    )
    return {(hook, outcome): float(number) for hook, outcome, number in found}


@pytest.mark.parametrize("hook", [*NARROWED, *OF_ALL])
@pytest.mark.parametrize("way", NAMED)
def test_what_it_did_is_a_503_that_names_it_in_the_activity_and_in_the_metrics(
    with_plugin: Callable[..., Deployment], caplog: pytest.LogCaptureFixture, hook: str, way: str
) -> None:
    does, outcome, verdict = NAMED[way]
    if (hook, way) == ("gateway_resolve_groups", "answers something invalid"):
        outcome, verdict = "failed", "failed: TypeError"  # it is listed first
    now: dict[str, Any] = {"does": lambda **_: None}
    deployment = with_plugin(plugin(idp=True, **{hook: lambda **arguments: now["does"](**arguments)}))
    scim, uid = own(deployment)
    now["does"] = does
    refused = ask(scim, uid, hook)
    assert (refused.status, deployment.last_headers["Retry-After"]) == (503, "30")
    assert "plugin zzz" in refused.json["detail"]
    line = deployment.activity(scim.organization, outcome="failure")[0]
    reported = json.loads(line.decisions)
    short = hook.removeprefix("gateway_")
    verdicts = [(each["hook"], each["verdict"]) for each in reported if each["plugin"] == "zzz"]
    assert [hook for hook, _ in verdicts] == [short]
    assert verdicts[0][1].startswith(verdict)
    assert "s3cret" not in line.decisions + refused.text
    assert (
        f"plugin zzz {'failed in' if outcome == 'failed' else 'gave an invalid answer to'} {short}"
        in caplog.text
    )
    assert counted(deployment)[short, outcome] == 1
    now["does"] = lambda **_: None
    assert ask(scim, uid, hook).status in (200, 201)
    assert counted(deployment)[short, outcome] == 1
    assert counted(deployment)[short, "none"] >= 1


@pytest.mark.parametrize("hook", OF_ALL)
def test_whoever_judges_all_organizations_fails_closed_for_all_and_is_named(
    with_plugin: Callable[..., Deployment], hook: str
) -> None:
    """By design: it was installed to be asked for everybody, and nobody is let in that it did not judge."""
    failing: list[bool] = []
    deployment = with_plugin(plugin(**{hook: lambda **_: crash() if failing else None}))
    okta, generic = deployment.connection("okta"), deployment.connection("generic")
    user = okta.user()
    failing.append(True)
    for scim in (okta, generic):
        refused = scim.call("POST", "/Users", body("user2@acme.test"))
        assert (refused.status, "plugin zzz" in refused.json["detail"]) == (503, True)
    # What takes no seat is not asked of whom judges seats.
    read = okta.call("GET", f"/Users/{user['id']}").status
    assert read == (200 if hook == "gateway_check_seats" else 503)
    failing.clear()
    assert okta.call("POST", "/Users", body("user2@acme.test")).status == 201


POOR = {
    "a denial without a sentence": ("gateway_check_entitlement", Verdict(False)),
    "a denial whose sentence is none": ("gateway_check_entitlement", Verdict(False, None)),  # type: ignore[arg-type]
    "neither yes nor no": ("gateway_check_entitlement", Verdict("yes")),  # type: ignore[arg-type]
    "a ceiling of half a seat": ("gateway_check_seats", SeatVerdict(0.5, "half")),  # type: ignore[arg-type]
    "a ceiling that is true": ("gateway_check_seats", SeatVerdict(True, "true")),
    "a group that is no text": ("gateway_resolve_groups", [GroupGrant(None)]),  # type: ignore[arg-type]
    "a label that is no text": ("gateway_authenticate", Principal(None)),  # type: ignore[arg-type]
    "a set in a document": ("gateway_map_resource", body(emails={"a@acme.test"})),
    "a key that is no text": ("gateway_map_resource", {**body(), 1: "one"}),
    "not a number": ("gateway_map_resource", body(title=float("nan"))),
    "an operation with bytes": ("gateway_map_patch", [{"op": "add", "path": "title", "value": b"x"}]),
}
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
POOR["a document without end"] = ("gateway_map_resource", body(emails=ENDLESS))


@pytest.mark.parametrize("case", POOR)
def test_an_answer_of_the_right_kind_may_be_rubbish_inside(
    with_plugin: Callable[..., Deployment], case: str
) -> None:
    hook, answer = POOR[case]
    poor: list[bool] = []
    deployment = with_plugin(plugin(idp=True, **{hook: lambda **_: answer if poor else None}))
    scim, uid = own(deployment)
    poor.append(True)
    refused = ask(scim, uid, hook)
    assert (refused.status, "cannot be used" in refused.json["detail"]) == (503, True), refused.text
    assert counted(deployment)[hook.removeprefix("gateway_"), "invalid"] == 1


def test_nobody_marks_the_token_of_another_as_used(with_plugin: Callable[..., Deployment]) -> None:
    named: dict[str, str] = {}
    deployment = with_plugin(
        plugin(idp=True, gateway_authenticate=lambda **_: Principal("x", named.get("token")))
    )
    okta = deployment.connection("okta")
    path = f"/connections/{okta.uid}/tokens"
    scim = deployment.connection("zzz")
    assert scim.call("GET", "/Users", token="anything").status == 200
    named["token"] = deployment.admin("GET", path).json["items"][0]["id"]
    refused = scim.call("GET", "/Users", token="anything")
    assert (refused.status, "cannot be used" in refused.json["detail"]) == (503, True)
    deployment.gateway.activity_writer.flush()
    assert deployment.admin("GET", path).json["items"][0]["last_used_at"] is None


# What it is handed --------------------------------------------------------------------------------------------


def test_what_it_does_to_its_arguments_is_done_to_nothing(with_plugin: Callable[..., Deployment]) -> None:
    """It says «not mine» each time, and what was sent is what counts."""
    hooks = dict.fromkeys(("gateway_map_resource", "gateway_map_patch", "gateway_resolve_groups"), spoil)
    deployment = with_plugin(plugin(idp=True, **hooks))
    scim = deployment.connection("zzz")
    emails = [{"value": "user1@acme.test", "type": "work"}]
    made = scim.call("POST", "/Users", body(emails=emails, name={"givenName": "Given1"}))
    assert (made.status, made.json["emails"], made.json["name"]) == (201, emails, {"givenName": "Given1"})
    uid = made.json["id"]
    operation = {"op": "add", "path": "emails", "value": [{"value": "other@acme.test", "type": "home"}]}
    patched = scim.patch(f"/Users/{uid}", operation)
    assert (patched.status, patched.json["emails"]) == (200, [*emails, *operation["value"]])
    assert scim.call("GET", f"/Users/{uid}").json["emails"] == patched.json["emails"]
    event = deployment.events(scim.organization)[-1]
    assert event[1]["emails"] == patched.json["emails"]
    ended = {hook for hook, outcome in counted(deployment) if outcome == "none"}
    assert ended == {"map_resource", "map_patch", "resolve_groups"}


def test_settings_that_two_organizations_share_cannot_be_changed(
    with_plugin: Callable[..., Deployment],
) -> None:
    class Settings(Schema):
        names = fields.List(fields.String())

    def add_one(connection: Any, **_: Any) -> None:
        connection.settings["names"].append("spoilt")

    changing: list[bool] = []
    deployment = with_plugin(
        plugin(
            idp=True, settings=Settings, gateway_map_resource=lambda **a: add_one(**a) if changing else None
        )
    )
    first, second = (deployment.connection("zzz", settings={"names": ["a"]}) for _ in range(2))
    changing.append(True)
    assert first.call("POST", "/Users", body()).status == 503
    changing.clear()
    for scim in (first, second):
        assert scim.caller().words.settings["names"] == ("a",)
        assert scim.user("user2@acme.test")["active"] is True


def test_an_answer_that_is_handed_out_again_is_still_what_it_was(
    with_plugin: Callable[..., Deployment],
) -> None:
    always = [
        {"op": "add", "value": {"emails": [{"value": "always@acme.test"}], "name": {"givenName": "Given1"}}},
        {"op": "add", "path": 'emails[value eq "always@acme.test"].type', "value": "home"},
        {"op": "add", "path": "name.familyName", "value": "Family1"},
        {"op": "add", "path": "emails", "value": [{"value": "again@acme.test"}]},
    ]
    before = json.dumps(always)
    deployment = with_plugin(plugin(idp=True, gateway_map_patch=lambda **_: always))
    scim, uid = own(deployment)
    for value in ("a", "b"):
        assert scim.patch(f"/Users/{uid}", {"op": "add", "path": "title", "value": value}).status == 200
        home = [{"value": f"{value}@acme.test"}]
        assert scim.call("PUT", f"/Users/{uid}", body(emails=home)).status == 200
    assert json.dumps(always) == before


# Settings and steps of a declaration -------------------------------------------------------------------------------


def test_a_plugin_whose_settings_fail_hides_no_connection(with_plugin: Callable[..., Deployment]) -> None:
    failing: list[bool] = []

    class Settings(Schema):
        names = fields.List(fields.String())
        secret = fields.String(metadata={"secret": True})

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if failing:
                crash()
            super().__init__(*args, **kwargs)

    deployment = with_plugin(plugin(idp=True, settings=Settings))
    organization = deployment.organization()
    okta = deployment.connection("okta", organization)
    scim = deployment.connection("zzz", organization, settings={"names": ["a"], "secret": "s3cret"})
    path = f"/organizations/{organization.uid}/connections"
    shown = {each["id"]: each["settings"] for each in deployment.listed(path)}
    assert shown[scim.uid] == {"names": ["a"]}
    failing.append(True)
    shown = {each["id"]: each["settings"] for each in deployment.listed(path)}
    assert shown[scim.uid] == {}
    assert "extra_attributes" in shown[okta.uid] or shown[okta.uid] == {}
    refused = deployment.admin("PATCH", f"/connections/{scim.uid}", {"settings": {"names": ["b"]}})
    assert (refused.status, "plugin zzz failed" in refused.json["message"]) == (503, True)


def test_a_plugin_that_is_disabled_is_missed_politely_and_nobody_speaks_for_it(
    with_plugin: Callable[..., Deployment], tmp_path: Any
) -> None:
    deployment = with_plugin()
    okta, generic = deployment.connection("okta"), deployment.connection("generic")
    uid = okta.user()["id"]
    deployment.close()
    later = Deployment(tmp_path / "0", plugins_disabled=("okta",))
    gone, there = Scim(later, okta.uid, okta.token), Scim(later, generic.uid, generic.token)
    for method, path, sent in (
        ("GET", f"/Users/{uid}", None), ("POST", "/Users", body("user2@acme.test")), ("GET", "/Schemas", None),
        ("DELETE", f"/Users/{uid}", None),
    ):  # fmt: skip
        refused = gone.call(method, path, sent)
        assert (refused.status, later.last_headers["Retry-After"]) == (503, "300")
        assert "no plugin for the identity provider 'okta'" in refused.json["detail"]
    assert there.user()["active"] is True
    missing = {
        uid: later.admin("GET", f"/connections/{uid}").json["plugin_missing"] for uid in (gone.uid, there.uid)
    }
    assert missing == {gone.uid: True, there.uid: False}
    reported = {
        each["name"]: each for each in later.admin("POST", f"/connections/{gone.uid}/test").json["checks"]
    }
    assert not reported["provisioning"]["ok"]
    assert "plugin okta is not installed, or it is disabled" in reported["provisioning"]["message"]
    later.close()
    again = Deployment(tmp_path / "0")
    assert Scim(again, okta.uid, okta.token).call("GET", f"/Users/{uid}").status == 200
    again.close()


# Dawdling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [*NARROWED, *OF_ALL])
def test_a_plugin_that_dawdles_is_named_everywhere_and_the_request_goes_on(
    with_plugin: Callable[..., Deployment], caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    pause = [0.0]

    def dawdle(**_: Any) -> None:
        time.sleep(pause[0])

    deployment = with_plugin(plugin(idp=True, **{hook: dawdle}))
    deployment.gateway.plugins.call_stats.limit = 0.15
    scim, uid = own(deployment)
    assert "seconds for" not in caplog.text
    pause[0] = 0.2
    assert ask(scim, uid, hook).status in (200, 201)
    line = next(line for line in deployment.activity(scim.organization) if "took" in line.decisions)
    reported = [each for each in json.loads(line.decisions) if each["plugin"] == "zzz"]
    short = hook.removeprefix("gateway_")
    assert [(each["hook"], bool(re.match(r"took 0\.\d seconds", each["verdict"]))) for each in reported] == [
        (short, True)
    ]
    assert re.search(rf"plugin zzz took 0\.\d seconds for {short}", caplog.text)
    text = deployment.app.test_client().get("/metrics").get_data(as_text=True)
    assert f'gateway_plugin_slow_calls_total{{hook="{short}",plugin="zzz"}} 1.0' in text
    spent = re.search(rf'gateway_plugin_seconds_total{{hook="{short}",plugin="zzz"}} ([\d.]+)', text)
    assert spent
    assert 0.2 <= float(spent[1]) < 1


def listening(heard: Any) -> Any:
    return plugin(gateway_provisioned=heard)


def test_a_listener_that_never_returns_holds_up_nobody_else(with_plugin: Callable[..., Deployment]) -> None:
    release, stuck, heard = threading.Event(), [], []

    def hang(event: Any) -> None:
        stuck.append(event.id)
        assert release.wait(60)

    # It is asked first.
    deployment = with_plugin(listening(hang), "aaa", first=True)
    deployment.gateway.plugins.add(listening(lambda event: heard.append(event.id)), "zzz")
    relay = deployment.gateway.event_relay
    deployment.gateway.worker.stop()  # its thread; what it does is done here
    scim, other = deployment.connection("generic"), deployment.connection("generic")
    for each in (scim, other):
        each.user()
        each.user("user2@acme.test")
    began = time.monotonic()
    relay.deliver()
    check_seconds(time.monotonic() - began, 10)
    assert (stuck, sorted(heard)) == ([1], [1, 1, 2, 2])
    # While it hangs it is called no more, and nobody waits for it again.
    scim.user("user3@acme.test")
    began = time.monotonic()
    relay.deliver()
    check_seconds(time.monotonic() - began, 1)
    assert (stuck, sorted(heard)) == ([1], [1, 1, 2, 2, 3])
    began = time.monotonic()
    deployment.gateway.close()
    check_seconds(time.monotonic() - began, 2)
    release.set()
    deadline = time.monotonic() + 10
    while len(stuck) < 6 and time.monotonic() < deadline:
        deployment.gateway.store.database.run("UPDATE deliveries SET retry_at = 0")
        relay._swept = -1000.0
        relay.deliver()
        time.sleep(0.05)
    # What it was at ended well and is taken over; then the rest, each organization in its order.
    assert sorted(stuck) == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("seconds", [3.2, 40.0])
def test_an_event_that_takes_longer_than_a_turn_is_told_once_and_then_the_next(
    with_plugin: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Neither the process that delivers it nor another one delivers it again, however often they look meanwhile."""
    scale = 1.0 if seconds < 5 else 0.05
    monkeypatch.setattr("gateway.provisioning.event_relay.SLICE_SECONDS", 1.0 * scale)
    monkeypatch.setattr("gateway.provisioning.event_relay.LEASE_SECONDS", 30.0 * scale)
    monkeypatch.setattr("gateway.plugin.listener.GRACE_SECONDS", 2.0 * scale)
    heard: list[tuple[str, int]] = []

    def dawdle(event: Any) -> None:
        heard.append((event.organization.id, event.id))
        if event.id == 1:
            time.sleep(seconds * scale)

    deployment = with_plugin(listening(dawdle))
    relay = deployment.gateway.event_relay
    deployment.gateway.worker.stop()
    first, second = deployment.connection("generic"), deployment.connection("generic")
    for each in (first, second):
        each.user()
        each.user("user2@acme.test")
    deadline = time.monotonic() + 60
    others: list[int] = []
    while len(heard) < 4 and time.monotonic() < deadline:
        relay.deliver()
        if len(heard) == 1:
            # What another process would deliver: the other organization alone.
            others += _free(deployment, "zzz")
        time.sleep(0.02)
    expected = {(each.organization.uid, number) for each in (first, second) for number in (1, 2)}
    assert len(heard) == 4
    assert set(heard) == expected
    assert [number for uid, number in heard if uid == heard[0][0]] == [1, 2]
    told_first = next(
        each.organization.id for each in (first, second) if each.organization.uid == heard[0][0]
    )
    assert others
    assert told_first not in others


def _free(deployment: Deployment, plugin: str) -> list[int]:
    """Return the organizations whose events another process would deliver to a listener now."""
    behind = deployment.gateway.store.listener_positions.behind(plugin)
    return [each.organization_id for each in behind if max(each.lease_until, each.retry_at) <= now()]


def test_a_late_call_that_fails_is_told_again(
    with_plugin: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.provisioning.event_relay.SLICE_SECONDS", 0.05)
    monkeypatch.setattr("gateway.plugin.listener.GRACE_SECONDS", 0.05)
    heard: list[int] = []

    def fail_late(event: Any) -> None:
        heard.append(event.id)
        if len(heard) == 1:
            time.sleep(0.5)
            crash()

    deployment = with_plugin(listening(fail_late))
    relay = deployment.gateway.event_relay
    deployment.gateway.worker.stop()
    scim = deployment.connection("generic")
    scim.user()
    relay.deliver()
    time.sleep(0.6)
    relay.deliver()
    behind = deployment.gateway.store.listener_positions.behind("zzz", [scim.organization.id])
    assert (heard, [each.failures for each in behind]) == ([1], [1])
    deployment.gateway.store.database.run("UPDATE deliveries SET retry_at = 0")
    relay._swept = -1000.0
    relay.deliver()
    assert heard == [1, 1]


@pytest.mark.parametrize("history", [False, True])
def test_a_new_listener_hears_from_its_installation_on_unless_it_asks_for_all(
    with_plugin: Callable[..., Deployment], history: bool
) -> None:
    heard: list[tuple[str, int]] = []
    deployment = with_plugin()
    scim, quiet = deployment.connection("generic"), deployment.connection("generic")
    for each in (scim, quiet):
        each.user()
        each.user("user2@acme.test")
    reported = plugin(gateway_provisioned=lambda event: heard.append((event.organization.id, event.id)))
    type(reported).gateway_declare = hookimpl(lambda self: Declaration(title="Z", history=history))
    deployment.gateway.worker.stop()
    deployment.gateway.plugins.add(reported, "zzz")
    relay = deployment.gateway.event_relay
    scim.user("user3@acme.test")
    later = deployment.connection("generic")
    later.user()
    relay.deliver()
    new = {(scim.organization.uid, 3), (later.organization.uid, 1)}
    old = {(each.organization.uid, number) for each in (scim, quiet) for number in (1, 2)}
    assert set(heard) == (new | old if history else new)
    assert len(heard) == len(set(heard))
    # Known from now on: a process that starts later begins where the last one ended.
    relay._registered.clear()
    deployment.gateway.plugins._since["zzz"] += 3_600_000_000
    heard.clear()
    quiet.user("user3@acme.test")
    relay.deliver()
    assert heard == [(quiet.organization.uid, 3)]


def test_a_listener_that_would_leave_is_told_again(with_plugin: Callable[..., Deployment]) -> None:
    heard: list[int] = []

    def leaves(event: Any) -> None:
        heard.append(event.id)
        if len(heard) == 1:
            raise SystemExit(3)

    deployment = with_plugin(listening(leaves))
    relay = deployment.gateway.event_relay
    deployment.gateway.worker.stop()
    deployment.connection("generic").user()
    for _ in range(2):
        relay.deliver()
        deployment.gateway.store.database.run("UPDATE deliveries SET retry_at = 0")
    assert heard == [1, 1]
    assert counted(deployment) == {("provisioned", "failed"): 1.0, ("provisioned", "answered"): 1.0}


def test_an_organization_with_much_to_tell_lets_the_next_one_in(
    with_plugin: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, int]] = []

    def dawdle(event: Any) -> None:
        time.sleep(0.05)
        heard.append((event.organization.id, event.id))

    monkeypatch.setattr("gateway.provisioning.event_relay.SLICE_SECONDS", 0.2)
    deployment = with_plugin(listening(dawdle))
    relay = deployment.gateway.event_relay
    deployment.gateway.worker.stop()
    first, second = deployment.connection("generic"), deployment.connection("generic")
    for number in range(12):
        first.user(f"user{number}@acme.test")
    second.user()
    relay.deliver()
    assert (second.organization.uid, 1) in heard
    assert len(heard) < 12
    for _ in range(5):
        relay.deliver()
    assert [number for uid, number in heard if uid == first.organization.uid] == list(range(1, 13))


def test_numbers_of_plugins_are_counted_once_however_many_ask_at_once(
    with_plugin: Callable[..., Deployment], together: Any
) -> None:
    deployment = with_plugin(plugin(idp=True, gateway_map_resource=lambda **_: None))
    scim = deployment.connection("zzz")
    jobs = [lambda n=n: scim.call("POST", "/Users", body(f"user{n}@acme.test")).status for n in range(8)]
    assert together(deployment, jobs) == [201] * 8
    assert counted(deployment) == {("map_resource", "none"): 8.0}
    # The defaults answered once for each, as the metrics of requests have it.
    assert counted(deployment, "generic")["authenticate", "answered"] == 8


def test_what_comes_while_a_listener_is_told_waits_for_the_next_round(
    with_plugin: Callable[..., Deployment],
) -> None:
    """Else a stream of creates is followed event by event, each noted with a commit that holds up the next create."""
    heard: list[int] = []

    def hire_another(event: Any) -> None:
        heard.append(event.id)
        if len(heard) < 5:
            scim.user(f"user{len(heard)}@acme.test")

    deployment = with_plugin(listening(hire_another))
    relay = deployment.gateway.event_relay
    deployment.gateway.worker.stop()
    scim = deployment.connection("generic")
    scim.user("user0@acme.test")
    for reported in range(1, 4):
        relay.deliver()
        assert heard == list(range(1, reported + 1))


def test_what_another_node_has_leased_is_delivered_when_that_lease_ends(
    with_plugin: Callable[..., Deployment],
) -> None:
    heard: list[tuple[str, int]] = []
    deployment = with_plugin(listening(lambda event: heard.append((event.organization.id, event.id))))
    relay, store = deployment.gateway.event_relay, deployment.gateway.store
    deployment.gateway.worker.stop()
    relay.deliver()  # the first round looks at all organizations, later ones at those that changed
    leased, free = deployment.connection("generic"), deployment.connection("generic")
    leased.user()
    free.user()
    moment = now()
    position = Position("zzz", leased.organization.id, 0)
    with store.transaction():
        assert store.listener_positions.take([position], "other", moment, moment + 20_000_000)
        assert not store.listener_positions.take([position], "third", moment, moment + 20_000_000)
    relay.deliver()
    assert heard == [(free.organization.uid, 1)]
    with store.transaction():
        store.listener_positions.write([position], "other")
    relay.deliver()
    assert heard == [(free.organization.uid, 1), (leased.organization.uid, 1)]


def test_a_process_that_lost_its_lease_moves_no_position(with_plugin: Callable[..., Deployment]) -> None:
    deployment = with_plugin()
    scim = deployment.connection("generic")
    positions, stream = deployment.gateway.store.listener_positions, Position("zzz", scim.organization.id, 0)
    for number in range(3):
        scim.user(f"user{number}@acme.test")
    assert positions.take([stream], "stalled", 1_000, 2_000)
    assert [each.seq for each in positions.take([stream], "other", 2_000, 3_000)] == [0]
    assert positions.write([stream._replace(seq=2, lease_until=4_000)], "other") == {stream.stream}
    assert positions.write([stream._replace(seq=1, failures=3, retry_at=9_000)], "stalled") == set()
    # Nor does its own position move back.
    assert positions.write([stream._replace(seq=1, lease_until=5_000)], "other") == {stream.stream}
    assert positions.behind("zzz") == [stream._replace(seq=2, lease_until=5_000)]
