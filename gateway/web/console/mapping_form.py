"""The form of Map to groups: its rows as they were typed, what is wrong with each, and what the last preview showed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError
from werkzeug.datastructures import MultiDict

from gateway.provisioning.mapping_preview import MappingDefinition, MappingPreview
from gateway.scim.json_text import Json, fold
from gateway.web.admin.schemas import mapping as schemas

#: Lists of the preview that are compared with those of the preview before.
_COMPARED = ("leaves", "joins")


@dataclass
class Row:
    """A rule as it was typed."""

    value: str = ""
    group: str = ""
    value_error: str = ""
    group_error: str = ""
    #: True where no group has the name: the first such row has the checkbox that creates it.
    missing: bool = False
    offers_to_create: bool = False
    creates: bool = False
    #: Names of groups like it.
    like: tuple[str, ...] = ()

    @property
    def blank(self) -> bool:
        """Whether nothing was typed."""
        return not self.value.strip() and not self.group.strip()

    @property
    def undecided(self) -> bool:
        """Whether nobody has said yet whether its group is to be made."""
        return self.missing and not self.creates

    @property
    def fault(self) -> str:
        """What is wrong with it, "" for nothing."""
        errors = [each for each in (self.value_error, self.group_error) if each]
        if self.undecided:
            errors.append(f"There is no group '{self.group}'. Choose another one, or to create it.")
        return " ".join(errors)


@dataclass
class MappingForm:
    """All fields of the page."""

    enabled: bool
    attribute: str
    apply_to_existing: bool
    rows: list[Row]
    #: Folded names of groups that are to be made.
    create: frozenset[str] = frozenset()
    pasted: str = ""
    paste_error: str = ""
    attribute_error: str = ""
    #: What is wrong with the form as a whole.
    errors: list[str] = field(default_factory=list)
    #: The entity tag of the preview that the page showed, and what it showed.
    etag: str = ""
    previewed: Json = field(default_factory=dict)

    @classmethod
    def of_saved(cls, saved: MappingDefinition, attribute: str) -> MappingForm:
        """Return the form for what is saved; `attribute` is offered where none is."""
        rows = [Row(value, group) for value, group in saved.rules]
        return cls(saved.enabled, saved.attribute or attribute, True, rows)

    @classmethod
    def of_request(cls, sent: MultiDict[str, str]) -> MappingForm:
        """Return the form as it was sent."""
        pairs = zip(sent.getlist("value"), sent.getlist("group"), strict=False)
        return cls(
            "enabled" in sent,
            sent.get("attribute", "").strip(),
            sent.get("apply_to_existing") != "no",
            [Row(value, group.strip()) for value, group in pairs],
            frozenset(map(fold, sent.getlist("create"))),
            sent.get("pasted", ""),
            etag=sent.get("_etag", "")[:200],
            previewed=_read_previewed(sent.get("_previewed", "")),
        )

    # Editing --------------------------------------------------------------------------------------------------------

    def edit(self, sent: Mapping[str, str]) -> None:
        """Add or remove the row that a button names, and add the pasted ones."""
        removed = sent.get("remove", "")
        if removed.isdecimal() and len(removed) < 6 and int(removed) <= len(self.rows):
            del self.rows[max(0, int(removed) - 1)]
        if "add" in sent:
            row = Row(sent["add"])
            # A value goes into the first row that waits for one.
            blank = next((each for each in self.rows if each.blank), None) if row.value else None
            if blank is None:
                self.rows.append(row)
            else:
                blank.value = row.value
        self.add_pasted()

    def add_pasted(self) -> bool:
        """Make rows of the pasted lines; where one cannot be read, none is made and the text stays."""
        try:
            pasted = read_pasted(self.pasted)
        except ValueError as error:
            self.paste_error = str(error)
            return False
        if pasted:
            self.rows = [row for row in self.rows if not row.blank] + pasted
        self.pasted = ""
        return True

    # Checking -------------------------------------------------------------------------------------------------------

    def definition(self) -> tuple[MappingDefinition, list[Row]]:
        """Return what the form says, and the row of each rule; blank rows and repeated rules are left out."""
        rules: dict[tuple[str, str], Row] = {}
        for row in self.rows:
            if not row.blank:
                rules.setdefault((row.value, row.group), row)
        definition = MappingDefinition(
            self.enabled, self.attribute or None, tuple(rules), self.apply_to_existing
        )
        return definition, list(rules.values())

    def check(self) -> bool:
        """Note beside the fields what the admin REST would refuse as malformed; return whether nothing is."""
        sound = self.add_pasted()
        definition, rows = self.definition()
        if definition.enabled and not self.attribute:
            self.attribute_error, sound = "Name the attribute whose values decide.", False
        for row in rows:
            if not row.value:
                row.value_error, sound = "Type the value exactly as your identity provider sends it.", False
            if not row.group:
                row.group_error, sound = "Choose a group.", False
        if not sound:
            return False
        try:
            schemas.Mapping().load(definition.as_json())
        except ValidationError as error:
            self._note_malformed(error.messages_dict, rows)
            return False
        return True

    def _note_malformed(self, messages: Mapping[str, Any], rows: Sequence[Row]) -> None:
        self.attribute_error = " ".join(_sentences(messages.get("attribute", ())))
        rules = messages.get("rules", ())
        if not isinstance(rules, Mapping):
            self.errors += [f"Rules: {sentence}" for sentence in _sentences(rules)]
            return
        for place, fields in rules.items():
            rows[place].value_error = " ".join(_sentences(fields.get("value", ())))
            rows[place].group_error = " ".join(_sentences(fields.get("group", ())))

    def note_missing(self, missing: Mapping[str, tuple[str, ...]]) -> bool:
        """Note which groups would have to be made; return whether each of them is to be made."""
        offered = set()
        for row in self.rows:
            if (key := fold(row.group)) in missing:
                row.missing, row.like, row.creates = True, missing[key], key in self.create
                row.offers_to_create = key not in offered
                offered.add(key)
        return offered <= self.create

    @property
    def group_names(self) -> list[str]:
        """The distinct names of groups in the rows."""
        return list(dict.fromkeys(row.group for row in self.rows if row.group))

    @property
    def faulty(self) -> bool:
        """Whether something is wrong with a field."""
        return bool(self.attribute_error or self.paste_error or self.faults)

    @property
    def faults(self) -> list[tuple[int, str]]:
        """The numbers of rows with a fault, and the fault of each."""
        return [(number, row.fault) for number, row in enumerate(self.rows, 1) if row.fault]


def read_pasted(text: str) -> list[Row]:
    """Return the rows of lines as a spreadsheet copies them, or of CSV. Raises ValueError, which names the line."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        delimiter = "\t" if "\t" in line else ","
        try:
            (fields,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            fields = []
        if len(fields) != 2:
            raise ValueError(
                f"Line {number} is not a value, then a tab or a comma, then a group. A value that holds a comma"
                ' stands in quotes: "Sales, EMEA",Sales.'
            )
        rows.append(Row(fields[0].strip(), fields[1].strip()))
    return rows


# Previews ---------------------------------------------------------------------------------------------------------


def outline(preview: MappingPreview, definition: MappingDefinition) -> Json:
    """Return what the next page compares its preview with."""
    shown = preview.as_json()
    return {
        "definition": definition.etag,
        "replaced": preview.replaced.etag,
        "numbers": numbers_of(preview),
        **{name: [[entry["user"], entry["group"]] for entry in shown[name]] for name in _COMPARED},
    }


def numbers_of(preview: MappingPreview) -> dict[str, int]:
    """Return the numbers of a preview."""
    return {
        "leaves": preview.leaves.total,
        "joins": preview.joins.total,
        "groups": len(preview.groups_to_create),
        "unmapped": len(preview.unmapped),
    }


def differences(before: Json, now: Json) -> Json:
    """Return what differs between two outlines: numbers, and memberships that are new in or gone from the lists."""
    titles = {
        "leaves": "People who leave a group",
        "joins": "People who join a group",
        "groups": "Groups to be made",
        "unmapped": "Values that no rule covers",
    }
    earlier = before.get("numbers", {})
    numbers = [(title, earlier.get(name), now["numbers"][name]) for name, title in titles.items()]
    lists = []
    for name in _COMPARED:
        old, new = (_pairs(each.get(name, ())) for each in (before, now))
        for what, changed in (("New", new - old), ("No longer", old - new)):
            if changed:
                verb = "leave" if name == "leaves" else "join"
                lists.append((f"{what} among those who {verb} a group", sorted(changed)))
    return {
        "numbers": numbers,
        "lists": lists,
        "edited": before.get("definition") != now["definition"],
        "replaced": before.get("replaced") != now["replaced"],
    }


def _pairs(entries: Iterable[Any]) -> set[tuple[str, str]]:
    return {(str(user), str(group)) for user, group in entries}


def _read_previewed(text: str) -> Json:
    """Return the outline that a page sent back, empty where it is none."""
    try:
        sent = json.loads(text)
        return {
            "definition": sent["definition"],
            "replaced": sent["replaced"],
            "numbers": {str(name): int(number) for name, number in sent["numbers"].items()},
            **{name: [list(pair) for pair in _pairs(sent[name])] for name in _COMPARED},
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _sentences(messages: Any) -> list[str]:
    """Return the sentences of marshmallow's messages, whatever their nesting."""
    if isinstance(messages, str):
        return [messages]
    each = messages.values() if isinstance(messages, Mapping) else messages
    return [sentence for message in each for sentence in _sentences(message)]
