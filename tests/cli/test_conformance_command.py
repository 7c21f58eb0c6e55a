"""`gateway conformance`: what a plugin knows of its identity provider, held against a server that runs."""

from __future__ import annotations

import json
import socket
from importlib.metadata import entry_points
from threading import Thread

import pytest
from werkzeug.serving import make_server

from gateway.plugin.manager import ENTRY_POINTS
from gateway.testing import Deployment, live, transcripts
from gateway.testing.examples import installed

pytestmark = pytest.mark.slow

IDPS = [
    name
    for name in sorted(point.name for point in entry_points(group=ENTRY_POINTS))
    if installed(name).declaration.transcripts
]


@pytest.fixture
def deployment(instance):
    deployment = Deployment(instance)
    yield deployment
    deployment.close()


@pytest.fixture
def served(deployment):
    """The deployment behind a socket; its URL."""
    server = make_server("127.0.0.1", 0, deployment.app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def held(gateway, served):
    """Runs the command against a connection; its result and what it printed."""

    def run(client, *more, idp="okta", token=None):
        url = served + client.base
        result = gateway("conformance", idp, "--base-url", url, "--token", token or client.token, *more)
        return result, json.loads(result.stdout) if "--json" in more and result.stdout else None

    return run


@pytest.mark.parametrize("idp", IDPS)
def test_all_holds_again_and_again_and_also_beside_other_users(deployment, held, idp):
    client = deployment.connection(idp)
    for users in (0, 2):
        if users:
            client.user()
            client.group("Engineering", members=(client.user("user2@acme.test")["id"],))
        result, printed = held(client, "--json", idp=idp)
        assert (result.exit_code, printed["holds"]) == (0, True), [
            c for c in printed["checks"] if c["ok"] is False
        ]
        assert {check["kind"] for check in printed["checks"]} == {"transcript", "simulator"}
        # The simulator leaves its users inactive; of the transcripts nobody stays.
        assert deployment.used(client.organization) == users


def test_transcripts_without_settings_are_those_of_the_plain_connection(deployment, held):
    """No settings are the defaults; `--settings` still says which connection it is."""
    result, printed = held(deployment.connection("jumpcloud"), "--json", "--settings", "{}", idp="jumpcloud")
    assert (result.exit_code, {check["ok"] for check in printed["checks"]}) == (0, {True})
    okta = deployment.connection("okta", settings={"extra_attributes": ["title"]})
    _, printed = held(okta, "--json", "--settings", '{"extra_attributes": ["title"]}')
    left_out = [check["differences"] for check in printed["checks"] if check["ok"] is None]
    assert ["It is told of a connection with the settings {}."] in left_out


def test_a_story_of_other_settings_is_left_out_until_they_are_those_of_the_connection(deployment, held):
    settings = {"extra_attributes": ["title", "phoneNumbers"]}
    okta = deployment.connection("okta", settings=settings)
    assert "1 left out." in held(deployment.connection("okta"))[0].stdout
    _, printed = held(okta, "--json", "--settings", json.dumps(settings))
    of = {check["name"]: check["ok"] for check in printed["checks"]}
    assert (of["update-and-empty-values"], of["assign"], of["simulator oin"]) == (True, None, True)
    for wrong in ("[", '{"extra_atributes": []}', "7"):
        assert "These are no settings of Okta" in held(okta, "--settings", wrong)[0].stderr


def test_a_server_that_is_no_okta_shows_what_does_not_hold(deployment, held):
    generic = deployment.connection("generic")
    result, printed = held(generic, "--json")
    assert (result.exit_code, printed["holds"]) == (1, False)
    failed = {check["name"]: check["differences"] for check in printed["checks"] if check["ok"] is False}
    assert failed["assign"][0].startswith("Exchange 2, POST /Users: locale should be absent")
    result, _ = held(generic)
    assert result.exit_code == 1
    assert "DOES NOT" in result.stdout
    assert "Exchange" in result.stdout
    assert f"{len(failed)} of {len(printed['checks']) - 1} do not hold." in result.stdout
    assert generic.token not in result.output


def test_what_cannot_be_begun_is_told_in_one_sentence(deployment, gateway, held):
    okta = deployment.connection("okta")
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    mistakes = [
        (
            gateway("conformance", "okta", "--base-url", closed, "--token", "t"),
            f"No server answers at {closed}",
        ),
        (held(okta, token="wrong")[0], "The server refuses the token with 401"),
        (held(okta, idp="oktopus")[0], "No plugin is an identity provider called 'oktopus'. There are: "),
        (held(okta, idp="billing")[0], "No plugin is an identity provider called 'billing'."),
        (held(okta, idp="generic")[0], "generic brings neither transcripts nor a simulator"),
    ]
    for result, words in mistakes:
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr
        assert result.stderr.startswith("Error: ")


def test_a_page_that_is_no_scim_is_told_so(gateway, served):
    result = gateway("conformance", "okta", "--base-url", f"{served}/elsewhere", "--token", "t")
    assert "is answered with 404 and no list of SCIM. Is this the base URL?" in result.stderr


# Names kept apart ----------------------------------------------------------------------------------------------------


def exchange(method, path, body=None, **expect):
    return {"request": {"method": method, "path": path, "body": body}, "expect": {"json": expect}}


def test_names_are_marked_wherever_they_stand_and_nothing_else_is():
    recorded = {
        "exchanges": [
            exchange(
                "POST",
                "/Users",
                {"schemas": ["urn:x:User"], "userName": "user1@acme.test", "externalId": "u"},
            ),
            exchange(
                "GET", "/Users?filter=userName%20eq%20%22USER1%40ACME.TEST%22", userName="user1@acme.test"
            ),
            exchange("GET", "/Users?filter=userName+eq+%22user1@acme.test%22", totalResults=1),
            exchange("PATCH", "/Users/{{u.id}}", {"Operations": [{"path": "userName", "value": "user"}]}),
            exchange(
                "POST", "/Groups", {"displayName": "Sales Team", "members": [{"display": "user1@acme.test"}]}
            ),
            exchange(
                "GET",
                "/Groups?filter=displayName%20eq%20%22Sales%20Team%22",
                detail="Sales Teams, sales team",
            ),
            exchange("PUT", "/Users/{{u.id}}", {"displayName": "Sales", "title": "unusual"}),
        ]
    }
    printed = json.dumps(list(live.mark_names(recorded, "m1")["exchanges"]))
    assert printed == json.dumps(
        [
            exchange(
                "POST",
                "/Users",
                {"schemas": ["urn:x:User"], "userName": "user1-m1@acme.test", "externalId": "u-m1"},
            ),
            exchange(
                "GET",
                "/Users?filter=userName%20eq%20%22USER1-m1%40ACME.TEST%22",
                userName="user1-m1@acme.test",
            ),
            exchange("GET", "/Users?filter=userName+eq+%22user1-m1@acme.test%22", totalResults=1),
            exchange("PATCH", "/Users/{{u.id}}", {"Operations": [{"path": "userName", "value": "user-m1"}]}),
            exchange(
                "POST",
                "/Groups",
                {"displayName": "Sales Team-m1", "members": [{"display": "user1-m1@acme.test"}]},
            ),
            exchange(
                "GET",
                "/Groups?filter=displayName%20eq%20%22Sales%20Team-m1%22",
                detail="Sales Teams, sales team-m1",
            ),
            exchange("PUT", "/Users/{{u.id}}", {"displayName": "Sales", "title": "unusual"}),
        ]
    )


def test_what_a_story_made_is_deleted_also_when_it_does_not_hold(deployment):
    scim = deployment.connection("generic")
    recorded = {"exchanges": [exchange("POST", "/Users", {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                                                       "userName": "user1@acme.test"}, active=False)]}  # fmt: skip
    assert live.replay_live(scim, recorded, "m1") != []
    kinds = [kind for kind, _ in deployment.events(scim.organization)]
    assert kinds == ["user.created", "user.deleted"]
    assert transcripts.replay(scim, {"exchanges": [exchange("GET", "/Users", totalResults=0)]}) == []
