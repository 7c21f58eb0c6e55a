"""The transcripts are well formed, and replaying them tells right answers from wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gateway_okta.settings import OktaSettings

from gateway import Answer
from gateway.testing.transcripts import ANYTHING, PLACEHOLDER, differences, replay, unseen

FILES = sorted(Path(__file__).with_name("transcripts").glob("*.json"))
STORIES = [json.loads(path.read_text(encoding="utf-8")) for path in FILES]
KEYS = {"story", "source", "headers", "settings", "exchanges", "application_sees"}

stories = pytest.mark.parametrize("story", STORIES, ids=[path.stem for path in FILES])


class Scripted:
    """Answers in the order given, and remembers what it was sent."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def call(self, method, path, body=None, *, token=None, headers=()):
        self.sent.append((method, path, body, token, dict(headers)))
        status, document = self.answers.pop(0)
        return Answer(status, document, json.dumps(document), 0.0)


# The files --------------------------------------------------------------------------------------------------


@stories
def test_a_transcript_has_the_keys_of_the_format_and_says_where_it_comes_from(story):
    assert set(story) == KEYS
    assert any(word in story["source"] for word in ("documented", "captured", "reported"))
    for exchange in story["exchanges"]:
        assert set(exchange) <= {"tells", "request", "expect", "capture"}
        assert set(exchange["request"]) <= {"method", "path", "headers", "body", "token"}
        assert set(exchange["expect"]) <= {"status", "json", "absent"}


@stories
def test_settings_of_a_transcript_are_settings_of_the_plugin(story):
    assert OktaSettings().load(story["settings"])["extra_attributes"] is not None


@stories
def test_every_placeholder_was_captured_before(story):
    known = {"any"}
    for exchange in story["exchanges"]:
        used = set(PLACEHOLDER.findall(json.dumps({key: exchange[key] for key in ("request", "expect")})))
        assert used <= known
        known |= set(exchange.get("capture", {}))


@stories
def test_okta_deletes_no_user_and_sends_no_bulk(story):
    for exchange in story["exchanges"]:
        request = exchange["request"]
        assert not (request["method"] == "DELETE" and request["path"].startswith("/Users/"))
        assert request["path"].startswith(("/Users", "/Groups", "/Nothing"))


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


def test_a_story_that_holds_has_no_differences():
    session = Scripted((201, {"id": "7"}), (200, {"id": "7", "more": 1}))
    assert replay(session, CREATE_AND_READ) == []
    assert session.sent == [
        ("POST", "/Users", {"userName": "a@b"}, "t", CREATE_AND_READ["headers"]),
        ("GET", "/Users/7", None, None, {"User-Agent": "U", "X": "1"}),
    ]


def test_differences_are_told_with_the_exchange_that_shows_them():
    session = Scripted((201, {"id": "7", "password": "x"}), (200, {"id": "8"}))
    assert replay(session, CREATE_AND_READ) == [
        "Exchange 1, POST /Users: password should be absent, and is 'x'",
        "Exchange 2, GET /Users/7: the body.id is '8', expected '7'",
    ]


def test_a_story_ends_where_an_answer_lacked_what_is_needed_next():
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
    story = {"application_sees": {"users": [{"user_name": "a@b"}]}}
    assert unseen(story, users=[{"user_name": "a@b", "active": True}]) == []
    assert unseen(story, users=[]) == [
        "users has no entry like {'user_name': 'a@b'}: []",
        "users has 0 entries, expected 1",
    ]
