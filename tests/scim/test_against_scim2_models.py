"""Filters and PATCH, held against an independent implementation of the same RFCs, scim2-models.

`tests.oracles.scim_peer` draws examples. Every comparison of a filter, and every operation of a PATCH, is asked of both
sides by itself and then as part of the whole. Where the answers differ, the difference must be one of the table
`DIFFERENCES`. The smallest example of each entry is asserted to differ, so that one that is no longer true is noticed.

`GATEWAY_DIFFERENTIAL_FILTERS` and `GATEWAY_DIFFERENTIAL_PATCHES` in the environment say how many examples to try.
"""

import os
import re

import email_validator
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.scim.filters import MAX_LENGTH
from tests.oracles.scim_peer.cases import PatchCase, SequenceCase, World
from tests.oracles.scim_peer.comparison import held
from tests.oracles.scim_peer.difference import recognized
from tests.oracles.scim_peer.differences import DIFFERENCES
from tests.oracles.scim_peer.examples import case_like
from tests.oracles.scim_peer.filters import filters
from tests.oracles.scim_peer.kinds import GROUPS, USERS
from tests.oracles.scim_peer.operations import changes
from tests.oracles.scim_peer.patches import ours_after, theirs_after
from tests.oracles.scim_peer.resources import resources

# Long texts make long examples.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Generating overly large repr")]

FILTERS = int(os.environ.get("GATEWAY_DIFFERENTIAL_FILTERS", "150"))
PATCHES = int(os.environ.get("GATEWAY_DIFFERENTIAL_PATCHES", "100"))


@pytest.fixture(autouse=True, scope="module")
def _addresses_for_tests_are_addresses():
    """acme.test is no domain of the real world, which scim2-models would refuse."""
    before, email_validator.TEST_ENVIRONMENT = email_validator.TEST_ENVIRONMENT, True
    yield
    email_validator.TEST_ENVIRONMENT = before


def tried(count):
    """A fixed set of examples, whatever their number: the same command tries the same."""
    return settings(max_examples=count, derandomize=True, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


@st.composite
def questions(draw):
    kind = draw(st.sampled_from([USERS, USERS, USERS, GROUPS]))
    document = draw(resources(kind))
    return kind, document, draw(filters(kind, document))


@tried(FILTERS)
@given(questions())
def test_filters_match_the_same_resources_as_scim2_models(question):
    kind, document, node = question
    assume(len(str(node)) <= MAX_LENGTH)
    world = World(kind, document)
    assert world.ask(str(node)) == held(world, node)


@tried(PATCHES)
@given(changes())
def test_patches_leave_the_same_document_as_scim2_models(change):
    kind, document, steps = change
    now, agreed, mended = document, [], False
    for operation in steps:
        ours, theirs = ours_after(kind, now, [operation]), theirs_after(kind, now, [operation])
        if ours != theirs:
            # It is left out, so that the others are held against each other all the same.
            recognized(DIFFERENCES, PatchCase(kind, now, operation, ours, theirs))
            continue
        agreed.append(operation)
        mended = mended or ours is None
        now = ours or now
    ours, theirs = ours_after(kind, document, agreed), theirs_after(kind, document, agreed)
    if agreed and ours != theirs:
        recognized(DIFFERENCES, SequenceCase(kind, document, agreed, ours, theirs, mended))


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_differences_from_scim2_models_in_the_table_are_still_there(difference):
    case, (ours, theirs) = case_like(difference)
    assert ours != theirs
    assert recognized(DIFFERENCES, case) == difference.name
    assert re.match(r"RFC 764[34], |as above", difference.rule)
    assert difference.right in ("ours", "theirs", "open")
