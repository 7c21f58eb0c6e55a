"""docs/conformance.md: small requests named by the sections that ask for them, and the page held to what it links.

A row of the page that no other test shows has its requests here, under the section as their id. What stands in a
table below as a departure is one on purpose: the page gives the reason, and the answer is held to what the page says.
"""

import ast
import re
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.scim.schemas import (
    BULK_REQUEST_URN,
    BULK_RESPONSE_URN,
    CONFIG_URN,
    ENTERPRISE_URN,
    LIST_URN,
    RESOURCE_TYPE_URN,
    SCHEMA_URN,
    SEARCH_URN,
)
from gateway.testing import Deployment, replay
from gateway.testing.deployment import GROUP, PATCH, USER
from tests.oracles.scim_peer.differences import DIFFERENCES

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "conformance.md"

# Requests -----------------------------------------------------------------------------------------------------------


def ask(method, path, body=None, status=200, shows=None, absent=(), keep=None, **headers):
    """One request and what its answer has to hold; `keep` names what later requests put in place of `{{name}}`."""
    expect = {"status": status, "absent": absent} | ({} if shows is None else {"json": shows})
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = {"method": method, "path": path, "body": body, "headers": headers}
    return {"request": request, "expect": expect, "capture": keep or {}}


def user(user_name="new@acme.test", /, **more):
    return {"schemas": [USER], "userName": user_name} | more


def group(display_name="Crew", /, **more):
    return {"schemas": [GROUP], "displayName": display_name} | more


def operations(*each):
    return {"schemas": [PATCH], "Operations": list(each)}


def patch(path, *each, **more):
    return ask("PATCH", path, operations(*each), **more)


def found(kind, text, count):
    """A filter, and how many it finds."""
    return ask("GET", f"/{kind}?filter={quote(text, safe='{}')}", shows={"totalResults": count})


def refused(method, path, body=None, kind=None, status=400, **headers):
    error = "urn:ietf:params:scim:api:messages:2.0:Error"
    shows = {"schemas": [error], "status": str(status), "detail": "{{any}}"} | (
        {"scimType": kind} if kind else {}
    )
    return ask(method, path, body, status, shows, **headers)


def unreadable(text):
    return refused("GET", f"/Users?filter={quote(text)}", kind="invalidFilter")


def bulk(*each, shows, **more):
    message = {"schemas": [BULK_REQUEST_URN], "Operations": list(each)} | more
    return ask("POST", "/Bulk", message, shows={"schemas": [BULK_RESPONSE_URN], "Operations": shows})


def made(bulk_id, **more):
    return {
        "method": "POST",
        "path": "/Users",
        "bulkId": bulk_id,
        "data": user(f"{bulk_id}@acme.test", **more),
    }


A_USER = ask(
    "POST", "/Users", user("a@acme.test", title="Guide"), 201, keep={"id": "id", "version": "meta.version"}
)
B_USER = ask("POST", "/Users", user("b@acme.test"), 201, keep={"other": "id"})
A_GROUP = ask("POST", "/Groups", group(members=[{"value": "{{id}}"}]), 201, keep={"group": "id"})
MAILS = [{"value": "w@acme.test", "type": "work", "primary": True}, {"value": "h@acme.test", "type": "home"}]
NAMED = {"givenName": "Given1", "familyName": "Family1"}


def read(shows, absent=()):
    return ask("GET", "/Users/{{id}}", shows=shows, absent=absent)


