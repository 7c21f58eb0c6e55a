"""What the two sides differ about: a comparison of a filter, a value path, an operation, a sequence of operations."""

import json
from dataclasses import dataclass, field
from typing import Any

from scim2_models import ScimFilter
from scim2_models.exceptions import SCIMException

from gateway.scim.errors import Refusal
from gateway.scim.filter_ast import Compare, Not, Present
from gateway.scim.filters import parse_filter
from gateway.scim.matching import check_filter, matches
from gateway.scim.paths import parse_path
from gateway.scim.schemas import Attribute
from tests.oracles.scim_peer.filters import Leaf, Selection
from tests.oracles.scim_peer.kinds import Kind


@dataclass
class World:
    """One resource on both sides."""

    kind: Kind
    document: dict
    peer: Any = field(default=None)

    def __post_init__(self):
        if self.peer is None:
            self.peer = self.kind.theirs.model_validate(self.document)

    def with_only(self, attribute, elements):
        return World(self.kind, {**self.document, attribute.name: elements} if elements else
                     {name: value for name, value in self.document.items() if name != attribute.name})  # fmt: skip

    def ask(self, text):
        """Whether the filter holds, by us and by them; None where it is refused."""
        return self.ours(text), self.theirs(text)

    def ours(self, text):
        try:
            tree = parse_filter(text)
            check_filter(tree, self.kind.ours)
        except Refusal:
            return None
        return matches(tree, self.document, self.kind.ours)

    def theirs(self, text):
        try:
            return ScimFilter[self.kind.theirs](text).match(self.peer)
        except SCIMException:
            return None


@dataclass(frozen=True)
class FilterCase:
    """A comparison about which the two sides differ."""

    path: str
    attribute: Attribute | None
    op: str
    literal: str | None
    values: list
    head: Attribute | None
    selected: bool
    ours: bool | None
    theirs: bool | None

    @property
    def answers(self):
        return self.ours, self.theirs

    @property
    def value(self):
        return None if self.literal is None else json.loads(self.literal)

    @property
    def leaf(self):
        """What is compared: of a complex attribute its `value`."""
        found = self.attribute
        return found.table.get("value") if found is not None and found.type == "complex" else found


def case_of(world, leaf, answers, within=None):
    """The case of one comparison; `within` is the path of the value path that it stands in."""
    path = f"{within}.{leaf.path}" if within else leaf.path
    bad = within and (":" in leaf.path or "." in leaf.path)
    located = None if bad else world.kind.ours.locate(path)
    attribute, values, head = None, [], None
    if located is not None and path.lower() not in (e.id.lower() for e in world.kind.ours.extensions):
        extension, head, sub = located
        box = world.document if extension is None else world.document.get(extension, {})
        there = box.get(head.name)
        values = there if isinstance(there, list) else [] if there is None else [there]
        values = [value.get(sub.name) for value in values] if sub else values
        attribute = sub or head
    return FilterCase(path, attribute, leaf.op.lower(), leaf.literal, values, head, bool(within), *answers)


def compared_head(kind, path):
    located = kind.ours.locate(path)
    return None if located is None else located[1]


@dataclass(frozen=True)
class SelectionCase:
    """A value path on what is no multi-valued complex attribute."""

    attribute: Attribute | None
    node: Selection
    ours: bool | None
    theirs: bool | None


@dataclass(frozen=True)
class PatchCase:
    """An operation about which the two sides differ: the documents after it, None where it is refused."""

    kind: Kind
    document: dict
    operation: dict
    ours: dict | None
    theirs: dict | None

    @property
    def op(self):
        return self.operation["op"]

    @property
    def value(self):
        return self.operation.get("value")

    @property
    def path(self):
        """The path as we read it; None where there is none, or none that can be read."""
        try:
            return (
                parse_path(self.operation["path"], self.kind.ours.urns)
                if self.operation.get("path")
                else None
            )
        except Refusal:
            return None

    @property
    def head(self):
        """The attribute that the path begins with; the whole resource where there is no path."""
        if not self.operation.get("path") or (
            self.path and self.path.urn == self.kind.ours.schema.id and not self.path.name
        ):
            return self.kind.ours.root
        found = self.path and self.kind.ours.find_top_level(self.path.urn, self.path.name)
        return found[1] if found else None

    @property
    def attribute(self):
        """The attribute that is written."""
        sub = self.path.sub if self.path else None
        return self.head.table.get(sub.lower()) if sub and self.head else self.head

    @property
    def there(self):
        """What the document has at the head of the path."""
        found = self.path and self.kind.ours.find_top_level(self.path.urn, self.path.name)
        return (
            (self.document.get(found[0], {}) if found[0] else self.document).get(found[1].name)
            if found
            else None
        )

    @property
    def pieces(self):
        return list(pieces(self.attribute, self.value)) if self.op != "remove" else []

    @property
    def refused(self):
        """Who refuses."""
        return self.ours is None, self.theirs is None

    @property
    def filter(self):
        """The comparisons in the filter of the path."""
        return list(compared_in(self.path.filter)) if self.path and self.path.filter else []


@dataclass(frozen=True)
class SequenceCase:
    """Operations about which the two sides differ as a whole, and none by itself; `mended`: one is refused alone."""

    kind: Kind
    document: dict
    operations: list
    ours: dict | None
    theirs: dict | None
    mended: bool


def pieces(attribute, value):
    """Everything that a value writes: attributes, None where no schema knows them, each with its value."""
    yield attribute, value
    for item in value if isinstance(value, list) else []:
        yield from pieces(attribute, item)
    for key, item in value.items() if isinstance(value, dict) else []:
        yield from pieces(attribute.table.get(key.lower()) if attribute else None, item)


def compared_in(tree):
    """The comparisons of a filter that we have read, as they are written."""
    if isinstance(tree, Compare | Present):
        pr = isinstance(tree, Present)
        yield Leaf(str(tree.path), "pr" if pr else tree.op, None if pr else json.dumps(tree.value))
    else:
        for part in [tree.operand] if isinstance(tree, Not) else tree.operands:
            yield from compared_in(part)
