"""The first schema. Times are microseconds since 1970; `uid` is the id that the outside sees, `id` the order of making.

Yes and no are 1 and 0, so that every engine compares them alike. A `…_key` column holds a name as it is compared: NFC,
lower case by Python, NFC, for engines fold letters differently.
"""

from typing import Any

from peewee import (
    SQL,
    AutoField,
    BigAutoField,
    BigIntegerField,
    CompositeKey,
    Field,
    ForeignKeyField,
    IntegerField,
    Model,
    PostgresqlDatabase,
    SmallIntegerField,
    TextField,
)


class Folded(Field):
    """A document as it is compared: every name and text of it folded. JSONB where there is such a type, else text."""

    field_type = "JSON"


class Table(Model):
    created = BigIntegerField()
    modified = BigIntegerField()
    version = BigIntegerField(default=1)


class Organization(Table):
    id = AutoField()
    uid = TextField(unique=True)
    name = TextField()
    plan = TextField()
    domains = TextField(default="[]")
    seat_limit = BigIntegerField(null=True)
    seats_used = BigIntegerField(default=0)
    payment = TextField()
    billing_url = TextField(null=True)
    contact_url = TextField(null=True)
    sso = TextField(null=True)  # JSON: entity_id, sign_on_url, certificate_expires_at
    # Counts up with everything that plugins judge by: plan, limit, billing, mapping. An answer of a plugin holds only
    # while this number stands.
    policy = BigIntegerField(default=1)
    event_seq = BigIntegerField(default=0)
    # How many users were ever deleted: whoever looked for one to restore before this moved may have missed it.
    removals = BigIntegerField(default=0)
    # How many changes there were of who is in which group, and of groups' names: whoever read the groups of a user
    # before this moved may have old ones.
    moves = BigIntegerField(default=0)

    class Meta:
        table_name = "organizations"


class Connection(Table):
    id = AutoField()
    uid = TextField(unique=True)
    slug = TextField(unique=True)
    organization = ForeignKeyField(Organization)
    idp = TextField()
    name = TextField()
    settings = TextField(default="{}")
    provisioning = SmallIntegerField(default=0)
    mapping_enabled = SmallIntegerField(default=0)
    mapping_attribute = TextField(null=True)

    class Meta:
        table_name = "connections"


class Token(Model):
    id = AutoField()
    uid = TextField(unique=True)
    connection = ForeignKeyField(Connection, on_delete="CASCADE")
    label = TextField()
    prefix = TextField()
    digest = TextField(unique=True)
    created = BigIntegerField()
    expires = BigIntegerField(null=True)
    last_used = BigIntegerField(null=True)

    class Meta:
        table_name = "tokens"


class AdminToken(Model):
    id = AutoField()
    uid = TextField(unique=True)
    name = TextField()
    organization = ForeignKeyField(Organization, null=True, on_delete="CASCADE")
    prefix = TextField()
    digest = TextField(unique=True)
    created = BigIntegerField()
    last_used = BigIntegerField(null=True)

    class Meta:
        table_name = "admin_tokens"


class User(Table):
    id = BigAutoField()
    uid = TextField(unique=True)
    organization = ForeignKeyField(Organization, index=False)
    connection = ForeignKeyField(Connection, null=True, index=False, on_delete="SET NULL")
    user_name = TextField()
    user_name_key = TextField()
    external_id = TextField(null=True)
    active = SmallIntegerField()
    deleted = SmallIntegerField(default=0)
    display = TextField()  # what a group shows of the user
    display_key = TextField()
    doc = TextField()  # canonical SCIM JSON without id, meta and groups
    doc_key = Folded()

    class Meta:
        table_name = "users"
        indexes = ((("organization", "modified"), False),)


class Email(Model):
    # In the order in which it is looked through, so that one b-tree is all of it. No reference to the user, which would
    # want another: whoever writes a user writes these.
    organization = ForeignKeyField(Organization, index=False)
    value_key = TextField()
    user_id = BigIntegerField()

    class Meta:
        table_name = "emails"
        primary_key = CompositeKey("organization", "value_key", "user_id")
        without_rowid = True


class Group(Table):
    id = BigAutoField()
    uid = TextField(unique=True)
    organization = ForeignKeyField(Organization, index=False)
    connection = ForeignKeyField(Connection, null=True, index=False, on_delete="SET NULL")
    name = TextField()
    name_key = TextField()
    external_id = TextField(null=True)
    members = BigIntegerField(default=0)
    doc = TextField()  # canonical SCIM JSON without id, meta and members
    doc_key = Folded()

    class Meta:
        table_name = "groups"
        indexes = (
            (("organization", "connection", "id"), False),
            (("organization", "name_key"), False),
        )


class Grant(Model):
    group = ForeignKeyField(Group, index=False, on_delete="CASCADE")
    user = ForeignKeyField(User, index=False, on_delete="CASCADE")
    source = TextField()

    class Meta:
        table_name = "grants"
        primary_key = CompositeKey("group", "user", "source")
        indexes = ((("user", "group"), False),)
        without_rowid = True


class WaitingMember(Model):
    """A member that was pushed before its user was here."""

    group = ForeignKeyField(Group, index=False, on_delete="CASCADE")
    user_uid = TextField()

    class Meta:
        table_name = "waiting_members"
        primary_key = CompositeKey("group", "user_uid")
        indexes = ((("user_uid",), False),)
        without_rowid = True


