"""What nobody should send, as tables: each is refused with a SCIM error that says why, and nothing is stored.

A row is a name, what is sent, and what must come back. Placeholders in braces are ids and tokens of `place`.
At the end, the few wrong inputs that are taken all the same, with what is stored and what the activity says of it.
"""

import io
import json
import re
from urllib.parse import quote

import pytest

from gateway.scim.schemas import ENTERPRISE_URN, SEARCH_URN
from gateway.testing import Deployment
from gateway.testing.deployment import ADMIN_TOKEN, GROUP, PATCH, USER

pytestmark = pytest.mark.slow

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
EXTENSION = "urn:calendly:scim:schemas:2.0:User"
LIMIT = 1_048_576
FEW = b'{"schemas":["%s"],"userName":"new@acme.test"' % USER.encode()

# Tables of what is sent ------------------------------------------------------------------------------------------


def user(**changes):
    """A good new user, changed; `...` takes an attribute away."""
    body = {"schemas": [USER], "userName": "new@acme.test"} | changes
    return {name: value for name, value in body.items() if value is not ...}


def nested(depth):
    """A user with as many levels as that, itself the first."""
    return FEW + b',"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def with_text(text):
    return FEW + b',"displayName":' + text + b"}"


BODIES = [
    ("empty", b"", 400, "invalidSyntax"),
    ("only spaces", b" \r\n\t ", 400, "invalidSyntax"),
    ("only a byte order mark", b"\xef\xbb\xbf", 400, "invalidSyntax"),
    ("cut off", b'{"schemas": ["', 400, "invalidSyntax"),
    ("a comma too many", FEW + b",}", 400, "invalidSyntax"),
    ("single quotes", b"{'userName': 'new@acme.test'}", 400, "invalidSyntax"),
    ("a comment", FEW + b"/* new */}", 400, "invalidSyntax"),
    ("two documents", FEW + b"}" + FEW + b"}", 400, "invalidSyntax"),
    ("a form", b"userName=new%40acme.test", 400, "invalidSyntax"),
    ("XML", b"<User/>", 400, "invalidSyntax"),
    ("an array", b"[" + FEW + b"}]", 400, "invalidSyntax"),
    ("a text", b'"new@acme.test"', 400, "invalidSyntax"),
    ("a number", b"1", 400, "invalidSyntax"),
    ("null", b"null", 400, "invalidSyntax"),
    ("65 levels", nested(65), 400, "invalidSyntax"),
    ("20,000 levels of arrays", nested(20_000), 400, "invalidSyntax"),
    ("20,000 levels of objects", b'{"a":' * 20_000 + b"1" + b"}" * 20_000, 400, "invalidSyntax"),
    ("20,000 brackets that do not close", b"[" * 20_000, 400, "invalidSyntax"),
    ("a byte too large", b" " * (LIMIT + 1), 413, None),
    ("not UTF-8", with_text(b'"\xff\xfe"'), 400, "invalidSyntax"),
    ("Latin-1", with_text('"J\xfcrgen"'.encode("latin-1")), 400, "invalidSyntax"),
    ("UTF-16", (FEW + b"}").decode().encode("utf-16"), 400, "invalidSyntax"),
    ("an overlong encoding", with_text(b'"\xc0\xaf"'), 400, "invalidSyntax"),
    ("a surrogate encoded as UTF-8", with_text(b'"\xed\xa0\x80"'), 400, "invalidSyntax"),
    ("a lone surrogate", with_text(rb'"\ud83d"'), 400, "invalidValue"),
    ("a lone surrogate in a key", FEW + rb',"\udc00":"x"}', 400, "invalidValue"),
    ("NUL in a value", with_text(rb'"a\u0000b"'), 400, "invalidValue"),
    ("NUL in a key", FEW + rb',"a\u0000b":"x"}', 400, "invalidValue"),
    ("NUL deep in what is ignored", FEW + rb',"x":[{"y":"\u0000"}]}', 400, "invalidValue"),
    ("NUL in userName", rb'{"schemas":["%s"],"userName":"a\u0000@acme.test"}' % USER.encode(), 400, "invalidValue"),
    ("a raw NUL", with_text(b'"a\0b"'), 400, "invalidSyntax"),
    ("a raw line break in a text", with_text(b'"a\nb"'), 400, "invalidSyntax"),
    ("a key twice", FEW + b',"userName":"other@acme.test"}', 400, "invalidSyntax"),
    ("a key twice, deep", FEW + b',"emails":[{"value":"a","value":"b"}]}', 400, "invalidSyntax"),
    ("a key twice, in two cases", FEW + b',"USERNAME":"other@acme.test"}', 400, "invalidSyntax"),
    ("a key twice, in two cases, deep", FEW + b',"name":{"givenName":"a","givenname":"b"}}', 400, "invalidSyntax"),
    ("NaN", with_text(b"NaN"), 400, "invalidSyntax"),
    ("Infinity", with_text(b"Infinity"), 400, "invalidSyntax"),
    ("-Infinity", with_text(b"-Infinity"), 400, "invalidSyntax"),
    ("1e999", with_text(b"1e999"), 400, "invalidValue"),
    ("10,000 digits", with_text(b"1" * 10_000), 400, "invalidValue"),
]  # fmt: skip