TABLE = {
    # RFC 7643 ---------------------------------------------------------------------------------------------------
    "7643-2.3.6": [
        ask("POST", "/Users", user(x509Certificates=[{"value": "TQ"}, {"value": "TUk="}]), 201,
            {"x509Certificates": [{"value": "TQ"}, {"value": "TUk="}]}),
        refused("POST", "/Users", user(x509Certificates=[{"value": "TQ="}]), "invalidValue"),
    ],
    "7643-2.4": [
        ask("POST", "/Users", user("a@acme.test", emails=[MAILS[0], *MAILS, {"value": "w@acme.test", "type": "home"}]),
            201, {"emails": [*MAILS, {"value": "w@acme.test", "type": "home"}]}, keep={"id": "id"}),
        ask("PUT", "/Users/{{id}}", user("a@acme.test", roles=[{"value": "guide"}, {"value": "guide", "display": "x"}]),
            shows={"roles": [{"value": "guide", "display": "x"}]}),
    ],
    "7643-2.5": [
        A_USER,
        ask("PUT", "/Users/{{id}}", user("a@acme.test", title=None, emails=[]), absent=("title", "emails")),
    ],
    "7643-3.1-id": [
        ask("POST", "/Users", user("a@acme.test", id="mine"), 201, keep={"id": "id"}),
        read({"id": "{{id}}"}),
        ask("PUT", "/Users/{{id}}", user("other@acme.test", id="mine"), shows={"id": "{{id}}"}),
        ask("GET", "/Users/mine", status=404),
    ],
    "7643-3.1-externalId": [
        ask("POST", "/Users", user("a@acme.test", externalId="Ext"), 201, {"externalId": "Ext"}),
        ask("POST", "/Users", user("b@acme.test"), 201, absent=("externalId",)),
        found("Users", 'externalId eq "Ext"', 1),
        found("Users", 'externalId eq "ext"', 0),
    ],
    "7643-3.1-meta": [
        ask("POST", "/Users", user(meta={"created": "1999-01-01T00:00:00Z", "resourceType": "Group"}), 201,
            {"meta": {"resourceType": "User", "created": "2…", "location": "…/Users/…", "version": 'W/"…'}},
            keep={"id": "id", "created": "meta.created"}),
        read({"meta": {"created": "{{created}}", "lastModified": "{{created}}"}}),
    ],
    "7643-3.3": [
        ask("POST", "/Users", user(**{ENTERPRISE_URN: {"department": "Tours"}}), 201,
            {"schemas": [USER, ENTERPRISE_URN], ENTERPRISE_URN: {"department": "Tours"}}),
    ],
    "7643-4.1-userName": [
        ask("POST", "/Users", user("Bee@acme.test"), 201),
        refused("POST", "/Users", user("bEE@ACME.test"), "uniqueness", 409),
        found("Users", 'userName eq "BEE@acme.test"', 1),
    ],
    "7643-4.1-password": [
        ask("POST", "/Users", user(password="not for the gateway"), 201, absent=("password",), keep={"id": "id"}),
        read({}, ("password",)),
        found("Users", "password pr", 0),
    ],
    "7643-4.1-groups": [
        A_USER, A_GROUP,
        read({"groups": [{"value": "{{group}}", "$ref": "…/Groups/{{group}}", "display": "Crew"}]}),
        refused("PATCH", "/Users/{{id}}", operations({"op": "remove", "path": "groups"}), "mutability"),
    ],
    "7643-4.2-members": [
        A_USER, A_GROUP,
        ask("GET", "/Groups/{{group}}",
            shows={"members": [{"value": "{{id}}", "$ref": "…/Users/{{id}}", "type": "User"}]}),
    ],
    # A departure: a group in a group is no member.
    "7643-4.2-nested": [
        A_USER, A_GROUP,
        ask("POST", "/Groups", group("All", members=[{"value": "{{group}}", "type": "Group"}]), 201,
            absent=("members",)),
    ],
    "7643-5": [ask("GET", "/ServiceProviderConfig", shows={
        "schemas": [CONFIG_URN], "patch": {"supported": True}, "changePassword": {"supported": False},
        "bulk": {"supported": True, "maxOperations": 1000, "maxPayloadSize": 1_048_576},
        "filter": {"supported": True, "maxResults": 1000}, "sort": {"supported": True}, "etag": {"supported": True},
        "authenticationSchemes": [{"type": "oauthbearertoken", "name": "{{any}}", "description": "{{any}}"}],
    })],
    "7643-6": [ask("GET", "/ResourceTypes/User", shows={
        "schemas": [RESOURCE_TYPE_URN], "id": "User", "name": "User", "endpoint": "/Users", "schema": USER,
        "meta": {"resourceType": "ResourceType", "location": "…/ResourceTypes/User"},
    })],
    "7643-7": [
        ask("GET", "/Schemas/" + each, shows={"schemas": [SCHEMA_URN], "id": each, "name": "{{any}}",
                                              "description": "{{any}}", "attributes": "{{any}}"})
        for each in (USER, GROUP, ENTERPRISE_URN)
    ],
    # RFC 7644 ---------------------------------------------------------------------------------------------------
    "7644-3.1": [
        ask("GET", "/Schemas/" + each, status=404) for each in (PATCH, LIST_URN, SEARCH_URN, BULK_REQUEST_URN)
    ],
    "7644-3.3": [
        ask("POST", "/Users", user(), 201, {"userName": "new@acme.test", "meta": {"location": "…/Users/…"}}),
        refused("POST", "/Users", user(), "uniqueness", 409),
    ],
    "7644-3.3.1": [
        ask("POST", "/Users", user(), 201, {"meta": {"resourceType": "User"}}),
        ask("POST", "/Groups", group(), 201, {"meta": {"resourceType": "Group"}}),
    ],
    "7644-3.4.1": [
        A_USER, A_GROUP, read({"id": "{{id}}", "userName": "a@acme.test"}),
        ask("GET", "/Groups/{{group}}", shows={"id": "{{group}}", "displayName": "Crew"}),
        refused("GET", "/Users/{{group}}", status=404),
    ],
    "7644-3.4.2": [
        A_USER, B_USER,
        ask("GET", "/Users?count=1&unheard=of", shows={
            "schemas": [LIST_URN], "totalResults": 2, "startIndex": 1, "itemsPerPage": 1,
            "Resources": [{"userName": "a@acme.test"}]}),
        found("Users", 'userName eq "nobody@acme.test"', 0),
    ],
    # A departure: a query of one resource is answered as if there were no filter.
    "7644-3.4.2.1-one": [A_USER, ask("GET", "/Users/{{id}}?filter=userName+eq+%22x%22", shows={"id": "{{id}}"})],
    "7644-3.4.2.1-absent": [
        A_USER, A_GROUP,
        ask("GET", "/?filter=userName+pr", shows={"totalResults": 1}),
        ask("GET", "/?filter=meta.resourceType+eq+%22Group%22", shows={"totalResults": 1}),
        ask("GET", "/", shows={"totalResults": 2}),
    ],
    "7644-3.4.2.2-defaulted": [
        ask("POST", "/Users", user(), 201, {"active": True}),
        found("Users", "active eq true", 1),
    ],
    "7644-3.4.2.2-unknown": [unreadable('userName regex "x"'), unreadable(""), unreadable("userName")],
    "7644-3.4.2.2-order": [unreadable("active gt true"), unreadable('x509Certificates.value lt "TQ=="')],
    "7644-3.4.2.5": [
        A_USER,
        ask("GET", "/Users?attributes=userName", shows={"Resources": [{"id": "{{id}}", "userName": "a@acme.test"}]},
            absent=("Resources.0.title", "Resources.0.meta")),
        ask("GET", "/Users?excludedAttributes=title,id", shows={"Resources": [{"id": "{{id}}", "userName": "a…"}]},
            absent=("Resources.0.title",)),
    ],
    "7644-3.4.3": [
        A_USER, A_GROUP,
        ask("POST", "/Users/.search", {"schemas": [SEARCH_URN], "filter": 'title eq "guide"', "count": 1,
                                       "attributes": ["title"]},
            shows={"schemas": [LIST_URN], "totalResults": 1, "Resources": [{"id": "{{id}}", "title": "Guide"}]},
            absent=("Resources.0.userName",)),
        ask("POST", "/Groups/.search", {"schemas": [SEARCH_URN]}, shows={"totalResults": 1}),
        ask("POST", "/.search", {"schemas": [SEARCH_URN]}, shows={"totalResults": 2}),
        refused("POST", "/Users/.search", {"schemas": [USER]}, "invalidValue"),
    ],
    "7644-3.5.1": [
        A_USER,
        ask("PUT", "/Users/{{id}}", user("a@acme.test", nickName="Nick1"), shows={"nickName": "Nick1"},
            absent=("title",)),
        refused("PUT", "/Users/{{id}}", {"schemas": [USER], "title": "x"}, "invalidValue"),
        refused("PUT", "/Users/nobody", user(), status=404),
        found("Users", "userName pr", 1),
    ],
    "7644-3.5.1-active": [
        ask("POST", "/Users", user(active=False), 201, keep={"id": "id"}),
        ask("PUT", "/Users/{{id}}", user(active=True), shows={"active": True}),
    ],
    "7644-3.5.2-atomic": [
        A_USER,
        refused("PATCH", "/Users/{{id}}",
                operations({"op": "replace", "path": "title", "value": "x"},
                           {"op": "replace", "path": "userName", "value": ""}), "invalidValue"),
        read({"title": "Guide", "meta": {"version": "{{version}}"}}),
    ],
    "7644-3.5.2-primary": [
        ask("POST", "/Users", user(emails=MAILS), 201, keep={"id": "id"}),
        patch("/Users/{{id}}", {"op": "replace", "path": 'emails[type eq "home"].primary', "value": True},
              shows={"emails": [{"type": "work", "primary": False}, {"type": "home", "primary": True}]}),
    ],
    "7644-3.5.2-schemas": [
        A_USER,
        patch("/Users/{{id}}", {"op": "add", "path": f"{ENTERPRISE_URN}:employeeNumber", "value": "7"},
              shows={"schemas": [USER, ENTERPRISE_URN], ENTERPRISE_URN: {"employeeNumber": "7"}}),
    ],
    "7644-3.5.2-answer": [
        A_USER, patch("/Users/{{id}}", {"op": "add", "path": "title", "value": "x"}, shows={"title": "x"}),
        ask("PATCH", "/Users/{{id}}?attributes=title", operations({"op": "add", "path": "title", "value": "y"}),
            shows={"id": "{{id}}", "title": "y"}, absent=("userName", "meta")),
    ],
    "7644-3.5.2-group": [
        A_USER, A_GROUP, B_USER,
        patch("/Groups/{{group}}", {"op": "replace", "path": "displayName", "value": "All"}, status=204),
        patch("/Groups/{{group}}?attributes=displayName,members.value",
              {"op": "add", "path": "members", "value": [{"value": "{{other}}"}]},
              shows={"id": "{{group}}", "displayName": "All", "members": [{"value": "{{id}}"}, {"value": "{{other}}"}]},
              absent=("meta", "members.0.display")),
        patch("/Groups/{{group}}?excludedAttributes=members", {"op": "remove", "path": 'members[value eq "{{id}}"]'},
              shows={"displayName": "All", "meta": "{{any}}"}, absent=("members",)),
        patch("/Groups/{{group}}?attributes=members", {"op": "add", "path": "displayName", "value": "All"},
              shows={"members": [{"value": "{{other}}"}]}, absent=("displayName",)),
        refused("PATCH", "/Groups/{{group}}?attributes=members", operations({"op": "remove", "path": "displayName"}),
                "mutability"),
    ],
    "7644-3.5.2.1-same": [
        A_USER,
        patch("/Users/{{id}}", {"op": "add", "path": "title", "value": "Guide"},
              shows={"meta": {"version": "{{version}}"}}, keep={"created": "meta.created"}),
        read({"meta": {"lastModified": "{{created}}", "version": "{{version}}"}}),
    ],
    "7644-3.5.2.2": [
        ask("POST", "/Users", user(title="Guide", emails=MAILS), 201, keep={"id": "id"}),
        patch("/Users/{{id}}", {"op": "remove", "path": "title"}, absent=("title",)),
        patch("/Users/{{id}}", {"op": "remove", "path": 'emails[type eq "home"]'}, shows={"emails": MAILS[:1]}),
        patch("/Users/{{id}}", {"op": "remove", "path": "emails"}, absent=("emails",)),
        refused("PATCH", "/Users/{{id}}", operations({"op": "remove"}), "noTarget"),
        refused("PATCH", "/Users/{{id}}", operations({"op": "remove", "path": "userName"}), "mutability"),
        refused("PATCH", "/Users/{{id}}", operations({"op": "remove", "path": "meta"}), "mutability"),
    ],
    "7644-3.5.2.3": [
        ask("POST", "/Users", user(name=NAMED, emails=MAILS), 201, keep={"id": "id"}),
        patch("/Users/{{id}}", {"op": "replace", "path": "nickName", "value": "Nick1"}, shows={"nickName": "Nick1"}),
        patch("/Users/{{id}}", {"op": "replace", "path": "name", "value": {"givenName": "New"}},
              shows={"name": {"givenName": "New", "familyName": "Family1"}}),
        patch("/Users/{{id}}", {"op": "replace", "value": {"title": "Guide", "emails": MAILS[1:]}},
              shows={"title": "Guide", "emails": MAILS[1:]}),
        refused("PATCH", "/Users/{{id}}",
                operations({"op": "replace", "path": 'emails[type eq "fax"].value', "value": "x"}), "noTarget"),
    ],
    "7644-3.6": [
        A_USER, ask("DELETE", "/Users/{{id}}", status=204), ask("GET", "/Users/{{id}}", status=404),
        ask("PUT", "/Users/{{id}}", user("a@acme.test"), 404),
        patch("/Users/{{id}}", {"op": "replace", "path": "active", "value": True}, status=404),
        ask("DELETE", "/Users/{{id}}", status=404), found("Users", "userName pr", 0),
        ask("POST", "/Users", user("a@acme.test"), 201),
    ],
    "7644-3.7": [
        bulk(made("a"), {"method": "DELETE", "path": "/Users/nobody"}, made("b"), shows=[
            {"method": "POST", "bulkId": "a", "status": "201", "location": "…/Users/…", "version": "{{any}}"},
            {"method": "DELETE", "status": "404", "location": "…/Users/nobody", "response": {"status": "404"}},
            {"method": "POST", "bulkId": "b", "status": "201"}]),
        found("Users", "userName pr", 2),
    ],
    "7644-3.7.4": [refused("POST", "/Bulk", {
        "schemas": [BULK_REQUEST_URN], "Operations": [{"method": "DELETE", "path": "/Users/1"}] * 1001}, status=413)],
    "7644-3.8-accept": [
        A_USER, *(ask("GET", "/Users/{{id}}", shows={"id": "{{id}}"}, Accept=kind)
                  for kind in ("application/scim+json", "application/json", "*/*")),
    ],
    "7644-3.9": [
        ask("POST", "/Users?attributes=title", user(title="Guide"), 201, {"id": "{{any}}", "title": "Guide"},
            ("userName",), {"id": "id"}),
        ask("PUT", "/Users/{{id}}?excludedAttributes=title", user(title="x"), shows={"userName": "new@acme.test"},
            absent=("title",)),
        ask("GET", "/Users/{{id}}?attributes=meta.location", shows={"id": "{{id}}", "meta": {"location": "{{any}}"}},
            absent=("meta.created", "title")),
    ],
    "7644-3.10": [
        A_USER, ask("GET", f"/Users/{{{{id}}}}?attributes={USER.upper()}:TITLE", shows={"title": "Guide"}),
        found("Users", f'{USER}:userName eq "a@acme.test"', 1),
        patch("/Users/{{id}}", {"op": "replace", "path": f"{USER}:name.givenName", "value": "Given1"},
              shows={"name": {"givenName": "Given1"}}),
    ],
    "7644-3.11": [refused("GET", "/Me", status=501), refused("PATCH", "/Me", {}, status=501)],
    "7644-3.14": [
        A_USER,
        refused("PUT", "/Users/{{id}}", user("a@acme.test"), status=412, If_Match='W/"0"'),
        ask("PUT", "/Users/{{id}}", user("a@acme.test", title="x"), shows={"title": "x"}, If_Match="{{version}}"),
        refused("DELETE", "/Users/{{id}}", status=412, If_Match="{{version}}"),
    ],
    "7644-4": [
        ask("GET", "/ServiceProviderConfig", shows={"schemas": [CONFIG_URN]}, Authorization=""),
        ask("GET", "/Schemas", shows={"schemas": [LIST_URN], "Resources": "{{any}}"}, Authorization=""),
        ask("GET", "/ResourceTypes?startIndex=2&count=1&sortBy=name&sortOrder=descending",
            shows={"schemas": [LIST_URN], "totalResults": 2, "Resources": [{"name": "User"}, {"name": "Group"}]}),
        refused("GET", "/Schemas?filter=id+pr", status=403),
        *(refused("GET", f"/{each}?filter=id+pr", status=403, Authorization=token) for token in ("", "Bearer x")
          for each in ("ResourceTypes", "ResourceTypes/User", f"Schemas/{USER}", "ServiceProviderConfig")),
    ],
    "7644-5": [
        ask("POST", "/Users", user("\u00c5sa@acme.test"), 201),
        refused("POST", "/Users", user("a\u030aSA@acme.test"), "uniqueness", 409),
    ],
    # A departure: a wide letter is another letter.
    "7644-5-width": [
        A_USER, ask("POST", "/Users", user("\uff41@acme.test"), 201, {"userName": "\uff41@acme.test"}),
        found("Users", 'userName eq "\uff41@acme.test"', 1), found("Users", 'userName eq "a@acme.test"', 1),
    ],
    # A departure: providers look users up by GET.
    "7644-7.5.2": [A_USER, found("Users", 'userName eq "a@acme.test"', 1)],
    # RFC 9865 ---------------------------------------------------------------------------------------------------
    "9865-2": [
        A_USER, B_USER,
        ask("GET", "/Users?cursor&count=1",
            shows={"totalResults": 2, "itemsPerPage": 1, "Resources": [{"id": "{{id}}"}]},
            absent=("previousCursor", "startIndex"), keep={"next": "nextCursor"}),
        ask("GET", "/Users?cursor={{next}}&count=1", shows={"Resources": [{"id": "{{other}}"}]},
            absent=("nextCursor",)),
    ],
    "9865-2-count": [
        A_USER, B_USER,
        *(ask("GET", f"/Users?cursor&count={count}", shows={"totalResults": 2, "itemsPerPage": 0, "Resources": []},
              absent=("nextCursor",)) for count in (0, -1)),
    ],
    "9865-2.1": [
        refused("GET", "/Users?cursor=none", kind="invalidCursor"),
        refused("GET", "/Users?cursor=&count=1001", kind="invalidCount"),
    ],
    "9865-2.4": [
        A_USER, B_USER,
        ask("GET", "/Users?count=1", shows={"startIndex": 1, "totalResults": 2}, absent=("nextCursor",)),
        ask("GET", "/ServiceProviderConfig", shows={"pagination": {"defaultPaginationMethod": "index"}}),
    ],
    "9865-4": [ask("GET", "/ServiceProviderConfig", shows={"pagination": {
        "cursor": True, "index": True, "defaultPaginationMethod": "index", "defaultPageSize": 100,
        "maxPageSize": 1000, "cursorTimeout": 3600}})],
    # The two profiles -------------------------------------------------------------------------------------------
    "interop-4": [ask("GET", "/ServiceProviderConfig", absent=("interopProfileConformant",))],
    "interop-5.2": [
        ask("POST", "/Users", user(externalId="Ext"), 201), found("Users", 'externalId eq "EXT"', 0),
        found("Users", 'USERNAME eq "NEW@acme.test"', 1),
        refused("POST", "/Users", user("NEW@acme.test"), "uniqueness", 409),
    ],
    # Departures: the gateway takes these; the page says why.
    "interop-5.3": [ask("POST", "/Users", user(shoeSize=46), 201, absent=("shoeSize",))],
    "interop-6.3": [
        A_USER, found("Users", 'userName eq "a@acme.test" and title eq "Guide"', 1),
        found("Users", 'shoeSize eq "46"', 0),
    ],
    "interop-6.5.1.1": [A_USER, patch("/Users/{{id}}", {"op": "replace", "value": {"active": False}},
                                      shows={"active": False})],
    "interop-6.5.2.1": [
        ask("POST", "/Users", user(name=NAMED), 201, keep={"id": "id"}),
        *(patch("/Users/{{id}}", {"op": kind, "path": "title", "value": kind}, shows={"title": kind})
          for kind in ("add", "replace")),
        patch("/Users/{{id}}", {"op": "add", "path": "name", "value": {"middleName": "M"}},
              shows={"name": NAMED | {"middleName": "M"}}),
    ],
    "interop-6.5.2.2": [
        ask("POST", "/Users", user(emails=MAILS), 201, keep={"id": "id"}),
        patch("/Users/{{id}}", {"op": "replace", "path": "emails", "value": MAILS[:1]}, shows={"emails": MAILS[:1]}),
        patch("/Users/{{id}}", {"op": "add", "path": "emails", "value": MAILS[1:]}, shows={"emails": MAILS}),
    ],
    "interop-6.6": [
        A_USER, patch("/Users/{{id}}", {"op": "replace", "path": "active", "value": False}), read({"active": False}),
        ask("DELETE", "/Users/{{id}}", status=204), ask("GET", "/Users/{{id}}", status=404),
        found("Users", "active eq false", 0),
    ],
    "interop-6.9.1": [
        A_USER, B_USER, refused("POST", "/Users", user("A@acme.test"), "uniqueness", 409),
        refused("PATCH", "/Users/{{id}}", operations({"op": "replace", "path": "userName", "value": "b@acme.test"}),
                "uniqueness", 409),
    ],
    "ipsie-5.1": [
        A_USER, patch("/Users/{{id}}", {"op": "replace", "path": "active", "value": False}, shows={"active": False}),
        patch("/Users/{{id}}", {"op": "replace", "path": "active", "value": True}, shows={"active": True}),
    ],
    "ipsie-5.4": [
        ask("POST", "/Users", user(externalId="Ext", emails=MAILS), 201),
        found("Users", 'username eq "new@acme.test"', 1), found("Users", 'externalId eq "Ext"', 1),
        found("Users", 'emails[value eq "h@acme.test"]', 1),
        found("Users", 'emails[type eq "work" and value eq "w@acme.test"]', 1),
        found("Users", 'emails[type eq "work" and value eq "h@acme.test"]', 0),
    ],
    "ipsie-6.1": [
        ask("POST", "/Users", user(displayName="New", active=True, externalId="Ext"), 201,
            {"displayName": "New", "active": True, "externalId": "Ext"}, keep={"id": "id"}),
        patch("/Users/{{id}}", {"op": "replace", "path": "displayName", "value": "x"},
              {"op": "replace", "path": "title", "value": "y"}, shows={"displayName": "x", "title": "y"}),
        ask("GET", "/Users", shows={"totalResults": 1}),
    ],
    "ipsie-6.2": [
        A_USER,
        ask("POST", "/Groups", group("Empty", externalId="G1"), 201, {"externalId": "G1"}, keep={"group": "id"}),
        refused("POST", "/Groups", group("empty"), "uniqueness", 409),
        ask("GET", "/Groups?excludedAttributes=members", shows={"totalResults": 1}),
        patch("/Groups/{{group}}", *({"op": "add", "path": "members", "value": [{"value": "{{id}}"}]} if number % 2 else
                                     {"op": "remove", "path": 'members[value eq "{{id}}"]'} for number in range(60)),
              status=204),
        ask("GET", "/Groups/{{group}}", shows={"members": [{"value": "{{id}}"}]}),
        found("Groups", 'displayName eq "Empty"', 1), found("Groups", 'externalId eq "G1"', 1),
        found("Groups", 'members[value eq "{{id}}"]', 1),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = Deployment(tmp_path_factory.mktemp("conformance") / "instance")
    yield house
    house.close()


@pytest.fixture
def scim(house):
    """A connection of an organization of its own, so that no test meets what another one left."""
    return house.connection("generic")


@pytest.mark.parametrize("section", TABLE)
def test_section(scim, section):
    assert replay(scim, {"exchanges": TABLE[section]}) == []


# Headers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "body"), [("Users", user()), ("Groups", group())])
def test_headers_of_a_resource_are_those_of_its_meta(scim, kind, body):
    """RFC 7643, 3.1; RFC 7644, 3.3 and 3.14: where a resource is, and its entity tag, in the headers and in `meta`."""
    made = scim.call("POST", f"/{kind}", body)
    headers, meta = scim.deployment.last_headers, made.json["meta"]
    assert headers["Location"] == headers["Content-Location"] == meta["location"]
    assert headers["ETag"] == meta["version"]
    assert meta["version"].startswith('W/"')
    path, change = (
        f"/{kind}/{made.json['id']}",
        operations({"op": "add", "path": "externalId", "value": "Ext"}),
    )
    answers = [made]
    for method, query, sent in (
        ("GET", "", None), ("PUT", "", body), ("PATCH", "?excludedAttributes=externalId", change),
        ("GET", "?attributes=meta", None),
    ):  # fmt: skip
        answers.append(scim.call(method, path + query, sent))
        headers, meta = scim.deployment.last_headers, answers[-1].json["meta"]
        assert (headers["Content-Location"], headers["ETag"]) == (meta["location"], meta["version"])
        assert "Location" not in headers
    assert [answer.status for answer in answers] == [201, 200, 200, 200, 200]
    assert len({answer.json["meta"]["location"] for answer in answers}) == 1
    assert scim.call("GET", f"/{kind}").status == 200
    assert "Content-Location" not in scim.deployment.last_headers


@pytest.mark.parametrize("path", ["/ServiceProviderConfig", "/ResourceTypes/Group", f"/Schemas/{USER}"])
def test_where_a_description_is_stands_in_its_headers_too(scim, path):
    """RFC 7643, 3.1."""
    location = scim.call("GET", path).json["meta"]["location"]
    assert scim.deployment.last_headers["Content-Location"] == location
    assert location.endswith(scim.base + path)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Users", 200),
        ("POST", "/Users", 400),
        ("GET", "/Schemas", 200),
        ("GET", "/Users/nobody", 404),
    ],
)
def test_every_answer_is_scim_json(scim, method, path, status):
    """RFC 7644, 3.8 and 8.1; the interop profile, 6.2."""
    assert scim.call(method, path, {} if method == "POST" else None).status == status
    assert scim.deployment.last_headers["Content-Type"] == "application/scim+json"


