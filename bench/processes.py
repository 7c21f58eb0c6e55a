"""Processes as Linux shows them: who belongs to whom, what they used of the processor, what they hold of the memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that one has started and that are still there, the oldest first."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(int(child) for child in found if _is_worker(int(child)))


def cpu_seconds(pid: int) -> float:
    """Of the processor, by a process and all below it, those that have ended included."""
    todo, ticks = [pid], 0
    while todo:
        pid = todo.pop()
        with suppress(OSError):
            # User and system time, and that of children which were waited for.
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return ticks / _TICKS


def memory(pid: int) -> tuple[float, float]:
    """Megabytes of the memory: its share of all it uses, files that are mapped included; and what is its own alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return kilobytes["Pss"] / 1024, kilobytes["Pss_Anon"] / 1024


def _is_worker(pid: int) -> bool:
    """Not the helper that Python starts to clean up after its processes."""
    with suppress(OSError):
        return b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
