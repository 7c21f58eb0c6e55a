"""PostgreSQL: any number of nodes, writers of one organization one after the other."""

from __future__ import annotations

import re
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import lru_cache
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.pq import TransactionStatus

from gateway.scim.errors import InvalidValue, NotFound, Unavailable
from gateway.store.engine.base import (
    Database,
    Overrun,
    Row,
    UnusableDatabase,
    Weight,
    WriteConflict,
    unavailable,
)
from gateway.store.engine.dialects import PostgresqlDialect
from gateway.store.engine.failures import BUSY_SECONDS, Outage
from gateway.store.engine.postgresql_urls import (
    TIMEOUTS,
    check_url,
    describe_url,
    explain_failure,
    explain_missing_right,
    iterate_servers,
)
from gateway.store.engine.statements import Steps, joined

# The beginning of an SQLSTATE (PostgreSQL's appendix A), when the machine, not the statement, is at fault.
_OUTAGES = {
    "08": "the database does not answer",
    "25006": "the database is read-only",
    "53100": "the disk is full",
    "53300": "the database has no connection left",
    "53": "the database lacks memory or disk",
    "55P03": "the database is busy",
    "57P": "the database is being restarted",
    "58": "the disk does not answer",
}
# What does not pass by itself.
_LASTING = ("25006", "53100")
# What a server says to one connection too many (53300), which libpq gives as a text alone; the last is pgbouncer.
_FULL = re.compile(
    "too many clients|too many connections|connection slots are reserved|no more connections allowed"
)
# Two writers were in each other's way (serialization, deadlock, one value claimed by both): one of them begins anew.
_CONFLICTS = ("40001", "40P01", "23505")
# The server's error (XX000) for a writer that changes a row in the moment in which another change of it is given up,
# while a third one refers to it: what ends counts as ended where it is waited for, and not yet where it is recorded.
_CAUGHT_ENDING = "new multixact has more than one updating member"
#: Asked for in the place of a text with NUL, which PostgreSQL does not take: nothing that is stored is equal to either.
_ODD = secrets.token_hex(16)
_HOLD = "SELECT 1 FROM organizations WHERE id = {:d} FOR NO KEY UPDATE"
# Seconds that a statement may take. A COMMIT that waits for a standby is never cut short by this.
_LONGEST = 30
# The server's process, whether it writes, and whether its statements may take for ever. Where the number reported at
# login is the server's own, the session is ours: from now on they may not, nor wait for each other for ever.
_WHO = """SELECT pg_backend_pid(), current_setting('transaction_read_only'), current_setting('statement_timeout') = '0',
    CASE WHEN pg_backend_pid() = {told:d} THEN set_config('lock_timeout', '{wait:d}s', false) END,
    CASE WHEN pg_backend_pid() = {told:d} AND {ours} AND current_setting('statement_timeout') = '0'
    THEN set_config('statement_timeout', '{longest:d}s', false) END"""
# Seconds until who waits to migrate looks again.
_AGAIN = 0.1
_USUAL_LENGTH = 4096
_TOKEN = re.compile(r"'(?:[^']|'')*'|[?%]")


class _Flag(Dumper):
    """Yes and no are stored as 1 and 0."""

    oid = psycopg.postgres.types["int2"].oid

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"


