"""Checks of what the calls of an identity provider show: whether they succeed, and the mistakes that they betray."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gateway.plugin.contracts import RecentCalls
from gateway.plugin.declarations import Declarations
from gateway.provisioning.admission import UNENCRYPTED
from gateway.provisioning.caller import Callers
from gateway.provisioning.diagnostics.checks import DAILY, Check, count
from gateway.provisioning.diagnostics.pages import NEW_CONNECTION, REFUSED_CALLS
from gateway.scim.json_text import excerpt
from gateway.store import Store
from gateway.store.activity import ActivityFilter
from gateway.store.connection_health import CallGroup, Client, RefusedRequest
from gateway.store.ids_and_time import DAY, HOUR, SECOND, in_words, now, rfc3339
from gateway.store.records import ActivityRecord, ConnectionRecord, OrganizationRecord

#: People who meet the same refusal, and the share of writes that ignore an attribute, from which on it is said.
PEOPLE, SHARE = 10, 0.2
#: Writes below which a share says nothing.
WRITES = 10
#: Cycles of an identity provider without a successful call from which on it is unusually quiet.
CYCLES = 3
#: Quoted texts, ids and numbers, in which the same refusal differs from person to person.
_VARIABLE = re.compile(r"""'[^']*'|"[^"]*"|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+""")
_RENEW = "Make a new token and enter it at the identity provider; then let it test the connection."
_COPY_URL = "Copy the base URL again as it stands here, and enter it at the identity provider as it is."


class _Mistake(NamedTuple):
    """A check of requests without a valid token: what the first word of their reason means."""

    name: str
    #: What is wrong; `{n}` stands for so many requests, `{last}` for the last word of the reason.
    message: str
    remedy: str


#: By the beginning of the reason, as the trace of a refused request has it.
_MISTAKES: Mapping[str, _Mistake] = MappingProxyType({
    "no token": _Mistake(
        "no_token", "{n} without a token came in the last 24 hours", "Enter the token as a bearer token."
    ),
    "unknown token": _Mistake(
        "wrong_token", "{n} with a wrong token came in the last 24 hours", _RENEW
    ),
    "wrong token": _Mistake(
        "wrong_token", "{n} with a wrong token came in the last 24 hours", _RENEW
    ),
    "foreign": _Mistake(
        "foreign_token",
        "{n} came in the last 24 hours with the token {last}…, which belongs to {owner}",
        "Enter the base URL and the token of one and the same connection.",
    ),
    "token from elsewhere": _Mistake(
        "foreign_token",
        "{n} came in the last 24 hours with a token of another connection, outside of this organization",
        "Enter the base URL and the token of one and the same connection.",
    ),
    "expired": _Mistake(
        "old_token", "{n} came in the last 24 hours with the token {last}…, which has expired", _RENEW
    ),
    "was revoked": _Mistake(
        "old_token",
        "{n} came in the last 24 hours with the token {last}…, which was revoked",
        _RENEW,
    ),
    "unknown base URL": _Mistake(
        "base_url", "{n} came in the last 24 hours to a base URL that is nearly this one", _COPY_URL
    ),
    "base URL twice": _Mistake(
        "base_url", "{n} came in the last 24 hours to an address in which /scim/v2 stands twice", _COPY_URL
    ),
    "endpoint in base URL": _Mistake(
        "base_url",
        "{n} came in the last 24 hours to a base URL that ends in /Users or /Groups",
        "Enter the base URL without that at the identity provider, which adds it by itself.",
    ),
})  # fmt: skip