USERS = [
    ("schemas missing", user(schemas=...), "invalidSyntax"),
    ("schemas null", user(schemas=None), "invalidSyntax"),
    ("schemas a text", user(schemas=USER), "invalidSyntax"),
    ("schemas an object", user(schemas={USER: True}), "invalidSyntax"),
    ("schemas with numbers", user(schemas=[USER, 1]), "invalidSyntax"),
    ("schemas empty", user(schemas=[]), "invalidValue"),
    ("schemas of SCIM 1.1", user(schemas=["urn:scim:schemas:core:1.0"]), "invalidValue"),
    ("schemas of a group", user(schemas=[GROUP]), "invalidValue"),
    ("schemas of an extension only", user(schemas=[ENTERPRISE_URN]), "invalidValue"),
    ("userName missing", user(userName=...), "invalidValue"),
    ("userName null", user(userName=None), "invalidValue"),
    ("userName empty", user(userName=""), "invalidValue"),
    ("userName of spaces", user(userName="   "), "invalidValue"),
    ("userName a number", user(userName=7), "invalidValue"),
    ("userName true", user(userName=True), "invalidValue"),
    ("userName an array", user(userName=["new@acme.test"]), "invalidValue"),
    ("userName an object", user(userName={"value": "new@acme.test"}), "invalidValue"),
    ("userName of 321 characters", user(userName="a" * 311 + "@acme.test"), "invalidValue"),
    ("userName of 321 emoji", user(userName="🙂" * 321), "invalidValue"),
    ("a text is a number", user(displayName=0), "invalidValue"),
    ("a text is false", user(title=False), "invalidValue"),
    ("a text is an array", user(locale=["en"]), "invalidValue"),
    ("a text is an object", user(nickName={"value": "x"}), "invalidValue"),
    ("a reference is a number", user(profileUrl=1), "invalidValue"),
    ("externalId is a number", user(externalId=7), "invalidValue"),
    ("a boolean is a text", user(active="true"), "invalidValue"),
    ("a boolean is a number", user(active=1), "invalidValue"),
    ("a boolean is an array", user(active=[True]), "invalidValue"),
    ("a boolean is an empty array", user(active=[]), "invalidValue"),
    ("a boolean is an empty object", user(active={}), "invalidValue"),
    ("a text is an empty array", user(title=[]), "invalidValue"),
    ("a text is an empty object", user(displayName={}), "invalidValue"),
    ("a complex is an empty array", user(name=[]), "invalidValue"),
    ("many are an empty object", user(emails={}), "invalidValue"),
    ("schemas misspelt", {"schema": [USER], "userName": "new@acme.test"}, "invalidSyntax"),
    ("a complex is a text", user(name="Given1 Family1"), "invalidValue"),
    ("a complex is an array", user(name=[{"givenName": "Given1"}]), "invalidValue"),
    ("a sub-attribute is a number", user(name={"givenName": 1}), "invalidValue"),
    ("many are one object", user(emails={"value": "new@acme.test"}), "invalidValue"),
    ("many are a text", user(emails="new@acme.test"), "invalidValue"),
    ("many are texts", user(emails=["new@acme.test"]), "invalidValue"),
    ("many hold an array", user(emails=[[{"value": "new@acme.test"}]]), "invalidValue"),
    ("an e-mail is a number", user(emails=[{"value": 1}]), "invalidValue"),
    ("primary is a text", user(emails=[{"value": "a@acme.test", "primary": "yes"}]), "invalidValue"),
    ("two are primary", user(emails=[{"value": f"{n}@acme.test", "primary": True} for n in "ab"]), "invalidValue"),
    ("1001 e-mails", user(emails=[{"value": f"{n}@acme.test"} for n in range(1001)]), "invalidValue"),
    ("an address is a text", user(addresses=["1 Main Street"]), "invalidValue"),
    ("a certificate is no base64", user(x509Certificates=[{"value": "no base64!"}]), "invalidValue"),
    ("a certificate is a number", user(x509Certificates=[{"value": 1}]), "invalidValue"),
    ("an extension is a text", user(**{ENTERPRISE_URN: "Tours"}), "invalidValue"),
    ("an extension is an array", user(**{ENTERPRISE_URN: [{"department": "Tours"}]}), "invalidValue"),
    ("an extension's text is an array", user(**{ENTERPRISE_URN: {"department": ["a"]}}), "invalidValue"),
    ("the manager is a text", user(**{ENTERPRISE_URN: {"manager": "u1"}}), "invalidValue"),
    ("the group is a number", user(**{EXTENSION: {"group": 7}}), "invalidValue"),
    ("the group is numbers", user(**{EXTENSION: {"group": ["a", 7]}}), "invalidValue"),
    ("the group is an object", user(**{EXTENSION: {"group": {"value": "a"}}}), "invalidValue"),
    ("an extension twice, in two cases", user(**{EXTENSION: {"group": "a"}, EXTENSION.upper(): {"group": "b"}}),
     "invalidSyntax"),
]  # fmt: skip

GROUPS = [
    ("schemas missing", {"displayName": "New"}, 400, "invalidSyntax"),
    ("schemas of a user", {"schemas": [USER], "displayName": "New"}, 400, "invalidValue"),
    ("displayName missing", {"schemas": [GROUP]}, 400, "invalidValue"),
    ("displayName null", {"schemas": [GROUP], "displayName": None}, 400, "invalidValue"),
    ("displayName empty", {"schemas": [GROUP], "displayName": ""}, 400, "invalidValue"),
    ("displayName of spaces", {"schemas": [GROUP], "displayName": " \t"}, 400, "invalidValue"),
    ("displayName a number", {"schemas": [GROUP], "displayName": 5}, 400, "invalidValue"),
    ("displayName with NUL", {"schemas": [GROUP], "displayName": "a\0"}, 400, "invalidValue"),
    ("displayName taken", {"schemas": [GROUP], "displayName": "SALES"}, 409, "uniqueness"),
    ("members a text", {"schemas": [GROUP], "displayName": "New", "members": "{user}"}, 400, "invalidValue"),
    ("members one object", {"schemas": [GROUP], "displayName": "New", "members": {"value": "{user}"}}, 400,
     "invalidValue"),
    ("members texts", {"schemas": [GROUP], "displayName": "New", "members": ["{user}"]}, 400, "invalidValue"),
    ("a member without value", {"schemas": [GROUP], "displayName": "New", "members": [{"display": "x"}]}, 400,
     "invalidValue"),
    ("a member is a number", {"schemas": [GROUP], "displayName": "New", "members": [{"value": 5}]}, 400,
     "invalidValue"),
]  # fmt: skip

OPERATION = {"op": "replace", "path": "displayName", "value": "New"}
ENVELOPES = [
    ("no schemas", {"Operations": [OPERATION]}, "invalidSyntax"),
    ("schemas a text", {"schemas": PATCH, "Operations": [OPERATION]}, "invalidSyntax"),
    ("schemas of a user", {"schemas": [USER], "Operations": [OPERATION]}, "invalidValue"),
    ("no Operations", {"schemas": [PATCH]}, "invalidSyntax"),
    ("Operations null", {"schemas": [PATCH], "Operations": None}, "invalidSyntax"),
    ("Operations empty", {"schemas": [PATCH], "Operations": []}, "invalidSyntax"),
    ("Operations one object", {"schemas": [PATCH], "Operations": OPERATION}, "invalidSyntax"),
    ("Operations of texts", {"schemas": [PATCH], "Operations": ["replace"]}, "invalidSyntax"),
    ("a user in place of operations", user(), "invalidValue"),
    ("1001 operations", {"schemas": [PATCH], "Operations": [OPERATION] * 1001}, "invalidValue"),
    ("Operations twice", {"schemas": [PATCH], "Operations": [OPERATION], "operations": [OPERATION]}, "invalidSyntax"),
    ("paths too long together", {"schemas": [PATCH], "Operations": [OPERATION | {"path": "x" * 8000}] * 17},
     "invalidPath"),
    ("a good one, then a bad one", {"schemas": [PATCH], "Operations": [OPERATION, {"op": "fly"}]}, "invalidSyntax"),
]  # fmt: skip

