"""Reports of a run: on the terminal, in tables between two marks of docs/performance.md, in a plot beside it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import SHARES, Figures, Promise, evaluate_promises, format_figure, markdown_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

Grid = tuple[str, list[str], list[list[str]]]


def grids(in_process: Figures, served: Figures) -> list[Grid]:
    """Return the tables of a run: title, heads, rows."""
    found = [_in_process(in_process)] if in_process.rows else []
    sizes = sorted(served.distinct_values("users"))
    for engine in served.distinct_values("engine"):
        database = "" if engine == "sqlite" else "+database"
        title = (
            f"Over HTTP, {engine}, {served.judged_concurrency()} at once: a second · p50 ms · p99 ms"
            f" · processor ms of the server{database} (share of the limit)"
        )
        columns = {
            f"{size:,} users": {"users": size, "concurrency": served.judged_concurrency()} for size in sizes
        }
        found.append((title, *_speeds(served, engine, columns, whole=True)))
        together = sorted(served.distinct_values("concurrency"))
        columns = {f"{number} at once": {"users": sizes[-1], "concurrency": number} for number in together}
        title = f"Over HTTP, {engine}, {sizes[-1]:,} users: a second · p50 ms · p99 ms"
        found.append((title, *_speeds(served, engine, columns, whole=False)))
    return [*found, _memory(served)] if served.rows else found


def _in_process(figures: Figures) -> Grid:
    sizes, rows = figures.distinct_values("users"), []
    for name in figures.distinct_values("operation"):
        row = [name, format_figure(figures.median("sql", operation=name), 0)]
        for size in sizes:
            where = {"operation": name, "users": size}
            time = format_figure(figures.median("us", target="gateway", **where), 0)
            row.append(time + _format_share(figures.share("us", **where)))
        rows.append(row)
    heads = ["operation", "SQL statements", *(f"{size:,} users" for size in sizes)]
    return "In process, SQLite: microseconds (share of the limit)", heads, rows


def _speeds(
    figures: Figures, engine: str, columns: dict[str, dict[str, int]], whole: bool
) -> tuple[list[str], list[list[str]]]:
    """Return a row for each operation; `whole` adds processor time and share."""
    rows = []
    for name in figures.distinct_values("operation"):
        if figures.median("per_second", operation=name) is None:
            continue
        rows.append([name])
        for column in columns.values():
            where = {"engine": engine, "operation": name} | column

            def at(metric: str, digits: int, where: dict[str, Any] = where) -> str:
                return format_figure(figures.median(metric, target="gateway", **where), digits)

            cell = f"{at('per_second', 0)} · {at('p50_ms', 1)} · {at('p99_ms', 1)}"
            if whole:
                database = "" if engine == "sqlite" else f"+{at('database_cpu_ms', 2)}"
                cell += f" · {at('cpu_ms', 2)}{database}{_format_share(figures.share('per_second', **where))}"
            rows[-1].append(cell)
    return ["operation", *columns], rows


def _memory(figures: Figures) -> Grid:
    sizes, rows = sorted(figures.distinct_values("users")), []
    for engine in figures.distinct_values("engine"):
        for target in ("gateway", "limit"):
            rows.append([f"{engine}, {target}"])
            for size in sizes:
                where = {"engine": engine, "target": target, "users": size}
                pss, own = figures.median("pss_mb", **where), figures.median("own_mb", **where)
                rows[-1].append(f"{format_figure(pss, 0)} ({format_figure(own, 0)})")
    title = "Memory of a worker afterwards, MB of PSS (without the files that it has mapped)"
    return title, ["", *(f"{size:,} users" for size in sizes)], rows


def _format_share(share: float | None) -> str:
    return "" if share is None else f" ({share:.2f})"


def _promise_row(promise: Promise) -> list[str]:
    bound = f"{'≥' if promise.at_least else '≤'} {promise.bound:.2f}"
    return [promise.words, bound, f"{promise.found:.2f}", "pass" if promise.is_kept else "FAIL"]


_PROMISE_HEADS = ["promise", "has to be", "is", ""]


def print_report(in_process: Figures, served: Figures) -> None:
    """Print tables and promises on the terminal."""
    console = Console()
    for title, heads, rows in grids(in_process, served):
        print_table(console, title, heads, rows)
    rows = [_promise_row(promise) for promise in evaluate_promises(in_process, served)]
    for row in rows:
        row[3] = f"[{'green' if row[3] == 'pass' else 'bold red'}]{row[3]}[/]"
    print_table(console, "Promises", _PROMISE_HEADS, rows)


def print_table(console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on the terminal."""
    table = Table(title=title, title_justify="left")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write(in_process: Figures, served: Figures, how: str, page: Path = PAGE) -> None:
    """Write tables and promises between the marks of the page, and the plot beside it."""
    parts = [machine(how)]
    if served.rows:
        _plot(served, page.with_suffix(".svg"))
        parts.append(f"![Time by size, and share of the limit]({page.stem}.svg)")
    for title, heads, rows in grids(in_process, served):
        parts.append(f"### {title}\n\n{markdown_table(rows, heads)}")
    rows = [_promise_row(promise) for promise in evaluate_promises(in_process, served)]
    parts.append(f"### Promises\n\n{markdown_table(rows, _PROMISE_HEADS)}")
    replace_block(page, "make bench", "\n\n".join(parts))


