"""A real server: it says where it listens, survives its workers, adds up their metrics, and stops cleanly."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.simulation.http_session import HttpSession
from gateway.testing import Deployment
from tests.support.timing import TooSlow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


GROUP = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Staff"}


def get(server, path):
    """On a connection of its own, so that any worker may take it; the status and the text."""
    with HttpSession(server.url, "none", timeout=10) as session:
        answer = session.call("GET", path)
    return answer.status, answer.text


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_serves_and_a_stop_loses_nothing(serve, instance):
    server = serve("--workers", "2")
    assert get(server, "/live") == (200, '{"status":"alive"}\n')
    workers = server.workers()
    assert len(workers) == 2

    deployment = Deployment(instance)
    okta = deployment.connection("okta")
    with HttpSession(server.url + okta.base, okta.token) as idp:
        assert idp.call("GET", "/Users?startIndex=1&count=2").status == 200

    assert server.stop() == 0
    assert all(gone(pid) for pid in workers)
    # Reads are gathered before they are written; those of the last moment were written at the end.
    assert [line.operation for line in deployment.activity(okta.organization)][:1] == ["GET /Users"]
    deployment.close()


def test_two_workers_killed_within_seconds_are_survived(serve):
    server = serve("--workers", "2")
    first = server.workers()[0]
    os.kill(first, signal.SIGKILL)
    until(lambda: first not in server.workers() and len(server.workers()) == 2)
    # Whoever was started in its place: for granian a second death within seconds is a crash loop, and it ends.
    newest = max(server.workers(), key=lambda pid: Path(f"/proc/{pid}").stat().st_ctime_ns)
    os.kill(newest, signal.SIGKILL)
    until(lambda: newest not in server.workers() and len(server.workers()) == 2)
    until(lambda: get(server, "/live")[0] == 200)
    assert server.process.poll() is None
    if "crash loop" not in server.log.read_text():
        raise TooSlow("the second worker died too late for a crash loop")
    assert server.stop() == 0


def test_metrics_are_those_of_all_workers(serve):
    server = serve("--workers", "2")
    for _ in range(20):
        assert get(server, "/live")[0] == 200
    answered = re.compile(r'gateway_requests_total\{idp="",operation="GET /live",status="200"\} (\S+)')
    assert [answered.search(get(server, "/metrics")[1])[1] for _ in range(6)] == ["20.0"] * 6


def test_a_taken_port_is_told_in_one_sentence(serve, instance):
    server = serve()
    # Another gateway must not join in on the port either, though our own workers share it.
    command = [sys.executable, "-m", "gateway.cli", "serve", "--port", str(server.port)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (second.returncode, second.stdout) == (1, "")
    named, sentence = second.stderr.splitlines()
    assert named == f"Database: {instance / 'gateway.sqlite3'}"
    assert sentence.startswith(f"Error: Port {server.port} is taken by another program.")


def test_a_request_that_takes_seconds_is_answered_though_the_server_was_told_to_stop(serve, instance):
    server = serve("--workers", "1")
    deployment = Deployment(instance)
    okta = deployment.connection("okta")
    with (
        contextlib.closing(sqlite3.connect(instance / "gateway.sqlite3", isolation_level=None)) as other,
        HttpSession(server.url + okta.base, okta.token) as idp,
        ThreadPoolExecutor() as pool,
    ):
        assert idp.call("GET", "/Groups").status == 200
        other.execute("BEGIN IMMEDIATE")
        asked = pool.submit(idp.call, "POST", "/Groups", GROUP)
        time.sleep(1)  # until it waits for the lock
        server.process.terminate()
        # The signal is sent to the workers again each second: what they do at the third time is what this looks at.
        time.sleep(3)
        other.execute("COMMIT")
        assert asked.result().status == 201
    assert server.process.wait(timeout=10) == 0
    deployment.close()


def test_workers_end_with_a_killed_server(serve):
    server = serve("--workers", "2")
    workers = server.workers()
    server.stop(signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in workers))


def test_a_worker_ends_by_a_signal_that_came_while_its_main_thread_slept(serve):
    server = serve("--workers", "1")
    (worker,) = server.workers()
    # Given to another thread, it does not wake the main one; nor does one that comes just before that one sleeps.
    other = next(
        int(task.name) for task in Path(f"/proc/{worker}/task").iterdir() if int(task.name) != worker
    )
    tgkill = 234 if platform.machine() == "x86_64" else 131
    assert ctypes.CDLL(None).syscall(tgkill, worker, other, signal.SIGTERM) == 0
    until(lambda: gone(worker))


@pytest.mark.parametrize(
    ("doing", "ended_by"),
    [
        ("worker.end_with_parent(os.getppid() + 1)", signal.SIGTERM),
        (
            "worker.STOP_SECONDS = 1; worker.install_stop_signal(); os.kill(os.getpid(), 15)",
            signal.SIGALRM,
        ),
    ],
    ids=["its parent was gone before", "it hangs"],
)
def test_a_worker_never_outlives_its_stop(doing, ended_by):
    code = f"import os, time; from gateway.server import worker; {doing}; time.sleep(20)"
    assert subprocess.run([sys.executable, "-c", code], timeout=15).returncode == -ended_by


def test_long_request_lines_are_never_answered_in_html_and_no_token_is_logged(serve):
    server = serve("--workers", "1")
    assert get(server, "/live?" + "a" * 60_000)[0] == 200
    assert get(server, "/live?" + "a" * 70_000) == (414, "")
    with HttpSession(server.url, "a-secret-of-somebody") as session:
        assert session.call("GET", "/scim/v2/none/Users").status == 401
    server.stop()
    assert "a-secret-of-somebody" not in server.log.read_text()


LISTENER = """
from pathlib import Path
from gateway import Declaration, hookimpl

