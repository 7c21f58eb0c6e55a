"""Tokens: what opens, what no longer opens, and that nobody can read one anywhere but where it was made."""

from __future__ import annotations

import base64
import dataclasses
import logging
import threading
import time
from typing import Any

import pytest

from gateway import hookimpl
from gateway.plugin import contracts
from gateway.plugin.contracts import Credentials, Event, Principal
from gateway.store.ids_and_time import now
from gateway.store.tokens import new_token
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import ADMIN_TOKEN, GROUP, USER
from gateway.testing.engines import is_postgresql

pytestmark = pytest.mark.slow

SECOND = 1_000_000
PASSWORD = "correct-horse-battery-staple"


def opens(scim: Scim, token: str | None = None) -> bool:
    """Whether a token opens the connection: 200 or 401, nothing else."""
    answer = scim.call("GET", "/Users?count=0", token=token)
    assert answer.status in (200, 401), answer.text
    assert (answer.status == 401) == ("WWW-Authenticate" in scim.deployment.last_headers)
    return answer.status == 200


def tokens_path(scim: Scim) -> str:
    """Where the admin makes and revokes them."""
    return f"/connections/{scim.uid}/tokens"


def made(scim: Scim, **values: Any) -> dict[str, Any]:
    """A token that an admin made."""
    answer = scim.deployment.admin("POST", tokens_path(scim), {"label": "new", **values})
    assert answer.status == 201, answer.text
    return dict(answer.json)


# What opens -----------------------------------------------------------------------------------------------------


def test_an_expired_token_opens_nothing(scim: Scim) -> None:
    store = scim.deployment.gateway.store.tokens
    for expires, opened in ((now() - 1, False), (now() - 3600 * SECOND, False), (now() + 60 * SECOND, True)):
        assert opens(scim, store.add(scim.connection, "timed", expires)[1]) is opened


