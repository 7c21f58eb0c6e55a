"""The fixtures that an author finds, and what the kit says where it cannot begin."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway import testing
from gateway.testing import Deployment, IdpPromises, SeatPromises, engines, examples
from gateway.testing.promises.base import find_declaration

pytestmark = pytest.mark.slow


def test_a_deployment_has_two_names(gateway, deployment):
    assert gateway is deployment
    assert {"okta", "billing", "generic"} <= {
        plugin.name for plugin in gateway.gateway.plugins.declared.plugins()
    }


def test_a_connection_is_a_generic_one_where_no_plugin_is_named(connection, scim):
    assert (connection.connection.idp, scim.connection.idp) == ("generic", "generic")


class TestConnection:
    plugin = "okta"
    settings = {"extra_attributes": ["title"]}

    def test_is_one_of_the_plugin_with_the_settings_of_the_class(self, connection):
        assert connection.connection.idp == "okta"
        assert connection.user(title="Guide", nickName="G").keys() & {"title", "nickName"} == {"title"}


def test_settings_are_checked_by_the_plugin_and_have_its_defaults(deployment):
    okta = deployment.connection("okta")
    assert okta.caller().words.settings == {"extra_attributes": ()}
    with pytest.raises(Exception, match="Unknown field"):
        deployment.connection("okta", settings={"extra_atributes": []})


@pytest.mark.parametrize(
    ("base", "plugin", "words"),
    [
        (IdpPromises, "", 'says no plugin: write plugin = "acme"'),
        (SeatPromises, "acme", "No installed plugin is called"),
    ],
)
def test_promises_without_a_plugin_are_a_usage_error(base, plugin, words):
    with pytest.raises(pytest.UsageError, match=words):
        find_declaration(type("TestAcme", (base,), {"plugin": plugin}))


def test_a_plugin_is_asked_by_itself():
    okta = examples.installed("okta")
    assert okta.ask("gateway_check_seats", organization=examples.organization(0), request=None) is None
    assert "okta" not in examples.others("okta")
    assert {each.name for each in examples.manager_with("okta").declared.plugins()} == {"okta", "generic"}


def test_the_kit_exports_its_names_and_replays_a_transcript_without_pytest():
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []
    with pytest.raises(AttributeError, match="has no Promises"):
        _ = testing.Promises
    reported = (
        "import sys; from gateway.testing import replay; import gateway.cli; print('pytest' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", reported], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.sqlite
def test_a_database_that_holds_something_is_not_what_later_deployments_begin_with(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_migrated", [])
    first = Deployment(tmp_path / "first")
    first.organization("Acme")
    first.close()
    # As in a run whose first deployment opens a folder that another run filled.
    monkeypatch.setattr(engines, "_migrated", [])
    for folder, names in (("first", ["Acme"]), ("second", []), ("third", [])):
        deployment = Deployment(tmp_path / folder)
        found = deployment.admin("GET", "/organizations").json["items"]
        deployment.close()
        assert [each["name"] for each in found] == names
