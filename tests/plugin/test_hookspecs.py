"""The hooks: their contract holds together with its documents and its users, and no plugin hurts another's connection.

Plugins here are small and wrong on purpose; they are registered beside the real ones in a real deployment.
"""

import dataclasses
import importlib.metadata
import inspect
import itertools
import json
import re
import typing
from configparser import ConfigParser
from pathlib import Path

import pluggy
import pytest
from marshmallow import Schema

import gateway
from gateway import (
    Declaration,
    GroupGrant,
    Principal,
    SeatVerdict,
    Verdict,
    hookimpl,
)
from gateway.app import create_app
from gateway.plugin import hookspecs
from gateway.plugin.manager import PluginError, PluginManager
from gateway.testing import Deployment, examples, promises
from gateway.testing.deployment import GROUP, USER

GUIDE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text("utf-8")
SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("gateway_")}
PARAMETERS = {"gateway_map_patch": 4}

each_hook = pytest.mark.parametrize("name", SPECS)


def signature(name):
    return f"{name}{inspect.signature(SPECS[name])}".replace("'", "")


def first_answer(name):
    return bool(SPECS[name].gateway_spec["firstresult"])


# The contract ----------------------------------------------------------------------------------------------------


@each_hook
def test_a_hook_is_annotated_whole_and_takes_few_arguments(name):
    parameters = inspect.signature(SPECS[name]).parameters
    assert len(parameters) <= PARAMETERS.get(name, 3)
    assert typing.get_type_hints(SPECS[name]).keys() == {*parameters, "return"}


@each_hook
def test_a_hook_says_so_exactly_when_its_first_answer_stands(name):
    assert ("Stops at the first answer" in SPECS[name].__doc__) is first_answer(name)


@each_hook
def test_a_hook_documents_each_argument_and_its_answer(name):
    reported = set(re.findall(r":param (\w+):", SPECS[name].__doc__))
    assert reported == set(inspect.signature(SPECS[name]).parameters)
    answers = typing.get_type_hints(SPECS[name])["return"] not in (type(None), Declaration)
    assert (":returns:" in SPECS[name].__doc__) is answers


@each_hook
def test_a_hook_stands_in_the_guide_with_its_exact_signature(name):
    blocks = re.findall(r"```\n(gateway_.*?)\n```\n\n(.*?)(?=\n```|\n## |\nAt|\nAfter)", GUIDE, re.DOTALL)
    reported = {block.partition("(")[0]: (block, " ".join(text.split())) for block, text in blocks}
    assert reported[name][0] == signature(name)
    assert ("stops at the first answer" in reported[name][1]) is first_answer(name)
    assert ("Narrowed" in reported[name][1]) is ("Narrowed." in SPECS[name].__doc__)


def test_the_guide_shows_no_hook_that_does_not_exist():
    assert set(re.findall(r"^(gateway_\w+)\(", GUIDE, re.MULTILINE)) == SPECS.keys()


VALUES = re.findall(
    r"^\| `([A-Z]\w+)` \| (.*) \|$", GUIDE.partition("## What the values hold")[2], re.MULTILINE
)


@pytest.mark.parametrize(("name", "reported"), [value for value in VALUES if hasattr(gateway, value[0])])
def test_the_guide_has_every_field_of_a_value(name, reported):
    names = {field.name for field in dataclasses.fields(getattr(gateway, name))}
    shown = {word.rstrip("?") for word in re.findall(r"`(\w+\??)`", reported)}
    assert names <= shown


def test_the_guide_has_every_value_that_a_hook_takes_or_returns():
    hints = [hint for spec in SPECS.values() for hint in typing.get_type_hints(spec).values()]
    used = {word for hint in hints for word in re.findall(r"\bcontracts\.(\w+)|'(\w+)'", repr(hint)) if word}
    named = {
        word
        for pair in used
        for word in pair
        if word and dataclasses.is_dataclass(getattr(gateway, word, None))
    }
    assert named
    assert named <= {name for name, _ in VALUES}


#: Hooks that only the application's own plugin can implement: who its last owner is.
OF_APPLICATIONS = {"gateway_guard_change"}


@each_hook
def test_a_hook_is_used_by_a_plugin_that_is_here(deployment, name):
    assert name in OF_APPLICATIONS or name in {
        hook for plugin in deployment.gateway.plugins.declared.plugins() for hook in plugin.hooks
    }


@each_hook
def test_the_kit_has_a_promise_for_a_hook(name):
    sources = [path.read_text("utf-8") for path in Path(promises.__file__).parent.glob("*.py")]
    assert f'"{name}"' in "".join(sources) + inspect.getsource(examples)


