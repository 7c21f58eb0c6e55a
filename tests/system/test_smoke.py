"""The thin line through everything: an Okta connection creates, finds, deactivates a user, and is refused a seat."""

from gateway.testing import Deployment


def test_a_user_is_created_found_deactivated_and_one_too_many_is_refused(deployment: Deployment) -> None:
    acme = deployment.organization(seats=1)
    okta = deployment.connection("okta", acme)
    user = okta.user("user1@acme.test")
    found = okta.call("GET", '/Users?filter=userName eq "USER1@acme.test"')
    assert (found.json["totalResults"], found.json["Resources"][0]["id"]) == (1, user["id"])

    refused = okta.call("POST", "/Users", {**user, "userName": "user2@acme.test"})
    assert refused.status == 403
    assert refused.json["detail"].startswith("You're over capacity: Acme")

    freed = okta.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"active": False}})
    assert (freed.status, freed.json["active"], deployment.used(acme)) == (200, False, 0)
    assert [kind for kind, _ in deployment.events(acme)] == ["user.created", "user.deactivated"]
    assert [line.status for line in deployment.activity(acme, outcome="failure")] == [403]
