"""The page of imports: upload, preview, apply by the preview that was shown, progress, result and deletion."""

from __future__ import annotations

import io
import re

import pytest
from werkzeug.test import TestResponse

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment
from gateway.web.console.browser import FORM_BODY, UPLOAD_BODY
from tests.support.console import ORIGIN, Browser, sign_in, text_of
from tests.support.long_changes import finish_abandoned

FILE = (
    "user_name,display_name,email,groups\n"
    "new@acme.test,New,new@acme.test,Nowhere\n"
    "old@acme.test,Older,,\n"
    "<b>odd</b>,\x07,,\n"
)


def upload(browser: Browser, data: str | bytes, absent: str = "keep") -> TestResponse:
    """Send the form with a file, written here: werkzeug's client leaves a large body open in a file."""
    raw = data.encode() if isinstance(data, str) else data
    part = '--limit\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    head = part.format("absent", "") + absent + "\r\n" + part.format("file", '; filename="people.csv"')
    return browser.client.post(
        browser.path("imports"),
        data=head.encode() + raw + b"\r\n--limit--\r\n",
        content_type="multipart/form-data; boundary=limit",
        headers={"Origin": ORIGIN},
    )


def import_of(response: TestResponse) -> str:
    """Return the path of the import to which a form led."""
    assert response.status_code == 303, text_of(response)
    return f"imports/{response.location.rpartition('/')[2]}"


def etag_of(page: TestResponse) -> str:
    found = re.search(r'name="etag" value="&#34;(\w+)&#34;"', page.text)
    assert found is not None, text_of(page)
    return f'"{found[1]}"'


def make_person(deployment: Deployment, organization: OrganizationRecord, name: str) -> None:
    made = deployment.admin("POST", f"/organizations/{organization.uid}/users", {"user_name": name})
    assert made.status == 201, made.text


def names(deployment: Deployment, organization: OrganizationRecord) -> list[str]:
    listed = deployment.admin("GET", f"/organizations/{organization.uid}/users")
    return sorted(user["user_name"] for user in listed.json["items"] if user["active"])


