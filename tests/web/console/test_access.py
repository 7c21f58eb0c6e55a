"""Who may open what: every route of the console, tried with each kind of session, and requests of other sites."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.routing import Rule

from gateway.provisioning.console_access import OPERATE, VIEW
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment
from gateway.web.console.blueprint import Route, blueprint
from tests.support.console import Browser, sign_in, text_of

#: Routes that answer a browser which is not signed in. Nothing of an organization may be on them.
OPEN_TO_ALL = {
    "console.show_setup_link",
    "console.redeem_link",
    "console.sign_in",
    "console.show_start",
    "console.begin_sign_in",
    "console.finish_sign_in",
    "console.static",
}
#: What the console does that the admin REST has no operation for.
CONSOLE_ONLY = {
    "POST /setup",
    "POST /console/sign-in",
    "POST /console/sign-out",
    "POST /console/sessions/{session}/end",
}
#: Arguments of paths, where they have to name something that exists.
_UNKNOWN = "01a22379-9ae7-749c-808d-6459aa167202"


def routes(deployment: Deployment) -> Iterator[tuple[Rule, Route]]:
    """Return all routes of the console that need a session."""
    for rule in deployment.app.url_map.iter_rules():
        if rule.endpoint.startswith("console.") and rule.endpoint not in OPEN_TO_ALL:
            yield rule, blueprint.declared[rule.endpoint]


def path_of(rule: Rule, organization: OrganizationRecord, connection: str = _UNKNOWN) -> str:
    """Return a path that a rule matches."""
    known = {"organization": organization.uid, "connection": connection}
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: known.get(match[1], _UNKNOWN), rule.rule)


def send(browser: Browser, rule: Rule, path: str) -> Any:
    return browser.post(path) if "POST" in (rule.methods or ()) else browser.get(path)


def test_each_route_below_the_console_is_declared(deployment: Deployment) -> None:
    for rule in deployment.app.url_map.iter_rules():
        if rule.rule.startswith(("/console", "/setup")):
            assert rule.endpoint == "console.static" or rule.endpoint in blueprint.declared, rule
    undeclared = {name for name, route in blueprint.declared.items() if not route.signed_in}
    assert undeclared | {"console.static"} == OPEN_TO_ALL


def test_each_action_names_an_operation_of_the_admin_rest(deployment: Deployment) -> None:
    known = {
        f"{method} {rule.rule.removeprefix('/admin/v1').replace('<', '{').replace('>', '}')}"
        for rule in deployment.app.url_map.iter_rules()
        for method in rule.methods or ()
        if rule.rule.startswith("/admin/v1")
    }
    named = {route.operation for route in blueprint.declared.values() if route.operation}
    assert named - known - CONSOLE_ONLY == set()


def test_no_route_answers_a_browser_that_is_not_signed_in(
    deployment: Deployment, organization: OrganizationRecord
) -> None:
    browser = Browser(deployment)
    for rule, _ in routes(deployment):
        answer = send(browser, rule, path_of(rule, organization))
        assert answer.status_code in (303, 401), (rule, answer.status_code)
        if answer.status_code == 303:
            assert answer.location == "/console/"


@pytest.mark.parametrize("role", ["admin", "viewer", "setup"])
def test_no_route_opens_another_organization(deployment: Deployment, role: str) -> None:
    own, other = deployment.organization("Own"), deployment.organization("Other")
    others = deployment.connection("okta", other)
    browser = sign_in(deployment, own, role)
    tried = 0
    for rule, _ in routes(deployment):
        if "<organization>" not in rule.rule and "<connection>" not in rule.rule:
            continue
        paths = [path_of(rule, other, others.uid)]
        if "<connection>" in rule.rule:
            paths.append(path_of(rule, own, others.uid))
        for path in paths:
            answer = send(browser, rule, path)
            assert answer.status_code == 404, (rule, path, answer.status_code)
            assert "Other" not in text_of(answer)
            tried += 1
    assert tried


@pytest.mark.parametrize("role", ["admin", "viewer", "setup"])
def test_pages_of_operators_are_closed_to_others(deployment: Deployment, role: str) -> None:
    organization = deployment.organization()
    browser = sign_in(deployment, organization, role)
    for rule, route in routes(deployment):
        if route.operator or route.needs == OPERATE:
            answer = send(browser, rule, path_of(rule, organization))
            assert answer.status_code in (403, 404), (rule, answer.status_code)


def test_viewer_changes_nothing(
    deployment: Deployment, organization: OrganizationRecord, viewer: Browser
) -> None:
    connection = deployment.connection("okta", organization)
    for rule, route in routes(deployment):
        if route.operation and route.needs != VIEW and not route.operator:
            answer = send(viewer, rule, path_of(rule, organization, connection.uid))
            assert answer.status_code == 403, (rule, answer.status_code)
    assert len(deployment.gateway.queries.tokens(connection.connection, 0)) == 1


def test_actions_that_only_look_are_those(deployment: Deployment) -> None:
    """An action that a viewer may send changes nothing, or only the viewer's own session."""
    harmless = {
        route.operation for route in blueprint.declared.values() if route.operation and route.needs == VIEW
    }
    assert harmless <= CONSOLE_ONLY | {"POST /connections/{connection}/group-mapping/preview"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8000"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)
def test_form_of_another_site_is_refused(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser, headers: dict[str, str]
) -> None:
    for rule, route in routes(deployment):
        if route.operation:
            answer = admin.post(path_of(rule, organization), headers=headers)
            assert answer.status_code == 403, rule
            assert "not sent by a page of the console" in text_of(answer)
    for path in ("/setup", "/console/sign-in"):
        assert Browser(deployment).post(path, {"code": "x", "token": "x"}, headers).status_code == 403
    assert admin.get("").status_code == 200


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}])
def test_form_of_the_console_is_served(admin: Browser, headers: dict[str, str]) -> None:
    assert admin.post("/console/sign-out", headers=headers).status_code == 303


def test_every_answer_has_the_headers(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    answers = [
        admin.get(""),
        admin.get("/console/nothing"),
        Browser(deployment).get("/setup"),
        Browser(deployment).post("/setup", {"code": "x"}),
        admin.post("/console/sign-out", headers={}),
        Browser(deployment, organization).get(""),
    ]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_below_the_console_answers_a_page(admin: Browser) -> None:
    answer = admin.get("/console/nothing/here")
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
