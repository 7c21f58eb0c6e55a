"""The first page of an organization: how it stands, and the one thing to do next."""

from __future__ import annotations

from flask import url_for

from gateway.provisioning import overview as steps
from gateway.provisioning.console_access import CONNECTIONS, MAPPING, PEOPLE, SSO, VIEW
from gateway.provisioning.overview import NextStep, Overview
from gateway.provisioning.safety.settings import read_pause
from gateway.store.records import TroubleRecord, WebhookRecord
from gateway.web.console.blueprint import blueprint
from gateway.web.console.charts import calls_chart, seats_chart
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.rendering import render, safe_url
from gateway.web.console.trouble_words import describe_troubles

#: Warnings of connections that are read.
_TROUBLES = 20
#: Where each next step is taken: endpoint, place on its page, words of the link; and the right that it needs.
_LINKS = {
    steps.SSO: ("show_set_up", "sso", "Set up single sign-on", SSO),
    steps.CONNECT: ("show_set_up", "connection", "Choose the identity provider", CONNECTIONS),
    steps.SWITCH: ("show_set_up", "provisioning", "Go to the switch", CONNECTIONS),
    steps.TOKEN: ("show_set_up", "token", "Generate a token", CONNECTIONS),
    steps.CALL: ("show_set_up", "test", "Paste and test", VIEW),
    steps.RENEW: ("show_tokens", None, "Replace the token", CONNECTIONS),
    steps.CERTIFICATE: ("show_set_up", "sso", "Replace the metadata", SSO),
    steps.HELD: ("show_safety", None, "See who is held, and decide", PEOPLE),
    steps.REJECTED: ("show_safety", None, "See what was rejected", VIEW),
    steps.REFUSED: ("show_activity", None, "See the refused calls", VIEW),
    steps.MAPPING: ("show_mapping", None, "Map people to groups", MAPPING),
    steps.NOTHING: ("show_activity", None, "See what happened", VIEW),
}


@blueprint.page("/console/organizations/<organization>/")
def show_home() -> str:
    """Show how an organization stands."""
    console_request = current_request()
    gateway, organization = console_request.gateway, console_request.organization
    overview = gateway.overviews.of(organization)
    troubles = _troubles(console_request, overview)
    waits = {each.cause: each.connection_uid for each in reversed(troubles)}
    step = overview.next_step(waits.get(steps.HELD), waits.get(steps.REJECTED))
    url, words = _link(overview, step)
    return render(
        "home.html",
        overview=overview,
        troubled=_troubled(console_request),
        troubles=describe_troubles(organization.uid, troubles),
        step=step,
        step_url=url,
        step_words=words,
        may_take_step=step.name == steps.PLAN or console_request.may(_LINKS[step.name][-1]),
        calls_chart=calls_chart(gateway.history.calls_by_day(organization)),
        seats_chart=seats_chart(gateway.history.seats_by_day(organization)),
    )


def _troubled(console_request: ConsoleRequest) -> list[WebhookRecord]:
    """Return the organization's webhooks that do not work, where the session may look at them."""
    endpoints = console_request.gateway.webhook_endpoints
    if not (console_request.is_operator or endpoints.organizations_allowed):
        return []
    return endpoints.troubled(console_request.organization)


def _troubles(console_request: ConsoleRequest, overview: Overview) -> list[TroubleRecord]:
    """Return what the connections are warned of, and those that are paused."""
    organization = console_request.organization
    troubles = list(console_request.gateway.connection_warnings.current(organization, _TROUBLES))
    for state in overview.connections:
        pause = read_pause(state.connection.pause)
        if pause and pause.covers(removal=True):
            connection = state.connection
            troubles.append(TroubleRecord(connection.uid, connection.name, "paused", pause.since))
    return troubles


def _link(overview: Overview, step: NextStep) -> tuple[str, str]:
    """Return where the next step is taken, and the words of the link to it."""
    if step.name == steps.PLAN:
        billing = overview.billing
        by_invoice = billing.payment == "invoice"
        if url := safe_url(billing.contact_url if by_invoice else billing.billing_url):
            return url, "Contact support" if by_invoice else "Open the Billing page"
        return url_for("console.show_set_up", organization=overview.organization.uid), "See what is missing"
    endpoint, place, words, _ = _LINKS[step.name]
    connection = step.connection.uid if step.connection and len(overview.connections) > 1 else None
    url = url_for(
        f"console.{endpoint}", organization=overview.organization.uid, connection=connection, _anchor=place
    )
    return url, words
