"""Filters as SQL, held against filters in Python: for random filters over random users and groups both find the same.

`gateway.scim.matching.matches`, read beside RFC 7644, is the reference; here it looks at what the gateway serves.
Locations (`meta.location`, `$ref`) are left out: they hold the public URL, which the database does not know.
`GATEWAY_FILTERS` in the environment says how many filters to try, where the usual few hundred are not enough.
"""

import json
import os
import random
import re
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.scim.errors import InvalidFilter
from gateway.scim.filters import parse_filter
from gateway.scim.json_text import fold
from gateway.scim.matching import check_filter, matches
from gateway.scim.schemas import ENTERPRISE_URN, USER_URN
from gateway.scim.sorting import read_sort
from gateway.store.query.query import Query
from gateway.testing import Deployment
from gateway.testing.deployment import GROUP, USER

pytestmark = pytest.mark.slow

FILTERS = int(os.environ.get("GATEWAY_FILTERS", "150"))
EXTENSION = "urn:calendly:scim:schemas:2.0:User"
USERS, GROUPS = 60, 12

# A small world: few values, so that filters hit; odd ones, so that engines differ if they can --------------------

TEXTS = [
    "Given1", "given1", "GIVEN1 Family1", "Family1", "Sales EMEA", "sales emea", "a", "A", " ", "  spaces  ", "0", "1",
    "true", "null", "O'Brien", 'a "quoted" one', "back\\slash", "100%", "under_score", "a*b?[c]", "$.value", "[]", "{}",
    "İstanbul", "ıstanbul", "ISTANBUL", "istanbul", "Straße", "STRASSE", "éclair", "e\u0301clair", "ÉCLAIR", "ΣΊΣΥΦΟΣ",
    "σίσυφος", "ﬁle", "ſ", "K", "k", "👩‍👩‍👧", "🙂 smile", "日本語", "\u202eright to left", "line\nbreak", "tab\t",
    "\U0010ffff", "ab" * 5000, "AB" * 4999 + "c", "2026-11-24T08:00:00Z",
]  # fmt: skip
KINDS = ["work", "WORK", "home", "other", "fax"]


def people(dice):
    """Bodies of users, some nearly empty, some with everything."""
    return [person(dice, number) for number in range(USERS)]


def one_line(text):
    """As names have to be."""
    return "".join(letter for letter in text if letter not in "\n\t\u202e")


def person(dice, number):
    def maybe(value, chance=0.5):
        return value if dice.random() < chance else None

    def entries(least=0):
        return [
            {"value": dice.choice(TEXTS)[:300], "type": maybe(dice.choice(KINDS)),
             "display": maybe(dice.choice(TEXTS), 0.2), "primary": maybe(position == 0, 0.4)}
            for position in range(dice.randint(least, 3))
        ]  # fmt: skip

    body = {name: maybe(dice.choice(TEXTS), 0.4) for name in ("nickName", "title", "locale", "profileUrl")}
    body["displayName"] = maybe(dice.choice(TEXTS)[:500], 0.4)
    body |= {name: entries() for name in ("emails", "phoneNumbers", "roles") if dice.random() < 0.6}
    body["name"] = {name: maybe(dice.choice(TEXTS)) for name in ("givenName", "familyName", "formatted")}
    body["addresses"] = [
        {"locality": dice.choice(TEXTS), "type": maybe("work")} for _ in range(dice.randint(0, 2))
    ]
    body["x509Certificates"] = (
        [{"value": dice.choice(["MII=", "mii=", "AAAA"])}] if dice.random() < 0.2 else None
    )
    enterprise = {
        "department": maybe(dice.choice(TEXTS)),
        "manager": maybe({"value": dice.choice(["u1", "U1"])}, 0.3),
    }
    group = dice.choice([None, dice.choice(TEXTS), [], [dice.choice(TEXTS)], dice.sample(TEXTS, 3)])
    return body | {
        "schemas": [USER],
        "userName": f"{one_line(dice.choice(TEXTS)[:40])}{number}@acme.test",
        "externalId": maybe(f"{dice.choice(['Ext', 'ext', '00u'])}-{number}", 0.7),
        "active": maybe(dice.random() < 0.7, 0.8),
        ENTERPRISE_URN: maybe(enterprise),
        EXTENSION: maybe({"group": group}, 0.7),
    }


