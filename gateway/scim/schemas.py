"""The attribute tables of RFC 7643: User, EnterpriseUser, Group, and an application's own extension.

Tables are compiled once, when they are built, so that reading a document costs dictionary look-ups only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE_URN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SCHEMA_URN = "urn:ietf:params:scim:schemas:core:2.0:Schema"
RESOURCE_TYPE_URN = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
CONFIG_URN = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
LIST_URN = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH_URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH_URN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
BULK_REQUEST_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
BULK_RESPONSE_URN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"

Type = Literal["string", "boolean", "decimal", "integer", "dateTime", "reference", "binary", "complex"]
Mutability = Literal["readOnly", "readWrite", "immutable", "writeOnly"]
Returned = Literal["always", "never", "default", "request"]
Uniqueness = Literal["none", "server", "global"]


#: The most characters of a text that is not indexed.
TEXT_LENGTH = 65_536
#: The most characters of a name or identifier that the client gives.
NAME_LENGTH = 1024
#: The longest e-mail address that RFC 5321 allows: 64 + 1 + 255.
ADDRESS_LENGTH = 320


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute and its characteristics (RFC 7643, 2.2).

    `one_or_many` marks a string attribute that also takes an array of strings.
    """

    name: str
    type: Type = "string"
    multi: bool = False
    required: bool = False
    case_exact: bool = False
    mutability: Mutability = "readWrite"
    returned: Returned = "default"
    uniqueness: Uniqueness = "none"
    canonical: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    sub: tuple[Attribute, ...] = ()
    description: str = ""
    one_or_many: bool = False
    #: How many values a multi-valued attribute may hold; None = as many as fit into a body.
    limit: int | None = 1000
    #: How many characters a text may have; fewer than `TEXT_LENGTH` where an index holds it.
    bound: int = TEXT_LENGTH
    #: Sub-attributes by their name, and by their name in lower case.
    table: dict[str, Attribute] = field(init=False, repr=False, compare=False)
    #: Names of the required sub-attributes.
    needs: tuple[str, ...] = field(init=False, repr=False, compare=False)
    #: The prefix of the paths of sub-attributes: `name.`, or `urn:…:User:` for an extension.
    prefix: str = field(init=False, repr=False, compare=False)
    #: True if any text is valid: a writable string that is neither required nor unique.
    plain: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "table", {key: sub for sub in self.sub for key in (sub.name, sub.name.lower())})
        keep(self, "needs", tuple(sub.name for sub in self.sub if sub.required))
        keep(self, "prefix", self.name and self.name + (":" if ":" in self.name else "."))
        special = self.multi or self.required or self.uniqueness != "none" or self.read_only
        keep(self, "plain", self.type in ("string", "reference") and not special)

    @property
    def read_only(self) -> bool:
        """Return True if clients cannot write the attribute."""
        return self.mutability == "readOnly"


