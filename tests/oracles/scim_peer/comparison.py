"""Asks both sides about each part of a filter, and combines the answers by the words between them."""

from tests.oracles.scim_peer.cases import SelectionCase, case_of, compared_head
from tests.oracles.scim_peer.difference import recognized
from tests.oracles.scim_peer.filter_differences import FILTER_DIFFERENCES
from tests.oracles.scim_peer.filters import Leaf, Selection


def held(world, node, within=None):
    """What both sides answer, part by part: each comparison is asked alone, and `and`, `or`, `not` are folded here."""
    if isinstance(node, Leaf):
        answers = world.ask(f"{within}[{node}]" if within else str(node))
        if answers[0] is not answers[1]:
            recognized(FILTER_DIFFERENCES, case_of(world, node, answers, within))
        return answers
    if isinstance(node, Selection):
        return selected(world, node)
    parts = [held(world, part, within) for part in node.parts]
    return tuple(fold_word(node.word, [part[side] for part in parts]) for side in (0, 1))


def fold_word(word, answers):
    if None in answers:
        return None
    return {"and": all, "or": any, "not": lambda a: not a[0], "": lambda a: a[0]}[word](answers)


def selected(world, node):
    attribute = compared_head(world.kind, node.path)
    if attribute is None or not attribute.multi or attribute.type != "complex":
        answers = world.ask(str(node))
        if answers[0] is not answers[1]:
            recognized(FILTER_DIFFERENCES, SelectionCase(attribute, node, *answers))
        return answers
    elements = world.document.get(attribute.name, [])
    if not elements:
        empty = held(world, node.whole, node.path)
        return tuple(None if answer is None else False for answer in empty)
    each = [held(world.with_only(attribute, [element]), node.whole, node.path) for element in elements]
    return tuple(fold_word("or", [answers[side] for answers in each]) for side in (0, 1))
