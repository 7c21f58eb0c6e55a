"""What the fuzzer starts from: the words of SCIM, and the filters, paths and bodies of the tests' tables."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.scim import schemas
from gateway.scim.schemas import ENTERPRISE, GROUP, USER, Attribute, application_extension

APP_URN = "urn:acme:scim:schemas:2.0:User"
SCHEMAS = (USER, GROUP, ENTERPRISE, application_extension(APP_URN, "Acme"))
URNS = (
    *(schema.id for schema in SCHEMAS),
    *(schemas.PATCH_URN, schemas.SEARCH_URN, schemas.BULK_REQUEST_URN, schemas.LIST_URN),
)
OPERATORS = ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr", "and", "or", "not", "not (")
LITERALS = (
    *(
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1.5e3",
        "1e999",
        '""',
        '"work"',
        '"user1@acme.test"',
        "NaN",
        "Infinity",
    ),
    *(
        '"2026-11-24T08:00:00Z"',
        '"TUlJ"',
        r"\u0000",
        r"\ud800",
        r"\ud83d\ude00",
        r"\"",
        "\\\\",
        "İ",
        "ß",
        "\u0301",
    ),
)
MARKS = ('emails[type eq "work"]', "].value", "[", "]", "(", ")", ".", ":", ",", "{", "}", '":', '{"', '"}')
KEYS = (
    *(
        "schemas",
        "Operations",
        "op",
        "path",
        "value",
        "add",
        "replace",
        "remove",
        "failOnErrors",
        "method",
        "bulkId",
    ),
    *(
        "data",
        "version",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "/Users",
        "/Users/bulkId:a",
        "/Groups/1",
        "bulkId:a",
    ),
    *(
        "filter",
        "attributes",
        "excludedAttributes",
        "sortBy",
        "sortOrder",
        "ascending",
        "descending",
        "startIndex",
    ),
    *("count", "cursor", "$ref", "password"),
)

#: The longest word that libFuzzer takes, in bytes.
_WORD = 64
#: The longest seed, in bytes: short ones are tried faster.
_SEED = 400


def names() -> list[str]:
    """Every attribute of every schema, with and without what it belongs to."""
    found: dict[str, None] = {}
    for schema in SCHEMAS:
        for attribute in (*schema.attributes, *schemas._COMMON):
            for name in _spelt(attribute):
                found[name] = None
                found[f"{schema.id}:{name}"] = None
    return list(found)


def _spelt(attribute: Attribute) -> Iterator[str]:
    yield attribute.name
    for sub in attribute.sub:
        yield sub.name
        yield f"{attribute.name}.{sub.name}"


def behind_brackets() -> list[str]:
    """Every sub-attribute as it follows a value path, with the bracket and without: `].type`, `.type`."""
    found = (sub.name for schema in SCHEMAS for attribute in schema.attributes for sub in attribute.sub)
    return [mark + name for name in dict.fromkeys(found) for mark in ("].", ".")]


def dictionary() -> str:
    """The words in the format of libFuzzer, one a line."""
    words = dict.fromkeys((*names(), *behind_brackets(), *URNS, *OPERATORS, *LITERALS, *MARKS, *KEYS))
    quoted = [f'"{word}"' for word in (*names(), *KEYS) if ":" not in word and "." not in word]
    encoded = (word.encode() for word in (*words, *quoted))
    return "".join(f'"{_escaped(word)}"\n' for word in encoded if 1 < len(word) <= _WORD)


def _escaped(word: bytes) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word
    )


def texts(*files: Path) -> list[bytes]:
    """Every text of some tests' sources that is short enough to be a seed: filters, paths, names."""
    found = {text for file in files for text in _constants(ast.parse(file.read_text("utf-8")))}
    return sorted(text for text in found if 0 < len(text) <= _SEED)


def _constants(tree: ast.AST) -> Iterator[bytes]:
    known = {name: value for name, value in vars(schemas).items() if name.endswith("_URN")}
    known |= {"APP_URN": APP_URN, "EXTENSION": APP_URN}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.value.encode(errors="replace") if isinstance(node.value, str) else node.value
        elif isinstance(node, ast.JoinedStr) and all(
            isinstance(part, ast.Constant)
            or (
                isinstance(part, ast.FormattedValue)
                and isinstance(part.value, ast.Name)
                and part.value.id in known
            )
            for part in node.values
        ):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else known[part.value.id] for part in node.values
            ).encode()


