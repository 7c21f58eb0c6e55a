"""What a request costs the database: how many statements, by which indexes, and no more work in a large organization.

The numbers of statements are held exactly, so that one more is somebody's decision. `BEGIN` and `COMMIT`, and what the
background worker writes later, are not among them.
"""

import re
import threading
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from gateway.provisioning.cursors import Cursors
from gateway.store.engine.statements import joined
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, PATCH, USER
from gateway.testing.engines import is_postgresql

pytestmark = pytest.mark.slow

SMALL, LARGE = 400, 4000
#: A step that goes through all of something that grows.
WHOLE = re.compile(
    r"Seq Scan on (users|groups|grants|emails|events|activity|waiting_members)\b"
    if is_postgresql()
    else r"SCAN (?!e VIRTUAL|CONSTANT ROW|half|page|found|\(sub|json_each|listed VIRTUAL)"
)
#: SQLite steps through its own bytecode; this many steps are one tick of the measure.
TICK = 10


class Town:
    """Two organizations with so many users each, some deleted, and in the first a group that holds most of them."""

    def __init__(self, folder, users):
        self.deployment = Deployment(folder)
        self.store = self.deployment.gateway.store
        self.scim, other = self.deployment.connection("generic"), self.deployment.connection("generic")
        for connection in (self.scim, other):
            # The first removal of a minute takes a longer way.
            self.store.connections.edit(connection.connection, brake=None)
            self._settle(connection, users)
        self.uids = [user.uid for user in self.store.portions.page(self.scim.organization.id, (), 0, users)]
        self.sales = self.scim.group("Sales", tuple(self.uids[: users // 2]))["id"]
        self.base, self.headers = self.scim.base, {"Authorization": f"Bearer {self.scim.token}"}
        # Goes on behind the user who is the eighth from behind, in a list of users and groups.
        user = self.store.users.seen(self.scim.connection, self.uids[-8])
        secret = self.deployment.gateway.config.secret_key
        self.cursor = Cursors(secret).seal(self.scim.connection, "User+Group", user.id)
        self.deployment.gateway.close()
        if is_postgresql():
            self.store.database.run("ANALYZE")

    def _settle(self, connection, users):
        """Straight into the store: thousands of requests would take a minute."""
        record, gone = connection.connection, users // 10
        with self.store.transaction():
            for number in range(users):
                name = f"user{number}@acme.test"
                document = {"schemas": [USER], "userName": name, "displayName": f"Given{number}",
                            "externalId": f"00u{number}", "emails": [{"value": name}], "active": True}  # fmt: skip
                user, _ = self.store.users.add(record.organization_id, record.id, document)
                if number >= users - gone:
                    self.store.users.remove(record.organization_id, user)
                if number % 20 == 0:
                    group = {"schemas": [GROUP], "displayName": f"Group {number}"}
                    group = self.store.groups.add(record.organization_id, record.id, group)
                    self.store.memberships.grant(group.id, [user.id], "push")
            self.store.organizations.count(record.organization_id, "User", record.id, users - gone)
            self.store.organizations.count(record.organization_id, "Group", record.id, users // 20)

    @contextmanager
    def recorded(self):
        """The statements of what runs inside, each with its parameters, and the ticks that SQLite worked at them."""
        database, statements, ticks = self.store.database, [], [0]
        execute, run_many, run_change = database._execute, database.run_many, database.run_change
        here = threading.get_ident()

        def note(sql, parameters):
            if threading.get_ident() == here and not sql.startswith("PRAGMA"):
                statements.append((sql, tuple(parameters)))

        def noted_execute(sql, parameters):
            note(sql, parameters)
            return execute(sql, parameters)

        def noted_run_many(sql, rows):
            rows = list(rows)
            note(sql, rows[0] if rows else ())
            return run_many(sql, rows)

        def noted_run_change(steps):
            # PostgreSQL runs it as one statement, past what is noted here.
            if is_postgresql():
                sql, places = joined(tuple(step.statement for step in steps))
                given = {step.statement.name: step.parameters for step in steps}
                note(
                    sql.replace("%s", "?").replace("%%", "%"), [given[name][value] for name, value in places]
                )
            return run_change(steps)

        def tick():
            ticks[0] += 1

        connection = database.peewee.connection()
        database._execute, database.run_many = noted_execute, noted_run_many
        database.run_change = noted_run_change
        if not is_postgresql():
            connection.set_progress_handler(tick, TICK)
        try:
            yield statements, ticks
        finally:
            if not is_postgresql():
                connection.set_progress_handler(None, TICK)
            del database._execute, database.run_many, database.run_change

    def plan(self, sql, parameters):
        """How the engine would go about a statement, step by step."""
        if is_postgresql():
            # Of tables so small it would read the whole one: asked is whether an index could serve a larger one.
            self.store.database.run("SET enable_seqscan = off")
            steps = self.store.database.all(f"EXPLAIN {sql}", *parameters)
            self.store.database.run("RESET enable_seqscan")
            return [row[0].strip("-> ") for row in steps]
        return [row[3] for row in self.store.database.all(f"EXPLAIN QUERY PLAN {sql}", *parameters)]

    def ask(self, request):
        """One request, answered well."""
        method, path, body = request(self)
        answer = self.deployment.call(method, self.base + path, body, self.headers)
        assert answer.status < 300, answer.text
        return answer


# The operations: what is sent, and how many statements it takes --------------------------------------------------


def found(text, kind="Users"):
    query = f"filter={quote(text)}&startIndex=1&count=100&excludedAttributes=members"
    return lambda town: ("GET", f"/{kind}?{query}", None)


def patched(*operations, group=False):
    def request(town):
        path = f"/Groups/{town.sales}" if group else f"/Users/{town.uids[0]}"
        given = [{**op, "value": [{"value": town.uids[op["value"]]}]} if op.get("path") == "members" else op
                 for op in operations]  # fmt: skip
        return "PATCH", path, {"schemas": [PATCH], "Operations": given}

    return request


def user(number, **changes):
    name = f"user{number}@acme.test"
    return {"schemas": [USER], "userName": name, "externalId": f"00u{number}", "displayName": f"Given{number}",
            "emails": [{"value": name}], "active": True} | changes  # fmt: skip


def without(town):
    operation = {"op": "remove", "path": f'members[value eq "{town.uids[-1]}"]'}
    return "PATCH", f"/Groups/{town.sales}", {"schemas": [PATCH], "Operations": [operation]}


#: A page of users: who asks and what is on it; or how many there are, the users and their groups one after the other.
AT_ONCE = 2 if is_postgresql() else 4
OPERATIONS = {
    "look a user up by name": (found('userName eq "USER7@acme.test"'), 2),
    "look up a name that nobody has": (found('userName eq "nobody@acme.test"'), 2),
    "look a user up by externalId": (found('externalId eq "00u7"'), 2),
    "look a user up by e-mail": (found('emails.value eq "User7@acme.test"'), 3),
    "look a user up by one of its e-mails": (found('emails[value eq "user7@acme.test"]'), 3),
    "look a user up by id": (lambda town: found(f'id eq "{town.uids[7]}"')(town), 3),
    "look a user up by displayName": (found('displayName eq "GIVEN7"'), 3),
    "look up a work address that nobody has": (
        found('emails[type eq "work" and value eq "user7@acme.test"]'), 2),
    "look several users up by id": (
        lambda town: found(" or ".join(f'id eq "{uid}"' for uid in town.uids[:3]))(town), 3),
    "look users up by one value or another": (
        found('userName eq "user7@acme.test" or emails.value eq "user8@acme.test" or externalId eq "00u9"'), 3),
    "look users up by an address, among those who are active": (
        found('active eq true and emails.value eq "user7@acme.test"'), 3),
    "look the groups of a user up": (
        lambda town: found(f'members.value eq "{town.uids[-1]}"', "Groups")(town), 2),
    "look a group up by id": (lambda town: found(f'id eq "{town.sales}"', "Groups")(town), 2),
    "look a group up by externalId": (found('externalId eq "nobody"', "Groups"), 2),
    "look a group up by name": (found('displayName eq "SALES"', "Groups"), 2),
    "test the credentials": (lambda town: ("GET", "/Users?startIndex=1&count=2", None), AT_ONCE + 1),
    "read the first page": (lambda town: ("GET", "/Users?startIndex=1&count=100", None), AT_ONCE + 1),
    "read the first page again": (lambda town: ("GET", "/Users?startIndex=1&count=100", None), AT_ONCE),
    "read the first page of groups, without members": (
        lambda town: ("GET", "/Groups?count=15&excludedAttributes=members", None), 4),
    "read the first page of users and groups": (lambda town: ("GET", "/?count=100", None), 6),
    "read the last users and the first groups by cursor": (
        lambda town: ("GET", f"/?count=15&excludedAttributes=members&cursor={town.cursor}", None), 6),
    "look up by name among users and groups": (
        lambda town: ("GET", "/?filter=" + quote('userName eq "user7@acme.test"'), None), 3),
    "read a user": (lambda town: ("GET", f"/Users/{town.uids[3]}", None), 2),
    "read a group without its members": (
        lambda town: ("GET", f"/Groups/{town.sales}?excludedAttributes=members", None), 2),
    "create a user": (lambda town: ("POST", "/Users", user("new")), 2 if is_postgresql() else 7),
    "replace a user": (lambda town: ("PUT", f"/Users/{town.uids[0]}", user(0, displayName="Other")),
        3 if is_postgresql() else 7),
    "give a user another name": (
        lambda town: ("PUT", f"/Users/{town.uids[4]}", user(4, userName="Other4@acme.test")),
        6 if is_postgresql() else 8),
    "replace a user by the same": (lambda town: ("PUT", f"/Users/{town.uids[1]}", user(1)), 5),
    "deactivate a user": (patched({"op": "replace", "value": {"active": False}}), 3 if is_postgresql() else 6),
    "reactivate a user": (patched({"op": "replace", "value": {"active": True}}), 3 if is_postgresql() else 6),
    "delete a user": (lambda town: ("DELETE", f"/Users/{town.uids[2]}", None), 8 if is_postgresql() else 11),
    "create a user that was deleted": (lambda town: ("POST", "/Users", user(2)), 10 if is_postgresql() else 14),
    "push a group": (lambda town: ("POST", "/Groups", {"schemas": [GROUP], "displayName": "New"}),
        5 if is_postgresql() else 8),
    "rename a group": (patched({"op": "replace", "value": {"displayName": "Sales EMEA"}}, group=True),
        5 if is_postgresql() else 7),
    "add a member": (patched({"op": "add", "path": "members", "value": -1}, group=True), 5 if is_postgresql() else 8),
    "remove a member": (without, 5 if is_postgresql() else 8),
}  # fmt: skip


#: How much of them is read grows with what they find; it is found by an index all the same.
RANGES = {
    "find those who are not active": found("active eq false"),
    "find those who are active": found("active eq true"),
    "find who changed since": found('meta.lastModified gt "2090-01-01T00:00:00Z"'),
    "find who changed from then on": found('meta.lastModified ge "2090-01-01T00:00:00Z"'),
    "find the users of a group": lambda town: found(f'groups.value eq "{town.sales}"')(town),
}


def reckoned(statements):
    """What PostgreSQL expects all of them to cost, in its own unit."""
    return sum(float(re.search(r"cost=[\d.]+\.\.([\d.]+)", plan[0])[1]) for _, plan in statements)


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    """For each operation: its statements with their plans in the large town, and the work in both towns."""
    measured = {name: {} for name in OPERATIONS}
    for users in (SMALL, LARGE):
        town = Town(tmp_path_factory.mktemp(f"town{users}") / "instance", users)
        town.ask(lambda town: ("GET", "/Users?count=1", None))  # what is done once, is done now
        for name, request in RANGES.items():
            with town.recorded() as (statements, ticks):
                town.ask(request)
            measured[name] = {
                "statements": [(sql, town.plan(sql, parameters)) for sql, parameters in statements]
            }
        for name, (request, _) in OPERATIONS.items():
            with town.recorded() as (statements, ticks):
                town.ask(request)
            measured[name]["statements"] = [
                (sql, town.plan(sql, parameters)) for sql, parameters in statements
            ]
            measured[name][users] = reckoned(measured[name]["statements"]) if is_postgresql() else ticks[0]
        town.deployment.close()
    return measured


@pytest.mark.parametrize("name", OPERATIONS | RANGES)
def test_every_statement_is_served_by_an_index(costs, name):
    """No step may go through a whole table or a whole index; only the values of one document are looked through."""
    for sql, plan in costs[name]["statements"]:
        assert [step for step in plan if WHOLE.match(step)] == [], sql


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_request_takes_just_so_many_statements(costs, name):
    statements = [sql for sql, _ in costs[name]["statements"]]
    assert len(statements) == OPERATIONS[name][1], "\n".join(statements)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_request_costs_the_same_in_a_town_ten_times_as_large(costs, name):
    small, large = costs[name][SMALL], costs[name][LARGE]
    # PostgreSQL reckons with deeper indexes, and with more rows for each of a page.
    most = small * (1.6 if is_postgresql() else 1.2) + 5
    assert large <= most, f"{small} ticks with {SMALL} users, {large} with {LARGE}"
