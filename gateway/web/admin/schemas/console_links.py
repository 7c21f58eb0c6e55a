"""The shapes of links that lead into the console."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from gateway.provisioning.console_access import ADMIN, SETUP_RIGHTS, VIEWER
from gateway.web.admin.schemas.texts import EMAIL, timestamp
from gateway.web.text_fields import Url


class SetupLinkRequest(Schema):
    email = fields.String(validate=EMAIL, metadata={"description": "Whom it is for; the activity names it."})
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
    created_at = timestamp()
    created_by = fields.String(allow_none=True)
    expires_at = timestamp()
    used_at = timestamp(allow_none=True)
    used_from = fields.String(allow_none=True, metadata={"description": "The address it was opened from."})


class NewSetupLink(SetupLink):
    url = fields.String(metadata={"description": "Shown this once; its fragment is the secret."})


class ConsoleLinkRequest(Schema):
    person = fields.String(
        required=True, validate=EMAIL, metadata={"description": "Who signs in; the activity names it."}
    )
    role = fields.String(required=True, validate=validate.OneOf((ADMIN, VIEWER)))
    return_url = Url(
        metadata={"description": "Where the console leads back to, at an origin of the settings."}
    )


class ConsoleLink(Schema):
    url = fields.String()
    expires_at = timestamp()
