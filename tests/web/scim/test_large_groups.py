"""Groups of many members: read piece by piece, and changed at the cost of what a change names."""

import json
import threading
import tracemalloc

import pytest

from gateway.scim.errors import Unavailable
from gateway.scim.json_text import dumps, fold_json
from gateway.store import memberships
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, PATCH, USER
from gateway.testing.engines import is_postgresql

pytestmark = pytest.mark.slow

SMALL, LARGE = 10, 20_000
PIECE = memberships.MEMBERS_AT_ONCE


class Crowd:
    """One connection with a group of so many, and some more users."""

    def __init__(self, folder, members, others=SMALL):
        self.deployment = Deployment(folder)
        self.store = self.deployment.gateway.store
        self.scim = self.deployment.connection("generic")
        self.base, self.group = self.scim.base, self.scim.group("Everyone")["id"]
        self.path = f"/Groups/{self.group}"
        self.uids = self.settle(members + others)
        record = self.record()
        with self.store.transaction():
            keys = self.keys(self.uids[:members])
            self.store.memberships.grant(record.id, keys, "push")
            self.store.groups.add_members(self.scim.connection.organization_id, record.id, members)

    def settle(self, users):
        """Rows as the store makes them, straight into the table: thousands of operations would take a minute."""
        first = self.scim.user("user0@acme.test", displayName='Given "0"', externalId="00u0")
        database = self.store.database
        columns = [column.name for column in database.peewee.get_columns("users") if column.name != "id"]
        stored = database.one(f"SELECT {', '.join(columns)} FROM users WHERE uid = ?", first["id"])
        row = dict(zip(columns, stored, strict=True))
        rows = []
        for number in range(1, users):
            name = f"user{number}@acme.test"
            doc = dumps(
                {"schemas": [USER], "userName": name, "displayName": f"Given {number}", "active": True}
            )
            own = {"uid": f"{first['id'][:-12]}{number:012x}", "user_name": name, "user_name_key": name, "doc": doc,
                   "external_id": None, "display": f"Given {number}", "doc_key": fold_json(doc)}  # fmt: skip
            rows.append([own.get(column, row[column]) for column in columns])
        with self.store.transaction():
            marks = ", ".join("?" * len(columns))
            database.run_many(f"INSERT INTO users ({', '.join(columns)}) VALUES ({marks})", rows)
        return [first["id"], *(row[columns.index("uid")] for row in rows)]

    def keys(self, uids):
        record = self.scim.connection
        return list(self.store.memberships.resolve(record.organization_id, record.id, uids).values())

    def record(self):
        return self.store.groups.seen(self.scim.connection, self.group)

    def add(self, *uids):
        operation = {"op": "add", "path": "members", "value": [{"value": uid} for uid in uids]}
        answer = self.scim.patch(self.path, operation)
        assert answer.status == 204, answer.text

    def remove(self, uid):
        answer = self.scim.patch(self.path, {"op": "remove", "path": f'members[value eq "{uid}"]'})
        assert answer.status == 204, answer.text

    def get(self):
        """The whole answer; the application alone asks the database."""
        headers = {"Authorization": f"Bearer {self.scim.token}"}
        return self.deployment.call("GET", self.base + self.path, None, headers)

    def open(self, query="", method="GET"):
        """The answer as it comes out of the application, its body not read yet."""
        headers = {"Authorization": f"Bearer {self.scim.token}"}
        path = self.base + self.path + query
        return self.deployment.app.test_client().open(path, method=method, headers=headers, buffered=False)

    def lines(self):
        return self.deployment.activity(self.scim.organization)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    crowd = Crowd(tmp_path_factory.mktemp("large") / "instance", LARGE)
    yield crowd
    crowd.deployment.close()


@pytest.fixture
def few(tmp_path):
    """A group of five, of which two are read at a time."""
    crowd = Crowd(tmp_path / "instance", 5)
    yield crowd
    crowd.deployment.close()


def requests(crowd, method="GET", status=200):
    """How many requests the metrics count, and how many seconds."""
    text = crowd.deployment.app.test_client().get("/metrics").get_data(as_text=True)
    operation = f'operation="{method} /Groups/<uid>"'
    lines = [line for line in text.splitlines() if operation in line]
    count = sum(
        float(line.split()[-1]) for line in lines if "requests_total" in line and f'status="{status}"' in line
    )
    return count, sum(float(line.split()[-1]) for line in lines if "seconds_sum" in line)


def statements(crowd, use_case):
    """What an operation asks the database: its statements, and the ticks that SQLite worked at them."""
    database, reported, ticks = crowd.store.database, [], [0]
    execute, here, connection = database._execute, threading.get_ident(), database.peewee.connection()

    def tick():
        ticks[0] += 1

    def noted(sql, parameters):
        if threading.get_ident() == here:
            reported.append(sql)
        return execute(sql, parameters)

    database._execute = noted
    if not is_postgresql():
        connection.set_progress_handler(tick, 10)
    try:
        result = use_case()
    finally:
        del database._execute
        if not is_postgresql():
            connection.set_progress_handler(None, 10)
    return result, reported, ticks[0]


# Reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?attributes=members.value"])
def test_a_large_group_is_read_in_bounded_memory(crowd, query):
    crowd.open(query).close()  # what is made once, is made now
    tracemalloc.start()
    try:
        with crowd.open(query) as answer:
            size = sum(len(piece) for piece in answer.iter_encoded())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = LARGE * (40 if query else 150)
    assert size > whole
    assert peak < 2_500_000, f"{peak} bytes for a body of {size}"


def test_it_is_the_group_and_every_member_once(crowd):
    answer = crowd.scim.call("GET", crowd.path)
    assert [member["value"] for member in answer.json["members"]] == crowd.uids[:LARGE]
    assert list(answer.json) == ["id", "meta", "members", "schemas", "displayName"]
    assert answer.json["members"][0]["display"] == 'Given "0"'
    assert answer.json["meta"]["version"] == crowd.deployment.last_headers["ETag"]
    assert "Content-Length" not in crowd.deployment.last_headers


@pytest.mark.parametrize(
    "query",
    ["", "?attributes=members.value", "?attributes=displayName,members.display,members.value", "?attributes=members",
     "?excludedAttributes=members.display,externalId", "?attributes=members.unknown", "?attributes=displayName",
     "?excludedAttributes=members", "?attributes=urn:ietf:params:scim:schemas:core:2.0:Group:members"],
)  # fmt: skip
@pytest.mark.parametrize("hidden", [0, 2, 5])
def test_the_size_of_the_pieces_does_not_show(few, monkeypatch, query, hidden):
    """Members that the connection does not see are in the group; some pages have nobody else."""
    for uid in few.uids[:hidden]:
        few.store.database.run("UPDATE users SET deleted = 1 WHERE uid = ?", uid)
    whole = few.scim.call("GET", few.path + query)
    assert whole.status == 200
    assert int(few.deployment.last_headers["Content-Length"]) == len(whole.text.encode())
    for size in (1, 2, 3, 4):
        monkeypatch.setattr(memberships, "MEMBERS_AT_ONCE", size)
        monkeypatch.setattr("gateway.provisioning.groups.MEMBERS_AT_ONCE", size)
        assert few.scim.call("GET", few.path + query).json == whole.json, size


def test_a_small_group_is_one_statement_and_one_piece(few, crowd):
    _, reported, _ = statements(few, few.get)
    assert len([sql for sql in reported if sql.startswith("SELECT")]) == 3, reported
    assert "Content-Length" in few.deployment.last_headers
    _, reported, _ = statements(crowd, crowd.get)
    # One more: the group is read, found to be large, and read again when the request has its turn.
    assert len([sql for sql in reported if sql.startswith("SELECT")]) == 3 + LARGE // PIECE, reported


def test_who_does_not_want_members_reads_none(crowd):
    answer, reported, _ = statements(
        crowd, lambda: crowd.scim.call("GET", f"{crowd.path}?excludedAttributes=members")
    )
    assert "members" not in answer.json
    assert not any("grants" in sql for sql in reported), reported


def test_a_head_reads_no_more_than_the_first_piece(crowd):
    lines, counted = len(crowd.lines()), requests(crowd, "HEAD")[0]
    answer, reported, _ = statements(crowd, lambda: crowd.scim.call("HEAD", crowd.path))
    assert (answer.status, answer.text) == (200, "")
    assert len([sql for sql in reported if "grants" in sql]) <= 1
    assert (len(crowd.lines()), requests(crowd, "HEAD")[0]) == (lines + 1, counted + 1)


def test_line_and_metrics_come_when_the_body_has_ended(crowd):
    lines, (counted, seconds) = len(crowd.lines()), requests(crowd)
    with crowd.open() as answer:
        body = answer.iter_encoded()
        assert next(body).startswith(b'{"id":')
        assert (len(crowd.lines()), requests(crowd)) == (lines, (counted, seconds))
        for _ in body:
            pass
    line = crowd.lines()[0]
    assert (line.operation, line.status, line.outcome) == ("GET /Groups/{id}", 200, "success")
    assert len(crowd.lines()) == lines + 1
    assert requests(crowd)[0] == counted + 1
    assert requests(crowd)[1] > seconds


def test_who_hangs_up_leaves_a_line_too(crowd):
    lines, counted = len(crowd.lines()), requests(crowd)[0]
    with crowd.open() as answer:
        next(answer.iter_encoded())
    assert (len(crowd.lines()), requests(crowd)[0]) == (lines + 1, counted + 1)