def test_schemes_of_authentication_are_named_where_none_was_good(scim):
    """RFC 7644, 2."""
    assert scim.call("GET", "/Users", token="wrong").status == 401
    assert scim.deployment.last_headers["WWW-Authenticate"].startswith("Bearer")


def test_every_schema_that_is_named_is_described(scim):
    """RFC 7643, 6 and 7; the interop profile, 5.1: what a resource type names is at /Schemas, and ids are names."""
    types = scim.call("GET", "/ResourceTypes").json["Resources"]
    schemas = {each["id"] for each in scim.call("GET", "/Schemas").json["Resources"]}
    named = {each["schema"] for kind in types for each in (kind, *kind["schemaExtensions"])}
    # RFC 7643, 8.7.2: those of the discovery documents themselves are there as well.
    assert named | {CONFIG_URN, RESOURCE_TYPE_URN, SCHEMA_URN} == schemas
    assert all(kind["id"] == kind["name"] for kind in types)


def test_a_cursor_is_spelt_in_letters_that_a_url_leaves_alone(scim):
    """RFC 9865, 2; RFC 3986, 2.3."""
    scim.user("a@acme.test"), scim.user("b@acme.test")
    for _ in range(20):
        cursor = scim.call("GET", "/Users?cursor=&count=1").json["nextCursor"]
        assert re.fullmatch(r"[A-Za-z0-9._~-]+", cursor)


