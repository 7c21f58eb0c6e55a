"""Map to groups: two columns of rules, a preview of who would join and leave, and a save that does only that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flask import jsonify, request

from gateway.provisioning.console_access import MAPPING
from gateway.provisioning.mapped_values import UnusableAttribute
from gateway.provisioning.mapping_preview import MappingPreview, UnusableRule
from gateway.scim.errors import Conflict, InvalidValue, PreconditionFailed
from gateway.scim.json_text import fold
from gateway.store.records import ConnectionRecord
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.mapping_form import MappingForm, Row, differences, outline
from gateway.web.console.rendering import render, render_fragment
from gateway.web.errors import Unprocessable, current_http_request

_PAGE = "/console/organizations/<organization>/map-to-groups"
_FORM = "/console/organizations/<organization>/connections/<connection>/map-to-groups"
_READ, _PREVIEW = (
    "GET /connections/{connection}/group-mapping",
    "POST /connections/{connection}/group-mapping/preview",
)
#: Connections of an organization that the page offers.
_MOST_CONNECTIONS = 100
#: Groups that are offered for a name, or in a list without script; values in the list; values shown as rows to add.
_OFFERED_GROUPS, _LISTED_GROUPS, _LISTED_VALUES, _SHOWN_VALUES = 20, 200, 500, 100
#: Seconds that a save waits until the rules hold for everybody; for the others the page shows how far they are.
_SAVE_SECONDS = 2.0


@blueprint.page(_PAGE)
def show_mapping() -> Any:
    """Show the rules that are saved, as a form where they may be changed."""
    console = current_request()
    connections = console.gateway.queries.connections(console.organization, 0, _MOST_CONNECTIONS)
    if not connections:
        return render("mapping_none.html")
    console.resolve_connection(request.args.get("connection") or connections[0].uid)
    saved = console.gateway.mapping.saved_definition(console.connection)
    if not console.may(MAPPING):
        return _render("mapping_rules.html", connections, saved=saved)
    form = MappingForm.of_saved(saved, f"{console.idp_caller.words.extension_urn}:group")
    return _render("mapping.html", connections, **_form_values(console, form))


@blueprint.page(f"{_PAGE}/groups")
def find_groups() -> Any:
    """Return names of groups that begin with `q`, and whether one of them has that name."""
    console = current_request()
    text = request.args.get("q", "")[:200].strip()
    mapping, organization = console.gateway.mapping, console.organization
    names = mapping.manual_groups(organization, text, _OFFERED_GROUPS)
    missing = mapping.missing_groups(organization, [text]) if text else {}
    like = next(iter(missing.values()), ())
    return jsonify({"names": names, "missing": bool(missing), "like": list(like)})


@blueprint.page(f"{_FORM}/progress")
def show_mapping_progress() -> str:
    """Show how many people follow the rules that were saved last."""
    console = current_request()
    progress = console.gateway.mapping.progress(console.connection)
    return render_fragment("mapping_progress.html", progress=progress)


@blueprint.action(f"{_FORM}/values", operation=_PREVIEW, needs=MAPPING, expensive=True)
def show_values() -> Any:
    """Show the values that people have now, and those that no row of the form covers."""
    form = MappingForm.of_request(request.form)
    return render_fragment("mapping_values.html", **_count_values(form))


@blueprint.action(f"{_FORM}/rows", operation=_READ, needs=MAPPING)
def edit_rows() -> Any:
    """Show the form with a row more or less, or with the pasted ones. Nothing is saved."""
    console, form = current_request(), MappingForm.of_request(request.form)
    if "show_values" in request.form:
        current_http_request().require_queue()
    form.edit(request.form)
    missing = console.gateway.mapping.missing_groups(console.organization, form.group_names)
    form.note_missing(missing)
    values = _count_values(form) if "show_values" in request.form else {}
    return _show_form(form, 422 if form.paste_error else 200, **values)


@blueprint.action(f"{_FORM}/preview", operation=_PREVIEW, needs=MAPPING, expensive=True)
def preview_mapping() -> Any:
    """Show who would join and leave which group if the form were saved now."""
    form = MappingForm.of_request(request.form)
    return _show_preview(form, 200)


@blueprint.action(
    f"{_FORM}/save", operation="PUT /connections/{connection}/group-mapping", needs=MAPPING, expensive=True
)
def save_mapping() -> Any:
    """Save what was previewed; where it would now do something else, show a new preview beside what changed."""
    console, form = current_request(), MappingForm.of_request(request.form)
    if not _check(form):
        return _show_form(form, 422)
    if not form.etag:
        form.errors.append("Nothing was saved: Save does what a preview has shown. Here it is.")
        return _show_preview(form, 428)
    definition, rows = form.definition()
    try:
        console.gateway.mapping.save(
            console.idp_caller, definition, form.etag, console.trace, seconds=_SAVE_SECONDS
        )
    except PreconditionFailed as refusal:
        # The mapping as it is saved now: another request, perhaps the same form, was faster.
        console.resolve_connection(console.connection.uid)
        return _show_outdated(form, refusal)
    except InvalidValue as refusal:
        _note(form, rows, refusal)
        return _show_form(form, 422)
    except Conflict as refusal:
        form.errors.append(note_refusal(refusal).detail)
        return _show_form(form, refusal.status)
    return _see_saved(form)


def _check(form: MappingForm) -> bool:
    """Check what is typed; return whether it can be previewed."""
    console = current_request()
    sound = form.check()
    missing = console.gateway.mapping.missing_groups(console.organization, form.group_names)
    return form.note_missing(missing) and sound


def _note(form: MappingForm, rows: Sequence[Row], refusal: InvalidValue) -> None:
    """Show a refusal beside the field that it is about."""
    note_refusal(Unprocessable(refusal.detail))
    if isinstance(refusal, UnusableRule):
        rows[refusal.place].group_error = refusal.detail
    elif isinstance(refusal, UnusableAttribute):
        form.attribute_error = refusal.detail
    else:
        form.errors.append(refusal.detail)


def _show_preview(form: MappingForm, status: int) -> Any:
    if not _check(form):
        return _show_form(form, 422)
    console, (definition, rows) = current_request(), form.definition()
    try:
        preview, etag = console.gateway.mapping.preview(console.idp_caller, definition)
    except InvalidValue as refusal:
        _note(form, rows, refusal)
        return _show_form(form, 422)
    return _show_previewed(form, preview, etag, status)


def _show_previewed(
    form: MappingForm, preview: MappingPreview, etag: str, status: int, changes: Any = None
) -> Any:
    definition, _ = form.definition()
    form.etag, form.previewed = etag, outline(preview, definition)
    shown = {"preview": preview, "lists": preview.as_json(), "changes": changes}
    return _show_form(form, status, unsaved=True, **shown)


def _show_outdated(form: MappingForm, refusal: PreconditionFailed) -> Any:
    """Say that the form is saved already, or show what changed since its preview."""
    console, (definition, rows) = current_request(), form.definition()
    mapping = console.gateway.mapping
    try:
        preview, etag = mapping.preview(console.idp_caller, definition)
    except InvalidValue as invalid:
        _note(form, rows, invalid)
        return _show_form(form, 422)
    if definition.is_same_as(preview.replaced):
        changed = preview.joins.total + preview.leaves.total
        if not changed or mapping.progress(console.connection) is not None:
            return _see_saved(form)
    note_refusal(refusal)
    changes = differences(form.previewed, outline(preview, definition))
    mine = set(definition.rules)
    changes["lost"] = [rule for rule in preview.replaced.rules if rule not in mine]
    return _show_previewed(form, preview, etag, refusal.status, changes)


def _see_saved(form: MappingForm) -> Any:
    state = "on" if form.enabled else "off"
    return see(
        "show_mapping", f"Saved. Map to groups is {state}.", connection=current_request().connection.uid
    )


# Showing ----------------------------------------------------------------------------------------------------------


def _show_form(form: MappingForm, status: int, **values: Any) -> Any:
    console = current_request()
    connections = console.gateway.queries.connections(console.organization, 0, _MOST_CONNECTIONS)
    return _render(
        "mapping.html", connections, **_form_values(console, form) | {"unsaved": True} | values
    ), status


def _form_values(console: ConsoleRequest, form: MappingForm) -> dict[str, Any]:
    """Return what the template of the form needs; a preview and the values that were seen are there where asked for."""
    form.rows = form.rows or [Row()]
    return {
        "form": form,
        "blank_row": Row(),
        "groups": console.gateway.mapping.manual_groups(console.organization, "", _LISTED_GROUPS),
        "unsaved": False,
        "preview": None,
        "lists": None,
        "changes": None,
        "seen": None,
        "previewed": json.dumps(form.previewed) if form.previewed else "",
    }


def _render(template: str, connections: Sequence[ConnectionRecord], **values: Any) -> str:
    console = current_request()
    progress = console.gateway.mapping.progress(console.connection)
    return render(template, page="show_mapping", connections=connections, progress=progress, **values)


def _count_values(form: MappingForm) -> dict[str, Any]:
    """Return the values that people have: those offered in the rows, those that no row covers; and rows for nobody."""
    console = current_request()
    nothing: dict[str, Any] = {"seen": None, "listed": [], "uncovered": [], "left_out": 0, "unused": []}
    if not form.attribute:
        return nothing
    ruled = [row.value for row in form.rows if row.value]
    try:
        seen = console.gateway.mapping.count_values(console.idp_caller, form.attribute, ruled)
    except UnusableAttribute:
        return nothing
    uncovered = [each for each in seen.values if not each.covered]
    alike = {fold(each.value): each.value for each in reversed(seen.values)}
    held = {each.value for each in seen.values}
    unused = [(value, alike.get(fold(value))) for value in dict.fromkeys(ruled) if value not in held]
    return {
        "seen": seen,
        "listed": seen.values[:_LISTED_VALUES],
        "uncovered": uncovered[:_SHOWN_VALUES],
        "left_out": max(0, len(uncovered) - _SHOWN_VALUES),
        # Where not all values were counted, it is not known of any that nobody has it.
        "unused": unused if seen.complete else [],
    }
