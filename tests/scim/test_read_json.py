"""Reading JSON: what is taken as the body of a request, and the sentences for what is refused."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scim.errors import InvalidSyntax, InvalidValue
from gateway.scim.json_text import dumps, read_json


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def test_an_object_is_read_with_or_without_a_byte_order_mark():
    assert read_json(b'{"a": [1, 2.5, true, null, "\\u00e9"]}') == {"a": [1, 2.5, True, None, "é"]}
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_a_surrogate_pair_is_one_character():
    assert read_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "😀"}


def names(count):
    """An object with so many names."""
    return b"{%s}" % b",".join(b'"a%d":1' % number for number in range(count))


@pytest.mark.parametrize(
    ("body", "refusal", "words"),
    [
        (b"", InvalidSyntax, "empty"),
        (b" \r\n", InvalidSyntax, "empty"),
        (b"{", InvalidSyntax, "line 1, column"),
        (b"{'a': 1}", InvalidSyntax, "not JSON"),
        (b"[]", InvalidSyntax, "an array came"),
        (b'"x"', InvalidSyntax, "a text came"),
        (b"null", InvalidSyntax, "null came"),
        (b"true", InvalidSyntax, "a boolean came"),
        (b'{"a": "\xff"}', InvalidSyntax, "byte 7"),
        (b'{"a": "\xed\xa0\x80"}', InvalidSyntax, "not UTF-8"),
        (b'{"a": 1, "a": 2}', InvalidSyntax, '"a" stands twice'),
        (b'{"x": {"b": [{"userName": 1, "userName": 1}]}}', InvalidSyntax, '"userName" stands twice'),
        (b'{"a": NaN}', InvalidSyntax, "NaN"),
        (b'{"a": -Infinity}', InvalidSyntax, "-Infinity"),
        (b'{"a": 1e999}', InvalidValue, "1e999"),
        (b'{"a": ' + b"9" * 5000 + b"}", InvalidValue, "too many digits"),
        (b'{"name": {"givenName": "a\\u0000b"}}', InvalidValue, "name.givenName holds a NUL"),
        (b'{"emails": [{"value": "\\ud800"}]}', InvalidValue, "emails.value holds half a character"),
        (b'{"a\\u0000": 1}', InvalidValue, "NUL"),
        (b'{"\\uDFFF": 1}', InvalidValue, "half a character"),
        (b'{"a": "raw\x01control"}', InvalidSyntax, "not JSON"),
        (nested(65), InvalidSyntax, "at most 64 levels"),
        (nested(5000), InvalidSyntax, "at most 64 levels"),
        (names(2_001), InvalidSyntax, "An object of the body has 2001 names; at most 2000 are read"),
        (b'{"a":' + names(90_000) + b"}", InvalidSyntax, "90000 names"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", InvalidSyntax, "at most 64 levels"),
    ],
)
def test_what_is_refused_is_named(body, refusal, words):
    with pytest.raises(refusal) as raised:
        read_json(body)
    assert words in raised.value.detail
    assert len(raised.value.detail) < 400


def test_sixty_four_levels_are_read_however_many_brackets_stand_beside_each_other():
    read_json(nested(64))
    assert len(read_json(b'{"a": [' + b",".join([b"{}"] * 5000) + b"]}")["a"]) == 5000


def test_a_long_key_is_cut_in_the_sentence():
    key = b'"' + b"k" * 10_000 + b'"'
    with pytest.raises(InvalidSyntax) as raised:
        read_json(b"{" + key + b": 1, " + key + b": 2}")
    assert len(raised.value.detail) < 200


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(InvalidSyntax, InvalidValue):
        assert isinstance(read_json(data), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_what_is_written_can_be_encoded_and_means_the_same(document):
    assert json.loads(dumps(document).encode()) == document


def test_a_lone_surrogate_is_written_escaped():
    assert dumps({"a": "\ud800é"}) == '{"a":"\\ud800\\u00e9"}'