def replace_block(page: Path, name: str, block: str) -> None:
    """Replace the text between the two marks of that name. Raises SystemExit unless the page has both once."""
    begin, end = f"<!-- {name}: from here -->", f"<!-- {name}: to here -->"
    text = page.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page.name} must have the lines {begin!r} and {end!r} once each.")
    head, rest = text.split(begin)
    page.write_text(f"{head}{begin}\n\n{block}\n\n{end}{rest.split(end)[1]}")


def machine(how: str) -> str:
    """Return date, machine and versions of a run in one line."""
    names = ("flask", "peewee", "granian", "psycopg")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()},"
        f" {versions}. {how}"
    )


def _plot(served: Figures, path: Path) -> None:
    import matplotlib  # late: an extra that only the page needs

    matplotlib.use("svg")
    from matplotlib import pyplot

    # The same figures make the same file, and letters stay letters.
    matplotlib.rcParams |= {"svg.hashsalt": "bench", "svg.fonttype": "none"}
    engines, sizes = served.distinct_values("engine"), sorted(served.distinct_values("users"))
    figure, axes = pyplot.subplots(2, len(engines), figsize=(7.5 * len(engines), 8.5), squeeze=False)
    for place, engine in enumerate(engines):
        _times(axes[0][place], served, engine, sizes)
        _shares(axes[1][place], served, engine, sizes)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _times(axes: Any, served: Figures, engine: str, sizes: Sequence[int]) -> None:
    least = min(served.distinct_values("concurrency"))
    for number, name in enumerate(served.distinct_values("operation")):
        where = {"engine": engine, "target": "gateway", "operation": name, "concurrency": least}
        times = [served.median("p50_ms", users=size, **where) for size in sizes]
        if None not in times:
            axes.plot(sizes, times, marker="o", label=name, linestyle="-" if number < 10 else "--")
    axes.set(title=f"{engine}: p50, {least} at once", xlabel="users", ylabel="ms", xscale="log", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def _shares(axes: Any, served: Figures, engine: str, sizes: Sequence[int]) -> None:
    judged_concurrency, width = served.judged_concurrency(), 0.8 / len(sizes)
    names = [
        name
        for name in served.distinct_values("operation")
        if served.median("cpu_ms", target="limit", operation=name)
    ]
    for number, size in enumerate(sizes):
        where = {"engine": engine, "users": size, "concurrency": judged_concurrency}
        shares = [served.share("per_second", operation=name, **where) or 0 for name in names]
        axes.bar(
            [place + number * width for place in range(len(names))], shares, width, label=f"{size:,} users"
        )
    axes.set(title=f"{engine}: share of the limit, {judged_concurrency} at once", ylim=(0, 1))
    for place, name in enumerate(names):
        axes.hlines(SHARES.get(name, 0), place - width / 2, place + 0.8 - width / 2, "black")
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(names))], names, rotation=30, ha="right")
    axes.legend(fontsize=7)
