"""Imports: people of a CSV file, uploaded, previewed, applied by the preview that was shown, and their result."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import flask
from flask import Response
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.provisioning.console_access import PEOPLE
from gateway.provisioning.imports.csv_files import COLUMNS, MOST_BYTES, MOST_ROWS
from gateway.provisioning.imports.imports import ABSENT_CHOICES, KEEP, MOST_STORED
from gateway.provisioning.imports.row_plans import ImportPreview
from gateway.scim.errors import InvalidValue, PayloadTooLarge, Refusal
from gateway.store.records import ImportRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.forms import Problem
from gateway.web.console.rendering import render, render_fragment
from gateway.web.users_csv import import_result_csv

_PATH = "/console/organizations/<organization>/imports"
_IMPORT = f"{_PATH}/<import>"
_OPERATION = "/organizations/{organization}/imports"
#: Seconds that a form applies rows; the worker goes on with the others, and the page shows how far it is.
_APPLY_SECONDS = 2.0


@blueprint.page(_PATH)
def show_imports() -> Any:
    """Show the form that uploads a file, and the stored imports."""
    return _show_list(None)


def _show_list(problem: Problem | None) -> Any:
    console = current_request()
    records = console.gateway.imports.page(console.organization, 0, MOST_STORED)
    page = render(
        "imports.html",
        page="show_imports",
        records=[(record, _rows_in_total(record)) for record in reversed(records)],
        problem=problem,
        absent=problem.typed["absent"] if problem else KEEP,
        columns=COLUMNS,
        most_rows=MOST_ROWS,
        most_stored=MOST_STORED,
    )
    return page, problem.refusal.status if problem else 200


def _rows_in_total(record: ImportRecord) -> int:
    """Return how many rows are applied: those of the file, and one for each person who is absent from it."""
    return record.row_count + int(json.loads(record.summary).get("deactivate", 0))


@blueprint.action(_PATH, operation=f"POST {_OPERATION}", needs=PEOPLE, expensive=True)
def upload_import() -> Any:
    """Store a file and show its preview. Nobody is changed."""
    console, absent = current_request(), KEEP
    try:
        data, absent = _read_upload()
        record, _ = console.gateway.imports.add(console.caller, data, absent, console.trace)
    except Refusal as refusal:
        return _show_list(Problem(note_refusal(refusal), {"absent": absent}))
    return see("show_import", **{"import": record.uid})


def _read_upload() -> tuple[bytes, str]:
    """Return the file that was uploaded, and what becomes of people who are not in it."""
    try:
        file, absent = flask.request.files.get("file"), flask.request.form.get("absent", KEEP)
    except RequestEntityTooLarge:
        raise PayloadTooLarge(
            f"The file is larger than {MOST_BYTES} bytes (10 MiB), which is what one import takes. Split it, with the"
            " header in each part."
        ) from None
    if file is None or not file.filename:
        raise InvalidValue("Choose a CSV file: none was sent.")
    # A large one lies on the disk until it is closed.
    with closing(file):
        # One byte more, so that a longer file is refused as such.
        data = file.read(MOST_BYTES + 1)
    if absent not in ABSENT_CHOICES:
        raise InvalidValue("Choose what becomes of people who are not in the file.")
    return data, absent


@blueprint.page(_IMPORT, expensive=True)
def show_import(**path: str) -> Any:
    """Show what an import would do now; once it is applied how far it is, and its outcomes."""
    return _show_one(current_request(), path["import"], None)


def _show_one(console: ConsoleRequest, uid: str, refusal: Refusal | None) -> Any:
    imports = console.gateway.imports
    record = imports.find(console.organization, uid)
    preview: ImportPreview | None = None
    if record.is_preview:
        try:
            preview = imports.preview(console.organization, record)
        except Refusal as impossible:
            refusal = refusal or note_refusal(impossible)
    page = render(
        "import.html",
        page="show_imports",
        record=record,
        shown=imports.as_json(record, preview),
        etag=preview.etag if preview else None,
        total=_rows_in_total(record),
        problem=Problem(refusal, {}) if refusal else None,
    )
    return page, refusal.status if refusal else 200


@blueprint.page(f"{_IMPORT}/progress")
def show_import_progress(**path: str) -> str:
    """Show how many rows of an import have their outcome."""
    console = current_request()
    imports = console.gateway.imports
    record = imports.find(console.organization, path["import"])
    return render_fragment(
        "import_progress.html",
        record=record,
        shown=imports.as_json(record),
        total=_rows_in_total(record),
        organization=console.organization,
    )


@blueprint.action(
    f"{_IMPORT}/apply", operation=f"POST {_OPERATION}/{{import}}/apply", needs=PEOPLE, expensive=True
)
def apply_import(**path: str) -> Any:
    """Apply what the preview has shown; where it would now do something else, show the new preview."""
    console, uid = current_request(), path["import"]
    console.gateway.imports.find(console.organization, uid)
    console.trace.status = 200
    try:
        console.gateway.imports.apply(
            console.caller, uid, flask.request.form.get("etag", ""), console.trace, _APPLY_SECONDS
        )
    except Refusal as refusal:
        return _show_one(console, uid, note_refusal(refusal))
    return see("show_import", **path)


@blueprint.page(f"{_IMPORT}/result.csv", expensive=True)
def export_import_result(**path: str) -> Response:
    """Export the file with the outcome of each row and its reason."""
    console = current_request()
    return import_result_csv(
        console.gateway, console.gateway.imports.find(console.organization, path["import"])
    )


@blueprint.action(f"{_IMPORT}/remove", operation=f"DELETE {_OPERATION}/{{import}}", needs=PEOPLE)
def remove_import(**path: str) -> Any:
    """Delete an import and its rows; the people stay."""
    console = current_request()
    try:
        console.gateway.imports.remove(console.caller, path["import"], console.trace)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return _show_list(Problem(note_refusal(refusal), {"absent": KEEP}))
    return see("show_imports", "The import was deleted. Its people stay.")
