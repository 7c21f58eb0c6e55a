"""Copies of a PostgreSQL database, made by its own pg_dump."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway.store.copies import CopyError, written

#: Characters of what pg_dump said that are shown.
_SAID_LENGTH = 300


def dump(url: str, target: Path, force: bool) -> int:
    """Write what `pg_dump --format=custom` makes of the database to `target`, with mode 0600; its size in bytes.

    The servers of the URL are those that the gateway itself asks. The password is handed on in the environment, for
    other users of the machine see the command line. Raises CopyError.
    """
    program = shutil.which("pg_dump")
    if program is None:
        raise CopyError(
            "pg_dump is not on the PATH, and a PostgreSQL is backed up with it. Install the client programs of"
            " PostgreSQL, of the version of the server or newer (postgresql-client)."
        )
    told = conninfo_to_dict(url)
    environment = dict(os.environ)
    if password := told.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    with written(target, force) as part:
        command = [
            program,
            "--format=custom",
            "--no-password",
            "--file",
            str(part),
            "--dbname",
            make_conninfo("", **told),
        ]
        done = subprocess.run(  # noqa: S603 - the program and its arguments are the operator's
            command, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            if password:
                said = said.replace(str(password), "…")
            raise CopyError(f"pg_dump failed: {said[:_SAID_LENGTH]}. Nothing was written.")
        return part.stat().st_size
