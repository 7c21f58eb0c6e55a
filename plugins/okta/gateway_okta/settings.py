"""The settings of an Okta connection, and the attributes of a user that it keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

#: The five attributes of the setup guide, and the two that Okta sends without being asked. The application's
#: own extension is kept for every connection by the core.
DEFAULT_ATTRIBUTES = (
    "userName",
    "name.givenName",
    "name.familyName",
    "emails",
    "displayName",
    "active",
    "externalId",
)

#: What belongs to the protocol itself, is read-only, or must never be kept.
PROTOCOL_ATTRIBUTES = frozenset({"id", "meta", "schemas", "groups", "password"})

LONGEST_PATH = 256
MOST_PATHS = 100

# RFC 7644, 3.10: an attribute, perhaps one of its sub-attributes, perhaps after the URN of its schema.
PATH = re.compile(
    r"(?:(?P<urn>urn(?::[A-Za-z0-9._~+=@$_!*'()-]+)+):)?(?P<name>[A-Za-z][A-Za-z0-9_$-]*)"
    r"(?:\.[A-Za-z$][A-Za-z0-9_$-]*)?"
)


def _check_path(path: str) -> None:
    match = PATH.fullmatch(path)
    if match is None:
        raise ValidationError("Not an attribute path. Examples: title, name.middleName, urn:acme:User:badge.")
    if match["urn"] is None and match["name"].lower() in PROTOCOL_ATTRIBUTES:
        raise ValidationError(f"{match['name']} belongs to the protocol and cannot be kept as an attribute.")


class OktaSettings(Schema):
    """Settings of a connection. Unknown names are refused, so that a misspelt one is noticed."""

    extra_attributes = fields.List(
        fields.String(validate=[validate.Length(min=1, max=LONGEST_PATH), _check_path]),
        load_default=list,
        validate=validate.Length(max=MOST_PATHS),
        metadata={"description": "Attribute paths that this connection keeps besides the usual ones."},
    )


def kept_attributes(settings: Mapping[str, Any]) -> Sequence[str]:
    """Return the attribute paths that a connection with these settings keeps of a user, each once."""
    paths: dict[str, str] = {}
    for path in (*DEFAULT_ATTRIBUTES, *settings.get("extra_attributes", ())):
        paths.setdefault(path.lower(), path)
    return tuple(paths.values())
