"""How people come in: a link that was sent to them, an admin token, and out again."""

from __future__ import annotations

from typing import Any

from flask import current_app, make_response, redirect, request, url_for

from gateway.provisioning import Provisioning
from gateway.provisioning.admin_tokens import WrongAdminToken, note_expired
from gateway.provisioning.console_access import SETUP_ROLE
from gateway.scim.errors import AuthenticationFailed, Forbidden, NotFound, Refusal, TooManyRequests
from gateway.web.console.blueprint import blueprint, note_refusal
from gateway.web.console.browser import delete_cookie, require_encryption, set_cookie
from gateway.web.console.context import current_request
from gateway.web.console.rendering import render
from gateway.web.errors import current_http_request
from gateway.web.scim.rate_limit import RateLimit


@blueprint.page("/setup", signed_in=False)
def show_setup_link() -> str:
    """Show the page that a link leads to. The link's secret is in the fragment, so nothing is known of it here.

    A link that submits itself would end the session of a person whom another site has sent here.
    """
    return render("setup_link.html", error=None, signed_in=current_request().session is not None)


@blueprint.action("/setup", operation="POST /setup", signed_in=False)
def redeem_link() -> Any:
    """Redeem a link for a session."""
    console_request = current_request()
    require_encryption(current_http_request(), console_request.gateway.config)
    try:
        secret = console_request.gateway.console_access.redeem(
            request.form.get("code", "").strip(), request.remote_addr or "", console_request.trace
        )
    except AuthenticationFailed as refusal:
        _count_failure()
        note_refusal(refusal)
        page = render("setup_link.html", error=refusal.detail, signed_in=False)
        return page, refusal.status
    return enter(secret)


@blueprint.action("/console/sign-in", operation="POST /console/sign-in", signed_in=False)
def sign_in() -> Any:
    """Sign in with an admin token."""
    console_request = current_request()
    require_encryption(current_http_request(), console_request.gateway.config)
    try:
        secret = console_request.gateway.console_access.sign_in(
            request.form.get("token", ""), request.remote_addr or "", console_request.trace
        )
    except (AuthenticationFailed, Forbidden) as refusal:
        _count_failure()
        if isinstance(refusal, WrongAdminToken):
            note_expired(refusal, console_request.trace)
        note_refusal(refusal)
        return show_sign_in(refusal)
    return enter(secret)


@blueprint.action("/console/sign-out", operation="POST /console/sign-out")
def sign_out() -> Any:
    """End the session of this browser."""
    console_request = current_request()
    record = console_request.signed_in.record
    console_request.gateway.console_access.end(record)
    response: Any = redirect(url_for("console.show_start"), 303)
    if record.return_url:
        # No redirect: the policy's form-action holds for where a form is redirected to, too.
        response = make_response(render("leave.html", console=None, url=record.return_url))
        response.headers["Refresh"] = f"0; url={record.return_url}"
    delete_cookie(response, current_http_request(), console_request.gateway.config)
    return response


@blueprint.page("/console")
def show_start_without_slash() -> Any:
    """Redirect to the start."""
    return redirect(url_for("console.show_start"), 303)


@blueprint.page("/console/<path:rest>")
def show_nothing(rest: str) -> Any:
    """Say that there is no such page."""
    raise NotFound("There is no such page. Go back, or choose one above.")


def show_sign_in(refusal: Refusal | None = None) -> Any:
    """Show the page with the field for an admin token, after a refusal with its sentence."""
    buttons = current_app.extensions.get("sign_in_buttons", ())
    page = render("sign_in.html", error=refusal.detail if refusal else None, buttons=buttons)
    return page, refusal.status if refusal else 200


def enter_path(session: Any) -> str:
    """Return the path of the page that a session begins with."""
    if session.only_organization is None:
        return url_for("console.show_start")
    gateway: Provisioning = current_app.extensions["gateway"]
    names = gateway.queries.organization_names([session.only_organization])
    first = "show_set_up" if session.record.role == SETUP_ROLE else "show_home"
    return url_for(f"console.{first}", organization=names[session.only_organization]["id"])


def enter(secret: str) -> Any:
    """Answer with the cookie of a new session. The session that the browser had ends."""
    console_request = current_request()
    gateway, access = console_request.gateway, console_request.gateway.console_access
    session = access.find_session(secret, current_app.extensions.get("session_sources", ()))
    if session is None:
        raise AuthenticationFailed("What you signed in with was revoked in this moment. Ask for a new one.")
    response = redirect(enter_path(session), 303)
    set_cookie(response, current_http_request(), gateway.config, secret)
    if console_request.session is not None:
        access.end(console_request.session.record)
    return response


def _count_failure() -> None:
    """Count a failed attempt of an address. A right code always passes, so it is looked up first.

    Raises TooManyRequests.
    """
    limits: RateLimit = current_app.extensions["wrong_codes"]
    if wait := limits.wait(request.remote_addr or ""):
        # No line in an activity for each of very many; those before it have one.
        current_request().trace.organization_id = 0
        raise TooManyRequests(
            f"Too many failed attempts come from your address. Try again after {wait} second{'s' if wait > 1 else ''}.",
            retry_after=wait,
        )
