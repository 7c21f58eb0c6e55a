"""The console: links that open it once, and the sessions of the people who are signed in."""

from typing import Any

from peewee import AutoField, BigIntegerField, ForeignKeyField, Model, PostgresqlDatabase, TextField


class Organization(Model):
    class Meta:
        table_name = "organizations"


class AdminToken(Model):
    class Meta:
        table_name = "admin_tokens"


class ConsoleLink(Model):
    id = AutoField()
    uid = TextField(unique=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE")
    kind = TextField()  # setup, console
    digest = TextField(unique=True)
    email = TextField(null=True)
    person = TextField()
    role = TextField()
    rights = TextField()  # JSON: names of rights
    return_url = TextField(null=True)
    created = BigIntegerField()
    created_by = TextField(null=True)
    expires = BigIntegerField()
    used = BigIntegerField(null=True)
    used_from = TextField(null=True)
    revoked = BigIntegerField(null=True)

    class Meta:
        table_name = "console_links"


class ConsoleSession(Model):
    id = AutoField()
    uid = TextField(unique=True)
    digest = TextField(unique=True)
    organization = ForeignKeyField(Organization, null=True, on_delete="CASCADE")
    link = ForeignKeyField(ConsoleLink, null=True, on_delete="CASCADE")
    admin_token = ForeignKeyField(AdminToken, null=True, on_delete="SET NULL")
    source = TextField()  # link, token, configured <digest>, oidc <issuer>
    person = TextField()
    role = TextField()
    rights = TextField()
    return_url = TextField(null=True)
    created = BigIntegerField()
    seen = BigIntegerField()
    expires = BigIntegerField()
    ended = BigIntegerField(null=True)
    address = TextField(null=True)
    sealed = TextField(null=True)  # what the next page shows once, encrypted with the cookie

    class Meta:
        table_name = "console_sessions"


def up(migrator: Any, db: Any) -> None:
    models = [ConsoleLink, ConsoleSession]
    if isinstance(db, PostgresqlDatabase):
        for model in models:
            for field in model._meta.sorted_fields:
                if isinstance(field, TextField):
                    field.collation = '"C"'
    with db.bind_ctx([Organization, AdminToken, *models], bind_refs=False, bind_backrefs=False):
        db.create_tables(models)
