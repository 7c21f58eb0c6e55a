"""Routes whose URL builders are compiled late.

Werkzeug compiles two functions for each route, which build its URL, as soon as the route is there. That takes more than
half of the time in which an application is put together, and URLs of few routes are ever built by one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug import routing


class Rule(routing.Rule):
    """A route whose URL builder is compiled when a URL is first built."""

    # A name below werkzeug's interface. Were it renamed, all builders would be compiled at once, as they usually are.
    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_now = super()._compile_builder
        compiled: list[Callable[..., tuple[str, str]]] = []

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            if not compiled:
                compiled.append(compile_now(append_unknown))
            return compiled[0](rule, **values)

        return build
