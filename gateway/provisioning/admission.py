"""Admission to the SCIM endpoints: which connection was called, by whom, and whether they may provision it.

Web asks once a request, before the body is read; a refusal that has to wait for the body is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.plugin.contracts import Credentials, Organization, Principal
from gateway.plugin.manager import PluginManager
from gateway.plugin.results import Answered, Decision
from gateway.provisioning.caller import Callers, IdpCaller
from gateway.provisioning.trace import Trace
from gateway.scim.errors import AuthenticationFailed, Forbidden, NotFound, Refusal, Unavailable
from gateway.scim.json_text import excerpt
from gateway.store import Store
from gateway.store.connections import AuthenticationRecord
from gateway.store.engine.base import BRIEF
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import ConnectionRecord, OrganizationRecord
from gateway.store.tokens import RefusedToken

#: The feature that an organization needs to be provisioned, as `gateway_check_entitlement` is asked for it.
FEATURE = "scim"

#: The flag of a request that reached the reverse proxy unencrypted, though the gateway's address is https.
UNENCRYPTED = "http"

_REMEDY = "Copy the base URL and the token again from the application, or make a new token there."

NOT_VALID = f"The token is wrong, has expired, was revoked, or belongs to another base URL. {_REMEDY}"


class NotAuthenticated(AuthenticationFailed):
    """Credentials that the connection does not know; an unknown base URL is answered like a wrong token."""

    def __init__(self, detail: str, caller: IdpCaller | None = None, secret: str = "") -> None:
        super().__init__(detail)
        #: The connection that was called; None for an unknown one.
        self.caller = caller
        self.secret = secret


class Admission(NamedTuple):
    """An authenticated caller, and whether it may provision its organization."""

    caller: IdpCaller
    #: Why it may not: Forbidden, or what a plugin failed with. To be raised once the body was read.
    refusal: Refusal | None = None
    #: What plugins decided on that, for the activity.
    decisions: tuple[Decision, ...] = ()


class AdmissionControl:
    """Admits identity providers to the SCIM endpoints."""

    def __init__(self, store: Store, plugins: PluginManager, callers: Callers, public_url: str) -> None:
        self._store, self._plugins, self._callers, self._public_url = store, plugins, callers, public_url

    @property
    def url_flags(self) -> frozenset[str]:
        """Flags behind a base URL that any plugin knows."""
        return self._plugins.declared.url_flags

    def admit(
        self, slug: str, credentials: Credentials, origin: Callable[[], str], trace: Trace
    ) -> Admission:
        """Authenticate the caller of a connection and check that it may provision.

        `origin` returns scheme and host as they were called; it is called where no public URL is configured. Raises
        NotAuthenticated, see `explain`.
        """
        secret = credentials.secret
        digests = self._store.tokens.digests(secret) if secret else []
        found = self._store.connections.find_for_authentication(slug, digests)
        if found is None:
            raise NotAuthenticated(NOT_VALID, None, secret)
        caller = self._caller(found, origin, trace)
        if not secret:
            trace.stranger = "no token"
            raise NotAuthenticated("The request carries no token. Enter the token as a bearer token.", caller)
        if found.token:
            own = Principal(label=found.token[1], token_id=found.token[0])
            credentials = Credentials(credentials.scheme, secret, own)
        principal = trace.record(self._plugins.authenticate(caller.words, credentials))
        if principal is None:
            trace.stranger = "wrong token"
            raise NotAuthenticated(NOT_VALID, caller, secret)
        trace.principal, trace.token_id = principal.label, principal.token_id
        if found.token and principal.token_id == found.token[0]:
            trace.token_prefix = found.token[2]
            if found.digest != digests[0]:
                self._renew(str(found.digest), digests[0])
        if trace.steps is not None:
            trace.explain("admission", caller.connection.idp, describe_sender(trace))
        return self._permit(caller)

    def _permit(self, caller: IdpCaller) -> Admission:
        """Find out whether an authenticated caller may provision its organization."""
        reasons, decisions, refusal = obstacles(self._plugins, caller.tenant)
        if not caller.connection.provisioning:
            reasons.append(
                f"Provisioning is switched off for the connection {caller.connection.name!r}. An admin of the"
                " application can switch it on there."
            )
        if refusal is None and reasons:
            refusal = Forbidden(" ".join(reasons))
        return Admission(caller, refusal, decisions)

    def find(self, slug: str, origin: Callable[[], str], trace: Trace) -> IdpCaller:
        """Return the connection of a base URL without authentication, for discovery. Raises NotFound."""
        found = self._store.connections.find_for_authentication(slug, ())
        if found is None:
            raise NotFound(f"No connection has this base URL. {_REMEDY}")
        return self._caller(found, origin, trace)

    def attribute(self, slug: str, trace: Trace) -> bool:
        """Note whose activity a refused request belongs to; False where no connection has that slug."""
        try:
            found = self._store.connections.find_for_authentication(slug, ())
        except Unavailable:
            return False
        if found is not None:
            trace.organization_id, trace.connection_uid = found.organization.id, found.connection.uid
        return found is not None

    def explain(self, refused: NotAuthenticated, trace: Trace) -> None:
        """Have the activity say why a token is not valid here; the answer says the same to everybody.

        It costs up to two statements, so web counts wrong tokens before.
        """
        if refused.caller is None:
            self._explain_unknown_slug(refused.secret, trace)
            return
        if not refused.secret:
            return
        connection = refused.caller.connection
        known, found = self._owner(refused.secret)
        if known is None or found is None or found[1].id != refused.caller.organization.id:
            if found is not None:
                trace.stranger = "token from elsewhere"
                trace.inside = (
                    "The token is one of another connection, outside of this organization. Enter the base URL and the"
                    " token of one and the same connection."
                )
                return
            trace.stranger = "unknown token"
            trace.inside = (
                "The token is unknown: it is none of this organization's. Copy it again, whole and without spaces. It"
                " was shown only once: if you no longer have it, make a new one."
            )
            return
        token = f"{known.label} {known.prefix}…".strip()
        if known.connection_id != connection.id:
            trace.stranger = f"foreign {known.prefix}"
            trace.inside = (
                f"The token {token} belongs to the connection {found[0].name!r} of this organization, not to"
                f" {connection.name!r}. Enter the base URL and the token of one and the same connection."
            )
        else:
            how, at = ("was revoked", known.revoked) if known.revoked else ("expired", known.expires)
            trace.stranger = f"{how} {known.prefix}"
            trace.inside = (
                f"The token {token} {how} on {rfc3339(at or 0)}. Make a new one in the application and enter it at the"
                " identity provider."
            )

    def _explain_unknown_slug(self, secret: str, trace: Trace) -> None:
        """Find the connection that was meant by an unknown base URL: that of the token, or the one that is nearest."""
        known, found = self._owner(secret)
        if found is None:
            found = self._store.connections.find_near(trace.slug)
        if found is None:
            return
        connection, organization = found
        trace.organization_id, trace.connection_uid = organization.id, connection.uid
        trace.stranger = "unknown base URL"
        why = (
            f"the token {known.prefix}… is one of this connection"
            if known
            else "this connection's is nearest"
        )
        # A token that was pasted there stays out of the activity.
        ending = "a token" if "pgw_" in trace.slug else excerpt(trace.slug)
        trace.inside = (
            f"No connection has a base URL that ends with {ending}, but {why}. Copy the base URL again: it"
            f" ends with {connection.slug}."
        )

    def _owner(
        self, secret: str
    ) -> tuple[RefusedToken | None, tuple[ConnectionRecord, OrganizationRecord] | None]:
        """Return the token of any connection with this value, also one that has expired, and whose it is."""
        tokens = self._store.tokens
        known = tokens.find_refused(tokens.digests(secret)) if secret else None
        return known, self._store.connections.by_key(known.connection_id) if known else None

    def _caller(self, found: AuthenticationRecord, origin: Callable[[], str], trace: Trace) -> IdpCaller:
        connection, organization, *_ = found
        trace.organization_id, trace.connection_uid = organization.id, connection.uid
        trace.idp = connection.idp
        if connection.watched_until and connection.watched_until > now():
            trace.watch()
        return self._callers.connection(connection, organization, self._public_url or origin())

    def _renew(self, old: str, new: str) -> None:
        """Store a token under the key in force that was found by an older one."""
        try:
            with self._store.transaction(BRIEF):
                self._store.tokens.renew(old, new)
        except Unavailable:
            return  # the next request with this token tries again


def describe_sender(trace: Trace) -> str:
    """Say in a sentence who was authenticated."""
    token = f" by the token {trace.token_prefix}…" if trace.token_prefix else ""
    return f"The caller is authenticated{token}{f', as {trace.principal}' if trace.principal else ''}."


def obstacles(plugins: PluginManager, tenant: Organization) -> Answered[list[str]]:
    """Find out why an organization cannot be provisioned: sentences, each with who can mend it."""
    denial, decisions, refusal = plugins.check_entitlement(tenant, FEATURE)
    reasons = [] if denial is None else [denial]
    if not tenant.sso:
        reasons.append(
            f"Single sign-on is not set up for {tenant.name}. An admin of the application has to add the identity"
            " provider's SAML metadata there before users can be provisioned."
        )
    return Answered(reasons, decisions, refusal)
