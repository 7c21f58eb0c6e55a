"""Sign-in of operators by OpenID Connect: the browser is sent to the provider, and comes back with an answer.

Both views may ask the provider over the network, so both wait in the queue of expensive requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from dataclasses import asdict
from typing import Any

import flask
from cryptography.fernet import Fernet, InvalidToken
from flask import current_app, redirect, request

from gateway.config import Config
from gateway.provisioning import Provisioning
from gateway.scim.errors import AuthenticationFailed, NotFound, Refusal
from gateway.web.console.blueprint import blueprint
from gateway.web.console.browser import delete_cookie, read_cookie, set_cookie
from gateway.web.console.context import current_request
from gateway.web.console.entry import enter, show_sign_in
from gateway.web.console.openid_provider import OpenIdProvider, SignInAttempt
from gateway.web.errors import current_http_request
from gateway.web.http import Request
from gateway.web.scim.authentication import public_url

log = logging.getLogger("gateway")

#: Where the provider sends the browser back to: the redirect URI is this path behind the public URL.
ANSWER_PATH = "/console/oidc/answer"
#: The cookie that binds an attempt to a browser, and how long somebody may take to sign in.
_COOKIE, _ATTEMPT_SECONDS = "gateway-sign-in", 600


def install(app: flask.Flask) -> None:
    """Offer the provider on the sign-in page, where one is set up."""
    gateway: Provisioning = app.extensions["gateway"]
    if not gateway.config.oidc_issuer:
        return
    provider = app.extensions["openid_provider"] = OpenIdProvider(gateway.config)
    app.extensions["session_sources"] = (provider.source,)
    app.extensions["sign_in_buttons"] = ({"path": "/console/oidc", "label": f"Sign in with {provider.host}"},)


@blueprint.page("/console/oidc", signed_in=False)
def begin_sign_in() -> Any:
    """Send the browser to the provider, with a cookie by which it alone can finish what it began."""
    provider, http_request = _provider(), _queued_request()
    config, attempt = current_request().gateway.config, SignInAttempt()
    try:
        response = redirect(provider.authorization_url(attempt, _redirect_uri(http_request, config)), 303)
        sealed = _fernet(config).encrypt(json.dumps(asdict(attempt)).encode()).decode()
        set_cookie(response, http_request, config, sealed, _COOKIE, _ATTEMPT_SECONDS)
    except Refusal as refusal:
        return show_sign_in(refusal)
    return response


@blueprint.page(ANSWER_PATH, signed_in=False)
def finish_sign_in() -> Any:
    """Open a session for the operator whom the provider has signed in."""
    provider, http_request, console_request = _provider(), _queued_request(), current_request()
    config, address = console_request.gateway.config, request.remote_addr or ""
    try:
        attempt = _read_attempt(http_request, config)
        person = provider.authenticate(attempt, request.args.to_dict(), _redirect_uri(http_request, config))
        access = console_request.gateway.console_access
        response = enter(access.sign_in_operator(person, provider.source, address))
    except Refusal as refusal:
        log.info("sign-in by %s from %s was refused: %s", provider.host, address, refusal.detail)
        response = flask.make_response(*show_sign_in(refusal))
    delete_cookie(response, http_request, config, _COOKIE)
    return response


def _provider() -> OpenIdProvider:
    provider: OpenIdProvider | None = current_app.extensions.get("openid_provider")
    if provider is None:
        raise NotFound("Nobody is signed in by OpenID Connect here: the operator has set up no provider.")
    return provider


def _queued_request() -> Request:
    http_request = current_http_request()
    http_request.client_key = f"console {request.remote_addr or ''}"
    http_request.require_queue()
    return http_request


def _redirect_uri(http_request: Request, config: Config) -> str:
    return public_url(http_request, config) + ANSWER_PATH


def _read_attempt(http_request: Request, config: Config) -> SignInAttempt:
    sealed = read_cookie(http_request, config, _COOKIE)
    try:
        return SignInAttempt(**json.loads(_fernet(config).decrypt(sealed, ttl=_ATTEMPT_SECONDS)))
    except InvalidToken:
        raise AuthenticationFailed(
            "You were not signed in: this browser began no sign-in in the last ten minutes, or finished it already."
            " Begin anew from here."
        ) from None


def _fernet(config: Config) -> Fernet:
    key = hashlib.blake2b(config.secret_key.encode(), digest_size=32, person=b"console sign-in").digest()
    return Fernet(base64.urlsafe_b64encode(key))