OPERATIONS = [
    ("no op", {"path": "title", "value": "x"}, "invalidSyntax"),
    ("op null", {"op": None, "path": "title", "value": "x"}, "invalidSyntax"),
    ("op a number", {"op": 1, "path": "title", "value": "x"}, "invalidSyntax"),
    ("op twice", {"op": "add", "OP": "remove", "path": "title", "value": "x"}, "invalidSyntax"),
    ("path twice", {"op": "add", "path": "title", "Path": "nickName", "value": "x"}, "invalidSyntax"),
    ("op of JSON Patch", {"op": "test", "path": "title", "value": "x"}, "invalidSyntax"),
    ("path a number", {"op": "replace", "path": 1, "value": "x"}, "invalidPath"),
    ("path an array", {"op": "replace", "path": ["title"], "value": "x"}, "invalidPath"),
    ("remove without path", {"op": "remove"}, "noTarget"),
    ("remove the resource", {"op": "remove", "path": USER}, "noTarget"),
    ("remove with a value without entries", {"op": "remove", "path": "emails", "value": []}, "invalidValue"),
    ("remove with an entry of anything", {"op": "remove", "path": "emails", "value": [{"type": "work"}]},
     "invalidValue"),
    ("remove with a text", {"op": "remove", "path": "emails", "value": "user1@acme.test"}, "invalidValue"),
    ("remove one with a value", {"op": "remove", "path": "title", "value": "x"}, "invalidValue"),
    ("a filter that does not choose the one value",
     {"op": "replace", "path": 'name[givenName eq "nobody"].givenName', "value": "x"}, "noTarget"),
    ("active an array", {"op": "replace", "path": "active", "value": []}, "invalidValue"),
    ("title an object", {"op": "add", "path": "title", "value": {}}, "invalidValue"),
    ("remove active", {"op": "remove", "path": "active"}, "mutability"),
    ("replace without value", {"op": "replace", "path": "title"}, "invalidValue"),
    ("add without value", {"op": "add", "path": "title"}, "invalidValue"),
    ("no path, value a text", {"op": "replace", "value": "x"}, "invalidValue"),
    ("no path, value an array", {"op": "replace", "value": [{"title": "x"}]}, "invalidValue"),
    ("no path, value null", {"op": "replace", "value": None}, "invalidValue"),
    ("active a word", {"op": "replace", "path": "active", "value": "maybe"}, "invalidValue"),
    ("active null", {"op": "replace", "path": "active", "value": None}, "mutability"),
    ("userName empty", {"op": "replace", "path": "userName", "value": ""}, "invalidValue"),
    ("userName a number", {"op": "replace", "path": "userName", "value": 1}, "invalidValue"),
    ("userName with NUL", {"op": "replace", "path": "userName", "value": "a\0b"}, "invalidValue"),
    ("name a text", {"op": "replace", "path": "name", "value": "Given1"}, "invalidValue"),
    ("emails a text", {"op": "add", "path": "emails", "value": "new@acme.test"}, "invalidValue"),
    ("an e-mail that is not there", {"op": "replace", "path": 'emails[type eq "fax"].value', "value": "x"}, "noTarget"),
    ("an element replaced by a text", {"op": "replace", "path": 'emails[type eq "work"]', "value": "x"},
     "invalidValue"),
    ("another id", {"op": "replace", "path": "id", "value": "other"}, "mutability"),
    ("another id in an object", {"op": "replace", "value": {"id": "other"}}, "mutability"),
    ("meta", {"op": "replace", "path": "meta.created", "value": "2026-01-01T00:00:00Z"}, "mutability"),
    ("groups", {"op": "add", "path": "groups", "value": [{"value": "{group}"}]}, "mutability"),
    ("a path as a key", {"op": "replace", "value": {"name.givenName": "x"}}, "invalidPath"),
]  # fmt: skip

PATHS = [
    "", " ", "1name", "na me", "name.", "name..givenName", ".givenName", "name.given.Name", "emails[", "emails]",
    "emails[]", "emails[type]", "emails[type eq]", 'emails[type eq "work"', 'emails[type eq "work"]]',
    'emails[type eq "work"].', 'emails[type eq "work"].value.more', 'emails[type eq "work"]value',
    'emails[type xx "work"]', "emails[type eq work]", 'emails[type eq "work" and]', 'emails[emails[type eq "work"]]',
    'emails.type[value eq "x"]', 'userName[value eq "x"]', 'emails["work"]', "title\0", "a" * 8193,
    "emails[" + "(" * 65 + 'type eq "work"' + ")" * 65 + "]",
]  # fmt: skip

MEMBERS = [
    ("add a text", {"op": "add", "path": "members", "value": "{user}"}, "invalidValue"),
    ("add texts", {"op": "add", "path": "members", "value": ["{user}"]}, "invalidValue"),
    ("add one without value", {"op": "add", "path": "members", "value": [{"display": "x"}]}, "invalidValue"),
    ("add a number", {"op": "add", "path": "members", "value": [{"value": 5}]}, "invalidValue"),
    ("one good, one bad", {"op": "add", "path": "members", "value": [{"value": "{user}"}, {}]}, "invalidValue"),
    ("remove with a value without entries", {"op": "remove", "path": "members", "value": []}, "invalidValue"),
    ("remove with texts", {"op": "remove", "path": "members", "value": ["{user}"]}, "invalidValue"),
    ("a reference to nothing", {"op": "add", "path": "members", "value": [{"$ref": "{user}"}]}, "invalidValue"),
    ("a path misspelt", {"op": "add", "path": "memebers", "value": [{"value": "{user}"}]}, "invalidPath"),
    ("a path of one", {"op": "add", "path": "member", "value": [{"value": "{user}"}]}, "invalidPath"),
    ("a name of users", {"op": "add", "path": "users", "value": [{"value": "{user}"}]}, "invalidPath"),
    ("a name", {"op": "replace", "path": "name", "value": "New"}, "invalidPath"),
    ("the URN of users", {"op": "replace", "path": USER, "value": {"displayName": "New"}}, "invalidPath"),
    ("an extension of users", {"op": "replace", "path": ENTERPRISE_URN + ":department", "value": "x"}, "invalidPath"),
    ("in an object, misspelt", {"op": "add", "value": {"memebers": [{"value": "{user}"}]}}, "invalidPath"),
    ("in an object, users", {"op": "replace", "value": {"displayName": "New", "users": []}}, "invalidPath"),
    ("in an object, an extension of users", {"op": "replace", "value": {ENTERPRISE_URN: {"department": "x"}}},
     "invalidPath"),
    ("change one in place", {"op": "replace", "path": 'members[value eq "{user}"]', "value": {"value": "x"}},
     "mutability"),
    ("change its display", {"op": "replace", "path": "members.display", "value": "x"}, "mutability"),
    ("members in an object, a text", {"op": "replace", "value": {"members": "{user}"}}, "invalidValue"),
    ("displayName empty", {"op": "replace", "path": "displayName", "value": ""}, "invalidValue"),
    ("displayName a number", {"op": "replace", "value": {"displayName": 1}}, "invalidValue"),
    ("another id", {"op": "replace", "value": {"id": "other", "displayName": "New"}}, "mutability"),
]  # fmt: skip

