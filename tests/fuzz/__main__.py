"""Runs the targets, each in a process of its own, and prints a table. Ends with 1 if anything was found."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.fuzz import words
from tests.fuzz.targets import TARGETS

TESTS = Path(__file__).parents[1]
#: Seconds after which one input counts as a finding, and megabytes of memory.
SLOW, MEMORY = 5, 1024
#: Seconds between two lines of progress.
PULSE = 10
_PULSE = re.compile(r"#(\d+)\s.*?cov: (\d+).*?exec/s: (\d+)")
_DONE = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


class Run(NamedTuple):
    """How a target went. `artefact` is the input that was found, None where none was."""

    name: str
    executions: int
    seconds: float
    edges: int
    failed: bool
    artefact: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    asked = _arguments(arguments)
    console = Console(highlight=False)
    if importlib.util.find_spec("atheris") is None:
        console.print("The fuzzer is not installed: pip install -e '.[fuzz]' (Linux, Python 3.11 or newer).")
        return 2
    names = asked.target or list(TARGETS)
    whole = sum(TARGETS[name].share for name in names)
    kept = Path(tempfile.mkdtemp(prefix="fuzz-findings-"))
    runs = []
    for name in names:
        part = TARGETS[name].share / whole
        runs.append(
            run(console, name, max(1, round(asked.executions * part)), asked.minutes * 60 * part, kept)
        )
    console.print(_table(runs))
    if any(each.failed for each in runs):
        console.print(
            f"What was found is in {kept}; an input is tried again with --target NAME --input FILE."
        )
        return 1
    kept.rmdir()
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "--executions", type=int, default=1_000_000, help="in all; each target takes its share"
    )
    parser.add_argument("--minutes", type=float, default=0, help="at most, in all; 0 for no limit")
    parser.add_argument(
        "--target", action="append", choices=list(TARGETS), help="only this one; may be repeated"
    )
    parser.add_argument("--input", type=Path, help="try this one file, with one --target, and nothing else")
    asked = parser.parse_args(arguments)
    if asked.input:
        if len(asked.target or ()) != 1:
            parser.error("--input needs one --target")
        with tempfile.TemporaryDirectory() as folder:
            TARGETS[asked.target[0]].make(Path(folder))(asked.input.read_bytes())
        parser.exit(message="Nothing was found.\n")
    return asked


def run(console: Console, name: str, executions: int, seconds: float, kept: Path) -> Run:
    """One target. `seconds` 0 for no limit; inputs that were found are written to `kept`."""
    console.print(f"[bold]{name}[/]: {executions:,} executions")
    begun, before = time.monotonic(), set(kept.iterdir())
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [sys.executable, "-m", "tests.fuzz.child", name, folder, *_prepared(Path(folder), name)]
        command += [
            f"-runs={executions}",
            f"-max_total_time={int(seconds)}",
            f"-artifact_prefix={kept}/{name}-",
        ]
        command += [f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1"]
        process = subprocess.Popen(
            command,
            cwd=TESTS.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        done, edges, last = _followed(console, name, process)
    failed = process.wait() != 0
    if failed:
        console.print("".join(last), markup=False)
    artefact = next(iter(sorted(set(kept.iterdir()) - before)), None)
    if artefact:
        console.print(f"{artefact}: {artefact.read_bytes()[:500]!r}", markup=False)
    return Run(name, done, time.monotonic() - begun, edges, failed, artefact)


def _prepared(folder: Path, name: str) -> list[str]:
    """The seeds and the dictionary, written to the folder; the options that name them."""
    corpus, dictionary = folder / "corpus", folder / "words.dict"
    corpus.mkdir()
    for number, seed in enumerate(_seeds(name)):
        (corpus / f"{number:05d}").write_bytes(seed)
    dictionary.write_text(words.dictionary(), "ascii")
    return [str(corpus), f"-dict={dictionary}", f"-max_len={TARGETS[name].longest}"]


def _seeds(name: str) -> list[bytes]:
    if name == "parameters":
        return words.parameters()
    if name == "made":
        return [bytes([form, *range(7, 90)]) for form in range(4)]
    files = {
        "path": ("test_paths.py", "test_patch.py"),
        "json": ("test_read_json.py",),
    }.get(name, ("test_filters_read.py", "test_filters_match.py"))
    found = words.texts(*(TESTS / "scim" / file for file in files))
    if name == "json":
        return found + words.bodies()
    # A whole number beyond every float.
    return [*found, b"title eq " + b"9" * 330, b"emails[value eq " + b"9" * 330 + b"]"]


def _followed(console: Console, name: str, process: subprocess.Popen[str]) -> tuple[int, int, deque[str]]:
    """The executions and edges that libFuzzer prints, and its last lines. Shows a line now and then."""
    done = edges = 0
    last: deque[str] = deque(maxlen=60)
    shown = time.monotonic()
    for line in process.stdout or ():
        if pulse := _PULSE.search(line):
            done, edges = int(pulse[1]), int(pulse[2])
            if time.monotonic() - shown > PULSE:
                shown = time.monotonic()
                console.print(f"  {done:>11,} executions, {edges:,} edges, {int(pulse[3]):,} a second")
        elif final := _DONE.search(line):
            done = int(final[1])
        elif not line.startswith(("stat::", "INFO: Instrumenting")):
            last.append(line)
    return done, edges, last


def _table(runs: Sequence[Run]) -> Table:
    table = Table("target", "executions", "seconds", "edges", "findings")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in runs:
        table.add_row(
            each.name,
            f"{each.executions:,}",
            f"{each.seconds:,.0f}",
            f"{each.edges:,}",
            "1" if each.failed else "0",
        )
    total = sum(each.executions for each in runs), sum(each.seconds for each in runs)
    table.add_row("all", f"{total[0]:,}", f"{total[1]:,.0f}", "", str(sum(each.failed for each in runs)))
    return table


if __name__ == "__main__":
    sys.exit(main())
