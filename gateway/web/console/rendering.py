"""How templates are rendered: what each of them knows, and how moments and numbers are shown."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, g, render_template, request
from jinja2 import StrictUndefined
from markupsafe import Markup

from gateway.store.ids_and_time import SECOND, in_words, now, rfc3339
from gateway.web.console.context import ConsoleRequest

#: The pages of an organization, in the order of the navigation: endpoint and title.
NAVIGATION = (
    ("show_home", "Home"),
    ("show_set_up", "Set up"),
    ("show_mapping", "Map to groups"),
    ("show_people", "People"),
    ("show_groups", "Groups"),
    ("show_activity", "Activity"),
    ("show_seats", "Seats"),
    ("show_tokens", "Tokens"),
    ("show_webhooks_of_organization", "Webhooks"),
    ("show_safety", "Safety"),
    ("show_domains", "Domains"),
    ("show_adoption", "Adoption"),
    ("show_imports", "Import"),
)
#: Pages of an organization for operators alone.
OPERATORS_PAGES = (("show_setup_links", "Setup links"),)
#: Those of operators.
OPERATOR_NAVIGATION = (
    ("show_start", "Organizations"),
    ("show_webhooks", "Webhooks"),
    ("show_plugins", "Plugins"),
    ("show_deployment", "Deployment"),
    ("show_sessions", "Sessions"),
)
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def render(template: str, **values: Any) -> str:
    """Render a template of `templates/console`, with the session and the organization where they are known.

    `page` is the endpoint of the page in the navigation, where a form is answered with it.
    """
    console_request: ConsoleRequest | None = g.get("console_request")
    shared: dict[str, Any] = {
        "console": None,
        "organization": None,
        "notice": None,
        "full_seats": None,
        "page": None,
    }
    if console_request and console_request.session:
        shared["console"] = console_request
        shared["notice"] = next(reversed(console_request.take("notice")), None)
        if console_request.found_organization:
            shared["organization"] = console_request.organization
            shared["full_seats"] = full_seats(console_request)
    return render_template(f"console/{template}", **shared | values)


def render_fragment(template: str, **values: Any) -> str:
    """Render a part of a page, which htmx puts in its place; a notice waits for the next whole page."""
    return render_template(f"console/{template}", console=g.console_request, **values)


def full_seats(console_request: ConsoleRequest) -> dict[str, Any] | None:
    """Return what the banner says while no seat is free; None while one is, or seats have no limit."""
    organization = console_request.organization
    if organization.seat_limit is None or organization.seats_used < organization.seat_limit:
        return None
    _, sentence = console_request.gateway.queries.seat_limit(organization)
    if sentence is None:
        return None
    billing = console_request.gateway.callers.tenant(organization).billing
    by_invoice = billing.payment == "invoice"
    return {
        "sentence": sentence,
        "url": safe_url(billing.contact_url if by_invoice else billing.billing_url),
        "label": "Contact support" if by_invoice else "Add seats",
    }


def safe_url(url: str | None) -> str | None:
    """Return a URL that a link may lead to: http and https alone."""
    return url if url and url.lower().startswith(("https://", "http://")) else None


def install_filters(app: Flask) -> None:
    """Register the filters of the templates."""
    environment = app.jinja_env
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(moment=moment, ago=ago, days_left=days_left, safe_url=safe_url)
    environment.filters.update(visible=visible, as_json=as_json)
    environment.tests.update(ahead=lambda moment: moment > now())
    environment.globals.update(
        navigation=NAVIGATION,
        operator_navigation=OPERATOR_NAVIGATION,
        operators_pages=OPERATORS_PAGES,
        is_current=_is_current,
    )


def visible(text: str) -> str:
    """Show a text with its control characters, direction marks and halves of characters escaped as in JSON."""
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def as_json(value: Any) -> str:
    """Show a JSON value in indented lines; a text alone is shown as it is."""
    return visible(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))


def moment(microseconds: int | None) -> Markup:
    """Show a moment: `28 Nov 2026, 18:20 UTC`."""
    if microseconds is None:
        return Markup("never")
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(microseconds), in_words(microseconds))


def ago(microseconds: int | None) -> Markup:
    """Show how long ago a moment was: `3 minutes ago`."""
    if microseconds is None:
        return Markup("never")
    seconds = max(0, (now() - microseconds) // SECOND)
    for length, unit in _UNITS:
        if seconds >= length:
            number = seconds // length
            text = f"{number} {unit}{'s' if number > 1 else ''} ago"
            break
    else:
        text = "just now"
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(microseconds), text)


def days_left(microseconds: int | None) -> str:
    """Show how many days are left until a moment."""
    if microseconds is None:
        return "does not expire"
    left = microseconds - now()
    if left <= 0:
        return "expired"
    # Rounded up: a token made for 90 days has 90 days left.
    days = -(-left // (86_400 * SECOND))
    return f"{days} days left" if days > 1 else "less than a day left"


def _is_current(endpoint: str) -> bool:
    return request.endpoint == f"console.{endpoint}"