def bodies() -> list[bytes]:
    """A body of each message, and some that are refused."""
    work = {"value": "user1@acme.test", "type": "work", "primary": True}
    user = {
        "schemas": [schemas.USER_URN, schemas.ENTERPRISE_URN],
        "userName": "user1@acme.test",
        "name": {"givenName": "Given1"},
        "active": True,
        "emails": [work],
        "x509Certificates": [{"value": "TUlJ"}],
        schemas.ENTERPRISE_URN: {"manager": {"value": "u2"}},
        APP_URN: {"group": ["Sales"]},
    }
    group = {"schemas": [schemas.GROUP_URN], "displayName": "Sales", "members": [{"value": "u1"}]}
    operations = [
        {"op": "add", "value": {"nickName": "Nick1", "emails": [work]}},
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "user2@acme.test"},
        {"op": "remove", "path": 'members[value eq "u1"]'},
        {"op": "add", "path": f"{APP_URN}:group", "value": ["Support"]},
    ]
    patch = {"schemas": [schemas.PATCH_URN], "Operations": operations}
    search = {
        "schemas": [schemas.SEARCH_URN],
        "filter": 'userName sw "u"',
        "attributes": ["emails.value"],
        "sortBy": "name.familyName",
        "sortOrder": "descending",
        "startIndex": 1,
        "count": 10,
        "cursor": None,
    }
    bulk = {
        "schemas": [schemas.BULK_REQUEST_URN],
        "failOnErrors": 1,
        "Operations": [
            {"method": "POST", "path": "/Users", "bulkId": "a", "data": user},
            {"method": "PATCH", "path": "/Groups/1", "data": patch},
            {"method": "PUT", "path": "/Groups/bulkId:b", "data": {"members": [{"value": "bulkId:a"}]}},
            {"method": "DELETE", "path": "/Users/1", "version": 'W/"1"'},
        ],
    }
    written = [json.dumps(body, separators=(",", ":")) for body in (user, group, patch, search, bulk)]
    written += [json.dumps({"Operations": [operation]}) for operation in operations]
    return [text.encode() for text in written]


def parameters() -> list[bytes]:
    """Query parameters, a line each, in the order in which the target reads them."""
    return [
        b"emails.value,userName\nmeta,groups\nname.familyName\ndescending\n\n1\n10",
        f"{schemas.ENTERPRISE_URN}:manager\n{APP_URN}\nmeta.created\nascending\n{'A' * 96}\n-1\n0".encode(),
        f"{schemas.USER_URN}:emails\nid,schemas,{schemas.ENTERPRISE_URN}:manager.value\nemails\n\n \n\n".encode(),
    ]


class Mutator:
    """Changes an input by whole tokens, so that it often can still be read; libFuzzer by itself changes bytes."""

    _TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\w$.:@/-]+|\s+|.', re.DOTALL)
    _AROUND = (
        *(
            (b"(", b")"),
            (b"not (", b")"),
            (b"emails[", b"]"),
            (b"addresses[", b"].locality pr"),
            (b"emails[", b""),
        ),
        *((b"(", b") and id pr"), (b"[", b"]"), (b'{"value":', b"}"), (b'"emails":[{"value":', b"}],")),
        (b'emails[type eq "work" or ', b"].value"),
    )
    _BEHIND = (
        *(
            b" and title pr",
            b" or active eq true",
            b' and not (emails[type ne "home"].value co "a")',
            b".value",
            b".type",
        ),
        *(
            b' eq "work"',
            b" pr",
            b" ne null",
            b' gt "2026-11-24T08:00:00Z"',
            b',"value":"a"',
            b',"op":"add"',
            b",null",
        ),
    )

    def __init__(self, fallback: Callable[[bytes, int], bytes]) -> None:
        self._fallback = fallback
        self._words = tuple(
            word.encode() for word in (*names(), *behind_brackets(), *OPERATORS, *LITERALS, *MARKS, *KEYS)
        )

    def __call__(self, data: bytes, longest: int, seed: int) -> bytes:
        """The changed input, at most so many bytes long."""
        dice = random.Random(seed)
        if dice.random() < 0.4:
            return self._fallback(data, longest)
        tokens = self._TOKEN.findall(data)
        for _ in range(dice.choice((1, 1, 2, 3))):
            start = dice.randint(0, len(tokens))
            end = min(len(tokens), start + dice.choice((0, 1, 1, 2, 3, 5, 7, 9)))
            tokens[start:end] = self._instead(dice, tokens[start:end])
        return b"".join(tokens)[:longest]

    def _instead(self, dice: random.Random, tokens: list[bytes]) -> list[bytes]:
        form = dice.randint(0, 5)
        if form == 0:
            return [dice.choice(self._words)]
        if form == 1:
            opening, closing = dice.choice(self._AROUND)
            return [opening, *tokens, closing]
        if form == 2:
            return [*tokens, dice.choice(self._BEHIND)]
        if form == 3:
            return tokens * 2
        return [] if form == 4 else [dice.choice(self._words), *tokens]
