"""Texts of the admin REST at their bounds and beyond: 2xx or 422 on both engines, and never a 5xx."""

from __future__ import annotations

import random
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.slow

#: 4 bytes each in UTF-8, and what normalizing makes 12 bytes of; neither is compressed in an index.
_noise = random.Random(11)
WIDE = "".join(chr(_noise.randrange(0x20000, 0x2A000)) for _ in range(5000))
GROWING = "".join(chr(_noise.choice((0x1D15E, 0x1D15F, 0x1D160, 0x1D161))) for _ in range(5000))


@pytest.fixture
def deployment(shared_deployment):
    return shared_deployment


def _calls(acme, text: str):
    """Every call that stores a text or looks for one."""
    return {
        "name of an organization": ("POST", "/organizations", {"name": text}),
        "plan": ("PATCH", acme.path, {"plan": text}),
        "domain": ("PATCH", acme.path, {"domains": [text]}),
        "billing URL": ("PATCH", acme.path, {"billing": {"billing_url": f"https://{text}"}}),
        "identity provider": ("POST", f"{acme.path}/connections", {"name": "x", "idp": text}),
        "name of a connection": ("PATCH", acme.connection, {"name": text}),
        "setting": ("PATCH", acme.connection, {"settings": {"x": text}}),
        "name of a setting": ("PATCH", acme.connection, {"settings": {text: "x"}}),
        "label": ("POST", f"{acme.connection}/tokens", {"label": text}),
        "admin token": ("POST", f"{acme.path}/admin-tokens", {"name": text}),
        "group": ("POST", f"{acme.path}/groups", {"name": text}),
        "userName": ("POST", f"{acme.path}/users", {"user_name": text}),
        "name shown": ("POST", f"{acme.path}/users", {"user_name": "a@acme.test", "display_name": text}),
        "e-mail": ("POST", f"{acme.path}/users", {"user_name": "b@acme.test", "email": text}),
        "mapped attribute": (
            "PUT", f"{acme.connection}/group-mapping", acme.mapping({"staff": "Staff"}) | {"attribute": text}
        ),
        "mapped value": ("PUT", f"{acme.connection}/group-mapping", acme.mapping({text: "Staff"})),
        "mapped group": ("PUT", f"{acme.connection}/group-mapping", acme.mapping({"staff": text})),
        "mapped value and group": (
            "PUT", f"{acme.connection}/group-mapping", acme.mapping({text: text[:200]})
        ),
        "taken over": (
            "POST", f"{acme.connection}/takeover", {"from": text, "match": "userName", "users": [text]}
        ),
    }  # fmt: skip


NAMES = [
    "name of an organization", "plan", "domain", "billing URL", "identity provider", "name of a connection", "setting",
    "name of a setting", "label", "admin token", "group", "userName", "name shown", "e-mail", "mapped attribute",
    "mapped value", "mapped group", "mapped value and group", "taken over",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_text_of_wide_characters_is_stored_or_refused_at_every_length(acme, name: str) -> None:
    assert _calls(acme, "x").keys() == set(NAMES)
    refused = 0
    for source in (WIDE, GROWING):
        for length in (60, 200, 253, 320, 500, 512, 1000, 5000):
            method, path, body = _calls(acme, source[:length])[name]
            headers = {}
            if path.endswith("/group-mapping"):
                shown = acme.deployment.admin("POST", f"{path}/preview", body)
                assert shown.status < 500, (length, shown.text)
                headers = {"If_Match": acme.etag()} if shown.status == 200 else {}
            answer = acme.deployment.admin(method, path, body, **headers)
            assert answer.status < 500, (length, answer.text)
            refused += answer.status >= 400
    assert refused > 0


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/organizations", "q"),
        ("{}/users", "q"),
        ("{}/users", "user_name"),
        ("{}/groups", "q"),
        ("{}/activity", "user"),
        ("{}/activity", "target"),
        ("{}/activity", "request_id"),
        ("{}/activity", "connection"),
    ],
)
def test_what_a_list_is_asked_for_has_a_bound(acme, path: str, parameter: str) -> None:
    for source in (WIDE, GROWING):
        for length, status in ((100, 200), (1001, 422)):
            asked = f"{path.format(acme.path)}?{parameter}={quote(source[:length])}"
            answer = acme.deployment.admin("GET", asked)
            assert answer.status == status, (length, answer.text[:300])
