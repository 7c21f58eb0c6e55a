"""What both sides answer differently when a filter is held against a resource."""

from tests.oracles.scim_peer.cases import FilterCase, SelectionCase
from tests.oracles.scim_peer.difference import Difference
from tests.oracles.scim_peer.recognition import (
    ORDER,
    WITHIN,
    composed,
    leaves_of,
    mistyped,
    naive,
    never_met,
    no_such_value,
    unreadable,
)

FILTER_DIFFERENCES = (
    Difference(
        "`ne` on an attribute that no schema knows holds for us, as on any attribute without a value; not for them",
        FilterCase,
        lambda c: c.attribute is None and c.op == "ne" and c.value is not None and c.answers == (True, False),
        "RFC 7644, 3.4.2.1: «treat the attribute as if there is no attribute value»",
        "ours",
        'nope ne "x"',
    ),
    Difference(
        "an attribute that no schema knows equals null for us, not for them",
        FilterCase,
        lambda c: c.attribute is None and c.op == "eq" and c.value is None and c.answers == (True, False),
        "RFC 7643, 2.5: null and unassigned are «equivalent in state»; RFC 7644, 3.4.2.1 has «equality» of it be false",
        "open",
        "nope eq null",
    ),
    Difference(
        "a password is no attribute of ours, and nothing of it is compared but equality by them",
        FilterCase,
        lambda c: (
            c.attribute is None
            and c.path.lower() == "password"
            and c.ours is (c.op == "ne")
            and c.theirs is None
        ),
        "RFC 7643, 4.1.1: password is compared for «equality» only; RFC 7644, 3.4.2.1 where there is none",
        "open",
        'password co "x"',
    ),
    Difference(
        "order of true, false or null and parts of what is no text are refused by us, and false for them",
        FilterCase,
        lambda c: c.op != "pr" and unreadable(c) and c.ours is None and c.theirs is not None,
        "RFC 7644, 3.12: invalidFilter, where the «comparison combination is not supported»",
        "open",
        "userName co 1",
    ),
    Difference(
        "a literal of another JSON type is never met for us, and refused by them",
        FilterCase,
        lambda c: mistyped(c) and never_met(c) and c.theirs is None,
        "RFC 7644, 3.4.2.2: values «must be identical»; 3.12: invalidFilter may be answered",
        "open",
        "userName eq 1",
    ),
    Difference(
        "a literal of another JSON type is never met for us, and converted by them",
        FilterCase,
        lambda c: (
            mistyped(c)
            and never_met(c)
            and c.theirs is not None
            and c.leaf.type in ("boolean", "integer", "decimal", "dateTime")
        ),
        "RFC 7644, 3.4.2.2: values «must be identical for a match»",
        "ours",
        'active eq "true"',
    ),
    Difference(
        "a text that is no address, URL or base64 is compared as a text by us, and refused by them",
        FilterCase,
        lambda c: no_such_value(c) and c.leaf.type != "dateTime" and c.ours is not None and c.theirs is None,
        "RFC 7644, 3.4.2.2: of texts there is «a lexicographical comparison»; RFC 7643, 4.1.2 says SHOULD of addresses",
        "ours",
        'emails.value gt "a"',
    ),
    Difference(
        "a text that is no moment is never met by one for us; refused by them, or read as a number of seconds or a day",
        FilterCase,
        lambda c: no_such_value(c) and c.leaf.type == "dateTime" and never_met(c),
        "RFC 7643, 2.3.5: a dateTime «MUST include both a date and a time»",
        "ours",
        'meta.created gt "2026"',
    ),
    Difference(
        "a moment without a zone is taken as UTC by us, and met by nothing for them",
        FilterCase,
        lambda c: (
            c.leaf is not None
            and c.leaf.type == "dateTime"
            and c.op not in WITHIN
            and naive(c)
            and c.theirs is (c.op == "ne")
        ),
        "RFC 7643, 2.3.5: xsd:dateTime, whose zone is optional; RFC 7644, 3.4.2.2: «a chronological comparison»",
        "ours",
        'meta.created ge "2026-11-24T08:00:00"',
    ),
    Difference(
        "a moment has parts for us, and none for them",
        FilterCase,
        lambda c: (
            c.leaf is not None and c.leaf.type == "dateTime" and c.op in WITHIN and c.answers == (True, False)
        ),
        "RFC 7644, 3.4.2.2: co holds where the operand is «a substring of the attribute value»",
        "ours",
        'meta.created sw "2026-11"',
    ),
    Difference(
        "a complex attribute that has one value, or no `value`, is compared by `value` by us, as an object by them",
        FilterCase,
        lambda c: (
            c.attribute is not None
            and c.attribute.type == "complex"
            and c.op in ("eq", "ne", *ORDER, *WITHIN)
            and (c.leaf is None or not c.attribute.multi)
        ),
        "RFC 7644, 3.4.2.2: for complex attributes a sub-attribute «MUST be specified»",
        "open",
        "name eq null",
    ),
    Difference(
        "texts that are caseExact are compared as they are by us, and composed (NFC) by them",
        FilterCase,
        lambda c: composed(c) and None not in c.answers,
        "RFC 7644, 3.4.2.2: «must be identical»; section 5 asks for preparation of userName and password only",
        "open",
        'externalId eq "e\u0301"',
    ),
    Difference(
        "meta.location is a reference for us, and a text without regard to case for them",
        FilterCase,
        lambda c: (
            c.head is not None
            and c.head.name == "meta"
            and c.attribute.name == "location"
            and None not in c.answers
        ),
        "RFC 7643, 3.1: «the URI of the resource»; 2.3.7: «a reference is case exact»",
        "ours",
        'meta.location eq "HTTPS://acme.test/Users/u1"',
    ),
    Difference(
        "a value path on an attribute with one value is answered by us, and refused by them",
        SelectionCase,
        lambda c: c.attribute is not None and not c.attribute.multi and c.theirs is None,
        "RFC 7644, 3.12: invalidFilter may be answered; figure 1 does not say what `[` may follow",
        "open",
        'name[givenName eq "Ab"]',
    ),
    Difference(
        "a value path on an attribute of texts selects nothing for us; for them `value` is the text itself",
        SelectionCase,
        lambda c: (
            c.attribute is not None
            and c.attribute.multi
            and c.attribute.type != "complex"
            and not c.ours
            and c.theirs is not None
        ),
        "RFC 7644, figure 1: in brackets are «sub-attributes of a parent attrPath», and a text has none",
        "ours",
        'schemas[value sw "urn"]',
    ),
    Difference(
        "what we refuse to read within a value path is refused whatever stands before it; for them it is false",
        SelectionCase,
        lambda c: c.attribute is None and c.ours is None and any(map(unreadable, leaves_of(c.node))),
        "RFC 7644, 3.12: invalidFilter, where the «comparison combination is not supported»",
        "open",
        "nope[value co 1]",
    ),
)
