"""What the console expects of browsers: its cookie and requests from its own pages; and the headers of its answers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import request
from werkzeug import Response

from gateway.config import Config, is_encrypted_or_local
from gateway.provisioning import Provisioning
from gateway.provisioning.imports.csv_files import MOST_BYTES
from gateway.scim.errors import Forbidden, Refusal
from gateway.web.http import Request
from gateway.web.scim.authentication import public_url

#: The cookie of the session.
SESSION_COOKIE = "gateway"
#: Bytes of a body of a browser that is not signed in: a code or a token, and what a sign-in page passes on.
STRANGERS_BODY = 8192
#: Bytes of a form of a browser that is signed in: a thousand rules in any script, percent-encoded.
FORM_BODY = 4 << 20
#: Bytes of the form that uploads a file of people: the file, and what a browser puts around it.
UPLOAD_BODY = MOST_BYTES + (64 << 10)
_UPLOAD_PATH = re.compile(r"/console/organizations/[^/]+/imports")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # With no-referrer a browser's forms would have `Origin: null` (Fetch, "append a request Origin header").
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def set_headers(response: Response) -> None:
    """Set the headers of every answer of the console."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


# The cookie -----------------------------------------------------------------------------------------------------


def read_cookie(http_request: Request, config: Config, name: str = SESSION_COOKIE) -> str:
    """Return the value of a cookie, by default the secret of the session, "" for none."""
    return http_request.cookies.get(_cookie_name(_is_secure(http_request, config), name), "")


def require_encryption(http_request: Request, config: Config) -> None:
    """Refuse a browser whose cookie would travel unencrypted. Raises Forbidden.

    To be called before a link is used up: the session that it opens would be nobody's.
    """
    if not is_encrypted_or_local(public_url(http_request, config)):
        raise Forbidden(
            "The console is open over HTTPS only: over plain HTTP, others on the way could take over the session. The"
            " operator sets GATEWAY_PUBLIC_URL to the https:// address of the gateway."
        )


def set_cookie(
    response: Response, http_request: Request, config: Config, value: str, name: str = SESSION_COOKIE,
    seconds: int | None = None,
) -> None:  # fmt: skip
    """Have the browser send a value with its requests, by default the secret of a session, and no script read it.

    It is forgotten after `seconds`, or when the browser is closed. Raises Forbidden as `require_encryption` does.
    """
    require_encryption(http_request, config)
    secure = _is_secure(http_request, config)
    response.set_cookie(
        _cookie_name(secure, name),
        value,
        max_age=seconds,
        secure=secure,
        httponly=True,
        samesite="Lax",
        path="/",
    )


def delete_cookie(
    response: Response, http_request: Request, config: Config, name: str = SESSION_COOKIE
) -> None:
    """Have the browser forget a cookie, by default the session."""
    secure = _is_secure(http_request, config)
    response.delete_cookie(_cookie_name(secure, name), secure=secure, httponly=True, samesite="Lax", path="/")


def _cookie_name(secure: bool, name: str) -> str:
    # Browsers take a cookie of this prefix from the host itself and over TLS only (RFC 6265bis, 4.1.3.2).
    return f"__Host-{name}" if secure else name


def _is_secure(http_request: Request, config: Config) -> bool:
    try:
        return public_url(http_request, config).startswith("https://")
    except Refusal:
        return False


# Requests of other sites ----------------------------------------------------------------------------------------


def refuse_other_sites(http_request: Request, config: Config) -> None:
    """Refuse a change that a page of another site has sent. Raises Forbidden.

    Browsers say where a request comes from in `Sec-Fetch-Site`, over plain HTTP in `Origin` alone.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        own = {http_request.called_origin(), _origin_of(config.public_url)}
        if request.headers.get("Origin") in own:
            return
    elif site in ("same-origin", "none"):
        return
    raise Forbidden(
        "This form was not sent by a page of the console, so nothing was changed. Open the console itself and try it"
        " there."
    )


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# Whose body is received -----------------------------------------------------------------------------------------


def client_key(gateway: Provisioning, http_request: Request) -> str:
    """Return the key of the browser that sends a form, "" where the form is not worth waiting for.

    A browser that is signed in, or was, sends a whole form; any other one only what signs it in.
    """
    path = http_request.path
    if path != "/setup" and not path.startswith("/console/"):
        return ""
    secret = read_cookie(http_request, gateway.config)
    try:
        if secret and gateway.console_access.was_session(secret):
            accept_large_form(http_request, gateway.config)
            return f"console {secret[-8:]}"
    except Refusal:
        return ""
    if path in ("/setup", "/console/sign-in"):
        http_request.max_content_length = STRANGERS_BODY
        return f"console {http_request.remote_addr or ''}"
    return ""


def accept_large_form(http_request: Request, config: Config) -> None:
    """Have a form read whole that is larger than the body of any other request may be."""
    most = max(config.body_limit, FORM_BODY)
    http_request.max_content_length = http_request.max_form_memory_size = most
    if http_request.method == "POST" and _UPLOAD_PATH.fullmatch(http_request.path):
        # The fields stay as short as those of other forms; a file is put onto the disk while it is parsed.
        http_request.max_content_length = max(most, UPLOAD_BODY)
