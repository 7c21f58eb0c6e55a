"""Renders users and groups as SCIM JSON: the stored text, never parsed, with the parts that depend on the reader.

The stored text of a user has its id and `meta`, without its location, its groups and their digest in the entity tag.
The stored text of a group has neither `id` nor `meta`, since its version counts up with its members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring
from typing import Protocol

from gateway.scim.versions import tag
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import GroupRecord, ListedGroup, MemberRecord, UserRecord, cache_short


class Versioned(Protocol):
    """A stored resource whose version counts up with its changes."""

    @property
    def version(self) -> int:
        """Return the version, which each write raises."""


#: Lists of groups of which the rendered text is cached.
CACHED_GROUP_LISTS = 16
#: The part of a stored user that is the same for all readers: up to the version, the last attribute of `meta`.
_SHARED_PART = slice(-len('\\""}}'))


def user_json(user: UserRecord, groups: tuple[MemberRecord, ...], base_url: str | None) -> str:
    """Return a user as SCIM JSON; without `base_url` (in events) it has no locations."""
    to_id, from_id = _suffix(groups, base_url)
    return f"{user.doc[_SHARED_PART]}{to_id}{user.uid if base_url else ''}{from_id}"


def users_json(
    users: Iterable[tuple[int, str, str]],
    groups: Mapping[int, tuple[MemberRecord, ...]],
    base_url: str | None,
) -> list[str]:
    """Return a page of users as SCIM JSON; `users` are (key, id, stored text), `groups` their groups by key.

    Without `base_url` they have no locations.

    Neighbours with the same tuple of groups share its rendered text.
    """
    last: tuple[MemberRecord, ...] = ()
    (to_id, from_id), rendered = _suffix(last, base_url), []
    for key, uid, doc in users:
        own = groups.get(key, ())
        if own is not last:
            last, (to_id, from_id) = own, _suffix(own, base_url)
        rendered.append(f"{doc[_SHARED_PART]}{to_id}{uid if base_url else ''}{from_id}")
    return rendered


@cache_short(CACHED_GROUP_LISTS)
def _suffix(groups: tuple[MemberRecord, ...], base_url: str | None) -> tuple[str, str]:
    """Return the text behind the shared part: up to the id in the location, and from there to the end."""
    refs = ",".join(reference_json(group, "Groups", base_url) for group in groups)
    location, closed = (f',"location":"{base_url}/Users/', '"}') if base_url else ("", "}")
    return f'{_digest(groups)}\\""{location}', f'{closed},"groups":[{refs}]}}' if refs else f"{closed}}}"


def group_json(
    group: GroupRecord | ListedGroup, members: Iterable[MemberRecord] | None, base_url: str | None
) -> str:
    """Return a group as SCIM JSON; None for `members` leaves them out."""
    return "".join(group_pieces(group, () if members is None else (members,), base_url))


def group_pieces(
    group: GroupRecord | ListedGroup, pages: Iterable[Iterable[MemberRecord]], base_url: str | None
) -> Iterator[str]:
    """Yield the text of `group_json` in pieces: one for each page of members, and one at either end."""
    location = f',"location":"{base_url}/Groups/{group.uid}"' if base_url else ""
    yield (
        f'{{"id":"{group.uid}","meta":{{"resourceType":"Group","created":"{rfc3339(group.created)}","lastModified":"'
        f'{rfc3339(group.modified)}","version":{encode_basestring(etag(group))}{location}}},'
    )
    opened = False
    for page in pages:
        refs = ",".join(reference_json(member, "Users", base_url) for member in page)
        if refs:
            yield ("," if opened else '"members":[') + refs
            opened = True
    yield ("]," if opened else "") + group.doc[1:]


def etag(record: Versioned, groups: tuple[MemberRecord, ...] = ()) -> str:
    """Return the weak entity tag of a stored resource (RFC 7644, 3.14).

    The groups of a user begin, end and are renamed without a write to the user, so the tag of a user with groups holds
    a digest of their ids and names. The version of a group counts up with all that is rendered of its members
    (`store.memberships`). The base URL, which differs between deployments, is not in a tag.
    """
    return tag(record.version, _digest(groups))


@cache_short(CACHED_GROUP_LISTS)
def _digest(groups: tuple[MemberRecord, ...]) -> str:
    if not groups:
        return ""
    # No stored text holds NUL, so two different lists of groups never join to the same text.
    text = "\0".join([text for group in groups for text in group])
    return f"-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def reference_json(member: MemberRecord, endpoint: str, base_url: str | None) -> str:
    """Return one member of a group, or one group of a user; `endpoint` is the one of the resource referred to."""
    ref = f'"$ref":"{base_url}/{endpoint}/{member.uid}",' if base_url else ""
    kind = '"type":"User",' if endpoint == "Users" else ""
    return f'{{"value":"{member.uid}",{ref}{kind}"display":{encode_basestring(member.display)}}}'
