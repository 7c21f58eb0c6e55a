"""Discovery: ServiceProviderConfig, ResourceTypes and Schemas (RFC 7644, 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.scim.bulk import MAX_OPERATIONS
from gateway.scim.json_text import Json
from gateway.scim.schemas import CONFIG_URN, RESOURCE_TYPE_URN, SCHEMA_URN, Attribute, ResourceType, Schema
from gateway.scim.service_schemas import SERVICE_SCHEMAS


def service_provider_config(
    base_url: str,
    *,
    filter_max: int,
    body_max: int,
    page: int = 100,
    cursor_seconds: int = 3600,
    documentation: str | None = None,
    event_uris: Sequence[str] = (),
) -> Json:
    """Return the ServiceProviderConfig resource (RFC 7643, 5).

    `filter_max` is the largest number of resources in one response, `body_max` the largest body in bytes, `page` the
    default page size, `cursor_seconds` the lifetime of a cursor, `documentation` the URL of the documentation,
    `event_uris` the events that security event tokens can hold, none where none can be sent.
    """
    config: Json = {"schemas": [CONFIG_URN]}
    if documentation:
        config["documentationUri"] = documentation
    if event_uris:
        # RFC 9967, 4.
        config["securityEvents"] = {"asyncRequest": "none", "eventUris": list(event_uris)}
    return config | {
        "patch": {"supported": True},
        "bulk": {"supported": True, "maxOperations": MAX_OPERATIONS, "maxPayloadSize": body_max},
        "filter": {"supported": True, "maxResults": filter_max},
        "changePassword": {"supported": False},
        "sort": {"supported": True},
        "etag": {"supported": True},
        # RFC 9865, 4.
        "pagination": {
            "cursor": True,
            "index": True,
            "defaultPaginationMethod": "index",
            "defaultPageSize": page,
            "maxPageSize": filter_max,
            "cursorTimeout": cursor_seconds,
        },
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "A token that an admin made for this connection, in the Authorization header.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            }
        ],
        "meta": _meta("ServiceProviderConfig", f"{base_url}/ServiceProviderConfig"),
    }


def resource_types(types: Iterable[ResourceType], base_url: str) -> list[Json]:
    """Return a ResourceType resource for each type (RFC 7643, 6)."""
    return [_resource_type(resource_type, base_url) for resource_type in types]


def schemas(types: Iterable[ResourceType], base_url: str) -> list[Json]:
    """Return the Schema resources of all types, each once, then those of discovery itself (RFC 7643, 7 and 8.7).

    Each lists exactly the attributes that are stored.
    """
    every = {schema.id: schema for kind in types for schema in (kind.schema, *kind.extensions)}
    return [_schema(schema, base_url) for schema in (*every.values(), *SERVICE_SCHEMAS)]


def _meta(kind: str, location: str) -> Json:
    return {"resourceType": kind, "location": location}


def _resource_type(resource_type: ResourceType, base_url: str) -> Json:
    return {
        "schemas": [RESOURCE_TYPE_URN],
        "id": resource_type.name,
        "name": resource_type.name,
        "endpoint": resource_type.endpoint,
        "description": resource_type.schema.description,
        "schema": resource_type.schema.id,
        "schemaExtensions": [
            {"schema": extension.id, "required": False} for extension in resource_type.extensions
        ],
        "meta": _meta("ResourceType", f"{base_url}/ResourceTypes/{resource_type.name}"),
    }


def _schema(schema: Schema, base_url: str) -> Json:
    return {
        "schemas": [SCHEMA_URN],
        "id": schema.id,
        "name": schema.name,
        "description": schema.description,
        "attributes": [_attribute(attribute) for attribute in schema.attributes],
        "meta": _meta("Schema", f"{base_url}/Schemas/{schema.id}"),
    }


def _attribute(attribute: Attribute) -> Json:
    described: Json = {
        "name": attribute.name,
        "type": attribute.type,
        "multiValued": attribute.multi,
        "description": attribute.description,
        "required": attribute.required,
        "caseExact": attribute.case_exact,
        "mutability": attribute.mutability,
        "returned": attribute.returned,
        "uniqueness": attribute.uniqueness,
    }
    if attribute.canonical:
        described["canonicalValues"] = list(attribute.canonical)
    if attribute.references:
        described["referenceTypes"] = list(attribute.references)
    if attribute.sub:
        described["subAttributes"] = [_attribute(sub) for sub in attribute.sub]
    return described
