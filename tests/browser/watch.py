"""What no page of the console may do in a browser: call another host, fail, or break its own policy."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError

#: Chromium's own line about a response; the status of each response is judged in `Watch._judge_response`.
_ABOUT_RESPONSE = "Failed to load resource: the server responded with a status of"
_REPORT_VIOLATION = """
document.addEventListener('securitypolicyviolation', event =>
    console.error(`policy violated: ${event.violatedDirective} by ${event.blockedURI} ${event.sample}`))
"""


class Watch:
    """Collects the faults of all pages of a context; the fixture that made the context asserts that there are none."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.problems: list[str] = []
        #: Statuses of refusals that the test causes on purpose, such as 412.
        self.expected: set[int] = set()
        self._origin = origin
        context.add_init_script(_REPORT_VIOLATION)
        context.on("request", self._judge_request)
        context.on("response", self._judge_response)
        context.on("console", self._judge_message)
        context.on("weberror", self._judge_error)

    def take(self) -> list[str]:
        """Return the faults up to now, and begin anew."""
        taken, self.problems = self.problems, []
        return taken

    def _judge_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self._origin:
            self.problems.append(f"request to another host: {request.url[:200]}")

    def _judge_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.problems.append(f"{response.status} for {response.request.method} {response.url}")

    def _judge_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert") and not message.text.startswith(_ABOUT_RESPONSE):
            self.problems.append(f"console {message.type}: {' '.join(message.text.split())[:300]}")

    def _judge_error(self, error: WebError) -> None:
        self.problems.append(f"uncaught: {error.error}")
