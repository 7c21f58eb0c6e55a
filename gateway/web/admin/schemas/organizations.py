"""The shapes of organizations, their plans, seats and single sign-on."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.provisioning.domains.policy import OUTSIDE_POLICIES
from gateway.provisioning.saml_metadata import MAX_LENGTH
from gateway.web.admin.pagination import PageQuery
from gateway.web.admin.schemas.texts import timestamp
from gateway.web.text_fields import Flag, Name, Url


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
    legal_hold = Flag(
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
    certificate_expires_at = timestamp()


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
    created_at = timestamp()
    updated_at = timestamp()


class OrganizationsQuery(PageQuery):
    q = fields.String(
        load_default="",
        validate=validate.Length(max=200),
        metadata={"description": "A part of the name, letter case aside; or the id."},
    )
