"""Strategies: operations of a PATCH, most of them on what the document holds."""

import copy
import json

from hypothesis import strategies as st

from gateway.scim.documents import clean
from gateway.scim.schemas import Attribute
from tests.oracles.scim_peer.filters import OTHER, Leaf, Node, leaves
from tests.oracles.scim_peer.kinds import GROUPS, USERS
from tests.oracles.scim_peer.patches import ours_after
from tests.oracles.scim_peer.resources import META, resources, value_of

WRONG = [None, "", [], {}, "x", 1, True, "true", "False", ["x"], [{}], [{"type": "work"}], {"type": "work"}, [None],
         {"value": None}, {"nope": 1}, {"value": "x", "nope": 1}]  # fmt: skip


ODD_PATHS = ["nope", "name.nope", "emails.nope", OTHER, "", "a b", "emails[type]", "emails[", "members[value eq]",
             'emails[type eq "work"].nope', 'emails[type eq "work"]x', 'emails.type eq "work"', "schemas",
             "meta.created", "groups", "password"]  # fmt: skip
MALFORMED = [{"op": "remove"}, {"op": "add", "path": "title"}, {"op": "replace", "path": "externalId"},
             {"op": "move", "path": "title"}, {"path": "title", "value": "x"}]  # fmt: skip


@st.composite
def targets(draw, kind, document):
    """A path and the attribute at its end, with the form of what is written there."""
    tops = [a.name for a in kind.ours.root.sub]
    present = [name for name in document if name != "schemas"]
    name = draw(st.sampled_from(draw(st.sampled_from([present, present, tops]))))
    attribute = kind.ours.root.table[name]
    prefix = ""
    if ":" in name:
        if draw(st.integers(0, 4)) == 0:
            return name, attribute
        attribute = draw(st.sampled_from(attribute.sub))
        prefix = f"{name}:"
    elif draw(st.integers(0, 9)) == 0:
        prefix = f"{kind.ours.schema.id}:"
    path, forms = prefix + attribute.name, ["whole", "whole"]
    if attribute.type == "complex":
        forms += (
            ["sub", "sub"] if not attribute.multi else ["sub", "filter", "filter", "filter.sub", "filter.sub"]
        )
    elif draw(st.integers(0, 19)) == 0:
        forms = ["filter"]
    form = draw(st.sampled_from(forms))
    element = attribute
    if form.startswith("filter"):
        path += f"[{draw(conditions(kind, attribute, document.get(attribute.name)))}]"
        element = Attribute(attribute.name, "complex", sub=attribute.sub) if attribute.sub else attribute
    if form.endswith("sub"):
        element = draw(st.sampled_from(attribute.sub))
        path += f".{element.name}"
        return path, Attribute("at", "complex", sub=(element,))
    return path, element


@st.composite
def conditions(draw, kind, attribute, elements):
    """The filter of a path: mostly what selects an element that is there."""
    known = [
        (name, value)
        for element in (elements if isinstance(elements, list) else [])
        if isinstance(element, dict)
        for name, value in element.items()
    ]
    if known and draw(st.integers(0, 3)):
        name, value = draw(st.sampled_from(known))
        first = Leaf(name, "eq", json.dumps(value))
    else:
        sub = draw(st.sampled_from([*attribute.sub, None]))
        first = draw(leaves(kind, sub.name if sub else "nope", sub))
    form = draw(st.sampled_from(["", "", "", "", "not", "and", "or"]))
    if not form:
        return first
    if form == "not":
        return Node("not", (first,))
    sub = draw(st.sampled_from([*attribute.sub, None]))
    return Node(form, (first, draw(leaves(kind, sub.name if sub else "nope", sub))))


@st.composite
def objects(draw, attribute, there):
    """What an operation without a path carries, or one on an extension."""
    subs = [sub for sub in attribute.sub if sub.name not in ("schemas", "id", "meta")]
    chosen = draw(st.lists(st.sampled_from(subs), min_size=0, max_size=3, unique_by=lambda sub: sub.name))
    result = {}
    for sub in chosen:
        value = draw(written(sub, there.get(sub.name)))
        result[draw(st.sampled_from([sub.name, sub.name, sub.name.upper()]))] = value
    odd = draw(st.integers(0, 15))
    if odd == 0:
        result["nope"] = 1
    elif odd == 1:
        result["id"] = draw(st.sampled_from(["u1", "u2"]))
    elif odd == 2:
        result["meta"] = META
    elif odd == 3:
        result["name.givenName"] = "Ab"
    return result


