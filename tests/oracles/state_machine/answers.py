"""Answers of SCIM in the form that the model shows."""

from __future__ import annotations

from gateway.testing import Scim
from tests.oracles.state_machine.records import Json


def user_shown(answer: Json) -> Json:
    """A user of an answer, its groups as a set."""
    held = {(group["value"], group["display"]) for group in answer.get("groups", ())}
    return {key: value for key, value in answer.items() if key != "meta"} | {"groups": held}


def group_shown(answer: Json) -> Json:
    """A group of an answer, its members as a set."""
    members = {(member["value"], member["display"]) for member in answer.get("members", ())}
    return {key: value for key, value in answer.items() if key != "meta"} | {"members": members}


def pages(scim: Scim, path: str, count: int) -> list[Json]:
    """A whole list, page by page. A page may begin at an older bookmark: nobody is missed by that."""
    found: dict[str, Json] = {}
    start, total = 1, 1
    while start <= total:
        answer = scim.call("GET", f"{path}startIndex={start}&count={count}")
        assert answer.status == 200, answer.text
        listed, total = answer.json.get("Resources", []), answer.json["totalResults"]
        if not listed:
            break
        found.update((each["id"], each) for each in listed)
        start += len(listed)
    assert count < 100 or total == len(found)
    return list(found.values())


def filled(text: str, ids: dict[str, str]) -> str:
    """References of a bulk request put into its operations."""
    for name, uid in ids.items():
        text = text.replace(f"bulkId:{name}", uid)
    return text