@dataclass(frozen=True, slots=True)
class Schema:
    """A named set of attributes. `id` is its URN."""

    id: str
    name: str
    description: str
    attributes: tuple[Attribute, ...]

    def as_attribute(self) -> Attribute:
        """Return the schema as it stands in a document as an extension: an object under its URN (RFC 7643, 3.3)."""
        return Attribute(self.id, "complex", sub=self.attributes)


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A resource type: its core schema and the extensions that it may carry (RFC 7643, 6)."""

    name: str
    endpoint: str
    schema: Schema
    extensions: tuple[Schema, ...] = ()
    keeps_external_id: bool = True
    #: The whole document as one attribute: core, common and, under their URNs, extension attributes.
    root: Attribute = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        common = (sub for sub in _COMMON if sub.name != "externalId" or self.keeps_external_id)
        extensions = (extension.as_attribute() for extension in self.extensions)
        root = Attribute("", "complex", sub=(*common, *self.schema.attributes, *extensions))
        object.__setattr__(self, "root", root)

    @property
    def urns(self) -> tuple[str, ...]:
        """Return the URNs of the core schema and of the extensions."""
        return (self.schema.id, *(extension.id for extension in self.extensions))

    def find_top_level(self, urn: str | None, name: str) -> tuple[str | None, Attribute] | None:
        """Find a top-level attribute; return the URN of its extension (None for the core schema) and the attribute.

        An empty name means the extension itself, as an attribute named by its URN. Return None if no schema has it.
        """
        if urn is None or urn.lower() == self.schema.id.lower():
            attribute = None if ":" in name else self.root.table.get(name.lower())
            return None if attribute is None else (None, attribute)
        extension = self.root.table.get(urn.lower())
        if extension is None or not name:
            return None if extension is None else (None, extension)
        attribute = extension.table.get(name.lower())
        return None if attribute is None else (extension.name, attribute)

    def find_in_extensions(self, name: str) -> tuple[str, Attribute] | None:
        """Find the attribute in the only extension that has it; return the URN and the attribute.

        Return None if several extensions have it, or none.
        """
        found = [
            (extension.id, attribute)
            for extension in self.extensions
            if (attribute := self.root.table[extension.id].table.get(name.lower())) is not None
        ]
        return found[0] if len(found) == 1 else None

    def find(self, urn: str | None, name: str, sub: str | None) -> Attribute | None:
        """Return the attribute of that path, letter case aside, or None if no schema has it."""
        found = self.find_top_level(urn, name)
        if found is None or sub is None:
            return found and found[1]
        return found[1].table.get(sub.lower())

    def locate(self, path: str) -> tuple[str | None, Attribute, Attribute | None] | None:
        """Find the extension (or None), attribute and sub-attribute (or None) of a path; return None if unknown."""
        if path.lower() in (extension.id.lower() for extension in self.extensions):
            return None, self.root.table[path.lower()], None
        urn, _, rest = path.rpartition(":")
        name, dot, sub_name = rest.partition(".")
        found = self.find_top_level(urn or None, name) if name else None
        if found is None:
            return None
        sub = found[1].table.get(sub_name.lower()) if dot else None
        return None if dot and sub is None else (*found, sub)


def _reference(name: str, *references: str, mutability: Mutability = "readWrite", text: str) -> Attribute:
    # RFC 7643, 2.3.7: references are compared exactly.
    return Attribute(
        name, "reference", case_exact=True, mutability=mutability, references=references, description=text
    )


def _text(name: str, description: str) -> Attribute:
    return Attribute(name, description=description)


def _labels(*types: str, of: str) -> tuple[Attribute, ...]:
    """Return the sub-attributes that most multi-valued attributes share (RFC 7643, 2.4)."""
    return (
        _text("display", f"A readable name for the {of}."),
        Attribute("type", canonical=types, description=f"What the {of} is used for."),
        Attribute("primary", "boolean", description=f"True for the preferred {of}; at most one is."),
    )


def _values(name: str, of: str, *types: str, value: Attribute | None = None) -> Attribute:
    value = value or _text("value", f"The {of} itself.")
    sub = (value, *_labels(*types, of=of))
    return Attribute(name, "complex", multi=True, sub=sub, description=f"Each {of} of the user.")


# RFC 7643, 3.1: common attributes belong to every resource and are not listed by any schema.
_COMMON = (
    # `schemas` follows from the attributes that are present, so clients cannot write it.
    Attribute(
        "schemas",
        "reference",
        multi=True,
        mutability="readOnly",
        returned="always",
        references=("uri",),
        description="URNs of the schemas that the resource uses.",
    ),
    Attribute(
        "id",
        case_exact=True,
        mutability="readOnly",
        returned="always",
        uniqueness="server",
        description="The identifier that the server gave.",
    ),
    Attribute(
        "externalId", case_exact=True, bound=NAME_LENGTH, description="The identifier that the client gave."
    ),
    Attribute(
        "meta",
        "complex",
        mutability="readOnly",
        description="Facts about the resource itself.",
        sub=(
            Attribute("resourceType", case_exact=True, mutability="readOnly"),
            Attribute("created", "dateTime", mutability="readOnly"),
            Attribute("lastModified", "dateTime", mutability="readOnly"),
            _reference("location", "uri", mutability="readOnly", text="Where the resource is."),
            Attribute("version", case_exact=True, mutability="readOnly"),
        ),
    ),
)

# RFC 7643, 4.1. `password` is left out: none is kept here, so it is ignored like any unknown attribute.
USER = Schema(
    USER_URN,
    "User",
    "A user account.",
    (
        Attribute(
            "userName",
            required=True,
            uniqueness="server",
            bound=ADDRESS_LENGTH,
            description="The name by which the user signs in; unique, letter case aside.",
        ),
        Attribute(
            "name",
            "complex",
            description="The parts of the user's name.",
            sub=(
                _text("formatted", "The whole name as it is shown."),
                _text("familyName", "The family name, or last name."),
                _text("givenName", "The given name, or first name."),
                _text("middleName", "The middle names."),
                _text("honorificPrefix", "Titles before the name."),
                _text("honorificSuffix", "Suffixes after the name."),
            ),
        ),
        Attribute("displayName", bound=NAME_LENGTH, description="The name shown to other people."),
        _text("nickName", "A casual name."),
        _reference("profileUrl", "external", text="Where the user's online profile is."),
        _text("title", "The job title."),
        _text("userType", "How the user relates to the organization."),
        _text("preferredLanguage", "The language the user prefers, as in Accept-Language."),
        _text("locale", "The region whose formats the user expects, as a language tag."),
        _text("timezone", "The time zone, by its name in the IANA database."),
        Attribute("active", "boolean", description="Whether the user may use the application."),
        _values(
            "emails",
            "e-mail address",
            "work",
            "home",
            "other",
            value=Attribute("value", bound=ADDRESS_LENGTH, description="The e-mail address itself."),
        ),
        _values("phoneNumbers", "phone number", "work", "home", "mobile", "fax", "pager", "other"),
        _values(
            "ims",
            "instant messaging address",
            *("aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo", "other"),
        ),
        _values(
            "photos",
            "photo",
            "photo",
            "thumbnail",
            value=_reference("value", "external", text="Where the photo is."),
        ),
        Attribute(
            "addresses",
            "complex",
            multi=True,
            description="Each postal address of the user.",
            sub=(
                _text("formatted", "The whole address, ready to print."),
                _text("streetAddress", "Street, house number, and what belongs to them."),
                _text("locality", "The city."),
                _text("region", "The state or region."),
                _text("postalCode", "The postal code."),
                _text("country", "The country, as an ISO 3166-1 alpha-2 code."),
                *_labels("work", "home", "other", of="address")[1:],
            ),
        ),
        Attribute(
            "groups",
            "complex",
            multi=True,
            mutability="readOnly",
            description="The groups the user belongs to. Change them at the group.",
            sub=(
                Attribute(
                    "value", case_exact=True, mutability="readOnly", description="The id of the group."
                ),
                _reference("$ref", "Group", mutability="readOnly", text="Where the group is."),
                Attribute("display", mutability="readOnly", description="The name of the group."),
                Attribute(
                    "type",
                    mutability="readOnly",
                    canonical=("direct", "indirect"),
                    description="Whether the user is a member directly or through another group.",
                ),
            ),
        ),
        _values("entitlements", "entitlement"),
        _values("roles", "role"),
        _values(
            "x509Certificates",
            "certificate",
            value=Attribute(
                "value", "binary", case_exact=True, description="The certificate, DER in base64."
            ),
        ),
    ),
)

# RFC 7643, 4.3
ENTERPRISE = Schema(
    ENTERPRISE_URN,
    "EnterpriseUser",
    "What an enterprise knows about a user.",
    (
        _text("employeeNumber", "The number or code of the employee."),
        _text("costCenter", "The cost center."),
        _text("organization", "The organization."),
        _text("division", "The division."),
        _text("department", "The department."),
        Attribute(
            "manager",
            "complex",
            description="The user's manager.",
            sub=(
                Attribute("value", case_exact=True, description="The id of the manager's user."),
                _reference("$ref", "User", text="Where the manager's user is."),
                Attribute("displayName", mutability="readOnly", description="The manager's name."),
            ),
        ),
    ),
)

# RFC 7643, 4.2
GROUP = Schema(
    GROUP_URN,
    "Group",
    "A group of users.",
    (
        Attribute("displayName", required=True, bound=NAME_LENGTH, description="The name of the group."),
        Attribute(
            "members",
            "complex",
            multi=True,
            limit=None,
            description="The members of the group.",
            sub=(
                Attribute(
                    "value",
                    required=True,
                    case_exact=True,
                    mutability="immutable",
                    bound=NAME_LENGTH,
                    description="The id of the member.",
                ),
                _reference("$ref", "User", mutability="immutable", text="Where the member is."),
                Attribute(
                    "type",
                    mutability="immutable",
                    canonical=("User",),
                    description="What kind of resource the member is.",
                ),
                Attribute("display", mutability="readOnly", description="The name of the member."),
            ),
        ),
    ),
)


def application_extension(urn: str, application: str) -> Schema:
    """Return the application's own extension of a user, with the one attribute `group`."""
    group = Attribute(
        "group",
        case_exact=True,
        one_or_many=True,
        description=(
            f"The value that Map to groups turns into groups of {application}. "
            "A text; an array of texts is taken as well."
        ),
    )
    return Schema(urn, f"{application}User", f"What {application} needs to know about a user.", (group,))


