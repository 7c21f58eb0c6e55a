"""Discovery is true: what the service can do, and exactly the attributes that a connection keeps."""

import pytest
from scim2_models import ResourceType as PeerResourceType
from scim2_models import Schema as PeerSchema
from scim2_models import ServiceProviderConfig as PeerConfig

from gateway.scim.discovery import resource_types, schemas, service_provider_config
from gateway.scim.schemas import (
    CONFIG_URN,
    ENTERPRISE,
    ENTERPRISE_URN,
    GROUP_URN,
    RESOURCE_TYPE_URN,
    SCHEMA_URN,
    USER_URN,
    application_extension,
    group_type,
    narrow,
    user_type,
)

BASE = "https://scim.acme.test/scim/v2/okta-1"
APP_URN = "urn:acme:scim:schemas:2.0:User"
USERS = user_type(ENTERPRISE, application_extension(APP_URN, "Acme"))
TYPES = (USERS, group_type())
OF_DISCOVERY = [CONFIG_URN, RESOURCE_TYPE_URN, SCHEMA_URN]
CHARACTERISTICS = {"name", "type", "multiValued", "description", "required", "caseExact", "mutability"} | {
    "returned",
    "uniqueness",
}


def test_the_service_says_what_it_can_do():
    config = service_provider_config(
        BASE, filter_max=200, body_max=1000, documentation="https://acme.test/docs"
    )
    assert {
        name: config[name]["supported"]
        for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag")
    } == {
        "patch": True,
        "bulk": True,
        "filter": True,
        "changePassword": False,
        "sort": True,
        "etag": True,
    }
    assert config["filter"]["maxResults"] == config["pagination"]["maxPageSize"] == 200
    assert (config["pagination"]["defaultPageSize"], config["pagination"]["cursorTimeout"]) == (100, 3600)
    assert (config["bulk"]["maxOperations"], config["bulk"]["maxPayloadSize"]) == (1000, 1000)
    assert config["authenticationSchemes"][0]["type"] == "oauthbearertoken"
    assert config["meta"]["location"] == f"{BASE}/ServiceProviderConfig"
    assert "documentationUri" not in service_provider_config(BASE, filter_max=200, body_max=1000)
    assert PeerConfig.model_validate(config).documentation_uri == "https://acme.test/docs"


def test_security_events_are_named_where_tokens_can_be_sent():
    uris = ["urn:ietf:params:scim:event:prov:delete"]
    config = service_provider_config(BASE, filter_max=200, body_max=1000, event_uris=uris)
    assert config["securityEvents"] == {"asyncRequest": "none", "eventUris": uris}
    assert "securityEvents" not in service_provider_config(BASE, filter_max=200, body_max=1000)


def test_resource_types_name_their_endpoints_and_extensions():
    user, group = resource_types(TYPES, BASE)
    assert user["id"] == user["name"] == "User"
    assert user["endpoint"] == "/Users"
    assert user["schema"] == USER_URN
    assert [extension["schema"] for extension in user["schemaExtensions"]] == [ENTERPRISE_URN, APP_URN]
    assert user["meta"] == {"resourceType": "ResourceType", "location": f"{BASE}/ResourceTypes/User"}
    assert group["schemaExtensions"] == []
    assert PeerResourceType.model_validate(user).endpoint == "/Users"


def every_attribute(described):
    for attribute in described:
        yield attribute
        yield from every_attribute(attribute.get("subAttributes", ()))


def test_every_characteristic_of_every_attribute_is_spelled_out():
    for schema in schemas(TYPES, BASE):
        assert PeerSchema.model_validate(schema).id == schema["id"]
        for attribute in every_attribute(schema["attributes"]):
            assert set(attribute) >= CHARACTERISTICS
            assert attribute["description"]
            assert (attribute["type"] == "complex") == ("subAttributes" in attribute)
            assert (attribute["type"] == "reference") == ("referenceTypes" in attribute)


