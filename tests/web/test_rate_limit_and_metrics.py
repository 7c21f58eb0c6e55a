"""The limit of requests a second, and that the labels of metrics cannot be multiplied by callers."""

from __future__ import annotations

import re

import pytest

from gateway.scim.errors import TooManyRequests
from gateway.testing import Deployment
from gateway.web.scim.rate_limit import BURST, RateLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def admitted(limits, connection="acme", tries=1000):
    """How many of so many requests at once come in."""
    for number in range(tries):
        try:
            limits.admit(connection)
        except TooManyRequests:
            return number
    return tries


@pytest.mark.parametrize(
    ("rate", "workers", "after", "expected"),
    [
        # requests a second, workers, seconds of rest after the burst, requests that come in then
        (5, 1, 0, 0),
        (5, 1, 1, 5),
        (5, 2, 2, 5),
        (5, 1, 3600, 5 * BURST),
    ],
)
def test_a_burst_comes_in_and_then_so_many_a_second(rate, workers, after, expected):
    clock = Clock()
    limits = RateLimit(rate, workers, clock)
    assert admitted(limits) == rate * BURST
    clock.now += after
    assert admitted(limits) == expected


def test_connections_do_not_share_a_bucket():
    limits = RateLimit(1, 1, Clock())
    assert (admitted(limits, "acme"), admitted(limits, "other")) == (BURST, BURST)


def test_no_limit_is_no_limit():
    assert admitted(RateLimit(0, 1, Clock())) == 1000


def test_whoever_comes_back_when_told_is_let_in():
    clock = Clock()
    limits = RateLimit(1, 4, clock)
    admitted(limits)
    with pytest.raises(TooManyRequests) as refused:
        limits.admit("acme")
    assert refused.value.retry_after == 4
    clock.now += 4
    limits.admit("acme")


@pytest.fixture
def limited(tmp_path):
    deployment = Deployment(tmp_path / "limited", rate_limit=1)
    yield deployment
    deployment.close()


def test_one_too_many_is_a_scim_error_that_says_when_to_come_back(limited):
    okta, other = limited.connection("okta"), limited.connection("okta")
    statuses = [okta.call("GET", "/Users").status for _ in range(BURST)]
    refused = okta.call("GET", "/Users")
    assert statuses == [200] * BURST
    assert (refused.status, refused.json["status"]) == (429, "429")
    assert "more than the 1 requests a second" in refused.json["detail"]
    assert limited.last_headers["Retry-After"] == "1"
    assert other.call("GET", "/Users").status == 200
    assert [line.status for line in limited.activity(okta.organization, outcome="failure")] == [429]


def test_a_wrong_token_uses_up_nothing_of_the_limit(limited):
    okta = limited.connection("okta")
    for _ in range(2 * BURST):
        assert okta.call("GET", "/Users", token="guessed").status == 401
    assert okta.call("GET", "/Users").status == 200


def labels(deployment):
    text = deployment.app.test_client().get("/metrics").get_data(as_text=True)
    return set(re.findall(r"gateway_requests_total\{(.*)\}", text))


def test_requests_are_counted_by_route_and_kind_of_provider(deployment):
    okta = deployment.connection("okta")
    user = okta.user()
    okta.call("GET", f"/Users/{user['id']}")
    okta.call("GET", "/Users/nobody")
    assert labels(deployment) == {
        'idp="okta",operation="POST /Users",status="201"',
        'idp="okta",operation="GET /Users/<uid>",status="200"',
        'idp="okta",operation="GET /Users/<uid>",status="404"',
    }


def test_nothing_that_a_caller_invents_becomes_a_label(deployment):
    client = deployment.app.test_client()
    client.open("/nowhere", method="INVENTED")
    client.open("/scim/v2/invented-slug/Users/invented-id")
    client.open("/scim/v2/invented-slug/Users", method="INVENTED")
    assert not [each for each in labels(deployment) if "invented" in each.lower()]
