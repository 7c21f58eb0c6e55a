"""Translation of a request's body out of the dialect of its connection, and its validation."""

from __future__ import annotations

from typing import Literal

from gateway.plugin.manager import PluginManager
from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.trace import Trace
from gateway.scim.documents import clean
from gateway.scim.json_text import Json


def read_document(
    plugins: PluginManager, caller: IdpCaller, kind: Literal["User", "Group"], body: Json, trace: Trace
) -> Json:
    """Return the canonical document of a resource that was sent whole, by POST or PUT.

    What the plugin makes of the body is validated like any other. Raises the refusals of `clean`, and what the plugin
    refuses with.
    """
    trace.user = _name_in(body)
    mapped = trace.record(plugins.map_resource(caller.words, kind, body))
    if mapped is not body:
        trace.translated = body, mapped
    cleaned = clean(caller.kept.user if kind == "User" else caller.kept.group, mapped)
    trace.ignored = list(cleaned.ignored)
    return cleaned.document


def _name_in(body: Json) -> str | None:
    """Return whom a document is about, so that a refusal of it can be found by that name."""
    name = body.get("userName")
    return name[:320] if isinstance(name, str) else None
