"""What a connection did to people in a period, read from the events of the organization."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.provisioning.long_changes import pause_between_portions
from gateway.scim.errors import InvalidValue
from gateway.store import Store
from gateway.store.ids_and_time import MINUTE, in_words, now
from gateway.store.records import ConnectionRecord
from gateway.store.undos import EVENTS_PER_READ, MEMBERS_CHANGED, PastEvent

#: Events from the beginning of the period until now, at most.
MOST_EVENTS = 500_000
#: Memberships that a connection changed in the period, at most.
MOST_MEMBERSHIPS = 500_000
#: By how much the clocks of two nodes may differ, in microseconds.
_CLOCKS = 5 * MINUTE
#: What happens to the account of a user, besides updates.
_MOVES = frozenset(
    f"user.{verb}" for verb in ("created", "deactivated", "reactivated", "restored", "deleted")
)
_REMOVALS = frozenset({"user.deactivated", "user.deleted"})


class Period(NamedTuple):
    """A period, both ends included, in microseconds."""

    start: int
    end: int


@dataclass(slots=True)
class PersonActs:
    """What a connection did to one user in the period, and whether anything else was done to the user after that."""

    #: Number of the first event; 0 where only memberships changed.
    first: int = 0
    #: The first thing that happened to the account: a type of events; None for updates alone.
    first_move: str | None = None
    #: Its number, and whether the connection moved the account again.
    moved_at: int = 0
    moved_again: bool = False
    #: Whether the connection deleted the user, which ends its memberships without an event of them.
    deleted: bool = False
    #: Whether somebody else deactivated or deleted the user since, and did not take that back.
    moved_since: bool = False
    #: Whether somebody else changed the document since, besides an admin who deactivated or reactivated the user.
    changed_since: bool = False
    #: Groups, by their ids, that the user was taken out of, and whether somebody else ended that membership since.
    left: dict[str, bool] = field(default_factory=dict)
    #: Groups that somebody else took a user out of that the connection had deleted.
    ended: set[str] = field(default_factory=set)
    #: Groups that the user was put into before anything else: it was no member at the beginning.
    joined: set[str] = field(default_factory=set)


def read_acts(
    store: Store, connection: ConnectionRecord, period: Period, memberships: bool, kept_since: int | None
) -> dict[str, PersonActs]:
    """Return what a connection did to people in a period, by the ids of users, in the order of their first events.

    `memberships`: whether those of groups are looked at. `kept_since`: the moment from which on no event was pruned, by
    the settings; None if they do not say.
    Raises InvalidValue where events of the period are no longer stored, or too many are.
    """
    organization_id, uid = connection.organization_id, connection.uid
    _check_kept(store, organization_id, period, kept_since)
    after = store.undos.first_since(organization_id, period.start - _CLOCKS) - 1
    newest = store.events.newest(organization_id)
    if newest - after > MOST_EVENTS:
        raise InvalidValue(
            f"{newest - after:,} events were recorded since {in_words(period.start)}, and at most {MOST_EVENTS:,} are"
            " looked at. Give a later `from`, close before what is to be undone."
        )
    acts: dict[str, PersonActs] = {}
    changed = 0
    while after < newest:
        began = time.monotonic()
        for event in store.undos.events(organization_id, after):
            own = event.connection_uid == uid and period.start <= event.at <= period.end
            if event.type != MEMBERS_CHANGED:
                _note_person(acts, event, own)
            elif memberships:
                changed += _note_members(acts, event, own)
        if changed > MOST_MEMBERSHIPS:
            raise InvalidValue(
                f"The connection changed more than {MOST_MEMBERSHIPS:,} memberships since {in_words(period.start)}."
                " Give a later `from`, or leave left_groups out."
            )
        after += EVENTS_PER_READ
        pause_between_portions(began)
    return acts


def _check_kept(store: Store, organization_id: int, period: Period, kept_since: int | None) -> None:
    seq, at = store.undos.oldest(organization_id) or (store.events.newest(organization_id) + 1, now())
    if kept_since is not None and kept_since <= period.start:
        return  # Before the oldest event nothing happened in the period.
    if seq > 1 and at > period.start:
        raise InvalidValue(
            f"Events before {in_words(at + MINUTE)} are no longer stored, so nothing before that can be undone."
            " Give a later `from`."
        )


def _note_person(acts: dict[str, PersonActs], event: PastEvent, own: bool) -> None:
    person = acts.get(event.uid)
    moves = event.type in _MOVES
    if own:
        person = person or acts.setdefault(event.uid, PersonActs())
        person.first = person.first or event.seq
        person.deleted = person.deleted or event.type == "user.deleted"
        if moves and person.first_move is None:
            person.first_move, person.moved_at = event.type, event.seq
        elif moves:
            person.moved_again = True
    elif person is not None and person.first:
        # Of a user of an identity provider an admin changes `active` alone.
        person.changed_since = person.changed_since or not moves or event.connection_uid is not None
        if moves and person.first_move is not None:
            person.moved_since = event.type in _REMOVALS


def _note_members(acts: dict[str, PersonActs], event: PastEvent, own: bool) -> int:
    """Note who joined and left a group; return how many memberships of those are noted for the first time."""
    change, group, noted = json.loads(event.data or "{}"), event.uid, 0
    for name in ("removed", "added"):
        for uid in change.get(name, ()):
            person = acts.get(uid)
            if own:
                person = person or acts.setdefault(uid, PersonActs())
                if group not in person.joined and group not in person.left:
                    noted += 1
                    if name == "removed":
                        person.left[group] = False
                    else:
                        person.joined.add(group)
            elif person is not None:
                if group in person.left:
                    person.left[group] = name == "removed"
                if person.deleted:
                    (set.add if name == "removed" else set.discard)(person.ended, group)
    return noted
