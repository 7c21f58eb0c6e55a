"""The smallest example of each difference, as the case that it makes."""

from gateway.scim.schemas import ENTERPRISE_URN, GROUP_URN, USER_URN
from tests.oracles.scim_peer.cases import (
    FilterCase,
    PatchCase,
    SelectionCase,
    SequenceCase,
    World,
    case_of,
    compared_head,
)
from tests.oracles.scim_peer.filters import Leaf, Selection
from tests.oracles.scim_peer.kinds import GROUPS, TYPED_URN, USERS
from tests.oracles.scim_peer.patches import ours_after, theirs_after
from tests.oracles.scim_peer.resources import META

FULL = {
    "schemas": [USER_URN, ENTERPRISE_URN, TYPED_URN],
    "userName": "ab@acme.test",
    "externalId": "\u00e9",
    "name": {"givenName": "Ab"},
    "active": True,
    "emails": [
        {"value": "ab@acme.test", "type": "work", "primary": True},
        {"value": "b@acme.test", "type": "home", "display": "Ab"},
    ],
    ENTERPRISE_URN: {"manager": {"value": "u2", "$ref": "/Users/u2"}},
    TYPED_URN: {"tags": ["a"]},
}
SALES = {"schemas": [GROUP_URN], "displayName": "Ab"}


def case_like(difference):
    """The case that the example of a difference makes, and what the two sides say of it."""
    example = difference.example
    if difference.about is FilterCase:
        world = World(USERS, FULL | {"id": "u1", "meta": META})
        answers = world.ask(example)
        return case_of(world, Leaf(*example.split(" ", 2)), answers), answers
    if difference.about is SelectionCase:
        path, _, inner = example[:-1].partition("[")
        world = World(USERS, FULL | {"id": "u1", "meta": META})
        answers = world.ask(example)
        node = Selection(path, Leaf(*inner.split(" ", 2)))
        return SelectionCase(compared_head(USERS, path), node, *answers), answers
    steps = example if isinstance(example, list) else [example]
    kind, document = (GROUPS, SALES) if "members" in steps[0].get("path", "") else (USERS, FULL)
    after = ours_after(kind, document, steps), theirs_after(kind, document, steps)
    if difference.about is SequenceCase:
        mended = any(ours_after(kind, document, [step]) is None for step in steps)
        return SequenceCase(kind, document, steps, *after, mended), after
    return PatchCase(kind, document, *steps, *after), after