class World:
    """What one connection sees, as it serves it: users and groups, in the order of their making."""

    def __init__(self, folder):
        dice, self.deployment = random.Random(7), Deployment(folder)
        self.scim = self.deployment.connection("generic")
        other = self.deployment.connection("generic", self.scim.organization)
        ids = [self._made("/Users", body) for body in people(dice)]
        for number in range(GROUPS):
            members = [{"value": uid} for uid in dice.sample(ids, dice.choice([0, 1, 5, 30]))]
            name = f"{one_line(dice.choice(TEXTS)[:40]) if number % 3 else 'Sales'} {number}"
            external = {"externalId": f"Ext-{number}"} if number % 2 else {}
            group = self._made(
                "/Groups", {"schemas": [GROUP], "displayName": name, "members": members} | external
            )
        # What another connection of the organization has is never found, not even as a member.
        theirs = other.user("other@acme.test", title="Given1")["id"]
        other.group("Sales 100", (theirs,))
        # What nobody manages is found.
        gone = self.deployment.connection("generic", self.scim.organization)
        left = gone.user("left@acme.test")["id"]
        gone.group("Sales 101", (left,))
        self._removed(gone)
        self._made_by_hand("Sales 102", (theirs, left, ids[1]))
        answer = self.scim.patch(
            f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": left}]}
        )
        assert answer.status == 204
        for uid in ids[::20]:
            assert self.scim.call("DELETE", f"/Users/{uid}").status == 204
        self.resources = {
            kind: self.scim.call("GET", f"/{kind}s?count=1000").json["Resources"]
            for kind in ("User", "Group")
        }
        self.resources["Other"] = [{"id": theirs, "userName": "other@acme.test"}]
        self.kept = self.scim.caller().kept
        # Nothing may run beside: what draws random numbers in another thread, Hypothesis takes for a careless test.
        self.deployment.gateway.close()

    def _made(self, path, body):
        answer = self.scim.call("POST", path, body)
        assert answer.status == 201, answer.text
        return answer.json["id"]

    def _removed(self, connection):
        trace = self.deployment.trace(connection.organization)
        admin = self.deployment.gateway.callers.admin(connection.organization)
        self.deployment.gateway.setup.remove_connection(admin, connection.connection, trace)

    def _made_by_hand(self, name, members):
        organization, groups = self.scim.organization, self.deployment.gateway.groups
        trace, admin = (
            self.deployment.trace(organization),
            self.deployment.gateway.callers.admin(organization),
        )
        group = groups.make(admin, name, trace)
        for member in members:
            groups.set_member(admin, group.uid, member, True, trace)

    def filled(self, text):
        """The filter with ids and names in the place of `<User 7>` and `<name of Group 0>`."""

        def known(match):
            resource = self.resources[match[2]][int(match[3]) % len(self.resources[match[2]])]
            name = resource["displayName" if match[2] == "Group" else "userName"]
            return json.dumps(name if match[1] else resource["id"])[1:-1]

        return re.sub(r"<(name of )?(User|Group|Other) (\d+)>", known, text)

    def by_sql(self, kind, text):
        """The ids that the database finds."""
        search, tree = self.deployment.gateway.store.search, parse_filter(text)
        page = search.page(self.scim.connection, Query((getattr(self.kept, kind.lower()),), tree), 1, 1000)
        assert page.total == len(page.records)
        return [record.uid for record in page.records]

    def by_python(self, kind, text):
        """The ids whose representations meet the filter."""
        tree, resource = parse_filter(text), getattr(self.kept, kind.lower())
        return [document["id"] for document in self.resources[kind] if matches(tree, document, resource)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world") / "instance")
    yield world
    world.deployment.close()


# Filters of the whole grammar ------------------------------------------------------------------------------------

KNOWN = [
    f"<{what} {n}>" for what in ("User", "Group", "Other", "name of User", "name of Group") for n in (0, 3, 7)
]
OPS = ["pr", "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
LABELS = ["value", "type", "display", "primary"]
MANY = dict.fromkeys(
    ("emails", "phoneNumbers", "roles", "photos", "entitlements", "x509Certificates"), LABELS
)
MANY |= {
    "addresses": ["locality", "type", "formatted", "primary", "value"],
    "groups": ["value", "display", "type"],
}
SINGLE = ["userName", "displayName", "nickName", "title", "locale", "profileUrl", "externalId", "id", "active",
          "schemas", "name", "name.givenName", "name.familyName", "name.formatted", "meta", "meta.resourceType",
          "meta.version", "unknown", "name.unknown", "unknown.value", "userName.value"]  # fmt: skip
SINGLE += [
    f"{USER_URN}:{name}" for name in ("userName", "emails", "name.givenName", "emails.value", "unknown")
]
SINGLE += [
    f"{EXTENSION}:group",
    f"{EXTENSION.upper()}:GROUP",
    f"{EXTENSION}:group.value",
    f"{EXTENSION}:unknown",
]
SINGLE += [
    f"{ENTERPRISE_URN}:{name}" for name in ("department", "manager", "manager.value", "manager.displayName")
]
SINGLE += ["urn:acme:2.0:User:badge", "group", "department"]
MEMBERS = {"members": ["value", "display", "type"]}
OF_GROUPS = [
    "displayName",
    "externalId",
    "id",
    "schemas",
    "meta.resourceType",
    "meta.version",
    "unknown",
    "userName",
]


class Writer:
    """Writes one filter; each choice is drawn, so that a filter that fails can be made smaller."""

    def __init__(self, draw, many, single):
        self.draw, self.many, self.single = draw, many, single

    def one(self, *choices):
        return self.draw(st.sampled_from(choices))

    def spelt(self, word):
        """Names and operators in any letter case."""
        return self.one(word, word, word.upper(), word.lower(), word.swapcase())

    def tree(self, leaf, depth=3):
        """Leaves under not, and, or and brackets."""
        form = self.one("leaf", "leaf", "not ({})", "({})", " and ", " or ") if depth else "leaf"
        if form == "leaf":
            return leaf()
        if "{}" in form:
            return form.format(self.tree(leaf, depth - 1))
        return form.join(self.tree(leaf, depth - 1) for _ in range(self.one(2, 3)))

    def filter(self):
        return self.tree(lambda: self.one(self.plain, self.plain, self.whole, self.selection, self.moment)())

    def plain(self):
        return self.comparison(self.one(*self.single))

    def whole(self):
        name = self.one(*self.many)
        return self.comparison(self.one(name, f"{name}.{self.one(*self.many[name])}"))

    def selection(self):
        name = self.one(*self.many, "name", "userName")
        subs = [*self.many.get(name, ["givenName"]), "unknown"]
        chosen = f"{self.spelt(name)}[{self.tree(lambda: self.comparison(self.one(*subs)), 2)}]"
        return (
            self.comparison(f"{chosen}.{self.one(*subs)}", as_it_is=True)
            if self.one(False, False, True)
            else chosen
        )

    def moment(self):
        moments = "2020-01-01T00:00:00Z", "2090-01-01T00:00:00+02:00", "2026-11-24T08:00:00"
        name, op = self.one("meta.created", "meta.lastModified"), self.one("eq", "ne", "gt", "ge", "lt", "le")
        return self.one(
            f'{name} {op} "{self.one(*moments)}"', f"{name} pr", f"{name} eq null", f"{name} ne null"
        )

    def comparison(self, path, as_it_is=False):
        path, op = path if as_it_is else self.spelt(path), self.one(*OPS)
        values = [self.literal, self.literal]
        if op in ("eq", "ne"):
            values.append(lambda: self.one("true", "false", "null", "0", "1", "-1.5e3"))
        return f"{path} {self.spelt(op)}" + ("" if op == "pr" else f" {self.one(*values)()}")

    def literal(self):
        """A text of the world, a piece of it, or the same in other letters; `<…>` is filled in once there is one."""
        text = self.one(*TEXTS, *KNOWN)
        start, end = sorted((self.draw(st.integers(0, 6)), self.draw(st.integers(0, 12))))
        forms = text, text, text.upper(), text.lower(), text[start:end], text[start:], text[:end], ""
        return json.dumps(text if text[0] == "<" else self.one(*forms), ensure_ascii=False)


@st.composite
def filters(draw, many, single):
    return Writer(draw, many, single).filter()


def compare(world, kind, text):
    text = world.filled(text)
    try:
        check_filter(parse_filter(text), getattr(world.kept, kind.lower()))
    except InvalidFilter:
        return
    assert world.by_sql(kind, text) == world.by_python(kind, text), text


def tried(count):
    """A fixed set of examples as long as there are few."""
    return settings(max_examples=count, derandomize=count < 1000, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


# What once differed stands here as an example.
@tried(FILTERS)
@given(text=filters(MANY, SINGLE))
@example('displayName eq "Given1"')
@example("emails eq null")
@example("groups.display ne null")
@example('groups.value eq "<Group 11>"')
@example("meta.resourceType pr and meta pr")
@example("userName[not (givenName pr)]")
@example(f"{EXTENSION}:group.value pr")
def test_users_found_by_sql_are_those_that_the_filter_means(world, text):
    compare(world, "User", text)


@tried(max(FILTERS // 3, 1))
@given(text=filters(MEMBERS, OF_GROUPS))
@example('members[value eq "<User 3>"]')
@example('not (members.value eq "<User 3>") and displayName sw "sales"')
@example('members.value eq "<Other 0>" or members.display eq "<name of Other 0>"')
@example('meta.resourceType eq "Group"')
def test_groups_found_by_sql_are_those_that_the_filter_means(world, text):
    compare(world, "Group", text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("User", 'displayName co "given"'),
        ("User", 'emails[type eq "work" and value co "a"]'),
        ("User", f'{EXTENSION}:group eq "Sales EMEA" or title sw "s"'),
        ("User", "not (groups pr) and active eq true"),
        ("User", 'userName co "ı" or userName co "İ"'),
        ("User", f"{ENTERPRISE_URN}:manager.value pr"),
        ("Group", 'displayName sw "SALES"'),
        ("Group", "members pr and externalId pr"),
    ],
)
def test_over_http_the_same_are_found_and_never_everybody(world, kind, text):
    answer = world.scim.call("GET", f"/{kind}s?count=1000&filter={quote(text)}")
    found = [resource["id"] for resource in answer.json["Resources"]]
    assert found == world.by_python(kind, text)
    assert 0 < answer.json["totalResults"] == len(found) < len(world.resources[kind])


# Sorting ---------------------------------------------------------------------------------------------------------

SORTED = [
    ("User", f"{USER_URN}:userName"), ("User", "externalId"), ("User", "title"), ("User", "name.givenName"),
    ("User", "emails"), ("User", "emails.type"), ("User", "phoneNumbers.display"), ("User", "addresses.locality"),
    ("User", "active"), ("User", "x509Certificates"), ("User", "profileUrl"), ("User", f"{EXTENSION}:group"),
    ("User", f"{ENTERPRISE_URN}:department"), ("User", f"{ENTERPRISE_URN}:manager"), ("User", "groups.display"),
    ("User", "groups"), ("User", "id"), ("User", "meta.location"), ("User", "ROLES.VALUE"),
    ("User", "emails.primary"), ("Group", "displayName"), ("Group", "members"), ("Group", "members.display"),
    ("Group", "externalId"), ("Group", "meta.resourceType"), ("Group", "members.$ref"), ("User", "schemas"),
]  # fmt: skip


def of_document(document, resource, path):
    """What RFC 7644, 3.4.2.3 compares: of several values the primary or else the first; None where there is none."""
    extension, attribute, sub = resource.locate(path)
    value = (document.get(extension) or {} if extension else document).get(attribute.name)
    if isinstance(value, list):
        value = next((e for e in value if isinstance(e, dict) and e.get("primary")), (value or [None])[0])
    if isinstance(value, dict):
        sub = sub or attribute.table["value"]
        value = value.get(sub.name)
    return fold(value) if isinstance(value, str) and not (sub or attribute).case_exact else value


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("kind", "path"), SORTED)
def test_sql_sorts_as_python_does(world, kind, path, descending):
    resource, known = getattr(world.kept, kind.lower()), world.resources[kind]
    with_value = [d for d in known if of_document(d, resource, path) is not None]
    without = [d["id"] for d in known if of_document(d, resource, path) is None]
    assert with_value
    # Python keeps the order of equals in both directions, as the gateway does.
    ordered = sorted(with_value, key=lambda d: of_document(d, resource, path), reverse=descending)
    expected = [d["id"] for d in ordered]
    search, query = (
        world.deployment.gateway.store.search,
        Query((resource,), None, read_sort(path, descending, [resource])),
    )
    pages = [search.page(world.scim.connection, query, start, 7) for start in range(1, len(known) + 1, 7)]
    assert [r.uid for page in pages for r in page.records] == (
        without + expected if descending else expected + without
    )
