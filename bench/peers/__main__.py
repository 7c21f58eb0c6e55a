"""`python -m bench.peers`: measures the gateway and other SCIM servers, at 10,000 users, by common operations.

They are installed in environments of their own: those for Python are served by the same kind of server, those for Node
serve themselves. What keeps everything in memory has one process, the others have two. Who cannot be installed, started
or asked is named, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from bench.driver import Channels, RequestFailed, encode
from bench.figures import Figures, format_figure, markdown_table
from bench.machines import free_port
from bench.operations import FOR_PEERS, SMALL, Ask, Subject, okta_user
from bench.report import PAGE, machine, print_table, replace_block
from bench.run_server import Lane, Plan, _Server, lanes, rounds, run_server
from gateway.server import THREADS
from gateway.testing import engines
from gateway.testing.deployment import GROUP

HERE = Path(__file__).resolve().parent
PLACE = HERE.parent.parent / ".venv" / "peers"
NODE = PLACE / "node"
PACKAGES = ["scim2-server", "scim2-flask", "django-scim2", "granian"]
#: The routers of scimmy read the parameters of a page under Express 4 only; under 5 every page has 20 users.
NODE_PACKAGES = ["scimmy@1.3.5", "scimmy-routers@1.3.2", "express@4.22.3", "@boxyhq/saml-jackson@26.2.0"]


def _for_python() -> None:
    if not (PLACE / "bin" / "granian").exists():
        print(f"Installing {', '.join(PACKAGES)} in {PLACE.name}/", file=sys.stderr)
        venv.create(PLACE, with_pip=True)
        pip = [str(PLACE / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)


def _for_node() -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise RequestFailed("It wants Node.js 18 or newer, and `node` or `npm` is not here.")
    wanted, installed = "\n".join(NODE_PACKAGES), NODE / "installed"
    if not installed.exists() or installed.read_text() != wanted:
        print(f"Installing {', '.join(NODE_PACKAGES)} in {PLACE.name}/{NODE.name}/", file=sys.stderr)
        NODE.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
        subprocess.run([*npm, "--prefix", NODE, *NODE_PACKAGES], check=True)
        installed.write_text(wanted)


class Peer(NamedTuple):
    """One other server: its packages, its base path, and its command, which reads its port from the environment."""

    install: Callable[[], None]
    base: str
    command: list[str | Path]
    before: list[str | Path] | None = None  # runs first, to its end
    postgresql: bool = False


_GRANIAN: list[str | Path] = [PLACE / "bin" / "granian", "--interface", "wsgi", "--no-ws", "--http", "1"]
_GRANIAN += ["--blocking-threads", str(THREADS)]

PEERS = {
    "scim2-server": Peer(_for_python, "/v2", [*_GRANIAN, "scim2_peer:bare"]),
    "scim2-flask": Peer(_for_python, "/scim/v2", [*_GRANIAN, "scim2_peer:in_flask"]),
    "django-scim2": Peer(
        _for_python,
        "/scim/v2",
        [*_GRANIAN, "--workers", "2", "--factory", "django.core.wsgi:get_wsgi_application"],
        before=[PLACE / "bin" / "django-admin", "migrate", "--run-syncdb", "--verbosity", "0"],
    ),
    "scimmy": Peer(_for_node, "/scim/v2", ["node", HERE / "scimmy_peer.cjs"]),
    "polis": Peer(_for_node, "/scim/v2", ["node", HERE / "polis_peer.cjs"], postgresql=True),
}


def main() -> None:
    """Install, fill and measure all servers, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--peers", default=",".join(PEERS), help="which, with commas; else all")
    parser.add_argument("--json", action="store_true", help="print every round for programs")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    given = parser.parse_args()
    plan = Plan(
        (given.users,),
        ("sqlite",),
        (8,),
        tuple(FOR_PEERS),
        given.rounds,
        given.seconds,
        2,
        "FULL",
        limit=False,
    )
    missing: list[str] = []
    with ExitStack() as running:
        found = list(lanes(running, plan, "sqlite", _show_progress))
        for name in given.peers.split(","):
            try:
                found.append(_peer(running, name, PEERS[name], given.users))
            except (RequestFailed, OSError, KeyError, ImportError, subprocess.CalledProcessError) as trouble:
                missing.append(name)
                print(f"{name} cannot take part: {trouble}", file=sys.stderr)
        figures = Figures(rounds(plan, found, _show_progress, forgiving=True))
    if given.json:
        print(json.dumps(figures.rows, indent=1))
        return
    heads, rows = _grid(figures)
    title = f"{given.users:,} users, 8 at once: requests a second (the gateway is so many times as fast)"
    print_table(Console(), title, heads, rows)
    if given.write:
        how = f"{given.rounds} rounds of {given.seconds} seconds, durability FULL"
        absent = f" Could not take part: {', '.join(missing)}." if missing else ""
        replace_block(
            PAGE, "peers", f"{machine(how)}{absent}\n\n### {title}\n\n{markdown_table(rows, heads)}"
        )