class CallChecks:
    """Reads what a connection's identity provider called lately, within fixed bounds however much that is."""

    def __init__(self, store: Store, declared: Declarations, callers: Callers) -> None:
        self._store, self._declared, self._callers = store, declared, callers

    def mistakes(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Return the mistakes that the calls of the last day betray; nothing where there are none."""
        moment, health, declared = now(), self._store.connection_health, self._declared.of(connection.idp)
        cycle = declared.cycle_seconds * SECOND if declared and declared.cycle_seconds else HOUR
        client = health.client(connection.id)
        refused = health.refusals(organization.id, connection.uid, moment - DAY)
        groups = health.calls(organization.id, connection.uid, moment - max(DAY, cycle), moment - cycle)
        recent = _recent(groups, refused, client)
        words = self._callers.connection(connection, organization, "").words
        return [
            *self._without_token(connection, refused),
            *self._client(connection, client),
            *ignored_attributes(groups),
            *same_refusal(refused),
            *(
                Check(f"{connection.idp}_{each.name}", each.level, each.message, each.remedy)
                for each in (self._declared.checks(words, recent) if declared else ())
            ),
        ]

    def _without_token(self, connection: ConnectionRecord, refused: Sequence[RefusedRequest]) -> list[Check]:
        """Name mistakes of requests without a valid token, one check each."""
        met: dict[str, tuple[_Mistake, str, list[RefusedRequest]]] = {}
        for request in refused:
            reason = str(json.loads(request.facts).get("refused", "")) if request.principal is None else ""
            begin = next((begin for begin in _MISTAKES if reason.startswith(begin)), None)
            if begin is not None:
                mistake = _MISTAKES[begin]
                met.setdefault(mistake.name, (mistake, reason, []))[2].append(request)
        return [self._mistake(connection, *each) for each in met.values()]

    def _mistake(
        self, connection: ConnectionRecord, mistake: _Mistake, reason: str, requests: Sequence[RefusedRequest]
    ) -> Check:
        newest = requests[0]
        last = reason.rpartition(" ")[2]
        message = mistake.message.format(
            n=count(sum(request.times for request in requests), "request", "requests"),
            last=last,
            owner=self._owner(connection, last) if mistake.name == "foreign_token" else "",
        )
        agent = json.loads(newest.facts).get("agent")
        by = f" The client calls itself {excerpt(agent)}." if agent else ""
        return Check(
            mistake.name,
            "warn",
            f"{message.rstrip('.')}.{by}",
            mistake.remedy,
            newest.at,
            DAILY,
        )

    def _owner(self, connection: ConnectionRecord, prefix: str) -> str:
        """Name the connection of the same organization that a token with these first characters belongs to."""
        name = self._store.tokens.owner_of_prefix(connection.organization_id, prefix)
        return f"the connection {excerpt(name)}" if name else "another connection"

    def _client(self, connection: ConnectionRecord, client: Client | None) -> list[Check]:
        if client is None:
            return []
        found = []
        if UNENCRYPTED in client.flags:
            message = "The identity provider calls with http, so that the token travels unencrypted."
            remedy = "Enter the base URL with https, as it stands here, and make a new token: others may know this one."
            found.append(Check("unencrypted", "warn", message, remedy, client.hour * HOUR))
        meant = self._declared.recognise(client.agent, client.flags)
        if meant is not None and meant != connection.idp:
            theirs, ours = self._declared.title(meant), self._declared.title(connection.idp)
            message = (
                f"{theirs} calls here ({excerpt(client.agent)}), but the connection is one for {ours}: what {theirs}"
                " sends in its own way is not understood."
            )
            remedy = f"Add a connection for {theirs}, and enter its base URL and token there."
            found.append(
                Check(
                    "identity_provider",
                    "warn",
                    message,
                    remedy,
                    client.hour * HOUR,
                    other_page=NEW_CONNECTION,
                )
            )
        return found

    # How the last calls went ----------------------------------------------------------------------------------------

    def last_calls(self, organization: OrganizationRecord, connection: ConnectionRecord) -> list[Check]:
        """Return how long ago a call succeeded, and what became of the last ones. Attempts are no successes."""
        last_call = self._store.activity.last_call
        newest = last_call(organization.id, connection.uid)
        done = last_call(organization.id, connection.uid, "done") if newest else None
        whole = done
        if done and done.outcome == "partial":
            whole = last_call(organization.id, connection.uid, "success")
        failed = last_call(organization.id, connection.uid, "failure") if newest else None
        return [
            *self._last_success(connection, newest, done),
            *self._last_partial(organization, connection, whole),
            _last_call(newest),
            _last_failure(failed, whole),
        ]

    def _last_success(
        self, connection: ConnectionRecord, newest: ActivityRecord | None, done: ActivityRecord | None
    ) -> list[Check]:
        if not connection.provisioning:
            return []
        declared, moment, title = (
            self._declared.of(connection.idp),
            now(),
            self._declared.title(connection.idp),
        )
        name = "last_success"
        remedy = f"Look at {title} whether provisioning runs there, and what its log says."
        if done is None:
            if newest is None:
                if connection.created > moment - DAY:
                    return []
                day = rfc3339(connection.created)[:10]
                message = f"{title} has never called since the connection was made, on {day}."
                remedy = f"Enter base URL and token at {title}, and start provisioning there."
                return [Check(name, "warn", message, remedy)]
            message = "No call has succeeded so far; the last one was refused."
            remedy = "See why below, then let the identity provider test the connection."
            return [Check(name, "warn", message, remedy, newest.at)]
        cycle = declared.cycle_seconds if declared else 0
        if cycle and done.at < moment - CYCLES * cycle * SECOND:
            message = (
                f"No call has succeeded since {in_words(done.at)}, though {title} calls about every"
                f" {cycle // 60} minutes."
            )
            return [Check(name, "warn", message, remedy, done.at)]
        if newest and newest.outcome == "failure" and done.at < moment - DAY:
            message = f"Calls arrive, but none has succeeded since {in_words(done.at)}."
            return [Check(name, "warn", message, "See the refused calls.", done.at, other_page=REFUSED_CALLS)]
        return []

    def _last_partial(
        self, organization: OrganizationRecord, connection: ConnectionRecord, whole: ActivityRecord | None
    ) -> list[Check]:
        wanted = ActivityFilter(connection=connection.uid, outcome="partial")
        found = self._store.activity.search(organization.id, None, 1, wanted).lines
        return [
            Check(
                "last_partial",
                "note",
                f"The last call that left something out was {_describe_line(line)}: {line.detail}"
                f"{_since(line, whole)}",
                seen=line.at,
            )
            for line in found
        ]


# Findings of rows -----------------------------------------------------------------------------------------------------


def ignored_attributes(groups: Iterable[CallGroup]) -> list[Check]:
    """Name attributes that many writes bring and that are not stored."""
    writes, newest, met = 0, 0, Counter[str]()
    for group in groups:
        if group.write and group.outcome != "failure":
            writes += group.n
            names = json.loads(group.ignored)
            met.update(dict.fromkeys(names, group.n))
            newest = max(newest, group.newest if names else 0)
    names = [name for name, n in met.most_common() if n > writes * SHARE]
    if writes < WRITES or not names:
        return []
    listed = ", ".join(excerpt(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
    message = (
        f"Of {writes:,} changes in the last 24 hours, {met[names[0]]:,} brought what is not stored: {listed}."
    )
    remedy = "Where you need them here, map them to other attributes at the identity provider; else nothing is wrong."
    return [Check("ignored_attributes", "note", message, remedy, newest)]


def same_refusal(refused: Sequence[RefusedRequest]) -> list[Check]:
    """Group refusals that differ in the person alone, and name the one that most people met.

    Those of holds, rejections and pauses have checks of their own while they last, and are mended once they are over.
    """
    met: dict[tuple[int, str], list[RefusedRequest]] = {}
    for request in refused:
        if request.principal is None or json.loads(request.facts).get("page") == "safety":
            continue
        if request.user or request.target_uid:
            pattern = (request.detail or "").replace(request.user or "\0", "…")
            met.setdefault((request.status, _VARIABLE.sub("…", pattern)), []).append(request)
    most, requests = 0, list[RefusedRequest]()
    for group in met.values():
        people = len({request.user or request.target_uid for request in group})
        if people > most:
            most, requests = people, group
    if most < PEOPLE:
        return []
    newest = requests[0]
    method = newest.operation.partition(" ")[0]
    message = f"The same refusal met {most:,} people in the last 24 hours ({method}, {newest.status})."
    example = f"The last one, {newest.user or newest.target_uid}: {newest.detail}"
    return [
        Check(
            "same_refusal", "warn", message, "Mend the cause that all of them share.", newest.at,
            example=example,
        )
    ]  # fmt: skip


def _recent(
    groups: Iterable[CallGroup], refused: Iterable[RefusedRequest], client: Client | None
) -> RecentCalls:
    cycle = [group for group in groups if group.recent]
    refusals = Counter[tuple[str, int]]()
    for request in refused:
        if request.principal is not None:
            refusals[request.operation.partition(" ")[0], request.status] += request.times
    return RecentCalls(
        sum(group.n for group in cycle),
        sum(group.n for group in cycle if group.outcome == "failure"),
        MappingProxyType(dict(refusals)),
        client.agent if client else "",
        frozenset(client.flags if client else ()),
    )


def _last_call(line: ActivityRecord | None) -> Check:
    if line is None:
        remedy = (
            "Let it test the connection; if it reports an error and this stays as it is, its base URL is not that of"
            " this connection: copy it again."
        )  # fmt: skip
        return Check("last_call", "note", "The identity provider has not called yet.", remedy)
    return Check("last_call", "ok", f"The last call was {_describe_line(line)}.", seen=line.at)


def _last_failure(line: ActivityRecord | None, whole: ActivityRecord | None) -> Check:
    if line is None:
        return Check("last_failure", "ok", "No call was refused, as far back as the activity goes.")
    since = _since(line, whole)
    message = f"The last refused call was {_describe_line(line)}: {line.detail}{since}"
    return Check("last_failure", "ok" if since else "note", message, seen=line.at, other_page=REFUSED_CALLS)


def _since(line: ActivityRecord, whole: ActivityRecord | None) -> str:
    """Return a sentence where a later call was done in full."""
    return " A later call went well." if whole and (whole.at, whole.id) > (line.at, line.id) else ""


def _describe_line(line: ActivityRecord) -> str:
    whom = f" for {line.user}" if line.user else ""
    return f"{line.operation}{whom} on {in_words(line.at)}, answered with {line.status}"