FILTERS = [
    "", "  ", "userName", "eq", 'eq "x"', "userName eq", "userName eq x", "userName eq 'x'", 'userName is "x"',
    'userName = "x"', 'userName eq "x', 'userName eq x"', 'userName eq "x" "y"', '(userName eq "x"', 'userName eq "x")',
    "()", 'userName eq "x" and', 'and userName eq "x"', 'userName eq "x" or or title pr', 'userName eq "x" & title pr',
    'not userName eq "x"', "not (userName)", "pr", "pr userName", "userName pr pr", "emails[]", 'emails[type eq "work"',
    'emails[type eq "work"]]', 'emails[type eq "work"].', 'emails.value[type eq "work"]',
    'emails[emails[type eq "work"]]', '"userName" eq "x"', "userName eq nul", "userName eq 01", "userName eq .5",
    "userName eq NaN", "userName eq 1e999", "userName eq " + "1" * 5000, "userName co 5", "userName sw null",
    "userName gt true", "userName gt null", "active gt true", 'active gt "x"', 'active co "t"',
    'emails[primary gt "x"]', 'x509Certificates.value sw "x"', 'meta.lastModified gt "yesterday"',
    'meta.created eq "2026-01-01"', 'meta.created sw "2026-01-01T00:00:00Z"',
    r'userName eq "\x"', r'userName eq "\u12"', r'userName eq "\u0000"', r'userName eq "\ud800"', 'userName eq "\0"',
    'userName eq "a\nb"', "\0", '1userName eq "x"', 'user Name eq "x"', 'userName.. eq "x"', "a" * 8193,
    "(" * 65 + "title pr" + ")" * 65, "(" * 4000 + "title pr", "not (" * 1500,
]  # fmt: skip

QUERIES = [
    ("startIndex a word", "startIndex=first"),
    ("startIndex a fraction", "startIndex=1.5"),
    ("startIndex with an exponent", "startIndex=1e3"),
    ("startIndex with an underscore", "startIndex=1_0"),
    ("startIndex in other digits", "startIndex=%D9%A1"),
    ("startIndex of 19 digits", "startIndex=" + "9" * 19),
    ("startIndex of 10,000 digits", "startIndex=" + "9" * 10_000),
    ("startIndex with NUL", "startIndex=1%00"),
    ("count a word", "count=all"),
    ("count a fraction", "count=0.5"),
    ("count null", "count=null"),
    ("count with an underscore", "count=1_000"),
    ("count in wide digits", "count=%EF%BC%91"),
    ("count of 19 digits", "count=" + "9" * 19),
    ("sortOrder a word", "sortBy=displayName&sortOrder=upwards"),
    ("sortOrder a word, by nothing", "sortOrder=down"),
    ("sortBy no path", "sortBy=a%20b"),
    ("sortBy with a filter", "sortBy=emails%5Btype%20eq%20%22work%22%5D"),
    ("sortBy of 10,000 letters", "sortBy=" + "a" * 10_000),
    ("sortBy what has parts", "sortBy=meta"),
    ("cursor and startIndex", "cursor=&startIndex=2"),
    ("cursor of a sorted list", "cursor=&sortBy=displayName"),
]

SEARCHES = [
    ("no schemas", {"count": 1}, "invalidSyntax"),
    ("schemas of a user", {"schemas": [USER], "count": 1}, "invalidValue"),
    ("filter a number", {"schemas": [SEARCH_URN], "filter": 1}, "invalidValue"),
    ("filter malformed", {"schemas": [SEARCH_URN], "filter": "userName eq"}, "invalidFilter"),
    ("attributes a text", {"schemas": [SEARCH_URN], "attributes": "userName"}, "invalidValue"),
    ("attributes of numbers", {"schemas": [SEARCH_URN], "attributes": [1]}, "invalidValue"),
    ("startIndex a text", {"schemas": [SEARCH_URN], "startIndex": "1"}, "invalidValue"),
    ("count a fraction", {"schemas": [SEARCH_URN], "count": 1.5}, "invalidValue"),
    ("count too large for any database", {"schemas": [SEARCH_URN], "count": 10**30, "startIndex": 10**30},
     "invalidValue"),
]  # fmt: skip

TYPES = ["text/plain", "text/html; charset=utf-8", "application/xml", "application/scim+jsonp", "multipart/form-data",
         "application/x-www-form-urlencoded", "application/octet-stream", "json", "*/*"]  # fmt: skip

AUTHORIZATIONS = [
    ("none", None),
    ("empty", ""),
    ("scheme alone", "Bearer"),
    ("scheme and spaces", "Bearer    "),
    ("scheme twice, nothing else", "Bearer Bearer"),
    ("Basic", "Basic dXNlcjE6c2VjcmV0"),
    ("broken Basic", "Basic %%%"),
    ("Digest", 'Digest username="user1"'),
    ("another scheme with a good token", "DPoP {token}"),
    ("garbage", "Bearer garbage"),
    ("no scheme, no token", "non-token"),
    ("well formed but never made", "Bearer pgw_" + "A" * 38),
    ("in quotes", 'Bearer "{token}"'),
    ("letter case changed", "Bearer {swapped}"),
    ("cut off", "Bearer {short}"),
    ("twice", "Bearer {token} {token}"),
    ("two in one header", "Bearer {token}, Bearer {token}"),
    ("expired", "Bearer {expired}"),
    ("revoked", "Bearer {revoked}"),
    ("of another connection of the organization", "Bearer {beside_token}"),
    ("of another organization", "Bearer {other_token}"),
    ("of an admin", "Bearer {admin_token}"),
    ("of the operator", f"Bearer {ADMIN_TOKEN}"),
    ("10 kB", "Bearer " + "A" * 10_240),
    ("10 kB of spaces", "Bearer" + " " * 10_240),
    ("with NUL", "Bearer {token}\0"),
    ("with a line break", "Bearer {token}\r\nX-Other: 1"),
    ("Latin-1", "Bearer \xe9\xff"),
    ("UTF-8 read as Latin-1", "Bearer " + "🙂".encode().decode("latin-1")),
]