@st.composite
def written(draw, attribute, there=None):
    """A value to write: mostly a good one, often much like what is there."""
    odd = draw(st.integers(0, 23))
    if odd < 3:
        return draw(st.sampled_from(WRONG))
    if ":" in attribute.name:
        return draw(objects(attribute, there or {}))
    value = copy.deepcopy(there) if there and odd % 2 else copy.deepcopy(draw(value_of(attribute)))
    if attribute.multi and isinstance(value, list):
        if odd < 5:
            return value[0]
        value += copy.deepcopy(value[:1]) if odd < 7 else []
    if attribute.type == "complex" and odd > 8:
        alter(draw, attribute, value if isinstance(value, dict) else draw(st.sampled_from(value)))
    return value


def alter(draw, attribute, one):
    """Change one part of an object, or take it away."""
    sub = draw(
        st.sampled_from([*(attribute.table[name] for name in one if name in attribute.table), *attribute.sub])
    )
    if draw(st.integers(0, 7)) == 0:
        one[sub.name] = draw(st.sampled_from([None, "", "x", True]))
    elif sub.name in one and draw(st.booleans()):
        del one[sub.name]
    elif isinstance(one.get(sub.name), str) and draw(st.booleans()):
        one[sub.name] = draw(st.sampled_from([one[sub.name].upper(), one[sub.name].lower()]))
    else:
        one[sub.name] = draw(value_of(sub, attribute.name))


@st.composite
def primaries(draw, attribute, document):
    """An operation that makes one value primary, mostly one beside another that is so."""
    one = copy.deepcopy(draw(st.sampled_from(document[attribute.name])))
    form = draw(st.sampled_from(["new", "old", "filter", "sub"]))
    if form in ("filter", "sub"):
        name = draw(st.sampled_from([name for name in one if name != "primary"] or ["primary"]))
        path = f"{attribute.name}[{name} eq {json.dumps(one.get(name))}]"
        value = {"primary": True}
        path, value = (path, value) if form == "filter" else (f"{path}.primary", True)
        return {"op": draw(st.sampled_from(["add", "replace"])), "path": path, "value": value}
    if form == "new":
        one = {key: item for key, item in draw(value_of(attribute))[0].items() if key != "type"}
    one["primary"] = True
    return draw(st.sampled_from([
        {"op": "add", "path": attribute.name, "value": [one]},
        {"op": "add", "value": {attribute.name: [one]}},
    ]))  # fmt: skip


@st.composite
def operations(draw, kind, document):
    op = draw(st.sampled_from(["add", "add", "replace", "replace", "remove"]))
    odd = draw(st.integers(0, 29))
    heads = [a for a in kind.ours.root.sub if "primary" in a.table and document.get(a.name)]
    if heads and draw(st.integers(0, 9)) == 0:
        return draw(primaries(draw(st.sampled_from(heads)), document))
    if odd == 0:
        path = draw(st.sampled_from(ODD_PATHS))
        operation = {"op": op, "path": path} | (
            {} if op == "remove" else {"value": draw(st.sampled_from(WRONG))}
        )
        return draw(st.sampled_from([operation] * 4 + MALFORMED))
    if (op != "remove" and odd < 7) or odd == 29:
        whole = {"op": op, "value": draw(objects(kind.ours.root, document))}
        return whole | ({"path": kind.ours.schema.id} if odd == 29 else {})
    path, attribute = draw(targets(kind, document))
    if odd > 26:
        path = draw(st.sampled_from([path.upper(), path.lower()])) if "[" not in path else path
    if op == "remove":
        return {"op": op, "path": path} | ({"value": draw(st.sampled_from(WRONG))} if odd == 1 else {})
    if attribute.name == "at":
        owner, sub = path.partition("[")[0].rpartition(":")[2].partition(".")[0], attribute.sub[0]
        value = draw(value_of(sub, owner) | st.sampled_from(WRONG) if odd < 14 else value_of(sub, owner))
    else:
        there = document.get(path.rpartition(":")[2]) if "[" not in path else None
        value = draw(written(attribute, there))
    return {"op": op, "path": path, "value": value}


@st.composite
def changes(draw):
    kind = draw(st.sampled_from([USERS, USERS, USERS, GROUPS]))
    document = clean(kind.ours, draw(resources(kind, 2))).document
    if kind is GROUPS and "members" in document:
        document["members"] = [dict(t) for t in {m["value"]: m for m in document["members"]}.values()]
    steps, now = [], document
    for _ in range(draw(st.integers(1, 5))):
        steps.append(draw(operations(kind, now)))
        now = ours_after(kind, now, steps[-1:]) or now
    return kind, document, steps
