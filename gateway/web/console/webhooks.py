"""Webhooks: a list with a form, a page for each with its attempts, what was sent in one, and a replay with its preview.

Each page is served twice: for operators, who see all, and for an organization, which sees its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from flask import request, url_for

from gateway.provisioning.console_access import OPERATE, WEBHOOKS
from gateway.provisioning.event_types import EVENT_TYPES, ORGANIZATION_TYPES
from gateway.provisioning.webhooks.endpoints import ATTEMPT_OUTCOMES
from gateway.provisioning.webhooks.replays import Replay
from gateway.provisioning.webhooks.retries import Verdict, describe, judge
from gateway.provisioning.webhooks.sender import Outcome
from gateway.scim.errors import InvalidValue, Refusal
from gateway.store.ids_and_time import microseconds
from gateway.store.records import OrganizationRecord, WebhookRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.forms import Problem, cut_page, read_after, read_text
from gateway.web.console.rendering import render

#: The formats, and how they are said.
FORMATS = (
    ("standard", "Whole events (Standard Webhooks)"),
    ("thin", "Type and ids alone"),
    ("set", "Security event tokens (RFC 9967)"),
)
STATES = {"on": "On", "paused": "Paused", "failing": "Failing, and tried again", "disabled": "Disabled"}
_OF_ORGANIZATION = "_of_organization"
_LISTED, _ATTEMPTS, _PARKED = 200, 25, 100


def _both(operation: str | None, rule: str, expensive: bool = False) -> Callable[[Any], Any]:
    """Register a view for operators, and under a name of its own for organizations; `operation`: of a form."""

    def decorate(view: Any) -> Any:
        for start, ending in (("", ""), ("/organizations/<organization>", _OF_ORGANIZATION)):
            named = _named(view, view.__name__ + ending)
            path, operator = f"/console{start}/webhooks{rule}", not ending
            if operation is None:
                blueprint.page(path, operator=operator, expensive=expensive)(named)
                continue
            method, _, rest = operation.partition(" ")
            done = f"{method} {'/organizations/{organization}' if ending else ''}/webhooks{rest}"
            needs = WEBHOOKS if ending else OPERATE
            blueprint.action(path, operation=done, needs=needs, operator=operator, expensive=expensive)(named)
        return view

    return decorate


def _named(view: Any, name: str) -> Any:
    @wraps(view)
    def serve(*args: Any, **arguments: Any) -> Any:
        return view(*args, **arguments)

    serve.__name__ = name
    return serve


def _scope(console: ConsoleRequest) -> OrganizationRecord | None:
    """Return the organization of the page, None for an operator's page. Raises Forbidden."""
    if console.found_organization is not None and not console.is_operator:
        console.gateway.webhook_endpoints.require_allowed()
    return console.found_organization


def _find(uid: str) -> tuple[ConsoleRequest, WebhookRecord]:
    console = current_request()
    return console, console.gateway.webhook_endpoints.find(_scope(console), uid)


def _ending(console: ConsoleRequest) -> str:
    return "" if console.found_organization is None else _OF_ORGANIZATION


def _to(endpoint: str, **arguments: Any) -> str:
    """Return the path of a page or form in the scope of this request."""
    console = current_request()
    if console.found_organization is not None:
        arguments["organization"] = console.organization.uid
    return url_for(f"console.{endpoint}{_ending(console)}", **arguments)


def _see(webhook: WebhookRecord, notice: str) -> Any:
    return see(f"show_webhook{_ending(current_request())}", notice, webhook=webhook.uid)


def _render(template: str, **values: Any) -> str:
    console = current_request()
    page = f"show_webhooks{_ending(console)}"
    may = console.may(WEBHOOKS if console.found_organization is not None else OPERATE)
    return render(template, page=page, to=_to, states=STATES, formats=dict(FORMATS), may_change=may, **values)


def _types(console: ConsoleRequest) -> tuple[str, ...]:
    return EVENT_TYPES if console.found_organization is None else ORGANIZATION_TYPES


# The list -----------------------------------------------------------------------------------------------------------


@_both(None, "")
def show_webhooks() -> Any:
    """Show webhooks, how far each is, and a form for another one."""
    return _list_page(None)


