"""Changes of very many users that are made in portions: how far each is, so that a killed process loses none."""

from typing import Any

from peewee import BigIntegerField, ForeignKeyField, Model, PostgresqlDatabase, TextField


class Organization(Model):
    class Meta:
        table_name = "organizations"


class Connection(Model):
    class Meta:
        table_name = "connections"


class LongChange(Model):
    uid = TextField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE")
    connection = ForeignKeyField(Connection, null=True, on_delete="CASCADE")
    kind = TextField()
    path = TextField(default="[]")  # JSON: where in a document the mapped value stands
    after = BigIntegerField(default=0)  # keys of users: those up to here are done
    until = BigIntegerField(default=0)
    done = BigIntegerField(default=0)
    users = BigIntegerField(default=0)
    principal = TextField(null=True)
    request_id = TextField(null=True)
    began = BigIntegerField()
    touched = BigIntegerField()

    class Meta:
        table_name = "long_changes"


def up(migrator: Any, db: Any) -> None:
    if isinstance(db, PostgresqlDatabase):
        for field in LongChange._meta.sorted_fields:
            if isinstance(field, TextField):
                field.collation = '"C"'
    with db.bind_ctx([Organization, Connection, LongChange], bind_refs=False, bind_backrefs=False):
        db.create_tables([LongChange])
