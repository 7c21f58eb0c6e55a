"""Diagnostics of a connection, for an admin whose identity provider reports an error."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gateway.plugin.manager import PluginManager
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.admission import FEATURE
from gateway.provisioning.caller import Callers
from gateway.provisioning.mapped_values import MappedPath, UnruledValues, describe_unruled
from gateway.store import Store
from gateway.store.activity import ActivityFilter
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import ActivityRecord, ConnectionRecord, OrganizationRecord

#: Days before its end from which a token is worth a warning.
SOON = 20
#: Users, groups and waiting members that are looked at, however many there are; waiting members that are named.
USERS, GROUPS, MEMBERS, EXAMPLES = 1000, 10_000, 1000, 3
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Check:
    """One check of a connection, and its finding in plain words.

    `ok` says whether the connection can work as it is set up. Calls and their outcomes are
    findings without a verdict: a refused call may be as it should be.
    """

    name: str
    ok: bool
    message: str


class Diagnostics:
    """Checks connections. Changes nothing and calls no identity provider."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        callers: Callers,
        activity_writer: ActivityWriter,
        unruled: UnruledValues,
    ) -> None:
        self._store, self._plugins, self._callers, self._activity_writer = (
            store,
            plugins,
            callers,
            activity_writer,
        )
        self._unruled = unruled

    def of(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Return all checks of a connection, in the order in which they should be mended."""
        # The activity of a moment ago is part of it.
        self._activity_writer.flush_briefly()
        return [
            self._plan(organization),
            self._single_sign_on(organization),
            self._provisioning(connection),
            self._token(connection),
            *self._map_to_groups(organization, connection),
            *self._waiting(organization, connection),
            *self._last_partial(organization, connection),
            self._last_call(organization, connection),
            self._last_failure(organization, connection),
        ]

    def _plan(self, organization: OrganizationRecord) -> Check:
        denial = self._plugins.check_entitlement(self._callers.tenant(organization), FEATURE).result()
        return Check("plan", denial is None, denial or f"The plan {organization.plan} has provisioning.")

    def _single_sign_on(self, organization: OrganizationRecord) -> Check:
        values = organization.sso_values
        if values is None:
            message = "Single sign-on is not set up: add the SAML metadata of the identity provider."
            return Check("single_sign_on", False, message)
        ends = values["certificate_expires_at"]
        if ends < rfc3339(now()):
            return Check(
                "single_sign_on", False, f"The certificate of {values['entity_id']} ended on {ends[:10]}."
            )
        message = f"Set up with {values['entity_id']}; its certificate holds until {ends[:10]}."
        return Check("single_sign_on", True, message)

    def _provisioning(self, connection: ConnectionRecord) -> Check:
        if self._plugins.declared.of(connection.idp) is None:
            return Check(
                "provisioning",
                False,
                f"The plugin {connection.idp} is not installed, or it is disabled: every call is refused until the"
                " operator of the application brings it back.",
            )
        if connection.provisioning:
            return Check("provisioning", True, "Provisioning is switched on.")
        return Check(
            "provisioning", False, "Provisioning is switched off: every call is refused until it is on."
        )

    def _token(self, connection: ConnectionRecord) -> Check:
        tokens, moment = self._store.tokens.by_connection(connection), now()
        live = [token for token in tokens if token.expires is None or token.expires > moment]
        if not live:
            gone = "All tokens have expired" if tokens else "There is no token"
            return Check("token", False, f"{gone}: make one and enter it at the identity provider.")
        longest = max(live, key=lambda token: token.expires or 1 << 62)
        if longest.expires is None:
            return Check("token", True, f"The token {longest.prefix}… does not expire.")
        days, day = (longest.expires - moment) // _DAY, rfc3339(longest.expires)[:10]
        message = f"The token {longest.prefix}… is valid until {day}, {days} days from now."
        if days <= SOON:
            message = (
                f"The token {longest.prefix}… ends soon, on {day}: make another and enter it there in time."
            )
        return Check("token", True, message)

    # Warnings of what was left out: nothing where there is nothing to warn of.

    def _map_to_groups(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Name the values of the newest users that no rule covers."""
        attribute = connection.mapping_attribute
        if (
            not connection.mapping_enabled
            or not attribute
            or self._plugins.declared.of(connection.idp) is None
        ):
            return []
        caller = self._callers.connection(connection, organization, "")
        path, rules = MappedPath.parse(caller.kept, attribute), self._unruled.rules(caller)
        users = self._store.portions.find_newest(connection, [path.names], USERS)
        met: Counter[str] = Counter()
        without = 0
        for user in users:
            values = [value for value in path.values_in_part(user.parts[0]) if value not in rules.exact]
            met.update(values)
            without += bool(values)
        if not met:
            return []
        # The most frequent first.
        near, others = rules.find_unruled(value for value, _ in met.most_common())
        looked = f"the newest {len(users)} users" if len(users) > 1 else "the newest user"
        has = "user has" if without == 1 else "users have"
        said = " ".join(describe_unruled(attribute, near, others, met))
        return [
            Check("map_to_groups", True, f"Of {looked}, {without} {has} a value that no rule covers. {said}")
        ]

    def _waiting(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Name members of pushed groups who are not provisioned."""
        found = self._store.waiting_members.newest(organization.id, connection.id, MEMBERS + 1, GROUPS)
        if not found:
            return []
        many = f"more than {MEMBERS}" if len(found) > MEMBERS else str(len(found))
        of = "member" if len(found) == 1 else "members"
        examples = ", ".join(f"{uid[:80]} of {name[:80]!r}" for name, uid in found[:EXAMPLES])
        message = (
            f"Pushed groups wait for {many} {of} whom this connection has not provisioned: {examples}. Assign these"
            " users to the application at the identity provider, or take them out of the groups there."
        )
        return [Check("waiting_members", True, message)]

    def _last_partial(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        wanted = ActivityFilter(connection=connection.uid, outcome="partial")
        found = self._store.activity.search(organization.id, None, 1, wanted).lines
        return [
            Check(
                "last_partial",
                True,
                f"The last call that left something out was {_describe_line(line)}: {line.detail}"
                f"{self._since(organization, connection, line)}",
            )
            for line in found
        ]

    def _since(
        self, organization: OrganizationRecord, connection: ConnectionRecord, line: ActivityRecord
    ) -> str:
        """Return a sentence where a later call was done in full."""
        later = self._store.activity.last_call(organization.id, connection.uid, "success")
        return " A later call went well." if later and (later.at, later.id) > (line.at, line.id) else ""

    def _last_call(self, organization: OrganizationRecord, connection: ConnectionRecord) -> Check:
        line = self._store.activity.last_call(organization.id, connection.uid)
        if line is None:
            message = (
                "The identity provider has not called yet. Let it test the connection; if it reports an error and this"
                " stays as it is, its base URL is not that of this connection: copy it again."
            )
            return Check("last_call", True, message)
        return Check("last_call", True, f"The last call was {_describe_line(line)}.")

    def _last_failure(self, organization: OrganizationRecord, connection: ConnectionRecord) -> Check:
        line = self._store.activity.last_call(organization.id, connection.uid, "failure")
        if line is None:
            return Check("last_failure", True, "No call was refused, as far back as the activity goes.")
        since = self._since(organization, connection, line)
        return Check(
            "last_failure", True, f"The last refused call was {_describe_line(line)}: {line.detail}{since}"
        )


def _describe_line(line: ActivityRecord) -> str:
    whom = f" for {line.user}" if line.user else ""
    return f"{line.operation}{whom} at {rfc3339(line.at)}, answered with {line.status}"
