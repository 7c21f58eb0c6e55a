"""People from a CSV file: previewed, applied in portions, with an outcome for each row."""

from __future__ import annotations

import codecs
import csv
import io
from typing import Any

import pytest

from gateway.provisioning.imports import imports as operations
from gateway.provisioning.imports.csv_files import read_people
from gateway.provisioning.imports.portions import Portion
from tests.support.long_changes import finish_abandoned

HEADER = "user_name,display_name,email,active,groups\n"


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def upload(acme: Any, text: str | bytes, query: str = "", path: str = "") -> Any:
    """Upload a file; the answer, whose ETag is in `last_headers`."""
    return acme.deployment.admin("POST", f"{path or acme.path}/imports{query}", text, Content_Type="text/csv")


def apply(acme: Any, made: Any, etag: str | None = None, path: str = "") -> Any:
    """Apply an import with the ETag of the answer before."""
    etag = etag or acme.deployment.last_headers["ETag"]
    return acme.deployment.admin("POST", f"{path or acme.path}/imports/{made['id']}/apply", If_Match=etag)


def result(acme: Any, made: Any) -> list[list[str]]:
    text = acme.deployment.admin("GET", f"{acme.path}/imports/{made['id']}/result.csv").text
    return list(csv.reader(io.StringIO(text)))


def people(acme: Any, path: str = "") -> list[list[str]]:
    text = acme.deployment.admin("GET", f"{path or acme.path}/users.csv").text
    return [row[1:] for row in csv.reader(io.StringIO(text))]


def test_each_row_has_its_outcome_and_good_rows_are_not_lost_for_bad_ones(acme) -> None:
    acme.okta.user("okta@acme.test")
    acme.post(f"{acme.path}/groups", {"name": "Sales"})
    acme.post(f"{acme.path}/users", {"user_name": "Old@acme.test", "display_name": "Old"})
    acme.post(f"{acme.path}/users", {"user_name": "same@acme.test", "display_name": "Same"})
    text = HEADER + (
        "new@acme.test,New,new@acme.test,true,Sales\n"
        "old@acme.test,Older,,no,Sales; Nowhere\n"
        "same@acme.test,Same,,,\n"
        "okta@acme.test,Mine,,true,\n"
        "twice@acme.test,,,true,\nTWICE@acme.test,,,true,\n"
        "odd@acme.test,\x07,,true,\n"
        "flag@acme.test,,,perhaps,\n"
        ",Nameless,,,\n"
        "short@acme.test\n"
    )
    answer = upload(acme, text)
    made, etag = answer.json, acme.deployment.last_headers["ETag"]
    assert (answer.status, made["state"], made["rows"]) == (201, "preview", 10)
    counts = ("create", "update", "same", "skip", "wrong", "partial", "seats_needed", "seats_free")
    assert [made[name] for name in counts] == [1, 1, 1, 1, 6, 1, 1, None]
    assert made["first"][1]["changed"] == ["active", "displayName"]
    assert len(people(acme)) == 4, "nobody is made by a preview"
    applied = apply(acme, made, etag)
    assert (applied.status, applied.json["state"], applied.json["done"]) == (200, "done", 10)
    assert applied.json["outcomes"] == {
        "created": 1, "updated": 1, "same": 1, "skipped": 1, "wrong": 6, "partial": 1
    }  # fmt: skip
    rows = result(acme, made)
    assert rows[0] == [*HEADER.strip().split(","), "outcome", "reason"]
    assert [row[-2] for row in rows[1:5]] == ["created", "updated", "same", "skipped"]
    for number, sentence in (
        (2, 'The group "Nowhere" does not exist here'), (4, "manages this person"), (5, "also in row 6"),
        (7, "control character U+0007"), (8, "true or false"), (9, "user_name is empty"), (10, "1 cells"),
    ):  # fmt: skip
        assert sentence in rows[number][-1], number
    found = {row[0]: row for row in people(acme)}
    assert found["new@acme.test"] == ["new@acme.test", "New", "true", "manual", "", "Sales"]
    assert found["Old@acme.test"][1:3] == ["Older", "false"]
    assert found["okta@acme.test"][3] == "okta"
    events = acme.get(f"{acme.path}/events?after=4")["items"]
    assert [event["type"] for event in events] == [
        "user.created",
        "user.deactivated",
        "group.members_changed",
    ]
    assert acme.get(f"{acme.path}/groups")["items"][0]["members"] == 2


