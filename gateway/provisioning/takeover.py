"""Takeover: the connection of a customer's new identity provider takes over users of the old connection, in portions.

No user is renamed, and groups and seats stay as they are. A user moves only if the new identity provider will find
exactly this user by the attribute it matches by (userName or e-mail address). A takeover is previewed, and a run names
the preview it was approved by.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import Caller
from gateway.provisioning.long_changes import pause_between_portions
from gateway.provisioning.membership_sync import MembershipSync
from gateway.provisioning.previews import PreviewDigest, check_preview
from gateway.provisioning.rendering import user_json
from gateway.provisioning.trace import Target, Trace
from gateway.provisioning.unit_of_work import UnitOfWork, UnitsOfWork, retry_on_conflict
from gateway.scim.errors import Conflict, InvalidValue, Refusal
from gateway.scim.json_text import Json, fold
from gateway.store import Store, WriteConflict
from gateway.store.records import ConnectionRecord, OutlinedUser, UserRecord

USER_NAME, EMAIL = MATCHES = "userName", "email"
#: Entries of each list of a result, at most; the summary counts all.
LIST_LENGTH = 100
#: Users that one statement reads, and the parts of their documents that it reads.
_USERS_PER_READ = 200
_PARTS = (("emails",),)
#: Users that move in one transaction: other writers of the organization wait for some hundredths of a second.
_USERS_PER_PORTION = 200

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
class TakeoverRequest:
    """The users to take over, and the attribute (`USER_NAME` or `EMAIL`) by which the new identity provider finds them.

    `users` are ids or userNames, None for all users of the source; `limit` is the number of users to move, at most.
    """

    match: str
    users: tuple[str, ...] | None
    limit: int


@dataclass
class TakeoverResult:
    """The users that move (or moved), and those that stay, with the reason.

    `moves` and `stays` are cut to `LIST_LENGTH`; `keys` are those of all users that move.
    """

    keys: array[int] = field(default_factory=lambda: array("q"))
    moves: list[Json] = field(default_factory=list)
    stays: list[Json] = field(default_factory=list)
    moved: int = 0
    stayed: int = 0
    #: True if users were left out because of the limit.
    more: bool = False
    digest: PreviewDigest = field(default_factory=PreviewDigest)

    def add_move(self, user: UserRecord | OutlinedUser, found_by: Sequence[str]) -> None:
        """Add a user that moves, with the values by which the new identity provider finds it."""
        self.moved += 1
        self.digest.add("move", user.uid, *found_by)
        if len(self.moves) < LIST_LENGTH:
            self.moves.append({"id": user.uid, "user_name": user.user_name, "found_by": list(found_by)})

    def add_stay(self, uid: str | None, user_name: str, reason: str) -> None:
        """Add a user that stays; `reason` is a key of `_REASONS`, `uid` None for a name without a user."""
        self.stayed += 1
        self.digest.add("stay", uid or user_name, reason)
        if len(self.stays) < LIST_LENGTH:
            self.stays.append(
                {"id": uid, "user_name": user_name, "reason": reason, "message": _REASONS[reason]}
            )

    @property
    def etag(self) -> str:
        """The strong entity tag of exactly this result."""
        return self.digest.tag()

    def as_json(self, preview: bool) -> Json:
        """Return the body of the admin API."""
        summary = {"moves": self.moved, "stays": self.stayed, "more": self.more}
        return {"preview": preview, "moves": self.moves, "stays": self.stays, "summary": summary}


AnyUser = TypeVar("AnyUser", UserRecord, OutlinedUser)
#: The users that moved in a portion, each with the values it is found by, and the result that holds those that did not.
MovedPortion = tuple[list[tuple[UserRecord, list[str]]], TakeoverResult]


class Takeover:
    """Use cases of a takeover: `source` is the connection that users leave, `target` the one that takes them over."""

    def __init__(
        self,
        store: Store,
        plugins: PluginManager,
        units_of_work: UnitsOfWork,
        membership_sync: MembershipSync,
    ) -> None:
        self._store, self._plugins, self._units_of_work = store, plugins, units_of_work
        self._membership_sync = membership_sync

    def find_source(self, target: ConnectionRecord, uid: str) -> ConnectionRecord:
        """Return the connection to take over from.

        Raises InvalidValue unless it is another connection of the same organization.
        """
        found = self._store.connections.by_id(uid)
        if found is None or found[0].organization_id != target.organization_id:
            raise InvalidValue("`from` is not the id of a connection of this organization.")
        if found[0].id == target.id:
            raise InvalidValue("`from` is this very connection: name the one whose users it shall take over.")
        return found[0]

    def preview(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, request: TakeoverRequest
    ) -> TakeoverResult:
        """Return the effect that `run` would have now; its `etag` is what `run` requires.

        Raises Conflict when the plugin of the target is not there.
        """
        if self._plugins.declared.of(target.idp) is None:
            raise Conflict(
                f"The plugin {target.idp} of this connection is not installed, or it is disabled: nobody could manage"
                " the users."
            )
        result = TakeoverResult()
        result.digest.add(source.uid, target.uid, request.match)
        began = time.monotonic()
        for users in self._candidates(caller, target, source, request, result):
            pause_between_portions(began)
            began = time.monotonic()
            for user, found_by in self._matchable_users(source, users, request.match, result):
                if result.moved == request.limit:
                    result.more = True
                    return result
                result.keys.append(user.id)
                result.add_move(user, found_by)
        return result

    def run(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, request: TakeoverRequest,
        if_match: str, trace: Trace,
    ) -> TakeoverResult:  # fmt: skip
        """Move the users of a preview, in portions.

        `if_match` holds the entity tag of the preview. Users that the old identity provider changes meanwhile are
        checked again; those that can no longer be matched stay, and are listed. Raises PreconditionFailed when the
        effect is no longer the one of the preview; a refusal in a later portion names the number of users moved before.
        """
        preview = self.preview(caller, target, source, request)
        check_preview(
            preview.etag,
            if_match,
            "Taking over would now do something else than the preview showed: users have changed since. Look at a"
            " new preview and send its ETag.",
        )
        done = TakeoverResult(stays=list(preview.stays), stayed=preview.stayed, more=preview.more)
        for keys in self._store.portions.split(caller.organization.id, preview.keys, _USERS_PER_PORTION):
            began = time.monotonic()
            try:
                moved, stayed = self._move_portion(caller, target, source, request.match, keys, trace)
            except Refusal as refusal:
                trace.written = False  # True since the portion before
                if done.moved:
                    refusal.detail += (
                        f" Before that {done.moved} users were taken over; a new preview shows who is left."
                    )
                raise
            for user, found_by in moved:
                done.add_move(user, found_by)
            done.stays = [*done.stays, *stayed.stays][:LIST_LENGTH]
            done.stayed += stayed.stayed
            pause_between_portions(began)
        return done

    # Candidates -----------------------------------------------------------------------------------------------------

    def _candidates(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, request: TakeoverRequest,
        result: TakeoverResult,
    ) -> Iterator[list[OutlinedUser]]:  # fmt: skip
        """Yield the requested users of the source in portions; add those that it does not manage to `result`."""
        portions = self._store.portions
        if request.users is None:
            yield from portions.of_connection(source, _PARTS, rows=_USERS_PER_READ)
            return
        found = self._store.takeovers.find_named(caller.organization, request.users)
        own: list[int] = []
        for name in request.users:
            held = found.get(name)
            if held is None:
                result.add_stay(None, name, "not_found")
            elif held.deleted:
                result.add_stay(held.uid, held.user_name, "deleted")
            elif held.connection_id != source.id:
                already = held.connection_id == target.id
                reason = "already_managed" if already else "managed_elsewhere"
                result.add_stay(held.uid, held.user_name, reason)
            else:
                own.append(held.id)
        for keys in portions.split(caller.organization.id, sorted(set(own)), _USERS_PER_READ):
            yield portions.by_keys(caller.organization.id, keys, _PARTS)

    def _matchable_users(
        self, source: ConnectionRecord, users: Sequence[AnyUser], match: str, result: TakeoverResult
    ) -> Iterator[tuple[AnyUser, list[str]]]:
        """Yield the users that the new identity provider will find, with the values it finds them by.

        The others are added to `result`.
        """
        if match == USER_NAME:
            # A userName is unique in the organization, so no other user can be found by it.
            yield from ((user, [user.user_name]) for user in users)
            return
        addresses = {user.id: _addresses(user) for user in users}
        keys = sorted({fold(address) for held in addresses.values() for address in held})
        holders = self._store.takeovers.count_holders(source.organization_id, keys)
        for user in users:
            held = addresses[user.id]
            if not held:
                result.add_stay(user.uid, user.user_name, "no_email")
            elif any(holders.get(fold(address), 0) > 1 for address in held):
                result.add_stay(user.uid, user.user_name, "email_taken")
            else:
                yield user, held

    # Writing --------------------------------------------------------------------------------------------------------

    @retry_on_conflict
    def _move_portion(
        self, caller: Caller, target: ConnectionRecord, source: ConnectionRecord, match: str, keys: Sequence[int],
        trace: Trace,
    ) -> MovedPortion:  # fmt: skip
        """Move the users of one portion in one transaction, which holds the lock of the organization."""
        store, organization_id, stayed = self._store, caller.organization.id, TakeoverResult()
        with self._units_of_work.open(caller, trace) as unit:
            target = self._reload(target)
            users = store.takeovers.managed_users(self._reload(source), keys)
            there = {user.id for user in users}
            elsewhere = [key for key in keys if key not in there]
            for other in store.portions.by_keys(organization_id, elsewhere, ()):
                reason = "already_managed" if other.connection_id == target.id else "managed_elsewhere"
                reason = "deleted" if other.connection_id == source.id else reason
                stayed.add_stay(other.uid, other.user_name, reason)
            moved = []
            for user, found_by in self._matchable_users(source, users, match, stayed):
                # externalId is the old identity provider's own id of the user; the new one sends another.
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
                unit.record_event(
                    "user.updated", "User", user.uid, user_json(user, groups.get(user.id, ()), None)
                )
            self._attach_waiting(caller, target, [user for user, _ in moved], unit)
            self._write_activity([user for user, _ in moved], source, target, trace)
        return moved, stayed

    def _reload(self, connection: ConnectionRecord) -> ConnectionRecord:
        found = self._store.connections.by_key(connection.id)
        if found is None:
            raise Conflict(f"The connection {connection.name!r} was removed meanwhile.")
        return found[0]

    def _attach_waiting(
        self, caller: Caller, target: ConnectionRecord, users: Sequence[UserRecord], unit: UnitOfWork
    ) -> None:
        """Add the users to groups that the new identity provider pushed with them as members."""
        awaited = self._store.takeovers.awaited_ids([user.uid for user in users])
        for user in users:
            if user.uid in awaited:
                self._membership_sync.attach_waiting(replace(caller, connection=target), user, unit)

    def _write_activity(
        self, users: Sequence[UserRecord], source: ConnectionRecord, target: ConnectionRecord, trace: Trace
    ) -> None:
        """Write an activity line for each user, so that a search for the user finds when and by whom it was moved."""
        detail = f"The connection {target.name!r} took the user over from {source.name!r}."
        lines = [
            replace(trace, user=user.user_name, target=Target("User", user.uid, None)).line(
                trace.status, detail
            )
            for user in users
        ]
        self._store.activity.add([(0, line) for line in lines])


def _addresses(user: UserRecord | OutlinedUser) -> list[str]:
    """Return the e-mail addresses of a user."""
    document = (
        user.document if isinstance(user, UserRecord) else {"emails": json.loads(user.parts[0] or "[]")}
    )
    emails = document.get("emails", ())
    return [entry["value"] for entry in emails if "value" in entry]
