"""Use cases of admin tokens: who may make which, and who may revoke which."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.plugin.contracts import Credentials
from gateway.provisioning.caller import Callers
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.scim.errors import AuthenticationFailed, Forbidden, InvalidValue, NotFound, Unavailable
from gateway.scim.json_text import excerpt, fold
from gateway.store import Store
from gateway.store.engine.base import BRIEF
from gateway.store.ids_and_time import MINUTE, now, rfc3339
from gateway.store.records import AdminTokenRecord, OrganizationRecord

#: `full`: everything; `read`: what only looks; `events`: the feeds of events only. `gateway.web.admin.auth` holds them.
SCOPES = ("full", "read", "events")

#: Who the activity names for the configured token and for the command line; no other token may be called that.
OPERATOR = "operator"

log = logging.getLogger("gateway")


#: Microseconds within which a second use of a token is not worth a write.
_USED_AGAIN = MINUTE


class WrongAdminToken(AuthenticationFailed):
    """No admin token that is valid. `expired`: the one that was, for the activity; the answer is the same to all."""

    def __init__(self, expired: AdminTokenRecord | None = None) -> None:
        super().__init__(
            "The admin token is wrong, has expired, or was revoked. Tokens of connections open the SCIM endpoints only."
        )
        self.expired = expired


class AdminAccess:
    """Makes and revokes admin tokens. None for an organization stands for all of them: an operator's."""

    def __init__(
        self, store: Store, units_of_work: UnitsOfWork, callers: Callers, configured_token: str
    ) -> None:
        self._store, self._units_of_work, self._callers = store, units_of_work, callers
        self._configured = configured_token.encode()

    def authenticate(self, credentials: Credentials, trace: Trace) -> AdminTokenRecord | None:
        """Return the admin token that was presented, or None for the configured one, which has no limits.

        Raises AuthenticationFailed, which is a WrongAdminToken where a token was sent.
        """
        if credentials.scheme != "bearer" or not credentials.secret:
            raise AuthenticationFailed("The request carries no token. Send an admin token as a bearer token.")
        if self._configured and hmac.compare_digest(credentials.secret.encode(), self._configured):
            trace.principal = OPERATOR
            return None
        token = self._store.admin_tokens.find(credentials.secret)
        if token is None or (token.expires is not None and token.expires <= now()):
            raise WrongAdminToken(token)
        trace.principal, trace.token_prefix = token.name, token.prefix
        self._record_use(token, credentials.secret)
        return token

    def _record_use(self, token: AdminTokenRecord, value: str) -> None:
        moment = now()
        if token.last_used is not None and moment - token.last_used < _USED_AGAIN:
            return
        try:
            with self._store.transaction(BRIEF):
                self._store.admin_tokens.record_use(token, value, moment)
        except Unavailable:
            return  # a database that only reads can still be read

    def add_token(
        self, organization: OrganizationRecord | None, name: str, scope: str, expires: int | None, trace: Trace,
        maker: AdminTokenRecord | None = None,
    ) -> tuple[AdminTokenRecord, str]:  # fmt: skip
        """Make a token and return it with its value, which is shown this once.

        `expires` in microseconds. `maker` is the token that is used, None where that has no limits. What it opens was
        checked before; here it is checked that it does not make a token that outlives it. Raises Forbidden, and
        InvalidValue for a name that is reserved.
        """
        check_expiry(maker and maker.expires, expires)
        if fold(name.strip()) == OPERATOR:
            raise InvalidValue(
                f"The name {name!r} is reserved: the activity has it for the token in GATEWAY_ADMIN_TOKEN and for the"
                " command line. Choose another name for this token."
            )
        with self._change(organization, trace):
            added, value = self._store.admin_tokens.add(organization, name, scope, expires)
            self._name(added, trace)
        if organization is None:
            self._log("made", added, trace)
        return added, value

    def revoke_token(
        self, organization: OrganizationRecord | None, uid: str, trace: Trace
    ) -> AdminTokenRecord:
        """Revoke a token of an organization, or with None any one: it opens nothing from now on. Raises NotFound."""
        tokens = self._store.admin_tokens
        found = tokens.by_id(organization, uid)
        if found is not None and found.organization_id is not None:
            organization = self._store.organizations.by_key(found.organization_id)
        with self._change(organization, trace):
            if found is None or not tokens.remove(found):
                raise NotFound(f"There is no admin token with the id {excerpt(uid)} here.")
            self._name(found, trace)
        if organization is None:
            self._log("revoked", found, trace)
        return found

    @contextmanager
    def _change(self, organization: OrganizationRecord | None, trace: Trace) -> Iterator[None]:
        """Run a transaction that records activity in the organization of the token."""
        if organization is None:
            with self._store.transaction():
                yield
            # Whatever fails from here on, the answer must not say that nothing was changed.
            trace.written = True
        else:
            trace.organization_id = organization.id
            with self._units_of_work.open(self._callers.admin(organization), trace):
                yield

    def _name(self, token: AdminTokenRecord, trace: Trace) -> None:
        trace.target = Target("AdminToken", token.uid, f"{token.name} ({token.prefix}…, {token.scope})")

    def _log(self, what: str, token: AdminTokenRecord, trace: Trace) -> None:
        # The activity is kept by organization, so of a token that opens all of them this line is all that is left.
        log.info(
            "admin token %s (%s, %s) %s by %s, request %s",
            token.uid, token.name, token.scope, what, trace.principal, trace.request_id,
        )  # fmt: skip


def note_expired(wrong: WrongAdminToken, trace: Trace) -> None:
    """Have the activity of the token's organization, where it has one, say that the token expired."""
    token = wrong.expired
    if token is not None and token.organization_id is not None:
        trace.organization_id, trace.token_prefix = token.organization_id, token.prefix
        trace.stranger = f"expired {token.uid}"
        trace.inside = (
            f"The admin token {token.name} {token.prefix}… expired on {rfc3339(token.expires or 0)}. Make a new one and"
            " enter it where the old one is used."
        )


def check_expiry(latest: int | None, expires: int | None) -> None:
    """Check that a token does not outlive the one that it is made with.

    Both in microseconds, None for never: `latest` is the end of the one in use. Raises Forbidden.
    """
    if latest is not None and (expires is None or expires > latest):
        raise Forbidden(
            f"The token that you use expires on {rfc3339(latest)}, and makes no token that is valid for longer. Choose"
            " fewer days, or use a token that does not expire."
        )
