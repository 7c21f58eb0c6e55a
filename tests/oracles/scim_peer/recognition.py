"""Predicates by which the table of differences recognizes a case."""

import datetime
import json
import re
import unicodedata

from gateway.scim.documents import is_empty
from gateway.scim.json_text import fold, read_datetime
from gateway.scim.matching import element_matches
from gateway.scim.schemas import ENTERPRISE_URN
from tests.oracles.scim_peer.filters import Leaf, Selection
from tests.oracles.scim_peer.patches import normal, peer_after, theirs_after
from tests.oracles.scim_peer.resources import LABELS

ORDER, WITHIN = {"gt", "ge", "lt", "le"}, {"co", "sw", "ew"}
JSON_TYPES = {"boolean": (bool,), "integer": (int, float), "decimal": (int, float)}


def unreadable(leaf):
    """Whether a comparison asks for the order of a boolean or null, or for parts of what is no text."""
    op, value = leaf.op.lower(), json.loads(leaf.literal or '""')
    return (op in ORDER and (value is None or isinstance(value, bool))) or (
        op in WITHIN and not isinstance(value, str)
    )


def leaves_of(node):
    if isinstance(node, Leaf):
        return [node]
    parts = [node.whole] if isinstance(node, Selection) else node.parts
    return [leaf for part in parts for leaf in leaves_of(part)]


def of_its_type(case):
    """Whether the literal is of the JSON type that the attribute has."""
    value, types = case.value, JSON_TYPES.get(case.leaf.type, (str,))
    if isinstance(value, bool):
        return bool in types
    whole = case.leaf.type != "integer" or not isinstance(value, float) or value.is_integer()
    return isinstance(value, types) and whole


def mistyped(case):
    return case.leaf is not None and case.op != "pr" and case.value is not None and not of_its_type(case)


def never_met(case):
    """What we answer where a value and a literal of different kinds meet; of no values none is selected."""
    return case.ours is (case.op == "ne" and (not case.selected or bool(case.values)))


def no_such_value(case):
    """A text that is no value of an attribute of texts: no address, no URL, no moment, no base64."""
    leaf, value = case.leaf, case.value
    if leaf is None or not isinstance(value, str) or case.op in WITHIN or not of_its_type(case):
        return False
    address = case.head.name == "emails" and leaf.name == "value"
    moment = leaf.type == "dateTime" and read_datetime(value) is None
    return address or moment or leaf.type == "binary" or "external" in leaf.references


def naive(case):
    if not isinstance(case.value, str) or read_datetime(case.value) is None:
        return False
    return datetime.datetime.fromisoformat(case.value).tzinfo is None


def texts_of(case):
    """The literal, and the texts that it is compared with."""
    values = [value.get("value") if isinstance(value, dict) else value for value in case.values]
    return [text for text in [case.value, *values] if isinstance(text, str)]


def composed(case):
    exact = case.leaf is not None and case.leaf.type == "string" and case.leaf.case_exact
    return exact and any(unicodedata.normalize("NFC", text) != text for text in texts_of(case))


UNREADABLE = re.compile(r'(?i) (?:(?:co|sw|ew) [^"]|(?:gt|ge|lt|le) (?:true|false|null))')


def keys_of(value):
    """The keys of an object, and of the objects in it."""
    for key, item in value.items() if isinstance(value, dict) else []:
        yield key
        yield from keys_of(item)


def is_read_only(attribute, value):
    """Whether only the server writes it, and something is said of it."""
    return (
        attribute is not None and attribute.read_only and attribute.name != "schemas" and not is_empty(value)
    )


def is_unassigned(attribute, value):
    return attribute is not None and is_empty(value)


def is_no_line(attribute, value):
    """Whether a value is written to userName that has a control character."""
    if attribute is None or attribute.name != "userName" or not isinstance(value, str):
        return False
    return any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in value)


def is_null_of_many(attribute, value):
    return attribute is not None and attribute.multi and value is None


def without(drop, attribute, value):
    """A value without those parts that `drop` says."""
    if isinstance(value, list):
        return [without(drop, attribute, item) for item in value if not drop(attribute, item)]
    if not isinstance(value, dict):
        return value
    parts = [
        (key, attribute.table.get(key.lower()) if attribute else None, item) for key, item in value.items()
    ]
    return {key: without(drop, part, item) for key, part, item in parts if not drop(part, item)}


def touched(case):
    """The attributes of the resource that our answer changes."""
    before = normal(case.document)
    return {name for name in {*before, *case.ours} if before.get(name) != case.ours.get(name)} - {"schemas"}


def member_id(entry):
    return next((value for key, value in entry.items() if key.lower() == "value"), None)


