"""Groups of any size as text: piece by piece, so that no more than a page of members is held at a time.

A response that fails in the middle stays unfinished JSON, which no client can take for the whole.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence

from gateway.provisioning import Trace
from gateway.provisioning.activity_writer import ActivityWriter
from gateway.provisioning.rendering import group_json, group_pieces, reference_json
from gateway.scim.errors import Unexpected
from gateway.scim.json_text import Json, dumps
from gateway.scim.messages import Search
from gateway.scim.projection import project
from gateway.scim.schemas import ResourceType
from gateway.scim.selection import excluded_names, is_projected
from gateway.store.records import GroupRecord, MemberRecord

log = logging.getLogger("gateway")


def group_parts(
    resource: ResourceType,
    group: GroupRecord,
    pages: Iterable[Sequence[MemberRecord]],
    base: str,
    asked: Search,
) -> Iterator[str]:
    """Yield a group with what was asked for of it (RFC 7644, 3.9), a piece for each page of its members."""
    if not is_projected(resource, asked):
        return group_pieces(group, pages, base)
    return _projected_parts(resource, group, pages, base, asked)


def _projected_parts(
    resource: ResourceType,
    group: GroupRecord,
    pages: Iterable[Sequence[MemberRecord]],
    base: str,
    asked: Search,
) -> Iterator[str]:
    """Apply a projection page by page, since it concerns each member by itself."""
    left_out = excluded_names(resource, asked)

    def part(document: Json) -> Json:
        return project(resource, document, asked.attributes, left_out)

    yield dumps(part(json.loads(group_json(group, None, base))))[:-1]
    opened = False
    for page in pages:
        members = [json.loads(reference_json(member, "Users", base)) for member in page]
        shown = part({"members": members}).get("members", ()) if members else ()
        if shown:
            yield ("," if opened else ',"members":[') + dumps(shown)[1:-1]
            opened = True
    yield "]}" if opened else "}"


def start_stream(body: Iterator[str], trace: Trace) -> Iterator[str]:
    """Return a body that is made while it is sent. Its first piece is made here, so that its failure is refused."""
    first = next(body) + next(body, "")  # the opening, and the first page of members
    return _log_failures(first, body, trace)


def _log_failures(first: str, rest: Iterator[str], trace: Trace) -> Iterator[str]:
    try:
        yield first
        yield from rest
    except GeneratorExit:
        raise  # the client has hung up
    except BaseException as error:
        trace.status = Unexpected.status
        log.error("request %s failed in the middle of its answer", trace.request_id, exc_info=error)
        raise


def record_read(activity_writer: ActivityWriter, trace: Trace) -> None:
    """Write the activity line of a read once its body is sent or has failed."""
    if trace.status < 500:
        activity_writer.record_read(trace)
        return
    activity_writer.record_refusal(
        trace,
        Unexpected("The gateway failed in the middle of this answer. What was sent of it is not whole."),
    )