def user_type(*extensions: Schema) -> ResourceType:
    """Return the resource type of users with these extensions."""
    return ResourceType("User", "/Users", USER, extensions)


def group_type() -> ResourceType:
    """Return the resource type of groups."""
    return ResourceType("Group", "/Groups", GROUP)


def narrow(resource_type: ResourceType, paths: Sequence[str]) -> ResourceType:
    """Return the type with only the attributes that the paths name.

    Required and read-only attributes of the core schema stay; extensions without attributes are removed. Raises
    ValueError, with a sentence, for a path that no schema has.
    """
    wanted = _full_names(resource_type, paths)
    extensions = (_narrow_schema(extension, wanted) for extension in resource_type.extensions)
    return replace(
        resource_type,
        schema=_narrow_schema(resource_type.schema, wanted, core=True),
        extensions=tuple(extension for extension in extensions if extension.attributes),
        keeps_external_id="externalid" in wanted,
    )


def _full_names(resource_type: ResourceType, paths: Iterable[str]) -> set[str]:
    """Return the full names, in lower case, of all that the paths name; a whole attribute ends with `.*`."""
    names: set[str] = set()
    for path in paths:
        if path.lower() == resource_type.schema.id.lower():
            names.add(f"{path.lower()}:*")
            continue
        located = resource_type.locate(path)
        if located is None:
            raise ValueError(f"No schema of a {resource_type.name} has an attribute {path!r}.")
        extension, attribute, sub = located
        full = f"{extension or resource_type.schema.id}:{attribute.name}".lower()
        if ":" in attribute.name:
            names.add(f"{attribute.name}:*".lower())
        elif extension is None and attribute.name in _COMMON_NAMES:
            names.add(attribute.name.lower())
        else:
            names.update({full, f"{full}.{sub.name}".lower() if sub else f"{full}.*"})
    return names


_COMMON_NAMES = frozenset(attribute.name for attribute in _COMMON)


def _narrow_schema(schema: Schema, wanted: set[str], core: bool = False) -> Schema:
    urn = schema.id.lower()
    if f"{urn}:*" in wanted:
        return schema
    kept = (
        attribute
        if core and (attribute.required or attribute.read_only)
        else _narrow_attribute(attribute, f"{urn}:{attribute.name.lower()}", wanted)
        for attribute in schema.attributes
    )
    return replace(schema, attributes=tuple(attribute for attribute in kept if attribute))


def _narrow_attribute(attribute: Attribute, full: str, wanted: set[str]) -> Attribute | None:
    if f"{full}.*" in wanted:
        return attribute
    if full not in wanted:
        return None
    sub = (s for s in attribute.sub if s.required or f"{full}.{s.name.lower()}" in wanted)
    return replace(attribute, sub=tuple(sub))
