"""A customer changes its identity provider: the new connection takes over users of the old one, step by step.

Nothing is renamed, and nobody's groups or seat change. What the new identity provider will find a user by (its
userName, or its e-mail address) is looked at before: whom it would not find, or not for certain, stays where it is. It
is shown before anybody moves, and only what was shown is done.
"""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Caller, Target, Trace
from gateway.provisioning.long_changes import rest
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.rendering import user_json
from gateway.provisioning.unit_of_work import Refresh, UnitOfWork, UnitsOfWork
from gateway.scim.errors import Conflict, InvalidValue, PreconditionFailed, Refusal
from gateway.scim.json_text import Json, fold
from gateway.store import Store, WriteConflict
from gateway.store.portions import OutlinedUser
from gateway.store.records import ConnectionRecord, UserRecord

USER_NAME, EMAIL = MATCHES = "userName", "email"
#: Long lists are cut to this many; the summary counts all.
SHOWN = 100
#: Users that are looked at in one statement, and what is read of their documents.
_LOOKED_AT = 200
_PARTS = (("emails",),)
#: Users that move in one transaction: others wait for it for some hundredths of a second.
_AT_ONCE = 200

_REASONS = {
    "not_found": "The organization has no user with this id or userName.",
    "deleted": "The user was deleted; creating it at the new identity provider makes a new one.",
    "already_managed": "The connection that takes over manages the user already.",
    "managed_elsewhere": "The connection to take over from does not manage the user.",
    "no_email": "The user has no e-mail address, so the new identity provider would not find it.",
    "email_taken": "Another user of the organization has one of its e-mail addresses, so it is not certain whom the new"
    " identity provider would find.",
}


@dataclass(frozen=True)
class Wish:
    """Who shall be taken over, and by what the new identity provider will find them.

    `users` are ids or userNames; None = everybody.
    """

    match: str
    users: tuple[str, ...] | None
    limit: int


@dataclass
class Outcome:
    """Who moves (or moved), and who stays and why. Lists are cut; `keys` are of all who move."""

    keys: array[int] = field(default_factory=lambda: array("q"))
    moves: list[Json] = field(default_factory=list)
    stays: list[Json] = field(default_factory=list)
    moved: int = 0
    stayed: int = 0
    #: Whether users were left out because of the limit.
    more: bool = False
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def move(self, user: UserRecord | OutlinedUser, found_by: Sequence[str]) -> None:
        self.moved += 1
        self.name("move", user.uid, *found_by)
        if len(self.moves) < SHOWN:
            self.moves.append({"id": user.uid, "user_name": user.user_name, "found_by": list(found_by)})

    def stay(self, uid: str | None, user_name: str, reason: str) -> None:
        self.stayed += 1
        self.name("stay", uid or user_name, reason)
        if len(self.stays) < SHOWN:
            self.stays.append(
                {"id": uid, "user_name": user_name, "reason": reason, "message": _REASONS[reason]}
            )

    def name(self, *what: str) -> None:
        """Something that the etag stands for."""
        self.digest.update(json.dumps(what).encode())

    @property
    def etag(self) -> str:
        """Names exactly this outcome."""
        return f'"{self.digest.hexdigest()[:32]}"'

    def as_json(self, preview: bool) -> Json:
        """As it is shown."""
        summary = {"moves": self.moved, "stays": self.stayed, "more": self.more}
        return {"preview": preview, "moves": self.moves, "stays": self.stays, "summary": summary}


AnyUser = TypeVar("AnyUser", UserRecord, OutlinedUser)
#: Who moved, each with what it is found by, and who did not.
Moved = tuple[list[tuple[UserRecord, list[str]]], Outcome]


