"""A document after operations, as each side has it, in one form."""

import base64
import copy
import datetime

from pydantic import ValidationError
from scim2_models import Context, PatchOp, ScimPolicy
from scim2_models.exceptions import SCIMException

from gateway.scim.documents import clean
from gateway.scim.errors import Refusal
from gateway.scim.json_text import read_datetime
from gateway.scim.matching import element_matches
from gateway.scim.members import split_members
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.schemas import PATCH_URN
from tests.oracles.scim_peer.kinds import GROUPS, TYPED_URN, USERS

POLICY = ScimPolicy(unknown=ScimPolicy.Unknown.ignore)


def ours_after(kind, document, operations):
    """The document after the operations, or None where one of them is refused."""
    try:
        operations = read_operations({"schemas": [PATCH_URN], "Operations": operations})
        changes, others = split_members(operations) if kind is GROUPS else ([], operations)
        rest = {name: value for name, value in document.items() if name != "members"}
        result = apply(kind.ours, rest, others, resource_id="u1").document
    except Refusal:
        return None
    members = membership(document.get("members", []), changes)
    return normal(result | ({"members": members} if members else {}))


def membership(members, changes):
    """Members after the changes, as the store makes them: known by their ids."""
    for change in changes:
        if change.kind == "remove":
            members = [m for m in members if m["value"] not in change.ids]
        elif change.kind == "remove_where":
            attribute = GROUPS.ours.find(None, "members", None)
            members = [m for m in members if not element_matches(change.filter, m, attribute)]
        elif change.kind == "clear":
            members = []
        else:
            kept = members if change.kind == "add" else [m for m in members if m["value"] in change.ids]
            known = {m["value"] for m in kept}
            members = [*kept, *({"value": uid} for uid in change.ids if uid not in known)]
    return members


def theirs_after(kind, document, operations):
    """The same by scim2-models, brought into the form in which we keep a document."""
    peer = peer_after(kind, document, operations)
    if peer is None:
        return None
    dumped = peer.model_dump()
    try:
        return normal(clean(kind.ours, dumped).document)
    except Refusal:
        return {"cannot be kept": dumped}


def peer_after(kind, document, operations):
    """The same as scim2-models leaves it."""
    body = {"schemas": [PATCH_URN], "Operations": copy.deepcopy(operations)}
    try:
        message = PatchOp[kind.theirs].model_validate(
            body, scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
        )
        peer = kind.theirs.model_validate({**document, "id": "u1"})
        message.patch(peer, POLICY)
    except (SCIMException, ValidationError):
        return None
    return peer


def normal(document):
    """A document in which what means the same is the same: moments, base64, types, domains, order of members."""
    document = copy.deepcopy(document)
    for attribute in USERS.ours.root.sub:
        types = {t.lower(): t for sub in attribute.sub if sub.name == "type" for t in sub.canonical}
        for element in document.get(attribute.name, []) if types else []:
            if "type" in element:
                element["type"] = types.get(element["type"].lower(), element["type"])
    for element in document.get("emails", []):
        name, at, domain = element.get("value", "").rpartition("@")
        element |= {"value": name + at + domain.lower()} if at else {}
    for holder in [*document.get("x509Certificates", []), document.get(TYPED_URN, {})]:
        for name in holder.keys() & {"value", "key"}:
            holder[name] = base64.b64encode(base64.b64decode(holder[name])).decode()
    since = document.get(TYPED_URN, {}).get("since")
    if since:
        document[TYPED_URN]["since"] = read_datetime(since).astimezone(datetime.UTC).isoformat()
    if "members" in document:
        document["members"] = [{"value": uid} for uid in sorted({m["value"] for m in document["members"]})]
    return document
