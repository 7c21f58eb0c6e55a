"""What follows from a look-up for a domain. Pure: the moment is an argument."""

from __future__ import annotations

from gateway.provisioning.domains.records import Answer
from gateway.store.domains import BY_DNS, BY_OPERATOR, LOST, UNVERIFIED, VERIFIED
from gateway.store.ids_and_time import DAY
from gateway.store.records import DomainRecord

__all__ = ["DOMAIN_STATES", "VERIFIED", "judge"]

#: In the order in which a domain has them.
DOMAIN_STATES = (UNVERIFIED, VERIFIED, LOST)
#: How long the record of a verified domain may be missing before the domain is lost, and before it is unverified.
LOST_AFTER, UNVERIFIED_AFTER = 7 * DAY, 30 * DAY
#: How long after a look-up the next one comes.
CHECKED_EVERY = DAY


def judge(domain: DomainRecord, answer: Answer, moment: int) -> DomainRecord:
    """Return a domain as it is after a look-up.

    An operator's word needs no record. An answer that is not conclusive changes no state: a resolver that is out of
    service must not take a domain from its organization.
    """
    checked = domain._replace(checked=moment, problem=answer.problem)
    if answer.found:
        if domain.verified_by == BY_OPERATOR:
            return checked
        since = domain.verified if domain.state != UNVERIFIED else moment
        return checked._replace(state=VERIFIED, verified_by=BY_DNS, verified=since, lost_since=None)
    if domain.state == UNVERIFIED or domain.verified_by == BY_OPERATOR or not answer.conclusive:
        return checked
    missing_since = domain.lost_since or moment
    if moment - missing_since >= UNVERIFIED_AFTER:
        return checked._replace(state=UNVERIFIED, verified_by=None, verified=None, lost_since=None)
    state = LOST if moment - missing_since >= LOST_AFTER else domain.state
    return checked._replace(state=state, lost_since=missing_since)
