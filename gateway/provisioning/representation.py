"""How users and groups are shown: the stored document with id, meta, groups or members spliced in, never parsed.

The entity tag is made here, so that `ETag`, `meta.version` and the versions in a bulk response are one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from json.encoder import encode_basestring
from typing import Protocol

from gateway.store.clock import rfc3339
from gateway.store.records import GroupRecord, MemberRecord, UserRecord


class Versioned(Protocol):
    """A stored resource whose version counts up with its changes."""

    @property
    def version(self) -> int: ...


#: An entity tag: its version, and in the tag of a user behind a dash what stands for its groups.
_TAG = re.compile(r'(?:W/)?"(\d+)(?:-[0-9a-f]+)?"')


def user_json(user: UserRecord, groups: Sequence[MemberRecord], base_url: str | None) -> str:
    """A user as SCIM JSON; without `base_url` (in events) it has no locations."""
    refs = ",".join(entry(group, "Groups", base_url) for group in groups)
    listed = f'"groups":[{refs}],' if refs else ""
    return f'{{"id":"{user.uid}",{_meta("User", user, etag(user, groups), base_url)},{listed}{user.doc[1:]}'


def group_json(group: GroupRecord, members: Iterable[MemberRecord] | None, base_url: str | None) -> str:
    """A group as SCIM JSON; `members` None leaves them out."""
    return "".join(group_pieces(group, () if members is None else (members,), base_url))


def group_pieces(
    group: GroupRecord, pages: Iterable[Iterable[MemberRecord]], base_url: str | None
) -> Iterator[str]:
    """The same in pieces, one for each page of members and one at either end; together they are the text."""
    yield f'{{"id":"{group.uid}",{_meta("Group", group, etag(group), base_url)},'
    opened = False
    for page in pages:
        refs = ",".join(entry(member, "Users", base_url) for member in page)
        if refs:
            yield ("," if opened else '"members":[') + refs
            opened = True
    yield ("]," if opened else "") + group.doc[1:]


def etag(record: Versioned, groups: Sequence[MemberRecord] = ()) -> str:
    """The weak entity tag of a stored resource (RFC 7644, 3.14).

    A user is shown with its groups, which come, go and are renamed without a write to the user: they are in the tag of
    a user that has any, as a digest of their ids and names. A group's version counts up with all that is shown of its
    members (`store.memberships`). The base URL, which another deployment would have, is not in a tag.
    """
    if not groups:
        return f'W/"{record.version}"'
    # No text that is stored holds NUL, so no two lists of groups run together into one.
    told = "\0".join([text for group in groups for text in group])
    return f'W/"{record.version}-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}"'


def version_in(tag: str) -> int | None:
    """The version that an entity tag names, whatever it says of groups; None when it is no tag of ours."""
    found = _TAG.fullmatch(tag.strip())
    return int(found[1]) if found else None


def _meta(kind: str, record: UserRecord | GroupRecord, tag: str, base_url: str | None) -> str:
    location = f',"location":"{base_url}/{kind}s/{record.uid}"' if base_url else ""
    return (
        f'"meta":{{"resourceType":"{kind}","created":"{rfc3339(record.created)}","lastModified":"'
        f'{rfc3339(record.modified)}","version":{encode_basestring(tag)}{location}}}'
    )


def entry(member: MemberRecord, endpoint: str, base_url: str | None) -> str:
    """One member of a group, or one group of a user."""
    ref = f'"$ref":"{base_url}/{endpoint}/{member.uid}",' if base_url else ""
    kind = '"type":"User",' if endpoint == "Users" else ""
    return f'{{"value":"{member.uid}",{ref}{kind}"display":{encode_basestring(member.display)}}}'
