"""Blocks of users, by which the list of a connection finds a position (`store.page_positions`)."""

from typing import Any

from peewee import BigIntegerField, CompositeKey, Model, PostgresqlDatabase


class UserBlock(Model):
    connection_id = BigIntegerField()
    organization_id = BigIntegerField(index=True)
    #: The key of its last user; the block before it ends before its first.
    until = BigIntegerField()
    n = BigIntegerField()

    class Meta:
        table_name = "user_blocks"
        primary_key = CompositeKey("connection_id", "until")
        without_rowid = True


def up(migrator: Any, db: Any) -> None:
    if isinstance(db, PostgresqlDatabase):
        UserBlock._meta.without_rowid = False
    with db.bind_ctx([UserBlock]):
        db.create_tables([UserBlock])
