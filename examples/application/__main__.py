"""Runs the application beside a gateway, with Okta played, and checks each step: `python -m examples.application`.

The gateway is the real one in a temporary folder, as `gateway_fake` gives it to the tests of an application.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, build_opener

from gateway_client.fake import GatewayFake
from werkzeug.serving import WSGIRequestHandler, make_server

from examples.application.application import SECONDS_WITH_WEBHOOK, create_app

ADA, GRACE, ALAN = "ada@acme.test", "grace@acme.test", "alan@acme.test"
NAMES = {ADA: "Ada Lovelace", GRACE: "Grace Hopper", ALAN: "Alan Turing"}
#: Seconds within which a session has to end.
DEADLINE = 1.0
#: Seconds within which anything else has to be seen.
PATIENCE = 5.0
DEFAULT_PORT = 8010


class Browser:
    """A browser of one person: it has cookies and follows no redirect."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()), _NoRedirect())

    def request(self, path: str, **form: str) -> tuple[int, str, str]:
        """Send a GET, or a POST of a form; return status, text, and where a redirect leads."""
        body = urlencode(form).encode() if form else None
        url = path if path.startswith("http") else self._url + path
        try:
            with self._opener.open(url, body, timeout=10) as answer:
                return answer.status, answer.read().decode(), ""
        except HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode(), answer.headers.get("Location", "")

    def page(self) -> str:
        """Return the text of the page, without its markup."""
        return " ".join(re.sub(r"<[^>]+>", " ", self.request("/")[1]).split())

    def sign_in(self, user: str) -> int:
        """Press the button beside a name."""
        return self.request("/sign-in", user=user)[0]


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class Run:
    """The steps, each of which is printed with what was seen."""

    def __init__(self, gateway: GatewayFake, url: str, pause: float) -> None:
        self._gateway, self._url, self._pause = gateway, url, pause
        self._browsers = {email: Browser(url) for email in NAMES}
        self._ids: dict[str, str] = {}
        self.failed = False

    def play(self) -> None:
        """Play everything once."""
        self._step("Okta assigns Ada, Grace and Alan: the page lists them", self._assign)
        self._step("each of them signs in", self._sign_in)
        self._step("Okta pushes the groups Admins and Editors: they give roles", self._push_groups)
        self._step("Ada, an admin, opens the gateway's console by the button", self._open_console)
        self._step("Okta takes the application from Alan: his session ends", self._deactivate)
        self._step("Okta gives it back: he may sign in, and has to", self._reactivate)
        self._step("Ada leaves the group Admins: the console is closed to her", self._leave_group)

    def repeat(self) -> None:
        """Take the application from Alan and give it back, until it is interrupted."""
        while not self.failed:
            self._step("Okta takes the application from Alan: his session ends", self._deactivate)
            self._step("Okta gives it back: he may sign in, and has to", self._reactivate)

    def _step(self, title: str, action: Callable[[], str]) -> None:
        if self.failed:
            return
        time.sleep(self._pause)
        try:
            print(f"✓ {title}. {action()}", flush=True)
        except AssertionError as error:
            self.failed = True
            print(f"✗ {title}. Not seen: {error}.", flush=True)

    def _assign(self) -> str:
        for email, name in NAMES.items():
            self._ids[email] = self._gateway.assign(email, displayName=name)
        browser = self._browsers[ADA]
        took = _wait(lambda: all(name in browser.page() for name in NAMES.values()), "all three on the page")
        return f"{took * 1000:.0f} ms after the last answer to Okta."

    def _sign_in(self) -> str:
        for email, name in NAMES.items():
            _expect(self._browsers[email].sign_in(self._ids[email]) == 303, f"the sign-in of {name}")
            _expect(f"Signed in as {name}" in self._browsers[email].page(), f"the page of {name}")
        return "Three sessions."

    def _push_groups(self) -> str:
        self._gateway.push_group("Editors", [GRACE])
        self._gateway.push_group("Admins", [ADA])
        _wait(lambda: "Grace Hopper , editor" in self._browsers[GRACE].page(), "Grace as editor")
        took = _wait(lambda: "Ada Lovelace , admin" in self._browsers[ADA].page(), "Ada as admin")
        return f"{took * 1000:.0f} ms later."

    def _open_console(self) -> str:
        status, _, link = self._browsers[ADA].request("/console", press="yes")
        _expect(status == 303 and link.startswith(self._gateway.url), "a link into the console")
        _expect(Browser(self._url).request(link.partition("#")[0])[0] == 200, "the page behind the link")
        _expect(self._browsers[GRACE].request("/console", press="yes")[0] == 403, "that Grace is refused")
        return "Grace, an editor, is refused."

    def _deactivate(self) -> str:
        browser = self._browsers[ALAN]
        if "Signed in" not in browser.page():
            browser.sign_in(self._ids[ALAN])
        _expect("Signed in as Alan" in browser.page(), "a session of Alan")
        self._gateway.deactivate(ALAN)
        took = _wait(lambda: "Your session has ended" in browser.page(), "the end of Alan's session")
        _expect(took < DEADLINE, f"the end within {DEADLINE:.0f} s: it took {took:.2f} s")
        _expect(browser.sign_in(self._ids[ALAN]) == 403, "that Alan cannot sign in")
        return (
            f"It ended {took * 1000:.0f} ms after Okta had its answer, by the webhook:"
            f" by itself the application looks every {SECONDS_WITH_WEBHOOK:.0f} s."
        )

    def _reactivate(self) -> str:
        self._gateway.reactivate(ALAN)
        _wait(lambda: "Sign in" in _row(self._browsers[GRACE], "Alan Turing"), "the button beside Alan")
        browser = self._browsers[ALAN]
        _expect("Signed in" not in browser.page(), "that the old session stays ended")
        _expect(browser.sign_in(self._ids[ALAN]) == 303, "the sign-in of Alan")
        return "The old session stayed ended."

    def _leave_group(self) -> str:
        self._gateway.push_group("Admins", [])
        _wait(lambda: "Ada Lovelace ." in self._browsers[ADA].page(), "Ada without a role")
        _expect(self._browsers[ADA].request("/console", press="yes")[0] == 403, "that Ada is refused")
        return "She is still signed in."


