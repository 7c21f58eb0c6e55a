"""The watch of every other test here notices each kind of fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
PAGE = (
    "<!doctype html><html lang='en'><title>Test</title><link rel='icon' href='data:,'><body>{}</body></html>"
)


class Handler(BaseHTTPRequestHandler):
    """Answers with the page of the test, with its script, or with a status."""

    content = script = ""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        kind = "text/javascript" if name == "script.js" else "text/html"
        body = self.script if name == "script.js" else PAGE.format(self.content)
        self.send_response(int(name) if name.isdecimal() else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def opened(browser: Browser, origin: str) -> Iterator[tuple[Page, Watch]]:
    context = browser.new_context(base_url=origin)
    watch = Watch(context, origin)
    yield context.new_page(), watch
    context.close()


SCRIPT = "<script src='/script.js'></script>"
FAULTS = [
    ("<script>1</script>", "", "console error: policy violated: script-src-elem by inline"),
    ("<p style='color: red'>text</p>", "", "console error: policy violated: style-src-attr by inline"),
    # Some versions judge a handler when its event comes: this one comes by itself.
    (
        "<img alt='' src='data:,' onerror='1'>",
        "",
        "console error: policy violated: script-src-attr by inline",
    ),
    ("<img alt='' src='http://elsewhere.acme.test/1.png'>", "", "request to another host: http://elsewhere"),
    (SCRIPT, "eval('1')", "console error: policy violated: script-src by eval"),
    (SCRIPT, "console.error('wrong')", "console error: wrong"),
    (SCRIPT, "console.warn('nearly wrong')", "console warning: nearly wrong"),
    (SCRIPT, "throw new Error('thrown')", "uncaught: thrown"),
    (SCRIPT, "fetch('/500')", "500 for GET"),
    (SCRIPT, "fetch('/404')", "404 for GET"),
    (SCRIPT, "Promise.reject(new Error('rejected'))", "uncaught: rejected"),
]


@pytest.mark.parametrize(("content", "script", "expected"), FAULTS)
def test_a_fault_is_noticed(
    opened: tuple[Page, Watch], monkeypatch: pytest.MonkeyPatch, content: str, script: str, expected: str
) -> None:
    page, watch = opened
    monkeypatch.setattr(Handler, "content", content)
    monkeypatch.setattr(Handler, "script", script)
    watch.take()
    page.goto("/")
    until = time.monotonic() + 5
    while not any(problem.startswith(expected) for problem in watch.problems):
        assert time.monotonic() < until, watch.problems
        page.wait_for_timeout(10)


def test_a_page_without_faults_has_none(opened: tuple[Page, Watch], monkeypatch: pytest.MonkeyPatch) -> None:
    page, watch = opened
    watch.expected.add(412)
    watch.take()
    monkeypatch.setattr(Handler, "content", f"<img alt='' src='data:image/gif,'>{SCRIPT}")
    monkeypatch.setattr(Handler, "script", "fetch('/412').then(() => console.info('well'))")
    with page.expect_console_message(lambda message: message.text == "well"):
        page.goto("/")
    assert watch.take() == []
