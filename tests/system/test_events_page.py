"""docs/events.md: its commands and programs run as they stand there, and its table has every type of event."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.serving import make_server

from gateway.cli import main
from gateway.provisioning.event_types import EVENT_TYPES

# The page's examples need one engine.
pytestmark = pytest.mark.sqlite

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
#: Blocks of code by the comment above them.
BLOCKS = re.findall(r"(?:<!-- (.+?) -->\n)?```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
NAMED = {name: code for name, _, code in BLOCKS}
SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGlzIHRlc3Q="


@pytest.fixture
def gateway(gateway_fake, monkeypatch):
    """The gateway of the page, with its values in the environment."""
    values = {"GATEWAY": gateway_fake.url, "GATEWAY_ADMIN_TOKEN": gateway_fake.token, "SECRET": SECRET}
    values |= {"ORGANIZATION": gateway_fake.organization, "BEARER_TOKEN": gateway_fake.bearer_token}
    values |= {"BASE_URL": gateway_fake.base_url}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    gateway_fake.assign("user1@acme.test")
    return gateway_fake


def shell(code):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    return subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout


def program(name, folder, stop_after=None):
    """Run a program of the page, until it has printed so many lines; its lines."""
    (folder / name).write_text(NAMED[name])
    process = subprocess.Popen([sys.executable, name], cwd=folder, stdout=subprocess.PIPE, text=True)
    with process:
        if stop_after is None:
            return process.communicate(timeout=30)[0].splitlines()
        lines = [process.stdout.readline().strip() for _ in range(stop_after)]
        process.kill()
        return lines


def test_every_block_is_run_by_a_test_or_says_why_not():
    run = {"a change", "follow.py", "people.py", "hooks.py", "listen", "test_application.py", ""}
    assert all(name in run or name.startswith("by hand: ") for name in NAMED)
    assert [language for name, language, _ in BLOCKS if not name] == ["sh", "json"]


def test_the_first_event_by_curl_the_change_and_the_feed(gateway, tmp_path):
    (first,) = [code for name, language, code in BLOCKS if not name and language == "sh"]
    assert '"type":"user.created"' in shell(first).replace(" ", "").replace("\n", "")
    shell(NAMED["a change"])
    assert program("follow.py", tmp_path, 2) == [
        "1 user.created user1@acme.test",
        "2 user.created ada@acme.test",
    ]


def test_the_copy(gateway, tmp_path):
    gateway.assign("user2@acme.test")
    gateway.deactivate("user2@acme.test")
    assert program("people.py", tmp_path) == ["user1@acme.test may come in", "user2@acme.test may not"]


def test_the_webhook_by_listen(gateway, capsys):
    names = {"__name__": "hooks"}
    exec(compile(NAMED["hooks.py"], "hooks.py", "exec"), names)
    server = make_server("127.0.0.1", 0, names["app"])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    command = NAMED["listen"].replace("$GATEWAY", gateway.url).replace("$ORGANIZATION", gateway.organization)
    command = command.replace(":5050", f":{server.port}").replace('"', "").split()
    try:
        main([*command[1:], "--from", "0", "--stop-after", "1", "--secret", SECRET], standalone_mode=False)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    output = capsys.readouterr().out
    assert re.search(rf"user\.created +204 +\d+ ms  evt_{gateway.organization}_\d+_1\n", output), output


def test_the_test_of_the_application(gateway, tmp_path):
    (tmp_path / "test_application.py").write_text(NAMED["test_application.py"])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_application.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_table_has_every_type_of_event():
    table = PAGE[PAGE.index("\n## Types") : PAGE.index("\n## Tokens")]
    assert set(
        re.findall(r"`((?:user|group|organization|webhook|connection|domain)\.[a-z_]+)`", table)
    ) >= set(EVENT_TYPES)
