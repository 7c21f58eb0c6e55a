"""What a database holds, for tests that nothing but what they name may change."""

from __future__ import annotations

from gateway.testing import Deployment


def read_tables(deployment: Deployment, *tables: str) -> dict[str, list[str]]:
    """All rows of tables, by table, in an order of their own, which a database need not keep."""
    database = deployment.gateway.store.database
    return {table: sorted(map(repr, database.all(f"SELECT * FROM {table}"))) for table in tables}
