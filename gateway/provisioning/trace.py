"""The trace of a request: what its line of the activity, its explanation and its metrics are made of."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from gateway.plugin.results import Answered, Decision
from gateway.provisioning.explanations.masking import mask_tokens
from gateway.store.activity import ActivityLine

Value = TypeVar("Value")


class Target(NamedTuple):
    """The resource of a request: its type, id and name.

    The type is `User`, `Group`, `Connection`, `Token`, `AdminToken` or `Organization`.
    """

    type: str
    id: str
    name: str | None


class ExplanationStep(NamedTuple):
    """One step of a request: which, who decided it (a plugin, or `gateway`), and a sentence of what was decided.

    `ms` are milliseconds from the beginning of the request on, None where they were not measured.
    """

    step: str
    who: str
    sentence: str
    ms: float | None = None


#: The steps in which hooks and notes of the core decide.
_STEPS = {
    "authenticate": "admission",
    "check_entitlement": "admission",
    "map_resource": "dialect",
    "map_patch": "dialect",
    "map_filter": "dialect",
    "patch": "dialect",
    "external_id": "found",
    "resolve_groups": "groups",
    "check_seats": "seats",
}
#: Steps that an explanation holds at most; a bulk request has many.
MAX_STEPS = 500


def step_of(decision: Decision, ms: float | None = None) -> ExplanationStep:
    """Return a decision of a plugin as a step."""
    return ExplanationStep(
        _STEPS.get(decision.hook, decision.hook),
        decision.plugin,
        f"{decision.hook}: {_cut(decision.verdict)}",
        ms,
    )


#: Names of what was ignored, and decisions, that one line of the activity holds.
LINE_COUNT = 100
#: Characters of each text in it.
LINE_TEXT_LENGTH = 2000


class TraceState(NamedTuple):
    """The part of a trace that a new attempt of an operation finds out anew."""

    ignored: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    left_out: tuple[str, ...] = ()
    changed: Sequence[str] = ()
    members: tuple[int, int] | None = None
    waiting: int = 0
    restored: bool = False


@dataclass(slots=True)
class Trace:
    """What the activity will say about one request. It is filled while the request is served; it holds no secrets."""

    # The request, and who sends it.
    operation: str
    request_id: str
    #: Key of the organization; 0 while it is not known, and then there is no line.
    organization_id: int = 0
    connection_uid: str | None = None
    #: What the base URL of an identity provider ends with; a stranger's text until its connection was looked up. ""
    #: for an admin.
    slug: str = ""
    #: The User-Agent of an identity provider, and flags of `Declaration.url_flags` in its query.
    agent: str = ""
    flags: tuple[str, ...] = ()
    #: The kind of identity provider that calls, for metrics; "" while no connection is known.
    idp: str = ""
    principal: str | None = None
    token_id: str | None = None
    #: The first characters of the token, which an admin can compare with the list of tokens.
    token_prefix: str | None = None
    #: Why somebody who is not known was refused, in a word or two: lines of one reason and minute are counted as one.
    stranger: str | None = None
    #: Why an admin did it, in the admin's words.
    reason: str | None = None

    # What it is about, and what was done: from `changed` on, what a new attempt finds out anew.
    user: str | None = None
    target: Target | None = None
    #: Names of the attributes or settings that a change moved, never their values.
    changed: Sequence[str] = ()
    #: How many members came into a group and how many left it.
    members: tuple[int, int] | None = None
    #: How many members are not there (yet): the group waits for them.
    waiting: int = 0
    restored: bool = False
    #: What a success left out, each in a sentence; the line is `partial` then.
    left_out: list[str] = field(default_factory=list)
    #: Paths of attributes that the connection does not keep.
    ignored: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    # How it ended.
    status: int = 200
    #: What an admin decided, in a sentence.
    decided: str | None = None
    #: What the activity alone says of a refusal, where the answer must not.
    inside: str | None = None
    #: Where an admin decides about what was refused, as `Refusal.page` has it.
    page: str = ""

    # How far it is recorded.
    #: True once the line was written in the transaction of the change.
    written: bool = False
    #: True once the line of the refusal was written, in the transaction that stored it instead of the change.
    refusal_written: bool = False
    #: True between the first and the last transaction of a change that takes several.
    in_part: bool = False
    #: Called before the first of several transactions: the web layer puts a long request into a queue there.
    before_portions: Callable[[], None] = lambda: None

    # What its explanation has beyond that.
    #: What was sent, and what the connection's plugin made of it, where that is something else.
    translated: tuple[Any, Any] | None = None
    #: The steps so far while every request is explained; None: a refusal is explained by what is noted here anyway.
    steps: list[ExplanationStep] | None = None
    #: When `steps` began, of the monotonic clock.
    began: float = 0.0

    def record(self, answered: Answered[Value]) -> Value:
        """Note what plugins decided and return what they answered. Raises what one of them refused with."""
        if answered.decisions:
            self.decide(answered.decisions)
        if answered.refusal is not None:
            raise answered.refusal
        return answered.value

    def decide(self, decisions: Iterable[Decision]) -> None:
        """Note what plugins decided."""
        self.decisions += decisions
        if self.steps is not None:
            ms = self._elapsed()
            self.steps += [step_of(decision, ms) for decision in decisions]

    def watch(self) -> None:
        """Record the steps of this request from now on."""
        if self.steps is None:
            self.steps, self.began = [], time.perf_counter()

    def explain(self, step: str, who: str, sentence: str) -> None:
        """Record a step of a request that is watched; `who` is a plugin or `gateway`.

        Does nothing for any other request. Where the sentence costs work, ask first whether `steps` is None.
        """
        if self.steps is not None and len(self.steps) < MAX_STEPS:
            self.steps.append(ExplanationStep(step, who, sentence, self._elapsed()))

    def _elapsed(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 3)

    @property
    def is_partial(self) -> bool:
        """Whether a success left out anything that was asked for."""
        return bool(self.left_out or self.waiting)

    def noted(self) -> TraceState:
        """Return what `restore` brings back: call it before the first attempt."""
        return TraceState(
            tuple(self.ignored), tuple(self.decisions), tuple(self.left_out), self.changed, self.members,
            self.waiting, self.restored,
        )  # fmt: skip

    def restore(self, noted: TraceState) -> None:
        """Discard what an attempt noted that was rolled back."""
        self.ignored, self.decisions = list(noted.ignored), list(noted.decisions)
        self.left_out, self.changed = list(noted.left_out), noted.changed
        self.members, self.waiting, self.restored = noted.members, noted.waiting, noted.restored

    def line(self, status: int, detail: str | None = None) -> ActivityLine:
        """Return the line as it is stored. `detail` is the sentence of a refusal."""
        ignored = json.dumps(_first(list(dict.fromkeys(self.ignored)))) if self.ignored else "[]"
        operation, target = self.operation, self.target.id if self.target else None
        if status < 400:
            left_out = self._left_out()
            outcome, detail = (
                "partial" if left_out else "success",
                detail or self.decided or " ".join(left_out) or None,
            )
        else:
            outcome, detail = "failure", mask_tokens(self.inside or detail or "") or None
            operation, target = mask_tokens(operation), target and mask_tokens(target)
        decisions = [{"plugin": d.plugin, "hook": d.hook, "verdict": _cut(d.verdict)} for d in self.decisions]
        if len(decisions) > LINE_COUNT:
            more = f"… and {len(decisions) - LINE_COUNT} more"
            decisions[LINE_COUNT:] = [{"plugin": "gateway", "hook": "activity", "verdict": more}]
        detail = detail and _cut(detail)
        return ActivityLine(
            self.organization_id, self.connection_uid, self.principal, operation, self.user, status, outcome,
            detail, ignored, json.dumps(decisions) if decisions else "[]", self.request_id,
            target, self._facts(status),
        )  # fmt: skip

    def _left_out(self) -> list[str]:
        sentences = list(dict.fromkeys(self.left_out))
        if self.waiting:
            many = f"{self.waiting} members are" if self.waiting > 1 else "1 member is"
            sentences.append(
                f"{many} not here: the group waits for them. Provision those users on this connection, or remove them"
                " from the group at the identity provider."
            )
        return sentences

    def _facts(self, status: int) -> str:
        facts: dict[str, Any] = {}
        if self.token_prefix:
            facts["prefix"] = self.token_prefix
        if self.target:
            facts["type"] = self.target.type
            if self.target.name is not None and self.target.name != self.user:
                facts["name"] = self.target.name
        if status < 400:
            self._add_changes(facts)
        elif self.page:
            facts["page"] = self.page
        elif self.stranger:
            facts["refused"] = self.stranger
            if self.agent:
                facts["agent"] = self.agent
        if len(facts) == 2 and self.token_prefix and self.target:
            return _facts_of_read(self.token_prefix, self.target.type)
        return json.dumps(facts) if facts else "{}"

    def _add_changes(self, facts: dict[str, Any]) -> None:
        """Add what a success changed."""
        if self.changed:
            facts["changed"] = _first(list(self.changed))
        if self.members:
            facts["joined"], facts["left"] = self.members
        if self.waiting:
            facts["waiting"] = self.waiting
        if self.restored:
            facts["restored"] = True
        if self.reason:
            facts["reason"] = self.reason


@lru_cache(maxsize=1024)
def _facts_of_read(prefix: str, kind: str) -> str:
    """Return the facts of a read, as most lines are."""
    return json.dumps({"prefix": prefix, "type": kind})


def _first(names: list[str]) -> list[str]:
    """Return as many names as a line holds, each cut where it is long, and how many more there are."""
    kept = [_cut(name) for name in names[:LINE_COUNT]]
    return [*kept, f"… and {len(names) - LINE_COUNT} more"] if len(names) > LINE_COUNT else kept


def _cut(text: str) -> str:
    more = len(text) - LINE_TEXT_LENGTH
    return text if more <= 0 else f"{text[:LINE_TEXT_LENGTH]}… and {more} more characters"


def note_entries(trace: Trace, paths: Iterable[str]) -> None:
    """Note remove operations that were applied to the entries in their value: RFC 7644, 3.5.2.2 has no value there."""
    for path in paths:
        verdict = f"remove of {path[:120]} with a value: the entries in it were removed, and no others"
        decision = Decision("gateway", "patch", verdict)
        if decision not in trace.decisions:
            trace.decide([decision])
