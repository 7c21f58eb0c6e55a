"""Each transcript of Okta, told to a new connection of a new organization, and what the application sees afterwards."""

import json
from pathlib import Path

import pytest

from gateway.testing import transcripts

FILES = sorted(Path(__file__).parents[2].glob("plugins/okta/tests/transcripts/*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def transcript(request):
    return json.loads(request.param.read_text("utf-8"))


def listed(deployment, path):
    """A whole list of the admin REST, by its pages."""
    items, after = [], ""
    while after is not None:
        page = deployment.admin("GET", f"{path}?limit=2{after and f'&after={after}'}").json
        items, after = items + page["items"], page["next"]
    return items


def test_okta_hears_what_it_needs_and_the_application_sees_what_okta_said(deployment, transcript):
    okta = deployment.connection("okta", settings=transcript.get("settings"))
    assert transcripts.replay(okta, transcript) == []
    path = f"/organizations/{okta.organization.uid}"
    lists = {name: listed(deployment, f"{path}/{name}") for name in ("users", "groups")}
    assert transcripts.unseen(transcript, **lists) == []


def test_the_failures_in_the_activity_are_those_of_the_story(deployment, transcript):
    """All but requests for what there is not: no endpoint was reached, so no connection is known to have called."""
    okta = deployment.connection("okta", settings=transcript.get("settings"))
    transcripts.replay(okta, transcript)
    told = [
        exchange["expect"].get("status", 200)
        for exchange in transcript["exchanges"]
        if exchange["request"]["path"].startswith(("/Users", "/Groups"))
    ]
    refused = [line.status for line in deployment.activity(okta.organization, outcome="failure")]
    assert sorted(refused) == sorted(s for s in told if isinstance(s, int) and s >= 400 and s != 405)


def test_seats_in_use_are_the_active_users_that_are_seen(deployment, transcript):
    okta = deployment.connection("okta", settings=transcript.get("settings"))
    transcripts.replay(okta, transcript)
    users = listed(deployment, f"/organizations/{okta.organization.uid}/users")
    assert deployment.used(okta.organization) == sum(user["active"] for user in users)


def test_there_are_transcripts():
    assert len(FILES) >= 10
