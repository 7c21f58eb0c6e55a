"""Webhooks: of the operator, for all organizations or one, and of organizations.

Each operation is served twice: below `/webhooks` an operator reaches all, below an organization's path its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from gateway.provisioning.webhooks import retries
from gateway.provisioning.webhooks.replays import Replay
from gateway.provisioning.webhooks.sender import Outcome
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import AttemptRecord, OrganizationRecord, ParkedRecord, WebhookRecord
from gateway.web.admin.blueprint import Blueprint, PreconditionRequired, accepts_if_match, with_etag
from gateway.web.admin.context import AdminRequest, current_request
from gateway.web.admin.pagination import Pagination
from gateway.web.admin.schemas import webhooks as schemas

blueprint = Blueprint("webhooks", "Webhooks: addresses that committed events are sent to.")

_OPERATORS, _ORGANIZATIONS = "/webhooks", "/organizations/<organization>/webhooks"


def _route(rule: str, **options: Any) -> Callable[[Any], Any]:
    """Register a view for operators, and under a name of its own for an organization."""

    def decorate(view: Any) -> Any:
        for path, ending in ((_OPERATORS, ""), (_ORGANIZATIONS, "_of_organization")):

            @wraps(view)
            def serve(*args: Any, **arguments: Any) -> Any:
                return view(*args, **arguments)

            serve.__name__ = view.__name__ + ending
            blueprint.route(path + rule, **options)(serve)
        return view

    return decorate


def _scope(request: AdminRequest) -> OrganizationRecord | None:
    """Return the organization of the path, None for an operator's path. Raises Forbidden."""
    if request.found_organization is None:
        request.require_operator("see the webhooks of all organizations")
        return None
    if request.only_organization is not None:
        request.gateway.webhook_endpoints.require_allowed()
    return request.found_organization


def _find(webhook: str) -> tuple[AdminRequest, WebhookRecord]:
    request = current_request()
    return request, request.gateway.webhook_endpoints.find(_scope(request), webhook)


