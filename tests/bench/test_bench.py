"""What the benchmark reckons with: its stock is what requests would have made, its ratios are those of rounds."""

import json

import pytest

from gateway.testing import Deployment

pytestmark = pytest.mark.slow


def rows(target, speeds, **others):
    return [
        {"target": target, "per_second": speed, "round": turn} | others for turn, speed in enumerate(speeds)
    ]


def test_a_share_of_the_limit_is_the_median_of_rounds_and_not_the_ratio_of_medians(bench):
    figures = bench("figures").Figures(rows("gateway", [10, 40, 90]) + rows("limit", [100, 50, 100]))
    assert figures.share("per_second") == 0.8
    assert figures.median("per_second", target="gateway") == 40
    assert figures.share("per_second", operation="of nobody") is None


def test_a_cost_has_a_share_of_the_limit_the_other_way_round(bench):
    figures = bench("figures").Figures([{"target": "gateway", "us": 300.0}, {"target": "limit", "us": 60.0}])
    assert figures.share("us") == pytest.approx(0.2)


def test_the_worst_size_decides_a_gate(bench):
    figures = bench("figures")
    measured = [
        {"target": target, "operation": "read", "users": users, "us": us, "round": 0}
        for target, users, us in (
            ("gateway", 1, 100),
            ("limit", 1, 60),
            ("gateway", 9, 100),
            ("limit", 9, 40),
        )
    ]
    (promise,) = figures.evaluate_promises(figures.Figures(measured), figures.Figures([]))
    assert (promise.found, promise.bound, promise.is_kept) == (0.4, 0.5, False)


def test_only_what_stands_between_the_marks_is_written_anew(bench, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x: from here -->\nold\n<!-- x: to here -->\nafter\n")
    bench("report").replace_block(page, "x", "new")
    assert page.read_text() == "before\n<!-- x: from here -->\n\nnew\n\n<!-- x: to here -->\nafter\n"
    with pytest.raises(SystemExit, match=r"'<!-- y: from here -->'"):
        bench("report").replace_block(page, "y", "new")


def test_a_request_says_how_long_its_body_is(bench):
    operations = bench("operations")
    subject = operations.Subject("/scim/v2/x", "secret", 1000, operations.uid)
    sent = bench("driver").encode(subject, operations.Ask("POST", "/Users", "count=1", b'{"a":1}'))
    head, body = sent.split(b"\r\n\r\n")
    assert head.startswith(b"POST /scim/v2/x/Users?count=1 HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 7" in head
    assert body == b'{"a":1}'


def test_members_and_accounts_that_go_come_back(bench):
    operations = bench("operations")
    subject = operations.Subject("", "", 1000, operations.uid, {"small": "s", "large": "l"})
    turns = 4 * operations.MOVING

    def changes(name):
        for _ in range(turns):
            (ask,) = subject.next(name)
            (operation,) = json.loads(ask.body)["Operations"]
            yield ask.path, operation

    joined = [operation["op"] == "add" for _, operation in changes("member of 10")]
    assert joined == ([True] * operations.MOVING + [False] * operations.MOVING) * 2
    state = {path: operation["value"]["active"] for path, operation in changes("deactivate")}
    assert len(state) == 2 * operations.MOVING
    assert all(state.values())


def test_the_stock_serves_every_operation(bench, tmp_path):
    """Filling checks by itself that the gateway sees what requests would have made."""
    operations, in_process = bench("operations"), bench("in_process")
    deployment = Deployment(tmp_path / "instance")
    subject, _ = bench("stock").fill_gateway(deployment, operations.LEAST)
    limit = bench("limit").Limit(f"sqlite:///{tmp_path}/limit.sqlite3", "NORMAL")
    rival = bench("stock").fill_limit(f"sqlite:///{tmp_path}/limit.sqlite3", "NORMAL", operations.LEAST)
    try:
        for name, operation in operations.OPERATIONS.items():
            assert in_process.Application(deployment.app, subject).portion(name, 2) > 0
            if operation.of_limit:
                assert in_process.Application(limit.app, rival).portion(name, 2) > 0
    finally:
        deployment.close()