def broken(few, monkeypatch, pages):
    """The group read two by two, from a database that answers so many pages."""
    real = few.store.memberships.member_pages

    def member_pages(*arguments):
        for number, page in enumerate(real(*arguments)):
            if number == pages:
                raise Unavailable("The gateway cannot serve this now.", retry_after=10)
            yield page

    monkeypatch.setattr(memberships, "MEMBERS_AT_ONCE", 2)
    monkeypatch.setattr("gateway.provisioning.groups.MEMBERS_AT_ONCE", 2)
    monkeypatch.setattr(few.store.memberships, "member_pages", member_pages)


@pytest.mark.parametrize("query", ["", "?attributes=members.value"])
def test_what_fails_in_the_middle_is_never_whole(few, monkeypatch, caplog, query):
    broken(few, monkeypatch, 2)
    got = []
    with few.open(query) as answer, pytest.raises(Unavailable):
        got.extend(answer.iter_encoded())
    with pytest.raises(ValueError):
        json.loads(b"".join(got))
    line = few.lines()[0]
    assert (line.status, line.outcome) == (500, "failure")
    assert "in the middle of its answer" in caplog.text


@pytest.mark.parametrize("query", ["", "?attributes=members.value"])
def test_what_fails_at_once_is_refused(few, monkeypatch, query):
    broken(few, monkeypatch, 0)
    answer = few.scim.call("GET", few.path + query)
    assert (answer.status, answer.json["detail"]) == (503, "The gateway cannot serve this now.")
    assert few.lines()[0].status == 503


# Changing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [Unavailable("Nothing was changed.", retry_after=10), RuntimeError("odd")]
)
def test_what_was_stored_before_its_answer_failed_is_told_so(deployment, scim, monkeypatch, failure):
    def broken(*_):
        raise failure

    group = scim.group("Sales")["id"]
    monkeypatch.setattr(deployment.gateway.store.memberships, "member_pages", broken)
    body = {"schemas": [GROUP], "displayName": "Sold"}
    answer = scim.call("PUT", f"/Groups/{group}", body)
    monkeypatch.undo()
    assert answer.status == (503 if isinstance(failure, Unavailable) else 500)
    assert answer.json["detail"].startswith("The change was stored, but the gateway failed to answer it")
    assert "othing was changed" not in answer.json["detail"]
    assert scim.call("GET", f"/Groups/{group}").json["displayName"] == "Sold"


def test_many_who_change_one_group_at_once_lose_nothing(tmp_path):
    crowd = Crowd(tmp_path / "instance", 0, 8 * 10 + 1)
    before, failed = crowd.record(), []

    def add(uids):
        try:
            for uid in uids:
                crowd.add(uid)
        except AssertionError as error:
            failed.append(error)
        finally:
            crowd.store.database.close()

    threads = [threading.Thread(target=add, args=(crowd.uids[1 + 10 * n : 11 + 10 * n],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    shown = crowd.scim.call("GET", crowd.path).json
    assert sorted(member["value"] for member in shown["members"]) == sorted(crowd.uids[1:])
    assert (crowd.record().members, crowd.record().version) == (80, before.version + 80)
    reported = [
        data
        for kind, data in crowd.deployment.events(crowd.scim.organization)
        if kind == "group.members_changed"
    ]
    assert sorted(uid for data in reported for uid in data["added"]) == sorted(crowd.uids[1:])
    crowd.deployment.close()


@pytest.mark.sqlite
def test_a_change_of_members_costs_the_same_however_many_there_are(crowd, few):
    costs = {}
    for each in (crowd, few):
        uid = each.uids[-1]
        each.add(uid)
        each.remove(uid)  # what is done once, is done now
        added, removed = statements(each, lambda: each.add(uid)), statements(each, lambda: each.remove(uid))  # noqa: B023
        rows = each.store.database.peewee.connection().total_changes
        each.add(uid)
        rows, again = each.store.database.peewee.connection().total_changes, rows
        each.remove(uid)
        costs[each] = len(added[1]), len(removed[1]), added[2], removed[2], rows - again
    large, small = costs[crowd], costs[few]
    assert large[:2] == small[:2]
    assert large[4] == small[4]
    assert all(many <= 1.2 * some + 5 for many, some in zip(large[2:4], small[2:4], strict=True)), (
        large,
        small,
    )


def test_a_patch_answers_without_the_members_unless_they_are_asked_for(crowd):
    operation = {"op": "add", "path": "members", "value": [{"value": crowd.uids[0]}]}
    body = {"schemas": [PATCH], "Operations": [operation]}
    answer = crowd.scim.call("PATCH", crowd.path, body)
    assert (answer.status, answer.text) == (204, "")
    answer = crowd.scim.call("PATCH", f"{crowd.path}?attributes=members.value", body)
    assert (answer.status, len(answer.json["members"])) == (200, crowd.record().members)
    line = crowd.deployment.activity(crowd.scim.organization)[0]
    assert (line.operation, line.status) == ("PATCH /Groups/{id}", 200)