def _time(moment: int | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _webhook_json(request: AdminRequest, webhook: WebhookRecord) -> dict[str, Any]:
    lag = request.gateway.webhook_endpoints.lag(webhook)
    return {
        "id": webhook.uid,
        "url": webhook.url or None,
        "organization": webhook.organization_uid,
        "owner": webhook.owner,
        "types": webhook.type_names,
        "format": webhook.format,
        "state": webhook.state,
        "reason": webhook.reason,
        "failing_since": _time(webhook.failing_since),
        "succeeded_at": _time(webhook.succeeded),
        "lag": {
            "events": lag.events,
            "seconds": 0 if lag.oldest is None else max(0, (now() - lag.oldest) // 1_000_000),
        },
        "created_at": rfc3339(webhook.created),
        "created_by": webhook.created_by,
        "updated_at": rfc3339(webhook.modified),
    }


def _webhooks_json(request: AdminRequest, webhooks: Sequence[WebhookRecord]) -> list[dict[str, Any]]:
    return [_webhook_json(request, webhook) for webhook in webhooks]


def _attempt_json(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "id": str(attempt.id),
        "at": rfc3339(attempt.at),
        "organization": attempt.organization_uid,
        "event": attempt.seq,
        "type": attempt.type,
        "message_id": attempt.message_id,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "ms": attempt.ms,
        "error": attempt.error,
        "response": attempt.response,
    }


def _attempts_json(_: AdminRequest, attempts: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    return [_attempt_json(attempt) for attempt in attempts]


def _parked_json(_: AdminRequest, parked: Sequence[ParkedRecord]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(each.id),
            "organization": each.organization_uid,
            "event": each.seq,
            "type": each.type,
            "resource": each.resource,
            "resource_id": each.resource_uid,
            "since": rfc3339(each.since),
            "error": each.error,
        }
        for each in parked
    ]


def _sent_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "ok": retries.judge(outcome.status, 0) is retries.Verdict.DELIVERED,
        "status": outcome.status,
        "ms": outcome.ms,
        "error": outcome.error,
        "response": outcome.response,
    }


@_route("", methods=["POST"])
@blueprint.arguments(schemas.NewWebhook)
@blueprint.response(201, schemas.WebhookWithSecret)
def add_webhook(values: dict[str, Any]) -> Any:
    """Make a webhook. It receives what is committed from now on; its secret is shown this once.

    An operator names in `organization` whose events it receives, null for all. One that is made below an organization's
    path is the organization's own.
    """
    request, endpoints = current_request(), current_request().gateway.webhook_endpoints
    organization, owner = _scope(request), "organization"
    if organization is None:
        owner, named = "operator", values["organization"]
        organization = None if named is None else request.gateway.queries.organization(named, None)
    elif values["organization"] not in (None, organization.uid):
        request.gateway.queries.organization(values["organization"], organization.id)
    webhook, secret = endpoints.add(
        organization, owner, values["url"] or "", values["types"], values["format"], request.trace
    )
    return with_etag(_webhook_json(request, webhook) | {"secret": secret}, webhook)


@_route("")
@blueprint.paginate(schemas.Webhook, _webhooks_json)
def list_webhooks(pagination: Pagination) -> Any:
    """Webhooks in the order of making, without their secrets: how far each is, and why one does not work."""
    request = current_request()
    return request.gateway.webhook_endpoints.page(_scope(request), pagination.after, pagination.fetch)


@_route("/<webhook>")
@blueprint.response(200, schemas.Webhook)
def read_webhook(webhook: str) -> Any:
    """One webhook."""
    request, found = _find(webhook)
    return with_etag(_webhook_json(request, found), found)


@_route("/<webhook>", methods=["PATCH"])
@blueprint.arguments(schemas.WebhookChange)
@blueprint.response(200, schemas.Webhook)
@accepts_if_match
def change_webhook(values: dict[str, Any], webhook: str) -> Any:
    """Change the URL, the types or the format; what is sent from now on is as changed."""
    request, found = _find(webhook)
    changed = request.gateway.webhook_endpoints.edit(found, values, request.trace, request.if_match)
    return with_etag(_webhook_json(request, changed), changed)


@_route("/<webhook>", methods=["DELETE"])
@blueprint.response(204)
@accepts_if_match
def remove_webhook(webhook: str) -> None:
    """Remove a webhook with its attempts and parked events."""
    request, found = _find(webhook)
    request.gateway.webhook_endpoints.remove(found, request.trace, request.if_match)


@_route("/<webhook>/pause", methods=["POST"])
@blueprint.response(200, schemas.Webhook)
@accepts_if_match
def pause_webhook(webhook: str) -> Any:
    """Send nothing more until it is resumed. Its events stay in the feed, so none is lost."""
    request, found = _find(webhook)
    request.trace.status = 200
    changed = request.gateway.webhook_endpoints.pause(found, request.trace, request.if_match)
    return with_etag(_webhook_json(request, changed), changed)


@_route("/<webhook>/resume", methods=["POST"])
@blueprint.arguments(schemas.Resume)
@blueprint.response(200, schemas.Webhook)
@accepts_if_match
def resume_webhook(values: dict[str, Any], webhook: str) -> Any:
    """Go on sending to a webhook that is paused, failing or disabled, from where it stopped or from now."""
    request, found = _find(webhook)
    request.trace.status = 200
    changed = request.gateway.webhook_endpoints.resume(
        found, values["start"], request.trace, request.if_match
    )
    return with_etag(_webhook_json(request, changed), changed)


@_route("/<webhook>/rotate-secret", methods=["POST"])
@blueprint.response(200, schemas.WebhookWithSecret)
@accepts_if_match
def rotate_webhook_secret(webhook: str) -> Any:
    """Make a new secret, shown this once. For 24 hours messages are signed with the one before, too."""
    request, found = _find(webhook)
    request.trace.status = 200
    changed, secret = request.gateway.webhook_endpoints.rotate_secret(found, request.trace, request.if_match)
    return with_etag(_webhook_json(request, changed) | {"secret": secret}, changed)


@_route("/<webhook>/test", methods=["POST"], expensive=True)
@blueprint.response(200, schemas.Sent)
def test_webhook(webhook: str) -> Any:
    """Send a signed message of the type `webhook.test` now, and say within five seconds what came of it."""
    request, found = _find(webhook)
    request.trace.status = 200
    return _sent_json(request.gateway.webhook_replays.send_test(found, request.trace))


@_route("/<webhook>/attempts")
@blueprint.paginate(schemas.Attempt, _attempts_json, schemas.AttemptsQuery)
def list_webhook_attempts(pagination: Pagination, webhook: str) -> Any:
    """Attempts to deliver, the newest first; `outcome` is `success` or `failure`."""
    request, found = _find(webhook)
    return request.gateway.webhook_endpoints.attempts(
        found, pagination.query.get("outcome"), pagination.after or None, pagination.fetch
    )


@_route("/<webhook>/attempts/<attempt>")
@blueprint.response(200, schemas.AttemptWithBody)
def read_webhook_attempt(webhook: str, attempt: str) -> Any:
    """One attempt with what was sent and answered. Of a security event token the claims are shown."""
    request, found = _find(webhook)
    stored, body = request.gateway.webhook_replays.attempt(found, attempt)
    return _attempt_json(stored) | {"sent": body}


@_route("/<webhook>/parked")
@blueprint.paginate(schemas.Parked, _parked_json)
def list_webhook_parked(pagination: Pagination, webhook: str) -> Any:
    """Events that the webhook refused for good, or that were skipped: those behind them were delivered."""
    request, found = _find(webhook)
    return request.gateway.webhook_endpoints.parked(found, pagination.after, pagination.fetch)


@_route("/<webhook>/parked/<event>/retry", methods=["POST"], expensive=True)
@blueprint.response(200, schemas.Sent)
def retry_webhook_parked(webhook: str, event: str) -> Any:
    """Send a parked event now, with its own id; it is parked no more if the webhook takes it."""
    request, found = _find(webhook)
    request.trace.status = 200
    return _sent_json(request.gateway.webhook_replays.retry_parked(found, event, request.trace))


@_route("/<webhook>/parked/<event>", methods=["DELETE"])
@blueprint.response(204)
def remove_webhook_parked(webhook: str, event: str) -> None:
    """Forget a parked event. It stays in the feed."""
    request, found = _find(webhook)
    request.gateway.webhook_replays.remove_parked(found, event, request.trace)


@_route("/<webhook>/replay", methods=["POST"], expensive=True)
@blueprint.arguments(schemas.ReplayRequest)
@blueprint.response(200, schemas.Replay)
@accepts_if_match
def replay_webhook(values: dict[str, Any], webhook: str) -> Any:
    """Send events again, in order and with the same ids, from a number or a time on up to the newest.

    First with `"preview": true`, which says how many; then with its ETag in If-Match. Positions move back, so a part
    with an end cannot be replayed: what follows it is sent again too. Types are those of the webhook.
    """
    request, found = _find(webhook)
    request.trace.status, replays = 200, request.gateway.webhook_replays
    named = values.get("organization")
    organization = (
        None if named is None else request.gateway.queries.organization(named, request.only_organization)
    )
    replay = Replay(organization, values.get("number"), values.get("at"))
    if values["preview"]:
        count, etag = replays.preview(found, replay)
        return count, {"ETag": etag}
    if request.if_match is None:
        raise PreconditionRequired(
            'Send the ETag of the preview in If-Match: POST the same body with "preview": true first.'
        )
    return replays.run(found, replay, request.if_match, request.trace)


@_route("/<webhook>/skip", methods=["POST"])
@blueprint.arguments(schemas.SkipRequest)
@blueprint.response(200, schemas.Skipped)
def skip_webhook_event(values: dict[str, Any], webhook: str) -> Any:
    """Park the event that fails, so that those behind it are sent."""
    request, found = _find(webhook)
    request.trace.status = 200
    named = values.get("organization")
    organization = (
        None if named is None else request.gateway.queries.organization(named, request.only_organization)
    )
    skipped = request.gateway.webhook_replays.skip(found, organization, values.get("event"), request.trace)
    return {"organization": skipped.organization_uid, "event": skipped.seq, "type": skipped.type}
