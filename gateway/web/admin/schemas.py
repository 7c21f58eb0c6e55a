"""The shapes of the admin REST: what it takes, strictly, and what it shows."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from gateway.provisioning.admin_tokens import SCOPES
from gateway.provisioning.adoption.risks import MODES
from gateway.provisioning.console_access import ADMIN, SETUP_RIGHTS, VIEWER
from gateway.provisioning.domains.policy import OUTSIDE_POLICIES
from gateway.provisioning.event_types import EVENT_TYPES, ORGANIZATION_TYPES
from gateway.provisioning.saml_metadata import MAX_LENGTH
from gateway.scim.documents import INDEXED_BYTES, USER_NAME_LENGTH
from gateway.scim.json_text import dumps, fold
from gateway.scim.schemas import TEXT_LENGTH
from gateway.web.admin.pagination import LimitQuery, PageQuery
from gateway.web.admin.safety_schemas import Brake, Pause
from gateway.web.text_fields import Count, Flag, Moment, Name, Url, check_bytes, check_one_line

_LABEL: list[Any] = [validate.Length(min=1, max=200), check_one_line, check_bytes]
_VALUE: list[Any] = [validate.Length(min=1, max=1000), check_one_line, check_bytes]
_EMAIL: list[Any] = [validate.Length(min=1, max=USER_NAME_LENGTH), check_one_line, check_bytes]
#: Of what a list is asked for.
_ASKED = validate.Length(max=1000)
_MOST_RULES = 1000


def _time(**kwargs: Any) -> fields.String:
    return fields.String(metadata={"format": "date-time"}, **kwargs)


def _check_settings(settings: dict[str, Any]) -> None:
    if (size := len(dumps(settings).encode())) > TEXT_LENGTH:
        raise ValidationError(f"Takes {size} bytes of JSON; at most {TEXT_LENGTH} are kept.")


# Organizations ----------------------------------------------------------------------------------------------


class SeatLimit(Schema):
    limit = fields.Integer(strict=True, allow_none=True, validate=validate.Range(0, 1_000_000_000))


class BillingChange(Schema):
    payment = fields.String(validate=validate.OneOf(("card", "invoice")))
    billing_url = Url(allow_none=True, metadata={"description": "null: the one of the deployment."})
    contact_url = Url(allow_none=True, metadata={"description": "null: the one of the deployment."})


class OrganizationValues(Schema):
    name = Name()
    plan = Name(60)
    domains = fields.List(Name(253), validate=validate.Length(max=100))
    seats = fields.Nested(SeatLimit)
    billing = fields.Nested(BillingChange)
    legal_hold = fields.Boolean(
        metadata={
            "description": "While it is on, nothing of it is pruned and nobody in it is erased. For operators only."
        },
    )


class OrganizationChange(OrganizationValues):
    outside_domains = fields.String(
        validate=validate.OneOf(OUTSIDE_POLICIES),
        metadata={
            "description": "What becomes of an identity provider's new address outside of the verified domains."
        },
    )


class NewOrganization(OrganizationValues):
    name = Name(required=True)


class Seats(Schema):
    limit = fields.Integer(allow_none=True)
    used = fields.Integer()
    available = fields.Integer(allow_none=True)


class SeatsNow(Seats):
    enforced = fields.Boolean(metadata={"description": "Whether any plugin limits seats at all."})
    message = fields.String(allow_none=True, metadata={"description": "What a refusal would say now."})


class Billing(Schema):
    payment = fields.String()
    billing_url = fields.String()
    contact_url = fields.String()


class Metadata(Schema):
    metadata_xml = fields.String(
        required=True,
        validate=validate.Length(min=1, max=MAX_LENGTH),
        metadata={"description": "The SAML metadata of the identity provider."},
    )


class Sso(Schema):
    entity_id = fields.String()
    sign_on_url = fields.String()
    certificate_expires_at = _time()


class Organization(Schema):
    id = fields.String()
    name = fields.String()
    plan = fields.String()
    domains = fields.List(fields.String())
    outside_domains = fields.String(validate=validate.OneOf(OUTSIDE_POLICIES))
    seats = fields.Nested(Seats)
    billing = fields.Nested(Billing)
    sso = fields.Nested(Sso, allow_none=True)
    legal_hold = fields.Boolean()
    created_at = _time()
    updated_at = _time()


# Links to the console ---------------------------------------------------------------------------------------


class SetupLinkRequest(Schema):
    email = fields.String(validate=_EMAIL, metadata={"description": "Whom it is for; the activity names it."})
    rights = fields.List(
        fields.String(validate=validate.OneOf(SETUP_RIGHTS)),
        load_default=list(SETUP_RIGHTS),
        validate=validate.Length(min=1, max=len(SETUP_RIGHTS)),
        metadata={"description": "What it may change; it may look at everything of the organization."},
    )
    expires_in_hours = fields.Integer(strict=True, load_default=120, validate=validate.Range(1, 720))


class SetupLink(Schema):
    id = fields.String()
    email = fields.String(allow_none=True)
    rights = fields.List(fields.String())
    state = fields.String(validate=validate.OneOf(("open", "used", "expired", "revoked")))
    created_at = _time()
    created_by = fields.String(allow_none=True)
    expires_at = _time()
    used_at = _time(allow_none=True)
    used_from = fields.String(allow_none=True, metadata={"description": "The address it was opened from."})


class NewSetupLink(SetupLink):
    url = fields.String(metadata={"description": "Shown this once; its fragment is the secret."})


class ConsoleLinkRequest(Schema):
    person = fields.String(
        required=True, validate=_EMAIL, metadata={"description": "Who signs in; the activity names it."}
    )
    role = fields.String(required=True, validate=validate.OneOf((ADMIN, VIEWER)))
    return_url = Url(
        metadata={"description": "Where the console leads back to, at an origin of the settings."}
    )


class ConsoleLink(Schema):
    url = fields.String()
    expires_at = _time()


# Connections ------------------------------------------------------------------------------------------------


class ConnectionChange(Schema):
    name = Name()
    brake = fields.Nested(
        Brake, allow_none=True, metadata={"description": "Beyond it removals are held; null for no limit."}
    )
    adoption = fields.String(
        validate=validate.OneOf(MODES),
        metadata={
            "description": "What becomes of users whom nobody manages, once the connection writes to them."
        },
    )
    settings = fields.Dict(
        keys=fields.String(), validate=_check_settings, metadata={"description": "By the plugin; merged."}
    )


class NewConnection(ConnectionChange):
    class Meta:
        exclude = ("adoption",)

    idp = fields.String(required=True, validate=_LABEL, metadata={"description": "See GET /plugins."})


class Provisioning(Schema):
    enabled = Flag(required=True)


class Connection(Schema):
    id = fields.String()
    slug = fields.String()
    base_url = fields.String()
    idp = fields.String()
    plugin_missing = fields.Boolean(
        metadata={
            "description": "The plugin of its identity provider is not here: calls are refused with 503."
        }
    )
    name = fields.String()
    settings = fields.Dict()
    provisioning = fields.Nested(Provisioning)
    brake = fields.Nested(Brake, allow_none=True)
    pause = fields.Nested(Pause, allow_none=True)
    adoption = fields.String(validate=validate.OneOf(MODES))
    setup_steps = fields.List(fields.String())
    extension_urn = fields.String()
    created_at = _time()
    updated_at = _time()


class TakeoverRequest(Schema):
    source = fields.String(
        required=True,
        data_key="from",
        validate=_LABEL,
        metadata={"description": "The connection whose users are taken over; one of the same organization."},
    )
    match = fields.String(
        required=True,
        validate=validate.OneOf(("userName", "email")),
        metadata={"description": "By what the new identity provider will look its users up."},
    )
    users = fields.List(
        Name(USER_NAME_LENGTH),
        allow_none=True,
        load_default=None,
        validate=validate.Length(min=1, max=1000),
        metadata={"description": "Only these, by id or userName; null or left out: everybody."},
    )
    limit = fields.Integer(
        strict=True,
        load_default=10_000,
        validate=validate.Range(1, 10_000),
        metadata={"description": "How many users at most; `more` says whether there are others."},
    )
    preview = Flag(
        load_default=True, metadata={"description": "false moves them, with the ETag of the preview."}
    )


class TakenOver(Schema):
    id = fields.String()
    user_name = fields.String()
    found_by = fields.List(
        fields.String(), metadata={"description": "What the new identity provider finds the user by."}
    )


class NotTakenOver(Schema):
    id = fields.String(allow_none=True)
    user_name = fields.String()
    reason = fields.String(
        validate=validate.OneOf(
            ("not_found", "deleted", "already_managed", "managed_elsewhere", "no_email", "email_taken")
        )
    )
    message = fields.String()


class TakeoverSummary(Schema):
    moves = fields.Integer()
    stays = fields.Integer()
    more = fields.Boolean()


class Takeover(Schema):
    preview = fields.Boolean()
    moves = fields.List(fields.Nested(TakenOver), metadata={"description": "The first 100."})
    stays = fields.List(fields.Nested(NotTakenOver), metadata={"description": "The first 100."})
    summary = fields.Nested(TakeoverSummary)


class TokenRequest(Schema):
    # A function, so that the API description has no default which the rule of its length refuses.
    label = Name(load_default=str)
    expires_in_days = fields.Integer(
        strict=True, allow_none=True, load_default=None, validate=validate.Range(1, 3650)
    )


class Token(Schema):
    id = fields.String()
    label = fields.String()
    prefix = fields.String()
    expires_at = _time(allow_none=True)
    created_at = _time()
    last_used_at = _time(allow_none=True)


class NewToken(Token):
    token = fields.String(metadata={"description": "The value. Shown this once."})


class AdminTokenRequest(Schema):
    name = Name(required=True)
    scope = fields.String(
        load_default="full",
        validate=validate.OneOf(SCOPES),
        metadata={"description": "`read`: GET and what only looks; `events`: the feeds of events only."},
    )
    expires_in_days = fields.Integer(
        strict=True, allow_none=True, load_default=None, validate=validate.Range(1, 3650)
    )


class AdminToken(Schema):
    id = fields.String()
    name = fields.String()
    organization = fields.String(
        allow_none=True, metadata={"description": "The only one that it opens; null: an operator's."}
    )
    scope = fields.String(validate=validate.OneOf(SCOPES))
    prefix = fields.String()
    expires_at = _time(allow_none=True)
    created_at = _time()
    last_used_at = _time(allow_none=True)


class NewAdminToken(AdminToken):
    token = fields.String(metadata={"description": "The value. Shown this once."})


class Check(Schema):
    name = fields.String()
    ok = fields.Boolean()
    level = fields.String(validate=validate.OneOf(("ok", "note", "warn", "broken")))
    message = fields.String()
    remedy = fields.String(
        metadata={"description": "What to do and, where a page of the console is for it, its URL."}
    )
    #: When it was seen last; null: it is so now.
    seen = _time(allow_none=True)


class Checkup(Schema):
    ok = fields.Boolean()
    checks = fields.List(fields.Nested(Check))


# Map to groups ----------------------------------------------------------------------------------------------


class Rule(Schema):
    value = fields.String(required=True, validate=_VALUE)
    group = Name(required=True)

    @validates_schema
    def check_pair(self, data: dict[str, Any], **kwargs: Any) -> None:
        """Value and name stand in one row of an index."""
        size = len(data["value"].encode()) + len(fold(data["group"]).encode())
        if size > INDEXED_BYTES:
            raise ValidationError(
                f"Value and name of the group take {size} bytes in UTF-8; at most {INDEXED_BYTES} are kept.",
                "value",
            )


class Applying(Schema):
    done = fields.Integer()
    users = fields.Integer()


class Mapping(Schema):
    enabled = Flag(required=True)
    attribute = fields.String(allow_none=True, validate=_VALUE)
    rules = fields.List(fields.Nested(Rule), validate=validate.Length(max=_MOST_RULES))
    apply_to_existing = Flag(load_default=False)
    applying = fields.Nested(Applying, dump_only=True)


class Move(Schema):
    user = fields.String()
    group = fields.String()


class UnmappedValue(Schema):
    value = fields.String()
    users = fields.Integer()


class Summary(Schema):
    users = fields.Integer()
    joins = fields.Integer()
    leaves = fields.Integer()


class Preview(Schema):
    groups_to_create = fields.List(fields.String())
    joins = fields.List(fields.Nested(Move))
    leaves = fields.List(fields.Nested(Move))
    unmapped = fields.List(fields.Nested(UnmappedValue))
    summary = fields.Nested(Summary)


# Users and groups -------------------------------------------------------------------------------------------


class UserChange(Schema):
    user_name = Name(USER_NAME_LENGTH)
    display_name = fields.String(allow_none=True, validate=_LABEL)
    email = fields.String(allow_none=True, validate=_EMAIL)
    active = Flag()
    protected = Flag()


class NewUser(UserChange):
    user_name = Name(USER_NAME_LENGTH, required=True)
    active = Flag(load_default=True)


class ErasureRequest(Schema):
    reason = fields.String(
        required=True,
        validate=validate.Length(1, 200),
        metadata={"description": "Why, without the person's name: the activity shows it after the erasure."},
    )
    confirm = fields.String(
        required=True,
        validate=validate.Length(max=USER_NAME_LENGTH),
        metadata={"description": "The userName of the person, as it is shown."},
    )


class Erasure(Schema):
    id = fields.String()
    state = fields.String(
        validate=validate.OneOf(("erasing", "erased")),
        metadata={
            "description": "`erasing` while what names the person is looked for; the same request shows when it ends."
        },
    )
    at = _time()
    by = fields.String(allow_none=True)
    reason = fields.String()


class UsersQuery(PageQuery):
    q = fields.String(
        load_default="",
        validate=validate.Length(max=200),
        metadata={"description": "A part of userName or of the name shown, letter case aside."},
    )
    user_name = fields.String(
        validate=_ASKED, metadata={"description": "The one of this name, letter case aside."}
    )


class ManagedBy(Schema):
    connection = fields.String()
    idp = fields.String()


class UserGroup(Schema):
    id = fields.String()
    name = fields.String()
    sources = fields.List(fields.String())


class User(Schema):
    id = fields.String()
    user_name = fields.String()
    display_name = fields.String(allow_none=True)
    active = fields.Boolean()
    protected = fields.Boolean()
    managed_by = fields.Nested(ManagedBy, allow_none=True)
    idp_group = fields.List(fields.String())
    groups = fields.List(fields.Nested(UserGroup))
    created_at = _time()
    updated_at = _time()


class GroupChange(Schema):
    name = Name()


class NewGroup(Schema):
    name = Name(required=True)


class OrganizationsQuery(PageQuery):
    q = fields.String(
        load_default="",
        validate=validate.Length(max=200),
        metadata={"description": "A part of the name, letter case aside; or the id."},
    )


class GroupsQuery(PageQuery):
    q = fields.String(
        load_default="", validate=_ASKED, metadata={"description": "How the name begins, letter case aside."}
    )


class Group(Schema):
    id = fields.String()
    name = fields.String()
    source = fields.String(validate=validate.OneOf(("manual", "push")))
    managed_by = fields.Nested(ManagedBy, allow_none=True)
    members = fields.Integer()
    created_at = _time()
    updated_at = _time()


class Member(Schema):
    id = fields.String()
    user_name = fields.String()
    sources = fields.List(fields.String())


# Feeds and plugins ------------------------------------------------------------------------------------------


class EventQuery(LimitQuery):
    """Events behind a number; `epoch`, that of the numbers, refuses numbers that were given again after a restore."""

    after = Count(0, (1 << 63) - 1, load_default=0)
    epoch = Count(0, (1 << 63) - 1, load_default=None)
    wait = Count(
        0,
        30,
        load_default=0,
        metadata={
            "description": "Seconds to wait for an event where there is none; the answer may come sooner."
        },
    )
    newest = fields.Boolean(
        truthy={"true"},
        falsy={"false"},
        load_default=False,
        metadata={
            "description": "No events, but the `next` of the newest one: to begin now. `after` is not looked at."
        },
    )


class Event(Schema):
    id = fields.Integer()
    type = fields.String(validate=validate.OneOf(ORGANIZATION_TYPES))
    at = _time()
    resource = fields.String(validate=validate.OneOf(("User", "Group")))
    resource_id = fields.String()
    connection = fields.String(allow_none=True)
    data = fields.Dict()


class EventPage(Schema):
    items = fields.List(fields.Nested(Event))
    next = fields.Integer()
    epoch = fields.Integer()


class PublishedEvent(Event):
    #: The place in the order over all organizations.
    number = fields.Integer()
    organization = fields.String(allow_none=True)
    type = fields.String(validate=validate.OneOf(EVENT_TYPES))
    resource = fields.String(validate=validate.OneOf(("User", "Group", "Organization", "Webhook")))


class PublishedEventPage(Schema):
    items = fields.List(fields.Nested(PublishedEvent))
    next = fields.Integer()
    epoch = fields.Integer()


#: In the words of ECMA-262, as OpenAPI has them.
_LINE = "^(0|[0-9]{1,18}-[0-9]{1,18})$"


def _check_line(text: str) -> None:
    if not re.fullmatch(_LINE[1:-1], text):
        raise ValidationError("Not a `next` of this list.")


class ActivityQuery(LimitQuery):
    after = fields.String(
        load_default="0",
        validate=_check_line,
        metadata={"pattern": _LINE},
    )
    outcome = fields.String(load_default=None, validate=validate.OneOf(("success", "partial", "failure")))
    status = Count(100, 599, load_default=None, metadata={"description": "The status of the answer."})
    target = fields.String(
        load_default=None,
        validate=_ASKED,
        metadata={"description": "The id of a user, group, connection or token."},
    )
    request_id = fields.String(
        load_default=None, validate=_ASKED, metadata={"description": "The X-Request-Id of the answer."}
    )
    since = Moment(load_default=None, metadata={"description": "Not before this time."})
    until = Moment(load_default=None, metadata={"description": "Before this time."})
    user = fields.String(
        load_default=None, validate=_ASKED, metadata={"description": "A userName, letter case aside."}
    )
    connection = fields.String(
        load_default=None, validate=_ASKED, metadata={"description": "The id of a connection."}
    )


class Decision(Schema):
    plugin = fields.String()
    hook = fields.String()
    verdict = fields.String()


class ActivityTarget(Schema):
    type = fields.String(
        validate=validate.OneOf(("User", "Group", "Connection", "Token", "AdminToken", "Organization"))
    )
    id = fields.String()
    name = fields.String(allow_none=True)


class ActivityBy(Schema):
    name = fields.String(metadata={"description": "The label of the token, or `operator`."})
    prefix = fields.String(allow_none=True, metadata={"description": "How the token begins."})


class ActivityMembers(Schema):
    joined = fields.Integer()
    left = fields.Integer()
    waiting = fields.Integer(
        metadata={"description": "Members that are not there: the group waits for them."}
    )


class ActivityLine(Schema):
    id = fields.String()
    at = _time()
    first_at = _time()
    count = fields.Integer(
        metadata={
            "description": "1, or how many refused requests of one minute or outage the line stands for."
        }
    )
    connection = fields.String(allow_none=True)
    operation = fields.String()
    user = fields.String(allow_none=True)
    target = fields.Nested(ActivityTarget, allow_none=True)
    by = fields.Nested(ActivityBy, allow_none=True)
    changed = fields.List(
        fields.String(), metadata={"description": "Names of what a change moved, without values."}
    )
    members = fields.Nested(ActivityMembers, allow_none=True)
    restored = fields.Boolean(metadata={"description": "A create brought a deleted user back."})
    status = fields.Integer()
    outcome = fields.String()
    detail = fields.String(allow_none=True)
    ignored = fields.List(fields.String())
    decisions = fields.List(fields.Nested(Decision))
    request_id = fields.String(allow_none=True)


class ActivityPage(Schema):
    items = fields.List(fields.Nested(ActivityLine))
    next = fields.String(allow_none=True)


class OrganizationName(Schema):
    id = fields.String()
    name = fields.String()


class ActivityOfAllLine(ActivityLine):
    organization = fields.Nested(OrganizationName, allow_none=True)


class ActivityOfAllPage(Schema):
    items = fields.List(fields.Nested(ActivityOfAllLine))
    next = fields.String(allow_none=True)


class Plugin(Schema):
    name = fields.String()
    version = fields.String()
    idp = fields.Boolean()
    hooks = fields.List(fields.String())


class Plugins(Schema):
    items = fields.List(fields.Nested(Plugin))
