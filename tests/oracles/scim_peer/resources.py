"""Strategies: resources drawn from the attribute tables."""

import base64

from hypothesis import strategies as st

from gateway.scim.escaping import first_control
from gateway.scim.schemas import Attribute
from tests.oracles.scim_peer.kinds import GROUPS, USERS

NAMES = ["ab", "AB", "Ab c", "İstanbul", "ıstanbul", "ISTANBUL", "istanbul", "éclair", "e\u0301clair", "ÉCLAIR",
         "Straße", "STRASSE", "ΣΊΣΥΦΟΣ", "σίσυφος", "ﬁle", "ſ", "K", "👩‍👩‍👧", "🙂 smile", "日本語", "\u200eright",
         "a\nb", "O'Brien", 'a "quoted" one', "back\\slash", "100%", "[]", "true", "null", "0"]  # fmt: skip
LONG = st.builds(str.__mul__, st.sampled_from(["ab", "AB", "aB"]), st.integers(159, 170))
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
TEXTS = st.sampled_from(NAMES) | st.sampled_from(NAMES) | ANY | LONG
ADDRESSES = ["ab@acme.test", "AB@acme.test", "b@acme.test", "jürgen@acme.test", "a.b+c@sub.acme.test"]
URLS = ["https://acme.test/a", "https://acme.test/A", "https://acme.test/b?c=1", "/Users/u2"]
MOMENTS = [
    "2026-11-24T08:00:00Z",
    "2026-11-24T09:00:00+01:00",
    "2026-11-24T08:00:00.5Z",
    "2020-02-29T23:59:59-05:00",
]
KEYS = [base64.b64encode(key).decode() for key in (b"a", b"A", b"certificate")]
SIMPLE = {
    "boolean": st.booleans(),
    "integer": st.integers(-3, 3) | st.integers(-(2**53), 2**53),
    "decimal": st.sampled_from([0.5, -0.5, 1.0, 3.25, 1e20]),
    "dateTime": st.sampled_from(MOMENTS),
    "binary": st.sampled_from(KEYS),
    "reference": st.sampled_from(URLS),
}
IDS = st.sampled_from(["u1", "u2", "U2", "e\u0301"])


def value_of(attribute: Attribute, owner: str = "") -> st.SearchStrategy:
    """Values of one attribute, each of them not empty."""
    if attribute.type == "complex":
        subs = {sub.name: value_of(sub, attribute.name) for sub in attribute.sub}
        needed = attribute.needs or sorted(subs.keys() - LABELS)
        each = st.sampled_from(needed).flatmap(
            lambda name: st.fixed_dictionaries(
                {name: subs[name]}, optional={other: subs[other] for other in subs if other != name}
            )
        )
    elif attribute.canonical:
        each = st.sampled_from([*attribute.canonical, "other", "Ab"])
    elif (owner, attribute.name) == ("emails", "value"):
        each = st.sampled_from(ADDRESSES)
    elif (owner, attribute.name) == ("members", "value"):
        each = IDS
    else:
        each = SIMPLE.get(attribute.type, TEXTS)
    if not attribute.multi:
        return each
    many = st.lists(each, min_size=1, max_size=3)
    return many.map(one_primary) if "primary" in attribute.table else many


LABELS = {"type", "primary", "display"}


def one_primary(elements):
    for element in [e for e in elements if e.get("primary")][1:]:
        element["primary"] = False
    return elements


TOP = {kind.ours.name: {a.name: value_of(a) for a in kind.ours.root.sub if a.name not in ("schemas", "id", "meta")}
       for kind in (USERS, GROUPS)}  # fmt: skip
META = {"resourceType": "User", "created": MOMENTS[0], "lastModified": MOMENTS[2], "location": "https://acme.test/Users/u1",
        "version": 'W/"Ab"'}  # fmt: skip


@st.composite
def resources(draw, kind, least=0):
    """A canonical resource, with what only the server writes."""
    tops = sorted(TOP[kind.ours.name])
    chosen = draw(st.lists(st.sampled_from(tops), min_size=least, max_size=6, unique=True))
    document = {name: draw(TOP[kind.ours.name][name]) for name in chosen}
    name = "userName" if kind is USERS else "displayName"
    document.setdefault(name, "ab@acme.test")
    if not document[name].strip() or len(document[name]) > 320 or first_control(document[name]):
        document[name] = "Ab"
    for extension in kind.ours.extensions:
        if not document.get(extension.id, True):
            del document[extension.id]
    urns = [kind.ours.schema.id, *(e.id for e in kind.ours.extensions if e.id in document)]
    return {"schemas": urns, "id": "u1", "meta": META | {"resourceType": kind.ours.name}, **document}
