"""A person is erased from every table, from the log of the database and from the feed, and nothing brings it back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.provisioning.erasure.erasures import Erasures
from gateway.provisioning.erasure.kept_list import KeptList
from gateway.provisioning.erasure.texts import Eraser, identifying_texts
from gateway.provisioning.unit_of_work import UnitsOfWork
from gateway.store.ids_and_time import now
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import USER
from gateway.testing.engines import is_postgresql
from tests.support.admin import AdminClient
from tests.support.personal_data import COLUMNS, OF_THE_ENGINE

#: In each value of the person, in any letter case.
MARK = "zq7mark"
NAME = f"{MARK}@acme.test"
SECOND, DAY = 1_000_000, 86_400_000_000
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


class Organization:
    """An organization with a connection, and a worker whose clock a test sets."""

    def __init__(self, deployment: Deployment) -> None:
        deployment.gateway.worker.stop()
        self.deployment, self.gateway = deployment, deployment.gateway
        self.client = deployment.connection("generic")
        self.admin = AdminClient(deployment, self.client.organization.uid)
        self.ahead = 0

    def erasures(self, days: int = 0) -> Erasures:
        """Return the operation as a newly started process has it."""
        gateway = self.gateway
        return Erasures(
            gateway.store, UnitsOfWork(gateway.store, gateway.callers), gateway.callers, gateway.activity_writer,
            KeptList(gateway.config.instance), days, lambda: now() + self.ahead,
        )  # fmt: skip

    def erase(
        self, uid: str, confirm: str = NAME, status: int = 200, reason: str = "Asked for by letter."
    ) -> Any:
        body = {"reason": reason, "confirm": confirm}
        return self.admin.post(f"{self.admin.path}/users/{uid}/erase", body, status)

    def finish(self) -> None:
        """Run what the worker runs once processes have written what they had buffered."""
        self.ahead = 20 * SECOND
        self.erasures().resume()

    def run(self, sql: str, *parameters: Any) -> None:
        with self.gateway.store.transaction():
            self.gateway.store.database.run(sql, *parameters)

    def one(self, sql: str, *parameters: Any) -> Any:
        row = self.gateway.store.database.one(sql, *parameters)
        return row and row[0]


@pytest.fixture
def organization(deployment: Deployment) -> Organization:
    return Organization(deployment)


def find_mark(organization: Organization) -> list[str]:
    """Return the columns of all tables that hold the mark."""
    database, found = organization.gateway.store.database, []
    for table in database.peewee.get_tables():
        names = [column.name for column in database.peewee.get_columns(table)]
        for row in database.all(f"SELECT * FROM {table}"):
            found += [
                f"{table}.{name}"
                for name, value in zip(names, row, strict=True)
                if MARK in str(value).lower()
            ]
    return sorted(set(found))


def make_person(client: Scim) -> str:
    body: dict[str, Any] = {
        "schemas": [USER, _ENTERPRISE],
        "userName": f"old.{NAME}",
        "displayName": f"{MARK} First",
        "name": {"givenName": MARK.title(), "familyName": "Person", "formatted": f"Dr. {MARK} Person"},
        "emails": [{"value": f"mail.{NAME}", "primary": True}],
        "phoneNumbers": [{"value": f"+49 {MARK}"}],
        "externalId": f"00u{MARK}",
        "title": f"Head of {MARK}",
        "active": True,
        _ENTERPRISE: {"employeeNumber": f"7-{MARK}", "department": f"Sales {MARK}"},
    }
    made = client.call("POST", "/Users", body)
    assert made.status == 201
    user = made.json
    uid = str(user["id"])
    client.group("Sales", (uid,))
    client.patch(
        f"/Users/{uid}", {"op": "replace", "value": {"userName": NAME, "displayName": f"{MARK} Last"}}
    )
    # Refusals that name it, about others as well.
    assert client.call("POST", "/Users", {"schemas": [USER], "userName": NAME}).status == 409
    other = client.user("other@acme.test")
    path = f"/Users/{other['id']}"
    assert client.patch(path, {"op": "replace", "path": "userName", "value": NAME}).status == 409
    assert client.call("GET", f'/Users?filter=userName%20eq%20"{NAME}"').status == 200
    client.call("GET", f"/Users/{uid}")
    return uid


def mark_other_tables(organization: Organization, uid: str) -> None:
    """Fill what other operations store of a person."""
    store, tenant = organization.gateway.store, organization.client.organization.id
    connection, moment = organization.client.connection.id, now()
    key = organization.one("SELECT id FROM users WHERE uid = ?", uid)
    organization.run(
        "INSERT INTO held_removals VALUES (?, 'User', ?, ?, 'delete', 1, ?, ?, 1, 0)",
        connection, uid, NAME, moment, moment,
    )  # fmt: skip
    organization.run(
        "INSERT INTO adoptions (uid, organization_id, connection_id, user_id, found_by, risk, first, last, tries,"
        " state) VALUES ('a', ?, ?, ?, ?, 'low', ?, ?, 1, 'waiting')",
        tenant, connection, key, f"userName {NAME}", moment, moment,
    )  # fmt: skip
    explained = "INSERT INTO traces (organization_id, request_id, at, user_uid, request, response, steps)"
    organization.run(f"{explained} VALUES (?, 'r', ?, ?, '{{}}', ?, '[]')", tenant, moment, uid, f"Hi {MARK}")
    organization.run(
        f"{explained} VALUES (?, 's', ?, NULL, ?, '', '[]')", tenant, moment, json.dumps({"body": NAME})
    )
    organization.run(f"{explained} VALUES (?, 't', ?, NULL, '{{}}', '', '[]')", tenant, moment)
    organization.run(
        "INSERT INTO imports (uid, organization_id, created, expires, state, absent, columns, row_count, done, summary,"
        " version) VALUES ('i', ?, 1, 1, 'preview', 'keep', '[]', 2, 0, '{}', 1)",
        tenant,
    )
    imported = organization.one("SELECT id FROM imports")
    for number, name in enumerate((NAME, "other@acme.test")):
        organization.run(
            "INSERT INTO import_rows VALUES (?, ?, ?, 'refused', ?)",
            imported, number, json.dumps({"userName": name}), f"{name} is taken.",
        )  # fmt: skip
    seq = store.events.newest(tenant)
    webhook = organization.admin.post("/webhooks", {"url": "https://app.acme.test/in"})["id"]
    own = organization.one("SELECT id FROM webhooks WHERE uid = ?", webhook)
    for number in range(1, seq + 1):
        # A receiver that polls says in its own words why it refuses an event.
        organization.run(
            "INSERT INTO webhook_parked SELECT ?, organization_id, seq, at, CASE WHEN resource_uid = ? THEN ? ELSE"
            " 'no' END FROM events WHERE organization_id = ? AND seq = ?",
            own, uid, f"{MARK.upper()} has no account", tenant, number,
        )  # fmt: skip
        organization.run(
            "INSERT INTO webhook_attempts (webhook_id, organization_id, seq, type, message_id, at, outcome, ms,"
            " response) SELECT ?, organization_id, seq, type, 'm', at, 'success', 1,"
            " CASE WHEN resource_uid = ? THEN ? ELSE 'ok' END FROM events WHERE organization_id = ? AND seq = ?",
            own, uid, f"Welcome {MARK.upper()}", tenant, number,
        )  # fmt: skip


def test_a_person_is_erased_from_every_column_and_from_the_file(
    organization: Organization, caplog: pytest.LogCaptureFixture, audit: Callable[[Deployment], None]
) -> None:
    caplog.set_level(logging.DEBUG)
    client = organization.client
    uid = make_person(client)
    mark_other_tables(organization, uid)
    client.call("DELETE", f"/Users/{uid}")
    key = organization.one("SELECT id FROM users WHERE uid = ?", uid)
    # After the deletion, which remembers the groups of that moment.
    organization.run(
        "INSERT INTO removed_grants VALUES (?, ?, 1, ?, ?)",
        client.organization.id,
        key,
        f"plugin {MARK}",
        now(),
    )
    organization.admin.get(f"{organization.admin.path}/activity?user={NAME}")
    tenant = client.organization
    before = [
        (record.seq, record.type) for record in organization.gateway.store.events.page(tenant.id, 0, 1000)
    ]
    exported = json.loads(
        organization.deployment.admin("GET", f"{organization.admin.path}/users/{uid}/export").text
    )
    assert (exported["user"]["userName"], exported["deleted"]) == (NAME, True)
    assert [event["type"] for event in exported["events"]] == ["user.created", "user.updated", "user.deleted"]
    assert (len(exported["adoptions"]), len(exported["held_removals"])) == (1, 1)
    assert all(isinstance(exported[name][0]["first"], str) for name in ("adoptions", "held_removals"))
    assert {"POST /Users", "PATCH /Users/{id}"} <= {line["operation"] for line in exported["activity"]}
    marked = {column.split(".")[0] for column in find_mark(organization)}
    assert marked >= {
        "users", "emails", "events", "activity", "adoptions", "held_removals", "removed_grants", "traces",
        "import_rows", "webhook_attempts", "webhook_parked",
    }  # fmt: skip
    caplog.clear()
    assert organization.erase(uid)["state"] == "erasing"
    organization.finish()
    assert organization.erase(uid)["state"] == "erased"
    assert find_mark(organization) == []
    assert MARK not in caplog.text.lower()
    if not is_postgresql():
        files = Path(organization.gateway.config.instance).glob("gateway.sqlite3*")
        assert [file.name for file in files if MARK.encode() in file.read_bytes().lower()] == []
    # The feed has the same numbers and types, and says it at its end.
    after = organization.gateway.store.events.page(tenant.id, 0, 1000)
    assert [(record.seq, record.type) for record in after[:-1]] == before
    assert after[-1].type == "user.erased"
    assert all(json.loads(r.data) == {"id": uid, "erased": True} for r in after if r.resource_uid == uid)
    # What was not of the person stays.
    assert organization.one("SELECT COUNT(*) FROM traces") == 1
    assert organization.one("SELECT COUNT(*) FROM webhook_attempts WHERE response = 'ok'") > 0
    assert organization.one("SELECT COUNT(*) FROM webhook_parked WHERE error = 'no'") > 0
    assert organization.one("SELECT COUNT(*) FROM import_rows WHERE reason LIKE 'other%'") == 1
    assert organization.one("SELECT COUNT(*) FROM activity WHERE user_name = 'other@acme.test'") > 0
    assert organization.admin.get(f"{organization.admin.path}/users/{uid}/export", 404)
    audit(organization.deployment)


def test_who_has_the_name_by_now_keeps_its_lines_and_is_exported_without_those_of_before(
    organization: Organization,
) -> None:
    client = organization.client
    renamed = {"op": "replace", "path": "userName", "value": "later@acme.test"}
    first = client.user(NAME)["id"]
    assert client.patch(f"/Users/{first}", renamed).status == 200
    second = client.user(NAME)["id"]
    assert client.patch(f"/Users/{second}", {"op": "replace", "path": "active", "value": "x"}).status == 400
    client.call("DELETE", f"/Users/{first}")

    def exported(uid: str) -> list[tuple[str, int]]:
        path = f"{organization.admin.path}/users/{uid}/export"
        lines = json.loads(organization.deployment.admin("GET", path).text)["activity"]
        return [(line["operation"], line["status"]) for line in lines]

    own = [("POST /Users", 201), ("PATCH /Users/{id}", 400)]
    assert exported(second) == own
    organization.erase(first, "later@acme.test")
    organization.finish()
    assert organization.one("SELECT state FROM erasures") == "done"
    assert exported(second) == own
    assert (
        organization.one("SELECT COUNT(*) FROM activity WHERE target_uid = ? AND user_key <> ''", first) == 0
    )


def test_answers_that_come_late_are_removed_too(organization: Organization) -> None:
    """An attempt lasts 15 seconds, and what it is answered is written after that; it began before the erasure."""
    uid = organization.client.user(NAME)["id"]
    organization.client.call("DELETE", f"/Users/{uid}")
    # As if its events had been found after a long search only.
    organization.erase(uid)
    organization.run("UPDATE activity SET at = at - ?", 7200 * SECOND)
    organization.run("UPDATE erasures SET state = 'events', progress = 0, at = at - ?", 3600 * SECOND)
    organization.erasures().resume()
    organization.ahead = 17 * SECOND
    organization.erasures().resume()
    mark_answer(organization, uid)
    organization.ahead = 21 * SECOND
    organization.erasures().resume()
    assert organization.one("SELECT state FROM erasures") == "done"
    assert find_mark(organization) == []


def mark_answer(organization: Organization, uid: str) -> None:
    webhook = organization.admin.post("/webhooks", {"url": "https://app.acme.test/in"})["id"]
    own = organization.one("SELECT id FROM webhooks WHERE uid = ?", webhook)
    organization.run(
        "INSERT INTO webhook_attempts (webhook_id, organization_id, seq, type, message_id, at, outcome, ms, response)"
        " SELECT ?, organization_id, seq, type, 'm', at, 'success', 1, ? FROM events WHERE resource_uid = ?",
        own, f"Welcome {MARK}", uid,
    )  # fmt: skip


def test_every_text_column_says_what_an_erasure_does(organization: Organization) -> None:
    database = organization.gateway.store.database
    found = {
        table: {
            column.name
            for column in database.peewee.get_columns(table)
            if column.data_type.lower() in ("text", "json", "jsonb")
        }
        for table in set(database.peewee.get_tables()) - OF_THE_ENGINE
    }
    assert found == {table: set(columns) for table, columns in COLUMNS.items()}


def test_only_who_is_deleted_or_managed_by_nobody_and_inactive_is_erased(organization: Organization) -> None:
    client = organization.client
    uid = client.user(NAME)["id"]
    assert "managed by Generic" in organization.erase(uid, status=409)["message"]
    manual = organization.admin.post(f"{organization.admin.path}/users", {"user_name": "manual@acme.test"})
    path = f"{organization.admin.path}/users/{manual['id']}"
    assert "active" in organization.erase(manual["id"], "manual@acme.test", 409)["message"]
    organization.admin.call("PATCH", path, {"active": False})
    assert "`confirm`" in organization.erase(manual["id"], "somebody@acme.test", 422)["message"]
    named = "manual@acme.test asked for it"
    assert "`reason`" in organization.erase(manual["id"], "manual@acme.test", 422, named)["message"]
    assert organization.one("SELECT COUNT(*) FROM erasures") == 0
    organization.erase(manual["id"], "manual@acme.test")
    assert "here. It was erased: nothing" in organization.admin.get(path, 404)["message"]
    assert [kind for kind, _ in organization.deployment.events(client.organization)][-2:] == [
        "user.deleted", "user.erased",
    ]  # fmt: skip
    # The name is free, for another person with another id.
    again = organization.admin.post(f"{organization.admin.path}/users", {"user_name": "manual@acme.test"})
    assert again["id"] != manual["id"]
    # An erasure is in the activity with who and why, without whom.
    line = next(
        row
        for row in organization.deployment.activity(client.organization)
        if row.operation.endswith("/erase") and row.status == 200
    )
    assert (line.user, line.target_uid) == (None, manual["id"])
    assert json.loads(line.facts)["reason"] == "Asked for by letter."


def test_a_deletion_by_scim_erases_nobody_and_the_identity_provider_cannot_restore_an_erased_one(
    organization: Organization,
) -> None:
    client = organization.client
    uid = client.user(NAME, externalId="x1")["id"]
    client.call("DELETE", f"/Users/{uid}")
    assert organization.one("SELECT user_name FROM users WHERE uid = ?", uid) == NAME
    organization.erase(uid)
    assert client.user(NAME, externalId="x1")["id"] != uid
    absent = client.call("GET", f"/Users/{uid}")
    assert absent.status == 404
    assert NAME not in absent.text


def test_a_legal_hold_refuses_an_erasure_and_stops_one(organization: Organization) -> None:
    uid = organization.client.user(NAME)["id"]
    organization.client.call("DELETE", f"/Users/{uid}")
    path = organization.admin.path
    assert organization.admin.call("PATCH", path, {"legal_hold": True})["legal_hold"] is True
    assert "legal hold" in organization.erase(uid, status=409)["message"]
    organization.ahead = 100 * DAY
    organization.erasures(days=90).resume()
    assert organization.one("SELECT user_name FROM users WHERE uid = ?", uid) == NAME
    organization.admin.call("PATCH", path, {"legal_hold": False})
    organization.erase(uid)
    organization.admin.call("PATCH", path, {"legal_hold": True})
    organization.finish()
    assert organization.one("SELECT state FROM erasures") != "done"
    organization.admin.call("PATCH", path, {"legal_hold": False})
    organization.finish()
    assert organization.one("SELECT state FROM erasures") == "done"


def test_an_organization_under_a_legal_hold_is_not_removed(organization: Organization) -> None:
    uid = organization.client.user(NAME)["id"]
    path = organization.admin.path
    organization.admin.call("PATCH", path, {"legal_hold": True})
    assert "is under a legal hold" in organization.admin.call("DELETE", path, None, 409)["message"]
    assert organization.one("SELECT user_name FROM users WHERE uid = ?", uid) == NAME
    assert organization.client.call("GET", f"/Users/{uid}").status == 200
    organization.admin.call("PATCH", path, {"legal_hold": False})
    organization.admin.call("DELETE", path, None, 204)


def test_nothing_of_an_organization_under_a_legal_hold_is_pruned(organization: Organization) -> None:
    deployment, store = organization.deployment, organization.gateway.store
    held, free = organization.client, deployment.connection("generic")
    for number, client in enumerate((held, free, held)):
        client.user(f"user{number}@acme.test")
        client.call("GET", "/Users")
    organization.gateway.activity_writer.flush()
    organization.admin.call("PATCH", organization.admin.path, {"legal_hold": True})
    keys = [client.organization.id for client in (held, free)]
    count = "SELECT COUNT(*) FROM activity WHERE organization_id = ?"
    before = organization.one(count, keys[0])
    for _ in range(organization.one("SELECT COUNT(*) FROM activity")):
        with store.transaction():
            store.activity.prune(now() + DAY, 2)
    assert [organization.one(count, key) for key in keys] == [before, 0]
    assert keys[0] not in [key for key, _ in store.event_retention.oldest(0, 100)]
    assert keys[1] in [key for key, _ in store.event_retention.oldest(0, 100)]
    organization.admin.call("PATCH", organization.admin.path, {"legal_hold": False})
    with store.transaction():
        assert store.activity.prune(now() + DAY, 1000) >= before


def test_users_who_are_deleted_for_long_are_erased(organization: Organization) -> None:
    uid = organization.client.user(NAME)["id"]
    organization.client.call("DELETE", f"/Users/{uid}")
    kept = organization.client.user("kept@acme.test")["id"]
    organization.ahead = 89 * DAY
    organization.erasures(days=90).resume()
    assert organization.one("SELECT COUNT(*) FROM erasures") == 0
    organization.ahead = 91 * DAY
    organization.erasures(days=90).resume()
    assert organization.one("SELECT uid FROM erasures") == uid
    assert organization.client.call("GET", f"/Users/{kept}").status == 200


def test_who_was_erased_is_erased_again_after_a_backup_was_restored(organization: Organization) -> None:
    uid = organization.client.user(NAME)["id"]
    # As a restored backup has it: the person is back, and active; of the erasure only the list is left.
    KeptList(organization.gateway.config.instance).add(organization.client.organization.uid, uid, now())
    KeptList(organization.gateway.config.instance).add("gone", "gone", now())
    used = organization.deployment.used(organization.client.organization)
    organization.ahead = 0
    organization.erasures().resume()
    assert organization.one("SELECT user_name FROM users WHERE uid = ?", uid) == ""
    assert organization.deployment.used(organization.client.organization) == used - 1
    listed = KeptList(organization.gateway.config.instance)
    assert NAME not in listed.path.read_text()
    assert listed.path.stat().st_mode & 0o777 == 0o600


def test_texts_are_cut_where_they_are_words_of_their_own() -> None:
    texts = identifying_texts({"userName": "ann@acme.test", "displayName": "Ann Ä", "nickName": "an"})
    assert texts == {"ann@acme.test", "Ann Ä"}
    eraser = Eraser(texts)
    assert eraser.cut("ANN@acme.test, joann@acme.test: ann@acme.test.") == "…, joann@acme.test: …."
    assert json.loads(eraser.cut_json(json.dumps([{"verdict": "shared with Ann Ä"}]))) == [
        {"verdict": "shared with …"}
    ]
    assert eraser.finds(json.dumps({"name": "Ann Ä"}))
    said = "The connection's value 'Mars' was refused: it isn't known."
    assert eraser.cut_all(said) == "The connection's value '…' was refused: it isn't known."
