"""Bulk requests over HTTP (RFC 7644, 3.7).

Each operation is admitted, run and recorded in the activity as if it had been sent by itself; only the answers travel
together.
"""

from __future__ import annotations

import json
from functools import partial

from gateway.provisioning import IdpCaller, Provisioning, Trace
from gateway.provisioning.rendering import etag
from gateway.provisioning.safety.pauses import refuse_paused
from gateway.provisioning.users import Outcome
from gateway.scim.bulk import BulkOperation, BulkRequest, Circular, bulk_response, read_bulk
from gateway.scim.errors import InvalidValue, MethodNotAllowed, NotFound, Refusal
from gateway.scim.json_text import Json, excerpt
from gateway.store.engine.failures import Outage
from gateway.store.records import GroupRecord
from gateway.web.exchanges import operation_exchange
from gateway.web.http import ScimRequest
from gateway.web.scim.authentication import Authentication

_KINDS = {"/Users": "User", "/Groups": "Group"}
_STATUS = {"POST": 201, "PUT": 200, "PATCH": 200, "DELETE": 204}
_CIRCLE = (
    "The references of this operation lead into a circle of operations that wait for each other. Create one of them"
    " without its reference, and add that with a PATCH."
)


class Bulk:
    """Runs bulk requests."""

    def __init__(self, gateway: Provisioning, authentication: Authentication) -> None:
        self._gateway, self._authentication = gateway, authentication

    def run(self, request: ScimRequest, caller: IdpCaller, body: Json, trace: Trace) -> str:
        """Run the operations of a BulkRequest; return the BulkResponse, in the order of the request.

        Each operation has a line of its own in the activity; that of the whole, `trace`, counts those not done.
        """
        job = read_bulk(body)
        run = _Run(self._gateway, self._authentication, request, caller, job)
        answers = run.answers()
        trace.left_out = run.left_out(len(answers))
        return bulk_response(answers)


