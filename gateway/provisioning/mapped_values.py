"""Values of Map to groups that no rule covers: who has one is in no group by it, and nothing else says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.mapping import MappedPath
from gateway.scim.documents import fold
from gateway.scim.json_text import shown
from gateway.store import Store

#: Values that one sentence names.
_NAMED = 10


class Rules(NamedTuple):
    """The values of a connection's rules: as they are, and letter case and Unicode normalization aside."""

    exact: frozenset[str]
    folded: Mapping[str, str]

    def without(self, values: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """The values that no rule covers: those that differ from a rule by letter case or Unicode normalization alone,
        with that rule, and the others."""
        unruled = [value for value in dict.fromkeys(values) if value not in self.exact]
        near = {value: self.folded[fold(value)] for value in unruled if fold(value) in self.folded}
        return near, [value for value in unruled if value not in near]


class UnruledValues:
    """Finds the values of users that no rule of their connection covers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # With the policy number, which every save of a mapping moves: a user costs no statement.
        self._rules = lru_cache(maxsize=128)(self._read)

    def of_user(
        self, caller: IdpCaller, document: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> list[str]:
        """Sentences on the values that a change brings to a user; none where Map to groups is off.

        `before` is the document that the change replaces, None for a new user.
        """
        connection = caller.connection
        if not connection.mapping_enabled or not connection.mapping_attribute:
            return []
        path = MappedPath.of(caller.kept, connection.mapping_attribute)
        brought = path.values_in(document)
        if before is not None:
            had = set(path.values_in(before))
            brought = [value for value in brought if value not in had]
        if not brought:
            return []
        return sentences(connection.mapping_attribute, *self.rules(caller).without(brought))

    def rules(self, caller: IdpCaller) -> Rules:
        """The rules of a connection."""
        return self._rules(caller.connection.id, caller.organization.policy)

    def _read(self, connection_id: int, policy: int) -> Rules:
        values = self._store.mapping_rules.values(connection_id)
        return Rules(frozenset(values), {fold(value): value for value in values})


def sentences(
    attribute: str,
    near: Mapping[str, str],
    others: Iterable[str],
    users: Mapping[str, int] = MappingProxyType({}),
) -> list[str]:
    """What is wrong with values without a rule, and what to do; `users` are the numbers of users who have each."""

    def counted(value: str) -> str:
        number = users.get(value, 0)
        return f" ({number} user{'s' if number > 1 else ''})" if number else ""

    said = []
    if near:
        pairs = [f"{shown(value)} for {shown(rule)}{counted(value)}" for value, rule in near.items()]
        said.append(
            f"Values of {attribute} that differ from a rule of Map to groups by letter case or Unicode normalization"
            f" alone lead to no group: {_listed(pairs)}. Mend them at the identity provider, or add a rule in the"
            " application."
        )
    names = [shown(value) + counted(value) for value in others]
    if names:
        said.append(
            f"Values of {attribute} in no rule of Map to groups lead to no group: {_listed(names)}. Add a rule in the"
            " application if they should."
        )
    return said


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
