"""Reports on the steps of a simulator: progress bar, table, summary, JSON."""

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
MAX_ROWS = 80
#: Columns of a table that no terminal shows.
WIDE = 160
#: The calls of a step, as explanations begin.
_SENT = re.compile(r"Sent .*?\(\d+\)\. ", re.DOTALL)


def show_progress(steps: Iterable[Step], total: int, console: Console, *, each: bool = False) -> list[Step]:
    """Collect all steps with a progress bar; with `each`, print a line for every step as well."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    collected: list[Step] = []
    with Progress(*columns, console=console, transient=each) as progress:
        task = progress.add_task("", total=total)
        for step in steps:
            collected.append(step)
            progress.update(task, advance=1, description=step.phase)
            if each:
                progress.console.print(_line(step), no_wrap=step.ok, overflow="ellipsis" if step.ok else None)
        progress.update(task, total=len(collected), description=summary(collected))
    return collected


def _line(step: Step) -> Text:
    """Return one line for a step that succeeded, and the whole explanation of one that failed."""
    line = Text.assemble(_result(step), "  ", (step.phase, "dim"), "  ", step.title)
    if not step.ok:
        return line.append(f"\n        {step.explanation}", "red")
    # The outcome alone; the calls are in the table.
    return line.append(f"  {_SENT.sub('', step.explanation)}", "dim")


def _result(step: Step) -> Text:
    return Text("ok    ", "green") if step.ok else Text("FAILED", "bold red")


def table_console() -> Console:
    """Return the console for tables: wide where the output is no terminal, for which rich assumes 80 columns."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)


def table(steps: list[Step]) -> Table:
    """Return a table of the steps by phase: each in a row, or where there are very many, those that failed."""
    result = Table(box=box.SIMPLE_HEAD)
    for column in ("step", "result", "explanation"):
        result.add_column(column, overflow="fold", no_wrap=column == "result")
    for phase, of_phase in groupby(steps, key=lambda step: step.phase):
        steps_of_phase = list(of_phase)
        result.add_section()
        result.add_row(Text(phase, "bold"), "", Text(summary(steps_of_phase), "dim"))
        for step in steps_of_phase:
            if len(steps) <= MAX_ROWS or not step.ok:
                style = "" if step.ok else "red"
                result.add_row(Text(f"  {step.title}"), _result(step), Text(step.explanation), style=style)
    return result


def summary(steps: list[Step]) -> str:
    """Return the counts of steps and failures in a sentence."""
    failed = sum(not step.ok for step in steps)
    if not steps:
        return "No step was taken."
    steps_taken = f"{len(steps)} step{'s' if len(steps) > 1 else ''}"
    return f"{failed} of {steps_taken} failed." if failed else f"{steps_taken} went well."


def as_json(steps: list[Step]) -> list[dict[str, Any]]:
    """Return the steps as JSON."""
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
