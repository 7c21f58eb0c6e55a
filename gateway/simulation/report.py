"""The steps of a simulator for people and programs: progress bar, table, summary, JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.simulation.api import Step

#: With more steps than this the table shows counts and the steps that failed.
MOST_ROWS = 80
#: Columns of a table that no terminal shows.
WIDE = 160
#: The calls of a step, as explanations begin.
_SENT = re.compile(r"Sent .*?\(\d+\)\. ", re.DOTALL)


def watch(steps: Iterable[Step], total: int, console: Console, *, each: bool = False) -> list[Step]:
    """Take all steps, with a progress bar; with `each`, a line for every step as well."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    taken: list[Step] = []
    with Progress(*columns, console=console, transient=each) as progress:
        task = progress.add_task("", total=total)
        for step in steps:
            taken.append(step)
            progress.update(task, advance=1, description=step.phase)
            if each:
                progress.console.print(_line(step), no_wrap=step.ok, overflow="ellipsis" if step.ok else None)
        progress.update(task, total=len(taken), description=summary(taken))
    return taken


def _line(step: Step) -> Text:
    """One line of a step that went well, cut at the console's width; everything about one that failed."""
    line = Text.assemble(_result(step), "  ", (step.phase, "dim"), "  ", step.title)
    if not step.ok:
        return line.append(f"\n        {step.explanation}", "red")
    # What came of it alone; the calls are in the table.
    return line.append(f"  {_SENT.sub('', step.explanation)}", "dim")


def _result(step: Step) -> Text:
    return Text("ok    ", "green") if step.ok else Text("FAILED", "bold red")


def people() -> Console:
    """The console for tables. Text that goes to a file or another program is not held to 80 columns."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)


def table(steps: list[Step]) -> Table:
    """The steps for people, by phase: each in a row, or where there are very many, those that failed."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("step", "result", "explanation"):
        shown.add_column(column, overflow="fold", no_wrap=column == "result")
    for phase, of_phase in groupby(steps, key=lambda step: step.phase):
        taken = list(of_phase)
        shown.add_section()
        shown.add_row(Text(phase, "bold"), "", Text(summary(taken), "dim"))
        for step in taken:
            if len(steps) <= MOST_ROWS or not step.ok:
                style = "" if step.ok else "red"
                shown.add_row(Text(f"  {step.title}"), _result(step), Text(step.explanation), style=style)
    return shown


def summary(steps: list[Step]) -> str:
    """How it went, in a sentence."""
    failed = sum(not step.ok for step in steps)
    if not steps:
        return "No step was taken."
    steps_taken = f"{len(steps)} step{'s' if len(steps) > 1 else ''}"
    return f"{failed} of {steps_taken} failed." if failed else f"{steps_taken} went well."


def as_json(steps: list[Step]) -> list[dict[str, Any]]:
    """The steps for programs."""
    return [
        {
            "phase": step.phase,
            "title": step.title,
            "ok": step.ok,
            "explanation": step.explanation,
            "answers": [
                {"status": answer.status, "seconds": round(answer.seconds, 4)} for answer in step.answers
            ],
        }
        for step in steps
    ]
