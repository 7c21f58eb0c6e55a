"""A small OpenID provider on 127.0.0.1 that signs in whoever comes, and can be made to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "gateway", "the secret of a client of a test"


class ProviderOfTests:
    """The provider. `claims` are added to those of each ID token; None takes one out."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.claims: dict[str, Any] = {}
        #: Replaces the answers at paths: a status, or JSON.
        self.answers: dict[str, Any] = {}
        #: Makes the ID token of claims.
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        #: The error with which the next sign-in ends.
        self.error: str | None = None
        #: Paths that were called, in their order.
        self.called: list[str] = []
        #: Seconds before each answer.
        self.pause = 0.0
        self.key = _key("first")
        self._codes: dict[str, dict[str, str]] = {}

    def new_key(self, kid: str) -> None:
        """Sign with another key from now on."""
        self.key = _key(kid)

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def answer(self, method: str, target: str, body: str, headers: Any) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and JSON of an answer."""
        path, parameters = urlsplit(target).path, _first(urlsplit(target).query)
        self.called.append(path)
        time.sleep(self.pause)
        if path in self.answers:
            given = self.answers[path]
            return (given, {}, {}) if isinstance(given, int) else (200, {}, given)
        if path == "/.well-known/openid-configuration":
            return 200, {}, self.metadata()
        if path == "/keys":
            return 200, {}, {"keys": [self.key.as_dict(private=False), {"kty": "new kind", "kid": "other"}]}
        if path == "/authorize":
            return 302, {"Location": self._authorize(parameters)}, {}
        assert (method, path) == ("POST", "/token")
        return self._token(_first(body), headers.get("Authorization", ""))

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }

    def _authorize(self, asked: dict[str, str]) -> str:
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        answer = {"state": asked["state"], "iss": self.issuer}
        if self.error:
            answer["error"] = self.error
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self._codes[answer["code"]] = asked
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def _token(self, asked: dict[str, str], authorization: str) -> tuple[int, dict[str, str], Any]:
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        begun = self._codes.pop(asked.get("code", ""), None)
        if (unquote(user), unquote(password)) != (CLIENT, SECRET):
            return 401, {}, {"error": "invalid_client"}
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            begun is None
            or begun["code_challenge"] != challenge
            or begun["redirect_uri"] != asked["redirect_uri"]
        ):
            return 400, {}, {"error": "invalid_grant"}
        moment = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "00u1", "nonce": begun["nonce"]}
        claims |= {"iat": moment, "exp": moment + 300} | self.claims
        token = self.sign({name: value for name, value in claims.items() if value is not None})
        return 200, {}, {"access_token": "access", "token_type": "Bearer", "id_token": token}


@lru_cache
def _key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)


def unsigned(claims: dict[str, Any]) -> str:
    """An ID token of `alg: none`."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def _first(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Write nothing of a client that did not wait."""


@contextmanager
def openid_provider(host: str = "127.0.0.1") -> Iterator[ProviderOfTests]:
    """Serve a provider until the end. `host` is what it calls itself; it listens on 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            status, headers, answer = provider.answer(self.command, self.path, body, self.headers)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    provider = ProviderOfTests(f"http://{host}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