class Takeover:
    """Shows and does takeovers. `source` is the connection that users leave, `target` the one that takes them over."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        changes: UnitsOfWork,
        membership_sync: MembershipSync,
        refresh: Refresh,
    ) -> None:
        self._store, self._plugins, self._units_of_work = store, plugins, changes
        self._membership_sync, self._refresh = membership_sync, refresh

    def source(self, target: ConnectionRecord, uid: str) -> ConnectionRecord:
        """The connection to take over from: another one of the same organization."""
        found = self._store.connections.by_id(uid)
        if found is None or found[0].organization_id != target.organization_id:
            raise InvalidValue("`from` is not the id of a connection of this organization.")
        if found[0].id == target.id:
            raise InvalidValue("`from` is this very connection: name the one whose users it shall take over.")
        return found[0]

    def preview(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, wish: Wish
    ) -> Outcome:
        """What taking over now would do. Moves nobody; its etag is what `run` wants."""
        if self._plugins.declared.of(target.idp) is None:
            raise Conflict(
                f"The plugin {target.idp} of this connection is not installed, or it is disabled: nobody could manage"
                " the users."
            )
        outcome = Outcome()
        outcome.name(source.uid, target.uid, wish.match)
        began = time.monotonic()
        for users in self._wanted(caller, target, source, wish, outcome):
            rest(began)
            began = time.monotonic()
            for user, found_by in self._fitting(source, users, wish.match, outcome):
                if outcome.moved == wish.limit:
                    outcome.more = True
                    return outcome
                outcome.keys.append(user.id)
                outcome.move(user, found_by)
        return outcome

    def run(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, wish: Wish, if_match: str,
        trace: Trace,
    ) -> Outcome:  # fmt: skip
        """Do what a preview showed, some users in a transaction. Refused when it would now be something else.

        Whom the old identity provider changes while it runs is looked at again; who no longer fits stays, and is named.
        """
        shown = self.preview(caller, target, source, wish)
        if shown.etag not in {tag.strip().removeprefix("W/") for tag in if_match.split(",")}:
            raise PreconditionFailed(
                "Taking over would now do something else than the preview showed: users have changed since. Look at a"
                " new preview and send its ETag."
            )
        done = Outcome(stays=list(shown.stays), stayed=shown.stayed, more=shown.more)
        for keys in self._store.portions.split(caller.organization.id, shown.keys, _AT_ONCE):
            began = time.monotonic()

            def operation(caller: Caller, keys: list[int] = keys) -> Moved:
                return self._move(caller, target, source, wish.match, keys, trace)

            try:
                moved, stayed = self._units_of_work.retry_on_conflict(caller, self._refresh, operation, trace)
            except Refusal as refusal:
                trace.written = False  # that was the portion before
                if done.moved:
                    refusal.detail += (
                        f" Before that {done.moved} users were taken over; a new preview shows who is left."
                    )
                raise
            for user, found_by in moved:
                done.move(user, found_by)
            done.stays = [*done.stays, *stayed.stays][:SHOWN]
            done.stayed += stayed.stayed
            rest(began)
        return done

    # Who ------------------------------------------------------------------------------------------------------------

    def _wanted(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, wish: Wish, outcome: Outcome
    ) -> Iterator[list[OutlinedUser]]:
        """Users of the old connection, some at a time; who was named and is none of them stays."""
        portions = self._store.portions
        if wish.users is None:
            yield from portions.of_connection(source, _PARTS, rows=_LOOKED_AT)
            return
        found = self._store.takeovers.named(caller.organization, wish.users)
        own: list[int] = []
        for name in wish.users:
            held = found.get(name)
            if held is None:
                outcome.stay(None, name, "not_found")
            elif held.deleted:
                outcome.stay(held.uid, held.user_name, "deleted")
            elif held.connection_id != source.id:
                already = held.connection_id == target.id
                reason = "already_managed" if already else "managed_elsewhere"
                outcome.stay(held.uid, held.user_name, reason)
            else:
                own.append(held.id)
        for keys in portions.split(caller.organization.id, sorted(set(own)), _LOOKED_AT):
            yield portions.of_keys(caller.organization.id, keys, _PARTS)

    def _fitting(
        self, source: ConnectionRecord, users: Sequence[AnyUser], match: str, outcome: Outcome
    ) -> Iterator[tuple[AnyUser, list[str]]]:
        """Those whom the new identity provider will find, and by what."""
        if match == USER_NAME:
            # One account has it in the whole organization, so there is nobody else to be found by it.
            yield from ((user, [user.user_name]) for user in users)
            return
        addresses = {user.id: _addresses(user) for user in users}
        keys = sorted({fold(address) for held in addresses.values() for address in held})
        holders = self._store.takeovers.holders(source.organization_id, keys)
        for user in users:
            held = addresses[user.id]
            if not held:
                outcome.stay(user.uid, user.user_name, "no_email")
            elif any(holders.get(fold(address), 0) > 1 for address in held):
                outcome.stay(user.uid, user.user_name, "email_taken")
            else:
                yield user, held

    # Doing it -------------------------------------------------------------------------------------------------------

    def _move(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, match: str, keys: Sequence[int],
        trace: Trace,
    ) -> Moved:  # fmt: skip
        """One transaction. Writers of an organization follow each other, so what is read in here stays true."""
        store, organization_id, stayed = self._store, caller.organization.id, Outcome()
        with self._units_of_work.open(caller, trace) as change:
            target = self._there(target)
            users = store.takeovers.still(self._there(source), keys)
            there = {user.id for user in users}
            elsewhere = [key for key in keys if key not in there]
            for other in store.portions.of_keys(organization_id, elsewhere, ()):
                reason = "already_managed" if other.connection_id == target.id else "managed_elsewhere"
                reason = "deleted" if other.connection_id == source.id else reason
                stayed.stay(other.uid, other.user_name, reason)
            moved = []
            for user, found_by in self._fitting(source, users, match, stayed):
                # The old identity provider's own name for the user: the new one brings another.
                document = {name: value for name, value in user.document.items() if name != "externalId"}
                stored = store.users.rewrite(organization_id, target.id, user, document)
                if stored is None:
                    raise WriteConflict
                moved.append((stored, found_by))
            keys = [user.id for user, _ in moved]
            store.takeovers.regrant(source, keys, bool(target.mapping_enabled))
            store.organizations.count(organization_id, "User", source.id, -len(moved))
            store.organizations.count(organization_id, "User", target.id, len(moved))
            store.page_positions.forget(organization_id)
            groups = store.memberships.groups_of_many(organization_id, target.id, keys)
            for user, _ in moved:
                change.record_event(
                    "user.updated", "User", user.uid, user_json(user, groups.get(user.id, ()), None)
                )
            self._attach(caller, target, [user for user, _ in moved], change)
            self._write_lines([user for user, _ in moved], source, target, trace)
        return moved, stayed

    def _there(self, connection: ConnectionRecord) -> ConnectionRecord:
        found = self._store.connections.by_key(connection.id)
        if found is None:
            raise Conflict(f"The connection {connection.name!r} was removed meanwhile.")
        return found[0]

    def _attach(
        self, caller: Caller, target: ConnectionRecord, users: Sequence[UserRecord], change: UnitOfWork
    ) -> None:
        """Groups that the new identity provider pushed may have been waiting for them."""
        awaited = self._store.takeovers.awaited([user.uid for user in users])
        for user in users:
            if user.uid in awaited:
                self._membership_sync.attach_waiting(replace(caller, connection=target), user, change)

    def _write_lines(
        self, users: Sequence[UserRecord], source: ConnectionRecord, target: ConnectionRecord, trace: Trace
    ) -> None:
        """A line for each user, so that whoever looks for one finds out since when and by whom."""
        detail = f"The connection {target.name!r} took the user over from {source.name!r}."
        lines = [
            replace(trace, user=user.user_name, target=Target("User", user.uid, None)).line(
                trace.status, detail
            )
            for user in users
        ]
        self._store.activity.add([(0, line) for line in lines])


def _addresses(user: UserRecord | OutlinedUser) -> list[str]:
    """The e-mail addresses of a user."""
    document = (
        user.document if isinstance(user, UserRecord) else {"emails": json.loads(user.parts[0] or "[]")}
    )
    emails = document.get("emails", ())
    return [entry["value"] for entry in emails if "value" in entry]