# Wrong plugins ---------------------------------------------------------------------------------------------------


class Careless:
    """An identity provider that lets everybody in and takes every document, group and user for its own."""

    @hookimpl
    def gateway_declare(self):
        return Declaration(title="Careless", idp=True, keeps=lambda settings: ["userName", "title"])

    @hookimpl
    def gateway_authenticate(self):
        return Principal("anybody")

    @hookimpl
    def gateway_map_resource(self, document):
        return {**document, "userName": "taken@acme.test", "displayName": "Taken", "title": "Taken"}

    @hookimpl
    def gateway_map_patch(self):
        return [{"op": "replace", "path": "title", "value": "Taken"}]

    @hookimpl
    def gateway_resolve_groups(self):
        return [GroupGrant("Admins")]


def plugin(hook, answer):
    """A plugin with one hook, which does with the arguments what a test wants."""
    arguments = ", ".join(inspect.signature(SPECS[hook]).parameters)
    space = {"answer": answer}
    exec(f"def {hook}(self, {arguments}): return answer()", space)
    return type("Plugin", (), {hook: hookimpl(space[hook])})()


def crash():
    raise RuntimeError("a plugin of a test failed")


def admins(deployment, organization):
    answer = deployment.admin("POST", f"/organizations/{organization.uid}/groups", {"name": "Admins"})
    assert answer.status == 201


@pytest.mark.parametrize("idp", ["okta", "generic"])
def test_a_careless_identity_provider_touches_no_other_ones_connection(deployment, idp):
    deployment.gateway.plugins.add(Careless(), "careless")
    victim = deployment.connection(idp)
    admins(deployment, victim.organization)
    assert victim.call("GET", "/Users", token="wrong").status == 401
    user = victim.user("user1@acme.test", displayName="Given1")
    assert (user["userName"], user["displayName"], "groups" in user) == ("user1@acme.test", "Given1", False)
    patched = victim.patch(
        f"/Users/{user['id']}", {"op": "replace", "path": "displayName", "value": "Given2"}
    )
    assert (patched.json["displayName"], "title" in patched.json, "groups" in patched.json) == (
        "Given2",
        False,
        False,
    )
    assert victim.group("Sales")["displayName"] == "Sales"


def test_the_same_identity_provider_does_as_it_likes_at_its_own(deployment):
    deployment.gateway.plugins.add(Careless(), "careless")
    own = deployment.connection("careless")
    admins(deployment, own.organization)
    answer = own.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"}, token="wrong")
    assert (answer.status, answer.json["userName"], answer.json["title"]) == (201, "taken@acme.test", "Taken")
    assert [group["display"] for group in answer.json["groups"]] == ["Admins"]


@pytest.mark.slow
def test_what_is_answered_does_not_rest_on_the_order_of_registration(tmp_path):
    ceilings = {"a": SeatVerdict(2, "two"), "b": SeatVerdict(1, "one of b"), "c": SeatVerdict(1, "one of c")}
    plugins = {
        name: plugin("gateway_check_seats", lambda verdict=verdict: verdict)
        for name, verdict in ceilings.items()
    }
    plugins["careless"] = Careless()
    reported = set()
    for number, order in enumerate(itertools.permutations(plugins)):
        deployment = Deployment(tmp_path / str(number))
        for name in order:
            deployment.gateway.plugins.add(plugins[name], name)
        okta = deployment.connection("okta")
        okta.user()
        refused = okta.call("POST", "/Users", {"schemas": [USER], "userName": "user2@acme.test"})
        decisions = [
            line.decisions
            for line in deployment.activity(okta.organization)
            if line.operation == "POST /Users"
        ]
        names = [info.name for info in deployment.gateway.plugins.declared.plugins()]
        reported.add((refused.status, refused.json["detail"], *decisions, *names))
        deployment.close()
    assert len(reported) == 1


def test_nor_on_the_order_in_which_distributions_are_found(tmp_path, monkeypatch):
    reported = []
    found = list(importlib.metadata.distributions())
    for number, order in enumerate((found, found[::-1])):
        monkeypatch.setattr(importlib.metadata, "distributions", lambda order=order, **_: iter(order))
        deployment = Deployment(tmp_path / str(number))
        reported.append(
            [(info.name, info.version, info.hooks) for info in deployment.gateway.plugins.declared.plugins()]
        )
        deployment.close()
    assert reported[0] == reported[1]
    assert {"billing", "generic", "okta"} <= {name for name, *_ in reported[0]}


