"""What the rows of a run say: medians over its rounds, ratios taken round by round, and the gates."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: Share of the limit that the gateway has to reach.
SHARES = {"read": 0.50, "lookup": 0.50, "list of 100": 0.40, "create": 0.45}
#: How many times as much an operation may cost with the most users as with the fewest; a far page; a worker's memory.
GROWTH, FAR, MEMORY = 1.3, 1.5, 1.2
#: At how many requests at once shares of the limit are judged.
USUAL = 8

Row = dict[str, Any]


@dataclass(frozen=True)
class Gate:
    """One promise about speed: what was found, what it has to be at least or at most, and whether it is kept."""

    words: str
    found: float
    bound: float
    at_least: bool

    @property
    def kept(self) -> bool:
        """Whether it is."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


class Figures:
    """The rows of one kind of measurement."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)

    def different(self, name: str) -> list[Any]:
        """The values that a column takes, in their order of coming."""
        return list(dict.fromkeys(row[name] for row in self.rows if row.get(name) is not None))

    def median(self, metric: str, **where: Any) -> float | None:
        """Over the rounds; None when it was not measured."""
        values = self._values(metric, where)
        return statistics.median(values) if values else None

    def ratio(self, metric: str, upper: Row, lower: Row, **where: Any) -> float | None:
        """One over the other in the same round, the median of that; None when one was not measured."""
        pairs = zip(self._values(metric, where | upper), self._values(metric, where | lower), strict=False)
        ratios = [a / b for a, b in pairs if b]
        return statistics.median(ratios) if ratios else None

    def share(self, metric: str, **where: Any) -> float | None:
        """Of the limit: 1 is as good as the limit. Speed by `per_second`, cost by any other metric."""
        gateway, limit = {"target": "gateway"}, {"target": "limit"}
        upper, lower = (gateway, limit) if metric == "per_second" else (limit, gateway)
        return self.ratio(metric, upper, lower, **where)

    def usual(self) -> int:
        """At how many requests at once gates of this run are judged."""
        measured = self.different("concurrency")
        return USUAL if USUAL in measured else max(measured)

    def _values(self, metric: str, where: Row) -> list[float]:
        return [
            row[metric]
            for row in self.rows
            if metric in row and all(row.get(name) == value for name, value in where.items())
        ]


def gates(in_process: Figures, served: Figures) -> list[Gate]:
    """All promises that this run can tell of. Where sizes differ the worst one counts."""
    found: list[Gate] = []

    def add(words: str, values: Iterable[float | None], bound: float, at_least: bool = False) -> None:
        if measured := [value for value in values if value is not None]:
            found.append(Gate(words, (min if at_least else max)(measured), bound, at_least))

    for name, bound in SHARES.items():
        shares = [
            in_process.share("us", operation=name, users=size) for size in in_process.different("users")
        ]
        add(f"in process, share of the limit: {name}", shares, bound, True)
    for engine in served.different("engine"):
        _judge(served, engine, add)
    return found


def _judge(served: Figures, engine: str, add: Callable[..., None]) -> None:
    sizes, usual = sorted(served.different("users")), served.usual()
    for name, bound in SHARES.items():
        for metric, words in (("per_second", "speed"), ("cpu_ms", "processor time")):
            where = {"engine": engine, "operation": name, "concurrency": usual}
            shares = [served.share(metric, users=size, **where) for size in sizes]
            add(f"{engine}, share of the limit, {words}: {name}", shares, bound, True)
    least, ours = min(served.different("concurrency")), {"engine": engine, "target": "gateway"}
    most, fewest = {"users": sizes[-1]}, {"users": sizes[0]}
    if len(sizes) > 1:
        words = f"{sizes[-1]:,} users against {sizes[0]:,}"
        for name in served.different("operation"):
            where = ours | {"operation": name, "concurrency": least}
            if "walk" not in name:
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
        ("the last pages of a walk by startIndex against the first", "last of walk", "first of walk", FAR),
    ):
        value = served.ratio(
            "p50_ms", {"operation": upper}, {"operation": lower}, concurrency=least, **ours, **most
        )
        add(f"{engine}, {sizes[-1]:,} users, {words}", [value], bound)


def shown(value: float | None, digits: int = 2) -> str:
    """A figure for a table, empty when there is none."""
    return "" if value is None else f"{value:,.{digits}f}"


def grid(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
