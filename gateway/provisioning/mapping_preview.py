"""Definitions of Map to groups, and what saving one would change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from gateway.provisioning.previews import PreviewDigest, tag_of
from gateway.scim.errors import InvalidValue
from gateway.scim.json_text import Json, fold
from gateway.store.records import OutlinedUser

#: Entries of each list of a preview, at most; its summary counts all.
LIST_LENGTH = 100
#: Bounds of a table of values: values, and characters of all of them.
_VALUES, _CHARACTERS = 50_000, 4 << 20


class UnusableRule(InvalidValue):
    """A rule that cannot be saved; `place` is its index in the definition."""

    def __init__(self, place: int, detail: str) -> None:
        super().__init__(detail)
        self.place = place


@dataclass(frozen=True)
class MappingDefinition:
    """The mapping of a connection, as an admin sends or has saved it; rules are (value, group name) in order."""

    enabled: bool
    attribute: str | None
    rules: tuple[tuple[str, str], ...]
    apply_to_existing: bool = False

    def as_json(self) -> Json:
        """Return the body of the admin API."""
        return {
            "enabled": self.enabled,
            "attribute": self.attribute,
            "rules": [{"value": value, "group": group} for value, group in self.rules],
            "apply_to_existing": self.apply_to_existing,
        }

    def is_same_as(self, other: MappingDefinition) -> bool:
        """Return whether both mean the same: rules in any order, names of groups letter case aside."""
        mine, theirs = (
            {(value, fold(name)) for value, name in definition.rules} for definition in (self, other)
        )
        return (self.enabled, self.attribute, mine) == (other.enabled, other.attribute, theirs)

    @property
    def etag(self) -> str:
        """The strong entity tag of the saved mapping."""
        return tag_of(self.as_json())


class MembershipChanges:
    """Memberships that begin or end: the first ones as a list, the number of all, a digest of all."""

    def __init__(self) -> None:
        self.first: list[Json] = []
        self.total = 0
        self.digest = PreviewDigest()

    def add(self, user: OutlinedUser, group: str) -> None:
        """Count a membership of a user in the group of this name."""
        self.total += 1
        self.digest.add(user.id, user.uid, user.user_name, group)
        if len(self.first) < LIST_LENGTH:
            self.first.append({"user": user.user_name, "group": group})


class ValueCounts:
    """Numbers of users by value: of the first values that fit into its bounds, so that no tenant fills the memory."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._characters = 0
        #: Whether every value that was added is in the table.
        self.complete = True

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, value: str) -> None:
        """Count a user with a value."""
        if value in self._numbers:
            self._numbers[value] += 1
        elif len(self._numbers) < _VALUES and self._characters < _CHARACTERS:
            self._characters += len(value)
            self._numbers[value] = 1
        else:
            self.complete = False

    def most_frequent(self) -> list[tuple[str, int]]:
        """Return the values with their numbers, those of most users first."""
        return sorted(self._numbers.items(), key=lambda pair: (-pair[1], pair[0]))


@dataclass
class MappingPreview:
    """The effect that saving a definition would have. Its size does not grow with the number of users."""

    #: The definition that is saved now.
    replaced: MappingDefinition
    groups_to_create: list[str] = field(default_factory=list)
    joins: MembershipChanges = field(default_factory=MembershipChanges)
    leaves: MembershipChanges = field(default_factory=MembershipChanges)
    #: Users with a membership that would begin or end.
    users: int = 0
    #: Users by value without a rule.
    unmapped: ValueCounts = field(default_factory=ValueCounts)
    #: A digest of all values without a rule with their numbers; their order does not count.
    unmapped_digest: int = 0

    def count_unmapped(self, value: str) -> None:
        """Count a user with a value that no rule covers."""
        summand = int.from_bytes(hashlib.sha256(value.encode()).digest()[:16], "big")
        self.unmapped_digest = (self.unmapped_digest + summand) % (1 << 128)
        self.unmapped.add(value)

    def as_json(self) -> Json:
        """Return the body of the admin API: lists are cut, the summary counts all."""
        unmapped = self.unmapped.most_frequent()
        return {
            "groups_to_create": self.groups_to_create[:LIST_LENGTH],
            "joins": self.joins.first,
            "leaves": self.leaves.first,
            "unmapped": [{"value": value, "users": users} for value, users in unmapped[:LIST_LENGTH]],
            "summary": {"users": self.users, "joins": self.joins.total, "leaves": self.leaves.total},
        }

    def etag(self, definition: MappingDefinition) -> str:
        """Return the strong entity tag of this effect of this definition: any difference changes it."""
        digests = [self.joins.digest.tag(), self.leaves.digest.tag(), self.unmapped_digest]
        return tag_of(definition.as_json(), self.replaced.as_json(), self.groups_to_create, digests)
