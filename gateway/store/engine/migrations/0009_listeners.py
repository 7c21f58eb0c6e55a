"""Listeners that this database knows: a plugin that is new to it hears of what comes after its installation."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(
        "CREATE TABLE IF NOT EXISTS listeners (plugin TEXT NOT NULL PRIMARY KEY, since BIGINT NOT NULL)"
    )
