"""Faults of a module: operators of cosmic-ray in its code, and conditions of its SQL that hold for every row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

#: Those that people get wrong; the others make code that no test could let pass.
OPERATORS = (
    "AddNot", "NumberReplacer", "RemoveDecorator", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue", "ZeroIterationForLoop", "ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBinaryOperator_Mul_Add", "ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is", "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_GtE_Gt",
)  # fmt: skip
#: Conditions and counters of statements, with what takes the same parameters and compares, or counts, nothing.
_SQL = (
    (r"(\+?(?:\{\w+\}|\w+\.)?organization_id = (\?|:\w+))", r"\2 IS NOT NULL"),
    (r"(?<!SET )(\+?(?:\{\w+\}|\w+\.)?connection_id = (\?|:\w+))", r"\2 IS NOT NULL"),
    (r"(policy = (:policy))", r"\2 IS NOT NULL"),
    (r"(moves = (:moves_before))", r"\2 IS NOT NULL"),
    (r"(seats_used \+ (:seats) <= (:ceiling))", r"\2 + \3 IS NOT NULL"),
    (r"((policy|moves|removals|seats_used|event_seq) \+ (?=1|:))", r"\2 + 0 * "),
)


class Mutant(NamedTuple):
    """A module with one fault: the line, as it was and as it is, and the whole text."""

    path: str
    line: int
    before: str
    after: str
    text: str


def sql_mutants(path: str, text: str) -> Iterator[Mutant]:
    """Yield the module once for each condition and counter of its statements."""
    for pattern, neutral in _SQL:
        for found in re.finditer(pattern, text):
            yield _mutant(path, text, text[: found.start()] + found.expand(neutral) + text[found.end() :])


def code_mutants(path: str, text: str, names: Sequence[str] | None) -> Iterator[Mutant]:
    """Yield the module once for each place of an operator in functions and classes of these names; () for all."""
    if names is None:
        return
    lines = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (not names or node.name in names)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    nodes = list(_walk(get_ast(text)))
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, (line, _) in enumerate(places):
            if line in lines and (changed := mutate_code(text, operator, occurrence)):
                yield _mutant(path, text, changed)


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in getattr(node, "children", ()):
        yield from _walk(child)


def _mutant(path: str, text: str, changed: str) -> Mutant:
    pairs = zip(text.splitlines(), changed.splitlines(), strict=False)
    number, before, after = next((n, a, b) for n, (a, b) in enumerate(pairs, 1) if a != b)
    return Mutant(path, number, before.strip(), after.strip(), changed)
