"""scim2-tester, an independent judge of SCIM servers, held against a plain connection and one of Okta.

It runs in process, once for each kind of connection, against what the connection's own discovery declares. Okta wants
e-mail addresses as user names, which no SCIM schema can say: the tester fills an attribute from the `examples` of its
model where there are some, so the discovered model of a user is given addresses as examples of `userName`.
Where the tester and the gateway differ is listed below, with the reason; a difference that is gone must leave the list.
"""

import uuid
from collections.abc import Sequence

import pytest
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_tester import Status, check_server
from scim2_tester.utils import get_registered_tags

from gateway.testing import Deployment

# What SCIM answers is held on both engines by test_conformance.
pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

EXPLAINED = {
    # RFC 7644, 3.5.2.2 refuses what must have a value, and an account is active or it is not.
    ("generic okta", "check_remove_attribute", "active"): "refused with 400 mutability, never a silent 200",
    # RFC 7643, 2.4: the tester compares members whole, and does not expect the read-only `display` of the answer.
    ("generic okta", "check_add_attribute", "members"): "members come back with their display names",
    ("generic okta", "check_replace_attribute", "members"): "members come back with their display names",
    # Okta sends no e-mail where none is mapped; the plugin then takes the userName, so `add` adds a second one.
    ("okta", "check_add_attribute", "emails"): "an Okta user has an address before the tester adds one",
}


class Addresses(Sequence):
    """Examples of a user name; each time that one is chosen, another one."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return f"{uuid.uuid4()}@acme.test"


@pytest.fixture(scope="module", params=["generic", "okta"])
def judged(request, tmp_path_factory):
    """The kind of connection, and everything the tester says about it."""
    deployment = Deployment(tmp_path_factory.mktemp("tester") / "instance")
    connection = deployment.connection(request.param)
    client = WSGISCIMClient(
        deployment.app,
        base_url=f"http://localhost{connection.base}",
        headers={"Authorization": f"Bearer {connection.token}"},
    )
    client.discover()
    client.get_resource_model("User").model_fields["user_name"].examples = Addresses()
    yield request.param, check_server(client)
    deployment.close()


def about(result):
    """The attribute that a result is about, where it is about one."""
    return result.data.get("urn") if isinstance(result.data, dict) else None


def found(idp, results):
    """Everything that is not a success, as (check, attribute), with the tester's reason."""
    bad = [result for result in results if result.status is not Status.SUCCESS]
    return {(result.title, about(result)): f"{result.status.name}: {result.reason}" for result in bad}


@pytest.mark.parametrize("tag", sorted(get_registered_tags()))
def test_the_tester_finds_nothing_that_is_not_explained(judged, tag):
    idp, results = judged
    tagged = [result for result in results if any(tag in (name, name.split(":")[0]) for name in result.tags)]
    explained = {(check, attribute) for idps, check, attribute in EXPLAINED if idp in idps.split()}
    bad = {what: why for what, why in found(idp, tagged).items() if what not in explained}
    assert not bad, "\n".join(f"{check} of {attribute}: {why}" for (check, attribute), why in bad.items())
    assert any(result.status is Status.SUCCESS for result in tagged), f"nothing was judged under {tag}"


def test_every_result_of_the_tester_has_a_tag_and_is_seen_above(judged):
    _, results = judged
    assert [result for result in results if not result.tags & get_registered_tags()] == []
    assert len(results) > 60


def test_every_explanation_is_still_needed(judged):
    idp, results = judged
    explained = {(check, attribute) for idps, check, attribute in EXPLAINED if idp in idps.split()}
    assert explained == found(idp, results).keys() & explained
