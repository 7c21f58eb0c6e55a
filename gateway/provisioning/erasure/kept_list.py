"""The list of erased users beside the secret key, by which a restored backup is brought to what was erased since.

Lines of JSON, each with the ids of organization and user and the moment; no name, which would undo the erasure.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.store.ids_and_time import rfc3339

log = logging.getLogger("gateway")

#: The name of the file in the instance folder.
FILE = "erasures"


class KeptErasure(NamedTuple):
    """One line."""

    organization: str
    user: str


class KeptList:
    """The file; it is made with the first erasure."""

    def __init__(self, instance: Path) -> None:
        self.path = instance / FILE

    def add(self, organization: str, user: str, at: int) -> None:
        """Append an erasure. Where the folder cannot be written, the log says what to do."""
        line = json.dumps({"organization": organization, "user": user, "at": rfc3339(at)}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning(
                "user %s of organization %s was erased, and %s cannot be written (%s): erase it again after a backup"
                " from before is restored",
                user, organization, self.path, error.strerror,
            )  # fmt: skip

    def read(self) -> Iterator[KeptErasure]:
        """Yield what is listed; a line that was cut off by a crash is passed over."""
        try:
            with self.path.open(encoding="ascii", errors="replace") as file:
                for line in file:
                    try:
                        values = json.loads(line)
                        yield KeptErasure(str(values["organization"]), str(values["user"]))
                    except (ValueError, KeyError, TypeError):
                        continue
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read: %s", self.path, error.strerror)
