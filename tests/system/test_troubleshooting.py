"""The page on troubleshooting is true: each row of its tables is caused, and the sentences are compared."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway import GroupGrant, hookimpl
from gateway.simulation.api import Answer
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim, engines

# The page's sentences need one engine.
pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
USER, GROUP = "urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
EXTENSION = "urn:calendly:scim:schemas:2.0:User"
NAME = "user1@acme.test"
DAY = 86_400_000_000
#: What stands in braces on the page.
VARIABLE = {
    "date": r"\d{4}-\d\d-\d\dT[\d:.]+Z",
    "id": r"[0-9a-f-]{36}",
    "request": r"[0-9a-f-]{36}",
    "slug": r"[a-z]+-[a-z0-9]+",
    "token": r"pgw_\w{4}",
    "number": r"\d+",
    "outage": r"the (database|disk) [a-z ]+",
}


class Row(NamedTuple):
    """One row of the page."""

    wrong: str
    answer: str
    reads: str
    activity: str
    support: str
    does: str


def rows() -> dict[str, Row]:
    """All rows of the page, by what is wrong."""
    found = [
        Row(*(cell.strip() for cell in line.strip("| \n").split(" | ")))
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| ") and line.count(" | ") == 5
    ]
    return {row.wrong: row for row in found if row.wrong not in ("what is wrong", "---")}


ROWS = rows()
#: How each is caused: the client whose organization has the line, and the answer that is read.
CAUSES: dict[str, Callable[[Stage], tuple[Scim, Answer]]] = {}


class Stage:
    """A deployment of a customer with the connections Okta and Generic."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: Any) -> None:
        self._folder, self._stack, self._settings = folder, stack, settings
        self.deployment = self.serve()
        self.okta = self.connection("okta")
        self.generic = self.connection("generic", self.okta)

    def serve(self, **settings: Any) -> Deployment:
        """The application with these settings, on the same data."""
        usual = {"contact_url": "https://acme.test/contact", "billing_url": "https://acme.test/billing"}
        deployment = Deployment(self._folder, **usual, **self._settings, **settings)
        self._stack.callback(deployment.close)
        return deployment

    def connection(self, idp: str, beside: Scim | None = None, on: bool = True, **organization: Any) -> Scim:
        """A connection beside another one, or of a new organization."""
        owner = beside.organization if beside else self.deployment.organization(**organization)
        return self.deployment.connection(idp, owner, provisioning=on)

    def admin(self, method: str, path: str, body: Any = None) -> Answer:
        """A call of an admin, below the organization."""
        return self.deployment.admin(method, f"/organizations/{self.okta.organization.uid}{path}", body)

    def mapped(self) -> str:
        """Switch Map to groups on: `Sales EMEA` leads to `Sales`, whose id is returned."""
        plan = {
            "enabled": True,
            "attribute": f"{EXTENSION}:group",
            "rules": [{"value": "Sales EMEA", "group": "Sales"}],
            "apply_to_existing": True,
        }
        path = f"/connections/{self.okta.uid}/group-mapping"
        assert self.deployment.admin("POST", f"{path}/preview", plan).status == 200
        etag = self.deployment.last_headers["ETag"]
        assert self.deployment.admin("PUT", path, plan, If_Match=etag).status == 200
        return str(self.admin("GET", "/groups").json["items"][0]["id"])


