"""Organizations: edited piece by piece, guarded by versions, with single sign-on that is checked, and removed whole."""

from __future__ import annotations

import pytest

from gateway.testing import Deployment


def test_a_change_leaves_alone_what_it_does_not_name(acme) -> None:
    urls = {"billing_url": "https://acme.test/pay", "contact_url": "https://acme.test/help"}
    before = acme.call("PATCH", acme.path, {"billing": urls, "domains": ["ACME.test", "acme.test"]})
    after = acme.call("PATCH", acme.path, {"billing": {"payment": "card"}})
    assert after["billing"] == urls | {"payment": "card"}
    assert (after["domains"], after["seats"]) == (["acme.test"], before["seats"])
    limited = acme.call("PATCH", acme.path, {"seats": {"limit": 5}})
    assert (limited["seats"]["limit"], limited["billing"]) == (5, after["billing"])
    assert acme.call("PATCH", acme.path, {"seats": {}, "billing": {}})["seats"]["limit"] == 5
    back = acme.call("PATCH", acme.path, {"seats": {"limit": None}, "billing": {"billing_url": None}})
    assert back["seats"]["available"] is None
    assert back["billing"]["billing_url"] == "https://application.example/billing"


def test_an_edit_of_an_old_version_is_refused_and_one_of_the_newest_is_taken(acme) -> None:
    acme.get(acme.path)
    old = acme.etag()
    acme.call("PATCH", acme.path, {"name": "Acme 2"}, If_Match=old)
    assert acme.etag() != old
    refused = acme.call("PATCH", acme.path, {"name": "Acme 3"}, 412, If_Match=old)
    assert refused["status"] == "Precondition Failed"
    acme.call("DELETE", acme.path, None, 412, If_Match=old)
    assert acme.get(acme.path)["name"] == "Acme 2"
    acme.call("PATCH", acme.path, {"name": "Acme 3"}, If_Match=f'"x", {acme.etag()}')
    acme.call("PATCH", acme.path, {"name": "Acme 4"}, If_Match="*")
    assert acme.call("PATCH", acme.path, {"name": "Acme 5"})["name"] == "Acme 5"


def test_a_lower_limit_evicts_nobody(acme) -> None:
    for number in (1, 2):
        acme.assign(number)
    seats = acme.call("PATCH", acme.path, {"seats": {"limit": 1}})["seats"]
    assert seats == {"limit": 1, "used": 2, "available": 0}


def test_lists_are_walked_to_their_end(deployment: Deployment, acme) -> None:
    for number in range(4):
        deployment.organization(f"Customer {number}")
    names, after = [], 0
    while after is not None:
        part = acme.get(f"/organizations?limit=2&after={after}")
        names += [item["name"] for item in part["items"]]
        after = part["next"]
    assert names == ["Acme", "Customer 0", "Customer 1", "Customer 2", "Customer 3"]


def test_single_sign_on_is_set_up_read_and_taken_away(acme, metadata: str) -> None:
    acme.call("DELETE", f"{acme.path}/sso", None, 204)
    assert acme.get(acme.path)["sso"] is None
    acme.get(f"{acme.path}/sso", 404)
    acme.call("DELETE", f"{acme.path}/sso", None, 404)
    assert acme.okta.call("GET", "/Users").status == 403
    around = "EntitiesDescriptor"
    opened = f"<{around} xmlns='urn:oasis:names:tc:SAML:2.0:metadata'>"
    several = f"{opened}{metadata.split('?>')[1]}</{around}>"
    for xml in (metadata, several):
        acme.call("PUT", f"{acme.path}/sso", {"metadata_xml": xml})
        assert acme.get(f"{acme.path}/sso")["entity_id"] == "https://idp.acme.test/entity"
    assert acme.okta.call("GET", "/Users").status == 200


_BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
_FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda xml: xml.replace("?>", f"?>{_BOMB}", 1), "unsafe"),
        (lambda xml: xml.replace("?>", f"?>{_FILE}", 1), "unsafe"),
        (lambda xml: xml.replace("?>", '?><!DOCTYPE x SYSTEM "https://acme.test/x.dtd">', 1), "unsafe"),
        (lambda xml: xml[:200], "not well-formed"),
        (lambda xml: xml.replace("UTF-8", "nothing-known"), "not well-formed"),
        (lambda xml: xml.replace("UTF-8", "utf-7"), "not well-formed"),
        (lambda xml: "certainly no XML", "not well-formed"),
        (lambda xml: "<a/>", "not SAML metadata"),
        (lambda xml: xml.replace("entityID", "id"), "not SAML metadata"),
        (lambda xml: xml.replace("IDPSSO", "SPSSO"), "no identity provider"),
        (lambda xml: xml.replace("X509Certificate>", "Nothing>"), "no signing certificate"),
        (lambda xml: xml.replace("MII", "?"), "cannot be read"),
        (lambda xml: xml.replace("MII", "AAA"), "cannot be read"),
        (lambda xml: xml.replace("https://idp.acme.test/redirect", "https://["), "SingleSignOnService"),
        (lambda xml: xml.replace("https://idp.acme.test/redirect", "javascript:x"), "SingleSignOnService"),
        (lambda xml: xml + " " * 262_144, "between 1 and 262144"),
    ],
)
def test_metadata_that_is_unsafe_or_broken_is_refused_in_a_sentence(
    acme, metadata: str, change, sentence: str
) -> None:
    before = acme.get(f"{acme.path}/sso")
    refused = acme.call("PUT", f"{acme.path}/sso", {"metadata_xml": change(metadata)}, 422)
    assert sentence in refused["message"]
    assert acme.get(f"{acme.path}/sso") == before


def test_a_removed_organization_is_gone_with_all_that_was_in_it(deployment: Deployment, acme, caplog) -> None:
    other = deployment.connection("okta", deployment.organization("Other"))
    acme.assign(1, "Sales EMEA")
    acme.okta.group("Pushed", (acme.assign(2)["id"],))
    acme.save({"Sales EMEA": "Sales"})
    # A read that is still to be written down must not lose those of others.
    acme.okta.call("GET", "/Users")
    other.call("GET", "/Users")
    acme.call("DELETE", acme.path, None, 204)
    assert "removed by operator" in caplog.text
    acme.get(acme.path, 404)
    acme.get(acme.connection, 404)
    answer = deployment.call("GET", "/scim/v2/x/Users", None, {"Authorization": f"Bearer {acme.okta.token}"})
    assert answer.status == 401
    assert deployment.activity(other.organization)[0].operation == "GET /Users"
    tables = (
        "connections",
        "tokens",
        "users",
        "groups",
        "grants",
        "events WHERE organization_id > 0",
        "activity",
        "mapping_rules",
        "tallies",
    )
    left = {table: deployment.gateway.store.database.all(f"SELECT * FROM {table}") for table in tables}
    assert {table: len(rows) for table, rows in left.items() if rows} == {
        "connections": 1, "tokens": 1, "activity": 3,
    }  # fmt: skip
