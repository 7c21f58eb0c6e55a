"""The rules of delivery, each by itself."""

from __future__ import annotations

import pytest

from gateway.provisioning.webhooks.retries import PARKED_AFTER, REFUSALS, Verdict, is_given_up, judge, wait

SECOND, DAY = 1_000_000, 86_400_000_000


@pytest.mark.parametrize(
    ("status", "failures", "verdict"),
    [
        (200, 0, Verdict.DELIVERED),
        (204, 30, Verdict.DELIVERED),
        (301, 0, Verdict.RETRY),
        (404, 30, Verdict.RETRY),
        (410, 0, Verdict.DISABLE),
        (429, 30, Verdict.RETRY),
        (500, 30, Verdict.RETRY),
        (None, 30, Verdict.RETRY),
        *((status, 8, Verdict.RETRY) for status in (400, 409, 413, 415, 422)),
        *((status, 9, Verdict.PARK) for status in (400, 409, 413, 415, 422)),
    ],
)
def test_what_an_answer_means(status: int | None, failures: int, verdict: Verdict) -> None:
    assert judge(status, failures) is verdict


def test_waits_grow_to_a_quarter_of_an_hour_and_differ_by_a_fifth() -> None:
    for failures, seconds in [(1, 5), (2, 15), (3, 60), (4, 300), (5, 900), (400, 900)]:
        waits = {wait(failures) for _ in range(50)}
        assert 0.8 * seconds * SECOND <= min(waits) < max(waits) <= 1.2 * seconds * SECOND


def test_an_event_is_parked_after_an_hour_at_least() -> None:
    for _ in range(50):
        assert sum(wait(failures) for failures in range(1, PARKED_AFTER)) >= 3600 * SECOND
    assert 500 not in REFUSALS


def test_an_endpoint_may_ask_for_an_hour_and_for_no_shorter_wait() -> None:
    assert wait(1, 600) == 600 * SECOND
    assert wait(1, 999_999) == 3600 * SECOND
    assert wait(4, 1) >= 240 * SECOND


def test_an_endpoint_is_given_up_after_five_days_of_failures() -> None:
    assert not is_given_up(None, 100 * DAY)
    assert not is_given_up(95 * DAY + 1, 100 * DAY)
    assert is_given_up(95 * DAY, 100 * DAY)
