"""The production server: a supervisor, its worker processes, and the exchange of one request with a client.

The event loop of granian (Rust) reads requests and sends answers: no thread of the application waits for a client.
"""

from gateway.server.supervisor import (
    DATABASE_CONNECTIONS,
    LOGGING,
    THREADS,
    ServingError,
    default_workers,
    serve,
)
from gateway.server.worker import STOP_SECONDS, STOP_SIGNALS, end_with_parent

__all__ = [
    "DATABASE_CONNECTIONS",
    "LOGGING",
    "STOP_SECONDS",
    "STOP_SIGNALS",
    "THREADS",
    "ServingError",
    "default_workers",
    "end_with_parent",
    "serve",
]