def test_a_token_expires_to_the_moment_and_an_admin_still_sees_it(scim: Scim) -> None:
    _, token = scim.deployment.gateway.store.tokens.add(scim.connection, "soon", now() + SECOND // 2)
    assert opens(scim, token)
    time.sleep(0.55)
    assert not opens(scim, token)
    listed = scim.deployment.admin("GET", tokens_path(scim)).json["items"]
    soon = next(each for each in listed if each["label"] == "soon")
    assert soon["expires_at"] > soon["created_at"]
    refused = scim.deployment.activity(scim.organization, outcome="failure")[0]
    assert (refused.status, "expired" in refused.detail) == (401, True)


def test_a_revoked_token_is_shut_out_at_once_and_no_other_is(scim: Scim) -> None:
    new = made(scim)
    assert opens(scim, new["token"])
    path = f"{tokens_path(scim)}/{new['id']}"
    assert scim.deployment.admin("DELETE", path).status == 204
    assert not opens(scim, new["token"])
    assert opens(scim)
    assert scim.deployment.admin("DELETE", path).status == 404


def test_a_token_revoked_by_another_process_is_shut_out_at_once(scim: Scim) -> None:
    """Nothing of a token is kept in memory: what another node revoked is revoked here."""
    assert opens(scim)
    elsewhere = Deployment(scim.deployment.gateway.config.instance)
    uid = elsewhere.gateway.store.tokens.by_connection(scim.connection)[0].uid
    assert elsewhere.admin("DELETE", f"{tokens_path(scim)}/{uid}").status == 204
    elsewhere.close()
    assert not opens(scim)


def test_a_rotation_has_no_gap(scim: Scim) -> None:
    old = scim.deployment.admin("GET", tokens_path(scim)).json["items"][0]["id"]
    new = made(scim, expires_in_days=365)["token"]
    for token in (scim.token, new, scim.token, new):
        assert opens(scim, token)
    assert scim.deployment.admin("DELETE", f"{tokens_path(scim)}/{old}").status == 204
    assert (opens(scim, scim.token), opens(scim, new)) == (False, True)


def test_a_token_goes_with_its_connection(deployment: Deployment) -> None:
    acme = deployment.organization()
    scim, other = deployment.connection("generic", acme), deployment.connection("generic", acme)
    base = scim.base
    assert deployment.admin("DELETE", f"/connections/{scim.uid}").status == 204
    for at in (base, other.base):
        answer = deployment.call("GET", f"{at}/Users", None, {"Authorization": f"Bearer {scim.token}"})
        assert answer.status == 401
    assert opens(other)


def test_a_deactivated_connection_says_so_to_its_own_token_only(scim: Scim) -> None:
    scim.deployment.gateway.store.connections.edit(scim.connection, provisioning=0)
    refused = scim.call("GET", "/Users")
    assert (refused.status, "switched off" in refused.json["detail"]) == (403, True)
    assert scim.call("GET", "/Users", token=new_token("pgw")).status == 401


@pytest.mark.parametrize("idp", ["generic", "okta"])
@pytest.mark.parametrize(
    ("header", "opened"),
    [
        ("Bearer {token}", True),
        ("bearer {token}", True),
        ("BEARER   {token}  ", True),
        ("Bearer Bearer {token}", True),
        ("Bearer bearer  Bearer {token}", True),
        ("{token}", True),
        ("  {token} ", True),
        ("Bearer", False),
        ("Bearer ", False),
        ("", False),
        ("Bearer {token} {token}", False),
        ("Bearer {token},", False),
        ("Token {token}", False),
        ("Basic {token}", False),
        ("Bearer {shorter}", False),
        ("Bearer {upper}", False),
        ("Bearer x{token}", False),
    ],
)
def test_slips_of_setting_up_are_taken_and_nothing_else(
    deployment: Deployment, idp: str, header: str, opened: bool
) -> None:
    scim = deployment.connection(idp)
    given = header.format(token=scim.token, shorter=scim.token[:-1], upper=scim.token.upper())
    answer = deployment.call("GET", f"{scim.base}/Users", None, {"Authorization": given})
    assert answer.status == (200 if opened else 401), answer.text


def test_basic_credentials_open_nothing(scim: Scim) -> None:
    for text in (scim.token, f"user:{scim.token}", f":{scim.token}", f"{scim.token}:"):
        given = {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}
        assert scim.deployment.call("GET", f"{scim.base}/Users", None, given).status == 401


def test_when_a_token_was_last_used_is_shown(scim: Scim) -> None:
    def last_used() -> str | None:
        scim.deployment.gateway.activity_writer.flush()
        used: str | None = scim.deployment.admin("GET", tokens_path(scim)).json["items"][0]["last_used_at"]
        return used

    assert last_used() is None
    assert not opens(scim, new_token("pgw"))
    assert last_used() is None
    assert opens(scim)
    read = last_used()
    assert read
    scim.user()
    written = last_used()
    assert written
    assert written > read
    assert made(scim)["last_used_at"] is None


# What a wrong token costs ---------------------------------------------------------------------------------------


# Where nobody may read one --------------------------------------------------------------------------------------


class Careless:
    """A listener that writes whatever it is given into the log, and fails."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    @hookimpl
    def gateway_provisioned(self, event: Event) -> None:
        logging.getLogger("careless").warning("%r", event)
        self.heard.append(event)
        raise RuntimeError(repr(event))


def conversation(deployment: Deployment, idp: str) -> tuple[Scim, list[str]]:
    """A whole conversation with everything that goes wrong in one; all secrets that were in it."""
    scim = deployment.connection(idp, deployment.organization(seats=2))
    admin = deployment.gateway.store.admin_tokens.add(scim.organization, "admin")[1]
    new, revoked, foreign = made(scim), made(scim), new_token("pgw")
    secrets = [scim.token, admin, new["token"], revoked["token"], foreign, ADMIN_TOKEN]
    typed = scim.token[:-3] + "abc"
    for header in (f"Bearer Bearer {scim.token}", scim.token, f"Token {scim.token}", f"Bearer {typed}"):
        deployment.call("GET", f"{scim.base}/Users", None, {"Authorization": header})
    assert deployment.admin("DELETE", f"{tokens_path(scim)}/{revoked['id']}").status == 204
    for token in (revoked["token"], foreign, admin, ADMIN_TOKEN):
        assert not opens(scim, token)
    for token in (scim.token, foreign, admin):
        deployment.admin("GET", f"/organizations/{scim.organization.uid}/users", token=token)
        deployment.admin("GET", "/organizations", token=token)
    user = scim.user(password=PASSWORD)
    scim.patch(f"/Users/{user['id']}", {"op": "replace", "path": "password", "value": PASSWORD})
    scim.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"password": PASSWORD, "title": "x"}})
    scim.call("PUT", f"/Users/{user['id']}", {**user, "password": PASSWORD})
    scim.call("GET", f'/Users?filter=password eq "{PASSWORD}"')
    group = scim.group(members=(user["id"],))
    scim.call("GET", '/Users?filter=userName eq "user1@acme.test"')
    scim.call("GET", "/Users?filter=nonsense(")
    scim.patch(f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [{"value": "nobody"}]})
    scim.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"})
    scim.user("user2@acme.test")
    scim.call("POST", "/Users", {"schemas": [USER], "userName": "user3@acme.test", "active": True})
    scim.call("POST", "/Groups", {"schemas": [GROUP]})
    scim.call("POST", "/Users", b"{" * 100)
    scim.call("DELETE", f"/Users/{user['id']}", token=new["token"])
    return scim, [*secrets, typed, PASSWORD]


@pytest.mark.parametrize("idp", ["generic", "okta"])
def test_no_token_and_no_password_is_in_a_log_record_or_in_the_database(
    deployment: Deployment, caplog: pytest.LogCaptureFixture, idp: str
) -> None:
    """Through 401, 403, 404, 409, a failing listener and a 500; at DEBUG, with every traceback."""
    caplog.set_level(logging.DEBUG)
    careless = Careless()
    deployment.gateway.plugins.add(careless, "careless")
    scim, secrets = conversation(deployment, idp)
    deployment.gateway.activity_writer.flush()
    deployment.gateway.event_relay.deliver()
    # Something that nobody foresaw: a table is gone.
    deployment.gateway.store.database.run("ALTER TABLE emails RENAME TO elsewhere")
    body = {"schemas": [USER], "userName": "user4@acme.test", "active": False}
    body |= {"emails": [{"value": "user4@acme.test"}]}
    failed = scim.call("POST", "/Users", body)
    assert (failed.status, "Traceback" in failed.text) == (500, False)
    deployment.gateway.store.database.run("ALTER TABLE elsewhere RENAME TO emails")

    assert careless.heard
    assert any(record.levelno >= logging.ERROR and record.exc_info for record in caplog.records)
    formatter = logging.Formatter("%(name)s %(message)s")
    reported = "\n".join(f"{formatter.format(record)} {record.__dict__!r}" for record in caplog.records)
    assert_hidden(secrets, reported, "the log")

    # Every row of every table, and the bytes of the files, with what was deleted in them.
    deployment.gateway.activity_writer.flush()
    database = deployment.gateway.store.database
    stored = repr([database.all(f"SELECT * FROM {table}") for table in database.peewee.get_tables()])
    if not is_postgresql():
        files = list(deployment.gateway.config.instance.glob("*.sqlite3*"))
        assert any(file.name.endswith(".sqlite3-wal") for file in files)
        stored += "".join(file.read_bytes().decode("latin-1") for file in files)
    assert "user1@acme.test" in stored
    assert_hidden([*secrets, deployment.gateway.config.secret_key], stored, "the database")

    shown = [
        deployment.admin("GET", f"/organizations/{scim.organization.uid}/{feed}").text
        for feed in ("activity", "events")
    ]
    shown += [deployment.admin("GET", path).text for path in (f"/connections/{scim.uid}", tokens_path(scim))]
    shown.append(deployment.admin("POST", f"/connections/{scim.uid}/test").text)
    shown.append(deployment.call("GET", "/metrics", None, {}).text)
    assert_hidden(secrets, "".join(shown), "what is shown")
    assert scim.token[:8] in shown[3]  # the beginning is shown, so that tokens can be told apart


def assert_hidden(secrets: list[str], text: str, where: str) -> None:
    """No secret is in a text, nor what of a token stands behind the word for its kind."""
    found = [secret[:8] for secret in secrets if secret.removeprefix("pgw_").removeprefix("pga_") in text]
    assert found == [], f"tokens that begin with these are in {where}"


@pytest.mark.sqlite
def test_a_token_is_kept_as_a_digest_under_the_key_of_the_deployment(scim: Scim, tmp_path: Any) -> None:
    """The file alone opens nothing, whoever takes it along: elsewhere the same token has another digest."""
    copy = tmp_path / "copy"
    copy.mkdir()
    scim.deployment.gateway.store.database.run("VACUUM INTO ?", str(copy / "gateway.sqlite3"))
    elsewhere = Deployment(copy)
    try:
        answer = elsewhere.call("GET", f"{scim.base}/Users", None, {"Authorization": f"Bearer {scim.token}"})
    finally:
        elsewhere.close()
    assert answer.status == 401
    assert opens(scim)
    assert (scim.deployment.gateway.config.instance / "secret_key").stat().st_mode & 0o077 == 0


def test_no_value_shows_a_secret_when_it_is_printed(deployment: Deployment) -> None:
    scim = deployment.connection("okta")
    gateway = deployment.gateway
    trace = deployment.trace(scim.organization)
    caller = scim.caller()
    principal = Principal("test", "0190")
    credentials = Credentials("bearer", scim.token, principal)
    assert gateway.plugins.authenticate(caller.words, credentials).result() == principal
    trace.principal, trace.token_id = principal.label, principal.token_id
    record, made_token = gateway.setup.add_token(caller, "again", None, trace)
    secrets = [scim.token, made_token, ADMIN_TOKEN, gateway.config.secret_key]
    values = [
        gateway.config, gateway, gateway.store, gateway.store.tokens, gateway.plugins, trace, trace.line(401), caller,
        gateway.callers.admin(scim.organization), principal, record, scim.connection, scim.organization,
        *(Credentials(scheme, secret) for scheme in ("bearer", "basic", "") for secret in secrets),
        gateway.store.admin_tokens.all(), deployment.app, deployment.app.config,
    ]  # fmt: skip
    for value in values:
        for text in (repr(value), str(value), f"{value}"):
            assert_hidden(secrets, text, type(value).__name__)


def test_every_word_that_plugins_exchange_hides_what_is_named_a_secret() -> None:
    """A new field of a new value is asked here from its first day."""
    named = ("secret", "token", "password", "credential", "key", "digest")
    allowed = {("Principal", "token_id")}
    words = [value for value in vars(contracts).values() if dataclasses.is_dataclass(value)]
    assert len(words) > 8
    shown = {
        (word.__name__, field.name)
        for word in words
        for field in dataclasses.fields(word)
        if field.repr and any(part in field.name.lower() for part in named)
    }
    assert shown == allowed


def test_to_revoke_a_token_that_is_not_there_waits_for_no_writer(scim: Scim) -> None:
    deployment, held, done = scim.deployment, threading.Event(), threading.Event()

    def write() -> None:
        database = deployment.gateway.store.database
        try:
            with deployment.gateway.store.transaction(organization_id=scim.organization.id):
                held.set()
                done.wait(20)
        finally:
            database.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert held.wait(10)
        answer = deployment.admin("DELETE", f"{tokens_path(scim)}/unknown")
        assert (answer.status, answer.json["message"]) == (
            404,
            'There is no token with the id "unknown" here.',
        )
    finally:
        done.set()
        writer.join()