def _list_page(problem: Problem | None) -> Any:
    console = current_request()
    endpoints = console.gateway.webhook_endpoints
    allowed = console.is_operator or endpoints.organizations_allowed
    rows = endpoints.page(console.found_organization, 0, _LISTED) if allowed else []
    page = _render(
        "webhooks.html", webhooks=[(row, endpoints.lag(row)) for row in rows], allowed=allowed, problem=problem,
        types=_types(console), chosen=request.form.getlist("types"),
    )  # fmt: skip
    return page, problem.refusal.status if problem else 200


@_both("POST ", "")
def make_webhook() -> Any:
    """Make a webhook; its secret is shown once, on the page that follows."""
    console, form = current_request(), request.form
    organization, owner = _scope(console), "organization"
    try:
        if organization is None:
            owner, named = "operator", form.get("organization", "").strip()
            organization = console.gateway.queries.organization(named, None) if named else None
        webhook, secret = console.gateway.webhook_endpoints.add(
            organization, owner, form.get("url", "").strip(), form.getlist("types")[:100] or None,
            form.get("format", ""), console.trace,
        )  # fmt: skip
    except Refusal as refusal:
        return _list_page(Problem(note_refusal(refusal), form))
    _leave_secret(console, webhook, secret)
    return _see(webhook, "")


def _leave_secret(console: ConsoleRequest, webhook: WebhookRecord, secret: str) -> None:
    console.gateway.console_access.leave(console.signed_in, f"webhook {webhook.uid}", {"secret": secret})


# One webhook --------------------------------------------------------------------------------------------------------


@_both(None, "/<webhook>")
def show_webhook(webhook: str) -> str:
    """Show the state of a webhook, its attempts, and what it refused."""
    console, found = _find(webhook)
    endpoints, replays = console.gateway.webhook_endpoints, console.gateway.webhook_replays
    outcome = request.args.get("outcome", "")
    outcome = outcome if outcome in ATTEMPT_OUTCOMES else ""
    rows = endpoints.attempts(found, outcome or None, read_after() or None, _ATTEMPTS + 1)
    attempts, following = cut_page(rows, _ATTEMPTS)
    return _render(
        "webhook.html", webhook=found, lag=endpoints.lag(found), secrets=console.take(f"webhook {found.uid}"),
        attempts=attempts, next=following, outcome=outcome, parked=endpoints.parked(found, 0, _PARKED),
        parked_count=endpoints.count_parked(found), failing=replays.failing_streams(found), types=_types(console),
    )  # fmt: skip


@_both(None, "/<webhook>/attempts/<attempt>")
def show_webhook_attempt(webhook: str, attempt: str) -> str:
    """Show what was sent and answered in one attempt."""
    console, found = _find(webhook)
    stored, sent = console.gateway.webhook_replays.attempt(found, attempt)
    return _render("webhook_attempt.html", webhook=found, attempt=stored, sent=sent)


@_both("PATCH /{webhook}", "/<webhook>/change")
def change_webhook(webhook: str) -> Any:
    """Change URL and types."""
    console, found = _find(webhook)
    values = {
        "url": request.form.get("url", "").strip(),
        "types": request.form.getlist("types")[:100] or None,
    }
    console.gateway.webhook_endpoints.edit(found, values, console.trace, None)
    return _see(found, "The webhook was changed.")


@_both("DELETE /{webhook}", "/<webhook>/remove")
def remove_webhook(webhook: str) -> Any:
    """Remove a webhook."""
    console, found = _find(webhook)
    console.gateway.webhook_endpoints.remove(found, console.trace, None)
    return see(f"show_webhooks{_ending(console)}", "The webhook was removed.")


@_both("POST /{webhook}/pause", "/<webhook>/pause")
def pause_webhook(webhook: str) -> Any:
    """Send nothing more until it is resumed."""
    console, found = _find(webhook)
    console.gateway.webhook_endpoints.pause(found, console.trace, None)
    return _see(found, "The webhook is paused. Its events are kept.")


@_both("POST /{webhook}/resume", "/<webhook>/resume")
def resume_webhook(webhook: str) -> Any:
    """Go on, from where it stopped or from now."""
    console, found = _find(webhook)
    start = "now" if request.form.get("from") == "now" else "position"
    console.gateway.webhook_endpoints.resume(found, start, console.trace, None)
    return _see(found, "The webhook goes on.")