def _show_progress(words: str, done: int, total: int) -> None:
    print(f"\r{words:70} {done}/{total}", end="" if done < total - 1 else "\n", file=sys.stderr, flush=True)


def _peer(running: ExitStack, name: str, peer: Peer, users: int) -> Lane:
    peer.install()
    folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="gateway-peer-")))
    port = free_port()
    environment = os.environ | {
        "GRANIAN_PORT": str(port),
        "PORT": str(port),
        "PEER_FOLDER": str(folder),
        "PYTHONPATH": str(HERE),
        "DJANGO_SETTINGS_MODULE": "django_peer",
        "NODE_PATH": str(NODE / "node_modules"),
        "NODE_ENV": "production",
    }
    database = _Server(running.enter_context(engines.server()), "FULL") if peer.postgresql else None
    if database:
        environment["PEER_DATABASE"], _ = database.made("peer")
    if peer.before:
        subprocess.run(peer.before, env=environment, check=True)
    process = running.enter_context(
        run_server(list(map(str, peer.command)), port, environment, folder / "log")
    )
    channels, ids = Channels(port, process), dict[int, str]()
    subject = Subject(peer.base, "peer", users, ids.__getitem__)
    for done in range(0, users, 500):
        _show_progress(f"{name}: users", done, users)
        for number, body in _made(channels, subject, range(done, min(users, done + 500))):
            ids[number] = json.loads(body)["id"]
    group: dict[str, Any] = {"schemas": [GROUP], "displayName": "Few"}
    group["members"] = [{"value": ids[number]} for number in range(SMALL)]
    ask = Ask("POST", "/Groups", "", json.dumps(group).encode())
    subject.groups["small"] = json.loads(channels.send([[encode(subject, ask)]], 1, keep=True).answers[0])[
        "id"
    ]
    if not database:
        return Lane("sqlite", name, subject, channels, process)
    database.durable()
    return Lane("postgresql", name, subject, channels, process, database.pid)


def _made(channels: Channels, subject: Subject, numbers: range) -> Iterator[tuple[int, bytes]]:
    asks = (Ask("POST", "/Users", "", json.dumps(okta_user("u", number)).encode()) for number in numbers)
    yield from zip(
        numbers, channels.send([[encode(subject, ask)] for ask in asks], 1, keep=True).answers, strict=True
    )


def _grid(figures: Figures) -> tuple[list[str], list[list[str]]]:
    targets, rows = figures.distinct_values("target"), []
    for name in figures.distinct_values("operation"):
        rows.append([name])
        for target in targets:
            cell = format_figure(figures.median("per_second", target=target, operation=name), 0)
            times = figures.ratio("per_second", {"target": "gateway"}, {"target": target}, operation=name)
            verdict = (
                ""
                if target == "gateway"
                else f" ({times:.1f}, {'pass' if times >= 1 else 'FAIL'})"
                if times
                else "-"
            )
            rows[-1].append(cell + verdict)
    return ["operation", *targets], rows


if __name__ == "__main__":
    main()
