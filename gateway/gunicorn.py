"""Settings with which gunicorn serves the gateway: `gunicorn -c python:gateway.gunicorn`.

Options of the command line win over these. Source: https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

from typing import Any

wsgi_app = "gateway.app:create_app()"
worker_class = "gthread"
#: A thread waits for its client under gunicorn, so there are more threads than cores.
threads = 16
#: Long request lines are answered by the gateway, not by gunicorn in HTML.
limit_request_line = 0


def post_worker_init(worker: Any) -> None:
    """Start the background threads of each worker, after the fork: events are delivered before the first request."""
    worker.app.callable.extensions["gateway"].start()


def worker_exit(server: Any, worker: Any) -> None:
    """Write the buffered activity when a worker ends."""
    if worker.app.callable is not None:  # None when it could not be built
        worker.app.callable.extensions["gateway"].close()