def test_names_of_groups_that_hold_a_semicolon_come_back(acme) -> None:
    names = ["Ops; Night", "Ops", "Night", '"Quoted"', 'Two "x"; y', 'Plain "z"']
    ids = [acme.post(f"{acme.path}/groups", {"name": name})["id"] for name in names]
    uid = acme.post(f"{acme.path}/users", {"user_name": "user1@acme.test"})["id"]
    for group in (ids[0], *ids[3:]):
        acme.call("PUT", f"{acme.path}/groups/{group}/members/{uid}", None, 204)
    exported = acme.deployment.admin("GET", f"{acme.path}/users.csv").text
    assert upload(acme, exported).json["same"] == 1
    acme.call("PATCH", f"{acme.path}/users/{uid}", {"user_name": "user2@acme.test"})
    made = upload(acme, exported.replace(uid, "")).json
    assert (made["create"], made["partial"]) == (1, 0)
    apply(acme, made)
    exported = acme.deployment.admin("GET", f"{acme.path}/users.csv").text
    (first, second) = list(csv.reader(io.StringIO(exported)))[1:]
    assert first[-1] == second[-1] == '"Ops; Night"; """Quoted"""; "Two ""x""; y"; Plain "z"'


def test_users_csv_comes_back_equal_in_an_empty_organization(acme) -> None:
    for name in ("Sales", "Ops"):
        acme.post(f"{acme.path}/groups", {"name": name})
    lines = [
        ("=1+1@acme.test", "'quoted'", "Sales; Ops"),
        ("b@acme.test", 'A "B", C', ""),
        ("ü@acme.test", "@x", "Ops"),
    ]
    text = io.StringIO()
    csv.writer(text).writerows([("user_name", "display_name", "groups"), *lines])
    # A `'` in front is one that protected the cell: it is taken away, and there are two where the name begins with it.
    made = upload(acme, text.getvalue().replace("'quoted'", "''quoted'")).json
    assert apply(acme, made).json["outcomes"] == {"created": 3}
    exported = acme.deployment.admin("GET", f"{acme.path}/users.csv").text
    assert "'=1+1@acme.test" in exported
    assert "''quoted'" in exported
    other = f"/organizations/{acme.post('/organizations', {'name': 'Other'})['id']}"
    for name in ("Sales", "Ops"):
        acme.post(f"{other}/groups", {"name": name})
    for encoded in (exported.encode("utf-8-sig"), codecs.BOM_UTF16_LE + exported.encode("utf-16-le")):
        made = upload(acme, encoded, path=other).json
        assert apply(acme, made, path=other).json["state"] == "done"
        assert people(acme, other) == people(acme)
    assert made["same"] == 3


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_line_ends_and_quoted_newlines_are_read(separator: str) -> None:
    lines = [("user_name", "idp_group"), ("a@acme.test", "x"), (), ("b@acme.test", '"two\nlines"')]
    file = read_people("\r\n".join(separator.join(line) for line in lines).encode())
    assert [row.cells for row in file.rows] == [("a@acme.test", "x"), ("b@acme.test", "two\nlines")]


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "NUL": (b"user_name\na\0@acme.test\n", 422, "holds NUL at character 12"),
    "many rows": (b"user_name\n" + b"x@acme.test\n" * 10_001, 413, "more than 10000 rows"),
    "large": (b"user_name\n" + b"x" * (11 << 20), 413, "10485760"),
    "large cell": (b"user_name\n" + b"x" * (9 << 20), 422, "from line 2 on: field larger"),
    "open quote": (b'user_name\n"x@acme.test\ny@acme.test\n', 422, "from line 2 on"),
    "stray quote": (b'user_name\n"x"y@acme.test\n', 422, "from line 2 on"),
    "odd UTF-16": (codecs.BOM_UTF16_LE + "user_name\n".encode("utf-16-le") + b"a", 422, "not UTF-16-LE"),
    "Latin-1": ("user_name\nü@acme.test".encode("latin-1"), 422, "byte 11"),
    "UTF-16 without BOM": ("user_name\n".encode("utf-16-le"), 422, "holds NUL"),
    "unknown column": (b"user_name,secret\n", 422, "'secret'"),
    "doubled column": (b"user_name,user_name\n", 422, "twice"),
    "no name": (b"display_name\nx\n", 422, "no column 'user_name'"),
    "empty": (b"", 422, "is empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence_and_stored_nowhere(acme, name: str) -> None:
    data, status, sentence = HOSTILE[name]
    answer = upload(acme, data)
    assert answer.status == status, answer.text
    assert sentence in answer.json["message"]
    assert acme.get(f"{acme.path}/imports")["items"] == []


def test_an_import_is_applied_as_it_was_previewed_or_not_at_all(acme) -> None:
    made = upload(acme, HEADER + "a@acme.test,A,,true,\n").json
    etag = acme.deployment.last_headers["ETag"]
    path = f"{acme.path}/imports/{made['id']}"
    acme.call("POST", f"{path}/apply", None, 428)
    acme.post(f"{acme.path}/users", {"user_name": "A@acme.test"})
    refused = apply(acme, made, etag)
    assert refused.status == 412
    assert "something else" in refused.json["message"]
    assert acme.get(path)["update"] == 1
    assert apply(acme, made).json["outcomes"] == {"updated": 1}
    again = apply(acme, made, etag)
    assert again.status == 409
    assert "was applied already" in again.json["message"]
    acme.call("DELETE", path, None, 204)
    acme.get(path, 404)
    operation = "/organizations/{organization}/imports"
    lines = [(line["operation"], line["status"]) for line in acme.get(f"{acme.path}/activity")["items"]]
    assert {
        (f"POST {operation}", 201), (f"POST {operation}/{{import}}/apply", 200),
        (f"POST {operation}/{{import}}/apply", 412), (f"DELETE {operation}/{{import}}", 204),
    } <= set(lines)  # fmt: skip


def test_rows_beyond_the_seats_are_refused_in_the_words_of_the_plugin(deployment) -> None:
    from tests.web.admin.conftest import Acme

    acme = Acme(deployment, seats=3)
    acme.post(f"{acme.path}/users", {"user_name": "leaves@acme.test"})
    rows = [f"user{number}@acme.test,,,true,\n" for number in range(4)]
    made = upload(acme, HEADER + "leaves@acme.test,,,false,\n" + "".join(rows)).json
    assert (made["seats_needed"], made["seats_free"]) == (3, 2)
    assert apply(acme, made).json["outcomes"] == {"updated": 1, "created": 3, "refused": 1}
    assert result(acme, made)[-1][-2] == "refused"
    assert "over capacity" in result(acme, made)[-1][-1]
    assert acme.get(f"{acme.path}/seats")["used"] == 3


def test_absent_people_are_deactivated_where_that_is_asked_but_never_managed_or_protected_ones(acme) -> None:
    acme.okta.user("okta@acme.test")
    for name in ("stays", "goes", "guarded", "wrong"):
        acme.post(f"{acme.path}/users", {"user_name": f"{name}@acme.test"})
    acme.deployment.gateway.store.database.run(
        "UPDATE users SET protected = 1 WHERE user_name = 'guarded@acme.test'"
    )
    text = "user_name,active\nstays@acme.test,true\nwrong@acme.test,perhaps\n"
    assert "deactivate" not in upload(acme, text).json
    made = upload(acme, text, "?absent=deactivate").json
    assert (made["deactivate"], made["rows"]) == (1, 2)
    assert apply(acme, made).json["outcomes"] == {"deactivated": 1, "same": 1, "wrong": 1}
    inactive = [row[0] for row in people(acme)[1:] if row[2] == "false"]
    assert inactive == ["goes@acme.test"]
    assert upload(acme, text, "?absent=delete").status == 422


def test_an_upload_that_is_not_completed_leaves_no_import(acme, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preview refuses too many absent people, or the process is killed before it is stored."""
    for number in range(3):
        acme.post(f"{acme.path}/users", {"user_name": f"user{number}@acme.test"})
    text, path = "user_name\nnew@acme.test\n", f"{acme.path}/imports"
    monkeypatch.setattr(operations, "MOST_ROWS", 2)
    refused = upload(acme, text, "?absent=deactivate")
    assert (refused.status, refused.json["message"][:18]) == (422, "More than 2 people")
    assert acme.get(path)["items"] == []
    count = "SELECT COUNT(*) FROM imports i JOIN organizations o ON o.id = i.organization_id WHERE o.uid = ?"
    assert acme.deployment.gateway.store.database.one(count, acme.okta.organization.uid) == (0,)
    lines = [
        line["status"]
        for line in acme.get(f"{acme.path}/activity")["items"]
        if "imports" in line["operation"]
    ]
    assert lines == [422]
    with monkeypatch.context() as patched:
        patched.setattr(acme.deployment.gateway.imports, "preview", lambda *_: 1 / 0)
        assert upload(acme, text).status == 500
    assert acme.get(path)["items"] == []
    made = upload(acme, text).json
    assert [each["id"] for each in acme.get(path)["items"]] == [made["id"]]


def test_an_import_goes_on_after_a_portion_that_failed_without_doubles(acme, monkeypatch) -> None:
    monkeypatch.setattr(operations, "ROWS_PER_PORTION", 2)
    text = "user_name\n" + "".join(f"user{number}@acme.test\n" for number in range(5))
    made = upload(acme, text).json
    whole, calls = Portion.write, []

    def fail(self: Portion, plan: Any, limit: Any) -> Any:
        calls.append(plan.user_name)
        if len(calls) == 4:
            raise RuntimeError("the process is gone")
        return whole(self, plan, limit)

    monkeypatch.setattr(Portion, "write", fail)
    assert apply(acme, made).status == 500
    monkeypatch.setattr(Portion, "write", whole)
    path = f"{acme.path}/imports/{made['id']}"
    left = acme.get(path)
    assert (left["state"], left["done"], len(people(acme)) - 1) == ("applying", 2, 2)
    assert "waiting" in result(acme, made)[-1]
    acme.call("DELETE", path, None, 409)
    other = upload(acme, "user_name\nz@acme.test\n").json
    assert apply(acme, other).status == 409, "one import of an organization at a time"
    finish_abandoned(acme.deployment, monkeypatch, lambda: bool(acme.get(path)["state"] == "done"))
    assert [row[0] for row in people(acme)[1:]] == [f"user{number}@acme.test" for number in range(5)]
    assert [row[-2] for row in result(acme, made)[1:]] == ["created"] * 5


def test_a_row_whose_person_was_erased_does_nothing(acme) -> None:
    made = upload(acme, HEADER + "gone@acme.test,Gone,,true,\nhere@acme.test,,,true,\n").json
    acme.deployment.gateway.store.erasures.empty_import_rows(
        [(acme.deployment.gateway.store.imports.page(_organization(acme), 0, 1)[0].id, 1)]
    )
    assert acme.get(f"{acme.path}/imports/{made['id']}")["wrong"] == 1
    assert apply(acme, made).json["outcomes"] == {"created": 1, "wrong": 1}
    assert result(acme, made)[1] == ["", "", "", "", "", "wrong", "The person of this row was erased."]
    assert [row[0] for row in people(acme)[1:]] == ["here@acme.test"]


def _organization(acme: Any) -> Any:
    return acme.deployment.gateway.store.organizations.by_id(acme.okta.organization.uid)


def test_an_import_is_over_after_a_day(acme) -> None:
    made = upload(acme, "user_name\na@acme.test\n").json
    gateway = acme.deployment.gateway
    gateway.store.database.run("UPDATE imports SET expires = 1 WHERE uid = ?", made["id"])
    acme.get(f"{acme.path}/imports/{made['id']}", 404)
    gateway.imports._pruned = -1_000.0
    count = "SELECT COUNT(*) FROM import_rows"
    before = gateway.store.database.one(count)[0]
    gateway.imports.prune()
    assert gateway.store.database.one(count)[0] == before - 1
