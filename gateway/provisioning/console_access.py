"""Who may use the console: links that open it once, sign-in with an admin token, sessions and their rights.

A right opens pages and changes; what a session may do is decided by its link or token at every request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken

from gateway.plugin.contracts import Credentials
from gateway.provisioning.admin_tokens import OPERATOR, AdminAccess, check_expiry
from gateway.provisioning.caller import Caller, Callers
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.scim.errors import AuthenticationFailed, Conflict, Forbidden, InvalidValue, NotFound, Unavailable
from gateway.scim.json_text import excerpt, fold
from gateway.store import Store
from gateway.store.console import CONSOLE, SETUP
from gateway.store.engine.base import BRIEF
from gateway.store.ids_and_time import HOUR, MINUTE, in_words, now
from gateway.store.records import (
    ConsoleLinkRecord,
    ConsoleSessionRecord,
    OrganizationRecord,
)

log = logging.getLogger("gateway")

#: What a session may do: look; single sign-on; connections, their switch and tokens; Map to groups; users and groups
#: by hand; webhooks; everything of the operator.
VIEW, SSO, CONNECTIONS, MAPPING, PEOPLE, WEBHOOKS, OPERATE = (
    "view",
    "sso",
    "connections",
    "mapping",
    "people",
    "webhooks",
    "operate",
)
#: The rights that a setup link can give.
SETUP_RIGHTS = (SSO, CONNECTIONS, MAPPING)
#: The roles of sessions, and their rights; those of a setup link are in the link.
ADMIN, VIEWER, SETUP_ROLE, OPERATOR_ROLE = "admin", "viewer", "setup", "operator"
_RIGHTS = {
    ADMIN: frozenset({VIEW, SSO, CONNECTIONS, MAPPING, PEOPLE, WEBHOOKS}),
    VIEWER: frozenset({VIEW}),
    OPERATOR_ROLE: frozenset({VIEW, SSO, CONNECTIONS, MAPPING, PEOPLE, WEBHOOKS, OPERATE}),
}
#: How long a console link can be redeemed, and a session lasts at most.
CONSOLE_LINK_LASTS, SESSION_LASTS = 5 * MINUTE, 8 * HOUR
#: How long a session lasts without a request, by role.
_IDLE = {ADMIN: HOUR, VIEWER: HOUR, SETUP_ROLE: SESSION_LASTS, OPERATOR_ROLE: HOUR // 2}
#: Values under one name that wait to be shown, and attempts to store one that another tab's keeps back.
_MOST_LEFT, _ATTEMPTS = 20, 16
#: Setup links of an organization that can be redeemed at once.
MOST_OPEN_LINKS = 3


class Session(NamedTuple):
    """A session that is valid now: its record, what it may do, and the cookie's secret."""

    record: ConsoleSessionRecord
    rights: frozenset[str]
    secret: str

    def __repr__(self) -> str:
        """Leave out the secret."""
        return f"Session({self.record.uid!r}, {self.record.role!r})"

    @property
    def only_organization(self) -> int | None:
        """Key of the only organization that the session opens; None for an operator's, which opens all."""
        return self.record.organization_id


