"""The results of hooks: the values that the core goes on with, and the check of each answer.

An answer that is not what its hook asks for is invalid, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.plugin.contracts import GroupGrant, Principal, SeatVerdict, Verdict
from gateway.plugin.json_values import NotPlainJson, check_plain
from gateway.scim.errors import Refusal

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Decision:
    """What one plugin said to one hook, for the activity."""

    plugin: str
    hook: str
    verdict: str


class Answered(NamedTuple, Generic[Value]):
    """The answer of plugins to one question, with what they decided on the way to it."""

    value: Value
    decisions: tuple[Decision, ...] = ()
    #: What a plugin refused with, or why its answer cannot be used; there is no value then.
    refusal: Refusal | None = None

    def result(self) -> Value:
        """Return the value, for callers that keep no decisions (`Trace.record` keeps them). Raises the refusal."""
        if self.refusal is not None:
            raise self.refusal
        return self.value


@dataclass(frozen=True, slots=True)
class SeatLimit:
    """The lowest ceiling that any plugin set, who set it, and its sentence."""

    plugin: str
    ceiling: int
    sentence: str


def accept_any(answer: Any) -> Any:
    """Of a hook whose answer is looked at elsewhere, or that has none."""
    return answer


def _a(kind: str, answer: Any) -> NotPlainJson:
    return NotPlainJson(f"is a {type(answer).__name__}, not {kind}")


def _read_principal(answer: Any) -> Principal:
    if not isinstance(answer, Principal):
        raise _a("a Principal", answer)
    if not isinstance(answer.label, str) or not (answer.token_id is None or isinstance(answer.token_id, str)):
        raise NotPlainJson("is a Principal whose label or token_id is no text")
    return answer


def _read_document(answer: Any) -> Any:
    if not isinstance(answer, dict):
        raise _a("a dict", answer)
    check_plain(answer)
    return answer


def _read_operations(answer: Any) -> Any:
    if not isinstance(answer, list):
        raise _a("a list", answer)
    for operation in answer:
        if not isinstance(operation, dict):
            raise _a("a list of dicts", operation)
    check_plain(answer)
    return answer


def _read_text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise _a("a str", answer)
    check_plain(answer)
    return answer


def _read_grants(answer: Any) -> frozenset[str]:
    wanted = set()
    for grant in answer:  # what is yielded is made here, where a plugin may fail
        if not isinstance(grant, GroupGrant):
            raise _a("a list of GroupGrants", grant)
        if not isinstance(grant.group, str):
            raise NotPlainJson("is a GroupGrant whose group is no text")
        wanted.add(grant.group)
    return frozenset(wanted)


def _read_verdict(answer: Any) -> Verdict:
    if not isinstance(answer, Verdict):
        raise _a("a Verdict", answer)
    if not isinstance(answer.allowed, bool) or not isinstance(answer.sentence, str):
        raise NotPlainJson("is a Verdict whose allowed is no bool, or whose sentence is no text")
    if not answer.allowed and not answer.sentence:
        raise NotPlainJson("is a Verdict that denies without a sentence")
    return answer


def _read_seats(answer: Any) -> SeatVerdict:
    if not isinstance(answer, SeatVerdict):
        raise _a("a SeatVerdict", answer)
    ceiling = answer.ceiling
    if not isinstance(ceiling, int) or isinstance(ceiling, bool) or not isinstance(answer.sentence, str):
        raise NotPlainJson("is a SeatVerdict whose ceiling is no int, or whose sentence is no text")
    return answer


#: By hook: what reads an answer into what is gone on with. Raises NotPlainJson.
READERS: Mapping[str, Callable[[Any], Any]] = {
    "gateway_authenticate": _read_principal,
    "gateway_map_resource": _read_document,
    "gateway_map_patch": _read_operations,
    "gateway_map_filter": _read_text,
    "gateway_resolve_groups": _read_grants,
    "gateway_check_entitlement": _read_verdict,
    "gateway_guard_change": _read_verdict,
    "gateway_check_seats": _read_seats,
}

#: How a request may be refused: a plugin's own kind of `Refusal` may say any of these.
_STATUSES = frozenset((400, 401, 403, 404, 409, 412, 413, 429, 500, 501, 503))


def checked_refusal(refusal: Refusal) -> bool:
    """Whether an error can be answered with what a plugin raised."""
    detail, status, after = (
        getattr(refusal, "detail", None),
        refusal.status,
        getattr(refusal, "retry_after", None),
    )
    return (
        isinstance(detail, str)
        and isinstance(status, int)
        and status in _STATUSES
        and (after is None or isinstance(after, int))
    )
