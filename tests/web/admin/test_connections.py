"""Connections: settings by their plugin, the switch with its reasons, tokens, the check-up, and what removal leaves."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway import Declaration, hookimpl
from gateway.testing import Deployment


def checks(acme) -> dict[str, tuple[bool, str]]:
    reported = acme.call("POST", f"{acme.connection}/test", None)
    assert reported["ok"] == all(check["ok"] for check in reported["checks"])
    return {check["name"]: (check["ok"], check["message"]) for check in reported["checks"]}


def test_a_connection_is_named_after_its_identity_provider_unless_it_is_said(acme) -> None:
    made = acme.post(f"{acme.path}/connections", {"idp": "generic"})
    assert (made["name"], made["settings"]) == ("Generic SCIM 2.0", {})
    assert [c["idp"] for c in acme.get(f"{acme.path}/connections")["items"]] == ["okta", "generic"]
    unknown = acme.post(f"{acme.path}/connections", {"idp": "billing"}, 422)
    known = ", ".join(item["name"] for item in acme.get("/plugins")["items"] if item["idp"])
    assert unknown["message"] == f'There is no identity provider "billing" here. Known are: {known}.'


def test_settings_are_merged_and_judged_by_the_plugin(acme) -> None:
    changed = acme.call("PATCH", acme.connection, {"settings": {"extra_attributes": ["title"]}})
    assert changed["settings"] == {"extra_attributes": ["title"]}
    named = acme.call("PATCH", acme.connection, {"name": "Okta EMEA"})
    assert (named["name"], named["settings"]) == ("Okta EMEA", {"extra_attributes": ["title"]})
    for given, reported in (
        ({"colour": "red"}, "settings.colour: Unknown field."),
        ({"extra_attributes": "title"}, "settings.extra_attributes: Not a valid list."),
        ({"extra_attributes": ["password"]}, "belongs to the protocol"),
        ({"extra_attributes": ["shoeSize"]}, "No schema of a User has an attribute 'shoeSize'."),
    ):
        assert reported in acme.call("PATCH", acme.connection, {"settings": given}, 422)["message"]
        refused = acme.post(f"{acme.path}/connections", {"idp": "okta", "settings": given}, 422)
        assert reported in refused["message"]
    assert acme.get(acme.connection)["settings"] == {"extra_attributes": ["title"]}
    assert acme.okta.user(title="Engineer")["title"] == "Engineer"
    reset = acme.call("PATCH", acme.connection, {"settings": {"extra_attributes": None}})
    assert reset["settings"] == {"extra_attributes": []}


def test_an_edit_of_an_old_version_of_a_connection_is_refused(acme) -> None:
    acme.get(acme.connection)
    old = acme.etag()
    acme.call("PATCH", acme.connection, {"name": "Okta 2"}, If_Match=old)
    acme.call("PATCH", acme.connection, {"name": "Okta 3"}, 412, If_Match=old)
    acme.call("DELETE", acme.connection, None, 412, If_Match=old)
    assert acme.get(acme.connection)["name"] == "Okta 2"


def test_provisioning_is_switched_on_only_once_plan_and_single_sign_on_allow_it(
    deployment: Deployment, metadata: str
) -> None:
    organization = deployment.admin("POST", "/organizations", {"name": "Acme"}).json
    path = f"/organizations/{organization['id']}"
    connection = deployment.admin("POST", f"{path}/connections", {"idp": "okta"}).json
    switch = f"/connections/{connection['id']}/provisioning"
    both = deployment.admin("PUT", switch, {"enabled": True})
    assert (both.status, both.json["status"]) == (409, "Conflict")
    assert "standard plan" in both.json["message"]
    assert "Single sign-on is not set up" in both.json["message"]
    deployment.admin("PATCH", path, {"plan": "enterprise"})
    assert "plan" not in deployment.admin("PUT", switch, {"enabled": True}).json["message"]
    deployment.admin("PUT", f"{path}/sso", {"metadata_xml": metadata})
    assert deployment.admin("PUT", switch, {"enabled": True}).json == {"enabled": True}
    assert deployment.admin("GET", f"/connections/{connection['id']}").json["provisioning"] == {
        "enabled": True
    }
    assert deployment.admin("PUT", switch, {"enabled": False}).json == {"enabled": False}


def test_a_token_is_shown_once_opens_the_connection_and_is_revoked_at_once(acme) -> None:
    tokens = f"{acme.connection}/tokens"
    made = acme.post(tokens, {"label": "second", "expires_in_days": 30})
    assert (datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])).days in (
        29,
        30,
    )
    assert acme.okta.call("GET", "/Users", token=made["token"]).status == 200
    listed = acme.get(tokens)["items"]
    assert [token["label"] for token in listed] == ["test", "second"]
    assert "token" not in listed[1]
    assert made["token"] not in acme.deployment.admin("GET", tokens).text
    acme.call("DELETE", f"{tokens}/{made['id']}", None, 204)
    assert acme.okta.call("GET", "/Users", token=made["token"]).status == 401
    acme.call("DELETE", f"{tokens}/{made['id']}", None, 404)
    forever = acme.post(tokens, {})
    assert (forever["label"], forever["expires_at"]) == ("", None)


def test_tokens_of_another_connection_are_not_found_here(acme) -> None:
    other = acme.post(f"{acme.path}/connections", {"idp": "okta"})
    token = acme.post(f"/connections/{other['id']}/tokens", {})
    acme.call("DELETE", f"{acme.connection}/tokens/{token['id']}", None, 404)


def test_the_check_up_says_in_plain_words_what_is_missing_and_what_was_called(acme) -> None:
    reported = checks(acme)
    set_up = ["plan", "single_sign_on", "provisioning", "token"]
    assert list(reported) == [*set_up, "adoption", "last_call", "last_failure"]
    assert all(ok for ok, _ in reported.values())
    assert "does not expire" in reported["token"][1]
    assert "has not called yet" in reported["last_call"][1]
    assert "No call was refused" in reported["last_failure"][1]

    acme.okta.call("GET", "/Users")
    acme.okta.call("POST", "/Users", {"schemas": [], "userName": "x@acme.test"})
    reported = checks(acme)
    assert "POST /Users for x@acme.test" in reported["last_call"][1]
    assert "answered with 400" in reported["last_failure"][1]
    assert "urn:ietf:params:scim:schemas:core:2.0:User" in reported["last_failure"][1]
    acme.okta.call("GET", "/Groups")
    reported = checks(acme)
    assert "GET /Groups" in reported["last_call"][1]
    assert "A later call went well." in reported["last_failure"][1]

    acme.call("PATCH", acme.path, {"plan": "basic"})
    acme.call("DELETE", f"{acme.path}/sso", None, 204)
    acme.call("PUT", f"{acme.connection}/provisioning", {"enabled": False})
    for token in acme.get(f"{acme.connection}/tokens")["items"]:
        acme.call("DELETE", f"{acme.connection}/tokens/{token['id']}", None, 204)
    reported = checks(acme)
    assert [name for name, (ok, _) in reported.items() if not ok] == [
        "plan",
        "single_sign_on",
        "provisioning",
        "token",
    ]
    # What an admin did to the connection is no call of its identity provider.
    assert "GET /Groups" in reported["last_call"][1]


@pytest.mark.parametrize(("days", "words"), [(5, "ends soon"), (200, "is valid until")])
def test_a_token_that_ends_soon_is_worth_a_warning(acme, days: int, words: str) -> None:
    first = acme.get(f"{acme.connection}/tokens")["items"][0]
    acme.call("DELETE", f"{acme.connection}/tokens/{first['id']}", None, 204)
    acme.post(f"{acme.connection}/tokens", {"expires_in_days": days})
    ok, message = checks(acme)["token"]
    assert ok
    assert words in message


def test_an_ended_token_and_certificate_are_told(acme) -> None:
    store = acme.deployment.gateway.store
    store.database.run("UPDATE tokens SET expires = 1")
    store.database.run("UPDATE organizations SET sso = REPLACE(sso, '2036', '2020')")
    reported = checks(acme)
    assert reported["token"] == (False, "All tokens have expired.")
    assert reported["single_sign_on"][0] is False
    assert "ended on 2020-01-01" in reported["single_sign_on"][1]


def test_users_and_groups_outlive_their_connection_managed_by_nobody(acme) -> None:
    user = acme.assign(1, "Sales EMEA")
    pushed = acme.okta.group("Pushed", (user["id"],))
    acme.save({"Sales EMEA": "Sales"})
    assert acme.groups_of(user) == {"Pushed": ["push"], "Sales": ["mapping"]}
    acme.call("DELETE", acme.connection, None, 204)
    acme.get(acme.connection, 404)
    left = acme.get(f"{acme.path}/users/{user['id']}")
    assert (left["managed_by"], left["active"]) == (None, True)
    assert acme.groups_of(user) == {"Pushed": ["manual"], "Sales": ["manual"]}
    group = acme.get(f"{acme.path}/groups/{pushed['id']}")
    assert (group["source"], group["managed_by"], group["members"]) == ("manual", None, 1)
    acme.call("PATCH", f"{acme.path}/users/{user['id']}", {"display_name": "By hand"})
    acme.call("DELETE", f"{acme.path}/groups/{pushed['id']}/members/{user['id']}", None, 204)
    answer = acme.deployment.call(
        "GET", "/scim/v2/gone/Users", None, {"Authorization": f"Bearer {acme.okta.token}"}
    )
    assert answer.status == 401


def test_two_groups_of_one_name_do_not_meet_when_their_connections_are_removed(acme) -> None:
    other = acme.deployment.connection("okta", acme.okta.organization)
    acme.okta.group("Sales")
    other.group("SALES")
    acme.call("DELETE", acme.connection, None, 204)
    acme.call("DELETE", f"/connections/{other.uid}", None, 204)
    groups = acme.get(f"{acme.path}/groups")["items"]
    assert [(group["name"], group["source"]) for group in groups] == [
        ("Sales", "manual"),
        ("SALES (Okta)", "manual"),
    ]
    last = acme.get(f"{acme.path}/events")["items"][-1]
    assert (last["type"], last["data"]["displayName"]) == ("group.updated", "SALES (Okta)")


def test_a_connection_whose_plugin_is_gone_can_be_read_checked_and_removed(acme, tmp_path) -> None:
    acme.deployment.close()
    later = Deployment(tmp_path / "instance", plugins_disabled=("okta",))
    shown = later.admin("GET", acme.connection)
    assert (shown.status, shown.json["idp"], shown.json["setup_steps"]) == (200, "okta", [])
    assert (shown.json["plugin_missing"], shown.json["settings"]) == (True, {})
    assert [each["plugin_missing"] for each in later.listed(f"{acme.path}/connections")] == [True]
    reported = later.admin("POST", f"{acme.connection}/test").json
    assert (reported["ok"], reported["checks"][2]["message"]) == (
        False,
        "The plugin okta is not installed, or it is disabled: every call is refused until the operator of the"
        " application brings it back.",
    )
    assert later.admin("DELETE", acme.connection).status == 204
    later.close()


class Careless:
    """An identity provider whose steps cannot be shown."""

    @hookimpl
    def gateway_declare(self) -> Declaration:
        def steps(connection: object) -> list[str]:
            raise RuntimeError("no steps")

        return Declaration(title="Careless", idp=True, setup_steps=steps)


def test_a_plugin_that_fails_to_tell_its_steps_does_not_hide_its_connection(acme, caplog) -> None:
    acme.deployment.gateway.plugins.add(Careless(), "careless")
    made = acme.post(f"{acme.path}/connections", {"idp": "careless"})
    assert (made["name"], made["setup_steps"]) == ("Careless", [])
    assert "careless failed to tell its setup steps" in caplog.text


def test_an_attribute_that_a_mapping_looks_at_stays_kept(acme) -> None:
    acme.call("PATCH", acme.connection, {"settings": {"extra_attributes": ["title"]}})
    acme.save({"Engineer": "Engineers"}, attribute="title")
    refused = acme.call("PATCH", acme.connection, {"settings": {"extra_attributes": []}}, 409)
    assert "Map to groups looks at 'title'" in refused["message"]
    acme.call("PATCH", acme.connection, {"settings": {"extra_attributes": ["title", "locale"]}})
    acme.save({}, enabled=False)
    acme.call("PATCH", acme.connection, {"settings": {"extra_attributes": []}})


def test_a_plugin_that_fails_at_settings_stores_nothing(acme, caplog) -> None:
    class Broken:
        @hookimpl
        def gateway_declare(self) -> Declaration:
            def keeps(settings: object) -> list[str]:
                raise RuntimeError("no idea")

            return Declaration(title="Broken", idp=True, keeps=keeps)

    acme.deployment.gateway.plugins.add(Broken(), "broken")
    refused = acme.post(f"{acme.path}/connections", {"idp": "broken"}, 503)
    assert "plugin broken failed" in refused["message"]
    assert len(acme.get(f"{acme.path}/connections")["items"]) == 1


def test_a_change_of_a_connection_is_in_the_activity_of_this_connection(acme) -> None:
    acme.call("PATCH", acme.connection, {"name": "Okta EMEA"})
    uid = acme.connection.rsplit("/", 1)[1]
    newest = acme.get(f"{acme.path}/activity?connection={uid}")["items"][0]
    assert newest["operation"].startswith("PATCH /connections")
    assert newest["target"]["id"] == uid
