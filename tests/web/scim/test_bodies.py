"""Bodies that are packed, and bodies of large groups: read within a bound, refused in a sentence beyond it."""

import gzip
import json
import time
import tracemalloc
import zlib

import pytest

from gateway.scim.errors import PayloadTooLarge
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, PATCH, USER
from gateway.web.encodings import unpack
from tests.support.timing import check_seconds

LIMIT = 1_048_576
BODY = json.dumps({"schemas": [USER], "userName": "a@acme.test"}).encode()


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    return shared_deployment


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_a_body_in_gzip_is_read(scim, encoding):
    answer = scim.call("POST", "/Users", gzip.compress(BODY), headers={"Content-Encoding": encoding})
    assert (answer.status, answer.json["userName"]) == (201, "a@acme.test")
    assert scim.call("PATCH", f"/Users/{answer.json['id']}", gzip.compress(json.dumps(
        {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    ).encode()), headers={"Content-Encoding": encoding}).json["active"] is False  # fmt: skip


def test_identity_is_no_encoding(scim):
    assert scim.call("POST", "/Users", BODY, headers={"Content-Encoding": "identity"}).status == 201


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_another_encoding_is_told_which_is_read(scim, encoding):
    headers = {"Content-Encoding": encoding, "Authorization": f"Bearer {scim.token}"}
    response = scim.deployment.app.test_client().post(
        f"{scim.base}/Users", data=gzip.compress(BODY), headers=headers, content_type="application/scim+json"
    )
    assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "gzip")
    assert "send it as gzip, or not packed" in response.json["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (BODY, "cannot be unpacked"),
        (gzip.compress(BODY)[:-9], "is cut off"),
        (gzip.compress(BODY) + b"more", "goes on behind its end"),
        (gzip.compress(BODY) * 2, "goes on behind its end"),
        (zlib.compress(BODY), "cannot be unpacked"),
        (b"", "is cut off"),
    ],
    ids=["plain", "cut off", "more behind it", "two of them", "zlib", "nothing"],
)
def test_what_is_no_gzip_is_refused(scim, body, words):
    answer = scim.call("POST", "/Users", body, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["scimType"]) == (400, "invalidSyntax")
    assert words in answer.json["detail"]


@pytest.mark.slow
def test_a_bomb_costs_neither_memory_nor_time(scim):
    bomb = gzip.compress(b" " * 200_000_000, 9)
    answer = scim.call("POST", "/Users", bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status, "at most, unpacked" in answer.json["detail"]) == (413, True)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(PayloadTooLarge):
        unpack(bomb, "gzip", LIMIT)
    spent, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (spent < 0.1, peak < 4 * LIMIT) == (True, True)


# Large groups -----------------------------------------------------------------------------------------------------


def entries(count):
    return [
        {"value": f"00u{n:029}", "display": f"user{n}@acme.test", "$ref": f"../Users/00u{n:029}"}
        for n in range(count)
    ]


@pytest.mark.slow
def test_a_group_of_12_000_members_is_read_where_a_user_of_that_size_is_not(scim):
    """Okta's wizard app PUTs the whole group, 1.3 MB."""
    uid = scim.user()["id"]
    group = scim.group("Sales")["id"]
    body = {"schemas": [GROUP], "displayName": "Sales", "members": [{"value": uid}, *entries(11_999)]}
    assert len(json.dumps(body)) > LIMIT
    answer = scim.call("PUT", f"/Groups/{group}", body)
    assert (answer.status, [member["value"] for member in answer.json["members"]]) == (200, [uid])
    operation = {"op": "add", "path": "members", "value": [{"value": uid}, *entries(11_999)]}
    assert scim.patch(f"/Groups/{group}", operation).status == 204
    refused = scim.call("POST", "/Users", json.dumps({"schemas": [USER], "members": body["members"]}))
    assert (refused.status, f"{LIMIT} bytes at most" in refused.json["detail"]) == (413, True)


def test_the_limit_of_groups_is_a_setting(tmp_path):
    deployment = Deployment(tmp_path / "instance", group_body_limit=LIMIT + 10)
    try:
        scim = deployment.connection("generic")
        body = json.dumps({"schemas": [GROUP], "displayName": "Sales"})
        assert scim.call("POST", "/Groups", body.ljust(LIMIT + 10)).status == 201
        refused = scim.call("POST", "/Groups", body.ljust(LIMIT + 11))
        assert (refused.status, f"{LIMIT + 10} bytes at most" in refused.json["detail"]) == (413, True)
    finally:
        deployment.close()


@pytest.mark.parametrize("part", [b"[],", b"{},", b"0,", b'"",'])
def test_a_long_body_of_very_many_small_parts_is_refused_before_it_is_read(scim, part):
    start = b'{"schemas":["%s"],"displayName":"Sales","members":[' % GROUP.encode()
    body = start + part * (8_000_000 // len(part)) + b"0]}"
    began = time.process_time()
    answer = scim.call("POST", "/Groups", body)
    assert (
        answer.status,
        answer.json["detail"].endswith("add the others by PATCH in further ones."),
    ) == (413, True)
    check_seconds(time.process_time() - began, 1)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (
            "/Users",
            "[" * 30_000,
            "has 30002 brackets that open an object or array, those within texts counted too;",
        ),
        ("/Users", "," * 200_000, "has 200002 commas, those within texts counted too;"),
        ("/Groups", "{" * 30_000, "has 30002 brackets that open an object or array"),
        ("/Bulk", "," * 200_000, "has 200002 commas"),
    ],
)
def test_the_refusal_of_many_parts_says_what_was_counted(scim, path, text, words):
    most = LIMIT // 47
    body = json.dumps({"schemas": [USER], "displayName": text, "x": 1})
    answer = scim.call("POST", path, body)
    assert (answer.status, words in answer.json["detail"]) == (413, True), answer.text
    bound = 5 * most if "commas" in words else most
    assert answer.json["detail"].endswith(f"the gateway reads {bound} at most. Send less in one request.")


@pytest.mark.parametrize(
    ("part", "most"), [(b"[],", 22_309), (b"{},", 22_309), (b"0,", 111_549), (b'"",', 111_549)]
)
def test_a_body_within_the_limit_of_more_parts_than_are_read_is_refused(scim, part, most):
    start = b'{"schemas":["%s"],"userName":"user1@acme.test","emails":[' % USER.encode()
    for parts, status in ((most // 2, 400), (most + 10, 413)):
        assert scim.call("POST", "/Users", start + part * parts + b"{}]}").status == status


@pytest.mark.parametrize("part", [b"[],", b"{},", b"0,", b'"",', b'{"a":[]},'])
@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_no_body_within_the_limit_takes_long_by_its_many_parts(scim, part, size):
    start = b'{"schemas":["%s"],"userName":"user1@acme.test","emails":[' % USER.encode()
    body = start + part * (size // len(part)) + b"{}]}"
    taken = []
    for _ in range(3):  # a host that runs other guests lends a processor late, and counts that as its time
        began = time.process_time()
        answer = scim.call("POST", "/Users", body)
        taken.append(time.process_time() - began)
        assert 400 <= answer.status < 500
    assert min(taken) < 0.5
    assert scim.call("GET", "/Users").json["totalResults"] == 0
