"""SCIM over HTTP (RFC 7644): read the request, tell a story, answer. Media types, entity tags and errors live here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from werkzeug.routing import Rule

from gateway.provisioning import IdpCaller, Provisioning, Trace
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.caller import TraceState
from gateway.provisioning.cursors import LIFETIME
from gateway.provisioning.groups import is_large
from gateway.provisioning.rendering import etag, group_json, user_json
from gateway.provisioning.users import Outcome
from gateway.scim import discovery
from gateway.scim.errors import (
    Forbidden,
    InvalidCount,
    InvalidValue,
    NotFound,
    NotSupported,
    Refusal,
    UnsupportedMediaType,
)
from gateway.scim.json_text import dumps, excerpt, read_json
from gateway.scim.messages import MAX_ATTRIBUTES, Search, is_descending, list_response, read_search
from gateway.scim.schemas import ResourceType
from gateway.scim.selection import project_texts, selects
from gateway.store.records import GroupRecord
from gateway.web.encodings import refuse_many_parts, too_large, unpacked
from gateway.web.http import MEDIA_TYPE, Answer, Call, answer, empty
from gateway.web.scim import streaming
from gateway.web.scim.authentication import Authentication
from gateway.web.scim.bulk import Bulk
from gateway.web.scim.conditional import kept, only_new, unmodified

_ALL = Search()
_READ_AS_JSON = (MEDIA_TYPE, "application/json", "")
#: Digits that any database can count to. Python would take other alphabets' and 1_000, too.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


class View:
    """One endpoint: who calls, then what is done, then the line in the activity.

    The two halves are called one after the other; in between the body may be waited for.
    """

    def __init__(
        self,
        method: str,
        path: str,
        operation: Callable[..., Answer],
        open_: bool,
        activity_writer: ActivityWriter,
        authentication: Authentication,
    ) -> None:
        #: The path of its route below a base URL.
        self.path = path
        self._label = f"{method} {path.replace('<uid>', '{id}')}"
        self._operation, self._open = operation, open_
        self._activity_writer, self._authentication = activity_writer, authentication

    def identify(self, call: Call) -> None:
        """Find the connection and, unless the endpoint is open to all, authenticate the caller."""
        trace = call.trace = Trace(
            self._label, call.request_id, slug=call.slug, before_portions=call.expensive
        )
        identify = self._authentication.find if self._open else self._authentication.identify
        call.admission = identify(call, call.slug, trace)
        call.decided = len(trace.decisions)

    def __call__(self, call: Call) -> Answer:
        """Answer a caller that was identified."""
        trace, admission = call.trace, call.admission
        assert trace is not None
        assert admission is not None
        if call.queued:  # it was begun before, and got as far as to be put into a queue
            trace.restore(TraceState(decisions=tuple(trace.decisions[: call.decided])))
        if not self._open:
            self._authentication.admit(call, admission, trace)
        answered = self._operation(call, admission.caller, trace, **call.arguments)
        trace.status = answered.status
        if trace.written:
            self._activity_writer.record_change(trace)
        elif answered.streamed and call.method != "HEAD":
            answered.when_sent(partial(streaming.record_read, self._activity_writer, trace))
        elif not self._open:
            self._activity_writer.record_read(trace)
        return answered


class Endpoints:
    """What each endpoint does for a caller that the gate let in."""

    def __init__(self, gateway: Provisioning) -> None:
        self._gateway, self._authentication = gateway, Authentication(gateway)
        self._bulk, self._lists = Bulk(gateway, self._authentication), gateway.lists

    def rules(self) -> list[Rule]:
        """Return the routes below the base URL of a connection; the endpoint of each is a `View`."""
        routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/", self.list_all),
            ("POST", "/.search", self.search_all),
            ("GET", "/Users", self.list_users),
            ("POST", "/Users", self.create_user),
            ("POST", "/Users/.search", self.search_users),
            ("GET", "/Users/<uid>", self.read_user),
            ("PUT", "/Users/<uid>", self.replace_user),
            ("PATCH", "/Users/<uid>", self.patch_user),
            ("DELETE", "/Users/<uid>", self.delete_user),
            ("GET", "/Groups", self.list_groups),
            ("POST", "/Groups", self.create_group),
            ("POST", "/Groups/.search", self.search_groups),
            ("GET", "/Groups/<uid>", self.read_group),
            ("PUT", "/Groups/<uid>", self.replace_group),
            ("PATCH", "/Groups/<uid>", self.patch_group),
            ("DELETE", "/Groups/<uid>", self.delete_group),
            ("POST", "/Bulk", self.bulk),
        ]
        routes += [
            (method, "/Me", self.not_supported) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        ]
        #: Discovery needs no token.
        discovery_routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/ServiceProviderConfig", self.service_provider_config),
            ("GET", "/ResourceTypes", self.resource_types),
            ("GET", "/ResourceTypes/<uid>", self.resource_types),
            ("GET", "/Schemas", self.schemas),
            ("GET", "/Schemas/<path:uid>", self.schemas),
        ]
        return [self._rule(*route, open_=False) for route in routes] + [
            self._rule(*route, open_=True) for route in discovery_routes
        ]

    def _rule(self, method: str, path: str, operation: Callable[..., Answer], open_: bool) -> Rule:
        view = View(method, path, operation, open_, self._gateway.activity_writer, self._authentication)
        return Rule(path, methods=[method], endpoint=view)

    # Users and groups together (RFC 7644, 3.4.2.1 and 3.4.3) -----------------------------------------------------

    def list_all(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        return answer(self._lists.answer(caller, _types(caller), self._asked(call), trace, call.expensive))

    def search_all(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        return answer(
            self._lists.answer(caller, _types(caller), read_search(self._body(call)), trace, call.expensive)
        )

    # Users ------------------------------------------------------------------------------------------------------

    def list_users(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        return answer(
            self._lists.answer(caller, (caller.kept.user,), self._asked(call), trace, call.expensive)
        )

    def search_users(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        return answer(
            self._lists.answer(
                caller, (caller.kept.user,), read_search(self._body(call)), trace, call.expensive
            )
        )

    def read_user(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        outcome = self._gateway.users.read(caller, uid, trace)
        user, groups = outcome
        tag = etag(user, groups)
        if kept(call, tag, caller.kept.user, _chosen(call)):
            return unmodified(f"{caller.words.base_url}/Users/{user.uid}", tag)
        return self._user(call, caller, outcome, tag=tag)

    def create_user(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        trace.status = 201
        outcome = self._gateway.users.create(caller, self._body(call), trace)
        return self._user(call, caller, outcome, 201)

    def replace_user(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        outcome = self._gateway.users.replace(
            caller, uid, self._body(call), trace, call.headers.get("If-Match"), only_new(call)
        )
        return self._user(call, caller, outcome)

    def patch_user(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        outcome = self._gateway.users.patch(
            caller, uid, self._body(call), trace, call.headers.get("If-Match")
        )
        return self._user(call, caller, outcome)

    def delete_user(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        trace.status = 204
        self._gateway.users.delete(caller, uid, trace, call.headers.get("If-Match"))
        return empty()

    def _user(
        self, call: Call, caller: IdpCaller, outcome: Outcome, status: int = 200, tag: str | None = None
    ) -> Answer:
        user, base = outcome.user, caller.words.base_url
        body = user_json(user, outcome.groups, base)
        if call.environ.get("QUERY_STRING"):
            body = project_texts(caller.kept.user, [body], _chosen(call))[0]
        return answer(body, status, f"{base}/Users/{user.uid}", tag or etag(user, outcome.groups))

    # Groups -----------------------------------------------------------------------------------------------------

    def list_groups(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        return answer(
            self._lists.answer(caller, (caller.kept.group,), self._asked(call), trace, call.expensive)
        )

    def search_groups(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        return answer(
            self._lists.answer(
                caller, (caller.kept.group,), read_search(self._body(call)), trace, call.expensive
            )
        )

    def read_group(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        group = self._gateway.groups.read(caller, uid, trace)
        if kept(call, etag(group), caller.kept.group, _chosen(call)):
            return unmodified(f"{caller.words.base_url}/Groups/{group.uid}", etag(group))
        return self._group(call, caller, group, trace)

    def create_group(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        trace.status = 201
        group = self._gateway.groups.create(caller, self._body(call), trace)
        return self._group(call, caller, group, trace, 201)

    def replace_group(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        group = self._gateway.groups.replace(
            caller, uid, self._body(call), trace, call.headers.get("If-Match"), only_new(call)
        )
        return self._group(call, caller, group, trace)

    def patch_group(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        # No body unless parts of it are asked for (RFC 7644, 3.5.2): nobody who adds one member of many wants the
        # list of all back.
        shown = not call.query().keys().isdisjoint(("attributes", "excludedAttributes"))
        trace.status = 200 if shown else 204
        group = self._gateway.groups.patch(caller, uid, self._body(call), trace, call.headers.get("If-Match"))
        return self._group(call, caller, group, trace) if shown else empty(etag(group))

    def delete_group(self, call: Call, caller: IdpCaller, trace: Trace, uid: str) -> Answer:
        trace.status = 204
        self._gateway.groups.delete(caller, uid, trace, call.headers.get("If-Match"))
        return empty()

    def _group(
        self, call: Call, caller: IdpCaller, group: GroupRecord, trace: Trace, status: int = 200
    ) -> Answer:
        asked, base, resource = _chosen(call), caller.words.base_url, caller.kept.group
        location = f"{base}/Groups/{group.uid}"
        if selects("members", asked):
            pages = self._gateway.groups.member_pages(caller, group)
            pieces = streaming.pieces(resource, group, pages, base, asked)
            large = is_large(group)
            if large and call.method == "GET":
                call.expensive()
            body = streaming.streamed(pieces, trace) if large else "".join(pieces)
        else:
            body = project_texts(resource, [group_json(group, None, base)], asked)[0]
        return answer(body, status, location, etag(group))

    def bulk(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        call.expensive()
        return answer(self._bulk.run(call, caller, self._body(call), trace))

    # Discovery --------------------------------------------------------------------------------------------------

    def service_provider_config(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        _refuse_filter(call)
        config = discovery.service_provider_config(
            caller.words.base_url,
            filter_max=self._gateway.config.page_limit,
            body_max=self._gateway.config.body_limit,
            page=self._lists.usual,
            cursor_seconds=LIFETIME,
        )
        return _described(config)

    def resource_types(self, call: Call, caller: IdpCaller, trace: Trace, uid: str | None = None) -> Answer:
        return _catalogue(call, discovery.resource_types(_types(caller), caller.words.base_url), uid)

    def schemas(self, call: Call, caller: IdpCaller, trace: Trace, uid: str | None = None) -> Answer:
        return _catalogue(call, discovery.schemas(_types(caller), caller.words.base_url), uid)

    def not_supported(self, call: Call, caller: IdpCaller, trace: Trace) -> Answer:
        raise NotSupported(
            f"{call.path.rsplit('/', 1)[1]} is not served here. /ServiceProviderConfig says what is."
        )

    # Reading the request ----------------------------------------------------------------------------------------

    def _body(self, call: Call) -> dict[str, Any]:
        if not call.says(*_READ_AS_JSON):
            raise UnsupportedMediaType(
                f"The body is {call.mimetype!r} by its Content-Type; send {MEDIA_TYPE} or application/json."
            )
        data = call.body()
        usual = self._gateway.config.body_limit
        most = call.max_content_length or usual
        if call.content_length is None and len(data) >= most:
            # Sent in chunks: werkzeug cuts such a body off at the limit without a word.
            raise too_large(most)
        data = unpacked(data, call.headers.get("Content-Encoding"), most)
        refuse_many_parts(data, usual)
        return read_json(data)

    def _asked(self, call: Call) -> Search:
        """The query parameters of RFC 7644, 3.4.2 and 3.9, and of RFC 9865, 2."""
        given = call.query()
        bad_count = InvalidCount if "cursor" in given else InvalidValue
        return Search(
            filter=given.get("filter"),
            attributes=_few(given, "attributes"),
            excluded=_few(given, "excludedAttributes"),
            start=max(1, _number("startIndex", given.get("startIndex"), 1) or 1),
            count=_number("count", given.get("count"), None, bad_count),
            sort_by=given.get("sortBy"),
            descending=is_descending(given.get("sortOrder")),
            cursor=given.get("cursor"),
        )


def _types(caller: IdpCaller) -> tuple[ResourceType, ResourceType]:
    return caller.kept.user, caller.kept.group


def _catalogue(call: Call, entries: Sequence[dict[str, Any]], uid: str | None) -> Answer:
    """All entries of a discovery document, or one by its id (RFC 7644, 4)."""
    _refuse_filter(call)
    if uid is None:
        return answer(list_response(len(entries), 1, [dumps(entry) for entry in entries]))
    found = next((entry for entry in entries if entry["id"].lower() == uid.lower()), None)
    if found is None:
        raise NotFound(f"This connection has no {excerpt(uid)} here.")
    return _described(found)


def _described(entry: dict[str, Any]) -> Answer:
    return answer(dumps(entry), location=entry["meta"]["location"])


def _refuse_filter(call: Call) -> None:
    # RFC 7644, 4: a filter on discovery is refused, so that nobody takes the answer for filtered.
    if "filter" in call.query():
        raise Forbidden("Discovery documents cannot be filtered.")


def _chosen(call: Call) -> Search:
    """Which attributes of one resource are asked for (RFC 7644, 3.9). Never a refusal: a change is done by now."""
    if not call.environ.get("QUERY_STRING"):
        return _ALL
    given = call.query()
    return Search(
        attributes=_names(given.get("attributes")), excluded=_names(given.get("excludedAttributes"))
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def _few(given: Mapping[str, str], parameter: str) -> tuple[str, ...]:
    """The names in a parameter of a list, which are looked up for each resource found."""
    names = _names(given.get(parameter))
    if len(names) > MAX_ATTRIBUTES:
        raise InvalidValue(f"{parameter} names {len(names)} attributes; at most {MAX_ATTRIBUTES} are read.")
    return names


def _number(
    name: str, text: str | None, default: int | None, bad: type[Refusal] = InvalidValue
) -> int | None:
    if text is None or not text.strip():
        return default
    if not _NUMBER.fullmatch(text):
        raise bad(f"{name} must be a whole number, not {text[:40]!r}.")
    return int(text)