def test_each_schema_is_listed_once_without_the_common_attributes():
    described = {schema["id"]: schema for schema in schemas((*TYPES, USERS), BASE)}
    assert list(described) == [USER_URN, ENTERPRISE_URN, APP_URN, GROUP_URN, *OF_DISCOVERY]
    names = [attribute["name"] for attribute in described[USER_URN]["attributes"]]
    assert names[0] == "userName"
    assert not {"id", "externalId", "meta", "schemas", "password"} & set(names)
    assert described[USER_URN]["meta"] == {"resourceType": "Schema", "location": f"{BASE}/Schemas/{USER_URN}"}


def values_of(attributes, document, path=""):
    """Every value of a document beside the attribute that describes it; fails where none does."""
    described = {attribute["name"]: attribute for attribute in attributes}
    for name, value in document.items():
        if f"{path}{name}" == "attributes.subAttributes.subAttributes":
            # Of the schema of schemas alone: the RFC describes itself two levels deep.
            assert document["name"] == "subAttributes"
            continue
        assert name in described, f"{path}{name} is not described"
        attribute = described[name]
        assert isinstance(value, list) is attribute["multiValued"], f"{path}{name}"
        for item in value if isinstance(value, list) else [value]:
            yield attribute, item
            if attribute["type"] == "complex":
                yield from values_of(attribute["subAttributes"], item, f"{path}{name}.")


JSON_TYPES = {"string": str, "reference": str, "boolean": bool, "integer": int, "complex": dict}


def test_discovery_documents_are_what_their_schemas_say():
    """RFC 7643, 8.7.2: every attribute of every document is described, with its type, and what is required is there."""
    described = {schema["id"]: schema for schema in schemas(TYPES, BASE)}
    documents = [
        service_provider_config(BASE, filter_max=200, body_max=1000, documentation="https://acme.test")
    ]
    documents += [*resource_types(TYPES, BASE), *described.values()]
    for document in documents:
        (urn,) = document["schemas"]
        own = {name: value for name, value in document.items() if name not in ("schemas", "meta")}
        for attribute, value in values_of(described[urn]["attributes"], own):
            assert type(value) is JSON_TYPES[attribute["type"]], attribute["name"]
            assert value in attribute.get("canonicalValues", [value])
            if attribute["type"] == "complex":
                needed = {sub["name"] for sub in attribute["subAttributes"] if sub["required"]}
                assert needed <= value.keys()
        assert {each["name"] for each in described[urn]["attributes"] if each["required"]} <= own.keys()


def test_user_name_is_unique_and_groups_are_read_only():
    user = schemas(TYPES, BASE)[0]
    by_name = {attribute["name"]: attribute for attribute in user["attributes"]}
    assert by_name["userName"]["uniqueness"] == "server"
    assert by_name["userName"]["required"] is True
    assert by_name["userName"]["caseExact"] is False
    assert by_name["groups"]["mutability"] == "readOnly"
    assert by_name["emails"]["subAttributes"][2]["canonicalValues"] == ["work", "home", "other"]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("emails", "work home other"),
        ("phoneNumbers", "work home mobile fax pager other"),
        ("ims", "aim gtalk icq xmpp msn skype qq yahoo other"),
        ("photos", "photo thumbnail"),
        ("addresses", "work home other"),
    ],
)
def test_types_of_values_are_those_of_the_rfc(name, types):
    """RFC 7643, 4.1.2."""
    described = next(each for each in schemas(TYPES, BASE)[0]["attributes"] if each["name"] == name)
    kind = next(sub for sub in described["subAttributes"] if sub["name"] == "type")
    assert kind["canonicalValues"] == types.split()


def test_a_narrowed_type_lists_what_it_keeps():
    kept = narrow(USERS, ["userName", "name.givenName", f"{APP_URN}:group"])
    described = schemas([kept], BASE)
    assert [schema["id"] for schema in described] == [USER_URN, APP_URN, *OF_DISCOVERY]
    assert [attribute["name"] for attribute in described[0]["attributes"]] == ["userName", "name", "groups"]
    assert [sub["name"] for sub in described[0]["attributes"][1]["subAttributes"]] == ["givenName"]
    assert [e["schema"] for e in resource_types([kept], BASE)[0]["schemaExtensions"]] == [APP_URN]
