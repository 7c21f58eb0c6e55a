"""The envelope of a bulk request: what is read, what is refused, and in which order its operations can be done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scim.bulk import BulkOperation, BulkRequest, bulk_response, read_bulk
from gateway.scim.errors import InvalidSyntax, InvalidValue, PayloadTooLarge, Refusal
from gateway.scim.schemas import BULK_REQUEST_URN, BULK_RESPONSE_URN, SEARCH_URN

DELETE = {"method": "DELETE", "path": "/Users/1"}
POST = {"method": "POST", "path": "/Users", "bulkId": "a", "data": {}}


def request(*operations, **more):
    return {"schemas": [BULK_REQUEST_URN], "Operations": list(operations)} | more


def without(operation, name):
    return {key: value for key, value in operation.items() if key != name}


def post(name, *references):
    return BulkOperation(
        "POST", "/Groups", None, name, {"members": [{"value": f"bulkId:{r}"} for r in references]}
    )


# Reading ---------------------------------------------------------------------------------------------------------


def test_an_operation_is_read_with_all_that_it_says():
    put = {"method": "PUT", "path": "/Users/1", "bulkId": "p", "version": 'W/"1"', "data": {"userName": "a"}}
    job = read_bulk(request(put, DELETE, failOnErrors=2))
    assert job.fail_on_errors == 2
    assert job.operations == [
        BulkOperation("PUT", "/Users", "1", "p", {"userName": "a"}, 'W/"1"'),
        BulkOperation("DELETE", "/Users", "1"),
    ]


def test_letter_case_counts_neither_in_keys_nor_in_methods():
    shouted = {"SCHEMAS": [BULK_REQUEST_URN.upper()], "FAILONERRORS": 1, "operations": [{"METHOD": "post"}]}
    shouted["operations"][0] |= {"PATH": "/Users", "BULKID": "a", "Data": {"userName": "x"}}
    job = read_bulk(shouted)
    assert (job.fail_on_errors, job.operations) == (
        1,
        [BulkOperation("POST", "/Users", None, "a", {"userName": "x"})],
    )


@pytest.mark.parametrize("absent", [{}, {"failOnErrors": None}])
def test_without_a_number_no_error_ends_the_request(absent):
    assert read_bulk(request(DELETE, **absent)).fail_on_errors is None


def test_data_of_a_delete_is_not_looked_at():
    assert read_bulk(request(DELETE | {"data": "bulkId:nobody"})).operations[0].data is None


def test_a_bulk_id_may_stand_again_where_nothing_is_created():
    put = {"method": "PUT", "path": "/Users/bulkId:a", "bulkId": "a", "data": {}}
    assert len(read_bulk(request(POST, put, put)).operations) == 3


MALFORMED = {
    "no schemas": without(request(DELETE), "schemas"),
    "schemas is a text": request(DELETE, schemas=BULK_REQUEST_URN),
    "no operations": without(request(), "Operations"),
    "operations are none": request(),
    "operations are an object": request(Operations={}),
    "operations twice": request(DELETE, operations=[DELETE]),
    "an operation is a text": request("DELETE /Users/1"),
    "an operation is null": request(None),
    "a key twice": request(DELETE | {"PATH": "/Users/2"}),
    **{f"failOnErrors {number!r}": request(DELETE, failOnErrors=number) for number in (0, -1, 1.0, True, "1", [])},
    "no method": request(without(DELETE, "method")),
    "the method GET": request({"method": "GET", "path": "/Users/1"}),
    "the method empty": request(DELETE | {"method": ""}),
    "a number as method": request(DELETE | {"method": 1}),
    "no path": request(without(DELETE, "path")),
    "an empty path": request(DELETE | {"path": ""}),
    "a path without a slash": request(DELETE | {"path": "Users/1"}),
    "a whole URL": request(DELETE | {"path": "https://acme.test/Users/1"}),
    "a list as path": request(DELETE | {"path": ["/Users/1"]}),
    "a POST without bulkId": request(without(POST, "bulkId")),
    "a POST with an empty bulkId": request(POST | {"bulkId": ""}),
    "a number as bulkId": request(POST | {"bulkId": 1}),
    "a bulkId twice": request(POST, POST | {"path": "/Groups"}),
    "a number as version": request(DELETE | {"version": 1}),
    **{f"{method} without data": request({"method": method, "path": "/Users/1", "bulkId": "a"})
       for method in ("POST", "PUT", "PATCH")},
    "a list as data": request(POST | {"data": [{}]}),
}  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_envelope_is_refused_as_a_whole(body):
    with pytest.raises(InvalidSyntax):
        read_bulk(body)


def test_another_message_is_no_bulk_request():
    with pytest.raises(InvalidValue, match="BulkRequest"):
        read_bulk(request(DELETE, schemas=[SEARCH_URN]))


def test_a_thousand_operations_are_read_and_one_more_is_not():
    assert len(read_bulk(request(*[DELETE] * 1000)).operations) == 1000
    with pytest.raises(PayloadTooLarge, match=r"1001 operations.*maxOperations \(1000\)"):
        read_bulk(request(*[DELETE] * 1001))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["method", "path", "bulkId", "version", "data", "METHOD"])
VALUES = ANYTHING | st.sampled_from(["POST", "delete", "/Users", "/Users/bulkId:a", "a", "bulkId:a"])


@given(st.lists(st.dictionaries(KEYS, VALUES) | ANYTHING, max_size=4), ANYTHING)
def test_whatever_comes_is_read_or_refused(operations, fail_on_errors):
    try:
        job = read_bulk(request(*operations, failOnErrors=fail_on_errors))
    except Refusal:
        return
    order, circular = job.order()
    assert sorted(order + circular) == list(range(len(operations)))


# References ------------------------------------------------------------------------------------------------------


def test_references_are_found_however_deep_and_replaced():
    data = {
        "manager": {"value": "bulkId:boss"},
        "list": [["bulkId:a", "no bulkId:a"], 1, None],
        "bulkId:a": True,
    }
    operation = BulkOperation("PATCH", "/Users", "bulkId:a", None, data, "v")
    assert operation.references == {"a", "boss"}
    resolved = operation.resolve({"a": "1", "boss": "2", "other": "3"})
    assert resolved.uid == "1"
    assert resolved.data == {
        "manager": {"value": "2"},
        "list": [["1", "no bulkId:a"], 1, None],
        "bulkId:a": True,
    }
    assert (operation.uid, operation.data["manager"]["value"]) == ("bulkId:a", "bulkId:boss")
    assert resolved.version == "v"


@pytest.mark.parametrize("text", ["bulkId:", "bulkid:a", " bulkId:a", "bulkId", "a"])
def test_what_only_resembles_a_reference_is_a_text(text):
    operation = BulkOperation("PUT", "/Users", text, None, {"displayName": text})
    assert operation.references == set()
    assert operation.resolve({}) == operation


def test_a_reference_to_nothing_is_refused_by_its_name():
    with pytest.raises(InvalidValue, match='bulkId:"nobody" stands for nothing'):
        post("a", "nobody").resolve({"a": "1"})


# Order -----------------------------------------------------------------------------------------------------------

ORDERS = {
    "nothing refers": ([post("a"), post("b")], [0, 1], []),
    "to an earlier one": ([post("a"), post("b", "a")], [0, 1], []),
    "to a later one": ([post("a", "b"), post("b")], [1, 0], []),
    "only what waits is moved": (
        [post("a"), post("b", "d"), post("c"), post("d"), post("e")],
        [0, 2, 3, 1, 4],
        [],
    ),
    "a chain, backwards": ([post("a", "b"), post("b", "c"), post("c")], [2, 1, 0], []),
    "twice to one": ([post("a", "b", "b"), post("b")], [1, 0], []),
    "to nothing": ([post("a", "nobody")], [0], []),
    "to itself": ([post("a", "a"), post("b")], [1], [0]),
    "in a circle": ([post("a", "b"), post("b", "a"), post("c")], [2], [0, 1]),
    "into a circle": ([post("a", "b"), post("b", "b"), post("c")], [2], [0, 1]),
    "out of a circle": ([post("a", "a", "c"), post("c")], [1], [0]),
    "by a path": ([BulkOperation("DELETE", "/Users", "bulkId:b"), post("b")], [1, 0], []),
    "to what creates nothing": ([post("a", "b"), BulkOperation("PUT", "/Users", "1", "b", {})], [0, 1], []),
}


@pytest.mark.parametrize(("operations", "order", "circular"), ORDERS.values(), ids=ORDERS)
def test_an_operation_waits_for_what_it_refers_to(operations, order, circular):
    assert BulkRequest(operations).order() == (order, circular)


def test_a_chain_of_a_thousand_is_put_in_order():
    chain = [post(str(number), str(number + 1)) for number in range(999)] + [post("999")]
    assert BulkRequest(chain).order() == (list(range(999, -1, -1)), [])


@given(st.lists(st.sets(st.integers(0, 11), max_size=3), max_size=12))
def test_nothing_is_done_before_what_it_refers_to(references):
    operations = [post(str(number), *map(str, to)) for number, to in enumerate(references)]
    order, circular = BulkRequest(operations).order()
    known = {number: {to for to in each if to < len(references)} for number, each in enumerate(references)}
    assert all(known[number] <= set(order[:place]) for place, number in enumerate(order))
    assert all(known[number] & set(circular) for number in circular)


def test_the_answer_is_a_bulk_response():
    assert bulk_response([{"status": "204"}]) == (
        f'{{"schemas":["{BULK_RESPONSE_URN}"],"Operations":[{{"status":"204"}}]}}'
    )