#: Method, URL, status. Only a letter is wrong, or the thing is somebody else's.
PLACES = [
    ("GET", "{base}x", 401), ("GET", "{base}x/", 401), ("GET", "/scim/v2", 404), ("GET", "/scim", 404),
    ("GET", "/scim/v1/{slug}/Users", 404), ("GET", "{base}/Nothing", 404), ("GET", "{base}/users", 404),
    ("GET", "{base}//Nothing", 404),
    ("GET", "{base}/Users/{user}/groups", 404),
    ("GET", "{base}/Users/%00", 404), ("GET", "{base}/Users/%ff", 404), ("GET", "{base}/Users/..%2f..", 404),
    ("GET", "{base}/Users/" + "a" * 10_000, 404), ("GET", "{base}/Users/{user}%27--", 404),
    ("GET", "{base}/Users/{user}%20", 404), ("GET", "{base}/Users/nobody", 404), ("PUT", "{base}/Users/nobody", 404),
    ("PATCH", "{base}/Users/nobody", 404), ("DELETE", "{base}/Users/nobody", 404), ("GET", "{base}/Groups/none", 404),
    ("GET", "{base}/Users/{deleted}", 404), ("PATCH", "{base}/Users/{deleted}", 404),
    ("DELETE", "{base}/Users/{deleted}", 404), ("GET", "{base}/Users/{group}", 404),
    ("GET", "{base}/Groups/{user}", 404),
    ("GET", "{base}/Users/{other_user}", 404), ("PUT", "{base}/Users/{other_user}", 404),
    ("PATCH", "{base}/Users/{other_user}", 404), ("DELETE", "{base}/Users/{other_user}", 404),
    ("GET", "{base}/Users/{beside_user}", 404), ("PUT", "{base}/Users/{beside_user}", 404),
    ("PATCH", "{base}/Users/{beside_user}", 404), ("DELETE", "{base}/Users/{beside_user}", 404),
    ("GET", "{base}/Groups/{other_group}", 404), ("PATCH", "{base}/Groups/{other_group}", 404),
    ("DELETE", "{base}/Groups/{other_group}", 404), ("GET", "{base}/Groups/{beside_group}", 404),
    ("PATCH", "{base}/Groups/{beside_group}", 404), ("DELETE", "{base}/Groups/{beside_group}", 404),
    ("GET", "{base}/Schemas/urn:nothing", 404), ("GET", "{base}/ResourceTypes/Device", 404),
    ("GET", "/scim/v2/generic-nothing/ServiceProviderConfig", 404), ("GET", "/scim/v2/generic-nothing/Users", 401),
    ("GET", "/scim/v2/{SLUG}/Users", 401), ("GET", "/scim/v2/%00/Users", 401), ("GET", "/scim/v2/%27or 1=1/Users", 401),
    ("GET", "{base}/Schemas?filter=id pr", 403), ("GET", "{base}/ResourceTypes?filter=id pr", 403),
    ("GET", "{off}/Users", 403), ("GET", "{no_plan}/Users", 403), ("GET", "{no_sso}/Users", 403),
]  # fmt: skip

METHODS = [
    ("PUT", "{base}/Users", {"GET", "POST"}), ("PATCH", "{base}/Users", {"GET", "POST"}),
    ("DELETE", "{base}/Users", {"GET", "POST"}), ("OPTIONS", "{base}/Users", {"GET", "POST"}),
    ("BREW", "{base}/Users", {"GET", "POST"}), ("POST", "{base}/Users/{user}", {"GET", "PUT", "PATCH", "DELETE"}),
    ("DELETE", "{base}/Groups", {"GET", "POST"}), ("POST", "{base}/Groups/{group}", {"GET", "PUT", "PATCH", "DELETE"}),
    ("POST", "{base}/Schemas", {"GET"}), ("DELETE", "{base}/ResourceTypes/User", {"GET"}),
    ("PUT", "{base}/ServiceProviderConfig", {"GET"}), ("GET", "{base}/Bulk", {"POST"}),
]  # fmt: skip

VERSIONS = ['W/"0"', '"1000"', "garbage", "", '"', 'W/"1000", "2000"']

# The requests made of them ---------------------------------------------------------------------------------------


def row(name, method, path, body, status, kind=None, **headers):
    return pytest.param(method, path, body, status, kind, headers, id=name)


def patch(*operations):
    return {"schemas": [PATCH], "Operations": list(operations)}


def listed(text):
    return "{base}/Users?filter=" + quote(text, safe="")


ROWS = [
    *(row(f"body: {name}", "POST", "{base}/Users", body, *rest) for name, body, *rest in BODIES),
    *(row(f"body of PATCH: {name}", "PATCH", "{base}/Users/{user}", body, *rest) for name, body, *rest in BODIES[:16]),
    *(row(f"user: {name}", "POST", "{base}/Users", body, 400, kind) for name, body, kind in USERS),
    *(row(f"PUT user: {name}", "PUT", "{base}/Users/{user}", body, 400, kind) for name, body, kind in USERS),
    *(row(f"group: {name}", "POST", "{base}/Groups", body, *reported) for name, body, *reported in GROUPS),
    *(row(f"PUT group: {name}", "PUT", "{base}/Groups/{group}", body, *reported) for name, body, *reported in GROUPS
      if reported != [409, "uniqueness"]),
    *(row(f"patch: {name}", "PATCH", "{base}/Users/{user}", body, 400, kind) for name, body, kind in ENVELOPES),
    *(row(f"operation: {name}", "PATCH", "{base}/Users/{user}", patch(OPERATION, op), 400, kind)
      for name, op, kind in OPERATIONS),
    *(row(f"path {text[:40]!r}", "PATCH", "{base}/Users/{user}",
          patch(OPERATION, {"op": "replace", "path": text, "value": "x"}), 400,
          "invalidValue" if "\0" in text else "invalidPath") for text in PATHS),
    *(row(f"members: {name}", "PATCH", "{base}/Groups/{group}", patch(OPERATION, op), 400, kind)
      for name, op, kind in MEMBERS),
    *(row(f"filter {text[:40]!r} of {len(text)}", "GET", listed(text), None, 400, "invalidFilter") for text in FILTERS),
    row("filter not UTF-8", "GET", "{base}/Users?filter=%ff%fe", None, 400, "invalidFilter"),
    row("filter of groups", "GET", "{base}/Groups?filter=displayName+eq", None, 400, "invalidFilter"),
    *(row(f"query: {name}", "GET", "{base}/Users?" + query, None, 400, "invalidValue") for name, query in QUERIES),
    *(row(f"query of groups: {name}", "GET", "{base}/Groups?" + query, None, 400, "invalidValue")
      for name, query in QUERIES),
    *(row(f"search: {name}", "POST", "{base}/Users/.search", body, 400, kind) for name, body, kind in SEARCHES),
    *(row(f"type {kind}", "POST", "{base}/Users", user(), 415, **{"Content-Type": kind}) for kind in TYPES),
    *(row(f"token: {name}", "POST", "{base}/Users", user(), 401, Authorization=value)
      for name, value in AUTHORIZATIONS),
    row("token in the query", "POST", "{base}/Users?access_token={token}", user(), 401, Authorization=None),
    *(row(f"{method} {path[:60]}", method, path, {"PUT": user(), "PATCH": patch(OPERATION)}.get(method), status)
      for method, path, status in PLACES),
    *(row(f"If-Match {tag} {method} {path}", method, path, body, 412, **{"If-Match": tag}) for tag in VERSIONS
      for method, path, body in (
          ("PUT", "{base}/Users/{user}", user()), ("PATCH", "{base}/Users/{user}", patch(OPERATION)),
          ("DELETE", "{base}/Users/{user}", None), ("PATCH", "{base}/Groups/{group}", patch(OPERATION)),
          ("PUT", "{base}/Groups/{group}", {"schemas": [GROUP], "displayName": "New"}),
          ("DELETE", "{base}/Groups/{group}", None))),
    row("userName taken", "POST", "{base}/Users", user(userName="USER1@acme.test"), 409, "uniqueness"),
    row("userName taken beside", "POST", "{base}/Users", user(userName="beside@acme.test"), 409, "uniqueness"),
    row("userName taken, and externalId", "POST", "{base}/Users", user(userName="user1@acme.test", externalId="00u1"),
        409, "uniqueness"),
    row("userName taken, PUT", "PUT", "{base}/Users/{second}", user(userName="user1@acme.test"), 409, "uniqueness"),
    row("userName taken, PATCH", "PATCH", "{base}/Users/{second}",
        patch({"op": "replace", "value": {"userName": "user1@acme.test"}}), 409, "uniqueness"),
    row("no e-mail address at Okta", "POST", "{okta}/Users", user(userName="new"), 400, "invalidValue",
        Authorization="Bearer {beside_token}"),
]  # fmt: skip