def _row(browser: Browser, name: str) -> str:
    rows = re.findall(r"<tr class.*?</tr>", browser.request("/")[1], re.DOTALL)
    return next((row for row in rows if name in row), "")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _wait(holds: Callable[[], bool], what: str) -> float:
    """Wait until it holds, and return the seconds that it took."""
    begun = time.monotonic()
    while not holds():
        _expect(time.monotonic() - begun < PATIENCE, f"{what} within {PATIENCE:.0f} s")
        time.sleep(0.01)
    return time.monotonic() - begun


@contextmanager
def serve(gateway: GatewayFake, folder: Path, port: int) -> Iterator[str]:
    """Run the application for the organization of a gateway, with a webhook to it; yield its URL."""
    app = create_app(
        {
            "GATEWAY_URL": gateway.url,
            "GATEWAY_TOKEN": gateway.token,
            "GATEWAY_ORGANIZATION": gateway.organization,
            "DATABASE": str(folder / "application.sqlite3"),
        }
    )
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    url, follower = f"http://127.0.0.1:{server.port}", app.extensions["follower"]
    # The webhook needs the port, and the application the secret.
    app.config["WEBHOOK_SECRETS"] = [gateway.add_webhook(f"{url}/hooks")]
    follower.seconds = SECONDS_WITH_WEBHOOK
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        follower.stop()


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Write nothing: the steps are what is to be read."""


def main(arguments: list[str]) -> int:
    """Play it, and go on until it is interrupted; with `--once` end with 0 if each step was seen to hold."""
    parser = argparse.ArgumentParser(prog="make example", description=main.__doc__)
    parser.add_argument("--once", action="store_true", help="play it once, without pauses, and end")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="of the application; 0 is any free one"
    )
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="example-") as name,
        GatewayFake(Path(name) / "gateway") as gateway,
        serve(gateway, Path(name), 0 if options.once else options.port) as url,
    ):
        print(f"The application: {url}", flush=True)
        if not options.once:
            print(
                "Open it and watch people, sessions and events; sign in yourself. Ctrl-C ends it.", flush=True
            )
        run = Run(gateway, url, pause=0.0 if options.once else 4.0)
        try:
            run.play()
            if not options.once:
                run.repeat()
        except KeyboardInterrupt:
            print()
    return int(run.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