@hookimpl
def gateway_declare():
    return Declaration(title="Listener", history=True)

@hookimpl
def gateway_provisioned(event):
    with Path(__file__).with_name("heard").open("a") as file:
        file.write(event.type + "\\n")
"""


def listener_in(folder):
    """An installed plugin that writes down what it hears; the file it writes to."""
    folder.mkdir()
    (folder / "gateway_hears.py").write_text(LISTENER)
    metadata = folder / "gateway_hears-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway-hears\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[gateway.plugins]\nhears = gateway_hears\n")
    return folder / "heard"


def provision_one(instance):
    """What a server that has ended left untold."""
    deployment = Deployment(instance)
    scim = deployment.connection("okta")
    scim.user()
    deployment.close()


def test_what_was_untold_is_told_as_soon_as_the_server_is_up(serve, instance, tmp_path, monkeypatch):
    provision_one(instance)
    heard = listener_in(tmp_path / "plugin")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
    serve("--workers", "2")
    until(lambda: heard.exists() and heard.read_text() == "user.created\n")


@pytest.mark.parametrize("more", [[], ["--preload"]], ids=["usual", "preload"])
def test_gunicorn_tells_what_was_untold_as_soon_as_it_is_up(instance, tmp_path, monkeypatch, more):
    provision_one(instance)
    heard = listener_in(tmp_path / "plugin")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gateway.gunicorn", "-b", "127.0.0.1:0", *more]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": str(tmp_path)})
    try:
        until(lambda: heard.exists() and heard.read_text() == "user.created\n")
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_command_that_makes_the_application_tells_nobody(gateway, instance, tmp_path):
    provision_one(instance)
    heard = listener_in(tmp_path / "plugin")
    code = "import time; from gateway.app import create_app; create_app(); time.sleep(2)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "plugin")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not heard.exists()


# The demonstration ----------------------------------------------------------------------------------------------


def demonstrated(*arguments):
    command = [sys.executable, "-m", "gateway.cli", "demo", "--once", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_demonstration_ends_well_and_may_be_shown_again_at_another_port(instance, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    shown = demonstrated()
    assert shown.returncode == 0, shown.stdout
    assert shown.stderr == f"Database: {instance / 'gateway.sqlite3'}\n"
    assert "FAILED" not in shown.stdout
    assert "You're over capacity" in shown.stdout
    steps = [line for line in shown.stdout.splitlines() if line.startswith("ok ")]
    assert len(steps) >= 20
    assert max(map(len, steps)) <= 70, "a step is a line as wide as the terminal"
    assert any("has 3 seats" in line for line in steps)
    # No table of the steps, which `--verbose` adds.
    assert "explanation" not in shown.stdout

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it, which is as good
            stack.enter_context(socket.create_server(("127.0.0.1", 8000)))
        again = demonstrated("--verbose")
    assert again.returncode == 0, again.stdout
    assert "explanation" in again.stdout
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", again.stdout)[1])
    assert port != 8000
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


def test_a_customer_with_too_few_seats_is_shown_what_its_admin_reads(instance):
    shown = demonstrated("--seats", "2")
    assert shown.returncode == 0, shown.stdout
    assert "FAILED" not in shown.stdout
    reported = " ".join(shown.stdout.partition("admin reads in Okta")[2].split())
    assert reported.count("POST /Users 403") == 2, shown.stdout
    assert reported.count("You're over capacity") == 2, shown.stdout


def test_the_demonstration_serves_until_it_is_interrupted(instance):
    command = [sys.executable, "-m", "gateway.cli", "demo"]
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                # A run in the background of a shell ignores the signal, and would hand that on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )
        )
        stack.callback(shown.kill)
        reported, lines = {}, []
        for line in shown.stdout:
            lines.append(line)
            if match := re.match(
                r"(Admin REST|Operator token|SCIM base URL|Organization|Feed)[^ ]*.* (\S+)$", line
            ):
                reported[match[1]] = match[2]
            if "until Ctrl-C" in line:
                break
        admin = reported["Admin REST"].removesuffix("/docs")
        request = urllib.request.Request(
            f"{admin}/organizations", headers={"Authorization": f"Bearer {reported['Operator token']}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["items"][0]["name"].startswith("Acme ")
        # Killed, it leaves a token that ends by itself.
        request.full_url = f"{admin}/admin-tokens"
        with urllib.request.urlopen(request, timeout=10) as answer:
            (token,) = json.load(answer)["items"]
        lasts = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["created_at"])
        assert round(lasts / timedelta(minutes=1)) == 31 * 24 * 60
        commands = [line for line in lines if line.startswith("curl ")]
        assert len(commands) == 3
        answers = [
            json.loads(
                subprocess.run(command, shell=True, capture_output=True, check=True, timeout=10).stdout
            )
            for command in commands
        ]
        assert answers[0]["userName"] == "you@acme.test"
        assert answers[1]["items"][-1]["resource_id"] == answers[0]["id"]
        assert answers[2]["items"][0]["operation"] == "POST /Users"
        assert reported["Organization"] in commands[1]
        assert reported["Feed"] in commands[1]
        children = Path(f"/proc/{shown.pid}/task/{shown.pid}/children").read_text().split()
        shown.send_signal(signal.SIGINT)
        status = shown.wait(timeout=20)
        assert status == 0, "".join(lines) + shown.stdout.read()
    assert len(children) == 1
    assert all(gone(pid) for pid in children)