#: What the background worker writes at any time: the order of events over all organizations.
PUBLISHED = ("feed_state", "published_events", "publications")


#: What a refusal leaves: its line, its explanation, and by which program it came.
RECORDED = (
    "activity", "hourly_calls", "gathered_refusals", "traces", "connection_clients", "sqlite_sequence"
)  # fmt: skip


class Place:
    """A deployment with two organizations; `known` are the names that rows use."""

    def __init__(self, folder):
        self.deployment = deployment = Deployment(folder)
        acme = deployment.organization()
        here, beside = deployment.connection("generic", acme), deployment.connection("okta", acme)
        other = deployment.connection("generic", deployment.organization("Other"))
        off = deployment.connection("generic", acme, provisioning=False)
        no_plan = deployment.connection("generic", deployment.organization("Free", plan="free"))
        no_sso = deployment.connection("generic", deployment.organization("New", sso=False))
        user = here.user(externalId="00u1", emails=[{"value": "user1@acme.test", "type": "work"}])["id"]
        gone = here.user("gone@acme.test")["id"]
        assert here.call("DELETE", f"/Users/{gone}").status == 204
        tokens = deployment.gateway.store.tokens
        revoked, value = tokens.add(here.connection, "revoked", None)
        tokens.remove(here.connection, revoked.uid)
        self.known = {
            "base": here.base, "slug": here.connection.slug, "SLUG": here.connection.slug.upper(),
            "okta": beside.base, "off": off.base, "no_plan": no_plan.base, "no_sso": no_sso.base,
            "token": here.token, "swapped": here.token.swapcase(), "short": here.token[:-1],
            "expired": tokens.add(here.connection, "expired", 1)[1], "revoked": value,
            "beside_token": beside.token, "other_token": other.token, "off_token": off.token,
            "no_plan_token": no_plan.token, "no_sso_token": no_sso.token,
            "admin_token": deployment.gateway.store.admin_tokens.add(None, "admin")[1],
            "user": user, "second": here.user("second@acme.test")["id"], "deleted": gone,
            "group": here.group("Sales", (user,))["id"],
            "beside_user": beside.user("beside@acme.test")["id"], "beside_group": beside.group("Beside")["id"],
            "other_user": other.user()["id"], "other_group": other.group()["id"],
        }  # fmt: skip
        deployment.gateway.activity_writer.flush()
        deployment.gateway.event_relay.deliver()

    def filled(self, value):
        """The same, with its placeholders filled in."""
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda match: self.known.get(match[1], match[0]), value)
        if isinstance(value, dict):
            return {name: self.filled(item) for name, item in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value

    def send(self, method, path, body, headers):
        """A request as a careless client makes it: header values as they are, even those that no client may send."""
        state = re.search(r"\{(off|no_plan|no_sso)\}", path)
        headers = {"Authorization": f"Bearer {{{state[1]}_token}}" if state else "Bearer {token}"} | headers
        raw = body if isinstance(body, bytes) or body is None else json.dumps(self.filled(body)).encode()
        if raw is not None:
            headers.setdefault("Content-Type", "application/scim+json")
        environ = {
            f"HTTP_{name.upper().replace('-', '_')}": self.filled(value) for name, value in headers.items()
        }
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
        environ = {name: value for name, value in environ.items() if value is not None}
        client = self.deployment.app.test_client()
        return client.open(self.filled(path), method=method, data=raw, environ_overrides=environ)

    def stored(self):
        """Everything in the database but who came when."""
        database = self.deployment.gateway.store.database
        names = database.peewee.get_tables()
        return {
            name: sorted(self._rows(name), key=repr)
            for name in names
            if name not in (*RECORDED, "walks", "deliveries", *PUBLISHED)
        }

    def _rows(self, table):
        cursor = self.deployment.gateway.store.database.peewee.execute_sql(f"SELECT * FROM {table}")
        columns = [column[0] for column in cursor.description]
        hidden = {columns.index(name) for name in ("last_used",) if name in columns}
        return [tuple(v for n, v in enumerate(row) if n not in hidden) for row in cursor.fetchall()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place") / "instance")
    place.deployment.gateway.publisher._swept = -1000.0
    place.deployment.gateway.publisher.publish()
    yield place
    place.deployment.close()


def assert_refused(response, status, kind):
    """A SCIM error (RFC 7644, 3.12) with a sentence for a human, and nothing of our insides."""
    text = response.get_data(as_text=True)
    assert response.status_code == status, text
    assert response.mimetype == "application/scim+json"
    error = json.loads(text)
    assert (error["schemas"], error["status"], error.get("scimType")) == ([ERROR], str(status), kind), text
    assert error.keys() <= {"schemas", "status", "scimType", "detail"}
    assert " " in error["detail"], error
    assert error["detail"].endswith((".", "…")), error
    assert len(error["detail"]) < 1000
    assert not re.search(r"Traceback|object at 0x|<class|Error\(|NoneType|sqlite|KeyError|SELECT ", text)
    assert ("WWW-Authenticate" in response.headers) is (status == 401)
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize(("method", "path", "body", "status", "kind", "headers"), ROWS)
def test_a_bad_request_is_refused_in_a_sentence_and_stores_nothing(
    place, method, path, body, status, kind, headers
):
    before = place.stored()
    assert_refused(place.send(method, path, body, headers), status, kind)
    assert place.stored() == before


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
def test_a_wrong_method_is_told_which_are_right(place, method, path, allowed):
    response = place.send(method, path, None, {})
    assert_refused(response, 405, None)
    assert {name.strip() for name in response.headers["Allow"].split(",")} - {"HEAD", "OPTIONS"} == allowed


@pytest.mark.parametrize("path", ["/Me", "/Me/"])
def test_what_discovery_does_not_offer_is_not_implemented(place, path):
    response = place.send("POST", "{base}" + path, {"schemas": []}, {})
    assert_refused(response, 501, None)
    assert response.json["detail"].startswith("Me is not served here.")


@pytest.mark.parametrize(
    "path", ["{base}/Users", "{base}/Bulk", "{base}/Users/.search", "{base}/Users/{user}"]
)
def test_a_body_that_does_not_say_how_large_it_is_is_read_to_the_limit(place, path):
    """Chunked, without Content-Length; what stands before the limit would be a good user by itself."""
    before, body = place.stored(), io.BytesIO((FEW + b"}").ljust(LIMIT) + b"more")
    response = place.deployment.app.test_client().open(
        place.filled(path),
        method="PUT" if path.endswith("{user}") else "POST",
        input_stream=body,
        content_type="application/scim+json",
        headers={"Authorization": f"Bearer {place.known['token']}", "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert_refused(response, 413, None)
    assert place.stored() == before


def test_an_id_of_others_is_answered_like_one_that_nobody_has(place):
    """Neither the answer nor its length shows whether a resource exists elsewhere."""
    missing = "01234567-89ab-7cde-8f01-23456789abcd"

    def said(uid):
        return place.send("GET", "{base}/Users/" + uid, None, {}).text.replace(uid, "")

    assert {said(place.known[name]) for name in ("other_user", "beside_user", "deleted")} == {said(missing)}


def test_a_refusal_stands_in_the_activity_with_its_sentence(place):
    reported = place.send("POST", "{base}/Users", user(userName="x" * 321), {}).json["detail"]
    found = place.deployment.gateway.store.organizations.by_key(1)
    newest = place.deployment.activity(found, outcome="failure")[0]
    assert (newest.operation, newest.status, newest.outcome) == ("POST /Users", 400, "failure")
    assert newest.detail == reported


def test_the_tables_are_as_long_as_they_look():
    assert len(ROWS) > 300
    assert len({row.id for row in ROWS}) == len(ROWS)


# Wrong, and taken all the same -----------------------------------------------------------------------------------


def ignored(scim):
    """What the newest line of the activity says was ignored."""
    return json.loads(scim.deployment.activity(scim.organization)[0].ignored)


def test_attributes_that_nobody_knows_are_ignored_and_named(scim):
    stored = scim.user(favouriteColour="red", password="secret", **{"urn:acme:2.0:User": {"badge": "1"}})
    assert stored.keys() == {"schemas", "id", "meta", "userName", "displayName", "active"}
    assert ignored(scim) == ["favouriteColour", "password", "urn:acme:2.0:User"]


def test_what_an_okta_connection_does_not_keep_is_ignored_and_named(deployment):
    okta = deployment.connection("okta")
    name = {"givenName": "Given1", "middleName": "M"}
    stored = okta.call("POST", "/Users", user(title="Guide", name=name, locale="en")).json
    assert stored["name"] == {"givenName": "Given1"}
    assert not stored.keys() & {"title", "locale"}
    assert ignored(okta) == ["title", "name.middleName", "locale"]


def test_read_only_attributes_are_ignored_in_post_and_put(scim):
    claimed = {"id": "mine", "meta": {"created": "1999-01-01T00:00:00Z"}, "groups": [{"value": "g1"}]}
    first = scim.user(**claimed)
    assert first["id"] != "mine"
    assert "groups" not in first
    answer = scim.call("PUT", f"/Users/{first['id']}", user(userName="user1@acme.test") | claimed)
    assert answer.status == 200
    assert answer.json["id"] == first["id"]
    assert answer.json["meta"]["created"] == first["meta"]["created"]
    assert "groups" not in answer.json


def test_an_id_that_is_repeated_as_it_is_is_taken_in_patch(scim):
    uid = scim.user()["id"]
    operation = {"op": "replace", "value": {"id": uid, "title": "x"}}
    assert scim.patch(f"/Users/{uid}", operation).json["title"] == "x"


@pytest.mark.parametrize(
    "form", ["Bearer Bearer {}", "bearer {}", "BEARER  {} ", "{}", "Bearer bearer Bearer {}"]
)
def test_slips_in_pasting_a_token_are_taken(scim, form):
    headers = {"Authorization": form.format(scim.token)}
    assert scim.call("GET", "/Users", headers=headers).status == 200


def test_empty_values_are_no_values_and_are_not_named(scim):
    empty = {"title": "", "nickName": None, "name": {"givenName": "", "familyName": None}, "phoneNumbers": []}
    emails = [{"type": "work"}, {"value": ""}, {"value": None, "primary": True}, {}, {"value": "a@acme.test"}]
    stored = scim.call("POST", "/Users", user(emails=emails, **empty)).json
    assert stored["emails"] == [{"value": "a@acme.test"}]
    assert not stored.keys() & empty.keys()
    assert ignored(scim) == []


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/scim+json; charset=utf-8", "application/json;charset=ISO-8859-1", "",
     "APPLICATION/SCIM+JSON"],
)  # fmt: skip
def test_the_media_type_may_be_said_in_any_usual_way(scim, kind):
    body = json.dumps(user(displayName="Jürgen"), ensure_ascii=False).encode()
    answer = scim.call("POST", "/Users", body, headers={"Content-Type": kind})
    assert (answer.status, answer.json["displayName"]) == (201, "Jürgen")


def test_names_of_attributes_may_have_any_letter_case_and_a_mark_may_stand_first(scim):
    body = {
        "SCHEMAS": [USER.upper()],
        "username": "a@acme.test",
        "NAME": {"GIVENNAME": "Given1"},
        "Active": False,
    }
    answer = scim.call("POST", "/Users", b"\xef\xbb\xbf" + json.dumps(body).encode())
    assert (answer.status, answer.json["name"], answer.json["active"]) == (
        201,
        {"givenName": "Given1"},
        False,
    )
    assert ignored(scim) == []


@pytest.mark.parametrize(
    ("query", "start", "items", "total"),
    [
        ("startIndex=0", 1, 2, 2),
        ("startIndex=-5&count=1", 1, 1, 2),
        ("count=-1", 1, 0, 2),
        ("count=0", 1, 0, 2),
        ("count=", 1, 2, 2),
        ("count=999999999999999999", 1, 2, 2),
        ("startIndex=999999999999999999", 999_999_999_999_999_999, 0, 2),
        ("attributes=,,%00,nothing..at.all,urn:", 1, 2, 2),
        ("excludedAttributes=id,userName[", 1, 2, 2),
        ("sortBy=unknown&sortOrder=descending", 1, 2, 2),
        ("filter=nothing+eq+%22x%22", 1, 0, 0),
        ("filter=urn:acme:2.0:User:badge+pr", 1, 0, 0),
        ("filter=userName+eq+7", 1, 0, 0),
        ("filter=userName+eq+%22%27+OR+1=1+--%22", 1, 0, 0),
    ],
)  # fmt: skip
def test_a_query_that_asks_for_too_little_or_too_much_is_answered(scim, query, start, items, total):
    """RFC 7644, 3.4.2.4: less than one is one for startIndex, and none for count."""
    scim.user(), scim.user("user2@acme.test")
    answer = scim.call("GET", f"/Users?{query}")
    assert answer.status == 200
    reported = answer.json["startIndex"], answer.json["itemsPerPage"], answer.json["totalResults"]
    assert reported == (start, items, total)
    assert all("id" in found for found in answer.json["Resources"])


def test_a_path_that_nobody_knows_is_ignored_in_patch_and_named(scim):
    uid = scim.user()["id"]
    nobody, known = (
        {"op": "add", "path": "shoe.size", "value": 44},
        {"op": "add", "path": "title", "value": "x"},
    )
    assert scim.patch(f"/Users/{uid}", nobody, known).json["title"] == "x"
    assert ignored(scim) == ["shoe.size"]


def decisions(scim):
    """What the last request's line says of decisions, but those of plugins."""
    reported = json.loads(scim.deployment.activity(scim.organization)[0].decisions)
    return [each["verdict"] for each in reported if each["plugin"] == "gateway"]


def test_the_entries_in_the_value_of_a_remove_leave_and_no_others(scim):
    """SSOSync and others send them so; without a value all would go (RFC 7644, 3.5.2.2)."""
    first, second, third = (scim.user(f"user{number}@acme.test")["id"] for number in range(3))
    group = scim.group("Sales", (first, second, third))["id"]
    path = f"/Groups/{group}"

    def members():
        return {member["value"] for member in scim.call("GET", path).json.get("members", ())}

    removal = {"op": "remove", "path": "members", "value": [{"value": first}]}
    assert scim.patch(path, removal).status == 204
    assert decisions(scim) == [
        "remove of members with a value: the entries in it were removed, and no others"
    ]
    assert members() == {second, third}
    assert scim.patch(path, {**removal, "value": {"$ref": f"../Users/{second}"}}).status == 204
    assert members() == {third}
    assert scim.patch(path, {**removal, "value": [{"value": "nobody"}]}).status == 204
    assert members() == {third}
    assert scim.patch(path, {"op": "remove", "path": "members"}).status == 204
    assert decisions(scim) == []
    assert members() == set()


@pytest.mark.parametrize("name", ["emails", "roles", "entitlements"])
def test_the_entries_in_the_value_of_a_remove_leave_a_user_and_no_others(scim, name):
    kept, gone = {"value": "a@acme.test", "type": "work"}, {"value": "b@acme.test", "type": "other"}
    uid = scim.user(**{name: [kept, gone]})["id"]
    answer = scim.patch(f"/Users/{uid}", {"op": "remove", "path": name, "value": [gone]})
    assert (answer.status, answer.json[name]) == (200, [kept])
    assert decisions(scim) == [
        f"remove of {name} with a value: the entries in it were removed, and no others"
    ]
    assert name not in scim.patch(f"/Users/{uid}", {"op": "remove", "path": name}).json


def test_a_member_may_be_named_by_its_reference_alone(scim):
    """RFC 7643, 2.4."""
    uid = scim.user()["id"]
    reference = {"$ref": f"https://scim.acme.test/scim/v2/{scim.connection.slug}/Users/{uid}"}
    made = scim.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "Sales", "members": [reference]})
    assert (made.status, [member["value"] for member in made.json["members"]]) == (201, [uid])
    path = f"/Groups/{made.json['id']}"
    assert scim.patch(path, {"op": "remove", "path": f'members[$ref eq "../Users/{uid}"]'}).status == 204
    assert not scim.call("GET", path).json.get("members")
    assert scim.patch(path, {"op": "add", "path": "members", "value": [reference]}).status == 204
    assert [member["value"] for member in scim.call("GET", path).json["members"]] == [uid]