@_both("POST /{webhook}/rotate-secret", "/<webhook>/rotate-secret")
def rotate_webhook_secret(webhook: str) -> Any:
    """Make a new secret, shown once."""
    console, found = _find(webhook)
    _, secret = console.gateway.webhook_endpoints.rotate_secret(found, console.trace, None)
    _leave_secret(console, found, secret)
    return _see(found, "")


@_both("POST /{webhook}/test", "/<webhook>/test", expensive=True)
def test_webhook(webhook: str) -> Any:
    """Send a test message and show what came of it."""
    console, found = _find(webhook)
    outcome = console.gateway.webhook_replays.send_test(found, console.trace)
    return _see(found, f"Test message: {_words(outcome)}")


@_both("POST /{webhook}/parked/{event}/retry", "/<webhook>/parked/<event>/retry", expensive=True)
def retry_webhook_parked(webhook: str, event: str) -> Any:
    """Send a parked event again."""
    console, found = _find(webhook)
    outcome = console.gateway.webhook_replays.retry_parked(found, event, console.trace)
    return _see(found, f"Parked event: {_words(outcome)}")


@_both("POST /{webhook}/skip", "/<webhook>/skip")
def skip_webhook_event(webhook: str) -> Any:
    """Park the event that fails."""
    console, found = _find(webhook)
    uid = request.form.get("stream", "")
    organization = console.gateway.queries.organization(uid, console.only_organization) if uid else None
    skipped = console.gateway.webhook_replays.skip(found, organization, None, console.trace)
    return _see(found, f"The event {skipped.seq} ({skipped.type}) was skipped, and is parked.")


def _words(outcome: Outcome) -> str:
    if judge(outcome.status, 0) is Verdict.DELIVERED:
        return f"the endpoint answered {outcome.status} in {outcome.ms} ms."
    return describe(outcome.status, outcome.error)


# Replay -------------------------------------------------------------------------------------------------------------


@_both(None, "/<webhook>/replay", expensive=True)
def show_webhook_replay(webhook: str) -> Any:
    """Ask from where events are sent again; once that is said, show how many they are, and the button."""
    _, found = _find(webhook)
    return _replay_page(found, None)


def _replay_page(webhook: WebhookRecord, refused: Refusal | None) -> Any:
    console, count, etag = current_request(), None, ""
    asked = {name: read_text(name) for name in ("at", "number", "stream")}
    problem = Problem(refused, asked) if refused else None
    if problem is None and (asked["at"] or asked["number"]):
        try:
            count, etag = console.gateway.webhook_replays.preview(webhook, _replay(console, asked))
        except Refusal as refusal:
            problem = Problem(note_refusal(refusal), asked)
    page = _render(
        "webhook_replay.html", webhook=webhook, asked=asked, count=count, etag=etag, problem=problem
    )
    return page, problem.refusal.status if problem else 200


@_both("POST /{webhook}/replay", "/<webhook>/replay/run", expensive=True)
def run_webhook_replay(webhook: str) -> Any:
    """Send events again, as it was previewed."""
    console, found = _find(webhook)
    asked = {name: request.form.get(name, "")[:200] for name in ("at", "number", "stream")}
    count = console.gateway.webhook_replays.run(
        found, _replay(console, asked), request.form.get("etag", ""), console.trace
    )
    return _see(found, f"{count.events:,} events are sent again.")


def _replay(console: ConsoleRequest, asked: dict[str, str]) -> Replay:
    """Return the replay that was asked for. Raises InvalidValue and NotFound."""
    uid = asked["stream"]
    organization = console.gateway.queries.organization(uid, console.only_organization) if uid else None
    number, at = asked["number"], asked["at"]
    if bool(number) == bool(at):
        raise InvalidValue("Give a time or the number of an event, and not both.")
    if number:
        if not number.isascii() or not number.isdigit() or not 0 < len(number) < 18 or not int(number):
            raise InvalidValue("The number of an event is a whole number from 1 on.")
        return Replay(organization, int(number), None)
    try:
        moment = datetime.fromisoformat(at)
        return Replay(organization, None, microseconds(moment.replace(tzinfo=moment.tzinfo or UTC)))
    except (ValueError, OverflowError):
        raise InvalidValue("The time is written as in 2026-01-31T09:30, in UTC.") from None
