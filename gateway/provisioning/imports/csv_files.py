"""Reads a CSV file of people, as spreadsheets and `users.csv` write it."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from gateway.scim.errors import PayloadTooLarge, Refusal
from gateway.scim.escaping import escape_controls
from gateway.scim.json_text import fold
from gateway.store.records import ImportRow

#: Bytes of a file, rows below its header, characters of a cell.
MOST_BYTES, MOST_ROWS, MOST_CHARACTERS = 10 << 20, 10_000, 10_000
USER_NAME, EMAIL, GROUPS, ID = "user_name", "email", "groups", "id"
#: The columns of `users.csv`, and `email`. `managed_by` and `idp_group` are an identity provider's: read, and not used.
COLUMNS = (ID, USER_NAME, "display_name", EMAIL, "active", "managed_by", "idp_group", GROUPS)
WRONG = "wrong"
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SEPARATORS = ",;\t"


class UnusableFile(Refusal):
    """A file that cannot be imported as a whole; the sentence says where, and what to do."""

    status = 422


class PeopleFile(NamedTuple):
    """The columns of a file in their order, and its rows; those of the wrong shape have the outcome `WRONG`."""

    columns: tuple[str, ...]
    rows: list[ImportRow]


def read_people(data: bytes) -> PeopleFile:
    """Read a whole file. Raises UnusableFile and PayloadTooLarge."""
    if len(data) > MOST_BYTES:
        raise PayloadTooLarge(
            f"The file has {len(data)} bytes; at most {MOST_BYTES} (10 MiB) are imported at once. Split it."
        )
    text = _decode(data)
    columns: tuple[str, ...] = ()
    rows: list[ImportRow] = []
    for line, cells in _lines(text):
        if not columns:
            columns = _check_header(cells)
            continue
        if len(rows) == MOST_ROWS:
            raise PayloadTooLarge(
                f"The file has more than {MOST_ROWS} rows, which is what one import takes. Split it, with the header in"
                " each part."
            )
        rows.append(_row(len(rows) + 1, line, cells, len(columns)))
    if not columns:
        raise UnusableFile(f"The file is empty. Its first line names the columns: {', '.join(COLUMNS)}.")
    return PeopleFile(columns, _mark_double_names(columns, rows))


def _decode(data: bytes) -> str:
    bom, encoding = next((each for each in _BOMS if data.startswith(each[0])), (b"", "utf-8"))
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise UnusableFile(
            f"The file is not {encoding.upper()}: byte {len(bom) + error.start + 1} cannot be read. Save it as"
            " “CSV UTF-8” and upload it again."
        ) from None
    if "\0" in text:
        raise UnusableFile(
            f"The file holds NUL at character {text.index(chr(0)) + 1}, so it is no CSV, or UTF-16 that does not begin"
            " with its byte order mark. Save it as “CSV UTF-8” and upload it again."
        )
    return text


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty: number in the file, and cells without the `'` in front."""
    header = text.lstrip("\r\n").partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    first = 1
    try:
        for cells in reader:
            if any(len(cell) > MOST_CHARACTERS for cell in cells):
                raise UnusableFile(
                    f"Line {first} of the file has a cell of more than {MOST_CHARACTERS} characters. Perhaps a"
                    ' quotation mark (") opens a cell there and is not closed.'
                )
            if any(cells):
                yield first, [_plain(cell) for cell in cells]
            first = reader.line_num + 1
    except csv.Error as error:
        raise UnusableFile(
            f"The file is no CSV from line {first} on: {error}. A cell with a quotation mark is written in"
            ' quotation marks, and the one in it twice (""); each that is opened is closed.'
        ) from None


def _plain(cell: str) -> str:
    """Return a cell as it was before it was protected from being taken for a formula."""
    cell = cell.strip()
    return cell[1:] if cell.startswith("'") else cell


def _check_header(cells: list[str]) -> tuple[str, ...]:
    columns = tuple(cell.strip().lower() for cell in cells)
    for name, shown in zip(columns, cells, strict=True):
        if name not in COLUMNS:
            raise UnusableFile(
                f"The file has the column {escape_controls(shown[:80])!r}, which is unknown. The columns are"
                f" {', '.join(COLUMNS)}, separated by a comma, a semicolon or a tab; remove or rename this one."
            )
        if columns.count(name) > 1:
            raise UnusableFile(f"The file has the column {name!r} twice. Remove one of them.")
    if USER_NAME not in columns:
        raise UnusableFile(
            f"The file has no column {USER_NAME!r}, by which people are found. Its first line names the columns."
        )
    return columns


def _row(number: int, line: int, cells: list[str], width: int) -> ImportRow:
    if len(cells) == width:
        return ImportRow(number, tuple(cells), "", None)
    reason = f"Line {line} has {len(cells)} cells, and the header {width}. Add or remove separators."
    return ImportRow(number, tuple([*cells, *[""] * width][:width]), WRONG, reason)


def _mark_double_names(columns: tuple[str, ...], rows: list[ImportRow]) -> list[ImportRow]:
    """Return the rows, all of those wrong whose name another one has, letter case aside."""
    place = columns.index(USER_NAME)
    numbers: dict[str, list[int]] = {}
    for row in rows:
        numbers.setdefault(fold(row.cells[place]), []).append(row.number)
    marked = []
    for row in rows:
        name = row.cells[place]
        same = numbers[fold(name)]
        if name and len(same) > 1:
            others = [str(number) for number in same if number != row.number]
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            reason = f"The name stands in the file more than once, also in row {', '.join(others[:5])}{more}. Keep one."
            row = row._replace(outcome=WRONG, reason=reason)
        marked.append(row)
    return marked
