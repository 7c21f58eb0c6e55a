"""Strategies: filters as trees that can be written and asked part by part."""

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gateway.scim.schemas import ENTERPRISE_URN, USER_URN
from tests.oracles.scim_peer.kinds import GROUPS, TYPED_URN, USERS
from tests.oracles.scim_peer.resources import ADDRESSES, KEYS, MOMENTS, NAMES, TEXTS, URLS


@dataclass(frozen=True)
class Leaf:
    """One comparison, as it is written. The literal is JSON; none where the operator is `pr`."""

    path: str
    op: str
    literal: str | None = None

    def __str__(self):
        return f"{self.path} {self.op}" + ("" if self.literal is None else f" {self.literal}")


@dataclass(frozen=True)
class Node:
    """`not`, `and`, `or`, or brackets alone where there is no word."""

    word: str
    parts: tuple

    def __str__(self):
        if self.word in ("not", ""):
            return f"{self.word}({self.parts[0]})" if self.word else f"({self.parts[0]})"
        inside = self.word == "and"
        return f" {self.word} ".join(
            f"({part})" if inside and isinstance(part, Node) and part.word == "or" else str(part)
            for part in self.parts
        )


@dataclass(frozen=True)
class Selection:
    """`path[inner]`, or `path[inner].sub op literal`."""

    path: str
    inner: Any
    tail: Leaf | None = None

    def __str__(self):
        return f"{self.path}[{self.inner}]" + (f".{self.tail}" if self.tail else "")

    @property
    def whole(self):
        return Node("and", (self.inner, self.tail)) if self.tail else self.inner


OTHER = "urn:acme:scim:schemas:other:2.0:User:title"
UNKNOWN = ["nope", "name.nope", "userName.value", "department", OTHER, "password", ENTERPRISE_URN, "members.nope",
           "emails.nope"]  # fmt: skip


def paths_of(attribute, prefix=""):
    return [prefix + attribute.name, *(f"{prefix}{attribute.name}.{sub.name}" for sub in attribute.sub)]


def all_paths(kind):
    core = [path for a in kind.ours.root.sub if ":" not in a.name for path in paths_of(a)]
    more = [path for e in kind.ours.extensions for a in e.attributes for path in paths_of(a, f"{e.id}:")]
    return core + [f"{kind.ours.schema.id}:{path}" for path in core[::5]] + more


PATHS = {kind.ours.name: all_paths(kind) for kind in (USERS, GROUPS)}
MANY = {kind.ours.name: [prefix + a.name for a in kind.ours.root.sub if a.multi and a.type == "complex"
                         for prefix in ("", "", f"{kind.ours.schema.id}:")] for kind in (USERS, GROUPS)}  # fmt: skip
OPS = ["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
LITERALS = {
    "boolean": ["true", "false"],
    "integer": ["0", "1", "-3", "2.0", "2.5", "9007199254740992"],
    "decimal": ["0.5", "1", "-0.5", "1e20", "3.250"],
    "dateTime": [*map(json.dumps, MOMENTS), '"2026-11-24T08:00:00"', '"2026-11-24"', '"2026"', '"08:00"'],
    "binary": [*map(json.dumps, KEYS), '"YQ"'],
    "reference": [*map(json.dumps, URLS), '"acme"', '"HTTPS://ACME.test/a"'],
}
ODD = ["null", "true", "false", "0", "1", "-1.5e3", '""', '"true"', '"1"', '"ab"', '"2026-11-24T08:00:00Z"']


@st.composite
def leaves(draw, kind, path, attribute):
    spelt = draw(st.sampled_from([path, path, path.upper(), path.lower()]))
    if draw(st.integers(0, 9)) == 0:
        return Leaf(spelt, draw(st.sampled_from(["pr", "PR"])))
    op = draw(st.sampled_from(OPS))
    if draw(st.integers(0, 7)) == 0:
        literal = draw(st.sampled_from(ODD))
    elif attribute is not None and attribute.type in LITERALS:
        literal = draw(st.sampled_from(LITERALS[attribute.type]))
    else:
        literal = draw(texts_to_compare(attribute))
    return Leaf(spelt, draw(st.sampled_from([op, op, op.upper()])), literal)


@st.composite
def texts_to_compare(draw, attribute):
    """A text that may well be there, a piece of it, or the same in other letters."""
    canonical = list(attribute.canonical) if attribute is not None else []
    text = draw(st.sampled_from([*NAMES, *ADDRESSES, *canonical, "u1", "u2", "User"]) | TEXTS)
    start, end = draw(st.integers(0, 3)), draw(st.integers(0, 9))
    form = draw(st.sampled_from([
        text, text, text.upper(), text.lower(), text[start:end], text[start:], text[:end],
        unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text),
    ]))  # fmt: skip
    return json.dumps(form, ensure_ascii=draw(st.booleans()))


def compared(kind, path):
    """The attribute that a path of a filter compares, or None."""
    located = kind.ours.locate(path)
    if located is None:
        return None
    attribute = located[2] or located[1]
    return attribute.table.get("value") if attribute.type == "complex" else attribute


@st.composite
def filters(draw, kind, document):
    present = [path for path in PATHS[kind.ours.name] if path.split(".")[0] in document] or ["id"]

    def tree(leaf, depth):
        word = draw(st.sampled_from(["leaf", "leaf", "leaf", "not", "", "and", "or"])) if depth else "leaf"
        if word == "leaf":
            return leaf()
        many = draw(st.integers(2, 3)) if word in ("and", "or") else 1
        return Node(word, tuple(tree(leaf, depth - 1) for _ in range(many)))

    def plain():
        path = draw(
            st.sampled_from(draw(st.sampled_from([present, present, PATHS[kind.ours.name], UNKNOWN])))
        )
        return draw(leaves(kind, path, compared(kind, path)))

    def selection():
        heads = MANY[kind.ours.name]
        there = [head for head in heads if head.rpartition(":")[2] in document]
        odd = [
            "nope",
            "name",
            "active",
            "meta",
            "userName",
            "schemas",
            f"{ENTERPRISE_URN}:manager",
            f"{TYPED_URN}:tags",
        ]
        head = draw(
            st.sampled_from(
                draw(st.sampled_from([there or heads, there or heads, there or heads, heads, odd]))
            )
        )
        located = kind.ours.locate(head)
        attribute = located and located[1]
        subs = [sub.name for sub in attribute.sub] if attribute else []
        subs = [*subs, *subs, *subs, "value", "nope", f"{USER_URN}:type", "value.x"]

        def inner():
            sub = draw(st.sampled_from(subs))
            return draw(leaves(kind, sub, attribute.table.get(sub) if attribute else None))

        tail = inner() if draw(st.integers(0, 3)) == 0 else None
        if tail and (":" in tail.path or "." in tail.path):
            tail = None
        return Selection(draw(st.sampled_from([head, head, head.upper()])), tree(inner, 2), tail)

    return tree(lambda: draw(st.sampled_from([plain, plain, selection]))(), 3)
