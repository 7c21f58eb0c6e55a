"""`gateway deliver`: a process that delivers to webhooks and serves nothing."""

from __future__ import annotations

import logging.config
import signal
import threading

import click

from gateway.cli.common import explain_outages, open_gateway
from gateway.server import LOGGING, STOP_SIGNALS
from gateway.store.engine.backup import hold_in_use


@click.command()
def deliver() -> None:
    """Deliver events to webhooks until SIGTERM or Ctrl-C, beside servers that do not.

    With GATEWAY_WEBHOOKS=off servers leave it to these processes. Any number of them share the work.
    """
    with open_gateway() as gateway:
        logging.config.dictConfig(LOGGING)
        stop = threading.Event()
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: stop.set())
        with explain_outages(gateway.store.database), hold_in_use(gateway.config.database_url):
            gateway.deliverer.start()
            click.echo("Delivering to webhooks", err=True)
            stop.wait()
        gateway.close()
