"""What is known of a query before the database is asked: whether an index answers it, and how long it is."""

import pytest

from gateway.scim.errors import TooMany
from gateway.scim.filter_ast import Or
from gateway.scim.filters import parse_filter
from gateway.scim.schemas import USER_URN, group_type, user_type
from gateway.scim.sorting import read_sort
from gateway.store.query.candidates import MAX_TERMS, OneOf, merge_equals
from gateway.store.query.query import Query

USER, GROUP = user_type(), group_type()
SINCE = '"2026-11-24T08:00:00Z"'


def query(*types, text=None, sort=None):
    order = read_sort(sort, False, types) if sort else None
    return Query(types, parse_filter(text) if text else None, order)


@pytest.mark.parametrize(
    "text",
    [
        None,
        'userName eq "a@acme.test"',
        f'{USER_URN}:userName eq "a@acme.test"',
        'USERNAME eq "a" or externalId eq "00u1"',
        'displayName eq "Sales"',
        'emails eq "a@acme.test"',
        'emails.value eq "a@acme.test"',
        'emails[type eq "work" and value eq "a@acme.test"]',
        'emails[value eq "a@acme.test" or value eq "b@acme.test"]',
        'id eq "1" or id eq "2" or id eq "3"',
        'title co "x" and userName eq "a@acme.test"',
        'not (title pr) and userName eq "a@acme.test"',
        "active eq true",
        "active eq false",
        f"meta.lastModified gt {SINCE}",
        f"meta.lastModified ge {SINCE} and active eq true",
        'groups.value eq "g1"',
        'unknown eq "x"',
        "unknown pr",
    ],
)
def test_an_index_answers(text):
    assert not query(USER, text=text).expensive


@pytest.mark.parametrize(
    "text",
    [
        'displayName co "a"',
        'title eq "x"',
        'userName sw "a"',
        'userName ne "a@acme.test"',
        "externalId eq null",
        'userName eq "a@acme.test" or title eq "x"',
        'not (userName eq "a@acme.test")',
        'emails[type eq "work"]',
        'emails[type eq "work" or value eq "a@acme.test"]',
        'emails co "acme"',
        f"meta.lastModified lt {SINCE}",
        f"meta.created gt {SINCE}",
        'name.familyName eq "x"',
        'unknown ne "x"',
        "unknown eq null",
        'displayName eq ""',
    ],
)
def test_the_database_would_have_to_look_at_everybody(text):
    assert query(USER, text=text).expensive


@pytest.mark.parametrize(
    ("text", "expensive"),
    [
        ('displayName eq "Sales"', False),
        ('externalId eq "x"', False),
        ('members.value eq "u1"', False),
        ('members[value eq "u1"]', False),
        ('members[display eq "u1"]', True),
        ('displayName sw "S"', True),
        (f"meta.lastModified gt {SINCE}", True),
    ],
)
def test_groups_have_indexes_of_their_own(text, expensive):
    assert query(GROUP, text=text).expensive is expensive


def test_an_order_is_made_of_all():
    assert query(USER, sort="userName").expensive
    assert query(USER, text='userName eq "a@acme.test"', sort="userName").expensive


def test_of_users_and_groups_both_count():
    assert not query(USER, GROUP).expensive
    assert not query(USER, GROUP, text='userName eq "a@acme.test"').expensive
    assert query(USER, GROUP, text='members.value eq "u1" or title eq "x"').expensive
    assert query(USER, GROUP, text=f"meta.lastModified gt {SINCE}").expensive


def test_what_one_attribute_may_equal_counts_once():
    many = merge_equals(parse_filter(" or ".join(f'id eq "{number}"' for number in range(400))))
    assert isinstance(many, OneOf)
    assert many.values == tuple(map(str, range(400)))
    mixed = merge_equals(parse_filter('id eq "1" or title eq "x" or ID eq "2" or id eq "1"'))
    assert isinstance(mixed, Or)
    assert [getattr(each, "values", None) for each in mixed.operands] == [("1", "2"), None]


def test_a_filter_of_too_many_comparisons_is_refused_with_what_to_do():
    def text(number):
        return " or ".join(f'title ne "{each}"' for each in range(number))

    assert query(USER, text=text(MAX_TERMS)).expensive
    with pytest.raises(TooMany, match=f"has {MAX_TERMS + 1} comparisons; at most {MAX_TERMS}"):
        query(USER, text=text(MAX_TERMS + 1)).expensive  # noqa: B018 - it is what refuses