class MappingRule(Model):
    id = AutoField()
    connection = ForeignKeyField(Connection, index=False, on_delete="CASCADE")
    value = TextField()
    group = ForeignKeyField(Group, on_delete="CASCADE")

    class Meta:
        table_name = "mapping_rules"
        indexes = ((("connection", "value", "group"), True),)


class Event(Model):
    # Counts through the events of one organization after the other (`store.events.position`): SQLite keeps a row where
    # its key says, so an event is written to one place.
    id = BigIntegerField(primary_key=True)
    organization_id = BigIntegerField()
    seq = BigIntegerField()
    type = TextField()
    at = BigIntegerField()
    resource = TextField()
    resource_uid = TextField()
    connection_uid = TextField(null=True)
    data = TextField()

    class Meta:
        table_name = "events"


class Delivery(Model):
    """How far a listening plugin has been told the events of an organization."""

    plugin = TextField()
    organization = ForeignKeyField(Organization, index=False, on_delete="CASCADE")
    seq = BigIntegerField(default=0)
    failures = IntegerField(default=0)
    retry_at = BigIntegerField(default=0)

    class Meta:
        table_name = "deliveries"
        primary_key = CompositeKey("plugin", "organization")


class Activity(Model):
    # Every request leaves a line: each index is paid by all of them.
    id = BigAutoField()
    organization = ForeignKeyField(Organization, index=False, on_delete="CASCADE")
    at = BigIntegerField()
    connection_uid = TextField(null=True)
    principal = TextField(null=True)
    operation = TextField()
    user_name = TextField(null=True)
    user_key = TextField(null=True)
    status = IntegerField()
    outcome = TextField()
    detail = TextField(null=True)
    ignored = TextField(default="[]")
    decisions = TextField(default="[]")
    request_id = TextField(null=True)

    class Meta:
        table_name = "activity"
        indexes = (
            (("organization", "at", "id"), False),
            (("organization", "connection_uid", "at", "id"), False),
        )


class Tally(Model):
    """How many users or groups a connection (0 = nobody) manages, so that a list need not count them."""

    organization = ForeignKeyField(Organization, index=False, on_delete="CASCADE")
    resource = TextField()
    connection = BigIntegerField()
    n = BigIntegerField()

    class Meta:
        table_name = "tallies"
        primary_key = CompositeKey("organization", "resource", "connection")
        without_rowid = True


class Walk(Model):
    """A client on its way through a list: the page it was given last, and the one it will ask for next.

    With the first page as its last one it stands for all who began that list.
    """

    connection = ForeignKeyField(Connection, index=False, on_delete="CASCADE")
    query = TextField()
    page_start = BigIntegerField()
    page_after = BigIntegerField()
    next_start = BigIntegerField()
    next_after = BigIntegerField()
    until = BigIntegerField(index=True)

    class Meta:
        table_name = "walks"
        indexes = ((("connection", "query"), False),)


TABLES = [
    Organization,
    Connection,
    Token,
    AdminToken,
    User,
    Email,
    Group,
    Grant,
    WaitingMember,
    MappingRule,
    Event,
    Delivery,
    Activity,
    Tally,
    Walk,
]


def up(migrator: Any, db: Any) -> None:
    if isinstance(db, PostgresqlDatabase):
        for model in TABLES:
            model._meta.without_rowid = False
            for field in model._meta.sorted_fields:
                if isinstance(field, TextField):
                    field.collation = '"C"'  # the same order as everywhere, and ranges served by indexes
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES)
        # A name is free again once its user is deleted; what was deleted can be found again to be restored.
        for index in (
            Activity.index(
                Activity.organization,
                Activity.user_key,
                Activity.at,
                Activity.id,
                where=SQL("user_key IS NOT NULL"),
                name="activity_of_user",
            ),
            Activity.index(
                Activity.organization,
                Activity.at,
                Activity.id,
                where=SQL("outcome = 'failure'"),
                name="activity_failures",
            ),
            User.index(
                User.organization, User.connection, User.id, where=SQL("deleted = 0"), name="users_listed"
            ),
            User.index(User.organization, User.id, where=SQL("deleted = 0"), name="users_of_organization"),
            User.index(
                User.organization,
                User.user_name_key,
                unique=True,
                where=SQL("deleted = 0"),
                name="users_name",
            ),
            User.index(
                User.organization,
                User.external_id,
                User.connection,
                unique=True,
                where=SQL("deleted = 0 AND external_id IS NOT NULL"),
                name="users_external_id",
            ),
            User.index(
                User.connection,
                User.external_id,
                where=SQL("deleted = 1 AND external_id IS NOT NULL"),
                name="users_deleted_external_id",
            ),
            User.index(
                User.connection, User.user_name_key, where=SQL("deleted = 1"), name="users_deleted_name"
            ),
            Group.index(
                Group.connection,
                Group.name_key,
                unique=True,
                where=SQL("connection_id IS NOT NULL"),
                name="groups_pushed_name",
            ),
            Group.index(
                Group.organization,
                Group.name_key,
                unique=True,
                where=SQL("connection_id IS NULL"),
                name="groups_manual_name",
            ),
            Walk.index(
                Walk.connection,
                Walk.query,
                Walk.next_start,
                unique=True,
                where=SQL("page_start = 1"),
                name="walks_begun",
            ),
            Group.index(
                Group.connection,
                Group.external_id,
                where=SQL("external_id IS NOT NULL"),
                name="groups_external_id",
            ),
        ):
            db.execute(index)
