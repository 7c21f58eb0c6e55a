"""Processes by /proc of Linux: children, processor time, memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the running children of a process, the oldest first."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(int(child) for child in found if _is_worker(int(child)))


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds of a process and its descendants, ended ones included."""
    todo, ticks = [pid], 0
    while todo:
        pid = todo.pop()
        with suppress(OSError):
            # User and system time, and those of children that were waited for.
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return ticks / _TICKS


def memory(pid: int) -> tuple[float, float]:
    """Return the megabytes of a process: its proportional share (PSS) with mapped files, and its private memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return kilobytes["Pss"] / 1024, kilobytes["Pss_Anon"] / 1024


def _is_worker(pid: int) -> bool:
    """Return whether a process is a worker, not the resource tracker of Python's multiprocessing."""
    with suppress(OSError):
        return b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