def cause(wrong: str) -> Callable[[Callable[[Stage], Any]], Callable[[Stage], Any]]:
    """Register how a row of the page is caused."""

    def register(function: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
        assert wrong not in CAUSES
        CAUSES[wrong] = function
        return function

    return register


def user(name: str = NAME, **attributes: Any) -> dict[str, Any]:
    return {"schemas": [USER], "userName": name} | attributes


def post(client: Scim, name: str = NAME, **attributes: Any) -> tuple[Scim, Answer]:
    return client, client.call("POST", "/Users", user(name, **attributes))


def push(client: Scim, name: str) -> tuple[Scim, Answer]:
    return client, client.call("POST", "/Groups", {"schemas": [GROUP], "displayName": name})


def operation(client: Scim, at: str, **values: Any) -> tuple[Scim, Answer]:
    return client, client.patch(at, values)


def called(client: Scim, url: str) -> tuple[Scim, Answer]:
    """A call with the token of a client to any URL."""
    return client, client.deployment.call("GET", url, None, {"Authorization": f"Bearer {client.token}"})


# The identity provider cannot connect ---------------------------------------------------------------------------


@cause("no token")
def no_token(stage: Stage) -> Any:
    return stage.okta, stage.deployment.call("GET", f"{stage.okta.base}/Users", None, {})


@cause("wrong token")
def wrong_token(stage: Stage) -> Any:
    return stage.okta, stage.okta.call("GET", "/Users", token="pgw_nothing")


@cause("expired token")
def expired_token(stage: Stage) -> Any:
    _, token = stage.deployment.gateway.store.tokens.add(stage.okta.connection, "Old", now() - DAY)
    return stage.okta, stage.okta.call("GET", "/Users", token=token)


@cause("revoked token")
def revoked_token(stage: Stage) -> Any:
    path = f"/connections/{stage.okta.uid}/tokens"
    made = stage.deployment.admin("POST", path, {"label": "Old"}).json
    assert stage.deployment.admin("DELETE", f"{path}/{made['id']}").status == 204
    return stage.okta, stage.okta.call("GET", "/Users", token=made["token"])


@cause("token of another connection")
def foreign_token(stage: Stage) -> Any:
    return stage.okta, stage.okta.call("GET", "/Users", token=stage.generic.token)


@cause("base URL with a typo in the last part")
def typo(stage: Stage) -> Any:
    return called(stage.okta, f"{stage.okta.base}x/Users")


@cause("base URL with a typo before it")
def typo_before(stage: Stage) -> Any:
    return called(stage.okta, f"{stage.okta.base.replace('/v2/', '/v1/')}/Users")


@cause("base URL with a word behind it")
def word_behind(stage: Stage) -> Any:
    return called(stage.okta, f"{stage.okta.base}/provisioning/Users")


@cause("base URL with `/Users`")
def users_behind(stage: Stage) -> Any:
    return called(stage.okta, f"{stage.okta.base}/Users/Users")


@cause("base URL with `/scim/v2` twice")
def doubled(stage: Stage) -> Any:
    return called(stage.okta, f"{stage.okta.base}/scim/v2/Users")


@cause("base URL with a slash at its end")
def slash(stage: Stage) -> Any:
    return called(stage.okta, f"{stage.okta.base}//Users")


@cause("provisioning is switched off")
def switched_off(stage: Stage) -> Any:
    off = stage.connection("okta", on=False)
    return off, off.call("GET", "/Users")


@cause("the plan lacks provisioning")
def plan(stage: Stage) -> Any:
    client = stage.connection("okta", plan="standard")
    return client, client.call("GET", "/Users")


@cause("single sign-on is missing")
def single_sign_on(stage: Stage) -> Any:
    client = stage.connection("okta", sso=False)
    return client, client.call("GET", "/Users")


@cause("the plugin is missing")
def plugin(stage: Stage) -> Any:
    later = Scim(stage.serve(plugins_disabled=("okta",)), stage.okta.uid, stage.okta.token)
    return later, later.call("GET", "/Users")


# A user is refused, or missing ----------------------------------------------------------------------------------


def full(stage: Stage, payment: str) -> Any:
    client = stage.connection("okta", seats=1, payment=payment)
    client.user(NAME)
    return post(client, "user2@acme.test")


@cause("no seat is left, paid by invoice")
def by_invoice(stage: Stage) -> Any:
    return full(stage, "invoice")


@cause("no seat is left, paid by card")
def by_card(stage: Stage) -> Any:
    return full(stage, "card")


@cause("the userName is no e-mail address")
def no_email(stage: Stage) -> Any:
    return post(stage.okta, "user1")


@cause("userName of a user made by hand")
def by_hand(stage: Stage) -> Any:
    assert stage.admin("POST", "/users", {"user_name": NAME}).status == 201
    return post(stage.okta)


@cause("userName of another connection's user")
def by_another(stage: Stage) -> Any:
    stage.generic.user(NAME)
    return post(stage.okta)


@cause("a deleted user is written")
def deleted(stage: Stage) -> Any:
    gone = stage.okta.user(NAME)
    stage.okta.call("DELETE", f"/Users/{gone['id']}")
    return stage.okta, stage.okta.call("PUT", f"/Users/{gone['id']}", user())


@cause("a deleted user is created again")
def restored(stage: Stage) -> Any:
    gone = stage.okta.user(NAME)
    stage.okta.call("DELETE", f"/Users/{gone['id']}")
    client, answer = post(stage.okta)
    assert answer.json["id"] == gone["id"]
    return client, answer


@cause("a user deleted by another connection is created")
def deleted_elsewhere(stage: Stage) -> Any:
    gone = stage.generic.user(NAME)
    stage.generic.call("DELETE", f"/Users/{gone['id']}")
    client, answer = post(stage.okta)
    assert answer.json["id"] != gone["id"]
    return client, answer


@cause("an admin edits a user of the identity provider by hand")
def edited(stage: Stage) -> Any:
    made = stage.okta.user(NAME)
    return stage.okta, stage.admin("PATCH", f"/users/{made['id']}", {"display_name": "Other"})


@cause("an attribute that the connection does not keep")
def not_kept(stage: Stage) -> Any:
    client, answer = post(stage.okta, title="Guide")
    assert "title" not in answer.json
    return client, answer


# A group or a membership is not as expected ---------------------------------------------------------------------


@cause("name of a group that the connection pushed")
def own_group(stage: Stage) -> Any:
    push(stage.okta, "Sales")
    return push(stage.okta, "sales")


@cause("name of a group made by hand")
def group_by_hand(stage: Stage) -> Any:
    assert stage.admin("POST", "/groups", {"name": "Sales"}).status == 201
    return push(stage.okta, "Sales")


@cause("name of a group that another connection pushed")
def group_of_another(stage: Stage) -> Any:
    push(stage.generic, "Sales")
    client, answer = push(stage.okta, "Sales")
    both = stage.admin("GET", "/groups").json["items"]
    assert [(each["name"], each["source"]) for each in both] == [("Sales", "push")] * 2
    assert len({json.dumps(each["managed_by"]) for each in both}) == 2
    return client, answer


@cause("an admin makes a group whose name is pushed")
def pushed_name(stage: Stage) -> Any:
    push(stage.okta, "Sales")
    return stage.okta, stage.admin("POST", "/groups", {"name": "Sales"})


@cause("a member whom the connection does not know")
def unknown_member(stage: Stage) -> Any:
    group = stage.okta.group("Sales")
    return operation(
        stage.okta, f"/Groups/{group['id']}", op="add", path="members", value=[{"value": "nobody"}]
    )


@cause("a value of Map to groups in another letter case")
def letter_case(stage: Stage) -> Any:
    stage.mapped()
    return post(stage.okta, schemas=[USER, EXTENSION], **{EXTENSION: {"group": "sales emea"}})


@cause("a value of Map to groups that no rule covers")
def unruled(stage: Stage) -> Any:
    stage.mapped()
    return post(stage.okta, schemas=[USER, EXTENSION], **{EXTENSION: {"group": "Legal"}})


class Wishful:
    """A plugin that wants a group which nobody made."""

    @hookimpl
    def gateway_resolve_groups(self) -> list[GroupGrant]:
        return [GroupGrant("Field")]


@cause("a group that a plugin wants and nobody made")
def wanted_group(stage: Stage) -> Any:
    stage.deployment.gateway.plugins.add(Wishful(), "wishful")
    return post(stage.okta)


@cause("the group is filled by Map to groups")
def mapped_group(stage: Stage) -> Any:
    return operation(stage.okta, f"/Groups/{stage.mapped()}", op="replace", path="displayName", value="Sales")


@cause("an admin edits a membership that Map to groups decides")
def mapped_member(stage: Stage) -> Any:
    group, made = stage.mapped(), stage.okta.user(NAME)
    return stage.okta, stage.admin("PUT", f"/groups/{group}/members/{made['id']}")


@cause("an admin edits a membership of a pushed group")
def pushed_member(stage: Stage) -> Any:
    group, made = stage.okta.group("Sales"), stage.okta.user(NAME)
    return stage.okta, stage.admin("PUT", f"/groups/{group['id']}/members/{made['id']}")


# A request cannot be read, or not now ---------------------------------------------------------------------------


@cause("a broken path")
def broken_path(stage: Stage) -> Any:
    made = stage.okta.user(NAME)
    path = "emails[type eq work].value"
    return operation(stage.okta, f"/Users/{made['id']}", op="replace", path=path, value="new@acme.test")


@cause("a path that a group does not have")
def unknown_path(stage: Stage) -> Any:
    group = stage.okta.group("Sales")
    return operation(stage.okta, f"/Groups/{group['id']}", op="add", path="memebers", value=[])


@cause("an unknown operation")
def unknown_operation(stage: Stage) -> Any:
    made = stage.okta.user(NAME)
    return operation(stage.okta, f"/Users/{made['id']}", op="upsert", path="displayName", value="New")


@cause("a media type that is not JSON")
def media_type(stage: Stage) -> Any:
    headers = {"Content-Type": "text/xml"}
    return stage.okta, stage.okta.call("POST", "/Users", "<user/>", headers=headers)


@cause("a body that is too large")
def large_body(stage: Stage) -> Any:
    return post(stage.okta, displayName="x" * 1_048_576)


@cause("a body of very many parts")
def many_parts(stage: Stage) -> Any:
    return post(stage.okta, displayName="," * 200_000)


@cause("a user that is too large")
def large_user(stage: Stage) -> Any:
    emails = [{"value": f"user{n}@acme.test", "display": "x" * 3000} for n in range(100)]
    return post(stage.generic, emails=emails)


@cause("too many requests a second")
def too_many(stage: Stage) -> Any:
    client = Scim(stage.serve(rate_limit=1, workers=1), stage.okta.uid, stage.okta.token)
    answers = [client.call("GET", "/Users") for _ in range(40)]
    return client, next(answer for answer in answers if answer.status != 200)


@cause("a bulk request, one operation of which is refused")
def bulk(stage: Stage) -> Any:
    operations = [{"method": "POST", "path": "/Users", "bulkId": each, "data": user()} for each in "ab"]
    body = {"schemas": [BULK], "Operations": operations}
    answer = stage.generic.call("POST", "/Bulk", body)
    done, refused = answer.json["Operations"]
    assert (done["status"], refused["status"]) == ("201", "409")
    lines = stage.admin("GET", f"/activity?request_id={stage.deployment.last_headers['X-Request-Id']}").json
    assert [line["status"] for line in lines["items"]].count(409) == 1
    return stage.generic, Answer(answer.status, {"detail": refused["response"]["detail"]}, answer.text, 0)


# Comparing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path / "instance", stack)


def compare(sentence: str, said: str | None) -> None:
    """A cell of the page with a sentence, in which names in braces stand for what differs each time."""
    pieces = re.split(r"\{(\w+)\}", "" if sentence == "—" else sentence)
    pattern = "".join(VARIABLE[piece] if n % 2 else re.escape(piece) for n, piece in enumerate(pieces))
    assert re.fullmatch(pattern, said or ""), f"\nthe page:    {sentence}\nthe gateway: {said}"


def held(line: dict[str, Any]) -> str:
    """What the line of a request holds, as the page says it."""
    reported = [line["outcome"]]
    reported += ["restored"] if line["restored"] else []
    reported += [f"ignored: {', '.join(line['ignored'])}"] if line["ignored"] else []
    refused = [each for each in line["decisions"] if each["verdict"] in ("denied", "refused")]
    return ", ".join(reported + [f"{each['plugin']} {each['hook']}: {each['verdict']}" for each in refused])


def check(row: Row, client: Scim, answer: Answer) -> None:
    """Compare an answer, and what support reads of it, with a row of the page."""
    body = answer.json if isinstance(answer.json, dict) else {}
    assert " ".join(filter(None, (str(answer.status), body.get("scimType")))) == row.answer, answer.text
    compare(row.reads, body.get("detail") or body.get("message"))
    deployment = client.deployment
    path = f"/organizations/{client.organization.uid}/activity?limit=1"
    lines = deployment.admin("GET", path).json["items"]
    if row.activity == "no line":
        assert not [line for line in lines if line["operation"].endswith("/Users")]
        checks = deployment.admin("POST", f"/connections/{client.uid}/test").json["checks"]
        (last,) = [each for each in checks if each["name"] == "last_call"]
        compare(row.support, f"{last['message']} {last['remedy'].partition(' http')[0]}")
        return
    (line,) = lines
    assert (line["status"], held(line)) == (answer.status, row.activity)
    compare(row.reads if row.support == "the same" else row.support, line["detail"])
    if answer.status >= 400:
        # Found by what support may know.
        by_id = deployment.admin("GET", f"{path}&request_id={line['request_id']}").json["items"]
        assert [each["id"] for each in by_id] == [line["id"]]


def test_every_row_is_caused_and_no_other() -> None:
    assert ROWS.keys() == CAUSES.keys() | {"the same user created twice at once", "the database is down"}
    assert all(all(row) for row in ROWS.values())


@pytest.mark.parametrize("wrong", CAUSES)
def test_what_the_page_says_of_a_failure_is_what_is_read(stage: Stage, wrong: str) -> None:
    client, answer = CAUSES[wrong](stage)
    check(ROWS[wrong], client, answer)


def test_of_two_creates_at_once_one_is_refused_as_the_page_says(
    stage: Stage, together: Callable[..., list[Any]]
) -> None:
    done = together(stage.deployment, [lambda: post(stage.okta)[1]] * 2)
    made, refused = sorted(done, key=lambda answer: answer.status)
    assert made.status == 201
    row = ROWS["the same user created twice at once"]
    compare(row.reads, refused.json["detail"])
    assert f"{refused.status} {refused.json['scimType']}" == row.answer
    lines = stage.admin("GET", f"/activity?user={NAME}").json["items"]
    assert sorted((line["status"], line["detail"]) for line in lines) == [
        (201, None),
        (409, refused.json["detail"]),
    ]


def test_a_database_that_is_down_is_told_as_the_page_says(tmp_path: Path) -> None:
    """PostgreSQL is stopped, one of its own; the disk takes nothing more of SQLite's log."""
    with ExitStack() as stack:
        own = {}
        if engines.is_postgresql():
            own = {"database_url": stack.enter_context(engines.server()), "secret_key": "k" * 40}
        stage = Stage(tmp_path / "instance", stack, **own)
        base, headers = stage.okta.base, {"Authorization": f"Bearer {stage.okta.token}"}
        with ExitStack() as away:
            if engines.is_postgresql():
                away.enter_context(engines.stop_server(own["database_url"]))
            else:
                log = (tmp_path / "instance" / "gateway.sqlite3-wal").stat().st_size
                before = resource.getrlimit(resource.RLIMIT_FSIZE)
                away.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
                resource.setrlimit(resource.RLIMIT_FSIZE, (log, before[1]))
            answer = stage.deployment.call("POST", f"{base}/Users", user(), headers)
        check(ROWS["the database is down"], stage.okta, answer)


def test_a_refused_request_names_what_it_was_about(stage: Stage) -> None:
    made = stage.okta.user(NAME)
    for path, kind in (
        (f"/Users/{made['id']}", "User"),
        ("/Groups/nothing", "Group"),
        ("/Users/" + "x" * 999, "User"),
    ):
        assert stage.okta.patch(path, {"op": "upsert", "path": "displayName", "value": "x"}).status == 400
        (line,) = stage.admin("GET", "/activity?limit=1").json["items"]
        assert line["target"]["type"] == kind
        assert path.rpartition("/")[2][:100] == line["target"]["id"]
        found = stage.admin("GET", f"/activity?target={line['target']['id']}&outcome=failure").json["items"]
        assert json.dumps(found[0]) == json.dumps(line)
