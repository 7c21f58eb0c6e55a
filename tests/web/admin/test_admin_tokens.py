"""Admin tokens: made, listed and revoked over REST; each opens what its scope says, until it expires."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from gateway.store.engine.base import unavailable
from gateway.store.ids_and_time import now
from gateway.testing import Deployment
from gateway.testing.deployment import ADMIN_TOKEN
from gateway.web.queues import Queued

pytestmark = pytest.mark.slow

NOBODY = "01a20cbe-0000-7000-8000-000000000000"
KEYS = {"id", "name", "organization", "scope", "prefix", "expires_at", "created_at", "last_used_at"}


def expire(deployment: Deployment, uid: str) -> None:
    deployment.gateway.store.database.run(
        "UPDATE admin_tokens SET expires = ? WHERE uid = ?", now() - 1_000_000, uid
    )


def routes(deployment: Deployment) -> list[tuple[str, str, str]]:
    """Method, endpoint and path of every route of the admin REST."""
    return [
        (method, rule.endpoint, rule.rule.removeprefix("/admin/v1"))
        for rule in deployment.app.url_map.iter_rules()
        if rule.rule.startswith("/admin/v1/") and "." in rule.endpoint and "docs" not in rule.endpoint
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if not rule.endpoint.startswith("api-docs")
    ]


@pytest.mark.parametrize("of_all", [True, False], ids=["an operator's", "an organization's"])
def test_a_token_is_made_shown_once_listed_and_revoked(acme, of_all: bool) -> None:
    path = "/admin-tokens" if of_all else f"{acme.path}/admin-tokens"
    made = acme.post(path, {"name": " CI ", "scope": "read", "expires_in_days": 30})
    token = made.pop("token")
    organization = None if of_all else acme.okta.organization.uid
    assert made.keys() == KEYS
    assert (made["name"], made["scope"], made["organization"]) == ("CI", "read", organization)
    assert made["expires_at"][:10] > made["created_at"][:10]
    assert token.startswith(made["prefix"])
    assert acme.deployment.admin("GET", acme.path, token=token).status == 200
    (listed,) = acme.get(path)["items"]
    assert listed.pop("last_used_at") is not None
    made.pop("last_used_at")
    assert listed == made
    assert token not in str(acme.deployment.gateway.store.database.all("SELECT * FROM admin_tokens"))
    acme.call("DELETE", f"{path}/{made['id']}", None, 204)
    assert acme.get(path)["items"] == []
    assert acme.deployment.admin("GET", acme.path, token=token).status == 401
    assert made["id"] in acme.call("DELETE", f"{path}/{made['id']}", None, 404)["message"]


def test_without_scope_and_expiry_a_token_opens_everything_for_good(acme) -> None:
    made = acme.post("/admin-tokens", {"name": "all"})
    assert (made["scope"], made["expires_at"]) == ("full", None)
    answer = acme.deployment.admin("POST", "/organizations", {"name": "By it"}, token=made["token"])
    assert answer.status == 201


#: What changes nothing though it is a POST: support begins with the connection test.
LOOKING = {"connections.test_connection", "group-mapping.preview_mapping"}


@pytest.mark.parametrize("scope", ["read", "events"])
def test_every_route_asks_for_the_scope_that_it_needs(acme, scope: str) -> None:
    """A new route is closed to `events` until it is named as a feed, and to `read` unless it only reads."""
    token = acme.post("/admin-tokens", {"name": "app", "scope": scope})["token"]
    before = acme.deployment.gateway.store.database.all("SELECT version FROM organizations")
    names = {"organization": acme.okta.organization.uid, "connection": acme.okta.uid}
    others = dict.fromkeys(("webhook", "attempt", "event", "line", "import", "adoption"), NOBODY)
    opened = set()
    tried = routes(acme.deployment)
    assert len(tried) >= 90
    for method, endpoint, rule in tried:
        path = (
            rule.replace("<", "{")
            .replace(">", "}")
            .format_map(
                {"user": NOBODY, "group": NOBODY, "token": NOBODY, "link": NOBODY, "name": NOBODY}
                | others
                | names
            )
        )
        answer = acme.deployment.admin(method, path, None if method in ("GET", "DELETE") else {}, token=token)
        if answer.status != 403:
            opened.add((method, endpoint))
            continue
        needed = "read or full" if method == "GET" or endpoint in LOOKING else "full"
        assert f"The token has the scope {scope}, which opens " in answer.json["message"]
        assert f"{method} {rule.replace('<', '{').replace('>', '}')} needs" in answer.json["message"]
        assert answer.json["message"].endswith(f" needs a token with the scope {needed}.")
    gets = {(method, endpoint) for method, endpoint, _ in tried if method == "GET" or endpoint in LOOKING}
    feeds = {("GET", f"feeds.{view}") for view in ("list_events", "list_events_of_all", "export_snapshot")}
    # What a follower acknowledges is stored, so the scope `read` does not open it.
    feeds |= {("POST", f"webhook-polls.{view}") for view in ("poll_webhook", "poll_organization_webhook")}
    assert opened == (gets if scope == "read" else feeds)
    assert acme.deployment.gateway.store.database.all("SELECT version FROM organizations") == before


def test_a_scope_that_a_later_release_knows_opens_nothing(acme) -> None:
    made = acme.deployment.gateway.store.admin_tokens.add(None, "later", "webhooks")[1]
    answer = acme.deployment.admin("GET", acme.path, token=made)
    assert (answer.status, "opens nothing here" in answer.json["message"]) == (403, True)


def test_a_refusal_for_its_scope_is_in_the_activity(acme) -> None:
    made = acme.post(f"{acme.path}/admin-tokens", {"name": "app", "scope": "events"})
    acme.deployment.admin("GET", f"{acme.path}/users", token=made["token"])
    (line,) = acme.get(f"{acme.path}/activity?status=403")["items"]
    assert line["by"] == {"name": "app", "prefix": made["prefix"]}
    assert "has the scope events" in line["detail"]


def test_an_expired_token_is_refused_as_a_wrong_one_and_explained_inside(acme) -> None:
    made = acme.post(f"{acme.path}/admin-tokens", {"name": "CI", "expires_in_days": 1})
    operators = acme.post("/admin-tokens", {"name": "CI", "expires_in_days": 1})
    call = acme.deployment.admin
    assert call("GET", acme.path, token=made["token"]).status == 200
    for each in (made, operators):
        expire(acme.deployment, each["id"])
    answers = [call("GET", acme.path, token=each) for each in (made["token"], operators["token"], "pga_x")]
    answers.append(call("POST", f"{acme.path}/groups", {"name": "x"}, token=made["token"]))
    assert {answer.status for answer in answers} == {401}
    assert {answer.json["message"] for answer in answers} == {
        "The admin token is wrong, has expired, or was revoked. Tokens of connections open the SCIM endpoints only."
    }
    lines = acme.get(f"{acme.path}/activity?status=401")["items"]
    assert sum(line["count"] for line in lines) == 2
    assert all(f"The admin token CI {made['prefix']}… expired on 20" in line["detail"] for line in lines)
    assert made["id"] in [token["id"] for token in acme.get(f"{acme.path}/admin-tokens")["items"]]


def test_a_token_of_an_organization_makes_lists_and_revokes_those_of_it_alone(acme) -> None:
    call = acme.deployment.admin
    other = acme.deployment.organization("Other")
    foreign = acme.post(f"/organizations/{other.uid}/admin-tokens", {"name": "Other's"})
    operators = acme.post("/admin-tokens", {"name": "an operator"})
    own = acme.post(f"{acme.path}/admin-tokens", {"name": "Acme's"})["token"]
    for method, path, body in (
        ("POST", "/admin-tokens", {"name": "x"}),
        ("GET", "/admin-tokens", None),
        ("DELETE", f"/admin-tokens/{operators['id']}", None),
    ):
        answer = call(method, path, body, token=own)
        assert (answer.status, "Only an operator" in answer.json["message"]) == (403, True), path
    for method, path, body in (
        ("POST", f"/organizations/{other.uid}/admin-tokens", {"name": "x"}),
        ("GET", f"/organizations/{other.uid}/admin-tokens", None),
        ("DELETE", f"/organizations/{other.uid}/admin-tokens/{foreign['id']}", None),
        ("DELETE", f"{acme.path}/admin-tokens/{foreign['id']}", None),
        ("DELETE", f"{acme.path}/admin-tokens/{operators['id']}", None),
    ):
        assert call(method, path, body, token=own).status == 404, path
    assert (
        call("POST", f"{acme.path}/admin-tokens", {"name": "x", "organization": None}, token=own).status
        == 422
    )
    made = call("POST", f"{acme.path}/admin-tokens", {"name": "second"}, token=own)
    assert (made.status, made.json["organization"]) == (201, acme.okta.organization.uid)
    assert call("GET", f"/organizations/{other.uid}", token=made.json["token"]).status == 404
    listed = call("GET", f"{acme.path}/admin-tokens", token=own).json["items"]
    assert [token["name"] for token in listed] == ["Acme's", "second"]
    assert {token["name"] for token in acme.get("/admin-tokens")["items"]} == {
        "Other's", "an operator", "Acme's", "second",
    }  # fmt: skip
    assert call("DELETE", f"{acme.path}/admin-tokens/{made.json['id']}", token=own).status == 204
    acme.call("DELETE", f"/admin-tokens/{foreign['id']}", None, 204)


@pytest.mark.parametrize("scope", ["read", "events"])
def test_a_token_that_does_not_open_everything_makes_and_revokes_none(acme, scope: str) -> None:
    made = acme.post(f"{acme.path}/admin-tokens", {"name": "app", "scope": scope})
    for method, path, body in (
        ("POST", f"{acme.path}/admin-tokens", {"name": "x", "scope": scope}),
        ("DELETE", f"{acme.path}/admin-tokens/{made['id']}", None),
        ("POST", f"{acme.connection}/tokens", {"label": "x"}),
    ):
        assert acme.deployment.admin(method, path, body, token=made["token"]).status == 403
    assert len(acme.get(f"{acme.path}/admin-tokens")["items"]) == 1


def test_a_token_that_expires_makes_none_that_outlives_it(acme) -> None:
    for path in ("/admin-tokens", f"{acme.path}/admin-tokens"):
        token = acme.post(path, {"name": "of ten days", "expires_in_days": 10})["token"]
        for days in (None, 10, 11):
            answer = acme.deployment.admin("POST", path, {"name": "x", "expires_in_days": days}, token=token)
            assert (answer.status, "expires on 20" in answer.json["message"]) == (403, True)
        answer = acme.deployment.admin("POST", path, {"name": "of 9", "expires_in_days": 9}, token=token)
        assert answer.status == 201
    assert sorted(token["name"] for token in acme.get("/admin-tokens")["items"]) == [
        "of 9", "of 9", "of ten days", "of ten days",
    ]  # fmt: skip


def test_a_token_that_expires_makes_no_token_of_a_connection_that_outlives_it(acme) -> None:
    path = f"{acme.connection}/tokens"
    stored = len(acme.get(path)["items"])
    token = acme.post(f"{acme.path}/admin-tokens", {"name": "of a day", "expires_in_days": 2})["token"]
    for days in (None, 2, 3):
        answer = acme.deployment.admin("POST", path, {"label": "x", "expires_in_days": days}, token=token)
        assert (answer.status, "expires on 20" in answer.json["message"]) == (403, True)
    assert len(acme.get(path)["items"]) == stored
    answer = acme.deployment.admin("POST", path, {"label": "x", "expires_in_days": 1}, token=token)
    assert answer.status == 201


def test_each_token_is_a_client_of_its_own_whatever_its_name(acme) -> None:
    """A tenant chooses the names of its tokens, and must not come into the queue of another one."""
    other = acme.deployment.organization("Other")
    tokens = acme.deployment.gateway.store.admin_tokens
    values = [
        tokens.add(whose, "operator", "full", None)[1] for whose in (acme.okta.organization, other, None)
    ]
    keys, path = set(), f"/admin/v1{acme.connection}/group-mapping/preview"
    for value in (*values[::2], ADMIN_TOKEN):
        environ = EnvironBuilder(
            path, method="POST", data=b"{}", headers={"Authorization": f"Bearer {value}"}
        ).get_environ()
        call = acme.deployment.app.identify(environ)
        with acme.deployment.app.request_context(environ), pytest.raises(Queued) as queued:
            acme.deployment.app.preprocess_request()
        assert queued.value.key == call.client_key != ""
        keys.add(call.client_key)
    assert len(keys) == 3


def test_a_stored_token_is_not_answered_as_one_that_was_not(acme, monkeypatch) -> None:
    """A database that is away once the token is stored does not keep its value from the one who asked for it."""
    store = acme.deployment.gateway.store
    for whose in (None, acme.okta.organization):
        trace = acme.deployment.trace()
        acme.deployment.gateway.admin_access.add_token(whose, "x", "full", None, trace)
        assert trace.written

    def away(keys: Any) -> Any:
        raise unavailable("the database does not answer")

    monkeypatch.setattr(store.organizations, "names", away)
    for path in ("/admin-tokens", f"{acme.path}/admin-tokens"):
        assert acme.post(path, {"name": "y"})["token"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "name: Missing data for required field."),
        ({"name": " "}, "name: Length must be between 1 and 200."),
        ({"name": "x" * 201}, "name: Length"),
        ({"name": "a\nb"}, "name: Holds the control character U+000A"),
        ({"name": "operator"}, "The name 'operator' is reserved"),
        ({"name": " OPERATOR "}, "The name 'OPERATOR' is reserved"),
        ({"name": "x", "scope": "write"}, "scope: Must be one of: full, read, events."),
        ({"name": "x", "scope": ["read"]}, "scope: Not a valid string."),
        ({"name": "x", "scope": None}, "scope: Field may not be null."),
        ({"name": "x", "expires_in_days": 0}, "expires_in_days: Must be greater"),
        ({"name": "x", "expires_in_days": True}, "expires_in_days: Not a valid integer."),
        ({"name": "x", "token": "mine"}, "token: Unknown field."),
    ],
)
def test_what_cannot_be_taken_is_named_and_makes_nothing(acme, body: Any, sentence: str) -> None:
    for path in ("/admin-tokens", f"{acme.path}/admin-tokens"):
        assert sentence in acme.post(path, body, 422)["message"]
    assert acme.get("/admin-tokens")["items"] == []


def test_what_was_done_to_tokens_of_an_organization_is_in_its_activity(acme) -> None:
    path = f"{acme.path}/admin-tokens"
    first, second = (acme.post(path, {"name": name, "scope": "read"}) for name in ("first", "second"))
    acme.call("DELETE", f"{path}/{first['id']}", None, 204)
    acme.call(
        "DELETE", f"/admin-tokens/{second['id']}", None, 204
    )  # by its id alone, and recorded all the same
    lines = acme.get(f"{acme.path}/activity?limit=4")["items"]
    assert [(line["operation"], line["target"]["id"], line["status"]) for line in lines] == [
        ("DELETE /admin-tokens/{token}", second["id"], 204),
        ("DELETE /organizations/{organization}/admin-tokens/{token}", first["id"], 204),
        ("POST /organizations/{organization}/admin-tokens", second["id"], 201),
        ("POST /organizations/{organization}/admin-tokens", first["id"], 201),
    ]
    assert lines[-1]["target"] == {
        "type": "AdminToken", "id": first["id"], "name": f"first ({first['prefix']}…, read)",
    }  # fmt: skip
    assert first["token"] not in str(lines)
    assert len(acme.get(f"{acme.path}/activity?target={first['id']}")["items"]) == 2


def test_what_was_done_to_an_operators_token_is_in_the_log(acme, caplog) -> None:
    with caplog.at_level(logging.INFO, "gateway"):
        made = acme.post("/admin-tokens", {"name": "CI"})
        acme.call("DELETE", f"/admin-tokens/{made['id']}", None, 204)
    reported = [record.getMessage() for record in caplog.records]
    assert [
        f"admin token {made['id']} (CI, full) {done} by operator" in reported[n]
        for n, done in enumerate(("made", "revoked"))
    ] == [True, True]
    assert made["token"] not in str(reported)


def test_lists_come_in_pages(acme) -> None:
    names = [f"n{number}" for number in range(5)]
    for name in names:
        acme.post(f"{acme.path}/admin-tokens", {"name": name})
    for path in ("/admin-tokens", f"{acme.path}/admin-tokens"):
        found, after = [], 0
        while after is not None:
            page = acme.get(f"{path}?limit=2&after={after}")
            found, after = found + [token["name"] for token in page["items"]], page["next"]
        assert found == names


def test_a_node_of_the_release_before_lets_no_limited_token_in(acme) -> None:
    """It knows neither scope nor expiry, and finds a token by the keyed digest of its value."""
    store = acme.deployment.gateway.store
    for scope, expires in (("read", None), ("events", None), ("full", now() + 10**12), ("full", None)):
        token = store.admin_tokens.add(None, "x", scope, expires)[1]
        # Also once it was used, which renews its digest.
        acme.deployment.admin("GET", f"{acme.path}/events", token=token)
        found = store.database.all(
            "SELECT 1 FROM admin_tokens WHERE digest = ?", store.tokens.digests(token)[0]
        )
        assert len(found) == (scope == "full" and expires is None)


def test_limited_tokens_outlive_a_change_of_the_secret_key(acme, tmp_path) -> None:
    config = acme.deployment.gateway.config
    token = acme.post("/admin-tokens", {"name": "x", "scope": "read"})["token"]
    settings = {"database_url": config.database_url, "secret_key": "a new key that is long enough for it all"}
    for old, status in (((config.secret_key,), 200), ((), 200)):
        other = Deployment(tmp_path / "other", **settings, secret_key_old=old)
        try:
            assert other.admin("GET", acme.path, token=token).status == status
            assert other.admin("PATCH", acme.path, {"name": "x"}, token=token).status == 403
        finally:
            other.close()


def test_tokens_of_a_database_before_scopes_open_everything_for_good(acme) -> None:
    store = acme.deployment.gateway.store
    token = store.admin_tokens.add(acme.okta.organization, "of before")[1]
    for column in ("scope", "expires"):
        store.database.run(f"ALTER TABLE admin_tokens DROP COLUMN {column}")
    store.database.run("DELETE FROM schema_migration WHERE name = '0005_admin_tokens'")
    assert store.database.migrate() == ["0005_admin_tokens"]
    (listed,) = acme.get(f"{acme.path}/admin-tokens")["items"]
    assert (listed["name"], listed["scope"], listed["expires_at"]) == ("of before", "full", None)
    assert acme.deployment.admin("PATCH", acme.path, {"name": "B"}, token=token).status == 200