class _Connection(psycopg.Connection[Any]):
    #: Follows BEGIN: what cannot be set for a session that others have as well.
    limit: tuple[str, ...] = ()
    #: Whether nobody else has the session.
    own = True

    @classmethod
    def to(cls, url: str, *, autocommit: bool = False) -> _Connection:
        """Connect to the server that the URL means; give up one that does not answer."""
        parameters = TIMEOUTS | conninfo_to_dict(url)
        if parameters.get("target_session_attrs") not in ("read-write", "primary"):
            return cls._asked(parameters, autocommit)[0]
        # libpq believes what was reported at login, and a pooler reports what its server was at its last check. So each
        # server itself is asked, one after the other.
        del parameters["target_session_attrs"]
        failure: psycopg.Error | None = None
        for server in iterate_servers(parameters):
            try:
                connection, read_only = cls._asked(server, autocommit)
            except psycopg.Error as error:
                failure = failure or error
                continue
            if not read_only:
                return connection
            connection.close()
            if failure is None or not _FULL.search(str(failure)):
                failure = ReadOnlySqlTransaction("Only a standby answers.")
        assert failure
        raise failure

    @classmethod
    def _asked(cls, parameters: dict[str, Any], autocommit: bool) -> tuple[_Connection, bool]:
        """Return a new connection, and whether it only reads. It prepares no statement where a pooler may lose it."""
        connection = cls.connect("", autocommit=True, **parameters)
        connection.adapters.register_dumper(bool, _Flag)
        # What the URL says of it wins, also that there is no end.
        ours = "statement_timeout" not in str(parameters.get("options"))
        reported = connection.info.backend_pid
        who = _WHO.format(told=reported, wait=int(BUSY_SECONDS), ours=ours, longest=_LONGEST)
        row = connection.execute(who, prepare=False).fetchone()
        number, read_only, endless, *_ = row or (0, "off", False)
        # A pooler makes its own number up. In transaction mode it gives the next transaction another session, which
        # has not seen what was prepared; and it does not report whether it is in that mode.
        if number != reported:
            connection.prepare_threshold, connection.own = None, False
            connection.limit = (f"SET LOCAL statement_timeout = '{_LONGEST}s'",) if endless and ours else ()
        connection.autocommit = autocommit
        return connection, read_only == "on"

    def __del__(self, *_: Any) -> None:
        # A thread that ended leaves its connection behind: closed quietly, not reported as an oversight.
        self.pgconn.finish()


class _Engine(peewee.PostgresqlDatabase):
    _state: Any

    def __init__(self, url: str) -> None:
        super().__init__(url, prefer_psycopg3=True)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Outside of peewee's lock: threads would wait for a server that is silent one after the other."""
        if self._state.closed:
            self._state.opened = _Connection.to(self.database, autocommit=True)
        return bool(super().connect(reuse_if_open))

    def _connect(self) -> _Connection:
        opened, self._state.opened = self._state.opened, None
        return opened  # type: ignore[no-any-return]

    def lost(self) -> bool:
        """Whether the connection of this thread is gone; the next statement then opens another one."""
        if self._state.closed or not self._state.conn.closed:
            return False
        self._state.reset()
        return True

    @contextmanager
    def leaving_a_standby(self) -> Iterator[None]:
        """Behind a pooler a connection may outlive the primary that it led to; the next one looks for the new one."""
        try:
            yield
        except (psycopg.Error, peewee.PeeweeException) as error:
            stands_by = getattr(_cause(error), "sqlstate", None) == ReadOnlySqlTransaction.sqlstate
            if stands_by and not self._state.closed:
                self._state.conn.close()
            raise

    def begin(self, isolation_level: Any = None) -> None:
        """BEGIN, unless `PostgresqlDatabase.transaction` sent it together with its locks."""
        if self._state.conn.info.transaction_status == TransactionStatus.IDLE:
            super().begin(isolation_level)

    def commit(self) -> None:
        connection = self._state.conn
        with _doubted(connection):
            connection.execute("COMMIT", prepare=False)

    def rollback(self) -> None:
        if not self._state.conn.closed:
            super().rollback()


@contextmanager
def _doubted(connection: _Connection) -> Iterator[None]:
    """Mark a failure within as one after which the statement may be stored although the server does not answer."""
    try:
        yield
    except psycopg.OperationalError:
        if connection.closed:
            raise Outage(
                "the database was lost",
                "The database was lost while it stored this: it may have been stored or not. Look before you try"
                " again.",
            ) from None
        raise


