"""What gunicorn needs to serve the gateway as `gateway serve` does: `gunicorn -c python:gateway.gunicorn`.

Options of the command line win over these. https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

from typing import Any

wsgi_app = "gateway.app:create_app()"
worker_class = "gthread"
#: A thread waits for its client here, so there are more than work at once.
threads = 16
#: Long request lines are answered by the gateway, not by gunicorn in HTML.
limit_request_line = 0


def post_worker_init(worker: Any) -> None:
    """Start the background thread of each worker, after the fork: events are delivered before the first request."""
    worker.app.callable.extensions["gateway"].worker.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Write the buffered activity when a worker ends."""
    if worker.app.callable is not None:  # it could not be made
        worker.app.callable.extensions["gateway"].close()
