"""The attribute that Map to groups reads: where its values stand in a document, and which of them no rule covers.

A value without a rule leads to no group, and no other part of an answer says so: the activity line and the diagnostics
name it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.plugin.declarations import KeptAttributes
from gateway.provisioning.caller import IdpCaller
from gateway.scim.errors import InvalidPath, InvalidValue
from gateway.scim.json_text import excerpt, fold
from gateway.scim.paths import parse_path
from gateway.store import Store

#: Values that one sentence names, at most.
_NAMED_VALUES = 10


class UnusableAttribute(InvalidValue):
    """An attribute whose values cannot be mapped to groups."""


class MappedPath(NamedTuple):
    """The path of the mapped values: attribute names from the root of a document, and a sub-attribute of entries."""

    names: tuple[str, ...]
    sub_attribute: str | None

    @classmethod
    def parse(cls, kept: KeptAttributes, attribute: str) -> MappedPath:
        """Return the path of an attribute that `check_attribute` accepted, in the spelling of documents."""
        path = parse_path(attribute, tuple(extension.id for extension in kept.user.extensions))
        head = kept.user.find_top_level(path.urn, path.name)
        if head is None:
            return cls((path.name,) if path.urn is None else (path.urn, path.name), path.sub)
        extension, found = head
        names = (found.name,) if extension is None else (extension, found.name)
        sub = found.table.get(path.sub.lower()) if path.sub else None
        return cls(names, sub.name if sub else path.sub)

    def values_in_part(self, part: str | None) -> list[str]:
        """Return the distinct texts in the part of a document at `names`, which is JSON; None for no such part."""
        return [] if part is None else self._texts(json.loads(part))

    def values_in(self, document: Mapping[str, Any]) -> list[str]:
        """Return the distinct texts in a whole document."""
        value: Any = document
        for name in self.names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return self._texts(value)

    def _texts(self, value: Any) -> list[str]:
        if self.sub_attribute is not None:
            entries = value if isinstance(value, list) else [value]
            value = [entry.get(self.sub_attribute) for entry in entries if isinstance(entry, dict)]
        texts = (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))
        return list(dict.fromkeys(texts))


def check_attribute(kept: KeptAttributes, attribute: str) -> None:
    """Raise UnusableAttribute for an attribute whose values cannot be mapped to groups."""
    try:
        path = parse_path(attribute, tuple(extension.id for extension in kept.user.extensions))
    except InvalidPath as refusal:
        raise UnusableAttribute(f"attribute cannot be read. {refusal.detail}") from None
    top = kept.user.find(path.urn, path.name, None)
    found = kept.user.find(path.urn, path.name, path.sub)
    # A read-only attribute is not in the stored document, so it would never have a value.
    if (
        top is None
        or found is None
        or path.filter is not None
        or "readOnly" in (top.mutability, found.mutability)
        or found.type not in ("string", "reference")
    ):
        raise UnusableAttribute(
            f"{attribute!r} is not a text attribute that this connection keeps. Its /Schemas lists what it keeps."
        )


class RuleValues(NamedTuple):
    """The values of a connection's rules: as they are, and letter case and Unicode normalization aside."""

    exact: frozenset[str]
    folded: Mapping[str, str]

    def find_unruled(self, values: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """Return the values that no rule covers, in two parts.

        The first holds those that differ from a rule by letter case or Unicode normalization alone, with the value of
        that rule; the second all others.
        """
        unruled = [value for value in dict.fromkeys(values) if value not in self.exact]
        near = {value: self.folded[fold(value)] for value in unruled if fold(value) in self.folded}
        return near, [value for value in unruled if value not in near]


class UnruledValues:
    """Finds the values of users that no rule of their connection covers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By the policy number, which every save of a mapping changes: a change of a user costs no statement.
        self._rules = lru_cache(maxsize=128)(self._read_rules)

    def describe_new_values(
        self, caller: IdpCaller, document: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> list[str]:
        """Return sentences on the values without a rule that a change adds; none where Map to groups is off.

        `before` is the document that the change replaces, None for a new user.
        """
        connection = caller.connection
        if not connection.mapping_enabled or not connection.mapping_attribute:
            return []
        path = MappedPath.parse(caller.kept, connection.mapping_attribute)
        new = path.values_in(document)
        if before is not None:
            old = set(path.values_in(before))
            new = [value for value in new if value not in old]
        if not new:
            return []
        return describe_unruled(connection.mapping_attribute, *self.rules(caller).find_unruled(new))

    def rules(self, caller: IdpCaller) -> RuleValues:
        """Return the values of the rules of a connection."""
        return self._rules(caller.connection.id, caller.organization.policy)

    def _read_rules(self, connection_id: int, policy: int) -> RuleValues:
        values = self._store.mapping_rules.values(connection_id)
        return RuleValues(frozenset(values), {fold(value): value for value in values})


def describe_unruled(
    attribute: str,
    near: Mapping[str, str],
    others: Iterable[str],
    users: Mapping[str, int] = MappingProxyType({}),
) -> list[str]:
    """Return sentences on values without a rule and their remedy; `users` is the number of users by value.

    `near` and `others` are the two parts of `RuleValues.find_unruled`.
    """

    def with_count(value: str) -> str:
        number = users.get(value, 0)
        return f" ({number} user{'s' if number > 1 else ''})" if number else ""

    sentences = []
    if near:
        pairs = [f"{excerpt(value)} for {excerpt(rule)}{with_count(value)}" for value, rule in near.items()]
        sentences.append(
            f"Values of {attribute} that differ from a rule of Map to groups by letter case or Unicode normalization"
            f" alone lead to no group: {_enumerate(pairs)}. Mend them at the identity provider, or add a rule in the"
            " application."
        )
    names = [excerpt(value) + with_count(value) for value in others]
    if names:
        sentences.append(
            f"Values of {attribute} in no rule of Map to groups lead to no group: {_enumerate(names)}. Add a rule in"
            " the application if they should."
        )
    return sentences


def _enumerate(names: list[str]) -> str:
    more = len(names) - _NAMED_VALUES
    return ", ".join(names[:_NAMED_VALUES]) + (f" and {more} more" if more > 0 else "")