@pytest.mark.parametrize("idp", ["generic", "onelogin", "jumpcloud"])
@pytest.mark.parametrize("path", ["manager", f"{ENTERPRISE_URN}:manager"])
def test_a_filter_chooses_the_manager_or_not(deployment, idp, path):
    scim = deployment.connection(idp)
    body = user(**{ENTERPRISE_URN: {"manager": {"value": "m1"}}})
    uid = scim.call("POST", "/Users", body | {"schemas": [USER, ENTERPRISE_URN]}).json["id"]
    other = scim.patch(f"/Users/{uid}", {"op": "remove", "path": f'{path}[value eq "m2"]'})
    assert (other.status, other.json[ENTERPRISE_URN]["manager"]["value"]) == (200, "m1")
    refused = scim.patch(
        f"/Users/{uid}", {"op": "replace", "path": f'{path}[value eq "m2"].value', "value": "m3"}
    )
    assert (refused.status, refused.json["scimType"]) == (400, "noTarget")
    answer = scim.patch(f"/Users/{uid}", {"op": "remove", "path": f'{path}[value eq "m1"]'})
    assert (answer.status, ENTERPRISE_URN in answer.json) == (200, False)


def test_a_member_that_nobody_knows_does_not_fail_the_others(scim):
    uid = scim.user()["id"]
    group = scim.group("Sales", (uid, "nobody"))
    assert [member["value"] for member in group["members"]] == [uid]
    assert ignored(scim) == ['members[value eq "nobody"]']


def test_64_levels_are_read(scim):
    assert scim.call("POST", "/Users", nested(64)).status == 201


def test_a_body_of_the_limit_is_read(scim):
    assert scim.call("POST", "/Users", (FEW + b"}").ljust(LIMIT)).status == 201
