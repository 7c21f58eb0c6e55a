"""Operations of admins on domains: add, check, mark as verified, remove."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

from gateway.provisioning.caller import Caller
from gateway.provisioning.domains.names import read_name, to_a_labels
from gateway.provisioning.domains.records import TxtRecords
from gateway.provisioning.domains.states import judge
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, NotFound
from gateway.scim.json_text import excerpt
from gateway.store import Store, WriteConflict
from gateway.store.domains import BY_OPERATOR, LOST, UNVERIFIED, VERIFIED
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import DomainRecord, OrganizationRecord

#: Domains that an organization has, verified or not.
MOST = 100
#: Characters of the value in the DNS behind its beginning, of 32 kinds: 130 bits.
_VALUE_LENGTH = 26
_VALUE_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


class DomainVerification:
    """Runs the operations on domains."""

    def __init__(
        self, store: Store, units_of_work: UnitsOfWork, records: TxtRecords, clock: Callable[[], int] = now
    ) -> None:
        """`clock` returns microseconds since 1970."""
        self._store, self._units_of_work, self._clock = store, units_of_work, clock
        self.records = records

    # Reading --------------------------------------------------------------------------------------------------------

    def page(self, organization: OrganizationRecord, after: int, limit: int) -> list[DomainRecord]:
        """Return domains after a key, in the order of making."""
        return self._store.domains.page(organization.id, after, limit)

    def find(self, organization: OrganizationRecord, name: str) -> DomainRecord:
        """Return a domain of an organization. Raises NotFound."""
        found = self._store.domains.by_name(organization.id, to_a_labels(name) or "")
        if found is None:
            raise NotFound(f"{organization.name} has no domain {excerpt(name)} here.")
        return found

    def verified_names(self, organization: OrganizationRecord) -> list[str]:
        """Return the names that are verified, in the order of the alphabet."""
        return sorted(self._store.domains.verified(organization.id))

    # Changing -------------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def add(self, caller: Caller, text: str, trace: Trace) -> DomainRecord:
        """Add a domain, which waits for its record in the DNS. Raises InvalidValue and Conflict."""
        name, organization_id = read_name(text), caller.organization.id
        trace.target = Target("Domain", name, name)
        with self._units_of_work.open(caller, trace):
            self._refuse_taken(organization_id, name)
            if self._store.domains.count(organization_id) >= MOST:
                raise Conflict(
                    f"{caller.organization.name} has {MOST} domains already, which is the most. Remove one first."
                )
            token = "".join(secrets.choice(_VALUE_LETTERS) for _ in range(_VALUE_LENGTH))
            if not self._store.domains.add(organization_id, name, token):
                raise Conflict(f"{caller.organization.name} has the domain {name} already. Check it again.")
        return self.find(caller.organization, name)

    @retry_on_conflict
    def remove(self, caller: Caller, name: str, trace: Trace) -> None:
        """Remove a domain. What is decided by verified domains is decided without it from now on."""
        domain = self._found(caller, name, trace)
        with self._units_of_work.open(caller, trace) as unit:
            if domain.state != UNVERIFIED:
                unit.outdate()
            self._store.domains.remove(domain)

    def check(self, caller: Caller, name: str, trace: Trace) -> DomainRecord:
        """Look the record of a domain up and store what was found; it takes as long as the DNS, 5 s at most.

        Raises Conflict where another organization has verified it, and InvalidValue for a name that nobody can verify.
        """
        domain = self._found(caller, name, trace)
        read_name(domain.name)
        if domain.state == UNVERIFIED:
            self._refuse_taken(domain.organization_id, domain.name)
        answer = self.records.look_up(domain)
        return self._apply(caller, name, lambda found: judge(found, answer, self._clock()), trace)

    def verify(self, caller: Caller, name: str, trace: Trace) -> DomainRecord:
        """Mark a domain as verified without a record, as an operator, who knows whose it is. Raises Conflict."""

        def marked(domain: DomainRecord) -> DomainRecord:
            moment = self._clock()
            return domain._replace(
                state=VERIFIED, verified_by=BY_OPERATOR, verified=moment, checked=moment, lost_since=None, problem=None
            )  # fmt: skip

        return self._apply(caller, name, marked, trace)

    def check_again(self, caller: Caller, domain: DomainRecord, trace: Trace) -> None:
        """Look up a verified domain whose time has come, unless another process does."""
        claimed = self._store.domains.claim(domain, self._clock())
        if claimed is None:
            return
        answer = self.records.look_up(claimed)
        after = judge(claimed, answer, self._clock())
        if (after.state, after.lost_since) == (claimed.state, claimed.lost_since):
            with self._store.transaction():
                self._store.domains.store(claimed, after)
            return
        self._apply(caller, domain.name, lambda found: judge(found, answer, self._clock()), trace)

    @retry_on_conflict
    def _apply(
        self, caller: Caller, name: str, changed: Callable[[DomainRecord], DomainRecord], trace: Trace
    ) -> DomainRecord:
        with self._units_of_work.open(caller, trace) as unit:
            before = self._found(caller, name, trace)
            after = changed(before)
            if after.state != before.state:
                trace.changed = ["state"]
                if before.state == UNVERIFIED:
                    self._refuse_taken(before.organization_id, before.name)
                unit.outdate()
                _record_event(unit, before, after)
            if not self._store.domains.store(before, after):
                raise WriteConflict
        return after

    def _found(self, caller: Caller, name: str, trace: Trace) -> DomainRecord:
        domain = self.find(caller.organization, name)
        trace.target = Target("Domain", domain.name, domain.name)
        return domain

    def _refuse_taken(self, organization_id: int, name: str) -> None:
        if self._store.domains.holder(name) not in (None, organization_id):
            raise Conflict(
                f"{name} is verified already, and a domain belongs to one organization. If it is yours, write to the"
                " operator of the application."
            )


def _record_event(unit: UnitOfWork, before: DomainRecord, after: DomainRecord) -> None:
    data = {"id": after.name, "state": after.state, "verified_by": after.verified_by}
    if after.state == VERIFIED and before.state == UNVERIFIED:
        unit.record_event("domain.verified", "Domain", after.name, json.dumps(data))
    elif after.state == LOST:
        missing = {"missing_since": rfc3339(after.lost_since or after.checked), "problem": after.problem}
        unit.record_event("domain.lost", "Domain", after.name, json.dumps(data | missing, ensure_ascii=False))
