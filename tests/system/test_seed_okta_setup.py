"""Okta's setup page, step by step: each step of `docs/setup-okta.md` is made here, over HTTP, by what Okta or an admin
sends. A step that happens in Okta's own pages is shown by what arrives because of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.metadata import saml_metadata
from gateway.simulation.api import Answer
from gateway.testing import Deployment
from gateway.testing.deployment import PATCH, USER
from tests.support.admin import AdminClient

NAMESPACE = "urn:calendly:scim:schemas:2.0:User"
OKTA = {
    "User-Agent": "Okta SCIM Client 1.0.0",
    "Accept": "application/scim+json",
    "Accept-Charset": "utf-8",
    "Content-Type": "application/scim+json; charset=utf-8",
}
PAGE = Path(__file__).parents[2] / "docs" / "setup-okta.md"


class OktaSetup(AdminClient):
    """What admin and Okta know as they go along."""

    def __init__(self, deployment: Deployment) -> None:
        body = {"name": "Acme", "plan": "enterprise", "seats": {"limit": 3}}
        super().__init__(deployment, deployment.admin("POST", "/organizations", body).json["id"])
        self.connection: dict[str, Any] = {}
        self.token = ""

    def sso(self) -> None:
        self.call(
            "PUT",
            f"{self.path}/sso",
            {"metadata_xml": saml_metadata("https://idp.acme.test")},
        )

    def connect(self, **extra: Any) -> None:
        body = {"idp": "okta", "name": "Okta"} | extra
        self.connection = self.call("POST", f"{self.path}/connections", body, 201)
        self.token = self.call(
            "POST", f"/connections/{self.connection['id']}/tokens", {"label": "Okta"}, 201
        )["token"]

    def switch_on(self) -> None:
        self.call("PUT", f"/connections/{self.connection['id']}/provisioning", {"enabled": True})

    def okta(self, method: str, path: str, body: Any = None, authorization: str | None = None) -> Answer:
        base = self.connection["base_url"].removeprefix("http://localhost")
        given = OKTA | {"Authorization": authorization or f"Bearer {self.token}"}
        return self.deployment.call(method, base + path, body, given)

    def assign(self, number: int, **profile: Any) -> Answer:
        """Look up, then create or link: what Okta does with an assigned person."""
        name = f"user{number}@acme.test"
        found = self.okta("GET", f"/Users?filter=userName%20eq%20%22{name}%22&startIndex=1&count=100").json
        body = {
            "schemas": [USER], "userName": name, "displayName": f"Given{number} Family{number}",
            "name": {"givenName": f"Given{number}", "familyName": f"Family{number}"},
            "emails": [{"primary": True, "value": name, "type": "work"}],
            "locale": "en-US", "externalId": f"00u{number}", "groups": [], "password": "1mz050nq", "active": True,
        } | profile  # fmt: skip
        if not found["totalResults"]:
            return self.okta("POST", "/Users", body)
        uid = found["Resources"][0]["id"]
        return self.okta("PUT", f"/Users/{uid}", self.okta("GET", f"/Users/{uid}").json | body)

    def user(self, number: int) -> dict[str, Any]:
        page = self.call("GET", f"{self.path}/users")
        return next(user for user in page["items"] if user["user_name"] == f"user{number}@acme.test")

    def mapping(self, *rules: tuple[str, str], apply: bool = True) -> dict[str, Any]:
        listed = [{"value": value, "group": group} for value, group in rules]
        return {
            "enabled": True,
            "attribute": f"{NAMESPACE}:group",
            "rules": listed,
            "apply_to_existing": apply,
        }


@pytest.fixture
def setup(deployment: Deployment) -> OktaSetup:
    """Everything up to step 13."""
    reported = OktaSetup(deployment)
    reported.sso()
    reported.connect()
    reported.switch_on()
    return reported


def test_every_step_of_the_page_is_told_here() -> None:
    text = PAGE.read_text("utf-8")
    connect, mapping = text.split("## Map an attribute to groups")
    here = Path(__file__).read_text("utf-8")
    for part, prefix, count in ((connect, "step", 19), (mapping, "mapping", 6)):
        steps = [int(number) for number in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)]
        assert steps == list(range(1, count + 1))
        reported = {
            int(n)
            for names in re.findall(rf"def test_{prefix}s?((?:_\d+)+)_", here)
            for n in re.findall(r"\d+", names)
        }
        assert reported == set(steps), f"{prefix}s without a test: {set(steps) - reported}"


def test_steps_01_02_03_before_the_start_plan_and_single_sign_on_are_asked_for(
    deployment: Deployment,
) -> None:
    """Who opens the application in Okta too early reads what is missing, and by whom it is mended."""
    setup = OktaSetup(deployment)
    setup.connect()
    too_early = setup.okta("GET", "/Users?startIndex=1&count=2")
    assert too_early.status == 403
    assert "Single sign-on is not set up for Acme" in too_early.json["detail"]


def test_step_04_a_user_name_that_is_no_email_address_sends_the_admin_to_the_sign_on_tab(
    setup: OktaSetup,
) -> None:
    refused = setup.assign(1, userName="just.a.name")
    assert (refused.status, refused.json["scimType"]) == (400, "invalidValue")
    assert 'set "Application username format" to Email on the Sign On tab' in refused.json["detail"]
    assert setup.assign(1, userName="user@corp.local").status == 201


def test_steps_05_06_the_integration_needs_no_call_of_its_own(setup: OktaSetup) -> None:
    """Okta reads no ServiceProviderConfig; a server that waits for one would never be provisioned."""
    assert setup.assign(1).status == 201


def test_steps_07_08_an_admin_of_the_organization_finds_its_single_sign_on_page(setup: OktaSetup) -> None:
    sso = setup.call("GET", f"{setup.path}/sso")
    assert sso["entity_id"] == "https://idp.acme.test"
    connections = setup.call("GET", f"{setup.path}/connections")["items"]
    assert [connection["idp"] for connection in connections] == ["okta"]


def test_step_09_provisioning_is_turned_on_once_plan_and_single_sign_on_allow_it(
    deployment: Deployment,
) -> None:
    setup = OktaSetup(deployment)
    setup.connect()
    path = f"/connections/{setup.connection['id']}/provisioning"
    refused = setup.call("PUT", path, {"enabled": True}, 409)
    assert "Single sign-on" in refused["message"]
    setup.sso()
    assert setup.okta("GET", "/Users?startIndex=1&count=2").status == 403  # still switched off
    assert setup.call("PUT", path, {"enabled": True}) == {"enabled": True}
    assert setup.okta("GET", "/Users?startIndex=1&count=2").status == 200
    setup.call("PATCH", setup.path, {"plan": "standard"})
    assert "enterprise plan" in setup.okta("GET", "/Users").json["detail"]


def test_step_10_the_base_url_is_one_that_okta_takes(setup: OktaSetup) -> None:
    assert re.fullmatch(r"http://localhost/scim/v2/[a-z0-9-]+", setup.connection["base_url"])
    assert any(setup.connection["base_url"] in step for step in setup.connection["setup_steps"])


def test_steps_11_12_the_token_is_shown_once_and_taken_however_it_was_pasted(setup: OktaSetup) -> None:
    made = setup.call("POST", f"/connections/{setup.connection['id']}/tokens", {"expires_in_days": 365}, 201)
    assert made["token"].startswith(made["prefix"])
    listed = setup.call("GET", f"/connections/{setup.connection['id']}/tokens")["items"]
    assert all("token" not in token for token in listed)
    for pasted in (f"Bearer {made['token']}", f"Bearer Bearer {made['token']}", made["token"]):
        assert setup.okta("GET", "/Users?startIndex=1&count=2", authorization=pasted).status == 200


def test_step_13_test_api_credentials_answers_and_explains(setup: OktaSetup) -> None:
    listed = setup.okta("GET", "/Users?startIndex=1&count=2").json
    assert [listed[key] for key in ("totalResults", "startIndex", "itemsPerPage")] == [0, 1, 0]
    refused = setup.okta("GET", "/Users?startIndex=1&count=2", authorization="non-token")
    assert (refused.status, refused.json["status"], refused.json["schemas"]) == (
        401, "401", ["urn:ietf:params:scim:api:messages:2.0:Error"],
    )  # fmt: skip
    checked = setup.call("POST", f"/connections/{setup.connection['id']}/test")
    assert checked["ok"]
    assert any("token" in check["message"].lower() for check in checked["checks"])


def test_steps_14_15_16_users_are_created_updated_and_deactivated_from_now_on(setup: OktaSetup) -> None:
    uid = setup.assign(1).json["id"]
    profile = setup.okta("GET", f"/Users/{uid}").json | {"displayName": "New Name"}
    assert setup.okta("PUT", f"/Users/{uid}", profile).json["displayName"] == "New Name"
    off = {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": False}}]}
    assert setup.okta("PATCH", f"/Users/{uid}", off).status == 200
    assert setup.okta("GET", f"/Users/{uid}").json["active"] is False
    assert [setup.user(1)[key] for key in ("display_name", "active")] == ["New Name", False]


def test_step_17_five_attributes_are_kept_and_the_rest_is_ignored_and_named(setup: OktaSetup) -> None:
    user = setup.assign(1, title="Engineer", emails=[]).json
    assert user["emails"] == [{"value": "user1@acme.test", "primary": True, "type": "work"}]
    assert not {"title", "locale", "password"} & user.keys()
    line = setup.call("GET", f"{setup.path}/activity?user=user1@acme.test")["items"][0]
    assert set(line["ignored"]) == {"locale", "password", "title"}
    schemas = {schema["id"]: schema for schema in setup.okta("GET", "/Schemas").json["Resources"]}
    kept = {attribute["name"] for attribute in schemas[USER]["attributes"]}
    assert kept == {"userName", "name", "displayName", "emails", "active", "groups"}
    assert [a["name"] for a in schemas[NAMESPACE]["attributes"]] == ["group"]


def test_step_17_an_admin_who_wants_more_attributes_sets_them_at_the_connection(setup: OktaSetup) -> None:
    setup.connect(settings={"extra_attributes": ["title"]})
    setup.switch_on()
    assert setup.assign(2, title="Engineer").json["title"] == "Engineer"


def test_steps_18_19_assigned_people_arrive_are_linked_and_take_seats(setup: OktaSetup) -> None:
    by_hand = {"user_name": "user1@acme.test", "display_name": "By Hand", "email": "user1@acme.test"}
    made = setup.call("POST", f"{setup.path}/users", by_hand, 201)
    assert setup.assign(1).json["id"] == made["id"]  # linked, not doubled
    assert setup.user(1)["managed_by"]["idp"] == "okta"
    assert [setup.assign(number).status for number in (2, 3, 4)] == [201, 201, 403]
    seats = setup.call("GET", f"{setup.path}/seats")
    assert (seats["limit"], seats["used"], seats["available"]) == (3, 3, 0)


def test_over_capacity_is_refused_in_words_that_say_what_to_do(setup: OktaSetup) -> None:
    path = setup.path
    setup.call("PATCH", path, {"seats": {"limit": 0}})
    invoice = setup.assign(1)
    assert invoice.status == 403
    assert invoice.json["detail"].startswith("You're over capacity: Acme")
    assert "contact support by opening a new request" in invoice.json["detail"]
    setup.call("PATCH", path, {"billing": {"payment": "card"}})
    assert "Billing page" in setup.assign(1).json["detail"]
    assert setup.call("GET", f"{path}/users")["items"] == []
    assert (
        setup.call("GET", f"{path}/activity?outcome=failure")["items"][0]["detail"]
        == setup.assign(1).json["detail"]
    )


def test_mapping_1_2_3_the_attribute_arrives_with_the_user_and_moves_nobody_yet(setup: OktaSetup) -> None:
    setup.assign(1, **{NAMESPACE: {"group": "Sales EMEA"}})
    assert (setup.user(1)["idp_group"], setup.user(1)["groups"]) == (["Sales EMEA"], [])


def test_mapping_4_5_6_values_are_matched_exactly_previewed_and_saved(setup: OktaSetup) -> None:
    for number, value in ((1, "Sales EMEA"), (2, "sales emea"), (3, "Legal")):
        setup.assign(number, **{NAMESPACE: {"group": value}})
    path = f"/connections/{setup.connection['id']}/group-mapping"
    assert setup.call("GET", path)["enabled"] is False
    plan = setup.mapping(("Sales EMEA", "Sales"))
    preview = setup.call("POST", f"{path}/preview", plan)
    assert preview["groups_to_create"] == ["Sales"]
    assert preview["joins"] == [{"user": "user1@acme.test", "group": "Sales"}]
    assert {(entry["value"], entry["users"]) for entry in preview["unmapped"]} == {
        ("Legal", 1),
        ("sales emea", 1),
    }
    setup.call("PUT", path, plan, 200, If_Match=setup.deployment.last_headers["ETag"])
    assert [(group["name"], group["sources"]) for group in setup.user(1)["groups"]] == [
        ("Sales", ["mapping"])
    ]
    assert setup.user(2)["groups"] == []

    setup.assign(1, **{NAMESPACE: {"group": "Legal"}})  # the value changed: the next write moves the user
    assert setup.user(1)["groups"] == []
    group = setup.call("GET", f"{setup.path}/groups?q=sal")["items"][0]
    member = f"{setup.path}/groups/{group['id']}/members/{setup.user(1)['id']}"
    assert "Map to groups is on" in setup.call("PUT", member, None, 409)["message"]