class ConsoleAccess:
    """Makes and redeems links, and looks after sessions."""

    def __init__(
        self, store: Store, units_of_work: UnitsOfWork, callers: Callers, admin_access: AdminAccess,
        configured_token: str, return_origins: Sequence[str],
    ) -> None:  # fmt: skip
        self._store, self._units_of_work, self._callers = store, units_of_work, callers
        self._admin_access, self._return_origins = admin_access, return_origins
        #: Names the configured token in a session, so that the session ends when the token is replaced.
        self._configured = (
            f"configured {hashlib.blake2b(configured_token.encode(), digest_size=16).hexdigest()}"
        )

    # Links ----------------------------------------------------------------------------------------------------------

    def add_setup_link(
        self, caller: Caller, email: str | None, rights: Sequence[str], hours: int, trace: Trace,
        latest: int | None = None,
    ) -> tuple[ConsoleLinkRecord, str]:  # fmt: skip
        """Make a link for a stranger and return it with its secret, which is shown this once.

        `latest` is the end of the admin token that is used, in microseconds, None for never. Raises Forbidden for a
        link that outlives it, InvalidValue for the name of the operator, and Conflict where too many links of the
        organization can be redeemed already.
        """
        expires = now() + hours * HOUR
        check_expiry(latest, expires)
        _check_person(email)
        with self._units_of_work.open(caller, trace):
            links = self._store.console_links
            if links.count_open(caller.organization, SETUP) >= MOST_OPEN_LINKS:
                raise Conflict(
                    f"{caller.organization.name} has {MOST_OPEN_LINKS} setup links that nobody has opened yet. Revoke"
                    " one of them first."
                )
            link, value = links.add(
                caller.organization,
                SETUP,
                email or "setup link",
                SETUP_ROLE,
                rights,
                expires,
                trace.principal,
                email,
            )
            trace.target = Target("SetupLink", link.uid, email)
            return link, value

    def add_console_link(
        self, caller: Caller, person: str, role: str, return_url: str | None, trace: Trace,
        latest: int | None = None,
    ) -> tuple[ConsoleLinkRecord, str]:  # fmt: skip
        """Make a link for somebody whom the application has signed in, and return it with its secret.

        Raises InvalidValue for a `return_url` that leads elsewhere than to the application, else as `add_setup_link`
        does.
        """
        expires = now() + CONSOLE_LINK_LASTS
        check_expiry(latest, expires)
        _check_person(person)
        if return_url is not None:
            self._check_return_url(return_url)
        with self._units_of_work.open(caller, trace):
            link, value = self._store.console_links.add(
                caller.organization,
                CONSOLE,
                person,
                role,
                (),
                expires,
                trace.principal,
                return_url=return_url,
            )
            trace.target = Target("ConsoleLink", link.uid, person)
            return link, value

    def _check_return_url(self, url: str) -> None:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" not in self._return_origins:
            raise InvalidValue(
                "return_url leads to no origin of the application. The operator names its origins in"
                " GATEWAY_CONSOLE_RETURN_ORIGINS, as in https://app.acme.test."
            )

    def setup_links(
        self, organization: OrganizationRecord, after: int, limit: int
    ) -> list[ConsoleLinkRecord]:
        """Return the setup links of an organization, in the order of making."""
        return self._store.console_links.page(organization, SETUP, after, limit)

    def revoke_setup_link(self, caller: Caller, uid: str, trace: Trace) -> None:
        """Revoke a setup link; the sessions that it opened end. Raises NotFound."""
        links = self._store.console_links
        with self._units_of_work.open(caller, trace):
            link = links.by_id(caller.organization, SETUP, uid)
            if link is None:
                raise NotFound(f"There is no setup link with the id {excerpt(uid)} here.")
            links.revoke(link)
            trace.target = Target("SetupLink", link.uid, link.email)

    def redeem(self, secret: str, address: str, trace: Trace) -> str:
        """Use a link up and return the cookie's secret of the session that it opens.

        Of two at once exactly one succeeds. Raises AuthenticationFailed, which says whether the link was used, revoked
        or has expired.
        """
        links = self._store.console_links
        link = links.find(secret.strip())
        if link is None:
            raise AuthenticationFailed(
                "This is not the code of a link of this gateway, or a part of it is missing. Open the whole link that"
                " you were sent, or ask for a new one."
            )
        organization = self._store.organizations.by_key(link.organization_id)
        trace.target = Target(_TYPES[link.kind], link.uid, link.email)
        trace.organization_id, trace.stranger = organization.id, f"link {link.uid}"
        if link.state(now()) != "open":
            raise AuthenticationFailed(_why_not(link))
        trace.principal = link.person
        with self._units_of_work.open(self._callers.admin(organization), trace):
            if not links.use(link, address):
                trace.principal = None
                raise AuthenticationFailed(_why_not(links.find(secret.strip()) or link))
            _, value = self._store.console_sessions.add(
                organization.id, "link", link.person, link.role, json.loads(link.rights), now() + SESSION_LASTS,
                address, link_id=link.id, return_url=link.return_url,
            )  # fmt: skip
        return value

    # Sessions -------------------------------------------------------------------------------------------------------

    def sign_in(self, token: str, address: str, trace: Trace) -> str:
        """Open a session with an admin token and return the cookie's secret.

        Raises AuthenticationFailed, and Forbidden for a token that opens only the feeds of events.
        """
        admin_token = self._admin_access.authenticate(Credentials("bearer", token.strip()), trace)
        expires = now() + SESSION_LASTS
        if admin_token is None:
            return self._open(None, self._configured, OPERATOR, OPERATOR_ROLE, expires, address)
        role = _role_of(admin_token.organization_id, admin_token.scope)
        if role is None:
            raise Forbidden(
                "This admin token opens the feeds of events only. Sign in with one of the scope full or read."
            )
        if admin_token.expires is not None:
            expires = min(expires, admin_token.expires)
        trace.target = Target("AdminToken", admin_token.uid, f"{admin_token.name} ({admin_token.prefix}…)")
        with self._change(admin_token.organization_id, trace):
            return self._open(
                admin_token.organization_id, "token", admin_token.name, role, expires, address, admin_token.id
            )

    def sign_in_operator(self, person: str, source: str, address: str) -> str:
        """Open a session for an operator whom another service has authenticated; return the cookie's secret."""
        return self._open(None, source, person, OPERATOR_ROLE, now() + SESSION_LASTS, address)

    def _open(
        self, organization_id: int | None, source: str, person: str, role: str, expires: int, address: str,
        admin_token_id: int | None = None,
    ) -> str:  # fmt: skip
        with self._store.transaction():
            uid, value = self._store.console_sessions.add(
                organization_id, source, person, role, (), expires, address, admin_token_id=admin_token_id
            )
        log.info("session %s of the console opened for %s (%s) from %s", uid, excerpt(person), role, address)
        return value

    def find_session(self, secret: str, sources: Sequence[str] = ()) -> Session | None:
        """Return the session of a cookie, None if there is none or it has ended. `sources`: others that hold now."""
        found = self._store.console_sessions.find(secret)
        if found is None or (rights := self._rights(found, sources)) is None:
            return None
        moment = now()
        if moment - found.seen >= MINUTE:
            try:
                with self._store.transaction(BRIEF):
                    self._store.console_sessions.record_use(found, moment)
            except Unavailable:
                pass
        return Session(found, rights, secret)

    def was_session(self, secret: str) -> bool:
        """Return whether a cookie is one of a session, though it may have ended."""
        return self._store.console_sessions.find(secret) is not None

    def _rights(self, session: ConsoleSessionRecord, sources: Sequence[str]) -> frozenset[str] | None:
        """Return what a session may do now, None if it has ended."""
        moment = now()
        if session.ended is not None or session.expires <= moment or session.link_revoked is not None:
            return None
        if moment - session.seen > _IDLE[session.role]:
            return None
        if session.source == "token":
            return _rights_of_token(session) if (session.token_expires or moment + 1) > moment else None
        if session.source == "link" and session.role == SETUP_ROLE:
            return frozenset({VIEW, *json.loads(session.rights)})
        known = session.source == "link" or hmac.compare_digest(session.source, self._configured)
        return _RIGHTS[session.role] if known or session.source in sources else None

    def end(self, session: ConsoleSessionRecord) -> None:
        """End a session."""
        with self._store.transaction():
            self._store.console_sessions.end(session)
        log.info("session %s of the console ended", session.uid)

    def end_by_id(self, session: Session, uid: str, trace: Trace) -> None:
        """End a session that another one sees. Raises NotFound, and Forbidden for one of somebody else to a viewer."""
        found = self._store.console_sessions.by_id(session.only_organization, uid)
        if found is None:
            raise NotFound(f"There is no session with the id {excerpt(uid)} here.")
        if PEOPLE not in session.rights and found.uid != session.record.uid:
            raise Forbidden("You are signed in to look, and can end no session but your own.")
        trace.target = Target("Session", found.uid, found.person)
        with self._change(found.organization_id, trace):
            self.end(found)

    @contextmanager
    def _change(self, organization_id: int | None, trace: Trace) -> Iterator[None]:
        """Run a transaction that leaves a line in the activity of the organization, where there is one."""
        if organization_id is None:
            with self._store.transaction():
                yield
            return
        organization = self._store.organizations.by_key(organization_id)
        trace.organization_id = organization.id
        with self._units_of_work.open(self._callers.admin(organization), trace):
            yield

    def sessions(
        self, session: Session, organization: OrganizationRecord | None, limit: int = 100
    ) -> list[tuple[ConsoleSessionRecord, bool]]:
        """Return the newest sessions, of an organization or of all that `session` sees, and whether each is valid."""
        key = organization.id if organization else session.only_organization
        found = self._store.console_sessions.newest(key, limit)
        return [(each, self._is_valid(each)) for each in found]

    def _is_valid(self, session: ConsoleSessionRecord) -> bool:
        sources = [session.source] if session.source.startswith("oidc ") else []
        return self._rights(session, sources) is not None

    # What is shown once ---------------------------------------------------------------------------------------------

    def leave(self, session: Session, name: str, value: Any) -> None:
        """Store JSON for a later page of the session, encrypted with the cookie's secret, which the database lacks.

        What is stored under the name already stays: two tabs may have left a value each. Raises Conflict.
        """
        sessions, fernet = self._store.console_sessions, _fernet(session.secret)
        for _ in range(_ATTEMPTS):
            with self._store.transaction():
                before = sessions.read_sealed(session.record)
                left = _unseal(fernet, before)
                left[name] = [*left.get(name, ()), value][-_MOST_LEFT:]
                sealed = fernet.encrypt(json.dumps(left).encode()).decode()
                if sessions.write_sealed(session.record, sealed, before):
                    return
        raise Conflict(
            "It was made, but cannot be shown: your session has ended. Revoke it and make another one."
        )

    def take(self, session: Session, name: str) -> list[Any]:
        """Return what `leave` stored under a name, once, in its order.

        A database that cannot be written yields nothing, and keeps it until it can.
        """
        sessions, fernet = self._store.console_sessions, _fernet(session.secret)
        for _ in range(_ATTEMPTS):
            before = sessions.read_sealed(session.record)
            if name not in (left := _unseal(fernet, before)):
                break
            values: list[Any] = left.pop(name)
            sealed = fernet.encrypt(json.dumps(left).encode()).decode() if left else None
            try:
                with self._store.transaction():
                    if sessions.write_sealed(session.record, sealed, before):
                        return values
            except Unavailable:
                break
        return []


