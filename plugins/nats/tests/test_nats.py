"""Against the server of Debian: `apt-get install nats-server`. Without it these tests are skipped."""

import asyncio
import importlib.util
import json
import shutil
import socket
import subprocess
import time
from dataclasses import replace

import gateway_nats
import nats
import pytest
from gateway_nats.sink import Sink

from gateway import Billing, Event, Organization, Seats
from gateway.testing import ListenerPromises

PROGRAM = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="nats-server is not installed")
USER = {"userName": "user1@acme.test", "active": True}


class Server:
    """A NATS server with JetStream, whose streams outlive a stop."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = [PROGRAM, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self.folder]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.01)
        raise AssertionError("nats-server does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def stream(self, name="gateway"):
        """Return the messages of a stream as (subject, headers, body), oldest first."""

        async def read():
            async with await nats.connect(self.url) as client:
                streams = client.jsm()
                state = (await streams.stream_info(name)).state
                numbers = range(state.first_seq, state.last_seq + 1)
                return [await streams.get_msg(name, number) for number in numbers]

        return [(each.subject, each.headers, json.loads(each.data)) for each in asyncio.run(read())]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "nats")
    yield server
    server.stop()


@pytest.fixture
def plugin(server, monkeypatch):
    """Provide the plugin as it is in a process with an address."""
    monkeypatch.setenv("GATEWAY_NATS_URL", server.url)
    return load()


def load():
    spec = importlib.util.spec_from_file_location("configured", gateway_nats.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestNats(ListenerPromises):
    plugin = "nats"

    @pytest.fixture(autouse=True)
    def configured(self, plugin):
        manager = super().asked.manager
        manager.register(plugin, "sink")
        yield
        manager.unregister(name="sink")

    @property
    def asked(self):
        return replace(super().asked, hooks=frozenset({"gateway_declare", "gateway_provisioned"}))

    @pytest.fixture
    def deployment(self, deployment, plugin):
        deployment.gateway.plugins.add(plugin, "sink")
        return deployment

    def test_a_change_is_a_message_of_its_organization(self, deployment, server):
        scim = deployment.connection("generic")
        uid = scim.user("user1@acme.test")["id"]
        deployment.deliver_events()
        feed = deployment.admin("GET", f"/organizations/{scim.organization.uid}/events").json
        (item,) = feed["items"]
        ((subject, headers, body),) = server.stream()
        assert subject == f"gateway.events.{scim.organization.uid}"
        assert headers["Gateway-Event-Type"] == "user.created"
        assert headers["Nats-Msg-Id"] == f"evt_{scim.organization.uid}_{feed['epoch']}_1"
        assert body == {
            "type": "user.created",
            "timestamp": item["at"],
            "organization": scim.organization.uid,
            "epoch": feed["epoch"],
            "id": 1,
            "connection": scim.uid,
            "data": item["data"],
        }
        assert body["data"]["id"] == uid

    def test_messages_of_an_organization_are_in_order(self, deployment, server):
        scims = [deployment.connection("generic") for _ in range(2)]
        for number in range(10):
            for scim in scims:
                scim.user(f"user{number}@acme.test")
        deployment.deliver_events()
        stream = server.stream()
        assert len(stream) == 20
        for scim in scims:
            bodies = [body for _, _, body in stream if body["organization"] == scim.organization.uid]
            assert [body["id"] for body in bodies] == list(range(1, 11))
            assert [body["data"]["userName"] for body in bodies] == [f"user{n}@acme.test" for n in range(10)]

    @pytest.mark.slow
    def test_nothing_is_lost_while_the_server_is_down(self, deployment, server):
        scim = deployment.connection("generic")
        scim.user("user0@acme.test")
        deployment.deliver_events()
        server.stop()
        scim.user("user1@acme.test")
        deployment.deliver_events()
        server.start()
        count, deadline = 2, time.monotonic() + 30
        while len(stream := server.stream()) < count and time.monotonic() < deadline:
            scim.user(f"user{count}@acme.test")
            count += 1
            deployment.deliver_events()
            time.sleep(0.2)
        assert [body["id"] for _, _, body in stream] == list(range(1, count + 1))


def event(number=1, data=USER):
    organization = Organization("o1", "Acme", "enterprise", True, Seats(None, 0), Billing("card", "", ""))
    return Event(
        id=number,
        type="user.created",
        at="2026-01-01T00:00:00.000Z",
        organization=organization,
        connection=None,
        resource="User",
        resource_id="u1",
        data=data,
        epoch=7,
    )


def test_the_server_drops_what_it_has_stored_already(plugin, server):
    for number in (1, 1, 2, 1):
        plugin.gateway_provisioned(event(number))
    assert [headers["Nats-Msg-Id"] for _, headers, _ in server.stream()] == ["evt_o1_7_1", "evt_o1_7_2"]


def test_a_stream_that_exists_is_left_as_it_is(server, monkeypatch):
    async def make():
        async with await nats.connect(server.url) as client:
            await client.jsm().add_stream(name="own", subjects=["acme.>"], max_msgs=1)

    asyncio.run(make())
    for name, value in {"URL": server.url, "STREAM": "own", "SUBJECT": "acme.people"}.items():
        monkeypatch.setenv(f"GATEWAY_NATS_{name}", value)
    plugin = load()
    plugin.gateway_provisioned(event(1))
    plugin.gateway_provisioned(event(2))
    assert [(subject, body["id"]) for subject, _, body in server.stream("own")] == [("acme.people.o1", 2)]


def test_a_long_message_is_published_without_its_data(plugin, server):
    plugin.gateway_provisioned(event(data={"displayName": "x" * 300_000}))
    ((_, _, body),) = server.stream()
    assert "data" not in body
    assert (body["resource"], body["resource_id"]) == ("User", "u1")
    assert body["url"] == "/admin/v1/organizations/o1/events?after=0&limit=1"


def test_a_server_that_says_nothing_is_given_up(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = Sink(
            [f"nats://127.0.0.1:{silent.getsockname()[1]}"], "gateway", "gateway.events.*", seconds=0.2
        )
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            sink.publish("gateway.events.o1", b"{}", {})
        assert time.monotonic() - begun < 2


def test_without_an_address_it_does_not_listen(monkeypatch):
    monkeypatch.delenv("GATEWAY_NATS_URL", raising=False)
    assert not hasattr(load(), "gateway_provisioned")


@pytest.mark.parametrize(
    ("name", "value"), [("STREAM", "a stream"), ("STREAM", "a.b"), ("SUBJECT", "acme.*"), ("SUBJECT", "a..b")]
)
def test_a_name_that_nats_would_refuse_stops_start_up(monkeypatch, name, value):
    monkeypatch.setenv(f"GATEWAY_NATS_{name}", value)
    with pytest.raises(ValueError, match=f"GATEWAY_NATS_{name}"):
        load()