class PostgresqlDatabase(Database):
    """A server, or several in one URL of which the primary is meant (`target_session_attrs=read-write`)."""

    held = " FOR NO KEY UPDATE"

    def __init__(self, url: str) -> None:
        check_url(url)
        self._url = url
        # One for all: it keeps nothing, and it is around every statement.
        self._refusing = _Outages(url)
        self._engine = _Engine(url)
        super().__init__(self._engine, PostgresqlDialect())

    @property
    def url(self) -> str:
        """The URL, with its password."""
        return self._url

    @contextmanager
    def transaction(
        self, patience: float = BUSY_SECONDS, organization_id: int | None = None
    ) -> Iterator[None]:
        """See Database. The lock of an organization is that of its row."""
        opening = [] if organization_id is None else [_HOLD.format(organization_id)]
        if self.peewee.in_transaction():
            for sql in opening:
                self.run(sql)
            yield
            return
        with self._outages(), self._engine.leaving_a_standby():
            self._begin(patience, *opening)
            with self.peewee.atomic():
                yield

    def _begin(self, patience: float, *opening: str) -> None:
        """Begin with these statements, in one message and for one answer."""
        wait = f"SET LOCAL lock_timeout = {int(patience * 1000)}"
        again = True
        while True:
            self._engine.lost()
            connection = self.peewee.connection()
            try:
                limits = () if connection.own and patience == BUSY_SECONDS else (wait, *connection.limit)
                connection.execute("; ".join(("BEGIN", *limits, *opening)), prepare=False)
                return
            except psycopg.Error:
                # The server went away while nothing was asked of it: nothing is lost by asking again.
                if not connection.closed:
                    connection.rollback()
                    raise
                if not again:
                    raise
                again = False

    def run_change(self, steps: Steps) -> Row | None:
        """See Database. One statement; where the session is ours it needs neither BEGIN nor COMMIT."""
        sql, places = joined(tuple(step.statement for step in steps))
        given = {step.statement.name: step.parameters for step in steps}
        values = [given[name or ""][parameter] for name, parameter in places]
        self._engine.lost()
        with self._outages():
            connection = self.peewee.connection()
        if connection.own and not self.peewee.in_transaction():
            with self._outages(), self._engine.leaving_a_standby(), _doubted(connection):
                return connection.execute(sql, values).fetchone()  # type: ignore[no-any-return]
        with self.transaction(), self._outages():
            return self.peewee.connection().execute(sql, values).fetchone()  # type: ignore[no-any-return]

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See Database."""
        super().run_many(_translated(sql), rows)

    def _execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        text = _translated(sql)
        if sql.startswith("SELECT"):
            parameters = [_ODD if isinstance(value, str) and "\0" in value else value for value in parameters]
        with self._outages():
            self._engine.lost()
            try:
                return self.peewee.connection().execute(text, parameters)
            except psycopg.OperationalError:
                if self.peewee.in_transaction() or not sql.startswith("SELECT") or not self._engine.lost():
                    raise
                return self.peewee.connection().execute(text, parameters)

    def fitting(
        self, until: float | None, weight: Weight, size: int, sql: str, *parameters: Any
    ) -> tuple[list[Row], bool]:
        """Implement Database.fitting by a statement that leaves out the documents beyond.

        The driver loads all rows of a result, so the statement returns NULL for them; the length of a text is known
        without reading it.
        """
        weighed = "octet_length(doc)" + (f" + {weight.each} * {weight.counted}" if weight.counted else "")
        shown = [
            f"CASE WHEN before < {int(size)} THEN doc END" if name == "doc" else name
            for name in weight.columns
        ]
        rows = self.all_before(
            until,
            f"SELECT {', '.join(shown)} FROM (SELECT page.*, SUM({weighed}) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING)"
            f" - ({weighed}) AS before FROM ({sql}) page) weighed ORDER BY id",
            *parameters,
        )
        place = weight.columns.index("doc")
        held = next((number for number, row in enumerate(rows) if row[place] is None), len(rows))
        return rows[:held], held < len(rows)

    @contextmanager
    def _ending(self, until: float) -> Iterator[None]:
        """See Database. The limit is that of a transaction, which a pooler keeps whole."""
        left = max(1, int((until - time.monotonic()) * 1000))
        with self._outages(), self._engine.leaving_a_standby():
            self._begin(BUSY_SECONDS, f"SET LOCAL statement_timeout = {left}")
            with self.peewee.atomic():
                yield

    def limit_waits(self, seconds: float | None) -> None:
        """See Database. Writers of one organization alone wait for each other."""

    @contextmanager
    def only_one(self, task: str) -> Iterator[bool]:
        """See Database. A transaction of its own holds the lock, which a pooler in transaction mode keeps whole."""
        with self._outages():
            connection = _Connection.to(self._url)
        # Closed rather than committed: a lock that was lost meanwhile is nobody's error.
        with closing(connection):
            with self._outages():
                mine = _taken(connection, task)
            yield mine

    @contextmanager
    def _migrating(self) -> Iterator[None]:
        with closing(_Connection.to(self._url)) as connection:
            # Asked again and again: a statement that waits has a snapshot, and an index that is built CONCURRENTLY
            # waits for that. Both would wait for ever.
            while not _taken(connection, "migrate"):
                connection.rollback()
                time.sleep(_AGAIN)
            yield

    @contextmanager
    def altering(self) -> Iterator[None]:
        """See Database."""
        with super().altering():
            self.run("SET LOCAL statement_timeout = 0")
            yield

    def index(self, name: str, table: str, columns: str, where: str = "") -> None:
        """See Database. While it is built, writers go on."""
        with self._unhurried() as connection:
            sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
            found = connection.execute(sql, [name]).fetchone()
            if found and found[0]:
                return
            if found:  # its build was stopped, and nothing reads from it
                connection.execute(f"DROP INDEX CONCURRENTLY {name}")
            connection.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON {table} ({columns}){where and f' WHERE {where}'}"
            )

    def drop_index(self, name: str) -> None:
        """See Database."""
        with self._unhurried() as connection:
            connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    @contextmanager
    def _unhurried(self) -> Iterator[_Connection]:
        """Open a connection without limits of time, on which each statement is a transaction."""
        with self._outages(), closing(_Connection.to(self._url, autocommit=True)) as connection:
            if connection.prepare_threshold is not None:  # the session is ours
                connection.execute("SET statement_timeout = 0; SET lock_timeout = 0", prepare=False)
            yield connection

    def sessions(self) -> int | None:
        """See Database. What a pooler gives is not known."""
        with self._outages():
            if self.peewee.connection().prepare_threshold is None:
                return None
        names = ("max_connections", "superuser_reserved_connections")
        row = self.one("SELECT " + " - ".join(f"current_setting('{name}')::integer" for name in names))
        return int(row[0]) if row else None

    def _outages(self) -> AbstractContextManager[None]:
        return self._refusing

    @property
    def place(self) -> str:
        """See Database. The servers in the order in which they are asked."""
        return describe_url(self._url)

    def check(self) -> None:
        """See Database. The server reports its encoding at login."""
        encoding = self.peewee.connection().info.parameter_status("server_encoding")
        if encoding not in (None, "UTF8"):
            raise UnusableDatabase(
                f"The database at {self.place} has the encoding {encoding}, which cannot hold every name. Make one in"
                " UTF-8: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'."
            )

    def explain_failure(self) -> str | None:
        """See Database."""
        return explain_failure(self._url)


class _Outages:
    """Around every statement: turns the driver's errors into outages, conflicts and refusals."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        cause = _cause(error)
        if not isinstance(cause, psycopg.Error):
            return
        state = cause.sqlstate
        if state in _CONFLICTS or _CAUGHT_ENDING in str(cause):
            raise WriteConflict from None
        if isinstance(cause, psycopg.DataError) and "NUL" in str(cause):
            raise InvalidValue(
                "A text here holds a NUL character, which nothing that is stored has."
            ) from None
        if state == "23503":
            raise NotFound("What this request is about was removed meanwhile.") from None
        if state is None and isinstance(cause, psycopg.OperationalError):
            state = "53300" if _FULL.search(str(cause)) else "08"
        if state == "42501":
            raise UnusableDatabase(explain_missing_right(self._url, cause)) from None
        if state == "57014":
            raise Overrun(unavailable("the database takes too long").detail, retry_after=10) from None
        outage = next((words for start, words in _OUTAGES.items() if (state or "").startswith(start)), None)
        if (
            state == "55P03" and outage
        ):  # writers of one organization wait for each other; the others are served
            raise Unavailable(unavailable(outage).detail, retry_after=10) from None
        if outage:
            raise unavailable(outage, lasts=state in _LASTING) from None


def _cause(error: BaseException | None) -> BaseException | None:
    """Return the driver's error."""
    while isinstance(error, peewee.PeeweeException) and error.__context__:
        error = error.__context__
    return error


def _translated(sql: str) -> str:
    """`?` becomes `%s`, outside of texts, and `%` what stands for itself."""
    # Of statements that clients make with long filters none is kept.
    return _usual(sql) if len(sql) < _USUAL_LENGTH else _placeholders(sql)


def _placeholders(sql: str) -> str:
    return _TOKEN.sub(lambda token: "%s" if token[0] == "?" else token[0].replace("%", "%%"), sql)


_usual = lru_cache(maxsize=2048)(_placeholders)


def _taken(connection: _Connection, task: str) -> bool:
    """Whether the advisory lock of a task is this connection's, until its transaction ends."""
    # Without a parameter: what is sent with one keeps its snapshot until the transaction ends, which may be long, and
    # no row that was replaced since could be cleared away.
    row = connection.execute(f"SELECT pg_try_advisory_xact_lock({_number(task)})", prepare=False).fetchone()
    return bool(row and row[0])


def _number(task: str) -> int:
    """Of an advisory lock."""
    return zlib.crc32(f"provisioning-gateway {task}".encode())