def test_a_file_is_previewed_and_applied_by_the_preview_that_was_shown(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    assert "There is none." in text_of(admin.get("imports"))
    make_person(deployment, organization, "old@acme.test")
    uploaded = upload(admin, FILE)
    path, page = import_of(uploaded), admin.follow(uploaded)
    words = text_of(page)
    assert "1 create a person 1 update a person" in words
    assert "Seats needed: 1. Seats have no limit." in words
    assert '1 new@acme.test is created The group "Nowhere" does not exist here' in words
    assert "2 old@acme.test is updated: display name" in words
    assert "3 <b>odd</b> is wrong" in words
    assert "<b>odd" not in page.text
    assert names(deployment, organization) == ["old@acme.test"], "a preview changes nobody"
    etag = etag_of(page)
    make_person(deployment, organization, "new@acme.test")
    stale = admin.post(f"{path}/apply", {"etag": etag})
    assert stale.status_code == 412
    assert "Look at the preview again" in text_of(stale)
    assert "0 create a person 2 update a person" in text_of(stale), "the changed preview is shown"
    assert "Not applied yet" in text_of(admin.get("imports"))
    page = admin.follow(admin.post(f"{path}/apply", {"etag": etag_of(stale)}))
    assert "each row has its outcome" in text_of(page)
    assert "updated 2 wrong 1" in text_of(page)
    again = admin.post(f"{path}/apply", {"etag": etag_of(stale)})
    assert (again.status_code, "was applied already" in text_of(again)) == (409, True)
    result = admin.get(f"{path}/result.csv")
    assert result.mimetype == "text/csv"
    lines = result.text.splitlines()
    assert lines[0] == "user_name,display_name,email,groups,outcome,reason"
    assert [line.split(",")[4] for line in lines[1:]] == ["updated", "updated", "wrong"]
    page = admin.follow(admin.post(f"{path}/remove"))
    assert "The import was deleted. Its people stay." in text_of(page)
    assert names(deployment, organization) == ["new@acme.test", "old@acme.test"]
    assert admin.get(path).status_code == 404
    done = text_of(admin.get("activity", outcome="all"))
    assert "admin@acme.test imported people from a file" in done
    assert "admin@acme.test deleted an import" in done


def test_people_who_are_absent_are_deactivated_and_missing_seats_are_said(deployment: Deployment) -> None:
    organization = deployment.organization(seats=2)
    admin = sign_in(deployment, organization)
    for name in ("gone@acme.test", "stays@acme.test"):
        make_person(deployment, organization, name)
    page = admin.follow(upload(admin, "user_name\nstays@acme.test\na@acme.test\nb@acme.test\n"))
    assert "Seats needed: 2. Seats free: 0. 2 are missing" in text_of(page)
    uploaded = upload(admin, "user_name\nstays@acme.test\n", "deactivate")
    page = admin.follow(uploaded)
    assert "1 deactivate a person who is not in the file" in text_of(page)
    page = admin.follow(admin.post(f"{import_of(uploaded)}/apply", {"etag": etag_of(page)}))
    assert "each row has its outcome" in text_of(page)
    assert names(deployment, organization) == ["stays@acme.test"]


def test_rows_that_a_form_left_are_shown_while_the_worker_applies_them(
    deployment: Deployment, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.console.imports._APPLY_SECONDS", 0.0)
    uploaded = upload(admin, "user_name\na@acme.test\nb@acme.test\n")
    path = import_of(uploaded)
    page = admin.follow(admin.post(f"{path}/apply", {"etag": etag_of(admin.follow(uploaded))}))
    assert "0 of 2 rows have their outcome so far" in text_of(page)
    assert f'hx-get="{admin.path(path)}/progress"' in page.text
    assert "Delete this import" not in page.text
    assert "0 of 2 rows" in text_of(admin.get(f"{path}/progress"))
    assert "Is being applied: 0 of 2" in text_of(admin.get("imports"))
    refused = admin.post(f"{path}/remove")
    assert (refused.status_code, "is being applied" in text_of(refused)) == (409, True)
    progress = f"{path}/progress"
    finish_abandoned(deployment, monkeypatch, lambda: "created 2" in text_of(admin.get(progress)))
    part = admin.get(progress)
    assert "hx-get" not in part.text, "it asks no more"


@pytest.mark.parametrize(
    ("data", "absent", "status", "sentence"),
    [
        (b"", "keep", 422, "The file is empty."),
        (b"\xff\xfe\x00", "keep", 422, "The file is not UTF-16"),
        (b"user_name,<script>x</script>\n", "keep", 422, "which is unknown. The columns are"),
        (b'user_name\n"a', "keep", 422, "The file is no CSV from line 2 on"),
        (b"user_name\na@acme.test\n", "everybody", 400, "Choose what becomes of people"),
        (b"user_name\n" * 10_002, "keep", 413, "more than 10000 rows"),
        (b"x" * ((10 << 20) + 1), "keep", 413, "at most 10485760 (10 MiB) are imported"),
        (b"x" * UPLOAD_BODY, "keep", 413, "larger than 10485760 bytes (10 MiB)"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_imported_is_refused_beside_the_form(
    admin: Browser, data: bytes, absent: str, status: int, sentence: str
) -> None:
    answer = upload(admin, data, absent)
    assert (answer.status_code, sentence in text_of(answer)) == (status, True), text_of(answer)
    assert "Upload and preview" in answer.text
    assert "<script>x" not in answer.text
    assert "There is none." in text_of(admin.get("imports"))


def test_nothing_to_apply_is_said_instead_of_a_button(admin: Browser) -> None:
    page = admin.get(import_of(upload(admin, "user_name\ntwice@acme.test\ntwice@acme.test\n")))
    assert "Applying it would change nothing: correct the rows that are wrong" in text_of(page)
    assert ">Apply<" not in page.text


def test_a_form_without_a_file_is_refused_in_a_sentence(admin: Browser) -> None:
    for form in ({"absent": "keep"}, {"file": (io.BytesIO(b""), "")}, {"file": "user_name"}):
        answer = admin.post("imports", form)
        assert (answer.status_code, "Choose a CSV file" in text_of(answer)) == (400, True)


def test_only_the_form_that_uploads_is_large(admin: Browser) -> None:
    large = "x" * (FORM_BODY + 1)
    read = upload(admin, large)
    assert (read.status_code, "The file is no CSV from line 1 on: field larger" in text_of(read)) == (
        422,
        True,
    )
    for path in ("domains", "domains/policy"):
        assert admin.post(path, {"name": large}).status_code == 413
    assert upload(admin, "", absent=large).status_code == 413, (
        "a field that is no file is as short as elsewhere"
    )


def test_who_may_only_look_sees_no_form(admin: Browser, viewer: Browser) -> None:
    path = import_of(upload(admin, FILE))
    for page in (viewer.get("imports"), viewer.get(path)):
        assert page.status_code == 200
        main = page.text.partition("<main")[2]
        assert "<form" not in main
    assert upload(viewer, FILE).status_code == 403
    assert viewer.post(f"{path}/apply", {"etag": '"x"'}).status_code == 403
