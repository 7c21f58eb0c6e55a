"""Projection: the part of a resource that `attributes` and `excludedAttributes` ask for (RFC 7644, 3.9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.scim.json_text import Json
from gateway.scim.schemas import Attribute, ResourceType


def project(
    resource_type: ResourceType,
    document: Mapping[str, Any],
    attributes: Sequence[str],
    excluded: Sequence[str],
) -> Json:
    """Return the part of a full representation that was requested (RFC 7644, 3.9).

    Unknown names are ignored, and attributes that become empty are left out (RFC 7643, 2.5). The result shares its
    values with `document`.
    """
    result = dict(document)
    if attributes:
        result = _select(resource_type, document, attributes)
    for located in _locate_all(resource_type, excluded):
        _exclude(result, *located)
    return result


def _locate_all(
    resource_type: ResourceType, paths: Sequence[str]
) -> Iterable[tuple[str | None, Attribute, Attribute | None]]:
    """Return the attributes that the paths name, each once, however often and in however many spellings it is named."""
    found = {}
    for path in paths:
        if located := resource_type.locate(path):
            extension, attribute, sub = located
            found[extension, attribute.name, sub and sub.name] = located
    return found.values()


def _select(resource_type: ResourceType, document: Mapping[str, Any], paths: Sequence[str]) -> Json:
    wanted = _locate_all(resource_type, paths)
    result: Json = {}
    for key, value in document.items():
        # RFC 7643, 7: `returned: always` overrides the requested attributes.
        known = resource_type.root.table.get(key)
        if known is not None and known.returned == "always":
            result[key] = value
            continue
        for extension, attribute, sub in wanted:
            if extension == key and attribute.name in value:
                part = _reduce(value[attribute.name], sub)
                _merge(result.setdefault(key, {}), attribute.name, part)
            elif extension is None and attribute.name == key:
                _merge(result, key, _reduce(value, sub))
    for extension, attribute, sub in wanted:
        if sub is not None:
            _drop_empty(result, extension, attribute.name)
    return result


def _drop_empty(result: Json, extension: str | None, name: str) -> None:
    """Remove an attribute without visible values, and the elements of a list without visible values."""
    box = result if extension is None else result.get(extension, {})
    if isinstance(box.get(name), list):
        box[name] = [item for item in box[name] if item != {}]
    if box.get(name) in ({}, []):
        del box[name]
    if extension is not None and result.get(extension) == {}:
        del result[extension]


def _reduce(value: Any, sub: Attribute | None) -> Any:
    """Reduce a value to one sub-attribute; elements that lack it stay in the list as empty objects."""
    if sub is None:
        return value
    if isinstance(value, list):
        return [_reduce(item, sub) for item in value]
    return {sub.name: value[sub.name]} if sub.name in value else {}


def _merge(box: Json, name: str, part: Any) -> None:
    present = box.get(name)
    if isinstance(present, dict) and isinstance(part, dict):
        part = {**present, **part}
    elif isinstance(present, list) and isinstance(part, list):
        part = [
            {**a, **b} if isinstance(a, dict) and isinstance(b, dict) else b
            for a, b in zip(present, part, strict=True)
        ]
    box[name] = part


def _exclude(result: Json, extension: str | None, attribute: Attribute, sub: Attribute | None) -> None:
    if attribute.returned == "always":
        return
    box = result
    if extension is not None:
        box = result[extension] = dict(result.get(extension, {}))
    if sub is None:
        box.pop(attribute.name, None)
    elif attribute.name in box:
        box[attribute.name] = _drop_key(box[attribute.name], sub.name)
        _drop_empty(box, None, attribute.name)
    if extension is not None and not box:
        del result[extension]


def _drop_key(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_drop_key(item, name) for item in value]
    return {key: item for key, item in value.items() if key != name}
