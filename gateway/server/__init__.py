"""The production server: a supervisor, its worker processes, and what happens to one request inside a worker.

The event loop of granian (Rust) reads requests and sends answers: no thread of the application waits for a client.
"""

from gateway.server.supervisor import (
    GRACE,
    SESSIONS,
    THREADS,
    ServingError,
    default_workers,
    end_with_parent,
    serve,
)

__all__ = [
    "GRACE",
    "SESSIONS",
    "THREADS",
    "ServingError",
    "default_workers",
    "end_with_parent",
    "serve",
]
