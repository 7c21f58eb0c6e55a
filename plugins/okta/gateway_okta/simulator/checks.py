"""What Okta needs of an answer. A check hands back what the conversation goes on with, or raises `Unmet`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway import Json
from gateway.simulation import Answer, Unmet

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


def status(answer: Answer, *expected: int) -> Answer:
    if answer.status not in expected:
        raise Unmet(f"status {' or '.join(map(str, expected))}")
    return answer


def resource(answer: Answer, *expected: int) -> Json:
    """A whole resource with an `id`. An answer without one fails in Okta as "returned empty user"."""
    status(answer, *expected)
    document = _object(answer)
    if not isinstance(document.get("id"), str) or not document["id"]:
        raise Unmet("the whole resource with an id that is text and not empty")
    return document


def user(answer: Answer, user_name: str, *expected: int) -> Json:
    document = resource(answer, *expected)
    if not same_name(document.get("userName"), user_name):
        raise Unmet(f"the user {user_name}")
    return document


def same_id(document: Mapping[str, Any], known: str) -> None:
    if document["id"] != known:
        raise Unmet(
            f"the id {known}, which the server gave out before: Okta keeps nothing else of a resource"
        )


def equal(document: Mapping[str, Any], path: str, wanted: Any) -> None:
    """`path` is dotted; a number in it is a place in a list."""
    if dig(document, path) != wanted:
        raise Unmet(f"{path} to be {wanted!r}, and not {dig(document, path)!r}")


def listing(answer: Answer) -> tuple[int, list[Json]]:
    """A list answer: how many there are in all, and those of this page.

    A number told as text stopped Okta after its lookup, with an event that gives no reason (reported).
    """
    status(answer, 200)
    document = _object(answer)
    if LIST not in _items(document.get("schemas")):
        raise Unmet(f"a list answer, with {LIST} among its schemas")
    _whole_number(document, "totalResults", required=True)
    for name in ("startIndex", "itemsPerPage"):
        _whole_number(document, name, required=False)
    # RFC 7644, 3.4.2: Resources may be left out where there are none.
    return document["totalResults"], _resources(document.get("Resources") or [])


def error(answer: Answer, expected: int) -> str:
    """An error that Okta can show to its admin; hands back the detail."""
    status(answer, expected)
    document = _object(answer)
    if ERROR not in _items(document.get("schemas")):
        raise Unmet(f"an error that Okta can read, with {ERROR} among its schemas")
    if document.get("status") != str(expected):
        raise Unmet(f'the status repeated in the body as text, "{expected}"')
    detail = document.get("detail")
    if not isinstance(detail, str) or not detail:
        raise Unmet("a detail that tells the admin what to do")
    return detail


def members(document: Mapping[str, Any]) -> set[str]:
    """The ids of a group's members; none where the list is null or left out, which Okta accepts."""
    found = document.get("members") or []
    values = {dig(entry, "value") for entry in _items(found)}
    if not isinstance(found, list) or not all(isinstance(value, str) for value in values):
        raise Unmet("members as a list of objects with a value")
    return {str(value) for value in values}


def dig(document: Any, path: str) -> Any:
    """The value at a dotted path, or None where anything on the way is missing or of another shape."""
    for part in path.split("."):
        if isinstance(document, list):
            document = dict(enumerate(document)).get(int(part)) if part.isdigit() else None
        else:
            document = document.get(part) if isinstance(document, dict) else None
    return document


def same_name(one: Any, other: str) -> bool:
    # RFC 7643, 4.1.1: userName is case insensitive.
    return isinstance(one, str) and one.lower() == other.lower()


def _object(answer: Answer) -> Json:
    if not isinstance(answer.json, dict):
        raise Unmet("a JSON object; of anything else Okta shows only the complaint of its own parser")
    return answer.json


def _whole_number(document: Json, name: str, *, required: bool) -> None:
    value = document.get(name)
    missing = value is None and not required
    if not missing and (not isinstance(value, int) or isinstance(value, bool)):
        raise Unmet(f"{name} to be a number, and not {value!r}")


def _resources(found: Any) -> list[Json]:
    if not isinstance(found, list) or not all(isinstance(dig(entry, "id"), str) for entry in found):
        raise Unmet("Resources to be a list of resources that have an id")
    return found


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