# Start-up --------------------------------------------------------------------------------------------------------

WRONG = {
    "a misspelt hook": "def gateway_authentikate(connection): ...",
    "a misspelt argument": "def gateway_authenticate(conection): ...",
    "a declaration that fails": "def gateway_declare(): raise KeyError('title')",
    "a declaration that is none": "def gateway_declare(): return {'title': 'Wrong'}",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_plugin_that_cannot_work_stops_start_up_in_a_sentence_that_names_it(tmp_path, monkeypatch, text):
    module = f"gateway_wrong_{abs(hash(text))}"
    (tmp_path / f"{module}.py").write_text(f"from gateway import hookimpl\n\n@hookimpl\n{text}\n")
    metadata = tmp_path / "gateway_wrong-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway-wrong\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[gateway.plugins]\nwrong = {module}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="wrong"):
        create_app({"instance": tmp_path / "instance"})


def test_settings_of_a_plugin_that_is_no_identity_provider_are_refused(deployment):
    class Listener:
        @hookimpl
        def gateway_declare(self):
            return Declaration(title="Listener", settings=Schema)

    with pytest.raises(PluginError, match="plugin listener declares settings, but is no identity provider"):
        deployment.gateway.plugins.add(Listener(), "listener")


@pytest.mark.parametrize(
    "module",
    [
        "gateway",
        "gateway_okta",
        "gateway_entra",
        "gateway_onelogin",
        "gateway_jumpcloud",
        "gateway_billing",
        "gateway_nats",
    ],
)
def test_every_distribution_brings_its_types(module):
    """PEP 561: the marker exists and is among what goes into the wheel."""
    root = Path(__file__).parents[2]
    folder = root if module == "gateway" else root / "plugins" / module.removeprefix("gateway_")
    assert (folder / module / "py.typed").is_file()
    config = ConfigParser()
    config.read(folder / "setup.cfg")
    assert "py.typed" in config["options.package_data"][module].split()


def test_a_plugin_that_cannot_be_imported_stops_start_up(tmp_path, monkeypatch):
    metadata = tmp_path / "gateway_gone-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway-gone\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[gateway.plugins]\ngone = gateway_gone_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        PluginError, match=r"plugin gone .*gateway_gone_module.*GATEWAY_PLUGINS_DISABLED=gone"
    ):
        create_app({"instance": tmp_path / "instance"})


RETIRED = {
    "a hook": {"warn_on_impl": DeprecationWarning("gateway_lost is retired, implement gateway_found.")},
    "an argument": {"warn_on_impl_args": {"user": DeprecationWarning("user is retired, take user_name.")}},
}


@pytest.mark.parametrize("markers", RETIRED.values(), ids=RETIRED)
def test_what_is_retired_goes_on_working_with_a_warning_that_says_what_to_do(
    deployment, monkeypatch, markers
):
    spec = pluggy.HookspecMarker("gateway")(**markers)(lambda user: None)
    monkeypatch.setattr(hookspecs, "gateway_lost", spec, raising=False)
    lost = type("Plugin", (), {"gateway_lost": hookimpl(lambda self, user: [user])})()
    host = PluginManager(deployment.gateway.store, "urn:acme:User", "Acme")
    with pytest.warns(DeprecationWarning, match="is retired, (implement|take)"):
        host.add(lost, "lost")
    assert ("lost", ("gateway_lost",)) in {(plugin.name, plugin.hooks) for plugin in host.declared.plugins()}


# While requests are served ---------------------------------------------------------------------------------------

INVALID = {
    "gateway_authenticate": [lambda: True, lambda: "user1", lambda: {"label": "user1"}],
    "gateway_map_resource": [list, lambda: "user1", lambda: 1],
    "gateway_map_patch": [dict, lambda: "replace", lambda: True],
    "gateway_map_filter": [lambda: True, lambda: b"userName pr", dict],
    "gateway_resolve_groups": [lambda: ["Sales"], lambda: [None], lambda: [{"group": "Sales"}]],
    "gateway_check_entitlement": [lambda: True, lambda: "no", lambda: (False, "no")],
    "gateway_check_seats": [lambda: 5, lambda: True, lambda: (5, "too many")],
}
FAILURES = [(hook, crash) for hook in INVALID] + [
    (hook, answer) for hook in INVALID for answer in INVALID[hook]
]


