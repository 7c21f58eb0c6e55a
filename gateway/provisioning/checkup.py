"""Whether a connection can work and does: what an admin asks when an identity provider reports an error."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.host import PluginHost
from gateway.provisioning.caller import Callers
from gateway.provisioning.recorder import Recorder
from gateway.provisioning.setup import FEATURE
from gateway.store import Store
from gateway.store.clock import now, rfc3339
from gateway.store.records import ActivityRecord, ConnectionRecord, OrganizationRecord

#: Days before its end from which a token is worth a warning.
SOON = 20
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found, in plain words.

    `ok` says whether the connection can work as it is set up. What was called, and how that went, is only told: a
    refused call may be as it should be.
    """

    name: str
    ok: bool
    message: str


class Checkup:
    """Looks at a connection. Changes nothing and asks no identity provider."""

    def __init__(self, store: Store, host: PluginHost, callers: Callers, recorder: Recorder) -> None:
        self._store, self._host, self._callers, self._recorder = store, host, callers, recorder

    def of(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """All checks, in the order in which they should be mended."""
        # What was called a moment ago should be seen.
        self._recorder.flush()
        return [
            self._plan(organization),
            self._single_sign_on(organization),
            self._provisioning(connection),
            self._token(connection),
            self._last_call(organization, connection),
            self._last_failure(organization, connection),
        ]

    def _plan(self, organization: OrganizationRecord) -> Check:
        denial = self._host.check_entitlement(self._callers.tenant(organization), FEATURE, [])
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
        if self._host.declared.of(connection.idp) is None:
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
        tokens, moment = self._store.tokens.of(connection), now()
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

    def _last_call(self, organization: OrganizationRecord, connection: ConnectionRecord) -> Check:
        line = self._store.activity.last_call(organization.id, connection.uid)
        if line is None:
            message = (
                "The identity provider has not called yet. Let it test the connection; if it reports an error and this"
                " stays as it is, its base URL is not that of this connection: copy it again."
            )
            return Check("last_call", True, message)
        return Check("last_call", True, f"The last call was {_told(line)}.")

    def _last_failure(self, organization: OrganizationRecord, connection: ConnectionRecord) -> Check:
        line = self._store.activity.last_call(organization.id, connection.uid, "failure")
        if line is None:
            return Check("last_failure", True, "No call was refused, as far back as the activity goes.")
        later = self._store.activity.last_call(organization.id, connection.uid, "success")
        since = " A later call went well." if later and (later.at, later.id) > (line.at, line.id) else ""
        return Check("last_failure", True, f"The last refused call was {_told(line)}: {line.detail}{since}")


def _told(line: ActivityRecord) -> str:
    whom = f" for {line.user}" if line.user else ""
    return f"{line.operation}{whom} at {rfc3339(line.at)}, answered with {line.status}"
