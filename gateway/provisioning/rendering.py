"""How users and groups are shown: the stored document with what depends on who looks spliced in, never parsed.

A user is stored as it is shown, with its id and `meta`, but for its location, its groups, and what its entity tag says
of them. A group, whose version counts up with its members, is stored without `id` and `meta`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring
from typing import Protocol

from gateway.scim.versions import tag
from gateway.store.ids_and_time import rfc3339
from gateway.store.records import GroupRecord, ListedGroup, MemberRecord, UserRecord, remembered


class Versioned(Protocol):
    """A stored resource whose version counts up with its changes."""

    @property
    def version(self) -> int: ...


#: Groups of a user of which the text is kept.
FEW = 16
#: As far as the document of a user is the same for all: up to behind its version, the last that `meta` holds.
_SAME = slice(-len('\\""}}'))


def user_json(user: UserRecord, groups: tuple[MemberRecord, ...], base_url: str | None) -> str:
    """A user as SCIM JSON; without `base_url` (in events) it has no locations."""
    to_id, from_id = _ends(groups, base_url)
    return f"{user.doc[_SAME]}{to_id}{user.uid if base_url else ''}{from_id}"


def users_json(
    users: Iterable[tuple[int, str, str]], groups: Mapping[int, tuple[MemberRecord, ...]], base_url: str
) -> list[str]:
    """A page of users, each (key, id, document); what is said of the same groups is made once for all in them."""
    before: tuple[MemberRecord, ...] = ()
    (to_id, from_id), shown = _ends(before, base_url), []
    for key, uid, doc in users:
        of = groups.get(key, ())
        if of is not before:
            before, (to_id, from_id) = of, _ends(of, base_url)
        shown.append(f"{doc[_SAME]}{to_id}{uid}{from_id}")
    return shown


@remembered(FEW)
def _ends(groups: tuple[MemberRecord, ...], base_url: str | None) -> tuple[str, str]:
    """What is put in the place of the end of a document: up to the id in its location, and from there on."""
    refs = ",".join(entry(group, "Groups", base_url) for group in groups)
    location, closed = (f',"location":"{base_url}/Users/', '"}') if base_url else ("", "}")
    return f'{_digest(groups)}\\""{location}', f'{closed},"groups":[{refs}]}}' if refs else f"{closed}}}"


def group_json(
    group: GroupRecord | ListedGroup, members: Iterable[MemberRecord] | None, base_url: str | None
) -> str:
    """A group as SCIM JSON; `members` None leaves them out."""
    return "".join(group_pieces(group, () if members is None else (members,), base_url))


def group_pieces(
    group: GroupRecord | ListedGroup, pages: Iterable[Iterable[MemberRecord]], base_url: str | None
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


def etag(record: Versioned, groups: tuple[MemberRecord, ...] = ()) -> str:
    """The weak entity tag of a stored resource (RFC 7644, 3.14).

    A user is shown with its groups, which come, go and are renamed without a write to the user: they are in the tag of
    a user that has any, as a digest of their ids and names. A group's version counts up with all that is shown of its
    members (`store.memberships`). The base URL, which another deployment would have, is not in a tag.
    """
    return tag(record.version, _digest(groups))


@remembered(FEW)
def _digest(groups: tuple[MemberRecord, ...]) -> str:
    if not groups:
        return ""
    # No text that is stored holds NUL, so no two lists of groups run together into one.
    told = "\0".join([text for group in groups for text in group])
    return f"-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}"


def entry(member: MemberRecord, endpoint: str, base_url: str | None) -> str:
    """One member of a group, or one group of a user."""
    ref = f'"$ref":"{base_url}/{endpoint}/{member.uid}",' if base_url else ""
    kind = '"type":"User",' if endpoint == "Users" else ""
    return f'{{"value":"{member.uid}",{ref}{kind}"display":{encode_basestring(member.display)}}}'
