"""`gateway listen`: signed copies of live events, sent to a program on this machine while it is being written."""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import click

from gateway.cli.common import as_json
from gateway.provisioning.webhooks import messages
from gateway.simulation.http_session import HttpSession
from gateway.store.ids_and_time import microseconds, now

#: Seconds that the gateway may keep a request until there is an event.
WAIT = 20
#: Seconds between two requests to a gateway that answers at once, and the longest pause after failures.
POLL, LONGEST_PAUSE = 1.0, 60.0
#: Seconds for an answer of the program, as for an endpoint.
TIMEOUT = 15.0


class Forwarded(NamedTuple):
    """One event that was sent: its type, its id, the status of the answer or why there was none."""

    at: str
    type: str
    id: str
    status: int | None
    ms: int
    error: str | None


@click.command()
@click.option(
    "--forward-to", required=True, metavar="URL", help="Where to: http:// and an address of this machine."
)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The URL of the gateway.")
@click.option(
    "--token", envvar="GATEWAY_ADMIN_TOKEN", help="An admin token; read from GATEWAY_ADMIN_TOKEN too."
)
@click.option("--organization", metavar="ID", help="Follow this organization; left out, all of them.")
@click.option(
    "--from", "start", type=click.IntRange(0), metavar="N", help="Begin after the event N, not now."
)
@click.option("--secret", metavar="SECRET", help="Sign with this secret (whsec_…), not with a new one.")
@click.option("--stop-after", type=click.IntRange(1), metavar="N", help="Stop after so many events.")
@as_json
def listen(
    forward_to: str,
    url: str,
    token: str | None,
    organization: str | None,
    start: int | None,
    secret: str | None,
    stop_after: int | None,
    as_json: bool,
) -> None:
    """Send signed copies of live events to a program on this machine, as a webhook would.

    Each event is sent once, whatever the answer; no webhook's position is touched. The secret to verify with is shown
    on stderr. Ends with Ctrl-C.
    """
    if not token:
        raise click.ClickException(
            "A token of the gateway is needed: give --token, or set GATEWAY_ADMIN_TOKEN. `gateway admin-token create"
            " --name listen --scope events` makes one."
        )
    target, signing = Target(forward_to), secret or messages.new_secret()
    _check_secret(signing)
    try:
        session = HttpSession(f"{url.rstrip('/')}/admin/v1", token, timeout=WAIT + 30)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    with session:
        feed = Feed(session, organization, time.sleep)
        feed.begin(start)
        if secret is None:
            click.echo(f"The secret to verify with, as long as this runs: {signing}", err=True)
        whose = f"the organization {organization}" if organization else "all organizations"
        click.echo(f"Events of {whose} after {feed.after} go to {forward_to}. Ctrl-C ends it.", err=True)
        try:
            for count, event in enumerate(feed.events(), 1):
                _show(forward(event, target, signing), as_json)
                if count == stop_after:
                    return
        except KeyboardInterrupt:
            click.echo("Stopping.", err=True)