# The page -----------------------------------------------------------------------------------------------------------

HEAD = ["Section", "What it asks", "Here", "Shown by"]
STATUS = re.compile(r"\*\*(done|in part|not done)\*\*")
LINK = re.compile(r"\[`?([^\]`]+?(?:\[[^\]]+\])?)`?\]\(([^)]+)\)")


def tables():
    """The tables of the page: their heads, and their rows as lists of cells, each with the number of its line."""
    head, rows = [], []
    for number, line in enumerate([*PAGE.read_text().splitlines(), ""], 1):
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not head:
                head = cells
            elif set(line) - set("|-: "):
                rows.append((number, cells))
        elif head:
            yield head, rows
            head, rows = [], []


ROWS = [row for head, rows in tables() if head == HEAD for row in rows]
LINKS = [
    (number, *link)
    for number, line in enumerate(PAGE.read_text().splitlines(), 1)
    for link in LINK.findall(line)
]


def test_every_row_has_a_status_a_reason_where_something_is_missing_and_a_test_where_not():
    assert len(ROWS) > 100
    for number, cells in ROWS:
        assert len(cells) == len(HEAD), f"line {number} has {len(cells)} cells"
        status = STATUS.match(cells[2])
        assert status, f"line {number} has no status: {cells[2]!r}"
        assert status[1] == "done" or len(cells[2]) > status.end() + 10, f"line {number} gives no reason"
        assert status[1] != "done" or LINK.search(cells[3]), f"line {number} is done, but no test shows it"