def has_type(attribute, value):
    types = JSON_TYPES.get(attribute.type, (str,))
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def writes_other_type(case):
    """Whether a simple attribute gets a value of another JSON type."""
    return any(a is not None and a.type != "complex" and not isinstance(v, list | None) and not has_type(a, v)
               for a, v in case.pieces)  # fmt: skip


def names_nothing(case):
    """Whether the filter of the path names what is no sub-attribute."""
    return case.head is not None and any(
        case.head.table.get(leaf.path.lower()) is None for leaf in case.filter
    )


def takes_from_manager(case):
    """Whether a manager that has a value and a $ref would lose one of them."""
    manager = case.document.get(ENTERPRISE_URN, {}).get("manager", {})
    named = case.op == "remove" and case.attribute is not None and case.attribute.name in ("value", "$ref")
    nothing = any(a is not None and a.name in ("value", "$ref") and is_empty(v) for a, v in case.pieces)
    return bool(manager) and (named or nothing)


def differing(case):
    """Pairs of what the two documents have where they differ, one level into an extension."""
    for key in {*case.ours, *case.theirs}:
        ours, theirs = case.ours.get(key), case.theirs.get(key)
        if ours != theirs and isinstance(ours, dict) and isinstance(theirs, dict):
            yield from (
                (ours.get(k), theirs.get(k)) for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)
            )
        elif ours != theirs:
            yield ours, theirs


def known_by(element):
    """What an element is known by: its value, or all of it."""
    if isinstance(element, dict):
        element = element.get("value") or json.dumps(element, sort_keys=True)
    return fold(element) if isinstance(element, str) else element


def doubled(ours, theirs):
    """Whether they only have some values more than once, of which we have all."""
    return (
        isinstance(ours, list) and isinstance(theirs, list) and len(ours) < len(theirs)
        and set(map(known_by, ours)) == set(map(known_by, theirs))
    )  # fmt: skip


def respelt(ours, theirs):
    """Whether the values are the same but for letter case."""
    return isinstance(ours, list) and isinstance(theirs, list) and folded(ours) == folded(theirs)


def completed_otherwise(ours, theirs):
    """Whether the pairs of value and type are the same, and what else the values hold is not."""
    if not all(isinstance(side, list) and all(isinstance(e, dict) for e in side) for side in (ours, theirs)):
        return False
    pairs = [
        [(known_by(e), known_by(e.get("type"))) for e in side if "value" in e] for side in (ours, theirs)
    ]
    return pairs[0] == pairs[1] and len(pairs[0]) == len(ours) == len(theirs)


def adds_twice(case):
    """Whether a value stands twice among those that are added, whatever else they hold."""
    lists = [list(map(known_by, v)) for _, v in case.pieces if isinstance(v, list)]
    return any(len(set(each)) < len(each) for each in lists)


def folded(elements):
    return [fold(json.dumps(element, sort_keys=True, ensure_ascii=False)) for element in elements]


def only(kind_of, case):
    return case.op == "add" and case.refused == (False, False) and all(
        any(each(ours, theirs) for each in kind_of) for ours, theirs in differing(case)
    )  # fmt: skip


def is_primary(element):
    return isinstance(element, dict) and any(k.lower() == "primary" and v is True for k, v in element.items())


def made_primary(case):
    """Whether more than one value is made primary: by the values, or by a path to several."""
    if any(isinstance(value, list) and sum(map(is_primary, value)) > 1 for _, value in case.pieces):
        return True
    by_path = case.path is not None and (case.path.sub or case.path.filter) and isinstance(case.there, list)
    if not by_path or not any(a is not None and a.name == "primary" and v is True for a, v in case.pieces):
        return False
    chosen = [
        e for e in case.there if not case.path.filter or element_matches(case.path.filter, e, case.head)
    ]
    return len(chosen) > 1


def more_in_between(case):
    """Whether they have more values after some of the operations than we would keep of them."""
    for count in range(1, len(case.operations)):
        peer = peer_after(case.kind, case.document, case.operations[:count])
        kept = theirs_after(case.kind, case.document, case.operations[:count]) or {}
        if peer is not None and values_in(dict(peer)) > values_in(kept):
            return True
    return False


def values_in(resource):
    """How many values the attributes of many have."""
    return sum(len(v) for name, v in resource.items() if isinstance(v, list) and name != "schemas")


def label_alone(case):
    """Whether a primary value is added that has nothing but labels."""
    return any(
        is_primary(v) and all(k.lower() in LABELS or is_empty(item) for k, item in v.items())
        for _, v in case.pieces
    )


def all_but_primary(ours, theirs):
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return False
    bare = [
        [{k: v for k, v in e.items() if k != "primary"} for e in side if isinstance(e, dict)]
        for side in (ours, theirs)
    ]
    return bare[0] == bare[1]
