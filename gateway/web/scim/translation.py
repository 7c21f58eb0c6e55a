"""A resource as it comes in: out of its dialect, then validated, whether it came by itself or in a bulk request."""

from __future__ import annotations

from typing import Any

from gateway.plugin.manager import PluginManager
from gateway.provisioning import IdpCaller, Trace
from gateway.scim import documents


def document(
    plugins: PluginManager, caller: IdpCaller, kind: str, body: dict[str, Any], trace: Trace
) -> dict[str, Any]:
    """The canonical document. The plugin's translation of it is checked like any stranger's."""
    trace.user = _name_in(body)
    mapped = trace.record(plugins.map_resource(caller.words, kind, body))
    cleaned = documents.clean(caller.kept.user if kind == "User" else caller.kept.group, mapped)
    trace.ignored = list(cleaned.ignored)
    return cleaned.document


def _name_in(body: dict[str, Any]) -> str | None:
    """Whom a document is about, so that a refusal of it can be found by that name."""
    name = body.get("userName")
    return name[:320] if isinstance(name, str) else None
