"""Backups of a PostgreSQL database, made by pg_dump."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.store.engine.backup import CopyError, write_atomically
from gateway.store.engine.postgresql_urls import SECRETS, mask_secrets

#: The most characters of pg_dump's message that are shown.
_MESSAGE_LENGTH = 300
#: The name of the service that holds them (PostgreSQL's documentation, "The Connection Service File").
_SERVICE = "gateway"


def dump(url: str, target: Path, force: bool) -> int:
    """Write the output of `pg_dump --format=custom` to `target`, with mode 0600; return its size in bytes.

    The servers of the URL are those that the gateway itself uses. No secret is on the command line, which other users
    of the machine can read: the password is passed in the environment, other secrets in a service file of mode 0600
    that is removed at the end. Raises CopyError.
    """
    program = shutil.which("pg_dump")
    if program is None:
        raise CopyError(
            "pg_dump is not on the PATH, and a PostgreSQL is backed up with it. Install the client programs of"
            " PostgreSQL, of the version of the server or newer (postgresql-client)."
        )
    parameters = conninfo_to_dict(url)
    environment = dict(os.environ)
    if password := parameters.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    # The others have no environment variable.
    kept = {name: str(parameters.pop(name)) for name in SECRETS if parameters.get(name)}
    with _service_file(kept, parameters, environment), write_atomically(target, force) as part:
        command = [
            program,
            "--format=custom",
            "--no-password",
            "--file",
            str(part),
            "--dbname",
            make_conninfo("", **parameters),
        ]
        done = subprocess.run(  # noqa: S603 - the program and its arguments are the operator's
            command, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            message = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            message = mask_secrets(message, conninfo_to_dict(url))
            raise CopyError(f"pg_dump failed: {message[:_MESSAGE_LENGTH]}. Nothing was written.")
        return part.stat().st_size


@contextmanager
def _service_file(
    secrets: Mapping[str, str], parameters: dict[str, str | int | None], environment: dict[str, str]
) -> Iterator[None]:
    """Provide these parameters in a service file until the end; name it in `parameters` and `environment`."""
    if not secrets:
        yield
        return
    if parameters.get("service") or environment.get("PGSERVICE"):
        raise CopyError(
            f"The URL of the database holds {' and '.join(secrets)} beside a service, and pg_dump takes one service"
            " alone. Write them into its service file, and take them out of GATEWAY_DATABASE_URL."
        )
    for name, value in secrets.items():
        if value != value.strip() or "\n" in value or "\r" in value:
            raise CopyError(
                f"The {name} in the URL of the database has a space at its beginning or end, or a line end: it cannot"
                " be handed to pg_dump without others seeing it. Change it, or run pg_dump with a key that has none."
            )
    # Of mode 0600 from the beginning.
    with tempfile.NamedTemporaryFile("w", prefix="gateway-", suffix=".service", encoding="utf-8") as file:
        file.write(f"[{_SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in secrets.items()))
        file.flush()
        parameters["service"], environment["PGSERVICEFILE"] = _SERVICE, file.name
        yield
