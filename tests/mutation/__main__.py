"""Runs the tests that concern a place once for each fault in it. Ends with 1 if no test noticed one of them."""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import CodeType

import pytest

from tests.mutation.mutants import Mutant, code_mutants, sql_mutants
from tests.mutation.targets import LEFT_OUT, TARGETS, Target

#: Seconds that the tests of one fault may take.
LONGEST = 120
#: Without pytest's own importer, which would import the module as it is stored.
_OPTIONS = ("-x", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")
#: Exit code of a process whose tests did not import the module.
_NOT_IMPORTED = 99
#: What every process needs and no fault is made in: imported once.
_LIBRARIES = (
    "flask_smorest", "hypothesis", "peewee", "pluggy", "prometheus_client", "cryptography.fernet", "rich.console",
)  # fmt: skip


def mutants(target: Target) -> list[Mutant]:
    """Return the faults of a target, each text once, in the order of its lines."""
    text = Path(target.path).read_text()
    found = [*sql_mutants(target.path, text), *code_mutants(target.path, text, target.names)]
    return sorted({mutant.text: mutant for mutant in found}.values(), key=lambda mutant: mutant.line)


def run(target: Target, mutant: Mutant | None) -> str:
    """Run the tests of a target in a process that imports the faulty module; return how it ended."""
    if (child := os.fork()) == 0:
        os.setpgid(0, 0)
        left_out = " and ".join(f"not {part}" for part in LEFT_OUT)
        imported = [""]
        if mutant:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            imported = _import_instead(mutant)
        code = pytest.main([*_OPTIONS, "-k", left_out, *target.tests])
        os._exit(code if imported else _NOT_IMPORTED)
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            assert code != _NOT_IMPORTED, f"the tests of {target.path} do not import it"
            return "killed" if code else "survived"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _import_instead(mutant: Mutant) -> list[str]:
    """Have imports get the faulty text; return a list that holds the module's name once it was imported."""
    loader, path = importlib.machinery.SourceFileLoader, str(Path(mutant.path).resolve())
    stored, imported = loader.get_code, list[str]()

    def get_code(self: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        if os.path.realpath(self.path) == path:
            imported.append(name)
            return compile(mutant.text, path, "exec")
        return stored(self, name)

    loader.get_code = get_code  # type: ignore[method-assign,assignment]
    return imported


def main() -> int:
    say = partial(print, flush=True)
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="modules whose path holds this")
    parser.add_argument("--every", type=int, default=1, help="one in so many faults")
    parser.add_argument("--line", type=int, help="faults of this line alone")
    parser.add_argument("--list", action="store_true", help="show the faults and run nothing")
    args = parser.parse_args()
    for library in _LIBRARIES:
        importlib.import_module(library)
    total: Counter[str] = Counter()
    passed: set[Sequence[str]] = set()
    for target in TARGETS:
        if not any(part in target.path for part in args.only):
            continue
        chosen = [m for m in mutants(target) if args.line in (None, m.line)][:: args.every]
        outcomes: Counter[str] = Counter()
        if chosen and not args.list and target.tests not in passed and run(target, None) != "survived":
            raise SystemExit(f"{target.path}: its tests fail without a fault.")
        passed.add(target.tests)
        for mutant in chosen:
            outcome = "listed" if args.list else run(target, mutant)
            outcomes[outcome] += 1
            if outcome in ("survived", "listed"):
                say(f"{outcome} {mutant.path}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}")
        say(f"{target.path}: {dict(outcomes)}")
        total += outcomes
    say(f"all: {dict(total)}")
    return 1 if total["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
