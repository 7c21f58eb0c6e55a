"""Callers of operations, an identity provider's connection or an admin, and the trace that a request leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from gateway.config import Config
from gateway.plugin.contracts import Billing, Connection, Organization, Seats
from gateway.plugin.declarations import KeptAttributes
from gateway.plugin.json_values import freeze
from gateway.plugin.manager import PluginManager
from gateway.plugin.results import Answered, Decision
from gateway.provisioning.safety.settings import Brake, Pause, read_brake, read_pause
from gateway.store.activity import ActivityLine
from gateway.store.records import ConnectionRecord, OrganizationRecord

#: What stands between the public URL and the slug of a connection in its base URL.
BASE_PATH = "/scim/v2"


@dataclass(frozen=True)
class Caller:
    """An admin of an organization, or an operator who acts in it; `tenant` is the organization as plugins see it."""

    organization: OrganizationRecord
    tenant: Organization
    connection: ConnectionRecord | None

    @property
    def connection_id(self) -> int | None:
        """The key of the connection; None for an admin."""
        return self.connection.id if self.connection else None

    @property
    def connection_uid(self) -> str | None:
        """The public id of the connection; None for an admin."""
        return self.connection.uid if self.connection else None


@dataclass(frozen=True)
class IdpCaller(Caller):
    """An identity provider: its connection, as stored and as plugins see it, and the attributes that it keeps."""

    connection: ConnectionRecord
    words: Connection
    kept: KeptAttributes
    #: What its base URL begins with.
    public_url: str
    #: How many removals it may make; None for any number.
    brake: Brake | None = None
    #: Its pause, which may be over.
    pause: Pause | None = None
    #: The `Retry-After` of a change that waits for an admin, in seconds.
    waiting_seconds: int = 900


class Callers:
    """Builds callers from stored records."""

    def __init__(self, config: Config, plugins: PluginManager) -> None:
        self._config, self._plugins = config, plugins
        self._settings = lru_cache(maxsize=1024)(_parsed)
        self._kept: dict[tuple[str, str], KeptAttributes] = {}
        # Made of what is stored alone, so as long as that stands the same caller serves every request.
        self._known = lru_cache(maxsize=256)(self._caller)

    def tenant(self, organization: OrganizationRecord) -> Organization:
        """Return an organization as plugins see it."""
        config = self._config
        return Organization(
            id=organization.uid,
            name=organization.name,
            plan=organization.plan,
            sso=organization.sso is not None,
            seats=Seats(organization.seat_limit, organization.seats_used),
            billing=Billing(
                "card" if organization.payment == "card" else "invoice",
                organization.billing_url or config.billing_url,
                organization.contact_url or config.contact_url,
            ),
            domains=tuple(json.loads(organization.domains)) if organization.domains != "[]" else (),
        )

    def words(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> Connection:
        """Return a connection as plugins see it."""
        return Connection(
            id=connection.uid,
            slug=connection.slug,
            idp=connection.idp,
            name=connection.name,
            organization=self.tenant(organization),
            settings=self._settings(connection.settings),
            base_url=f"{public_url}{BASE_PATH}/{connection.slug}",
            extension_urn=self._config.extension_urn,
            mapping_attribute=connection.mapping_attribute if connection.mapping_enabled else None,
        )

    def admin(self, organization: OrganizationRecord, connection: ConnectionRecord | None = None) -> Caller:
        """Return an admin of an organization, or an operator who acts in it; for `connection` where one is given."""
        return Caller(organization, self.tenant(organization), connection)

    def connection(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> IdpCaller:
        """Return an identity provider. Raises Unavailable where its plugin is missing or fails."""
        return self._known(connection, organization, public_url)

    def _caller(
        self, connection: ConnectionRecord, organization: OrganizationRecord, public_url: str
    ) -> IdpCaller:
        words = self.words(connection, organization, public_url)
        kept = self._keeps(connection, words)
        declaration = self._plugins.declared.of(connection.idp)
        return IdpCaller(
            organization, words.organization, connection, words, kept, public_url,
            read_brake(connection.brake), read_pause(connection.pause),
            declaration.waiting_seconds if declaration else 900,
        )  # fmt: skip

    def _keeps(self, connection: ConnectionRecord, words: Connection) -> KeptAttributes:
        """Return what a connection keeps: it depends on plugin and settings alone, so it is computed once."""
        kept = self._kept.get((connection.idp, connection.settings))
        if kept is None:
            if len(self._kept) > 1024:
                self._kept.clear()
            kept = self._kept[connection.idp, connection.settings] = self._plugins.declared.kept(words)
        return kept


def _parsed(settings: str) -> Mapping[str, Any]:
    return freeze(json.loads(settings))  # type: ignore[no-any-return]


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
    #: Why an admin did it, in the admin's words.
    reason: str | None = None
    #: What an admin decided, in a sentence.
    decided: str | None = None
    #: What the activity alone says of a refusal, where the answer must not.
    inside: str | None = None
    #: Where an admin decides about what was refused, as `Refusal.page` has it.
    page: str = ""
    #: Why somebody who is not known was refused, in a word or two: lines of one reason and minute are counted as one.
    stranger: str | None = None
    status: int = 200
    ignored: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    #: True once the line was written in the transaction of the change.
    written: bool = False
    #: True once the line of the refusal was written, in the transaction that stored it instead of the change.
    refusal_written: bool = False
    #: True between the first and the last transaction of a change that takes several.
    in_part: bool = False
    #: What was sent, and what the connection's plugin made of it, where that is something else.
    translated: tuple[Any, Any] | None = None
    #: The steps so far while every request is explained; None: a refusal is explained by what is noted here anyway.
    steps: list[ExplanationStep] | None = None
    #: When `steps` began, of the monotonic clock.
    began: float = 0.0
    #: Called before the first of several transactions: the web layer puts a long request into a queue there.
    before_portions: Callable[[], None] = lambda: None

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
        if status < 400:
            left_out = self._left_out()
            outcome, detail = (
                "partial" if left_out else "success",
                detail or self.decided or " ".join(left_out) or None,
            )
        else:
            outcome, detail = "failure", self.inside or detail
        decisions = [{"plugin": d.plugin, "hook": d.hook, "verdict": _cut(d.verdict)} for d in self.decisions]
        if len(decisions) > LINE_COUNT:
            more = f"… and {len(decisions) - LINE_COUNT} more"
            decisions[LINE_COUNT:] = [{"plugin": "gateway", "hook": "activity", "verdict": more}]
        detail = detail and _cut(detail)
        return ActivityLine(
            self.organization_id, self.connection_uid, self.principal, self.operation, self.user, status, outcome,
            detail, ignored, json.dumps(decisions) if decisions else "[]", self.request_id,
            self.target.id if self.target else None, self._facts(status),
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
