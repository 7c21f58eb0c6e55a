"""What both sides do differently with operations of a PATCH."""

from gateway.scim.schemas import ENTERPRISE_URN
from tests.oracles.scim_peer.cases import PatchCase, SequenceCase, World
from tests.oracles.scim_peer.comparison import held
from tests.oracles.scim_peer.difference import Difference
from tests.oracles.scim_peer.kinds import GROUPS, TYPED_URN
from tests.oracles.scim_peer.patches import normal, ours_after, theirs_after
from tests.oracles.scim_peer.recognition import (
    UNREADABLE,
    adds_twice,
    all_but_primary,
    completed_otherwise,
    differing,
    doubled,
    is_no_line,
    is_null_of_many,
    is_read_only,
    is_unassigned,
    keys_of,
    label_alone,
    made_primary,
    member_id,
    more_in_between,
    names_nothing,
    only,
    respelt,
    takes_from_manager,
    touched,
    without,
    writes_other_type,
)
from tests.oracles.scim_peer.resources import ADDRESSES, URLS


def filter_differs(case):
    """Whether a comparison in the filter of the path is itself one about which the two sides differ."""
    if not case.filter or case.head is None or not (case.head.multi and case.head.type == "complex"):
        return False
    world = World(case.kind, {**case.document, "id": "u1"})
    within = case.operation["path"].partition("[")[0]
    each = [world.with_only(case.head, [element] if element else []) for element in case.there or [None]]
    answers = [held(one, leaf, within) for leaf in case.filter for one in each]
    return any(ours is not theirs for ours, theirs in answers)


def explained_by(drop, case):
    """Whether the operation says what `drop` names, and differs no longer, or in another way, without it."""
    if case.op == "remove" or not any(drop(attribute, value) for attribute, value in case.pieces):
        return False
    if drop(case.attribute, case.value):
        return len(touched(case)) < 2
    rest = case.operation | {"value": without(drop, case.attribute, case.value)}
    ours, theirs = (after(case.kind, case.document, [rest]) for after in (ours_after, theirs_after))
    left = PatchCase(case.kind, case.document, rest, ours, theirs)
    return ours == theirs or any(d.holds(left) for d in PATCH_DIFFERENCES if d.about is PatchCase)


