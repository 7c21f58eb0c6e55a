"""Domains of organizations: their names in A-labels, whether each is verified, and when it was looked up last.

A name may wait in many organizations. It is verified for one at most, which a unique index holds.
"""

from __future__ import annotations

from gateway.store.engine.base import Database
from gateway.store.ids_and_time import now
from gateway.store.records import DomainRecord

UNVERIFIED, VERIFIED, LOST = "unverified", "verified", "lost"
BY_DNS, BY_OPERATOR = "dns", "operator"
_COLUMNS = (
    "id, organization_id, name, state, token, verified_by, verified, checked, lost_since, problem, created"
)


class Domains:
    """The domains of all organizations."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def verified(self, organization_id: int) -> frozenset[str]:
        """Return the names that an organization has verified, those included that are lost for less than 30 days."""
        rows = self._db.all(
            "SELECT name FROM domains WHERE organization_id = ? AND state <> ?", organization_id, UNVERIFIED
        )
        return frozenset(row[0] for row in rows)

    def count(self, organization_id: int) -> int:
        """Return how many domains an organization has, verified or not."""
        row = self._db.one("SELECT COUNT(*) FROM domains WHERE organization_id = ?", organization_id)
        return int(row[0]) if row else 0

    def page(self, organization_id: int, after: int, limit: int) -> list[DomainRecord]:
        """Return the domains of an organization after a key, in the order of making."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM domains WHERE organization_id = ? AND id > ? ORDER BY id LIMIT ?",
            *(organization_id, after, limit),
        )
        return [DomainRecord._make(row) for row in rows]

    def by_name(self, organization_id: int, name: str) -> DomainRecord | None:
        """Return a domain of an organization by its A-labels."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM domains WHERE organization_id = ? AND name = ?", organization_id, name
        )
        return DomainRecord._make(row) if row else None

    def holder(self, name: str) -> int | None:
        """Return the key of the organization for which a name is verified or lost."""
        row = self._db.one(
            "SELECT organization_id FROM domains WHERE name = ? AND state <> 'unverified'", name
        )
        return int(row[0]) if row else None

    def add(self, organization_id: int, name: str, token: str) -> bool:
        """Insert an unverified domain; False if the organization has it already."""
        return (
            self._db.run(
                "INSERT INTO domains (organization_id, name, state, token, checked, created)"
                " VALUES (?, ?, ?, ?, 0, ?) ON CONFLICT (organization_id, name) DO NOTHING",
                *(organization_id, name, UNVERIFIED, token, now()),
            )
            > 0
        )

    def remove(self, domain: DomainRecord) -> None:
        """Remove a domain."""
        self._db.run(
            "DELETE FROM domains WHERE organization_id = ? AND id = ?", domain.organization_id, domain.id
        )

    def store(self, before: DomainRecord, after: DomainRecord) -> bool:
        """Store what a check or an operator changed; False if it was changed or removed since `before` was read.

        The engine reports a conflict where another organization has the name verified.
        """
        columns = "state", "verified_by", "verified", "checked", "lost_since", "problem"
        return (
            self._db.run(
                f"UPDATE domains SET {', '.join(f'{name} = ?' for name in columns)}"
                " WHERE organization_id = ? AND id = ? AND state = ? AND checked = ?",
                *(getattr(after, name) for name in columns),
                *(before.organization_id, before.id, before.state, before.checked),
            )
            > 0
        )

    def due(self, before: int, limit: int) -> list[DomainRecord]:
        """Return domains that the DNS verified and that were last looked up before a moment, the longest ago first."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM domains WHERE verified_by = 'dns' AND state <> 'unverified' AND checked < ?"
            " ORDER BY checked LIMIT ?",
            *(before, limit),
        )
        return [DomainRecord._make(row) for row in rows]

    def claim(self, domain: DomainRecord, moment: int) -> DomainRecord | None:
        """Note that this process looks a domain up now; None if another one does or did."""
        claimed = domain._replace(checked=moment)
        return claimed if self.store(domain, claimed) else None