class _Run:
    """One bulk request that is being run."""

    def __init__(
        self,
        gateway: Provisioning,
        authentication: Authentication,
        request: ScimRequest,
        caller: IdpCaller,
        job: BulkRequest,
    ) -> None:
        self._gateway, self._authentication = gateway, authentication
        self._request, self._caller, self._job = request, caller, job
        #: What stands for each bulkId by now.
        self._ids: dict[str, str] = {}
        self._errors = 0
        #: How many of them for want of the database: those have no line, that of the outage counts them.
        self._unserved = 0

    def answers(self) -> list[Json]:
        """Run the operations; return the answers of those that were attempted."""
        order, circular = self._job.order()
        answered: dict[int, Json] = {}
        for number in order + circular:
            # RFC 7644, 3.7: the client says how many errors are too many; what was done until then stands.
            if self._job.fail_on_errors is not None and self._errors >= self._job.fail_on_errors:
                break
            # Nobody will hear of the rest.
            if self._request.client_gone:
                break
            answered[number] = self._answer(self._job.operations[number], number in circular)
        return [answered[number] for number in sorted(answered)]

    def left_out(self, answered: int) -> list[str]:
        """Return sentences on what was not done; `answered` operations were attempted."""
        sentences, asked = [], len(self._job.operations)
        if self._errors:
            were = "was" if self._errors == 1 else "were"
            where = ""
            if self._unserved:
                where = f", but for {self._unserved} for want of the database: the line of that outage counts those"
            sentences.append(
                f"{self._errors} of {asked} operations {were} refused: the lines of this request id say which and"
                f" why{where}. Mend those and send them again."
            )
        if answered < asked:
            were = "was" if asked - answered == 1 else "were"
            sentences.append(f"{asked - answered} of {asked} {were} not begun. Send them again.")
        return sentences

    def _answer(self, operation: BulkOperation, circular: bool) -> Json:
        slug = self._caller.connection.slug
        trace = Trace(f"{_label(operation)} (bulk)", self._request.request_id, slug=slug)
        head: Json = {"method": operation.method}
        if operation.bulk_id is not None:
            head["bulkId"] = operation.bulk_id
        try:
            return head | self._done(operation, circular, trace)
        except Refusal as refusal:
            self._errors += 1
            self._unserved += isinstance(refusal, Outage)
            exchange = partial(operation_exchange, self._request, operation, refusal)
            self._gateway.activity_writer.record_refusal(trace, refusal, exchange)
            return head | self._where(operation) | _failure(refusal)

    def _done(self, operation: BulkOperation, circular: bool, trace: Trace) -> Json:
        # Admitted each time: a switch, a plan or a token may have changed since the operation before. And the caller
        # is read again, so that this operation is judged by what the one before left.
        caller = self._authentication.admit_operation(self._request, self._caller.connection.slug, trace)
        if circular:
            raise Circular(_CIRCLE)
        _check(operation)
        refuse_paused(caller)
        operation = operation.resolve(self._ids)
        left = self._run(caller, operation, trace)
        self._gateway.activity_writer.record_change(trace)
        if operation.method == "POST" and left is not None:
            self._ids[str(operation.bulk_id)] = left[0]
        return self._success(operation, left, trace.status)

    def _run(self, caller: IdpCaller, operation: BulkOperation, trace: Trace) -> tuple[str, str] | None:
        """Run the operation that a request of this method would run.

        Returns id and entity tag of the resource then; None after a DELETE.
        """
        kind, uid, version = _KINDS[operation.collection], operation.uid or "", operation.version
        operations = self._gateway.users if kind == "User" else self._gateway.groups
        trace.status = 204 if (operation.method, kind) == ("PATCH", "Group") else _STATUS[operation.method]
        body = operation.data or {}
        result: Outcome | GroupRecord
        match operation.method:
            case "DELETE":
                operations.delete(caller, uid, trace, version)
                return None
            case "PATCH":
                result = operations.patch(caller, uid, body, trace, version)
            case "PUT":
                result = operations.replace(caller, uid, body, trace, version)
            case _:
                result = operations.create(caller, body, trace)
        if isinstance(result, Outcome):
            return result.user.uid, etag(result.user, result.groups)
        return result.uid, etag(result)

    def _success(self, operation: BulkOperation, left: tuple[str, str] | None, status: int) -> Json:
        uid = left[0] if left is not None else operation.uid
        answer: Json = {"location": f"{self._caller.words.base_url}{operation.collection}/{uid}"}
        if left is not None:
            answer["version"] = left[1]
        return answer | {"status": str(status)}

    def _where(self, operation: BulkOperation) -> Json:
        """Return the location of the resource that an operation failed at, but for a POST (RFC 7644, 3.7)."""
        uid = operation.uid or ""
        uid = self._ids.get(uid.removeprefix("bulkId:"), "") if uid.startswith("bulkId:") else uid
        if operation.method == "POST" or operation.collection not in _KINDS or not uid:
            return {}
        return {"location": f"{self._caller.words.base_url}{operation.collection}/{uid}"}


def _label(operation: BulkOperation) -> str:
    """Name an operation as the activity names single requests; an unknown path is cut."""
    return f"{operation.method} {operation.collection[:40]}{'' if operation.uid is None else '/{id}'}"


def _check(operation: BulkOperation) -> None:
    """Refuse what no single request could do, or none within another.

    Raises InvalidValue, NotFound and MethodNotAllowed.
    """
    path = operation.collection + ("" if operation.uid is None else f"/{operation.uid}")
    if operation.collection.lower() == "/bulk":
        raise InvalidValue("A bulk request cannot hold another one. Send its operations instead.")
    if operation.collection not in _KINDS or operation.uid == "" or "/" in (operation.uid or ""):
        raise NotFound(
            f"There is nothing at {excerpt(path)} that a bulk request could change: /Users and /Groups are."
        )
    if (operation.method == "POST") != (operation.uid is None):
        raise MethodNotAllowed(f"{operation.method} is not possible at {excerpt(path)}.")


def _failure(refusal: Refusal) -> Json:
    return {"status": str(refusal.status), "response": json.loads(refusal.as_json())}
