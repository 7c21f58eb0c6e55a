"""Evaluates the rows of a run: medians over its rounds, ratios of each round, and the promises on speed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: Share of the limit that the gateway has to reach.
SHARES = {"read": 0.50, "lookup": 0.50, "list of 100": 0.40, "create": 0.45}
#: Largest ratios: of an operation with the most users to the fewest, of a far page to the first, of a worker's memory.
GROWTH, FAR, MEMORY = 1.3, 1.5, 1.2
#: Concurrency at which shares of the limit are judged.
JUDGED_CONCURRENCY = 8

Row = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """One promise on speed: the value found, and the bound that it has to reach or not to exceed."""

    words: str
    found: float
    bound: float
    at_least: bool

    @property
    def is_kept(self) -> bool:
        """True if the value is within the bound."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


class Figures:
    """The rows of one kind of measurement."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)

    def distinct_values(self, name: str) -> list[Any]:
        """Return the distinct values of a column, in the order of the rows."""
        return list(dict.fromkeys(row[name] for row in self.rows if row.get(name) is not None))

    def median(self, metric: str, **where: Any) -> float | None:
        """Return the median of a metric over the rounds; None when it was not measured."""
        values = self._values(metric, where)
        return statistics.median(values) if values else None

    def ratio(self, metric: str, upper: Row, lower: Row, **where: Any) -> float | None:
        """Return the median over the rounds of the ratio of two rows; None when one was not measured."""
        pairs = zip(self._values(metric, where | upper), self._values(metric, where | lower), strict=False)
        ratios = [a / b for a, b in pairs if b]
        return statistics.median(ratios) if ratios else None

    def share(self, metric: str, **where: Any) -> float | None:
        """Return the share of the limit, 1 for as good: speed by `per_second`, cost by any other metric."""
        gateway, limit = {"target": "gateway"}, {"target": "limit"}
        upper, lower = (gateway, limit) if metric == "per_second" else (limit, gateway)
        return self.ratio(metric, upper, lower, **where)

    def judged_concurrency(self) -> int:
        """Return the concurrency at which promises of this run are judged."""
        measured = self.distinct_values("concurrency")
        return JUDGED_CONCURRENCY if JUDGED_CONCURRENCY in measured else max(measured)

    def _values(self, metric: str, where: Row) -> list[float]:
        return [
            row[metric]
            for row in self.rows
            if metric in row and all(row.get(name) == value for name, value in where.items())
        ]


def evaluate_promises(in_process: Figures, served: Figures) -> list[Promise]:
    """Return all promises that this run has measured; of several sizes the worst one counts."""
    found: list[Promise] = []

    def add(words: str, values: Iterable[float | None], bound: float, at_least: bool = False) -> None:
        if measured := [value for value in values if value is not None]:
            found.append(Promise(words, (min if at_least else max)(measured), bound, at_least))

    for name, bound in SHARES.items():
        shares = [
            in_process.share("us", operation=name, users=size) for size in in_process.distinct_values("users")
        ]
        add(f"in process, share of the limit: {name}", shares, bound, True)
    for engine in served.distinct_values("engine"):
        _evaluate_engine(served, engine, add)
    return found


def _evaluate_engine(served: Figures, engine: str, add: Callable[..., None]) -> None:
    sizes, judged_concurrency = sorted(served.distinct_values("users")), served.judged_concurrency()
    for name, bound in SHARES.items():
        for metric, words in (("per_second", "speed"), ("cpu_ms", "processor time")):
            where = {"engine": engine, "operation": name, "concurrency": judged_concurrency}
            shares = [served.share(metric, users=size, **where) for size in sizes]
            add(f"{engine}, share of the limit, {words}: {name}", shares, bound, True)
    least, ours = min(served.distinct_values("concurrency")), {"engine": engine, "target": "gateway"}
    most, fewest = {"users": sizes[-1]}, {"users": sizes[0]}
    if len(sizes) > 1:
        words = f"{sizes[-1]:,} users against {sizes[0]:,}"
        for name in served.distinct_values("operation"):
            where = ours | {"operation": name, "concurrency": least}
            if "all pages" not in name:
                add(f"{engine}, {words}: {name}", [served.ratio("p50_ms", most, fewest, **where)], GROWTH)
        add(f"{engine}, {words}: memory", [served.ratio("pss_mb", most, fewest, **ours)], MEMORY)
    for words, upper, lower, bound in (
        (
            f"a member of a group of {min(sizes[-1], 100_000):,} against 10",
            "member of many",
            "member of 10",
            GROWTH,
        ),
        ("the last pages by cursor against the first", "last by cursor", "first by cursor", FAR),
        (
            "the last of all pages by startIndex against the first",
            "last of all pages",
            "first of all pages",
            FAR,
        ),
    ):
        value = served.ratio(
            "p50_ms", {"operation": upper}, {"operation": lower}, concurrency=least, **ours, **most
        )
        add(f"{engine}, {sizes[-1]:,} users, {words}", [value], bound)


def format_figure(value: float | None, digits: int = 2) -> str:
    """Return a figure as text for a table, empty when there is none."""
    return "" if value is None else f"{value:,.{digits}f}"


def markdown_table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