def test_every_test_that_is_linked_exists():
    assert len(LINKS) > 100
    for number, label, target in LINKS:
        if target.startswith(("https://", "#")):
            continue
        path = (PAGE.parent / target.partition("#")[0]).resolve()
        assert path.is_file(), f"line {number}: {target} is no file"
        if "::" not in label:
            continue
        named, _, test = label.partition("::")
        assert path == ROOT / named, f"line {number}: {label} is linked to {target}"
        name, _, case = test.partition("[")
        assert re.search(rf"^ *def {name}\(", path.read_text(), re.MULTILINE), (
            f"line {number}: no test {label}"
        )
        assert not case or case.removesuffix("]") in TABLE, f"line {number}: no case {label}"


def test_every_request_of_this_file_is_linked():
    linked = {
        label.partition("[")[2].removesuffix("]") for _, label, _ in LINKS if "test_conformance.py" in label
    }
    assert sorted(TABLE.keys() - linked) == []


def test_what_is_counted_at_the_top_of_the_page_is_true():
    counts = Counter(STATUS.match(cells[2])[1] for _, cells in ROWS)
    reported = re.search(r"(\d+) rows: (\d+) done, (\d+) in part, (\d+) not done", PAGE.read_text())
    assert reported, "the page does not count its rows"
    assert [int(each) for each in reported.groups()] == [
        len(ROWS),
        counts["done"],
        counts["in part"],
        counts["not done"],
    ]


def test_every_difference_from_the_tester_is_on_the_page():
    source = ast.parse((ROOT / "tests" / "web" / "scim" / "test_scim_tester.py").read_text())
    explained = next(
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXPLAINED"
    )
    (rows,) = (rows for head, rows in tables() if head == ["Connection", "Check", "Attribute", "Why"])
    reported = {(cells[0], cells[1].strip("`"), cells[2].strip("`")) for _, cells in rows}
    assert reported == {(", ".join(idps.split()), check, attribute) for idps, check, attribute in explained}


def test_every_difference_from_scim2_models_is_on_the_page():
    borne_out = {"ours": "gateway", "theirs": "scim2-models", "open": "open"}
    known = {each.name: borne_out[each.right] for each in DIFFERENCES}
    (rows,) = (rows for head, rows in tables() if head == ["Difference", "What the RFCs say", "Borne out"])
    assert {cells[0]: cells[2] for _, cells in rows} == known