_TYPES = {SETUP: "SetupLink", CONSOLE: "ConsoleLink"}


def _check_person(name: str | None) -> None:
    """Refuse the name that the activity has for the operator. Raises InvalidValue."""
    if name is not None and fold(name.strip()) == OPERATOR:
        raise InvalidValue(
            f"The name {name!r} is reserved: the activity has it for the operator. Name the person, as in it@acme.test."
        )


def _role_of(organization_id: int | None, scope: str) -> str | None:
    """Return the role that an admin token gives, None for none."""
    if scope == "events":
        return None
    if organization_id is None:
        return OPERATOR_ROLE
    return ADMIN if scope == "full" else VIEWER


def _rights_of_token(session: ConsoleSessionRecord) -> frozenset[str] | None:
    """Return the rights that the admin token of a session gives now: one that only reads opens the same pages."""
    scope = session.token_scope
    role = None if scope is None else _role_of(session.organization_id, scope)
    if role is None:
        return None
    return _RIGHTS[role] if scope == "full" else _RIGHTS[role] & {VIEW}


def _why_not(link: ConsoleLinkRecord) -> str:
    """Return why a link cannot be redeemed."""
    if link.revoked is not None:
        return f"This link was revoked on {in_words(link.revoked)}. Ask for a new one."
    if link.used is not None:
        return (
            f"This link was opened already, on {in_words(link.used)}; it opens the console once. If that was not"
            " you, tell the sender, who can revoke it. Ask for a new one."
        )
    return f"This link expired on {in_words(link.expires)}. Ask for a new one."


def _fernet(secret: str) -> Fernet:
    key = hashlib.blake2b(secret.encode(), digest_size=32, person=b"gateway console").digest()
    return Fernet(base64.urlsafe_b64encode(key))


def _unseal(fernet: Fernet, sealed: str | None) -> dict[str, Any]:
    if not sealed:
        return {}
    try:
        left: dict[str, Any] = json.loads(fernet.decrypt(sealed.encode()))
        return left
    except InvalidToken:
        return {}
