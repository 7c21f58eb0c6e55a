"""The export of an organization: a zip file with a file of JSON lines for each table, and a manifest.

It has no secret: no digest of a token, no key of a webhook. Rows are read in portions while the gateway serves, so the
files are not of one moment: the manifest says between which events they were written.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.provisioning.activity_writer import ActivityWriter
from gateway.store import Store
from gateway.store.exports import NOT_EXPORTED, TABLES, ExportedTable
from gateway.store.ids_and_time import now, rfc3339
from gateway.store.records import OrganizationRecord

#: The version of the format; it counts up when a reader has to know of it.
FORMAT = 1
MANIFEST = "manifest.json"
#: Called with the rows that were written until now, and the rows in all.
Progress = Callable[[int, int], None]


class OrganizationExport:
    """Writes exports of organizations."""

    def __init__(self, store: Store, activity_writer: ActivityWriter) -> None:
        self._store, self._activity_writer = store, activity_writer

    def write(self, organization: OrganizationRecord, target: Path, progress: Progress) -> dict[str, Any]:
        """Write an export to `target`, which is overwritten; return its manifest."""
        self._activity_writer.flush_briefly()
        began = now()
        total = sum(self._store.exports.count(organization.id, table) for table in TABLES)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "organization": {"id": organization.uid, "name": organization.name},
            "began_at": rfc3339(began),
            "first_event": self._store.events.newest(organization.id),
        }
        files: list[dict[str, Any]] = []
        written = 0

        def count(rows: int) -> None:
            nonlocal written
            written += rows
            progress(written, max(total, written))

        with zipfile.ZipFile(target, "w") as archive:
            files += [self._write_table(organization, table, archive, began, count) for table in TABLES]
            manifest |= {
                "ended_at": rfc3339(now()),
                "last_event": self._store.events.newest(organization.id),
                "files": files,
                "not_exported": NOT_EXPORTED,
            }
            archive.writestr(_entry(MANIFEST, began), json.dumps(manifest, indent=2, ensure_ascii=False))
        return manifest

    def _write_table(
        self, organization: OrganizationRecord, table: ExportedTable, archive: zipfile.ZipFile,
        began: int, count: Callable[[int], None],
    ) -> dict[str, Any]:  # fmt: skip
        """Write the file of a table; return its name, number of rows, size in bytes and SHA-256."""
        name, rows, size, digest = f"{table.name}.jsonl", 0, 0, hashlib.sha256()
        with archive.open(_entry(name, began), "w", force_zip64=True) as file:
            for portion in self._store.exports.rows(organization.id, table):
                data = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in portion).encode()
                file.write(data)
                digest.update(data)
                rows, size = rows + len(portion), size + len(data)
                count(len(portion))
        return {"name": name, "rows": rows, "bytes": size, "sha256": digest.hexdigest()}


def _entry(name: str, moment: int) -> zipfile.ZipInfo:
    """Return an entry of an archive that is dated `moment`, in UTC: the format knows no time zone."""
    date = datetime.fromtimestamp(moment // 1_000_000, UTC)
    entry = zipfile.ZipInfo(name, (date.year, date.month, date.day, date.hour, date.minute, date.second))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
