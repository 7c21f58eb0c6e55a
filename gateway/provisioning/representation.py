"""How users and groups are shown: the stored document with id, meta, groups or members spliced in, never parsed.

The entity tag is made here, so that `ETag`, `meta.version` and the versions in a bulk response are one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Protocol

from gateway.store.clock import rfc3339, rfc3339s
from gateway.store.records import ListedUser, MemberRecord


class Shown(Protocol):
    """A stored resource as it is shown."""

    @property
    def id(self) -> int: ...
    @property
    def uid(self) -> str: ...
    @property
    def doc(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def modified(self) -> int: ...
    @property
    def version(self) -> int: ...


class Versioned(Protocol):
    """A stored resource whose version counts up with its changes."""

    @property
    def version(self) -> int: ...


#: An entity tag: its version, and in the tag of a user behind a dash what stands for its groups.
_TAG = re.compile(r'(?:W/)?"(\d+)(?:-[0-9a-f]+)?"')


def user_json(user: Shown, groups: Sequence[MemberRecord], base_url: str | None) -> str:
    """A user as SCIM JSON; without `base_url` (in events) it has no locations."""
    listed = ListedUser(user.id, user.uid, user.doc, user.created, user.modified, user.version)
    return users_json([listed], {user.id: tuple(groups)}, base_url)[0]


def users_json(
    users: Sequence[ListedUser], groups: Mapping[int, tuple[MemberRecord, ...]], base_url: str | None
) -> list[str]:
    """A page of users; what is said of the same groups is made once for all who are in them."""
    told: dict[tuple[MemberRecord, ...], tuple[str, str]] = {(): ("", "")}
    before: tuple[MemberRecord, ...] = ()
    digest = listed = ""
    place = f',"location":"{base_url}/Users/' if base_url else ""
    shown = []
    moments = rfc3339s([user.created for user in users])
    for (key, uid, doc, made, changed, version), created in zip(users, moments, strict=True):
        of = groups.get(key, ())
        if of is not before:
            before = of
            if of not in told:
                refs = ",".join(entry(group, "Groups", base_url) for group in of)
                told[of] = _digest(of), f'"groups":[{refs}],'
            digest, listed = told[of]
        modified = created if changed == made else rfc3339(changed)
        location = f'{place}{uid}"' if place else ""
        shown.append(
            f'{{"id":"{uid}","meta":{{"resourceType":"User","created":"{created}","lastModified":"{modified}",'
            f'"version":"W/\\"{version}{digest}\\""{location}}},{listed}{doc[1:]}'
        )
    return shown


def group_json(group: Shown, members: Iterable[MemberRecord] | None, base_url: str | None) -> str:
    """A group as SCIM JSON; `members` None leaves them out."""
    return "".join(group_pieces(group, () if members is None else (members,), base_url))


def group_pieces(
    group: Shown, pages: Iterable[Iterable[MemberRecord]], base_url: str | None
) -> Iterator[str]:
    """The same in pieces, one for each page of members and one at either end; together they are the text."""
    location = f',"location":"{base_url}/Groups/{group.uid}"' if base_url else ""
    yield (
        f'{{"id":"{group.uid}","meta":{{"resourceType":"Group","created":"{rfc3339(group.created)}","lastModified":"'
        f'{rfc3339(group.modified)}","version":{encode_basestring(etag(group))}{location}}},'
    )
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
    return f'W/"{record.version}{_digest(groups)}"'


def _digest(groups: Sequence[MemberRecord]) -> str:
    if not groups:
        return ""
    # No text that is stored holds NUL, so no two lists of groups run together into one.
    told = "\0".join([text for group in groups for text in group])
    return f"-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}"


def version_in(tag: str) -> int | None:
    """The version that an entity tag names, whatever it says of groups; None when it is no tag of ours."""
    found = _TAG.fullmatch(tag.strip())
    return int(found[1]) if found else None


def entry(member: MemberRecord, endpoint: str, base_url: str | None) -> str:
    """One member of a group, or one group of a user."""
    ref = f'"$ref":"{base_url}/{endpoint}/{member.uid}",' if base_url else ""
    kind = '"type":"User",' if endpoint == "Users" else ""
    return f'{{"value":"{member.uid}",{ref}{kind}"display":{encode_basestring(member.display)}}}'