class Target:
    """A URL that leads to this machine."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or "@" in parts.netloc or port == 0:
            raise click.ClickException(
                f"{url!r} is no URL to forward to: give one as http://localhost:3000/hooks."
            )
        self._host, self._port = parts.hostname, port or 80
        self._path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (
            f"?{parts.query}" if parts.query else ""
        )

    def post(self, body: bytes, headers: dict[str, str]) -> int:
        """Post a body and return the status. Raises OSError and HTTPException, ClickException for another machine."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.connect()
            # The address that was reached, not what the name said: events carry names and addresses of people.
            if not ipaddress.ip_address(connection.sock.getpeername()[0]).is_loopback:
                raise click.ClickException(
                    f"{self._host} is another machine: events are forwarded to this one only. For others there are"
                    " webhooks."
                )
            connection.request("POST", self._path, body, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            response.read(1024)
            return response.status
        finally:
            connection.close()


class Feed:
    """The feed of one organization or of all, read over HTTP; failures that pass are waited out."""

    def __init__(
        self, session: HttpSession, organization: str | None, sleep: Callable[[float], None]
    ) -> None:
        self._session, self._organization, self._sleep = session, organization, sleep
        self._path = f"/organizations/{quote(organization, safe='')}/events" if organization else "/events"
        self.after = 0

    def begin(self, start: int | None) -> None:
        """Begin after an event, or (None) after the newest that there is. Raises ClickException where it cannot."""
        page = self._page({"after": start, "limit": 1} if start is not None else {"newest": "true"})
        if page is None:
            raise click.ClickException("The gateway does not answer. Is it running, and is --url right?")
        self.after = page["next"] if start is None else start

    def events(self) -> Iterator[messages.OutboundEvent]:
        """Yield events for ever."""
        failures = 0
        while True:
            begun = time.monotonic()
            page = self._page({"after": self.after, "limit": 100, "wait": WAIT})
            if page is None:
                failures += 1
                self._sleep(min(LONGEST_PAUSE, 2.0 ** (failures - 1)))
                continue
            failures = 0
            for item in page["items"]:
                yield _outbound(item, page["epoch"], self._organization)
                self.after = item["id"] if self._organization else item["number"]
            self.after = page["next"]
            if not page["items"] and (rest := POLL - (time.monotonic() - begun)) > 0:
                self._sleep(rest)

    def _page(self, query: dict[str, Any]) -> dict[str, Any] | None:
        """Return a page of the feed, None for a failure that passes. Raises ClickException for one that does not."""
        answer = self._session.call("GET", f"{self._path}?{urlencode(query)}")
        body = answer.json if isinstance(answer.json, dict) else {}
        if answer.status == 200 and {"items", "next", "epoch"} <= body.keys():
            return body
        message = body.get("message") or answer.text[:200]
        if answer.status in (0, 429) or answer.status >= 500:
            click.echo(f"Waiting for the gateway: {answer.status or 'no answer'} ({message}).", err=True)
            return None
        raise click.ClickException(f"The gateway answered {answer.status}: {message}")


def forward(event: messages.OutboundEvent, target: Target, secret: str) -> Forwarded:
    """Sign an event as a webhook is signed, post it once, and return what came of it."""
    body, message_id, moment = messages.build(event, "standard", ""), messages.message_id(event), now()
    begun, status, reason = time.monotonic(), None, None
    try:
        status = target.post(body, messages.signature_headers(message_id, body, moment, [secret]))
    except TimeoutError:
        reason = f"no answer within {TIMEOUT:g} seconds"
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    ms = round((time.monotonic() - begun) * 1000)
    return Forwarded(time.strftime("%H:%M:%S"), event.type, message_id, status, ms, reason)


def _outbound(item: dict[str, Any], epoch: int, organization: str | None) -> messages.OutboundEvent:
    # Events of the deployment itself name the organization that they are about, and are numbered apart.
    of_deployment = item["resource"] in ("Organization", "Webhook")
    return messages.OutboundEvent(
        None if of_deployment else organization or item["organization"],
        epoch,
        item["id"],
        item["type"],
        microseconds(datetime.fromisoformat(item["at"])),
        item["resource"],
        item["resource_id"],
        item["connection"],
        json.dumps(item["data"], ensure_ascii=False, separators=(",", ":")),
    )


def _show(sent: Forwarded, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(sent._asdict()))
        return
    outcome = str(sent.status) if sent.status is not None else f"failed: {sent.error}"
    click.echo(f"{sent.at}  {sent.type:24}  {outcome:>4}  {sent.ms:>5} ms  {sent.id}")


def _check_secret(secret: str) -> None:
    try:
        if len(secret) <= len(messages.SECRET_PREFIX) or not secret.startswith(messages.SECRET_PREFIX):
            raise ValueError
        messages.signature_headers("evt", b"", now(), [secret])
    except ValueError:
        raise click.ClickException(
            "--secret begins with whsec_ and goes on in Base64; this one does not."
        ) from None
