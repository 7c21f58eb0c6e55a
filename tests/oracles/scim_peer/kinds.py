"""The resource types that both sides know. The core has no numbers to write, so an extension has all types."""

import datetime
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Base64Bytes
from scim2_models import URN, CaseExact, EnterpriseUser, Extension, Group, User

from gateway.scim.schemas import ENTERPRISE, Attribute, ResourceType, Schema, group_type, user_type

TYPED_URN = "urn:acme:scim:schemas:typed:2.0:User"
TYPED = Schema(
    TYPED_URN,
    "TypedUser",
    "One attribute of each type.",
    (
        Attribute("count", "integer"),
        Attribute("ratio", "decimal"),
        Attribute("since", "dateTime"),
        Attribute("flag", "boolean"),
        Attribute("key", "binary", case_exact=True),
        Attribute("code", case_exact=True),
        Attribute("tags", multi=True),
    ),
)


class TypedUser(Extension):
    __schema__ = URN(TYPED_URN)
    count: int | None = None
    ratio: float | None = None
    since: datetime.datetime | None = None
    flag: bool | None = None
    key: Base64Bytes | None = None
    code: Annotated[str | None, CaseExact.true] = None
    tags: list[str] | None = None


@dataclass(frozen=True, repr=False)
class Kind:
    """A resource type, as each side has it."""

    ours: ResourceType
    theirs: Any

    def __repr__(self):
        return self.ours.name


USERS = Kind(user_type(ENTERPRISE, TYPED), User[EnterpriseUser | TypedUser])
GROUPS = Kind(group_type(), Group)
