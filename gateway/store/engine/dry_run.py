"""Databases whose changes are never stored: each transaction is a savepoint of one that is rolled back at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from gateway.store.engine.base import Database, Row
from gateway.store.engine.failures import BUSY_SECONDS
from gateway.store.engine.sqlite import SqliteDatabase
from gateway.store.engine.statements import Steps


class _Discarded(Exception):
    """Ends the transaction of a dry run."""


class _Undone(Exception):
    """Takes a change back of which a required statement returned no row."""


class DryRunDatabase(Database):
    """The database of one dry run in one thread, on a connection of its own.

    The first transaction locks the organization, as any change of it does; what only reads locks nothing.
    """

    _organization_id = 0
    _outer: AbstractContextManager[None] | None = None
    _inside = False
    #: Seats in use and number of the newest event, as the first transaction met them; None while there was none.
    before: tuple[int, int] | None = None

    @contextmanager
    def transaction(
        self, patience: float = BUSY_SECONDS, organization_id: int | None = None
    ) -> Iterator[None]:
        """See Database."""
        if self._inside:
            yield
            return
        self._begin_dry_run(patience)
        self.run("SAVEPOINT dry_run")
        self._inside = True
        try:
            yield
        except BaseException:
            self.run("ROLLBACK TO SAVEPOINT dry_run")
            raise
        finally:
            self._inside = False
            self.run("RELEASE SAVEPOINT dry_run")

    def _begin_dry_run(self, patience: float) -> None:
        if self._outer is not None:
            return
        outer = super().transaction(patience, self._organization_id)  # type: ignore[safe-super]
        outer.__enter__()
        self._outer = outer
        self._mark_session()
        row = self.one("SELECT seats_used, event_seq FROM organizations WHERE id = ?", self._organization_id)
        self.before = (row[0], row[1]) if row else None

    def _mark_session(self) -> None:
        """Have the engine take no number of a sequence in this transaction."""

    def run_change(self, steps: Steps) -> Row | None:
        """See Database."""
        if self._inside:
            return super().run_change(steps)  # type: ignore[safe-super]
        with suppress(_Undone), self.transaction():
            row = super().run_change(steps)  # type: ignore[safe-super]
            if row is None:
                raise _Undone
            return row
        return None

    @contextmanager
    def _ending(self, until: float) -> Iterator[None]:
        """See Database. A transaction that is open already has the limit of every transaction."""
        if self._outer is not None:
            yield
            return
        with super()._ending(until):  # type: ignore[safe-super]
            yield

    def discard(self) -> None:
        """Roll back whatever was done, and close the connection."""
        outer, self._outer = self._outer, None
        try:
            if outer is not None:
                outer.__exit__(_Discarded, _Discarded(), None)
        finally:
            self.close()


class _DryRunSqlite(DryRunDatabase, SqliteDatabase):
    def __init__(self, database: SqliteDatabase, organization_id: int) -> None:
        super().__init__(database.path, "NORMAL")
        # One queue of writers for both, as SqliteDatabase has its reasons for one.
        self._writers, self._organization_id = database.writers, organization_id


def open_dry_run(database: Database, organization_id: int) -> DryRunDatabase:
    """Return a database for one dry run on what another one stores; it connects on first use."""
    if isinstance(database, SqliteDatabase):
        return _DryRunSqlite(database, organization_id)
    from gateway.store.engine.postgresql import PostgresqlDatabase  # late: its driver is an extra

    class DryRunPostgresql(DryRunDatabase, PostgresqlDatabase):
        def _mark_session(self) -> None:
            # A sequence is not rolled back: migration 0013 has the keys of new rows made otherwise then.
            self.run("SELECT set_config('gateway.dry_run', 'on', true)")

    assert isinstance(database, PostgresqlDatabase)
    dry_run = DryRunPostgresql(database.url)
    dry_run._organization_id = organization_id
    return dry_run
