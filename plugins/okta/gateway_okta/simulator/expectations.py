"""What Okta needs of an answer. Each `expect_` function raises ExpectationError where an answer lacks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway import Json
from gateway.simulation import Answer, ExpectationError, expect_equal, expect_status

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


def expect_resource(answer: Answer, *expected: int) -> Json:
    """Return the whole resource. An answer without `id` fails in Okta as "returned empty user"."""
    expect_status(answer, *expected)
    document = _object(answer)
    if not isinstance(document.get("id"), str) or not document["id"]:
        raise ExpectationError("the whole resource with an id that is text and not empty")
    return document


def expect_user(answer: Answer, user_name: str, *expected: int) -> Json:
    document = expect_resource(answer, *expected)
    if not same_name(document.get("userName"), user_name):
        raise ExpectationError(f"the user {user_name}")
    return document


def expect_id(document: Mapping[str, Any], known: str) -> None:
    if document["id"] != known:
        raise ExpectationError(
            f"the id {known}, which the server gave out before: Okta keeps nothing else of a resource"
        )


def expect_value(document: Mapping[str, Any], path: str, expected: Any) -> None:
    """Check the value at a dotted path, in which a number is a place in a list."""
    expect_equal(_value_at(document, path), expected, path)


def expect_list(answer: Answer) -> tuple[int, list[Json]]:
    """Return `totalResults` and the resources of this page.

    A number sent as text stopped Okta after its lookup, with an event that gives no reason (reported).
    """
    expect_status(answer, 200)
    document = _object(answer)
    if LIST not in _items(document.get("schemas")):
        raise ExpectationError(f"a list answer, with {LIST} among its schemas")
    _whole_number(document, "totalResults", required=True)
    for name in ("startIndex", "itemsPerPage"):
        _whole_number(document, name, required=False)
    # RFC 7644, 3.4.2: Resources may be left out where there are none.
    return document["totalResults"], _resources(document.get("Resources") or [])


def expect_error(answer: Answer, expected: int) -> str:
    """Return the detail of an error, which Okta shows to its admin."""
    expect_status(answer, expected)
    document = _object(answer)
    if ERROR not in _items(document.get("schemas")):
        raise ExpectationError(f"an error that Okta can read, with {ERROR} among its schemas")
    if document.get("status") != str(expected):
        raise ExpectationError(f'the status repeated in the body as text, "{expected}"')
    detail = document.get("detail")
    if not isinstance(detail, str) or not detail:
        raise ExpectationError("a detail that tells the admin what to do")
    return detail


def expect_members(document: Mapping[str, Any]) -> set[str]:
    """Return the ids of a group's members; none where the list is null or left out, which Okta accepts."""
    found = document.get("members") or []
    values = {_value_at(entry, "value") for entry in _items(found)}
    if not isinstance(found, list) or not all(isinstance(value, str) for value in values):
        raise ExpectationError("members as a list of objects with a value")
    return {str(value) for value in values}


def same_name(one: Any, other: str) -> bool:
    """Return whether two names are the same, letter case aside (RFC 7643, 4.1.1)."""
    return isinstance(one, str) and one.lower() == other.lower()


def _value_at(document: Any, path: str) -> Any:
    """Return the value at a dotted path, or None where anything on the way is missing or of another shape."""
    for part in path.split("."):
        if isinstance(document, list):
            document = dict(enumerate(document)).get(int(part)) if part.isdigit() else None
        else:
            document = document.get(part) if isinstance(document, dict) else None
    return document


def _object(answer: Answer) -> Json:
    if not isinstance(answer.json, dict):
        raise ExpectationError(
            "a JSON object; of anything else Okta shows only the complaint of its own parser"
        )
    return answer.json


def _whole_number(document: Json, name: str, *, required: bool) -> None:
    value = document.get(name)
    missing = value is None and not required
    if not missing and (not isinstance(value, int) or isinstance(value, bool)):
        raise ExpectationError(f"{name} to be a number, and not {value!r}")


def _resources(found: Any) -> list[Json]:
    if not isinstance(found, list) or not all(isinstance(_value_at(entry, "id"), str) for entry in found):
        raise ExpectationError("Resources to be a list of resources that have an id")
    return found


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