def stored(deployment):
    tables = ("users", "groups", "grants", "events", "organizations", "tallies")
    return {table: deployment.gateway.store.database.all(f"SELECT * FROM {table}") for table in tables}


@pytest.mark.parametrize(
    ("hook", "answer"), FAILURES, ids=[f"{hook} {n}" for n, (hook, _) in enumerate(FAILURES)]
)
def test_a_plugin_that_crashes_or_answers_rubbish_is_a_503_and_stores_nothing(tmp_path, hook, answer):
    """An identity provider of a test; what is asked of all plugins, it is asked as well."""
    deployment, failing = Deployment(tmp_path / "instance"), [False]

    def reported():
        return answer() if failing[0] else None

    wrong = plugin(hook, reported)
    type(wrong).gateway_declare = hookimpl(lambda self: Declaration(title="Wrong", idp=True))
    deployment.gateway.plugins.add(wrong, "wrong")
    connection = deployment.connection("wrong", deployment.organization(seats=5))
    uid = connection.user()["id"]
    before, failing[0] = stored(deployment), True
    if hook == "gateway_map_patch":
        refused = connection.patch(f"/Users/{uid}", {"op": "replace", "path": "title", "value": "x"})
    elif hook == "gateway_map_filter":
        refused = connection.call("GET", "/Users?filter=userName+pr")
    else:
        refused = connection.call("POST", "/Users", {"schemas": [USER], "userName": "user2@acme.test"})
    assert (refused.status, refused.json["status"]) == (503, "503")
    assert "plugin wrong" in refused.json["detail"]
    assert "Traceback" not in refused.text
    assert stored(deployment) == before
    line = deployment.activity(connection.organization, outcome="failure")[0]
    assert (line.status, line.detail) == (503, refused.json["detail"])
    failing[0] = False
    assert connection.call("POST", "/Users", {"schemas": [USER], "userName": "user2@acme.test"}).status == 201
    deployment.close()


def test_a_failing_listener_receives_the_event_again_and_affects_no_other(deployment):
    heard = []

    class Listener:
        @hookimpl
        def gateway_provisioned(self, event):
            heard.append(event.type)
            if heard.count(event.type) == 1:
                crash()

    gateway = deployment.gateway
    gateway.plugins.add(Listener(), "listener")
    scim = deployment.connection("generic")
    assert scim.user()["active"] is True
    gateway.worker.stop()  # its thread; what it does is done here, without waiting a second
    gateway.event_relay.deliver()
    gateway.store.database.run("UPDATE deliveries SET retry_at = 0")
    gateway.event_relay.deliver()
    scim.user("user2@acme.test")
    gateway.event_relay.deliver()
    assert heard == ["user.created"] * 3


def test_the_lowest_ceiling_and_any_denial_win(deployment):
    host, organization = deployment.gateway.plugins, deployment.organization(seats=3)
    connection = deployment.connection("generic", organization)
    host.add(plugin("gateway_check_seats", lambda: SeatVerdict(1, "One is enough.")), "strict")
    connection.user()
    refused = connection.call("POST", "/Users", {"schemas": [USER], "userName": "user2@acme.test"})
    assert (refused.status, refused.json["detail"]) == (403, "One is enough.")
    host.add(plugin("gateway_check_entitlement", lambda: Verdict(False, "Not on Sundays.")), "sunday")
    refused = connection.call("GET", "/Users")
    assert (refused.status, refused.json["detail"]) == (403, "Not on Sundays.")


def test_an_identity_provider_whose_plugin_is_gone_is_refused_and_keeps_its_data(tmp_path):
    deployment = Deployment(tmp_path / "instance")
    okta = deployment.connection("okta")
    uid = okta.user()["id"]
    deployment.close()
    without = Deployment(tmp_path / "instance", plugins_disabled=("okta",))
    okta.deployment = without
    for method, path, body in [
        ("GET", "/Users", None),
        ("GET", f"/Users/{uid}", None),
        ("POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales"}),
        ("DELETE", f"/Users/{uid}", None),
        ("GET", "/Schemas", None),
    ]:
        refused = okta.call(method, path, body)
        assert refused.status == 503
        assert "no plugin for the identity provider 'okta'" in refused.json["detail"]
    shown = without.admin("GET", f"/organizations/{okta.organization.uid}/users").json["items"]
    assert [user["id"] for user in shown] == [uid]
    assert json.loads(without.call("GET", "/live", None, {}).text)
    without.close()
    again = Deployment(tmp_path / "instance")
    okta.deployment = again
    assert okta.call("GET", f"/Users/{uid}").status == 200
    again.close()
