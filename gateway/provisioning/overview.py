"""How an organization stands: the steps of setting up, each connection with its tokens, and the one thing to do next.

What is returned is plain values; pages add links and words for buttons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.plugin.contracts import Billing
from gateway.plugin.manager import PluginManager
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.admission import FEATURE
from gateway.provisioning.caller import Callers
from gateway.provisioning.diagnostics import SOON
from gateway.provisioning.history import History
from gateway.provisioning.token_rotation import is_live
from gateway.store import Store
from gateway.store.ids_and_time import DAY, now, rfc3339
from gateway.store.records import ActivityRecord, ConnectionRecord, OrganizationRecord, TokenRecord

#: Connections of an organization that are looked at.
CONNECTIONS = 50
#: The steps of setting up, in their order, and what may be left to do after them.
PLAN, SSO, CONNECT, SWITCH, TOKEN, CALL = (
    "plan",
    "single_sign_on",
    "connection",
    "provisioning",
    "token",
    "first_call",
)
RENEW, CERTIFICATE, REFUSED, MAPPING, NOTHING = ("renew", "certificate", "refused", "mapping", "nothing")
#: A decision that is wanted before all of these.
HELD = "removals_held"
#: A decision after which something is to be done at the identity provider.
REJECTED = "removals_rejected"


class Step(NamedTuple):
    """A step of setting up; `detail` says how it stands."""

    name: str
    title: str
    done: bool
    detail: str


class ConnectionState(NamedTuple):
    """A connection, the name of its identity provider, its tokens and its newest calls."""

    connection: ConnectionRecord
    title: str
    plugin_missing: bool
    tokens: Sequence[TokenRecord]
    #: The newest request of the identity provider, and the newest one that was carried out.
    last_call: ActivityRecord | None
    last_done: ActivityRecord | None
    #: Groups that the identity provider has pushed.
    groups: int = 0

    @property
    def live_tokens(self) -> list[TokenRecord]:
        """Return the tokens that have not expired."""
        return [token for token in self.tokens if is_live(token)]

    @property
    def lasting_token(self) -> TokenRecord | None:
        """Return the live token that ends last, None where there is none."""
        return max(self.live_tokens, key=lambda token: token.expires or 1 << 62, default=None)

    @property
    def works(self) -> bool:
        """Whether a call was carried out, as far back as the activity goes."""
        return self.last_done is not None


class NextStep(NamedTuple):
    """The one thing to do next: a name of this module, what to do, why, and for which connection."""

    name: str
    title: str
    text: str
    connection: ConnectionRecord | None = None


class Overview(NamedTuple):
    """How an organization stands."""

    organization: OrganizationRecord
    #: Why its plan has no provisioning, and who can change that; None where it has.
    denial: str | None
    billing: Billing
    connections: Sequence[ConnectionState]
    #: Calls of identity providers that were refused in the last 24 hours.
    refused: int

    @property
    def obstacles(self) -> list[str]:
        """Return why provisioning cannot be turned on, in sentences."""
        reasons = [] if self.denial is None else [self.denial]
        if self.organization.sso is None:
            reasons.append("Single sign-on comes first: paste the SAML metadata of the identity provider.")
        return reasons

    def state_of(self, uid: str | None) -> ConnectionState | None:
        """Return the connection of an id, by default the first one; None where there is none."""
        if uid is None:
            return self.connections[0] if self.connections else None
        return next((state for state in self.connections if state.connection.uid == uid), None)

    def steps(self, state: ConnectionState | None) -> list[Step]:
        """Return the steps of setting up a connection, None for one that has to be chosen first."""
        plan = self.denial or f"The plan {self.organization.plan} has provisioning."
        steps = [
            Step(PLAN, "Plan", self.denial is None, plan),
            Step(SSO, "Single sign-on", self.organization.sso is not None, self._single_sign_on()),
        ]
        if state is None:
            steps += [Step(CONNECT, "Identity provider", False, "Choose the one that your company uses.")]
            return steps + [
                Step(name, title, False, "After the identity provider was chosen.")
                for name, title in ((SWITCH, "Provisioning"), (TOKEN, "Bearer token"), (CALL, "First call"))
            ]
        on, token = bool(state.connection.provisioning), state.lasting_token
        return [
            *steps,
            Step(CONNECT, "Identity provider", not state.plugin_missing, _idp_detail(state)),
            Step(SWITCH, "Provisioning", on, "Turned on." if on else "Turned off: every call is refused."),
            Step(TOKEN, "Bearer token", token is not None, _token_detail(state)),
            Step(CALL, "First call", state.works, _call_detail(state)),
        ]

    def next_step(self, held: str | None = None, rejected: str | None = None) -> NextStep:
        """Return the one thing to do next, `NOTHING` where all is done.

        `held`: the id of a connection whose removals wait for a decision; `rejected`: of one whose removals are refused
        since they were rejected.
        """
        if held is not None and (state := self.state_of(held)):
            return NextStep(
                HELD,
                "Decide on the removals that are held",
                f"{state.connection.name} removes more people at once than its limit allows. They keep their access"
                " until somebody allows or rejects that.",
                state.connection,
            )
        if self.denial is not None:
            return NextStep(PLAN, "Change the plan", self.denial)
        if self.organization.sso is None:
            return NextStep(
                SSO,
                "Set up single sign-on",
                "Provisioning needs it. Paste the SAML metadata of your identity provider.",
            )
        if not self.connections:
            return NextStep(
                CONNECT, "Choose your identity provider", "It will send your people and groups here."
            )
        for decide in (_to_set_up, _to_renew):
            for state in self.connections:
                if found := decide(state):
                    return found
        return self._certificate() or self._rejected(rejected) or self._refused() or self._mapping()

    def _single_sign_on(self) -> str:
        values = self.organization.sso_values
        if values is None:
            return "Paste the SAML metadata of the identity provider."
        ends = values["certificate_expires_at"]
        ended = ends < rfc3339(now())
        return f"Its certificate {'ended' if ended else 'holds until'} {ends[:10]}."

    def _certificate(self) -> NextStep | None:
        values = self.organization.sso_values
        assert values is not None
        ends = values["certificate_expires_at"]
        if ends > rfc3339(now() + SOON * DAY):
            return None
        ended = "ended" if ends < rfc3339(now()) else "ends"
        return NextStep(
            CERTIFICATE,
            "Renew the single sign-on certificate",
            f"The certificate of {values['entity_id']} {ended} on {ends[:10]}. Renew it at the identity provider, then"
            " paste its new metadata here.",
        )

    def _rejected(self, rejected: str | None) -> NextStep | None:
        state = self.state_of(rejected) if rejected is not None else None
        if state is None:
            return None
        name = state.connection.name
        return NextStep(
            REJECTED,
            f"Assign the people again in {name}",
            f"Somebody rejected removals of {name}, and all further ones are refused meanwhile. Assign the people again"
            " there, then undo what was removed before; or allow the removals after all.",
            state.connection,
        )

    def _refused(self) -> NextStep | None:
        if not self.refused:
            return None
        calls = "1 call was" if self.refused == 1 else f"{self.refused:,} calls were"
        return NextStep(
            REFUSED,
            "Look at the refused calls",
            f"{calls} refused in the last 24 hours. Each says why, and what to do.",
        )

    def _mapping(self) -> NextStep:
        if not any(state.connection.mapping_enabled or state.groups for state in self.connections):
            return NextStep(
                MAPPING,
                "Map to groups",
                "Provisioning works. If you like, have people put into groups by what your identity provider says"
                " of them; you can leave this out.",
                self.connections[0].connection,
            )
        return NextStep(NOTHING, "Nothing to do", "Provisioning works, and nothing needs your attention.")


class Overviews:
    """Reads how organizations stand. Nothing is changed here, and no identity provider is called."""

    def __init__(
        self, store: Store, plugins: PluginManager, callers: Callers, activity_writer: ActivityWriter, history: History,
    ) -> None:  # fmt: skip
        self._store, self._plugins, self._callers = store, plugins, callers
        self._activity_writer, self._history = activity_writer, history

    def of(self, organization: OrganizationRecord, only: ConnectionRecord | None = None) -> Overview:
        """Return how an organization stands, with its first `CONNECTIONS` connections or with one of them alone."""
        # Calls of a moment ago, and uses of tokens, are part of it.
        self._activity_writer.flush_briefly()
        tenant = self._callers.tenant(organization)
        connections = [only] if only else self._store.connections.page(organization, 0, CONNECTIONS)
        denial, _, failure = self._plugins.check_entitlement(tenant, FEATURE)
        return Overview(
            organization,
            failure.detail if failure else denial,
            tenant.billing,
            [self._state(each) for each in connections],
            self._history.refused_calls(organization),
        )

    def last_calls(self, connection: ConnectionRecord, limit: int) -> list[ActivityRecord]:
        """Return the newest requests of a connection's identity provider, those with a wrong token included."""
        self._activity_writer.flush_briefly()
        return self._store.activity.last_calls(connection.organization_id, connection.uid, limit)

    def _state(self, connection: ConnectionRecord) -> ConnectionState:
        declared, activity = self._plugins.declared, self._store.activity
        last = activity.last_call(connection.organization_id, connection.uid)
        done = last
        if last is not None and last.outcome == "failure":
            done = activity.last_call(connection.organization_id, connection.uid, "done")
        return ConnectionState(
            connection,
            declared.title(connection.idp),
            declared.of(connection.idp) is None,
            self._store.tokens.by_connection(connection),
            last,
            done,
            self._store.organizations.tally_of_connection(connection.organization_id, "Group", connection.id),
        )


