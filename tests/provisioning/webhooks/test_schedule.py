"""Which event is sent next: no endpoint keeps others from being served."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.provisioning.webhooks.schedule import FAST, SLOW, Schedule, Stream
from gateway.store.delivery_positions import Position
from gateway.store.records import EventRecord
from gateway.store.webhooks import LiveWebhook


def webhook(key: int, **values: object) -> LiveWebhook:
    given = {
        "id": key, "uid": f"w{key}", "organization_id": None, "owner": "operator", "url": f"https://{key}.acme.test/",
        "format": "standard", "types": None, "state": "on", "secrets": ("whsec_AAAA",), "failing_since": None,
        "succeeded": None, "created": 0, "modified": 0, "version": 1,
    }  # fmt: skip
    return LiveWebhook(**given | values)  # type: ignore[arg-type]


def scheduled(endpoints: int, organizations: Sequence[int] = (1,), events: int = 3) -> Schedule:
    schedule = Schedule()
    schedule.replace_endpoints([webhook(key) for key in range(1, endpoints + 1)])
    for key in range(1, endpoints + 1):
        for organization in organizations:
            stream = Stream(Position(key, organization, 0), "o")
            stream.events.extend(
                EventRecord(n, "user.created", 0, "User", "u", None, "{}") for n in range(1, events + 1)
            )
            stream.read, stream.more = events, False
            schedule.add(stream)
            schedule.make_ready(stream)
    return schedule


def take_all(schedule: Schedule, moment: int = 0) -> list[Stream]:
    taken = []
    while stream := schedule.next(moment):
        taken.append(stream)
    return taken


def test_three_of_four_threads_serve_endpoints_that_answer_and_each_stream_has_one_message() -> None:
    schedule = scheduled(5)
    taken = take_all(schedule)
    assert [stream.position.stream for stream in taken] == [(1, 1), (2, 1), (3, 1)]
    for stream in taken:
        schedule.end(stream.position.stream)
        stream.finish()
        schedule.make_ready(stream)
    assert [stream.position.stream for stream in take_all(schedule)] == [(4, 1), (5, 1), (1, 1)]


def test_an_endpoint_with_many_organizations_leaves_threads_to_others() -> None:
    schedule = scheduled(1, range(1, 20))
    assert len(take_all(schedule)) == 1  # whether it answers is not known
    for stream in schedule.streams():
        if stream.sending:
            schedule.end(stream.position.stream)
    schedule.endpoints[1].record_success(5)
    assert len(take_all(schedule)) == 2


def test_endpoints_that_fail_or_are_slow_share_one_thread() -> None:
    schedule = scheduled(4)
    schedule.endpoints[1].record_failure(0, None, refused=False)
    schedule.endpoints[2].record_success(14_000)
    schedule.endpoints[3].record_failure(0, None, refused=False)
    taken = take_all(schedule)
    assert [(stream.position.subscriber, schedule.lane(stream)) for stream in taken] == [(1, SLOW), (4, FAST)]
    schedule.end((1, 1))
    assert [stream.position.subscriber for stream in take_all(schedule)] == [2]
    schedule.end((2, 1))
    schedule.endpoints[2].record_success(20)
    assert schedule.endpoints[2].lane == FAST


def test_an_endpoint_that_failed_three_times_is_left_alone_for_a_while() -> None:
    schedule = scheduled(1, range(1, 9))
    endpoint = schedule.endpoints[1]
    for number in range(3):
        endpoint.record_failure(number, None, refused=False)
    assert endpoint.held_until >= 4_000_000
    assert not take_all(schedule, 3_000_000)
    assert len(take_all(schedule, 7_000_000)) == 1
    assert endpoint.failing_since == 0


def test_an_endpoint_that_refuses_an_event_goes_on_with_other_organizations() -> None:
    schedule = scheduled(1, range(1, 9))
    for number in range(6):
        schedule.endpoints[1].record_failure(number, None, refused=True)
    assert len(take_all(schedule, 10)) == 1


def test_an_endpoint_that_asks_for_time_gets_it() -> None:
    schedule = scheduled(1)
    schedule.endpoints[1].record_failure(0, 60, refused=False)
    assert not take_all(schedule, 59_000_000)
    assert take_all(schedule, 61_000_000)


def test_a_paused_endpoint_is_sent_nothing_more_and_forgotten_when_its_message_ended() -> None:
    schedule = scheduled(2)
    sending = take_all(schedule)
    assert schedule.replace_endpoints([webhook(2)]) == []
    assert sending[0].closing
    schedule.end((1, 1))
    sending[0].finish()
    assert sending[0].position.seq == 1
    for stream in [stream for stream in schedule.streams() if stream.closing]:
        schedule.remove(stream)
    schedule.replace_endpoints([webhook(2)])
    assert sorted(schedule.endpoints) == [2]


def test_an_endpoint_that_was_resumed_or_has_another_address_starts_anew() -> None:
    schedule = scheduled(1)
    schedule.endpoints[1].record_failure(0, 600, refused=False)
    assert schedule.replace_endpoints([webhook(1, version=2, types=frozenset(["user.created"]))]) == [1]
    assert schedule.endpoints[1].failures == 1
    assert schedule.replace_endpoints([webhook(1, version=3, url="https://new.acme.test/")]) == [1]
    assert take_all(schedule)


def test_a_restarted_process_knows_from_the_position_that_an_endpoint_failed() -> None:
    schedule = Schedule()
    schedule.replace_endpoints([webhook(1)])
    schedule.add(Stream(Position(1, 1, 0, failures=3), "o"))
    assert schedule.endpoints[1].lane == SLOW
