"""Selection: which attributes of a resource a search asks for (RFC 7644, 3.9), and texts reduced to them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from gateway.scim.json_text import dumps
from gateway.scim.messages import Search
from gateway.scim.projection import project
from gateway.scim.schemas import ResourceType


def project_texts(resource_type: ResourceType, texts: Iterable[str], asked: Search) -> list[str]:
    """Reduce resources, each a JSON text, to the attributes that were asked for."""
    if not is_projected(resource_type, asked):
        return list(texts)
    excluded = excluded_names(resource_type, asked)
    return [dumps(project(resource_type, json.loads(text), asked.attributes, excluded)) for text in texts]


def is_projected(resource_type: ResourceType, asked: Search) -> bool:
    """Return whether a resource is shown other than it is stored."""
    return bool(asked.attributes or excluded_names(resource_type, asked))


def excluded_names(resource_type: ResourceType, asked: Search) -> tuple[str, ...]:
    """Return what has to be left out of a text; members of a group that are not wanted were never read."""
    return tuple(name for name in asked.excluded if name.lower() != "members" or resource_type.name == "User")


def selects(name: str, asked: Search) -> bool:
    """Return whether an attribute that is costly to read will be shown; `name` in lower case."""
    if asked.attributes:
        return any(part.lower().rsplit(":", 1)[-1].split(".")[0] == name for part in asked.attributes)
    return name not in (part.lower() for part in asked.excluded)
