"""PostgreSQL: any number of nodes, writers of one organization one after the other."""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import lru_cache
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from gateway.scim.errors import InvalidValue, NotFound, Unavailable
from gateway.store.database import BUSY_SECONDS, Database, Stale, unavailable
from gateway.store.dialects import PostgresqlDialect

# The beginning of an SQLSTATE (PostgreSQL's appendix A), when the machine, not the statement, is at fault.
_OUTAGES = {
    "08": "the database does not answer",
    "25006": "the database is read-only",
    "53100": "the disk is full",
    "53300": "the database has no connection left",
    "53": "the database lacks memory or disk",
    "55P03": "the database is busy",
    "57014": "the database takes too long",
    "57P": "the database is being restarted",
    "58": "the disk does not answer",
}
# Two writers were in each other's way (serialization, deadlock, one value taken by both): one of them begins anew.
_CONFLICTS = ("40001", "40P01", "23505")
#: Seconds until a server that does not answer is given up, where the URL does not say.
_CONNECT_SECONDS = 5
#: Asked for in the place of a text with NUL, which PostgreSQL does not take: nothing that is stored is equal to either.
_ODD = secrets.token_hex(16)
_TOKEN = re.compile(r"'(?:[^']|'')*'|[?%]")


class _Flag(Dumper):
    """Yes and no are stored as 1 and 0."""

    oid = psycopg.postgres.types["int2"].oid

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"


class _Connection(psycopg.Connection[Any]):
    def __del__(self, *_: Any) -> None:
        # A thread that ended leaves its connection behind: closed quietly, not told as an oversight.
        self.pgconn.finish()


class _Engine(peewee.PostgresqlDatabase):
    _state: Any

    def __init__(self, url: str) -> None:
        super().__init__(url, prefer_psycopg3=True)
        self._options: dict[str, Any] = (
            {} if "connect_timeout" in conninfo_to_dict(url) else {"connect_timeout": _CONNECT_SECONDS}
        )

    def _connect(self) -> _Connection:
        connection = _Connection.connect(self.database, autocommit=True, **self._options)
        connection.adapters.register_dumper(bool, _Flag)
        return connection

    def lost(self) -> bool:
        """Whether the connection of this thread is gone; the next statement then opens another one."""
        if self._state.closed or not self._state.conn.closed:
            return False
        self._state.reset()
        return True

    def begin(self, isolation_level: Any = None) -> None:
        """BEGIN, unless `PostgresqlDatabase.transaction` sent it together with its locks."""
        if self._state.conn.info.transaction_status == TransactionStatus.IDLE:
            super().begin(isolation_level)

    def commit(self) -> None:
        try:
            super().commit()
        except peewee.OperationalError:
            if self._state.conn.closed:
                raise Unavailable(
                    "The database was lost while it stored this: it may have been stored or not. Look before you try"
                    " again.",
                    retry_after=10,
                ) from None
            raise

    def rollback(self) -> None:
        if not self._state.conn.closed:
            super().rollback()


class PostgresqlDatabase(Database):
    """A server, or several in one URL of which the primary is meant (`target_session_attrs=read-write`)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = _Engine(url)
        super().__init__(self._engine, PostgresqlDialect())

    @contextmanager
    def transaction(
        self, patience: float = BUSY_SECONDS, organization_id: int | None = None
    ) -> Iterator[None]:
        """See Database. The lock of an organization is that of its row."""
        if self.peewee.in_transaction():
            if organization_id is not None:
                self._hold(organization_id)
            yield
            return
        with self._outages():
            self._begin(f"BEGIN; SET LOCAL lock_timeout = {int(patience * 1000)}")
            with self.peewee.atomic():
                if organization_id is not None:
                    self._hold(organization_id)
                yield

    def _begin(self, sql: str) -> None:
        try:
            self._send(sql)
        except psycopg.OperationalError:
            # The server went away while nothing was asked of it: nothing is lost by asking again.
            if not self._engine.lost():
                raise
            self._send(sql)

    def _send(self, sql: str) -> None:
        self._engine.lost()
        self.peewee.connection().execute(sql, prepare=False)

    def _hold(self, organization_id: int) -> None:
        self.run("SELECT 1 FROM organizations WHERE id = ? FOR NO KEY UPDATE", organization_id)

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
                return self.peewee.execute_sql(text, parameters)
            except peewee.OperationalError:
                if self.peewee.in_transaction() or not sql.startswith("SELECT") or not self._engine.lost():
                    raise
                return self.peewee.execute_sql(text, parameters)

    @contextmanager
    def only_one(self, task: str) -> Iterator[bool]:
        """See Database. A transaction of its own holds the lock, which a pooler in transaction mode keeps whole."""
        with self._outages():
            connection = _Connection.connect(self._url)
        # Closed rather than committed: a lock that was lost meanwhile is nobody's error.
        with closing(connection):
            with self._outages():
                found = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_number(task)]).fetchone()
            yield bool(found and found[0])

    @contextmanager
    def _migrating(self) -> Iterator[None]:
        with closing(_Connection.connect(self._url)) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_number("migrate")])
            yield

    def _outages(self) -> AbstractContextManager[None]:
        return _Outages()


class _Outages:
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        cause: Any = error
        while isinstance(cause, peewee.PeeweeException) and cause.__context__:
            cause = cause.__context__
        if not isinstance(cause, psycopg.Error):
            return
        state = cause.sqlstate
        if state in _CONFLICTS:
            raise Stale from None
        if isinstance(cause, psycopg.DataError) and "NUL" in str(cause):
            raise InvalidValue(
                "A text here holds a NUL character, which nothing that is stored has."
            ) from None
        if state == "23503":
            raise NotFound("What this request is about was removed meanwhile.") from None
        if state is None and isinstance(cause, psycopg.OperationalError):
            state = "08"
        outage = next((words for start, words in _OUTAGES.items() if (state or "").startswith(start)), None)
        if outage:
            raise unavailable(outage) from None


@lru_cache(maxsize=4096)
def _translated(sql: str) -> str:
    """`?` becomes `%s`, outside of texts, and `%` what stands for itself."""
    return _TOKEN.sub(lambda token: "%s" if token[0] == "?" else token[0].replace("%", "%%"), sql)


def _number(task: str) -> int:
    """Of an advisory lock."""
    return zlib.crc32(f"provisioning-gateway {task}".encode())
