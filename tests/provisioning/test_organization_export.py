"""The export of an organization holds all that belongs to it, nothing of another one, and no secret."""

from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.store import exports
from gateway.store.exports import NOT_EXPORTED, TABLES
from gateway.testing import Deployment, Scim
from tests.support.personal_data import COLUMNS, SECRET

#: Columns of exported tables that are left out, and why.
_DERIVED = {"user_key", "user_name_key", "display_key", "name_key", "doc_key"}
_INTERNAL = {"texts"}


def export(scim: Scim, folder: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], bytes]:
    """Return manifest and rows by table of an export, and all of its text."""
    target, seen = folder / "acme.zip", list[tuple[int, int]]()
    deployment = scim.deployment
    deployment.gateway.organization_export.write(
        scim.organization, target, lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        texts = {each["name"]: archive.read(each["name"]) for each in manifest["files"]}
        entries = archive.infolist()
    # MS-DOS times of an archive have two seconds.
    began = manifest["began_at"][:18]
    assert {f"{datetime(*entry.date_time).isoformat()[:18]}" for entry in entries} == {began}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_DEFLATED}
    for each in manifest["files"]:
        assert hashlib.sha256(texts[each["name"]]).hexdigest() == each["sha256"]
    rows = {
        name.removesuffix(".jsonl"): [json.loads(line) for line in text.splitlines()]
        for name, text in texts.items()
    }
    assert {name: len(found) for name, found in rows.items()} == {
        each["name"].removesuffix(".jsonl"): each["rows"] for each in manifest["files"]
    }
    return manifest, rows, b"".join(texts.values())


def test_what_is_stored_of_an_organization_is_exported(deployment: Deployment, tmp_path: Path) -> None:
    scim = deployment.connection("okta", deployment.organization(seats=10), brake=True)
    other = deployment.connection("okta", deployment.organization("Other"))
    stranger = other.user("stranger@other.test")
    uid, gone = scim.user()["id"], scim.user("user2@acme.test")["id"]
    scim.group("Sales", (uid, gone, stranger["id"]))
    scim.call("DELETE", f"/Users/{gone}")
    manifest, rows, text = export(scim, tmp_path)
    assert manifest["organization"] == {"id": scim.organization.uid, "name": "Acme"}
    users = {user["uid"]: user for user in rows["users"]}
    assert users.keys() == {uid, gone}
    assert (users[uid]["doc"]["userName"], users[uid]["deleted"]) == ("user1@acme.test", 0)
    assert users[gone]["deleted"] == 1
    assert [group["name"] for group in rows["groups"]] == ["Sales"]
    assert [grant["source"] for grant in rows["grants"]] == ["push"]
    assert [each["source"] for each in rows["removed_grants"]] == ["push"]
    assert [(event["seq"], event["type"]) for event in rows["events"]] == [
        (number, kind) for number, (kind, _) in enumerate(deployment.events(scim.organization), 1)
    ]
    assert manifest["last_event"] == len(rows["events"])
    assert rows["connections"][0]["brake"] == {"percent": 20, "least": 10, "minutes": 60}
    assert {"POST /Users", "DELETE /Users/{id}"} <= {line["operation"] for line in rows["activity"]}
    assert b"stranger@other.test" not in text
    assert b"Other" not in text
    digest, prefix = deployment.gateway.store.database.all("SELECT digest, prefix FROM tokens ORDER BY id")[0]
    assert digest.encode() not in text
    assert scim.token.encode() not in text
    assert prefix.encode() in text


def test_a_table_of_many_rows_is_read_in_portions(
    scim: Scim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "ROWS", 2)
    uids = [scim.user(f"user{number}@acme.test")["id"] for number in range(5)]
    scim.group("Sales", tuple(uids))
    _, rows, _ = export(scim, tmp_path)
    assert [user["uid"] for user in rows["users"]] == uids
    assert len(rows["grants"]) == 5
    assert [event["seq"] for event in rows["events"]] == list(range(1, len(rows["events"]) + 1))


@pytest.mark.sqlite  # no database is asked
def test_each_table_and_column_is_exported_or_left_out_for_a_reason() -> None:
    names = [table.name for table in TABLES]
    assert sorted([*names, *NOT_EXPORTED]) == sorted(COLUMNS)
    for table in TABLES:
        secret = {column for column, kind in COLUMNS[table.name].items() if kind is SECRET} - {"prefix"}
        assert not secret & set(table.columns), table.name
        missing = COLUMNS[table.name].keys() - set(table.columns) - secret - _DERIVED - _INTERNAL
        assert missing == set(), table.name
