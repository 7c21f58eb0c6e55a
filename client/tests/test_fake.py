"""The fake: an application's test sees what Okta's admin does, and a gateway that is not installed is named."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from gateway_client.fake import ProvisioningRefused


def kinds(fake):
    return [event.type for event in fake.feed().read()]


def test_what_an_admin_does_in_okta_comes_by_the_feed(gateway_fake):
    ada = gateway_fake.assign("ada@acme.test", displayName="Ada")
    gateway_fake.assign("bob@acme.test")
    gateway_fake.push_group("Sales", ["ada@acme.test", "bob@acme.test"])
    gateway_fake.push_group("Sales", ["bob@acme.test"])
    gateway_fake.deactivate("ada@acme.test")
    gateway_fake.reactivate("ada@acme.test")
    gateway_fake.assign("ada@acme.test", displayName="Ada L.")
    gateway_fake.delete_group("Sales")
    events = gateway_fake.feed().read()
    assert [event.type for event in events] == [
        "user.created", "user.created", "group.created", "group.members_changed", "group.members_changed",
        "user.deactivated", "user.reactivated", "user.updated", "group.deleted",
    ]  # fmt: skip
    assert (events[0].resource_id, events[0].data["displayName"]) == (ada, "Ada")
    assert events[4].data["removed"] == [ada]
    assert events[7].data["displayName"] == "Ada L."
    assert {event.connection for event in events} == {gateway_fake.connection}


def test_a_customer_over_capacity_is_refused_until_there_are_seats(gateway_fake):
    gateway_fake.over_capacity()
    with pytest.raises(ProvisioningRefused, match=r"^403: You're over capacity") as refused:
        gateway_fake.assign("ada@acme.test")
    assert refused.value.status == 403
    gateway_fake.set_seats(1)
    gateway_fake.assign("ada@acme.test")
    with pytest.raises(ProvisioningRefused):
        gateway_fake.assign("bob@acme.test")
    gateway_fake.set_seats(None)
    gateway_fake.assign("bob@acme.test")
    assert kinds(gateway_fake) == ["user.created", "user.created"]


def test_the_application_follows_it_as_it_does_in_production(gateway_fake):
    feed = gateway_fake.feed()
    gateway_fake.assign("ada@acme.test")
    assert [event.type for event in itertools.islice(feed, 1)] == ["user.created"]
    gateway_fake.deactivate("ada@acme.test")
    assert [event.type for event in itertools.islice(feed, 1)] == ["user.deactivated"]


def test_attributes_of_an_extension_are_sent_as_such(gateway_fake):
    urn = "urn:calendly:scim:schemas:2.0:User"
    gateway_fake.assign("ada@acme.test", **{urn: {"group": "Sales EMEA"}})
    assert gateway_fake.feed().read()[0].data[urn] == {"group": "Sales EMEA"}


def test_the_environment_leads_to_no_other_database(monkeypatch, tmp_path):
    from gateway_client.fake import GatewayFake

    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://nobody@acme.test/in_use")
    monkeypatch.setenv("GATEWAY_PLUGINS_DISABLED", "okta")
    with GatewayFake(tmp_path / "one") as fake:
        fake.assign("ada@acme.test")
        assert kinds(fake) == ["user.created"]


def test_without_the_gateway_the_fixture_says_what_is_missing(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(gateway_fake): pass")
    code = (
        "import sys, pytest; sys.modules['gateway'] = None; pytest.main(['-p', 'no:gateway', 'test_it.py'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "which is not installed here: pip install 'provisioning-gateway-client[fake]'" in done.stdout


def test_the_library_imports_nothing_of_the_gateway_and_no_framework():
    code = "import gateway_client, sys; print({'gateway', 'flask', 'requests', 'pytest'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