PATCH_DIFFERENCES = (
    Difference(
        "schemas follow from what is there for us; by them they are written, checked, and take extensions along",
        PatchCase,
        lambda c: c.head is not None and c.head.name == "schemas",
        "RFC 7643, 3: schemas list what is «present in the current JSON structure»",
        "open",
        {"op": "replace", "path": "schemas", "value": []},
    ),
    Difference(
        "a user name with control characters is refused by us, and taken by them",
        PatchCase,
        lambda c: c.refused == (True, False) and any(is_no_line(*piece) for piece in c.pieces),
        "RFC 7644, 5: user names are prepared by rules of PRECIS, which have no control characters",
        "ours",
        {"op": "replace", "path": "userName", "value": "\b"},
    ),
    Difference(
        "a null that is added unassigns for us, and is refused by them",
        PatchCase,
        lambda c: c.op == "add" and c.value is None and c.refused == (False, True) and len(touched(c)) < 2,
        "RFC 7644, 3.5.2.1: add has «the value to be added»; RFC 7643, 2.5: null is no value",
        "open",
        {"op": "add", "path": "title", "value": None},
    ),
    Difference(
        "what is empty unassigns for us; for them it may be of the wrong type, or a filter cannot select it away",
        PatchCase,
        lambda c: c.refused == (False, True) and explained_by(is_unassigned, c),
        "RFC 7643, 2.5: null and an empty array are «equivalent in state» to no value",
        "ours",
        {"op": "replace", "path": "name", "value": ""},
    ),
    Difference(
        "a required text that becomes empty is refused by us, and kept by them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and "cannot be kept" in c.theirs
            and any(
                a is not None and a.required and isinstance(v, str) and not v.strip() for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.1.1: userName «MUST include a non-empty userName value»",
        "ours",
        {"op": "replace", "path": "userName", "value": ""},
    ),
    Difference(
        "a path as the name of an attribute is refused by us, and followed by them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and any(
                set(key) & {".", ":"} and key.lower() not in c.kind.ours.root.table
                for key in keys_of(c.value)
            )
        ),
        "RFC 7644, 3.5.2.1: without a path the value has «a set of attributes»",
        "ours",
        {"op": "replace", "value": {"name.givenName": "Ab"}},
    ),
    Difference(
        "a sub-attribute of values of which there are none is no target for us, and nothing is done by them",
        PatchCase,
        lambda c: (
            c.op != "remove"
            and c.head is not None
            and c.path
            and c.path.sub
            and not c.path.filter
            and c.head.multi
            and not c.there
            and c.refused == (True, False)
        ),
        "RFC 7644, 3.12: noTarget, where the path «did not yield an attribute or attribute value»",
        "ours",
        {"op": "replace", "path": "ims.type", "value": "aim"},
    ),
    Difference(
        "no part of a member is changed by us; by them its display is, and the others where they had no value",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.head is not None
            and c.head.name == "members"
            and c.refused == (True, False)
            and (c.path.sub or (c.path.filter and c.op != "remove"))
        ),
        "RFC 7643, 8.7.1: the parts of a member are immutable, and display is none of them",
        "open",
        {"op": "remove", "path": "members.type"},
    ),
    Difference(
        "what no schema knows has no value in the filter of a path for us, and is refused by them",
        PatchCase,
        lambda c: names_nothing(c) and c.theirs is None,
        "RFC 7644, 3.4.2.1: «treat the attribute as if there is no attribute value»",
        "ours",
        {"op": "remove", "path": "emails[nope pr]"},
    ),
    Difference(
        "the filter of a path selects something else where the filter differs by itself",
        PatchCase,
        filter_differs,
        "as above, of filters",
        "open",
        {"op": "remove", "path": 'emails[value gt "a"]'},
    ),
    Difference(
        "what only the server writes is passed over by us where it is sent along with others, and refused by them",
        PatchCase,
        lambda c: c.refused == (False, True) and explained_by(is_read_only, c),
        "RFC 7644, 3.5.2: an operation that is not «compatible with an attribute's mutability» is an error",
        "theirs",
        {"op": "replace", "value": {"groups": [{"value": "g1"}], "title": "Ab"}},
    ),
    Difference(
        "a value of another JSON type is refused by us, and converted by them",
        PatchCase,
        lambda c: writes_other_type(c) and c.refused == (True, False),
        "RFC 7643, 2.3: each type has its JSON type",
        "ours",
        {"op": "replace", "path": "active", "value": "False"},
    ),
    Difference(
        "a text that is no address or URL is kept by us, and refused by them",
        PatchCase,
        lambda c: (
            c.refused == (False, True)
            and any(
                a is not None
                and isinstance(v, str)
                and v not in (*ADDRESSES, *URLS)
                and ("external" in a.references or (c.head.name in ("", "emails") and a.name == "value"))
                for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.1.2: an address SHOULD be one of RFC 5321; 2.3.7: a reference is a URI",
        "open",
        {"op": "add", "path": "emails", "value": [{"value": "x"}]},
    ),
    Difference(
        "a value is completed by us where the same one comes again, with or without a type, and doubled by them",
        PatchCase,
        lambda c: (
            not only((respelt,), c)
            and only((doubled, respelt, completed_otherwise) if adds_twice(c) else (doubled, respelt), c)
        ),
        "RFC 7643, 2.4: «SHOULD NOT return the same (type, value) combination more than once»",
        "ours",
        {"op": "add", "path": "emails", "value": [{"value": "ab@acme.test", "display": "Ab"}]},
    ),
    Difference(
        "several values that become primary at once are refused by us; by them not, where one of them was so before",
        PatchCase,
        lambda c: c.refused == (True, False) and made_primary(c),
        "RFC 7643, 2.4: «the primary attribute value 'true' MUST appear no more than once»",
        "ours",
        {"op": "replace", "path": "emails.primary", "value": True},
    ),
    Difference(
        "of a value that is added again in other letters the new spelling is kept by us, and the old one by them",
        PatchCase,
        lambda c: only((respelt,), c),
        "RFC 7644, 3.5.2.1: «If the value already exists, no changes SHOULD be made»; in other letters it is the same",
        "open",
        {"op": "add", "path": "emails", "value": [{"value": "b@acme.test", "type": "home", "display": "AB"}]},
    ),
    Difference(
        "a primary value that has no value is dropped by us; for them it takes that place from the old one before",
        PatchCase,
        lambda c: label_alone(c) and only((all_but_primary, doubled), c),
        "RFC 7643, 2.4: type, primary and display say something about a value",
        "ours",
        {"op": "add", "path": "emails", "value": [{"type": "home", "primary": True}]},
    ),
    Difference(
        "values that become primary at once and the same are one value for us; refused by them, or none is primary",
        PatchCase,
        lambda c: (
            made_primary(c)
            and (
                c.refused == (False, True)
                or (c.refused == (False, False) and all(all_but_primary(*pair) for pair in differing(c)))
            )
        ),
        "RFC 7643, 2.4: «SHOULD NOT return the same (type, value) combination more than once»",
        "open",
        {"op": "add", "path": "emails", "value": [{"value": "a.b+c@sub.acme.test", "primary": True}] * 2},
    ),
    Difference(
        "a filter of texts, or of one value, is no path for us, and selects nothing for them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and bool(c.filter)
            and c.head is not None
            and not (c.head.multi and c.head.type == "complex")
            and c.theirs == normal(c.document)
        ),
        "RFC 7644, figure 1: in brackets are «sub-attributes of a parent attrPath», and a text has none",
        "ours",
        {"op": "remove", "path": f"{TYPED_URN}:tags[nope pr]"},
    ),
    Difference(
        "of a new member only its id is looked at by us; by them the rest has to be of its type too",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.refused == (False, True)
            and any(
                a is not None
                and a.name == "members"
                and isinstance(v, dict)
                and member_id(v)
                and not all(isinstance(part, str | None) for part in v.values())
                for a, v in c.pieces
            )
        ),
        "RFC 7644, 3.5.2: an operation must be «compatible with the attribute's ... schema»",
        "theirs",
        {"op": "add", "path": "members", "value": [{"value": "u2", "type": True}]},
    ),
    Difference(
        "a manager may lack a part for us; by them neither its value nor its $ref may be taken away",
        PatchCase,
        lambda c: c.refused == (False, True) and takes_from_manager(c),
        "RFC 7643, 4.3: value and $ref of the manager are «RECOMMENDED»",
        "ours",
        {"op": "remove", "path": f"{ENTERPRISE_URN}:manager.$ref"},
    ),
    Difference(
        "order of true, false or null and parts of what is no text are refused by us in the filter of a path, too",
        PatchCase,
        lambda c: (
            c.refused == (True, False) and c.path is None and UNREADABLE.search(c.operation.get("path", ""))
        ),
        "RFC 7644, 3.12: invalidFilter, where the «comparison combination is not supported»",
        "open",
        {"op": "remove", "path": "emails[value co 1]"},
    ),
    Difference(
        "a userName of more than 320 characters is refused by us",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and any(
                a is not None and a.uniqueness == "server" and isinstance(v, str) and len(v) > 320
                for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.1.1 knows no limit",
        "open",
        {"op": "replace", "path": "userName", "value": "a" * 321},
    ),
    Difference(
        "a password is passed over by us, whatever its type",
        PatchCase,
        lambda c: (
            c.head is None and c.path and c.path.name.lower() == "password" and c.refused == (False, True)
        ),
        "RFC 7643, 2.3.1: a password is a text; none is kept here",
        "open",
        {"op": "replace", "path": "password", "value": True},
    ),
    Difference(
        "a comparison alone is no path for us, and selects values for them",
        PatchCase,
        lambda c: (
            c.path is None
            and " eq " in c.operation.get("path", "")
            and c.refused == (True, False)
            and "[" not in c.operation["path"]
        ),
        "RFC 7644, 3.5.2, figure 7: PATH is an attrPath or a valuePath; erratum 7122 would add attrExp",
        "ours",
        {"op": "remove", "path": 'emails.type eq "work"'},
    ),
    Difference(
        "an empty path is no path for us, and the whole resource for them",
        PatchCase,
        lambda c: c.operation.get("path") == "" and c.refused == (True, False),
        "RFC 7644, 3.5.2, figure 7: PATH has at least the name of an attribute",
        "ours",
        {"op": "replace", "path": "", "value": {"title": "Ab"}},
    ),
    Difference(
        "null among attributes that are added changes no values for us, and takes them away for them",
        PatchCase,
        lambda c: c.op == "add" and c.refused == (False, False) and explained_by(is_null_of_many, c),
        "RFC 7644, 3.5.2.1: of a multi-valued attribute, «a new value is added»",
        "ours",
        {"op": "add", "value": {"emails": None}},
    ),
    Difference(
        "what a group does not have is refused by us, and passed over by them",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.refused == (True, False)
            and (
                (c.path is not None and c.attribute is None)
                or (
                    isinstance(c.value, dict)
                    and any(c.kind.ours.find(None, key, None) is None for key in c.value)
                )
            )
        ),
        "RFC 7644, 3.12: invalidPath, where «the path attribute was invalid or malformed»",
        "ours",
        {"op": "add", "path": "nomembers", "value": 1},
    ),
    Difference(
        "a member without its id is refused by us, and kept by them",
        PatchCase,
        lambda c: (
            c.kind is GROUPS
            and c.refused == (True, False)
            and any(
                a is not None and a.name == "members" and isinstance(v, dict) and not member_id(v)
                for a, v in c.pieces
            )
        ),
        "RFC 7643, 4.2: value is the «identifier of the member of this Group»",
        "open",
        {"op": "add", "path": "members", "value": [{"type": "User"}]},
    ),
    Difference(
        "one text for an attribute of many is refused by us, and wrapped by them",
        PatchCase,
        lambda c: (
            c.refused == (True, False)
            and any(
                a is not None and a.multi and a.type != "complex" and isinstance(v, str) for a, v in c.pieces
            )
        ),
        "RFC 7643, 2.4: a multi-valued attribute is a JSON array",
        "open",
        {"op": "replace", "path": f"{TYPED_URN}:tags", "value": "ab"},
    ),
    Difference(
        "of a new member only its id is kept by us, as the server has the rest; by them all that is sent",
        SequenceCase,
        lambda c: (
            c.kind is GROUPS
            and any("members[" in str(step.get("path", "")).lower() for step in c.operations)
            and any(
                a is not None and a.name == "members" and isinstance(v, dict) and len(v) > 1
                for step in c.operations
                for a, v in PatchCase(c.kind, c.document, step, None, None).pieces
            )
        ),
        "RFC 7643, 8.7.1: the parts of a member are immutable, and display is none of them",
        "open",
        [
            {"op": "add", "path": "members", "value": [{"value": "u2", "display": "Ab"}]},
            {"op": "remove", "path": 'members[display eq "Ab"]'},
        ],
    ),
    Difference(
        "a value that we keep once, or not at all, is still there for their next operation",
        SequenceCase,
        more_in_between,
        "RFC 7643, 2.4: «SHOULD NOT return the same (type, value) combination more than once»",
        "open",
        [
            {"op": "add", "path": "roles", "value": [{"value": "x"}]},
            {"op": "add", "path": "roles", "value": [{"value": "x", "primary": True}]},
            {"op": "replace", "path": 'roles[value eq "x"].primary', "value": True},
        ],
    ),
    Difference(
        "an operation that another one mends is let pass by us, and refused by them",
        SequenceCase,
        lambda c: c.mended and c.ours is not None and c.theirs is None,
        "RFC 7644, 3.5.2: a request is «atomic»; a «single operation» in error has the resource restored",
        "open",
        [
            {"op": "replace", "path": "userName", "value": None},
            {"op": "replace", "path": "userName", "value": "b"},
        ],
    ),
)
