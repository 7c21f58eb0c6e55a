"""The process of one target, which libFuzzer takes over: `python -m tests.fuzz.child NAME FOLDER OPTION…`.

It ends with 0 when all executions went well; after a finding with another status, the input left as a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris


def main() -> None:
    """Count the branches of the protocol, and of what else the target is about; then run it."""
    name, folder, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["gateway.scim", *_more(name)]):
        from tests.fuzz.targets import TARGETS
        from tests.fuzz.words import Mutator

        target = TARGETS[name].make(Path(folder))
    # Looked up late: the fuzzer puts another function there when it begins. What is made out of bytes has no tokens.
    mutator = {} if name == "made" else {"custom_mutator": Mutator(lambda *given: atheris.Mutate(*given))}
    atheris.Setup([sys.argv[0], *options], target, **mutator)
    atheris.Fuzz()


def _more(name: str) -> tuple[str, ...]:
    # Not from the table of targets: to import that is to import the protocol, which must be watched from the start.
    return {
        "parameters": ("gateway.web.scim.endpoints", "gateway.provisioning.cursors"),
        "filter_sql": ("gateway.store.query.filter_sql",),
    }.get(name, ())


if __name__ == "__main__":
    main()
