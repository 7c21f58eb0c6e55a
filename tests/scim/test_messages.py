"""Messages: a search is read, a list is written around resources that are JSON already."""

import json

import pytest

from gateway.scim.errors import InvalidCount, InvalidSyntax, InvalidValue
from gateway.scim.json_text import dumps
from gateway.scim.messages import Error, ListResponse, PatchOp, Search, list_response, read_search
from gateway.scim.schemas import LIST_URN, PATCH_URN, SEARCH_URN


def test_a_list_is_spliced_from_resources_that_are_written_already():
    resources = [dumps({"id": "u1", "displayName": 'é"'}), dumps({"id": "u2"})]
    assert json.loads(list_response(7, 3, resources)) == {
        "schemas": [LIST_URN],
        "totalResults": 7,
        "startIndex": 3,
        "itemsPerPage": 2,
        "Resources": [{"id": "u1", "displayName": 'é"'}, {"id": "u2"}],
    }


def test_an_empty_list_still_has_its_resources():
    assert json.loads(list_response(0, 1, []))["Resources"] == []


@pytest.mark.parametrize(
    ("body", "search"),
    [
        ({}, Search()),
        ({"filter": "title pr", "startIndex": 11, "count": 10}, Search("title pr", start=11, count=10)),
        ({"FILTER": "title pr", "startindex": 2}, Search("title pr", start=2)),
        (
            {"attributes": ["userName"], "excludedAttributes": ["emails"]},
            Search(None, ("userName",), ("emails",)),
        ),
        ({"attributes": ["title", "userName", "TITLE", "title"]}, Search(None, ("title", "userName"))),
        ({"startIndex": -1, "count": -5}, Search(start=1, count=0)),
        ({"startIndex": 0, "count": 0}, Search(start=1, count=0)),
        ({"filter": None, "attributes": None, "startIndex": None, "count": None}, Search()),
        (
            {"sortBy": "userName", "sortOrder": "descending", "else": 1},
            Search(sort_by="userName", descending=True),
        ),
        ({"CURSOR": "", "sortOrder": "ASCENDING"}, Search(cursor="")),
    ],
)
def test_a_search_is_read(body, search):
    assert read_search({"schemas": [SEARCH_URN], **body}) == search


@pytest.mark.parametrize(
    ("body", "refusal", "words"),
    [
        ({}, InvalidSyntax, "schemas"),
        ({"schemas": [LIST_URN]}, InvalidValue, SEARCH_URN),
        ({"schemas": [SEARCH_URN], "count": "ten"}, InvalidValue, "count of the search"),
        ({"schemas": [SEARCH_URN], "startIndex": 1.5}, InvalidValue, "startIndex of the search"),
        ({"schemas": [SEARCH_URN], "filter": 7}, InvalidValue, "filter of the search"),
        ({"schemas": [SEARCH_URN], "attributes": "userName"}, InvalidValue, "attributes of the search"),
        ({"schemas": [SEARCH_URN], "attributes": [1]}, InvalidValue, "attributes of the search"),
        (
            {"schemas": [SEARCH_URN], "attributes": [str(n) for n in range(501)]},
            InvalidValue,
            "at most 500",
        ),
        ({"schemas": [SEARCH_URN], "sortOrder": "upwards"}, InvalidValue, "ascending or descending"),
        ({"schemas": [SEARCH_URN], "sortBy": 7}, InvalidValue, "sortBy of the search"),
        ({"schemas": [SEARCH_URN], "cursor": 7}, InvalidValue, "cursor of the search"),
        ({"schemas": [SEARCH_URN], "cursor": "", "count": "ten"}, InvalidCount, "count of the search"),
    ],
)
def test_a_search_that_cannot_be_read_is_refused(body, refusal, words):
    with pytest.raises(refusal) as raised:
        read_search(body)
    assert words in raised.value.detail


def test_the_envelopes_describe_what_is_sent():
    operation = {"op": "replace", "path": "active", "value": False}
    assert PatchOp().validate({"schemas": [PATCH_URN], "Operations": [operation]}) == {}
    assert ListResponse().validate(json.loads(list_response(0, 1, []))) == {}
    assert Error().validate(json.loads(InvalidValue("No.").as_json())) == {}
