"""`make bench`: what a request costs, in process and over HTTP, on both engines, against the limit, at several sizes.

Without narrowing arguments the tables and the plot of docs/performance.md are written anew.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import in_process, report, served
from bench.figures import Figures
from bench.operations import ALL_PAGES, OPERATIONS
from bench.served import Plan
from gateway.server import default_workers

ALL = (*OPERATIONS, ALL_PAGES)
_NARROW = ("quick", "in_process", "cold", "users", "engines", "concurrency", "operations")


def main() -> None:
    """Measure, print, write."""
    given = _arguments()
    plan, written = _plan(given), given.write
    if written is None:
        written = not any(getattr(given, name) for name in _NARROW)
    with Progress(
        TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:  # fmt: skip
        task = progress.add_task("bench", total=1)

        def show_progress(words: str, done: int, total: int) -> None:
            progress.update(task, description=words, completed=done, total=total)

        inside = in_process.measure(
            plan.users,
            tuple(name for name in plan.operations if name != ALL_PAGES),
            2 * plan.rounds,
            plan.synchronous,
            show_progress,
        )
        outside = [] if given.in_process else served.measure(plan, show_progress)
    here, there = Figures(inside), Figures(outside)
    if given.json:
        print(json.dumps({"in_process": inside, "served": outside}, indent=1))
    else:
        report.print_report(here, there)
    if written:
        quick = (
            "A quick run, which shows that all of it works and not how fast it is. " if given.quick else ""
        )
        how = (
            f"{quick}{plan.workers} workers, {plan.rounds} rounds of {plan.seconds} seconds, durability"
            f" {plan.synchronous}. The load took {there.median('driver_share') or 0:.0%} of a core."
        )
        report.write(here, there, how)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--in-process", action="store_true", help="only that: no servers, SQLite")
    parser.add_argument("--users", help="sizes, with commas; else 1000,10000,100000,1000000")
    parser.add_argument("--engines", help="sqlite, postgresql or both, with a comma; else both")
    parser.add_argument("--concurrency", help="requests at once, with commas; else 1,8,32")
    parser.add_argument("--operations", help=f"with commas, of: {', '.join(ALL)}; else all")
    parser.add_argument("--rounds", type=int, help="how often everything is gone through; else 5")
    parser.add_argument("--seconds", type=float, help="how long one measurement takes; else 0.6")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes of each server")
    parser.add_argument(
        "--synchronous", default="FULL", choices=["FULL", "NORMAL"], help="what a commit waits for"
    )
    parser.add_argument(
        "--cold", action="store_true", help="begin each measurement with databases that are on the disk only"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, few and short rounds: does it work at all"
    )
    parser.add_argument(
        "--json", action="store_true", help="print every round for programs, not tables for people"
    )
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        help="write docs/performance.md; else only for a whole run",
    )
    return parser.parse_args()


def _plan(given: argparse.Namespace) -> Plan:
    quick = given.quick

    def listed(text: str | None, usual: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
        chosen = tuple(text.split(",")) if text else usual
        if unknown := [name for name in chosen if name not in known]:
            raise SystemExit(f"There is no {unknown[0]!r} to measure; there are: {', '.join(known)}.")
        return chosen

    def numbers(text: str | None, usual: tuple[int, ...]) -> tuple[int, ...]:
        try:
            return tuple(sorted(int(part) for part in text.split(","))) if text else usual
        except ValueError:
            raise SystemExit(f"{text!r} is no list of numbers with commas between them.") from None

    return Plan(
        users=numbers(given.users, (1000, 5000) if quick else (1000, 10_000, 100_000, 1_000_000)),
        engines=listed(given.engines, ("sqlite", "postgresql"), ("sqlite", "postgresql")),
        concurrency=numbers(given.concurrency, (1, 8) if quick else (1, 8, 32)),
        operations=listed(given.operations, ALL, ALL),
        rounds=given.rounds or (2 if quick else 5),
        seconds=given.seconds or (0.15 if quick else 0.6),
        workers=given.workers,
        synchronous=given.synchronous,
        cold=given.cold,
    )


if __name__ == "__main__":
    main()
