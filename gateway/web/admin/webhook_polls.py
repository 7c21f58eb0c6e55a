"""Security event tokens that a receiver asks for (RFC 8936); a token with the scope `events` suffices."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from gateway.provisioning.webhooks.polling import MAX_ACKNOWLEDGED, MAX_TOKENS
from gateway.store.records import OrganizationRecord
from gateway.web.admin.blueprint import Blueprint
from gateway.web.admin.context import current_request
from gateway.web.text_fields import Flag

blueprint = Blueprint("webhook-polls", "Security event tokens of webhooks without a URL, by polling.")

_MESSAGE_ID = fields.String(validate=validate.Length(min=1, max=200))
#: Characters of a receiver's reason that are kept.
_REASON = 500


class RefusedToken(Schema):
    """Why a token was refused (RFC 8935, 2.3)."""

    err = fields.String(required=True, validate=validate.Length(min=1, max=100))
    description = fields.String(load_default="", validate=validate.Length(max=2000))


class PollRequest(Schema):
    """RFC 8936, 2.2; its names are in camel case."""

    most = fields.Integer(
        data_key="maxEvents", strict=True, load_default=MAX_TOKENS, validate=validate.Range(0, 1_000_000),
        metadata={"description": f"At most so many tokens; never more than {MAX_TOKENS}. 0 acknowledges only."},
    )  # fmt: skip
    immediate = Flag(
        data_key="returnImmediately",
        load_default=True,
        metadata={"description": "Every answer is immediate, whatever is asked for."},
    )
    acknowledged = fields.List(
        _MESSAGE_ID, data_key="ack", load_default=list, validate=validate.Length(max=MAX_ACKNOWLEDGED)
    )
    refused = fields.Dict(
        _MESSAGE_ID, fields.Nested(RefusedToken), data_key="setErrs", load_default=dict,
        validate=validate.Length(max=MAX_ACKNOWLEDGED),
    )  # fmt: skip


class PolledTokens(Schema):
    """RFC 8936, 2.3."""

    sets = fields.Dict(fields.String(), fields.String(), metadata={"description": "Tokens by their jti."})
    more = fields.Boolean(data_key="moreAvailable")


@blueprint.route("/webhooks/<webhook>/poll", methods=["POST"], event_feed=True)
@blueprint.arguments(PollRequest)
@blueprint.response(200, PolledTokens)
def poll_webhook(values: dict[str, Any], webhook: str) -> Any:
    """The next security event tokens of a webhook of the operator, in the order of each organization.

    `ack` names tokens that were stored, `setErrs` such that are refused for good and parked; all others come again.
    """
    current_request().require_operator("poll webhooks of all organizations")
    return _poll(None, webhook, values)


@blueprint.route("/organizations/<organization>/webhooks/<webhook>/poll", methods=["POST"], event_feed=True)
@blueprint.arguments(PollRequest)
@blueprint.response(200, PolledTokens)
def poll_organization_webhook(values: dict[str, Any], webhook: str) -> Any:
    """The same for a webhook of the organization."""
    return _poll(current_request().organization, webhook, values)


def _poll(organization: OrganizationRecord | None, webhook: str, values: dict[str, Any]) -> Any:
    refused = {
        jti: f"{error['err']}: {error['description']}".removesuffix(": ")[:_REASON]
        for jti, error in values["refused"].items()
    }
    answer = current_request().gateway.webhook_polling.poll(
        organization, webhook, values["acknowledged"], refused, min(values["most"], MAX_TOKENS)
    )
    return {"sets": answer.tokens, "more": answer.more}
