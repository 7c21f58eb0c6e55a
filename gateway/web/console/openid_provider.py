"""The OpenID provider that signs operators in: what it says of itself, its keys, and the ID tokens that it issues.

Authorization code flow with PKCE, state and nonce (OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207). Authlib and
requests are an extra, so they are imported where a provider is set up. No code, token or secret is logged or shown.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gateway.config import Config, is_encrypted_or_local
from gateway.scim.errors import AuthenticationFailed, Forbidden, Refusal, Unavailable

log = logging.getLogger("gateway")

#: Seconds that the provider may take to connect, and then for each piece of an answer.
PATIENCE = 5.0
#: Seconds for which what it says of itself holds, and for which it is not asked again after it did not answer.
METADATA_HOLDS, FAILURE_HOLDS = 3600.0, 10.0
#: Seconds by which its clock may differ.
LEEWAY = 60
#: Signatures that are accepted: none that anybody could make who knows the client's secret, or nothing.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
_METADATA_PATH = "/.well-known/openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class SignInAttempt:
    """What the browser keeps between the two halves of a sign-in: nobody else can finish it."""

    state: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def __repr__(self) -> str:
        """Leave out the secrets."""
        return "SignInAttempt()"


class Metadata(NamedTuple):
    """What the provider says of itself (OpenID Connect Discovery 1.0, 3)."""

    values: Mapping[str, Any]
    keys: Any
    read_at: float


class OpenIdProvider:
    """The provider of the settings. Safe to call from any thread; each call but `host` may wait for the network."""

    def __init__(self, config: Config) -> None:
        self._issuer, self._client_id = config.oidc_issuer, config.oidc_client_id
        self._client_secret = config.oidc_client_secret
        self._claim, _, self._wanted = config.oidc_operator_claim.partition("=")
        self._lock = threading.Lock()
        self._metadata: Metadata | None = None
        self._failed_at = float("-inf")
        #: Stored with each session: one that another issuer, client or claim opened ends.
        self.source = f"oidc {self._issuer} {self._client_id} {config.oidc_operator_claim}"

    @property
    def host(self) -> str:
        """Where people sign in, in words that they know."""
        return urlsplit(self._issuer).hostname or self._issuer

    def authorization_url(self, attempt: SignInAttempt, redirect_uri: str) -> str:
        """Return where the browser is sent to sign in. Raises Unavailable."""
        endpoint = self._read_metadata().values["authorization_endpoint"]
        with self._session(redirect_uri) as session:
            url, _ = session.create_authorization_url(
                endpoint, state=attempt.state, nonce=attempt.nonce, code_verifier=attempt.verifier
            )
        return str(url)

    def authenticate(self, attempt: SignInAttempt, answer: Mapping[str, str], redirect_uri: str) -> str:
        """Return who has signed in, an operator: an e-mail address that was verified, or the subject.

        `answer` are the parameters with which the provider sent the browser back. Raises AuthenticationFailed,
        Forbidden for somebody who is no operator, and Unavailable.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise _refused("this answer belongs to another sign-in than the one that this browser began")
        if answer.get("iss", self._issuer) != self._issuer:
            raise _refused(f"the answer comes from another issuer than {self._issuer}")
        if "error" in answer:
            raise _refused(f"{self.host} answered {answer['error'][:60]!r}")
        if not answer.get("code"):
            raise _refused(f"{self.host} sent no code")
        claims = self._verify(self._exchange(answer["code"], attempt, redirect_uri), attempt.nonce)
        if not _holds(claims.get(self._claim), self._wanted):
            raise Forbidden(
                f"You are signed in at {self.host}, and are no operator here: the claim {self._claim!r} of your account"
                " is missing, or has not the value that operators have. An admin of the accounts there can add it."
            )
        email = claims.get("email")
        if isinstance(email, str) and email and claims.get("email_verified") is True:
            return email
        return str(claims["sub"])

    # Talking to it --------------------------------------------------------------------------------------------------

    def _session(self, redirect_uri: str = "") -> Any:
        from authlib.integrations.requests_client import OAuth2Session  # late: an extra

        values = self._metadata.values if self._metadata else {}
        methods = values.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        basic = "client_secret_basic" in methods
        return OAuth2Session(
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method="client_secret_basic" if basic else "client_secret_post",
            code_challenge_method="S256",
            scope="openid email",
            redirect_uri=redirect_uri,
            default_timeout=PATIENCE,
        )

    def _exchange(self, code: str, attempt: SignInAttempt, redirect_uri: str) -> str:
        """Return the ID token that is given for a code."""
        from authlib.integrations.base_client import OAuthError
        from requests import RequestException

        endpoint = self._read_metadata().values["token_endpoint"]
        try:
            with self._session(redirect_uri) as session:
                answer = session.fetch_token(
                    endpoint, code=code, grant_type="authorization_code", code_verifier=attempt.verifier,
                    redirect_uri=redirect_uri, allow_redirects=False,
                )  # fmt: skip
        except OAuthError as error:
            raise _refused(f"{self.host} did not accept the code ({str(error.error)[:60]!r})") from None
        except (RequestException, ValueError) as error:
            raise self._unreachable(error) from None
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _refused(f"{self.host} sent no ID token")
        return token

    def _read_metadata(self) -> Metadata:
        with self._lock:
            clock, known = time.monotonic(), self._metadata
            if known and clock - known.read_at < METADATA_HOLDS:
                return known
            if clock - self._failed_at < FAILURE_HOLDS:
                raise _unavailable(self.host)
            values = self._get(self._issuer.rstrip("/") + _METADATA_PATH)
            if values.get("issuer") != self._issuer:
                raise _refused(f"{self.host} calls itself another issuer than the setting oidc_issuer does")
            for name in _ENDPOINTS:
                if not is_encrypted_or_local(str(values.get(name))):
                    raise _refused(f"{self.host} names no {name} with https://")
            self._metadata = Metadata(values, self._get_keys(values), clock)
            return self._metadata

    def _get_keys(self, values: Mapping[str, Any]) -> Any:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        found = self._get(values["jwks_uri"])
        keys = []
        for each in found.get("keys") or ():
            try:
                keys += KeySet.import_key_set({"keys": [each]}).keys
            except (JoseError, ValueError, TypeError):
                continue  # a key of a kind that is not known here signs nothing that is accepted here
        return KeySet(keys)

    def _get(self, url: str) -> dict[str, Any]:
        from requests import RequestException

        try:
            with self._session() as session:
                answer = session.get(url, withhold_token=True, allow_redirects=False)
                if answer.status_code != 200:
                    raise ValueError(f"status {answer.status_code}")
                values = answer.json()
                if not isinstance(values, dict):
                    raise ValueError("no JSON object")
                return values
        except (RequestException, ValueError) as error:
            self._failed_at = time.monotonic()
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Refusal:
        # Without the text of the error: it may hold what was sent.
        log.warning("the OpenID provider %s does not answer: %s", self.host, type(error).__name__)
        return _unavailable(self.host)

    # What it issues -------------------------------------------------------------------------------------------------

    def _verify(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core 1.0, 3.1.3.7). Raises AuthenticationFailed."""
        from joserfc import jwt
        from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError

        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            claims: Mapping[str, Any] = self._decode(token).claims
            registry.validate(dict(claims))
        except ExpiredTokenError:
            raise _refused("the ID token has expired; compare the clocks of both machines") from None
        except (InvalidClaimError, MissingClaimError) as error:
            raise _refused(f"the ID token is not for this gateway ({str(error.description)[:80]})") from None
        except (JoseError, ValueError) as error:
            log.warning("an ID token of %s is not accepted: %s", self.host, type(error).__name__)
            raise _refused("the signature of the ID token is not one of the provider's") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise _refused("the ID token belongs to another sign-in")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._client_id:
            raise _refused("the ID token was issued to another client")
        return claims

    def _decode(self, token: str) -> Any:
        """Return a token whose signature is right; the keys are read once more for one that none of them has made."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError

        metadata = self._read_metadata()
        try:
            return jwt.decode(token, metadata.keys, ALGORITHMS)
        except (BadSignatureError, InvalidKeyIdError):
            keys = self._get_keys(metadata.values)
        with self._lock:
            self._metadata = metadata._replace(keys=keys)
        return jwt.decode(token, keys, ALGORITHMS)


def _holds(claim: Any, wanted: str) -> bool:
    """Return whether a claim is a value, or a list that contains it; what is no text is compared as JSON."""
    for value in claim if isinstance(claim, list) else [claim]:
        if value is not None and (value if isinstance(value, str) else json.dumps(value)) == wanted:
            return True
    return False


def _refused(why: str) -> Refusal:
    return AuthenticationFailed(
        f"You were not signed in: {why}. Nothing was changed; try it again from here."
    )


def _unavailable(host: str) -> Refusal:
    return Unavailable(
        f"{host} cannot be reached, or did not answer in time, so nobody can be signed in by it now. Try again in a"
        " minute, or sign in with an admin token.",
        retry_after=int(FAILURE_HOLDS),
    )
