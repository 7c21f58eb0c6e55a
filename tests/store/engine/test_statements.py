"""Changes as lists of named statements: every engine does the same with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.store.engine.statements import RowUpdate, Statement, Step
from gateway.testing import Deployment
from gateway.testing.engines import is_postgresql

TAKE = RowUpdate(
    "take",
    "boxes",
    (("used", "used + :n"),),
    "id = :box AND used + :n <= size",
    ("used", "size"),
    fresh=("size",),
)
ADD = Statement(
    "add",
    "INSERT INTO things (box, name) SELECT :box, :name WHERE :go ON CONFLICT DO NOTHING",
    ("name",),
    required=True,
)
NOTE = Statement("note", "INSERT INTO notes (text, n) SELECT :text, :take.used - :less WHERE :go")


@pytest.fixture
def boxes(deployment: Deployment) -> Iterator[Any]:
    """A database with two boxes, of three and of no things."""
    database = deployment.gateway.store.database
    for sql in (
        "CREATE TABLE boxes (id INTEGER PRIMARY KEY, used INTEGER, size INTEGER)",
        "CREATE TABLE things (box INTEGER, name TEXT UNIQUE)",
        "CREATE TABLE notes (text TEXT, n INTEGER)",
        "INSERT INTO boxes (id, used, size) VALUES (1, 0, 3), (2, 0, 0)",
    ):
        database.run(sql)
    yield database
    for table in ("boxes", "things", "notes"):
        database.run(f"DROP TABLE {table}")


def fill(box: int, name: str) -> list[Step]:
    """A change: a thing into a box, and notes of it."""
    notes = [
        Step(NOTE._replace(name=f"note_{less}"), {"text": f"{name}, 100 % :now ''", "less": less})
        for less in (1, 0)
    ]
    return [Step(TAKE, {"box": box, "n": 1}), Step(ADD, {"box": box, "name": name}), *notes]


def stored(database: Any) -> tuple[list[int], int, list[int]]:
    """What the boxes hold, the things, and the numbers that were noted."""
    used = [row[0] for row in database.all("SELECT used FROM boxes ORDER BY id")]
    things = database.one("SELECT COUNT(*) FROM things")[0]
    return used, things, sorted(row[0] for row in database.all("SELECT n FROM notes"))


def test_change_returns_the_row_of_its_last_required_statement(boxes: Any) -> None:
    assert boxes.run_change(fill(1, "a")) == ("a",)
    assert boxes.run_change(fill(1, "b")) == ("b",)
    assert stored(boxes) == ([2, 0], 2, [0, 1, 1, 2])
    assert boxes.run_change([Step(TAKE, {"box": 1, "n": 1})]) == (3, 3)


@pytest.mark.parametrize(("box", "name"), [(2, "new"), (3, "new"), (1, "taken")])
def test_change_writes_nothing_where_a_required_statement_returns_no_row(
    boxes: Any, box: int, name: str
) -> None:
    boxes.run_change(fill(1, "taken"))
    before = stored(boxes)
    assert boxes.run_change(fill(box, name)) is None
    assert stored(boxes) == before


def test_change_inside_a_transaction_ends_with_it(boxes: Any) -> None:
    def fill_and_fail() -> None:
        with boxes.transaction():
            assert boxes.run_change(fill(1, "a")) == ("a",)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill_and_fail()
    assert stored(boxes) == ([0, 0], 0, [])
    with boxes.transaction():
        assert boxes.run_change(fill(1, "a")) == ("a",)
        assert (
            boxes.run_change([Step(NOTE._replace(sql="DELETE FROM notes WHERE n = :n AND :go"), {"n": 0})])
            is not None
        )
    assert stored(boxes) == ([1, 0], 1, [1])


def test_change_reads_lists(boxes: Any) -> None:
    dialect = boxes.dialect
    add = Statement(
        "add", f"INSERT INTO things (box, name) SELECT :box, value FROM {dialect.each('names')} WHERE :go"
    )
    drop = Statement("drop", f"DELETE FROM things WHERE {dialect.one_of('name', 'names')} AND :go")
    boxes.run_change([Step(add, {"box": 1, "names": ["a", "ä'\"", "c", "%s"]})])
    boxes.run_change([Step(drop, {"names": ["c", "x"]})])
    assert {row[0] for row in boxes.all("SELECT name FROM things")} == {"a", "ä'\"", "%s"}


# What the most frequent operations cost ----------------------------------------------------------------------------


@contextmanager
def counted(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The messages to PostgreSQL, or the statements of SQLite without those that begin or end a transaction."""
    connection, sent = deployment.gateway.store.database.peewee.connection(), list[str]()
    if not is_postgresql():
        begins = ("PRAGMA", "BEGIN", "COMMIT")
        connection.set_trace_callback(lambda sql: None if sql.startswith(begins) else sent.append(sql))
        yield sent
        connection.set_trace_callback(None)
        return
    execute = type(connection).execute

    def listen(self: Any, sql: Any, *arguments: Any, **named: Any) -> Any:
        sent.append(sql)
        return execute(self, sql, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(type(connection), "execute", listen)
        yield sent


DEACTIVATE = {"op": "replace", "value": {"active": False}}


@pytest.mark.parametrize(
    ("operation", "postgresql", "sqlite"),
    [
        ("create", 2, 6),
        ("deactivate", 3, 6),
        ("delete", 9, 10),
        ("create a group", 7, 8),
    ],
)
def test_statements_of_operations(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, operation: str, postgresql: int, sqlite: int
) -> None:
    scim = deployment.connection("generic")
    user, other = (scim.user(f"{name}@acme.test")["id"] for name in ("one", "other"))
    operations: dict[str, Callable[[], Any]] = {
        "create": lambda: scim.user("new@acme.test"),
        "deactivate": lambda: scim.patch(f"/Users/{user}", DEACTIVATE),
        "delete": lambda: scim.call("DELETE", f"/Users/{other}"),
        "create a group": lambda: scim.group("Sales"),
    }
    with counted(deployment, monkeypatch) as sent:
        operations[operation]()
    # The first one is the test's own: it reads the slug of the connection.
    assert len(sent) - 1 == (postgresql if is_postgresql() else sqlite), "\n".join(sent)
