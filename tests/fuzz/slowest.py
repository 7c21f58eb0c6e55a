"""Searches for the slowest input of each reader, at the length that the reader takes: `python -m tests.fuzz.slowest`.

Each reader is given families of inputs that are known to be slow somewhere (one token over and over, nesting, long
numbers, combining marks, many names), and then mutations of the slowest found so far. Times are those of the processor.
Ends with 1 if any takes longer than `MOST` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import gateway_entra
import gateway_jumpcloud
import gateway_okta
import gateway_onelogin
from flask import Request

from gateway.plugin.contracts import Billing, Connection, Organization, Seats
from gateway.provisioning.saml_metadata import read_metadata
from gateway.scim.bulk import read_bulk
from gateway.scim.documents import clean
from gateway.scim.errors import Refusal
from gateway.scim.filters import MAX_LENGTH, parse_filter
from gateway.scim.json_text import fold, read_json
from gateway.scim.matching import check_filter, matches
from gateway.scim.messages import read_search
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.paths import parse_path
from gateway.scim.schemas import PATCH_URN, USER_URN
from gateway.scim.sorting import read_sort
from gateway.scim.versions import version_in
from gateway.web.encodings import refuse_many_parts
from gateway.web.http import ScimRequest
from gateway.web.scim.authentication import credentials_of
from tests.fuzz.targets import GROUPS, SHOWN, USER, USERS

#: Seconds of the processor that any one input may take.
MOST = 0.1
BODY, HEADER = 1_048_576, 65_000
TOKENS = (
    "(", ")", "[", "]", "{", "}", '"', "\\", ",", ":", ".", " ", "\t", "\n", "a", "A", "0", "9", "-", "1e9", "null",
    "true", "userName", "emails", "value", " eq ", " or ", " and ", "not ", '"x"', 'emails[value eq "x"]', USER_URN,
    "%41", "%", "+", "&a=b", ";", "=", "\u0315\u0300", "\u0130", "\u1e9e", "\U0001d160", "é", "/", "W/", "<", ">",
    "<a>", "&amp;", "bearer ",
)  # fmt: skip
ORGANIZATION = Organization("o", "Acme", "enterprise", True, Seats(None, 0), Billing("invoice", "", ""), ())


class Reader(NamedTuple):
    """What reads a text, how long a text it takes at most, and inputs that are slow for its kind."""

    read: Callable[[str], Any]
    length: int
    families: Callable[[int], Iterator[str]]


class Found(NamedTuple):
    """The slowest input of a reader."""

    seconds: float
    text: str
    tried: int


def texts(length: int) -> Iterator[str]:
    """One token, or two in turn, as often as there is room."""
    for token in TOKENS:
        yield (token * (length // len(token) + 1))[:length]
    for first in TOKENS[:12]:
        for second in ("a", "0", " ", '"x"'):
            yield ((first + second) * (length // (len(first) + len(second)) + 1))[:length]


def bodies(length: int) -> Iterator[str]:
    """JSON: deep, wide, of long texts and numbers, as users, PATCHes and bulk requests."""
    for token in ("[", '{"a":', "9", "\\u0315", "a\u0315\u0300", "\u1e9e"):
        yield token * (length // len(token))
    for item in (
        "{}",
        "[]",
        "0",
        '""',
        "null",
        '{"value":"a"}',
        '{"value":"a","type":"b"}',
        '{"a":{"b":[]}}',
    ):
        many = ",".join([item] * (length // (len(item) + 1) - 40))
        for name in ("emails", "name", "x", "members", "roles", "schemas"):
            yield f'{{"schemas":["{USER_URN}"],"userName":"a","{name}":[{many}]}}'
        yield f'{{"schemas":["{PATCH_URN}"],"Operations":[{many}]}}'
        change = '{{"schemas":["{}"],"Operations":[{{"op":"add","path":"{}","value":[{}]}}]}}'
        for path in ("emails", "members", "roles"):
            yield change.format(PATCH_URN, path, many[: many.rfind(",", 0, length - 300)])
    keys = ",".join(f'"a{number}":1' for number in range(length // 12))
    yield f'{{"schemas":["{USER_URN}"],"userName":"a",{keys}}}'
    yield f'{{"schemas":["{PATCH_URN}"],"Operations":[{{"op":"add","value":{{{keys}}}}}]}}'
    paths = ",".join(f'"emails[type eq \\"t{number}\\"].value":"a"' for number in range(length // 45))
    yield f'{{"schemas":["{PATCH_URN}"],"Operations":[{{"op":"add","value":{{{paths}}}}}]}}'
    operation = '{"op":"add","path":"emails[type eq \\"w\\"].value","value":"a"}'
    operations = ",".join([operation] * min(1000, length // len(operation)))
    yield f'{{"schemas":["{PATCH_URN}"],"Operations":[{operations}]}}'
    for text in ("a\u0315\u0300" * 400, "\u0130" * 30_000, "é" * 60_000):
        yield json.dumps({"schemas": [USER_URN], "userName": "a", "displayName": text}, ensure_ascii=False)


def filters(length: int) -> Iterator[str]:
    """Filters of every form as long as may be."""
    yield from texts(length)
    for term in (
        'a eq "b"',
        'emails[value eq "b"]',
        "not (a pr)",
        'urn:x:y:z eq "b"',
        "a eq 1",
        'userName co "\u1e9e"',
    ):
        for word in (" or ", " and "):
            yield word.join([term] * (length // (len(term) + len(word))))
    yield "(" * 30 + "a pr" + ")" * 30


def body(step: Callable[[Any], Any]) -> Callable[[str], Any]:
    """A request body, read from JSON and then as one of the messages."""

    def read(text: str) -> None:
        data = text.encode()
        refuse_many_parts(data, BODY)
        step(read_json(data))

    return read


def patch(body: Any) -> None:
    """A PATCH of a user."""
    apply(USERS, USER, read_operations(body), resource_id="u1")


def dialect(plugin: Any, idp: str) -> dict[str, Callable[[str], Any]]:
    """Bodies in the dialect of a plugin, and what becomes of their translation."""
    connection = Connection("c", "s", idp, "C", ORGANIZATION)
    offered = {"connection": connection, "resource_type": "User", "current": USER}

    def asked(hook: str, **arguments: Any) -> Any:
        function = getattr(plugin, hook, None)
        if function is None:
            return None
        known = {**offered, **arguments}
        return function(
            **{name: known[name] for name in function.__code__.co_varnames[: function.__code__.co_argcount]}
        )

    def create(body: Any) -> None:
        clean(USERS, asked("gateway_map_resource", document=body) or body)

    def change(body: Any) -> None:
        operations = read_operations(body)
        apply(USERS, USER, asked("gateway_map_patch", operations=operations) or operations, resource_id="u1")

    return {f"user, {idp}": body(create), f"PATCH, {idp}": body(change)}


def read_filter(text: str) -> None:
    """A filter, and what a plugin makes of it."""
    with contextlib.suppress(Refusal):
        gateway_entra.gateway_map_filter(filter=text)
    tree = parse_filter(text)
    check_filter(tree, USERS)
    matches(tree, SHOWN, USERS)


def call_with(**environ: str) -> ScimRequest:
    """A request with parts of its environment."""
    return ScimRequest(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "x", "SERVER_PORT": "1", **environ}
    )


def read_header(text: str) -> None:
    """One header, as every reader of headers takes it."""
    request: Request = call_with(HTTP_AUTHORIZATION=text, CONTENT_TYPE=text, HTTP_IF_MATCH=text)
    credentials_of(request)
    request.has_media_type("application/json")
    version_in(text)
    assert request.content_type == text


READERS = {
    name: Reader(read, BODY, bodies)
    for name, read in {
        "JSON": body(lambda body: body),
        "user": body(partial(clean, USERS)),
        "group": body(partial(clean, GROUPS)),
        "PATCH": body(patch),
        "search": body(read_search),
        "bulk": body(read_bulk),
        **dialect(gateway_okta, "okta"),
        **dialect(gateway_entra, "entra"),
        **dialect(gateway_onelogin, "onelogin"),
        **dialect(gateway_jumpcloud, "jumpcloud"),
    }.items()
} | {
    "filter": Reader(read_filter, MAX_LENGTH, filters),
    "path": Reader(parse_path, MAX_LENGTH, filters),
    "sortBy": Reader(lambda text: read_sort(text, False, (USERS,)), HEADER, texts),
    "query string": Reader(lambda text: call_with(QUERY_STRING=text).query(), HEADER, texts),
    "header": Reader(read_header, HEADER, texts),
    "text as compared": Reader(fold, 65_536, texts),
    "SAML metadata": Reader(read_metadata, BODY, texts),
}


def seconds_of(read: Callable[[str], Any], text: str) -> float:
    """The processor time of one reading, the shorter of two where it is long."""

    def once() -> float:
        begun = time.process_time()
        with contextlib.suppress(Refusal, ValueError):
            read(text)
        return time.process_time() - begun

    took = once()
    return min(took, once(), once()) if took > MOST / 2 else took


def slowest(reader: Reader, seconds: float, dice: random.Random) -> Found:
    """The slowest input found in so many seconds."""
    found, until = Found(0.0, "", 0), time.monotonic() + seconds
    for text in reader.families(reader.length):
        took = seconds_of(reader.read, text[: reader.length])
        found = (
            Found(took, text, found.tried + 1)
            if took > found.seconds
            else found._replace(tried=found.tried + 1)
        )
    while time.monotonic() < until:
        text = mutated(found.text, dice)[: reader.length]
        took = seconds_of(reader.read, text)
        found = (
            Found(took, text, found.tried + 1)
            if took > found.seconds
            else found._replace(tried=found.tried + 1)
        )
    return found


def mutated(text: str, dice: random.Random) -> str:
    """A part of it again elsewhere, or a token in its place."""
    begin, end = sorted((dice.randrange(len(text) + 1), dice.randrange(len(text) + 1)))
    if dice.random() < 0.5:
        return text[:begin] + dice.choice(TOKENS) * dice.choice((1, 10, 1000)) + text[end:]
    return text[:begin] + text[begin:end] * 2 + text[begin:]


def main() -> int:
    """Search, print a table, and say whether all are quick."""
    parser = argparse.ArgumentParser(prog="make slowest", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each reader, beyond its families")
    parser.add_argument(
        "--reader", action="append", choices=list(READERS), help="only this one; may be repeated"
    )
    given = parser.parse_args()
    dice, slow = random.Random(7), 0
    write_line = sys.stdout.write
    write_line(
        "| reader | characters at most | inputs tried | slowest, ms | begins with |\n| --- | --- | --- | --- | --- |\n"
    )
    for name in given.reader or READERS:
        found = slowest(READERS[name], given.seconds, dice)
        slow += found.seconds > MOST
        begins = ascii(found.text[:24]).replace("|", "/")
        length, took = READERS[name].length, found.seconds * 1000
        write_line(f"| {name} | {length:,} | {found.tried} | {took:.0f} | `{begins}` |\n")
        sys.stdout.flush()
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
