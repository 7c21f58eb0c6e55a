"""How users and groups are shown: the stored document with id, meta, groups or members spliced in, never parsed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from gateway.store.clock import rfc3339
from gateway.store.records import GroupRecord, MemberRecord, UserRecord


class Versioned(Protocol):
    """A stored resource whose version counts up with its changes."""

    @property
    def version(self) -> int: ...


def user_json(user: UserRecord, groups: Iterable[MemberRecord], base_url: str | None) -> str:
    """A user as SCIM JSON; without `base_url` (in events) it has no locations."""
    refs = ",".join(_entry(group, "Groups", base_url) for group in groups)
    listed = f'"groups":[{refs}],' if refs else ""
    return f'{{"id":"{user.uid}",{_meta("User", user, base_url)},{listed}{user.doc[1:]}'


def group_json(group: GroupRecord, members: Iterable[MemberRecord] | None, base_url: str | None) -> str:
    """A group as SCIM JSON; `members` None leaves them out."""
    listed = ""
    if members is not None:
        refs = ",".join(_entry(member, "Users", base_url) for member in members)
        listed = f'"members":[{refs}],' if refs else ""
    return f'{{"id":"{group.uid}",{_meta("Group", group, base_url)},{listed}{group.doc[1:]}'


def etag(record: Versioned) -> str:
    """The weak entity tag of a stored resource (RFC 7644, 3.14)."""
    return f'W/"{record.version}"'


def _meta(kind: str, record: UserRecord | GroupRecord, base_url: str | None) -> str:
    location = f',"location":"{base_url}/{kind}s/{record.uid}"' if base_url else ""
    return (
        f'"meta":{{"resourceType":"{kind}","created":"{rfc3339(record.created)}","lastModified":"'
        f'{rfc3339(record.modified)}","version":"W/\\"{record.version}\\""{location}}}'
    )


def _entry(member: MemberRecord, endpoint: str, base_url: str | None) -> str:
    ref = f'"$ref":"{base_url}/{endpoint}/{member.uid}",' if base_url else ""
    kind = '"type":"User",' if endpoint == "Users" else ""
    return f'{{"value":"{member.uid}",{ref}{kind}"display":{json.dumps(member.display, ensure_ascii=False)}}}'
