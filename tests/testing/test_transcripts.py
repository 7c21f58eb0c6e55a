"""Replaying a transcript distinguishes right answers from wrong ones, and a malformed transcript is found out."""

from __future__ import annotations

import json

import pytest

from gateway.simulation import Answer
from gateway.testing.transcripts import (
    ANYTHING,
    compare_lists,
    differences,
    find_mistakes,
    list_refusals,
    read,
    replay,
)


class Scripted:
    """Answers in the order given, and remembers what it was sent."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def call(self, method, path, body=None, *, token=None, headers=()):
        self.sent.append((method, path, body, token, dict(headers)))
        status, document = self.answers.pop(0)
        return Answer(status, document, json.dumps(document), 0.0)


# Replaying --------------------------------------------------------------------------------------------------

CREATE_AND_READ = {
    "headers": {"User-Agent": "U", "Content-Type": "application/scim+json"},
    "exchanges": [
        {
            "request": {"method": "POST", "path": "/Users", "body": {"userName": "a@b"}, "token": "t"},
            "expect": {"status": 201, "json": {"id": ANYTHING}, "absent": ["password"]},
            "capture": {"user.id": "id"},
        },
        {
            "request": {"method": "GET", "path": "/Users/{{user.id}}", "headers": {"X": "1"}},
            "expect": {"json": {"id": "{{user.id}}"}},
        },
    ],
}


def test_a_transcript_that_holds_has_no_differences():
    session = Scripted((201, {"id": "7"}), (200, {"id": "7", "more": 1}))
    assert replay(session, CREATE_AND_READ) == []
    assert session.sent == [
        ("POST", "/Users", {"userName": "a@b"}, "t", CREATE_AND_READ["headers"]),
        ("GET", "/Users/7", None, None, {"User-Agent": "U", "X": "1"}),
    ]


def test_differences_name_the_exchange_that_shows_them():
    session = Scripted((201, {"id": "7", "password": "x"}), (200, {"id": "8"}))
    assert replay(session, CREATE_AND_READ) == [
        "Exchange 1, POST /Users: password should be absent, and is 'x'",
        "Exchange 2, GET /Users/7: the body.id is '8', expected '7'",
    ]


def test_what_should_be_absent_is_looked_for_under_names_that_hold_dots_too():
    urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    exchange = {"request": {"method": "GET", "path": "/Users/1"}, "expect": {"status": 200}}
    exchange["expect"]["absent"] = [f"Resources.0.{urn}.manager", f"{urn}.manager", f"{urn}.division"]
    answer = {urn: {"manager": "7"}, "Resources": [{urn: {"manager": "8"}}]}
    reported = replay(Scripted((200, answer)), {"exchanges": [exchange]})
    assert [line.rsplit(" ", 1)[1] for line in reported] == ["'8'", "'7'"]


def test_a_replay_ends_where_an_answer_lacked_what_is_needed_next():
    session = Scripted((500, None))
    assert replay(session, CREATE_AND_READ) == [
        "Exchange 1, POST /Users: status 500, expected 201: null",
        "Exchange 2 needs user.id, which no answer gave.",
    ]


SAME = [
    ({"a": 1}, {"a": 1, "b": 2}),
    ([{"a": 1}, {"a": 2}], [{"a": 2, "b": 0}, {"a": 1}]),
    ("{{any}}", 0),
    ("…seats…", "no seats left"),
    ("You're…", "You're over"),
    (None, None),
]

DIFFERENT = [
    ({"a": 1}, {}),
    ({"a": None}, {"a": 0}),
    ([1], [1, 1]),
    ([], [1]),
    ([1, 2], [1, 1]),
    (1, True),
    (1, "1"),
    ({"a": 1}, [1]),
    ("{{any}}", ""),
    ("{{any}}", []),
    ("…seats", "no seats left"),
]


@pytest.mark.parametrize(("wanted", "found"), SAME)
def test_what_counts_as_the_same(wanted, found):
    assert list(differences(wanted, found)) == []


@pytest.mark.parametrize(("wanted", "found"), DIFFERENT)
def test_what_counts_as_different(wanted, found):
    assert list(differences(wanted, found))


def test_what_the_application_should_see_is_compared_with_its_whole_lists():
    transcript = {"application_sees": {"users": [{"user_name": "a@b"}]}}
    assert compare_lists(transcript, users=[{"user_name": "a@b", "active": True}]) == []
    assert compare_lists(transcript, users=[]) == [
        "users has no entry like {'user_name': 'a@b'}: []",
        "users has 0 entries, expected 1",
    ]


# The files --------------------------------------------------------------------------------------------------

WHOLE = {"title": "A user is made and read.", "source": "made up", **CREATE_AND_READ}

MALFORMED = [
    ({"source": "heard of"}, "source says none of documented, captured, reported, made up"),
    ({"title": ""}, "title is missing"),
    ({"exchanges": []}, "exchanges is missing"),
    ({"setting": {}}, "the transcript has a key 'setting' that means nothing"),
    ({"exchanges": [{"request": {"method": "GET"}}]}, "exchange 1 has no path"),
    (
        {"exchanges": [{"request": {"method": "GET", "path": "/Users/{{user.id}}"}}]},
        "exchange 1 needs user.id, which was not captured before",
    ),
    (
        {"exchanges": [{"request": {"method": "GET", "path": "/"}, "expect": {"state": 200}}]},
        "what exchange 1 expects has a key 'state' that means nothing",
    ),
]


@pytest.mark.parametrize(("changes", "reported"), MALFORMED, ids=[reported for _, reported in MALFORMED])
def test_mistakes_in_the_form_of_a_transcript_are_found(changes, reported):
    assert find_mistakes(WHOLE) == []
    assert find_mistakes(WHOLE | changes) == [reported]


def test_a_folder_is_read_by_name_and_a_broken_file_is_named(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(WHOLE), "utf-8")
    assert list(read(tmp_path)) == ["a", "b"]
    assert read(None) == {}
    for text in ("{", "[]"):
        (tmp_path / "c.json").write_text(text, "utf-8")
        with pytest.raises(ValueError, match=r"c\.json"):
            read(tmp_path)


def test_refusals_of_a_transcript_are_counted_by_status_whatever_their_path():
    paths = [("/Users", 404), ("/Groups/1", 409), ("/Nothing", 404), ("/Users", 405), ("/Users", [200, 404])]
    reported = [{"request": {"path": path}, "expect": {"status": status}} for path, status in paths]
    assert list_refusals({"exchanges": [*reported, {"request": {"path": "/Users"}}]}) == [404, 404, 405, 409]
