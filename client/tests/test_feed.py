"""The feed: typed events, positions, what is waited out and what is raised."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from datetime import UTC, datetime

import pytest
from gateway_client import (
    AccessRefused,
    Feed,
    FeedRewound,
    HistoryGone,
    SnapshotIncomplete,
    Unavailable,
    UnexpectedAnswer,
    UnknownOrganization,
    transport,
)

from gateway.testing.deployment import ADMIN_TOKEN

TOKEN = "pga_a-token-of-these-tests"
AT = "2026-11-28T10:00:00.000Z"


def item(seq, kind="user.created", **more):
    event = {"id": seq, "type": kind, "at": AT, "resource": "User", "resource_id": f"u{seq}"}
    return event | {"connection": "c1", "data": {"id": f"u{seq}", "active": True}} | more


def fast(url, organization="org-1", position=None, **more):
    settings = {"wait": 0, "poll_seconds": 0.01, "retry_seconds": 0.01} | more
    return Feed(url, TOKEN, organization, position, **settings)


# On the real gateway ------------------------------------------------------------------------------------------------


def test_events_of_an_organization_come_typed_in_order_and_a_stored_position_goes_on(deployment, served):
    connection = deployment.connection("okta")
    for number in range(5):
        connection.user(f"user{number}@acme.test")
    organization = connection.organization.uid
    feed = Feed(served, ADMIN_TOKEN, organization, page_size=2)
    events = list(itertools.islice(feed, 3))
    assert [event.data["userName"] for event in events] == [f"user{number}@acme.test" for number in range(3)]
    first = events[0]
    assert (first.id, first.type, first.resource, first.number) == (1, "user.created", "User", None)
    assert (first.organization, first.connection) == (organization, connection.uid)
    assert first.resource_id == first.data["id"]
    assert abs((datetime.now(UTC) - first.at).total_seconds()) < 60
    assert feed.position == events[-1].position

    again = Feed(served, ADMIN_TOKEN, organization, events[0].position)
    assert [event.id for event in again.read()] == [2, 3, 4, 5]
    assert again.read() == []
    assert Feed(served, ADMIN_TOKEN, organization, again.position).read() == []


def test_a_wrong_token_and_an_unknown_organization_are_raised_with_the_gateways_sentence(deployment, served):
    organization = deployment.organization().uid
    with pytest.raises(AccessRefused, match="401") as refused:
        next(iter(Feed(served, TOKEN, organization)))
    assert TOKEN not in str(refused.value)
    with pytest.raises(UnknownOrganization):
        next(iter(Feed(served, ADMIN_TOKEN, "nobody")))


def test_a_number_that_the_gateway_has_not_reached_is_a_rewound_feed(deployment, served):
    connection = deployment.connection("okta")
    connection.user()
    organization = connection.organization.uid
    feed = Feed(served, ADMIN_TOKEN, organization)
    feed.read()
    epoch = feed.position.partition("-")[0]
    with pytest.raises(FeedRewound, match="snapshot"):
        Feed(served, ADMIN_TOKEN, organization, f"{epoch}-99-{organization}").read()


def test_the_feed_of_all_has_every_organization_from_its_first_event_to_its_removal(deployment, served):
    ada = deployment.connection("okta")
    bob = deployment.connection("okta")
    ada.user("ada@acme.test")
    bob.user("bob@acme.test")
    feed = Feed(served, ADMIN_TOKEN)
    deployment.gateway.publisher.publish()
    events = feed.read()
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert {event.organization for event in events} == {None, ada.organization.uid, bob.organization.uid}
    created = [event.resource_id for event in events if event.type == "organization.created"]
    assert created == [ada.organization.uid, bob.organization.uid]
    removed = bob.organization.uid
    assert deployment.admin("DELETE", f"/organizations/{removed}").status == 204
    deployment.gateway.publisher.publish()
    (last,) = feed.read()
    assert (last.type, last.resource_id, last.organization) == ("organization.removed", removed, None)
    assert Feed(served, ADMIN_TOKEN, position=last.position).read() == []


def test_events_that_are_no_longer_kept_are_history_gone(deployment, served):
    connection = deployment.connection("okta")
    for number in range(3):
        connection.user(f"user{number}@acme.test")
    database = deployment.gateway.store.database
    database.run("DELETE FROM events WHERE organization_id = ? AND seq < 3", connection.organization.id)
    with pytest.raises(HistoryGone, match="snapshot"):
        Feed(served, ADMIN_TOKEN, connection.organization.uid).read()


# On a server that answers as the test says --------------------------------------------------------------------------


def test_the_feed_of_all_has_organizations_and_numbers_of_its_own(scripted):
    scripted.page(
        item(
            1,
            "organization.created",
            organization="org-1",
            number=41,
            resource="Organization",
            connection=None,
        ),
        item(1, organization="org-1", number=42),
        next=42,
    )
    feed = fast(scripted.url, None)
    created, user = feed.read()
    assert (created.organization, created.number, created.key) == (None, 41, "evt_deployment_7_1")
    assert (user.organization, user.number, user.position, user.key) == ("org-1", 42, "7-42", "evt_org-1_7_1")
    feed.read(wait=20)
    assert [(path, query) for path, query, _ in scripted.requests] == [
        ("/admin/v1/events", {"after": "0", "limit": "100"}),
        ("/admin/v1/events", {"after": "42", "limit": "100", "epoch": "7", "wait": "20"}),
    ]
    assert scripted.requests[0][2]["Authorization"] == f"Bearer {TOKEN}"


def test_failures_are_waited_out_and_no_event_is_lost_or_repeated(scripted, caplog):
    scripted.page(item(1), item(2), next=2)
    scripted.answer({"message": "Too many."}, 429, Retry_After="0")
    scripted.answer(b"<html>", 502)
    scripted.answer(None, 0)
    scripted.answer(b'{"items": [', Content_Length="500", Connection="close")
    scripted.page(next=2)
    scripted.page(item(3), next=3)
    with caplog.at_level(logging.WARNING, "gateway_client"):
        events = list(itertools.islice(fast(scripted.url), 3))
    assert [event.id for event in events] == [1, 2, 3]
    assert [query["after"] for _, query, _ in scripted.requests] == ["0", "2", "2", "2", "2", "2", "2"]
    assert len(caplog.records) == 4
    assert TOKEN not in caplog.text


def test_a_pause_doubles_up_to_a_minute_unless_the_gateway_names_one(scripted):
    feed = fast(scripted.url, retry_seconds=1)
    assert [0.5 <= feed._pause(0, None) <= 1, 4 <= feed._pause(3, None) <= 8] == [True, True]
    assert 30 <= feed._pause(500, None) <= 60
    assert feed._pause(3, 120.0) == 120.0
    assert transport._seconds("17") == 17
    assert transport._seconds("99999999") == 3600
    assert transport._seconds("Wed, 01 Jan 2020 00:00:00 GMT") == 0
    assert transport._seconds("soon") is None


def test_what_no_waiting_mends_is_raised(scripted):
    for status, kind in (
        (401, AccessRefused),
        (403, AccessRefused),
        (404, UnknownOrganization),
        (301, UnexpectedAnswer),
    ):
        scripted.answers = []
        scripted.answer({"message": "A sentence."}, status, Location="http://acme.test/")
        with pytest.raises(kind):
            next(iter(fast(scripted.url)))


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (410, "A backup was restored: this feed is rewound.", FeedRewound),
        (409, "after=9 is beyond the newest event.", FeedRewound),
        (410, "Events before 5 are no longer kept.", HistoryGone),
    ],
)
def test_a_position_that_is_gone_says_why_and_what_to_do(scripted, status, message, kind):
    scripted.answer({"message": message}, status)
    with pytest.raises(kind, match=r"Begin anew with `snapshot\(\)`"):
        fast(scripted.url, position="7-9-org-1").read()


def test_another_epoch_in_an_answer_is_a_rewound_feed_too(scripted):
    scripted.page(item(10), next=10, epoch=8)
    feed = fast(scripted.url, position="7-9-org-1")
    with pytest.raises(FeedRewound):
        feed.read()
    assert feed.position == "7-9-org-1"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"items": [{}], "next": 1}', b"[" * 100_000])
def test_an_answer_of_another_server_is_refused(scripted, body):
    scripted.answer(body)
    with pytest.raises(UnexpectedAnswer):
        fast(scripted.url).read()


def test_an_answer_of_too_many_bytes_is_asked_for_again_in_smaller_pages(scripted, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BYTES", 5000)
    scripted.answer(b"x" * 5001)
    scripted.page(item(1), next=1)
    assert [event.id for event in fast(scripted.url).read()] == [1]
    assert [query["limit"] for _, query, _ in scripted.requests] == ["100", "10"]
    scripted.answers = [(200, b"x" * 5001, {})]
    with pytest.raises(UnexpectedAnswer, match="5000 bytes"):
        fast(scripted.url).read()


def test_iterating_again_goes_on_after_the_last_event_that_was_yielded(scripted):
    scripted.page(item(1), item(2), item(3), next=3)
    scripted.page(item(2), item(3), next=3)
    feed = fast(scripted.url)
    assert [event.id for event in itertools.islice(feed, 1)] == [1]
    assert feed.position == "7-1-org-1"
    assert next(iter(feed)).id == 2
    assert scripted.requests[-1][1]["after"] == "1"


def test_a_page_may_be_empty_before_the_end(scripted):
    scripted.page(next=5)
    scripted.page(item(6), next=6)
    begun = time.monotonic()
    assert [event.id for event in itertools.islice(fast(scripted.url, wait=20, poll_seconds=60), 1)] == [6]
    assert time.monotonic() - begun < 5


def test_pages_have_the_events_of_one_request(scripted):
    scripted.page(next=0)
    scripted.page(item(1), item(2), next=2)
    scripted.page(item(3), next=3)
    feed = fast(scripted.url)
    assert [[event.id for event in page] for page in itertools.islice(feed.pages(), 2)] == [[1, 2], [3]]
    assert feed.position == "7-3-org-1"


def test_a_feed_that_waits_is_stopped_by_another_thread(scripted):
    scripted.page(next=0)
    feed = fast(scripted.url, wait=20, poll_seconds=60)
    threading.Timer(0.05, feed.stop).start()
    begun = time.monotonic()
    assert list(feed) == []
    assert time.monotonic() - begun < 5


def test_nobody_answers():
    with pytest.raises(Unavailable, match=r"No answer from http://127\.0\.0\.1:1"):
        fast("http://127.0.0.1:1").read()


# Positions and arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "position", ["", "7", "7-", "-7", "7-x-org-1", "7-9", "7-9-org-2", "7-9-" + "o" * 400]
)
def test_a_position_of_another_feed_or_none_is_refused(position):
    with pytest.raises(ValueError, match="position"):
        fast("http://acme.test", position=position)


@pytest.mark.parametrize(
    "url", ["acme.test", "ftp://acme.test", "http://", "http://a@acme.test", "http://acme.test?a=1"]
)
def test_a_url_that_names_no_gateway_is_refused(url):
    with pytest.raises(ValueError, match="begins with https://"):
        Feed(url, TOKEN)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ä"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(token):
    with pytest.raises(
        ValueError, match=r"^The token is empty or holds characters that no HTTP header can carry\.$"
    ):
        Feed("http://acme.test", token)


@pytest.mark.parametrize(
    "wrong", [{"wait": 31}, {"wait": -1}, {"poll_seconds": -1}, {"page_size": 0}, {"organization": ""}]
)
def test_arguments_have_bounds(wrong):
    with pytest.raises(ValueError):
        Feed("http://acme.test", TOKEN, **wrong)


def test_no_text_of_a_feed_shows_its_token():
    feed = Feed("https://acme.test", TOKEN, "org-1")
    assert repr(feed) == "Feed('https://acme.test', organization='org-1', position='0-0-org-1')"


# Snapshots ----------------------------------------------------------------------------------------------------------

LINES = (
    b'{"epoch": 7, "after": 12}\n'
    b'{"resource": "User", "data": {"id": "u1", "userName": "user1@acme.test"}}\n'
    b'{"resource": "Group", "data": {"id": "g1", "members": [{"value": "u1"}]}}\n'
    b'{"next": 12}\n'
)


def test_a_snapshot_yields_users_and_groups_and_the_feed_goes_on_from_its_number(scripted):
    scripted.answer(LINES)
    scripted.page(item(13), next=13)
    feed = fast(scripted.url, position="5-9-org-1")
    entries = list(feed.snapshot())
    assert [(entry.organization, entry.resource, entry.data["id"]) for entry in entries] == [
        ("org-1", "User", "u1"),
        ("org-1", "Group", "g1"),
    ]
    assert feed.position == "7-12-org-1"
    assert feed.read()[0].id == 13
    assert [path for path, *_ in scripted.requests] == [
        "/admin/v1/organizations/org-1/snapshot",
        "/admin/v1/organizations/org-1/events",
    ]


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_snapshot_without_its_last_line_is_an_error_and_moves_nothing(scripted, cut):
    scripted.answer(b"".join(LINES.splitlines(keepends=True)[:cut]))
    feed = fast(scripted.url, position="5-9-org-1")
    with pytest.raises(SnapshotIncomplete):
        list(feed.snapshot())
    assert feed.position == "5-9-org-1"


def test_a_snapshot_whose_connection_breaks_is_an_error(scripted):
    scripted.answer(LINES[:-30], Content_Length=str(len(LINES)), Connection="close")
    with pytest.raises(SnapshotIncomplete, match="broke off"):
        list(fast(scripted.url).snapshot())


def test_a_snapshot_that_was_left_early_disturbs_no_later_request(scripted):
    scripted.answer(LINES)
    scripted.page(item(1), next=1)
    feed = fast(scripted.url)
    next(feed.snapshot())
    assert [event.id for event in feed.read()] == [1]


def test_refusals_of_a_snapshot_are_those_of_the_feed(scripted):
    scripted.answer({"message": "No."}, 403)
    with pytest.raises(AccessRefused):
        list(fast(scripted.url).snapshot())


def test_a_snapshot_of_all_has_each_organization_and_goes_on_from_a_number_that_was_read_first(scripted):
    scripted.page(next=99)
    scripted.answer({"items": [{"id": "org-1"}, {"id": "org-2"}], "next": 2})
    scripted.answer(LINES)
    scripted.answer({"message": "Unknown."}, 404)  # removed meanwhile
    scripted.answer({"items": [{"id": "org-3"}], "next": None})
    scripted.answer(LINES)
    feed = fast(scripted.url, None)
    entries = list(feed.snapshot())
    assert [(entry.organization, entry.data["id"]) for entry in entries] == [
        ("org-1", "u1"), ("org-1", "g1"), ("org-3", "u1"), ("org-3", "g1"),
    ]  # fmt: skip
    assert feed.position == "7-99"
    assert [(path, query) for path, query, _ in scripted.requests[:2]] == [
        ("/admin/v1/events", {"newest": "true"}),
        ("/admin/v1/organizations", {"limit": "1000"}),
    ]