def _to_set_up(state: ConnectionState) -> NextStep | None:
    """Return the first step of setting up a connection that is open."""
    connection, title = state.connection, state.title
    if state.plugin_missing:
        return NextStep(
            CONNECT, f"Ask the operator of the application about {connection.name}", _idp_detail(state),
            connection,
        )  # fmt: skip
    if not connection.provisioning:
        return NextStep(
            SWITCH,
            "Turn on SCIM provisioning",
            f"{connection.name} is turned off: every call of {title} is refused.",
            connection,
        )
    if state.lasting_token is None:
        return NextStep(
            TOKEN,
            "Generate a bearer token",
            f"{_token_detail(state)} {title} needs one for {connection.name}.",
            connection,
        )
    if not state.works:
        return NextStep(
            CALL,
            f"Paste base URL and token in {title}, and test",
            f"{_call_detail(state)} The steps for {title} stand beside the test.",
            connection,
        )
    return None


def _to_renew(state: ConnectionState) -> NextStep | None:
    """Return that the last token of a connection ends soon."""
    token = state.lasting_token
    if token is None or token.expires is None or token.expires > now() + SOON * DAY:
        return None
    return NextStep(
        RENEW,
        "Replace the token that ends soon",
        f"{_token_detail(state)} Make a new one and paste it in {state.title} before that day.",
        state.connection,
    )


def _idp_detail(state: ConnectionState) -> str:
    if state.plugin_missing:
        return (
            f"The plugin {state.connection.idp} is not installed, or it is disabled: every call is refused until the"
            " operator of the application brings it back."
        )
    name = state.connection.name
    return f"{state.title}." if name == state.title else f"{name} ({state.title})."


def _token_detail(state: ConnectionState) -> str:
    token = state.lasting_token
    if token is None:
        return "All tokens have expired." if state.tokens else "There is no token yet."
    if token.expires is None:
        return f"The token {token.prefix}… does not expire."
    days = -(-(token.expires - now()) // DAY)
    ends = f"ends in {days} days" if days > 1 else "ends within a day"
    return f"The token {token.prefix}… {ends}."


def _call_detail(state: ConnectionState) -> str:
    if state.works:
        return f"{state.title} has called, and was answered."
    if state.last_call is not None:
        return f"Each call of {state.title} was refused so far."
    return f"{state.title} has not called yet."
