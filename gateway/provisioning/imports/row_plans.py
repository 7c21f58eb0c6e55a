"""Decides what the rows of an import do to people as they are stored now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.provisioning.documents import check_size, differing, edited, manual_document
from gateway.provisioning.imports.csv_files import EMAIL, GROUPS, ID, USER_NAME, WRONG
from gateway.provisioning.previews import PreviewDigest
from gateway.scim.documents import USER_NAME_LENGTH, check_length, clean
from gateway.scim.errors import Refusal
from gateway.scim.escaping import check_line
from gateway.scim.json_text import Json, excerpt, fold
from gateway.scim.schemas import user_type
from gateway.store import Store
from gateway.store.records import ImportRow, OrganizationRecord, UserRecord

#: What rows do in a preview. `DEACTIVATE` is that of people who are not in the file.
CREATE, UPDATE, SAME, SKIP, DEACTIVATE = "create", "update", "same", "skip", "deactivate"
#: Rows of a preview that are shown.
FIRST_ROWS = 10
#: Characters of a name and of an address.
_LENGTHS = {"display_name": 200, EMAIL: USER_NAME_LENGTH}
_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "": None}


class RowPlan(NamedTuple):
    """What one row does: to `user` (None: a new one), whose document becomes `document`, and who joins `groups`.

    `seat` is 1 where it takes a seat, -1 where it frees one. A `reason` of a row that is neither skipped nor wrong says
    what of it is left out.
    """

    number: int
    user_name: str
    outcome: str
    reason: str | None = None
    user: UserRecord | None = None
    document: Json | None = None
    groups: tuple[int, ...] = ()
    changed: tuple[str, ...] = ()
    seat: int = 0


@dataclass
class ImportPreview:
    """What an import would do now; its `etag` is what applying it requires."""

    free: int | None
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((CREATE, UPDATE, SAME, SKIP, WRONG), 0)
    )
    partial: int = 0
    needed: int = 0
    first: list[Json] = field(default_factory=list)
    absent: list[ImportRow] = field(default_factory=list)
    _balance: int = 0
    _digest: PreviewDigest = field(default_factory=PreviewDigest)

    def add(self, plan: RowPlan) -> None:
        """Count a row, which comes after those before: what they take and free of seats counts in this order."""
        self.counts[plan.outcome] = self.counts.get(plan.outcome, 0) + 1
        self._balance += plan.seat
        self.needed = max(self.needed, self._balance)
        if plan.reason and plan.outcome not in (SKIP, WRONG):
            self.partial += 1
        uid = plan.user.uid if plan.user else ""
        facts = plan.number, plan.outcome, plan.reason, uid, plan.changed, plan.groups
        self._digest.add(facts)
        if len(self.first) < FIRST_ROWS:
            shown = {"row": plan.number, "user_name": plan.user_name, "outcome": plan.outcome}
            self.first.append({**shown, "reason": plan.reason, "changed": list(plan.changed)})

    @property
    def etag(self) -> str:
        """The strong entity tag: what each row does to whom, and how many seats are missing."""
        return self._digest.tag(max(0, self.needed - self.free) if self.free is not None else 0)

    def as_json(self) -> Json:
        """Return the counts and the first rows."""
        seats = {"seats_needed": self.needed, "seats_free": self.free}
        return {**self.counts, "partial": self.partial, **seats, "first": self.first}


class RowPlanner:
    """Plans rows of one organization; those of one call are looked up together."""

    def __init__(
        self, store: Store, organization: OrganizationRecord, columns: Sequence[str], document_limit: int
    ) -> None:
        self._store, self._organization, self._columns = store, organization, columns
        self._document_limit = document_limit
        self._managers: dict[int, str] = {}

    def plan(self, rows: Sequence[ImportRow]) -> list[RowPlan]:
        """Return what the rows do now, in their order."""
        values = [dict(zip(self._columns, row.cells, strict=True)) for row in rows]
        names = [fold(row[USER_NAME]) for row in values]
        people = self._store.imports.people_named(self._organization.id, names)
        ids = [row[ID] for row in values if row.get(ID)]
        owners = self._store.imports.names_of(self._organization.id, ids)
        self._name_managers(people.values())
        groups = self._find_groups(values)
        plans = []
        for row, cells, name in zip(rows, values, names, strict=True):
            if row.outcome == DEACTIVATE:
                plans.append(_plan_absent(row.number, cells[USER_NAME], people.get(name)))
                continue
            if row.outcome:
                plans.append(RowPlan(row.number, cells[USER_NAME], row.outcome, row.reason))
                continue
            owner = owners.get(cells.get(ID, ""))
            try:
                plans.append(self._plan_row(row.number, cells, people.get(name), owner, groups))
            except Refusal as refusal:
                plans.append(RowPlan(row.number, cells[USER_NAME], WRONG, refusal.detail))
        return self._leave_held_groups(plans)

    def _plan_row(
        self, number: int, cells: Mapping[str, str], user: UserRecord | None, owner: str | None,
        groups: Mapping[str, int | str],
    ) -> RowPlan:  # fmt: skip
        name = cells[USER_NAME]
        if not name:
            return RowPlan(
                number, name, WRONG, "user_name is empty: it is the name by which people are found."
            )
        if owner is not None and fold(owner) != fold(name):
            reason = (
                f"The id is that of {owner!r}, and an import renames nobody. Rename there, or empty the id."
            )
            return RowPlan(number, name, WRONG, reason)
        if user is not None and user.connection_id is not None:
            manager = self._managers[user.connection_id]
            return RowPlan(
                number, name, SKIP, f"The connection {manager} manages this person. Change it there.", user
            )
        values = _read_values(cells)
        if user is None:
            return self._plan_new(number, values, cells, groups)
        before = user.document
        # The name stays as it is spelled.
        document = edited(before, {key: value for key, value in values.items() if key != USER_NAME})
        document["active"] = values.get("active", bool(user.active))
        if user.protected and user.active and not document["active"]:
            reason = "This person is protected from being deactivated. End the protection first."
            return RowPlan(number, name, SKIP, reason, user)
        check_size(document, before, self._document_limit)
        changed = tuple(differing(before, document))
        joined, left_out = _split_groups(cells, groups)
        outcome = UPDATE if changed or joined else SAME
        return RowPlan(
            number, name, outcome, left_out, user, document if changed else None, joined, changed,
            int(document["active"]) - user.active,
        )  # fmt: skip

    def _plan_new(
        self, number: int, values: dict[str, Any], cells: Mapping[str, str], groups: Mapping[str, int | str]
    ) -> RowPlan:
        document = clean(user_type(), manual_document({"active": True, **values})).document
        check_size(document, None, self._document_limit)
        joined, reason = _split_groups(cells, groups)
        seat = int(document["active"])
        return RowPlan(number, values[USER_NAME], CREATE, reason, None, document, joined, (), seat)

    def _name_managers(self, people: Any) -> None:
        missing = {
            user.connection_id for user in people if user.connection_id is not None
        } - self._managers.keys()
        found = self._store.connections.by_keys(self._organization, sorted(missing))
        for key in missing:
            held = found.get(key)
            self._managers[key] = f"{held.name!r} ({held.idp})" if held else "of an identity provider"

    def _find_groups(self, rows: Sequence[Mapping[str, str]]) -> dict[str, int | str]:
        """Return the key of each group that may be joined by its folded name, else why it may not."""
        names = sorted({fold(name) for row in rows for name in _group_names(row)})
        found = self._store.imports.groups_named(self._organization.id, names)
        mapped = self._store.mapping_rules.connections_using([group.id for group in found])
        groups: dict[str, int | str] = {}
        for group in found:  # Manual ones come last.
            if group.connection_id is not None:
                groups[group.name_key] = "is pushed by an identity provider"
            elif group.id in mapped:
                groups[group.name_key] = f"is filled by Map to groups of the connection {mapped[group.id]!r}"
            else:
                groups[group.name_key] = group.id
        return groups

    def _leave_held_groups(self, plans: list[RowPlan]) -> list[RowPlan]:
        """Return the plans without the groups that people are in already."""
        users = [plan.user.id for plan in plans if plan.user and plan.groups]
        held = self._store.memberships.reasons_of_many(self._organization.id, users)
        left = []
        for plan in plans:
            if plan.user and plan.groups:
                inside = {group for group, _ in held.get(plan.user.id, ())}
                groups = tuple(group for group in plan.groups if group not in inside)
                plan = plan._replace(groups=groups, outcome=UPDATE if groups or plan.document else SAME)
            left.append(plan)
        return left


def _plan_absent(number: int, name: str, user: UserRecord | None) -> RowPlan:
    """Plan the deactivation of somebody who was not in the file when the import began to be applied."""
    if user is None or user.connection_id is not None or user.protected or not user.active:
        return RowPlan(number, name, SKIP, "This person has changed since, and was left as it is.")
    document = {**user.document, "active": False}
    return RowPlan(number, name, DEACTIVATE, None, user, document, changed=("active",), seat=-1)


def _read_values(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return what the cells of a row say of a person. Raises InvalidValue."""
    name = cells[USER_NAME]
    check_line(name, USER_NAME)
    check_length(name, USER_NAME, USER_NAME_LENGTH, indexed=True)
    values: dict[str, Any] = {USER_NAME: name}
    for column, longest in _LENGTHS.items():
        if column in cells:
            check_line(cells[column], column)
            check_length(cells[column], column, longest, indexed=True)
            values[column] = cells[column] or None
    if "active" in cells:
        active = _FLAGS.get(cells["active"].lower(), "")
        if active == "":
            raise UnusableCell(f"active is {excerpt(cells['active'])}; it is true or false.")
        if active is not None:
            values["active"] = active
    return values


class UnusableCell(Refusal):
    """A cell that holds what its column does not take."""

    status = 422


_NAMES = re.compile(r'(?:^|;)\s*(?:"((?:[^"]|"")+)"\s*(?=;|$)|([^;]*))')


def _group_names(cells: Mapping[str, str]) -> list[str]:
    """Return the names in a cell; one in quotation marks may hold a semicolon."""
    found = (
        quoted.replace('""', '"') if quoted else plain.strip()
        for quoted, plain in _NAMES.findall(cells.get(GROUPS, ""))
    )
    return [name for name in found if name]


def _split_groups(
    cells: Mapping[str, str], groups: Mapping[str, int | str]
) -> tuple[tuple[int, ...], str | None]:
    """Return the keys of the groups in a cell that may be joined, and a sentence for each of the others."""
    joined, left = [], []
    for name in _group_names(cells):
        found = groups.get(fold(name), "does not exist here: make it first, or mend the name")
        if isinstance(found, int):
            joined.append(found)
        else:
            left.append(f"The group {excerpt(name)} {found}.")
    more = f" And {len(left) - 5} more groups." if len(left) > 5 else ""
    return tuple(dict.fromkeys(joined)), " ".join(left[:5]) + more or None
