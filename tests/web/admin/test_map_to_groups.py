"""Map to groups from end to end: shown, saved as it was shown, followed by every later write, and switched off."""

from __future__ import annotations

import pytest

from gateway.testing import Scim
from tests_admin_words import URN, mapping


def members(acme, name: str) -> list[str]:
    group = next(item for item in acme.get(f"{acme.path}/groups")["items"] if item["name"] == name)
    listed = acme.get(f"{acme.path}/groups/{group['id']}/members")["items"]
    assert group["members"] == len(listed)
    return [member["user_name"] for member in listed]


def last_events(acme, after: int) -> list[str]:
    return [event["type"] for event in acme.get(f"{acme.path}/events?after={after}")["items"]]
