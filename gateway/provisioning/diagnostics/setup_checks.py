"""Checks of how a connection is set up: plan, single sign-on, switch, tokens, seats, and what surrounds it."""

from __future__ import annotations

from gateway.plugin.contracts import SeatRequest
from gateway.plugin.manager import PluginManager
from gateway.provisioning.admission import FEATURE
from gateway.provisioning.caller import Callers
from gateway.provisioning.diagnostics.checks import DAILY, WEEKLY, Check, Level, count
from gateway.provisioning.diagnostics.pages import PROVISIONING
from gateway.provisioning.safety.settings import ALL, read_pause
from gateway.store import Store
from gateway.store.brakes import REJECTED, WAITING
from gateway.store.ids_and_time import DAY, in_words, now, rfc3339
from gateway.store.records import ConnectionRecord, OrganizationRecord
from gateway.store.webhooks import ORGANIZATION

#: Days before its end from which the one thing to do next is to renew a token or certificate.
SOON = 20
#: Days before its end from which it is worth a note, a warning, and a warning each day.
NOTED, WARNED, URGENT = 30, 14, 1
#: Names that a sentence lists.
EXAMPLES = 3
#: Webhooks, domains and waiting people that are counted at most.
COUNTED = 1000


class SetupChecks:
    """Reads how a connection and its organization are set up."""

    def __init__(self, store: Store, plugins: PluginManager, callers: Callers) -> None:
        self._store, self._plugins, self._callers = store, plugins, callers

    def obstacles(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Return the four that decide whether the connection can work at all, in the order of setting up."""
        return [
            self._plan(organization),
            self._single_sign_on(organization),
            self._provisioning(connection),
            self._token(connection),
        ]

    def surroundings(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Return what else bears on it; nothing where there is nothing to say."""
        return [
            *_pause(connection),
            *self._hold(connection),
            *self._seats(organization),
            *self._adoption(connection),
            *self._domains(organization),
            *self._webhooks(organization),
        ]

    def _plan(self, organization: OrganizationRecord) -> Check:
        denial = self._plugins.check_entitlement(self._callers.tenant(organization), FEATURE).result()
        if denial is None:
            return Check("plan", "ok", f"The plan {organization.plan} has provisioning.")
        return Check("plan", "broken", denial, every=DAILY)

    def _single_sign_on(self, organization: OrganizationRecord) -> Check:
        name, values = "single_sign_on", organization.sso_values
        if values is None:
            return Check(
                name,
                "broken",
                "Single sign-on is not set up.",
                "Add the SAML metadata of the identity provider.",
                every=DAILY,
            )
        ends, entity, moment = values["certificate_expires_at"], values["entity_id"], now()
        remedy = "Renew the certificate at the identity provider, then paste its new SAML metadata."
        if ends < rfc3339(moment):
            message = f"The certificate of {entity} ended on {ends[:10]}."
            return Check(name, "broken", message, remedy, every=DAILY)
        for days, level in ((URGENT, "warn"), (WARNED, "warn"), (NOTED, "note")):
            if ends < rfc3339(moment + days * DAY):
                message = (
                    f"The certificate of {entity} ends soon, on {ends[:10]}: nobody signs in after that."
                )
                return Check(name, _level(level), message, remedy, every=_every(days))
        return Check(name, "ok", f"Set up with {entity}; its certificate holds until {ends[:10]}.")

    def _provisioning(self, connection: ConnectionRecord) -> Check:
        name = "provisioning"
        if self._plugins.declared.of(connection.idp) is None:
            return Check(
                name,
                "broken",
                f"The plugin {connection.idp} is not installed, or it is disabled: every call is refused until the"
                " operator of the application brings it back.",
                "Ask the operator of the application to install it.",
                every=DAILY,
            )
        if connection.provisioning:
            return Check(name, "ok", "Provisioning is switched on.")
        return Check(
            name,
            "broken",
            "Provisioning is switched off: every call is refused until it is on.",
            "Turn on SCIM provisioning.",
            every=DAILY,
            other_page=PROVISIONING,
        )

    def _token(self, connection: ConnectionRecord) -> Check:
        tokens, moment = self._store.tokens.by_connection(connection), now()
        live = [token for token in tokens if token.expires is None or token.expires > moment]
        if not live:
            gone = "All tokens have expired." if tokens else "There is no token."
            remedy = "Make one and enter it at the identity provider."
            return Check("token", "broken", gone, remedy, every=DAILY)
        longest = max(live, key=lambda token: token.expires or 1 << 62)
        if longest.expires is None:
            return Check("token", "ok", f"The token {longest.prefix}… does not expire.")
        left, day = longest.expires - moment, rfc3339(longest.expires)[:10]
        days = -(-left // DAY)
        for limit, level in ((URGENT, "warn"), (WARNED, "warn"), (NOTED, "note")):
            if left <= limit * DAY:
                message = (
                    f"The token {longest.prefix}… ends soon, on {day}, in {count(days, 'day', 'days')}: every call is"
                    " refused after that."
                )
                remedy = "Make another one, enter it at the identity provider, then revoke this one."
                return Check("token", _level(level), message, remedy, every=_every(limit))
        return Check(
            "token", "ok", f"The token {longest.prefix}… is valid until {day}, {days} days from now."
        )

    def _hold(self, connection: ConnectionRecord) -> list[Check]:
        hold = self._store.brakes.hold(connection.id, now())
        if hold is not None and hold.state == REJECTED:
            by, until = hold.decided_by or "an admin", in_words(hold.until or 0)
            message = f"All removals are refused until {until}: {by} rejected them."
            remedy = "Assign the people again at the identity provider, then undo what was removed; or allow removals."
            return [Check("removals_rejected", "warn", message, remedy, hold.since, DAILY)]
        if hold is None or hold.state != WAITING:
            return []
        people = count(self._store.brakes.count_held(connection.id), "removal is held", "removals are held")
        message = f"{people}: the identity provider removed more people within a short time than the brake lets pass."
        return [Check("removals_held", "warn", message, "Allow or reject them.", hold.since, DAILY)]

    def _seats(self, organization: OrganizationRecord) -> list[Check]:
        limit = self._plugins.check_seats(self._callers.tenant(organization), SeatRequest("")).result()
        if limit is None:
            return []
        used, ceiling = organization.seats_used, limit.ceiling
        if used >= ceiling:
            return [Check("seats", "warn", f"All {ceiling:,} seats are in use. {limit.sentence}")]
        if used * 10 < ceiling * 9:
            return []
        message = f"{used:,} of {ceiling:,} seats are in use: once they all are, new people are refused."
        return [Check("seats", "note", message, "Free seats, or have some added, in time.")]

    def _adoption(self, connection: ConnectionRecord) -> list[Check]:
        if connection.adoption != "automatic":
            return []
        message = (
            "Adoption is automatic: an account that exists here already, and that no identity provider manages, is"
            " taken over as soon as this one sends somebody with the same user name."
        )
        remedy = "To have such accounts confirmed first, choose another kind of adoption for this connection."
        return [Check("adoption", "note", message, remedy)]

    def _domains(self, organization: OrganizationRecord) -> list[Check]:
        lost = self._store.connection_health.lost_domains(organization.id, EXAMPLES)
        if not lost:
            return []
        names, since = ", ".join(name for name, _ in lost), lost[0][1]
        verb, place = ("is", "its DNS") if len(lost) == 1 else ("are", "their DNS")
        message = f"{names} {verb} no longer verified: the TXT record is missing in {place}."
        remedy = "Enter the TXT record again where the domain is administered, then check it."
        return [Check("domain", "warn", message, remedy, since)]

    def _webhooks(self, organization: OrganizationRecord) -> list[Check]:
        troubled = [
            webhook
            for webhook in self._store.webhooks.troubled(organization, COUNTED)
            if webhook.owner == ORGANIZATION
        ]
        if not troubled:
            return []
        disabled = sum(webhook.state == "disabled" for webhook in troubled)
        what = count(
            len(troubled), "webhook of this organization fails", "webhooks of this organization fail"
        )
        message = f"{what}: the application does not hear of changes in time."
        if disabled:
            message += f" {disabled:,} of them {'is' if disabled == 1 else 'are'} disabled for that reason."
        since = min((webhook.failing_since for webhook in troubled if webhook.failing_since), default=None)
        remedy = "See the last attempts of the webhook, mend its receiver, and resume it."
        return [Check("webhook", "warn", message, remedy, since)]


def _pause(connection: ConnectionRecord) -> list[Check]:
    pause = read_pause(connection.pause)
    if pause is None or not pause.covers(removal=True):
        return []
    what = "all changes wait" if pause.scope == ALL else "people who are removed stay as they are"
    message = f"The connection is paused until {in_words(pause.until)}: {what}."
    return [Check("paused", "warn", message, "End the pause once changes may pass.", pause.since)]


def _level(level: str) -> Level:
    return "warn" if level == "warn" else "note"


def _every(days: int) -> int:
    return DAILY if days == URGENT else WEEKLY
