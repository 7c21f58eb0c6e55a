"""How many statements something costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.testing import Deployment


@contextmanager
def record_statements(deployment: Deployment) -> Iterator[list[str]]:
    """Record the statements that this thread sends, but for those of a change that is one list."""
    database, sent, thread = deployment.gateway.store.database, list[str](), threading.get_ident()
    wrapped = {name: getattr(database, name) for name in ("run", "one", "all")}

    def recording(name: str) -> Any:
        def send(sql: str, *parameters: Any) -> Any:
            if threading.get_ident() == thread:
                sent.append(sql)
            return wrapped[name](sql, *parameters)

        return send

    for name in wrapped:
        setattr(database, name, recording(name))
    try:
        yield sent
    finally:
        for name in wrapped:
            delattr(database, name)
