"""Users of an organization, and rows of an import, as CSV with cells that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from flask import Response

from gateway.provisioning import Provisioning
from gateway.provisioning.long_changes import pause_between_portions
from gateway.store.records import ImportRecord, OrganizationRecord
from gateway.web.user_rows import document_paths, user_rows

_COLUMNS = ("id", "user_name", "display_name", "active", "managed_by", "idp_group", "groups")
_CSV_PORTION = 200
#: Bytes of the file that are sent at once.
_PIECE = 1 << 16
#: With these, in whatever width, a spreadsheet takes a cell for a formula. The last one is MINUS SIGN.
_FORMULA = frozenset("=+-@\u2212")


def users_csv(gateway: Provisioning, organization: OrganizationRecord) -> Response:
    """Return the answer that has all users of an organization as CSV, for a view that is `expensive`."""
    return _csv_answer(_csv_portions(gateway, organization), "users.csv")


def import_result_csv(gateway: Provisioning, record: ImportRecord) -> Response:
    """Return the answer that has the rows of an import with their outcomes, for a view that is `expensive`."""
    portions = gateway.imports.result_rows(record)
    return _csv_answer((_lines([_protected(row) for row in rows]) for rows in portions), "result.csv")


def _csv_answer(portions: Iterator[str], name: str) -> Response:
    # Made whole before it is sent, in a file: what fails in the middle is a refusal, not half of the rows.
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it is sent
    try:
        length = _write_csv(portions, file)
    except BaseException:
        file.close()
        raise
    answer = Response(_pieces(file), mimetype="text/csv")
    answer.content_length = length
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _csv_portions(gateway: Provisioning, organization: OrganizationRecord) -> Iterator[str]:
    """Yield the file portion by portion: an organization may be large."""
    yield _lines([_COLUMNS])
    for users in gateway.queries.all_users(organization, document_paths(gateway), _CSV_PORTION):
        yield _lines([_cells(user) for user in user_rows(gateway, organization, users)])


def _write_csv(portions: Iterator[str], file: IO[bytes]) -> int:
    """Write all lines, with a rest after each portion; return how many bytes they are. The file is at its beginning."""
    began = time.monotonic()
    for lines in portions:
        file.write(lines.encode())
        pause_between_portions(began)
        began = time.monotonic()
    length = file.tell()
    file.seek(0)
    return length


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def _lines(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _cells(user: Mapping[str, Any]) -> list[str]:
    manager = user["managed_by"]
    cells = [
        user["id"],
        user["user_name"],
        user["display_name"] or "",
        "true" if user["active"] else "false",
        manager["idp"] if manager else "manual",
        _joined(user["idp_group"]),
        _joined(group["name"] for group in user["groups"]),
    ]
    return _protected(cells)


def _joined(names: Iterable[str]) -> str:
    """Return names as a cell, each that a reader would split or take for quoted in quotation marks."""
    return "; ".join(
        '"{}"'.format(name.replace('"', '""')) if ";" in name or name.startswith('"') else name
        for name in names
    )


def _protected(cells: Sequence[str]) -> list[str]:
    return [f"'{cell}" if _is_formula(cell) else cell for cell in cells]


def _is_formula(cell: str) -> bool:
    """Return whether a spreadsheet may take a cell for a formula, or would show it without its beginning.

    Spaces, line ends and what cannot be seen are skipped by some before they look. A cell that begins with `'` gets
    another one, so that a reader takes one away wherever a cell begins with it.
    """
    first = cell[:1]
    return bool(first) and (
        first == "'"
        or unicodedata.category(first)[0] in "CZ"
        or unicodedata.normalize("NFKC", first)[:1] in _FORMULA
    )
