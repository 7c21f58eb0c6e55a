"""A real server, Debian's Chromium, and pages whose faults fail the test.

Playwright's own API without a plugin of pytest: a browser lives as long as a module, a context as long as a test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.served import ServedGateway, faults, serve
from tests.browser.watch import Watch

#: Milliseconds after which a missing element fails a test.
PATIENCE = 15_000
#: A usual window, a narrow one (WCAG 2.2, 1.4.10), and the CSS pixels that a zoom of 200 % leaves of 1280 by 800.
WINDOW = {"viewport": {"width": 1200, "height": 800}}
NARROW = {"viewport": {"width": 320, "height": 640}}
ZOOMED = {"viewport": {"width": 640, "height": 400}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, or Chrome, as the system has it."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        # --no-sandbox: also as root. No name of another machine is looked up, whatever a page asks for.
        flags = [
            "--no-sandbox",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        ]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def gateway(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    """A server for a module, each of whose tests makes customers of its own. Faults in its log fail the last one."""
    with serve(tmp_path_factory.mktemp("served")) as served:
        yield served
    assert not faults(served.log)


@pytest.fixture
def watched(browser: Browser, gateway: ServedGateway) -> Iterator[Callable[..., tuple[Page, Watch]]]:
    """Open a page in a context of its own, with its watch: options are those of Playwright's `new_context`."""
    watches: list[Watch] = []
    contexts = []

    def open_page(**options: Any) -> tuple[Page, Watch]:
        context = browser.new_context(
            **{**WINDOW, "base_url": gateway.url, "reduced_motion": "reduce", **options}
        )
        context.set_default_timeout(PATIENCE)
        expect.set_options(PATIENCE)
        contexts.append(context)
        watches.append(Watch(context, gateway.url))
        return context.new_page(), watches[-1]

    yield open_page
    for context in contexts:
        context.close()
    problems = [problem for watch in watches for problem in watch.problems]
    assert not problems, "\n".join(problems)


@pytest.fixture
def page(watched: Callable[..., tuple[Page, Watch]]) -> Page:
    """A page with script in a usual window."""
    return watched()[0]


@pytest.fixture
def plain_page(watched: Callable[..., tuple[Page, Watch]]) -> Page:
    """A page without script."""
    return watched(java_script_enabled=False)[0]
