"""The SCIM endpoints (RFC 7644): read a request, call an operation of `gateway.provisioning`, respond.

Media types, entity tags and the parameters of a query are read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from gateway.provisioning import IdpCaller, Provisioning, Trace
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.cursors import LIFETIME
from gateway.provisioning.groups import is_large, is_large_document
from gateway.provisioning.rendering import etag, group_json, user_json
from gateway.provisioning.safety.pauses import refuse_paused
from gateway.provisioning.trace import TraceState
from gateway.provisioning.users import Outcome
from gateway.provisioning.webhooks.security_events import event_uris
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
from gateway.store.ids_and_time import now
from gateway.store.records import GroupRecord
from gateway.web.base_urls import path_segments
from gateway.web.encodings import refuse_many_parts, too_large, unpack
from gateway.web.exchanges import exchange_of
from gateway.web.http import MEDIA_TYPE, ScimRequest, ScimResponse, no_content, scim_response
from gateway.web.routes import Rule
from gateway.web.scim import streaming
from gateway.web.scim.authentication import Authentication
from gateway.web.scim.bulk import Bulk
from gateway.web.scim.conditional import creates_only, is_current, not_modified

_ALL = Search()
_READ_AS_JSON = (MEDIA_TYPE, "application/json", "")
#: Digits that any database can count to. Python would take other alphabets' and 1_000, too.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


_CREATES = (("POST", "/Users"), ("POST", "/Groups"))


class View:
    """One endpoint: it authenticates the caller, calls the operation, and records it in the activity.

    `identify` is called before the body is there, the view itself when it is.
    """

    def __init__(
        self,
        method: str,
        path: str,
        operation: Callable[..., ScimResponse],
        open_: bool,
        activity_writer: ActivityWriter,
        authentication: Authentication,
    ) -> None:
        #: The path of its route below a base URL.
        self.path = path
        self._label = f"{method} {path.replace('<uid>', '{id}')}"
        self._operation, self._open = operation, open_
        self._changes = method in ("PUT", "PATCH", "DELETE") or (method, path) in _CREATES
        self._activity_writer, self._authentication = activity_writer, authentication

    def identify(self, request: ScimRequest) -> None:
        """Find the connection and, unless the endpoint is open to all, authenticate the caller."""
        trace = request.trace = Trace(
            self._label, request.request_id, slug=request.slug, before_portions=request.require_queue
        )
        self._authentication.note_client(request, trace)
        identify = self._authentication.find if self._open else self._authentication.identify
        request.admission = identify(request, request.slug, trace)
        request.decision_count = len(trace.decisions)

    def __call__(self, request: ScimRequest) -> ScimResponse:
        """Respond to a caller that was identified. Raises what the operation refuses, and Queued."""
        trace, admission = request.trace, request.admission
        assert trace is not None
        assert admission is not None
        if request.queued:  # it was begun before, and got as far as to be put into a queue
            trace.restore(TraceState(decisions=tuple(trace.decisions[: request.decision_count])))
        if not self._open:
            self._authentication.admit(request, admission, trace)
        if self._changes:
            refuse_paused(admission.caller)
        response = self._operation(request, admission.caller, trace, **request.arguments)
        trace.status = response.status
        if trace.steps is not None:
            self._activity_writer.explain(trace, partial(exchange_of, request, response))
        if trace.written:
            self._activity_writer.record_change(trace)
        elif response.is_streamed and request.method != "HEAD":
            response.call_when_sent(partial(streaming.record_read, self._activity_writer, trace))
        elif not self._open:
            self._activity_writer.record_read(trace)
        return response


class Endpoints:
    """What each endpoint does for an admitted caller."""

    def __init__(self, gateway: Provisioning) -> None:
        self._gateway, self._authentication = gateway, Authentication(gateway)
        self._bulk, self._lists = Bulk(gateway, self._authentication), gateway.lists

    def rules(self) -> list[Rule]:
        """Return the routes below the base URL of a connection; the endpoint of each is a `View`."""
        routes: list[tuple[str, str, Callable[..., ScimResponse]]] = [
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
        discovery_routes: list[tuple[str, str, Callable[..., ScimResponse]]] = [
            ("GET", "/ServiceProviderConfig", self.service_provider_config),
            ("GET", "/ResourceTypes", self.resource_types),
            ("GET", "/ResourceTypes/<uid>", self.resource_types),
            ("GET", "/Schemas", self.schemas),
            ("GET", "/Schemas/<path:uid>", self.schemas),
        ]
        return [self._rule(*route, open_=False) for route in routes] + [
            self._rule(*route, open_=True) for route in discovery_routes
        ]

    def _rule(self, method: str, path: str, operation: Callable[..., ScimResponse], open_: bool) -> Rule:
        view = View(method, path, operation, open_, self._gateway.activity_writer, self._authentication)
        return Rule(path, methods=[method], endpoint=view)

    # Users and groups together (RFC 7644, 3.4.2.1 and 3.4.3) -----------------------------------------------------

    def list_all(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer GET on the base URL: users and groups (RFC 7644, 3.4.2.1)."""
        return self._list(request, caller, trace, _types(caller))

    def search_all(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer POST /.search: users and groups (RFC 7644, 3.4.3)."""
        return self._search(request, caller, trace, _types(caller))

    def _list(
        self, request: ScimRequest, caller: IdpCaller, trace: Trace, types: tuple[ResourceType, ...]
    ) -> ScimResponse:
        search = self._search_query(request)
        return scim_response(self._lists.answer(caller, types, search, trace, request.require_queue))

    def _search(
        self, request: ScimRequest, caller: IdpCaller, trace: Trace, types: tuple[ResourceType, ...]
    ) -> ScimResponse:
        search = read_search(self._body(request))
        return scim_response(self._lists.answer(caller, types, search, trace, request.require_queue))

    # Users ------------------------------------------------------------------------------------------------------

    def list_users(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer GET /Users (RFC 7644, 3.4.2)."""
        return self._list(request, caller, trace, (caller.kept.user,))

    def search_users(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer POST /Users/.search (RFC 7644, 3.4.3)."""
        return self._search(request, caller, trace, (caller.kept.user,))

    def read_user(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer GET /Users/{id} (RFC 7644, 3.4.1)."""
        outcome = self._gateway.users.read(caller, uid, trace)
        user, groups = outcome
        tag = etag(user, groups)
        if is_current(request, tag, caller.kept.user, _projection(request)):
            return not_modified(f"{caller.words.base_url}/Users/{user.uid}", tag)
        return self._user(request, caller, outcome, tag=tag)

    def create_user(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer POST /Users (RFC 7644, 3.3)."""
        trace.status = 201
        outcome = self._gateway.users.create(caller, self._body(request), trace)
        return self._user(request, caller, outcome, 201)

    def replace_user(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer PUT /Users/{id} (RFC 7644, 3.5.1)."""
        outcome = self._gateway.users.replace(
            caller, uid, self._body(request), trace, request.headers.get("If-Match"), creates_only(request)
        )
        return self._user(request, caller, outcome)

    def patch_user(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer PATCH /Users/{id} (RFC 7644, 3.5.2)."""
        outcome = self._gateway.users.patch(
            caller, uid, self._body(request), trace, request.headers.get("If-Match")
        )
        return self._user(request, caller, outcome)

    def delete_user(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer DELETE /Users/{id} (RFC 7644, 3.6)."""
        trace.status = 204
        self._gateway.users.delete(caller, uid, trace, request.headers.get("If-Match"))
        return no_content()

    def _user(
        self,
        request: ScimRequest,
        caller: IdpCaller,
        outcome: Outcome,
        status: int = 200,
        tag: str | None = None,
    ) -> ScimResponse:
        user, base = outcome.user, caller.words.base_url
        body = user_json(user, outcome.groups, base)
        if request.environ.get("QUERY_STRING"):
            body = project_texts(caller.kept.user, [body], _projection(request))[0]
        return scim_response(body, status, f"{base}/Users/{user.uid}", tag or etag(user, outcome.groups))

    # Groups -----------------------------------------------------------------------------------------------------

    def list_groups(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer GET /Groups (RFC 7644, 3.4.2)."""
        return self._list(request, caller, trace, (caller.kept.group,))

    def search_groups(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer POST /Groups/.search (RFC 7644, 3.4.3)."""
        return self._search(request, caller, trace, (caller.kept.group,))

    def read_group(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer GET /Groups/{id} (RFC 7644, 3.4.1)."""
        group = self._gateway.groups.read(caller, uid, trace)
        if is_current(request, etag(group), caller.kept.group, _projection(request)):
            return not_modified(f"{caller.words.base_url}/Groups/{group.uid}", etag(group))
        return self._group(request, caller, group, trace)

    def create_group(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer POST /Groups (RFC 7644, 3.3)."""
        trace.status = 201
        group = self._gateway.groups.create(caller, self._group_body(request), trace)
        return self._group(request, caller, group, trace, 201)

    def replace_group(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer PUT /Groups/{id} (RFC 7644, 3.5.1)."""
        group = self._gateway.groups.replace(
            caller,
            uid,
            self._group_body(request),
            trace,
            request.headers.get("If-Match"),
            creates_only(request),
        )
        return self._group(request, caller, group, trace)

    def patch_group(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer PATCH /Groups/{id} (RFC 7644, 3.5.2)."""
        # No body unless parts of it are asked for (RFC 7644, 3.5.2): nobody who adds one member of many wants the
        # list of all back.
        shown = not request.query_parameters().keys().isdisjoint(("attributes", "excludedAttributes"))
        trace.status = 200 if shown else 204
        if shown:
            # The group may be large. Before the change, for the refusal of a full queue says that nothing was changed.
            request.require_queue()
        group = self._gateway.groups.patch(
            caller, uid, self._body(request), trace, request.headers.get("If-Match")
        )
        return self._group(request, caller, group, trace) if shown else no_content(etag(group))

    def delete_group(self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str) -> ScimResponse:
        """Answer DELETE /Groups/{id} (RFC 7644, 3.6)."""
        trace.status = 204
        self._gateway.groups.delete(caller, uid, trace, request.headers.get("If-Match"))
        return no_content()

    def _group(
        self, request: ScimRequest, caller: IdpCaller, group: GroupRecord, trace: Trace, status: int = 200
    ) -> ScimResponse:
        asked, base, resource = _projection(request), caller.words.base_url, caller.kept.group
        location = f"{base}/Groups/{group.uid}"
        if selects("members", asked):
            pages = self._gateway.groups.member_pages(caller, group)
            pieces = streaming.group_parts(resource, group, pages, base, asked)
            large = is_large(group)
            if large and request.method == "GET":
                request.require_queue()
            body = streaming.start_stream(pieces, trace) if large else "".join(pieces)
        else:
            body = project_texts(resource, [group_json(group, None, base)], asked)[0]
        return scim_response(body, status, location, etag(group))

    def bulk(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer POST /Bulk (RFC 7644, 3.7)."""
        request.require_queue()
        return scim_response(self._bulk.run(request, caller, self._body(request), trace))

    # Discovery --------------------------------------------------------------------------------------------------

    def service_provider_config(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Answer GET /ServiceProviderConfig (RFC 7643, 5)."""
        _refuse_filter(request)
        config = discovery.service_provider_config(
            caller.words.base_url,
            filter_max=self._gateway.config.page_limit,
            body_max=self._gateway.config.body_limit,
            page=self._lists.usual,
            cursor_seconds=LIFETIME,
            # RFC 9967, 4: absent where no tokens are sent. A client that reads RFC 7643 alone may refuse the attribute.
            event_uris=event_uris() if self._gateway.token_keys.public_keys(now()) else (),
        )
        return _entry_response(config)

    def resource_types(
        self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str | None = None
    ) -> ScimResponse:
        """Answer GET /ResourceTypes, or one of them (RFC 7643, 6)."""
        return _entries_response(
            request, discovery.resource_types(_types(caller), caller.words.base_url), uid
        )

    def schemas(
        self, request: ScimRequest, caller: IdpCaller, trace: Trace, uid: str | None = None
    ) -> ScimResponse:
        """Answer GET /Schemas, or one of them (RFC 7643, 7)."""
        return _entries_response(request, discovery.schemas(_types(caller), caller.words.base_url), uid)

    def not_supported(self, request: ScimRequest, caller: IdpCaller, trace: Trace) -> ScimResponse:
        """Refuse an endpoint of the RFC that is not implemented, such as /Me. Raises NotSupported."""
        raise NotSupported(
            f"{path_segments(request.path)[-1]} is not served here. /ServiceProviderConfig says what is."
        )

    # Reading the request ----------------------------------------------------------------------------------------

    def _body(self, request: ScimRequest) -> dict[str, Any]:
        if not request.has_media_type(*_READ_AS_JSON):
            raise UnsupportedMediaType(
                f"The body is {request.mimetype!r} by its Content-Type; send {MEDIA_TYPE} or application/json."
            )
        data = request.read_body()
        usual = self._gateway.config.body_limit
        most = request.max_content_length or usual
        if request.content_length is None and len(data) >= most:
            # Sent in chunks: werkzeug cuts such a body off at the limit without a word.
            raise too_large(most)
        data = unpack(data, request.headers.get("Content-Encoding"), most)
        refuse_many_parts(data, usual)
        return read_json(data)

    def _group_body(self, request: ScimRequest) -> dict[str, Any]:
        """Return the body of POST and PUT /Groups; a large group is queued, since the response to it is streamed."""
        body = self._body(request)
        if is_large_document(body):
            request.require_queue()
        return body

    def _search_query(self, request: ScimRequest) -> Search:
        """Read the query parameters of RFC 7644, 3.4.2 and 3.9, and of RFC 9865, 2."""
        given = request.query_parameters()
        bad_count = InvalidCount if "cursor" in given else InvalidValue
        return Search(
            filter=given.get("filter"),
            attributes=_bounded_names(given, "attributes"),
            excluded=_bounded_names(given, "excludedAttributes"),
            start=max(1, _read_number("startIndex", given.get("startIndex"), 1) or 1),
            count=_read_number("count", given.get("count"), None, bad_count),
            sort_by=given.get("sortBy"),
            descending=is_descending(given.get("sortOrder")),
            cursor=given.get("cursor"),
        )


def _types(caller: IdpCaller) -> tuple[ResourceType, ResourceType]:
    return caller.kept.user, caller.kept.group


def _entries_response(
    request: ScimRequest, entries: Sequence[dict[str, Any]], uid: str | None
) -> ScimResponse:
    """Respond with all entries of a discovery document, or one by its id (RFC 7644, 4)."""
    _refuse_filter(request)
    if uid is None:
        return scim_response(list_response(len(entries), 1, [dumps(entry) for entry in entries]))
    found = next((entry for entry in entries if entry["id"].lower() == uid.lower()), None)
    if found is None:
        raise NotFound(f"This connection has no {excerpt(uid)} here.")
    return _entry_response(found)


def _entry_response(entry: dict[str, Any]) -> ScimResponse:
    return scim_response(dumps(entry), location=entry["meta"]["location"])


def _refuse_filter(request: ScimRequest) -> None:
    # RFC 7644, 4: a filter on discovery is refused, so that nobody takes the answer for filtered.
    if "filter" in request.query_parameters():
        raise Forbidden("Discovery documents cannot be filtered.")


def _projection(request: ScimRequest) -> Search:
    """Read which attributes of one resource are asked for (RFC 7644, 3.9). Never refuses: a change is done by now."""
    if not request.environ.get("QUERY_STRING"):
        return _ALL
    given = request.query_parameters()
    return Search(
        attributes=_names(given.get("attributes")), excluded=_names(given.get("excludedAttributes"))
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def _bounded_names(given: Mapping[str, str], parameter: str) -> tuple[str, ...]:
    """Return the names in a parameter of a list; each is looked up for each resource. Raises InvalidValue."""
    names = _names(given.get(parameter))
    if len(names) > MAX_ATTRIBUTES:
        raise InvalidValue(f"{parameter} names {len(names)} attributes; at most {MAX_ATTRIBUTES} are read.")
    return names


def _read_number(
    name: str, text: str | None, default: int | None, bad: type[Refusal] = InvalidValue
) -> int | None:
    if text is None or not text.strip():
        return default
    if not _NUMBER.fullmatch(text):
        raise bad(f"{name} must be a whole number, not {text[:40]!r}.")
    return int(text)
