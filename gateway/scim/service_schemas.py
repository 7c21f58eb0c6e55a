"""The schemas of discovery documents: ServiceProviderConfig, ResourceType and Schema (RFC 7643, 8.7.2)."""

from __future__ import annotations

from gateway.scim.schemas import (
    CONFIG_URN,
    RESOURCE_TYPE_URN,
    SCHEMA_URN,
    Attribute,
    Mutability,
    Schema,
    Type,
)

_READ_ONLY: Mutability = "readOnly"


def _text(
    name: str, text: str, *, required: bool = False, exact: bool = False, multi: bool = False
) -> Attribute:
    return Attribute(
        name,
        multi=multi,
        required=required,
        case_exact=exact,
        mutability=_READ_ONLY,
        description=text,
    )


def _uri(name: str, text: str, *, required: bool = False, reference: str = "uri") -> Attribute:
    return Attribute(
        name,
        "reference",
        required=required,
        case_exact=True,
        mutability=_READ_ONLY,
        references=(reference,),
        description=text,
    )


def _simple(name: str, type_: Type, text: str, *, required: bool = True) -> Attribute:
    return Attribute(name, type_, required=required, mutability=_READ_ONLY, description=text)


def _object(name: str, text: str, *sub: Attribute, required: bool = True, multi: bool = False) -> Attribute:
    return Attribute(
        name,
        "complex",
        multi=multi,
        required=required,
        mutability=_READ_ONLY,
        sub=sub,
        description=text,
    )


def _chosen(name: str, text: str, *canonical: str, required: bool = False) -> Attribute:
    return Attribute(
        name,
        required=required,
        mutability=_READ_ONLY,
        canonical=canonical,
        description=text,
    )


_SUPPORTED = _simple("supported", "boolean", "Whether the service has it.")

SERVICE_PROVIDER_CONFIG = Schema(
    CONFIG_URN,
    "Service Provider Configuration",
    "What the service can do.",
    (
        _uri("documentationUri", "Where the documentation for people is.", reference="external"),
        _object("patch", "Changes by PATCH.", _SUPPORTED),
        _object(
            "bulk",
            "Many operations in one request.",
            _SUPPORTED,
            _simple("maxOperations", "integer", "The most operations of one request."),
            _simple("maxPayloadSize", "integer", "The most bytes of one request."),
        ),
        _object(
            "filter",
            "Lists by a filter.",
            _SUPPORTED,
            _simple("maxResults", "integer", "The most resources of one answer."),
        ),
        _object("changePassword", "Changes of passwords.", _SUPPORTED),
        _object("sort", "Sorted lists.", _SUPPORTED),
        _object("etag", "Entity tags of resources.", _SUPPORTED),
        # RFC 9865, 4.
        _object(
            "pagination",
            "Pages of lists.",
            _simple("cursor", "boolean", "Whether lists are paged by cursor."),
            _simple("index", "boolean", "Whether lists are paged by startIndex."),
            _chosen("defaultPaginationMethod", "How lists are paged unless asked.", "cursor", "index"),
            _simple(
                "defaultPageSize", "integer", "How many resources a page holds unless asked.", required=False
            ),
            _simple("maxPageSize", "integer", "The most resources of a page.", required=False),
            _simple("cursorTimeout", "integer", "For how many seconds a cursor is good.", required=False),
            required=False,
        ),
        # RFC 9967, 4.
        _object(
            "securityEvents",
            "Security event tokens; absent where none is sent.",
            _chosen(
                "asyncRequest",
                "Whether requests are answered later.",
                "none",
                "long",
                "request",
                required=True,
            ),
            _text("eventUris", "The events that tokens can hold.", required=True, exact=True, multi=True),
            required=False,
        ),
        _object(
            "authenticationSchemes",
            "How callers are known.",
            _chosen(
                "type",
                "The kind of the scheme.",
                *("oauth", "oauth2", "oauthbearertoken", "httpbasic", "httpdigest"),
                required=True,
            ),
            _text("name", "The name of the scheme.", required=True),
            _text("description", "What the scheme is.", required=True),
            _uri("specUri", "Where the scheme is specified.", reference="external"),
            _uri("documentationUri", "Where the documentation of the scheme is.", reference="external"),
            _simple("primary", "boolean", "True for the preferred scheme.", required=False),
            multi=True,
        ),
    ),
)

RESOURCE_TYPE = Schema(
    RESOURCE_TYPE_URN,
    "ResourceType",
    "A kind of resource that the service has.",
    (
        _text("id", "The identifier of the kind of resource.", exact=True),
        _text("name", "The name of the kind of resource.", required=True),
        _text("description", "What the resources are."),
        _uri("endpoint", "Where the resources are, below the base URL.", required=True),
        _uri("schema", "The URN of the core schema.", required=True),
        _object(
            "schemaExtensions",
            "The extensions of the schema.",
            _uri("schema", "The URN of the extension.", required=True),
            _simple("required", "boolean", "Whether each resource must have it."),
            required=False,
            multi=True,
        ),
    ),
)


def _attributes(name: str, text: str, *more: Attribute) -> Attribute:
    return _object(
        name,
        text,
        _text("name", "The name of the attribute.", required=True, exact=True),
        _chosen(
            "type",
            "The type of its values.",
            *("string", "complex", "boolean", "decimal", "integer", "dateTime", "reference", "binary"),
            required=True,
        ),
        _simple("multiValued", "boolean", "Whether it has many values."),
        _text("description", "What it means."),
        _simple("required", "boolean", "Whether it must have a value.", required=False),
        _text("canonicalValues", "Values that are usual.", exact=True, multi=True),
        _simple("caseExact", "boolean", "Whether letter case counts in it.", required=False),
        _chosen("mutability", "Who may change it.", "readOnly", "readWrite", "immutable", "writeOnly"),
        _chosen("returned", "When it is answered.", "always", "never", "default", "request"),
        _chosen("uniqueness", "Among what its value is unique.", "none", "server", "global"),
        _text("referenceTypes", "What a reference may lead to.", exact=True, multi=True),
        *more,
        required=name == "attributes",
        multi=True,
    )


SCHEMA = Schema(
    SCHEMA_URN,
    "Schema",
    "The attributes of a kind of resource or of an extension.",
    (
        _text("id", "The URN of the schema.", required=True, exact=True),
        _text("name", "The name of the schema."),
        _text("description", "What the schema is about."),
        _attributes(
            "attributes",
            "The attributes of the schema.",
            _attributes("subAttributes", "The parts of a complex attribute."),
        ),
    ),
)

#: All schemas of discovery, in the order of the RFC.
SERVICE_SCHEMAS = (SERVICE_PROVIDER_CONFIG, RESOURCE_TYPE, SCHEMA)
