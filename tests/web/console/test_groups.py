"""Groups: the list, one group with its members, and what may be changed by hand."""

from __future__ import annotations

import pytest

from gateway.provisioning.mapping import MappingDefinition
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP
from tests.support.console import Browser, text_of
from tests.support.statements import record_statements

ATTRIBUTE = "urn:calendly:scim:schemas:2.0:User:group"


@pytest.fixture
def okta(deployment: Deployment, organization: OrganizationRecord) -> Scim:
    """A connection of the organization, called Okta."""
    return deployment.connection("okta", organization)


def add(admin: Browser, name: str) -> str:
    """Make a group by hand; return its path."""
    answer = admin.post("groups", {"name": name})
    assert answer.status_code == 303, text_of(answer)
    return f"groups/{str(answer.location).rpartition('/')[2]}"


def push(okta: Scim, name: str, *users: str) -> str:
    """Push a group; return its path."""
    body = {"schemas": [GROUP], "displayName": name, "members": [{"value": user} for user in users]}
    answer = okta.call("POST", "/Groups", body)
    assert answer.status == 201, answer.text
    return f"groups/{answer.json['id']}"


def save_mapping(okta: Scim, value: str, group: str) -> None:
    """Save Map to groups with one rule."""
    mapping, caller = okta.deployment.gateway.mapping, okta.caller()
    definition = MappingDefinition(True, ATTRIBUTE, ((value, group),), True)
    _, tag = mapping.preview(caller, definition)
    mapping.save(caller, definition, tag, okta.deployment.trace(okta.organization))


def with_value(okta: Scim, user_name: str, value: str) -> str:
    """Create a user with a value for Map to groups; return the id."""
    extension, _, name = ATTRIBUTE.rpartition(":")
    return str(okta.user(user_name, **{extension: {name: value}})["id"])


def test_list_says_how_each_group_is_filled(okta: Scim, admin: Browser) -> None:
    add(admin, "Board")
    push(okta, "Engineering", okta.user("user1@acme.test")["id"])
    with_value(okta, "user2@acme.test", "Sales EMEA")
    save_mapping(okta, "Sales EMEA", "Sales")
    text = text_of(admin.get("groups"))
    assert "Board 0 By hand" in text
    assert "Engineering 1 Pushed by Okta" in text
    assert "Sales 1 By Map to groups of Okta" in text
    assert "Board" not in text_of(admin.get("groups", q="sal"))
    assert "No group's name begins with “zzz”." in text_of(admin.get("groups", q="zzz"))


def test_list_costs_as_many_statements_for_many_groups(
    deployment: Deployment, okta: Scim, admin: Browser
) -> None:
    push(okta, "Group 0")
    costs = []
    for numbers in ((), range(1, 60)):
        for number in numbers:
            push(okta, f"Group {number}")
        with record_statements(deployment) as sent:
            assert "Next page" in text_of(admin.get("groups")) or not numbers
        costs.append(len(sent))
    assert costs[0] == costs[1] > 0


def test_group_is_made_renamed_and_removed(
    deployment: Deployment, organization: OrganizationRecord, admin: Browser
) -> None:
    path = add(admin, "Board")
    answer = admin.follow(admin.post(f"{path}/name", {"name": "Directors"}))
    assert "The group is called Directors now." in text_of(answer)
    assert "Remove the group Directors?" in text_of(admin.get(f"{path}/remove"))
    assert "The group Directors was removed." in text_of(admin.follow(admin.post(f"{path}/remove")))
    operations = [line.operation for line in deployment.activity(organization) if line.principal]
    assert operations[:3] == [
        "DELETE /organizations/{organization}/groups/{group}",
        "PATCH /organizations/{organization}/groups/{group}",
        "POST /organizations/{organization}/groups",
    ]
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(("name", "status"), [("board", 409), ("", 400), ("a\nb", 400)])
def test_wrong_name_is_refused_beside_the_form(admin: Browser, name: str, status: int) -> None:
    path = add(admin, "Board")
    other = add(admin, "Other")
    for answer in (admin.post("groups", {"name": name}), admin.post(f"{other}/name", {"name": name})):
        assert answer.status_code == status
        assert 'role="alert" tabindex="-1" id="problem"' in answer.get_data(as_text=True)
    assert "Board" in text_of(admin.get(path))


def test_member_is_added_and_taken_out(
    deployment: Deployment, organization: OrganizationRecord, okta: Scim, admin: Browser
) -> None:
    uid, path = okta.user("user1@acme.test")["id"], add(admin, "Board")
    text = text_of(admin.follow(admin.post(f"{path}/members", {"user_name": "USER1@acme.test"})))
    assert "user1@acme.test is in the group." in text
    assert "1 member Person Why Change user1@acme.test by hand Take out" in text
    text = text_of(admin.follow(admin.post(f"{path}/members/{uid}/remove")))
    assert "user1@acme.test is no longer in the group by hand." in text
    assert "Nobody is in this group." in text
    assert deployment.activity(organization)[0].status == 204


@pytest.mark.parametrize("text", ["\x00", "\ud800", "x" * 5000])
def test_list_and_forms_take_any_text(admin: Browser, text: str) -> None:
    path = add(admin, "Board")
    encoded = text.encode("utf-8", "surrogatepass")
    assert admin.client.get(admin.path("groups"), query_string={"q": encoded}).status_code == 200
    assert admin.post(f"{path}/members", {"user_name": encoded}).status_code == 400
    assert admin.post("groups", {"name": encoded}).status_code in (303, 400)


def test_unknown_member_is_refused_with_what_was_typed(admin: Browser) -> None:
    answer = admin.post(f"{add(admin, 'Board')}/members", {"user_name": "<b>user9"})
    assert answer.status_code == 400
    assert "Nobody here has the user name" in text_of(answer)
    assert 'value="&lt;b&gt;user9"' in answer.get_data(as_text=True)


def test_pushed_group_is_changed_at_the_identity_provider_alone(okta: Scim, admin: Browser) -> None:
    user = okta.user("user1@acme.test")
    path = push(okta, "Engineering", user["id"])
    text = text_of(admin.get(path))
    assert "its name and its members are changed in Okta only" in text
    assert "user1@acme.test pushed by Okta" in text
    assert "Take out" not in text
    for rest, form in (
        ("name", {"name": "Other"}),
        ("members", {"user_name": "user1@acme.test"}),
        ("remove", {}),
    ):
        answer = admin.post(f"{path}/{rest}", form)
        assert answer.status_code == 409, rest
        assert "is pushed by the connection 'Okta'" in text_of(answer)
    assert "Remove it there." in text_of(admin.get(f"{path}/remove"))


def test_group_of_a_rule_is_not_removed_and_its_mapped_people_stay(okta: Scim, admin: Browser) -> None:
    uid = with_value(okta, "user1@acme.test", "Sales EMEA")
    path = add(admin, "Sales")
    save_mapping(okta, "Sales EMEA", "Sales")
    text = text_of(admin.get(path))
    assert "Map to groups of Okta fills this group." in text
    assert "user1@acme.test by Map to groups Not by hand" in text
    answer = admin.post(f"{path}/remove")
    assert answer.status_code == 409
    assert "Take it out of the rules there first." in text_of(answer)
    answer = admin.post(f"{path}/members/{uid}/remove")
    assert answer.status_code == 409
    assert "Map to groups is on for the connection 'Okta'" in text_of(answer)


def test_members_are_read_in_pages(okta: Scim, admin: Browser) -> None:
    users = [okta.user(f"user{number:02}@acme.test")["id"] for number in range(52)]
    path = push(okta, "Everybody", *users)
    page = admin.get(path).get_data(as_text=True)
    assert "user49@acme.test" in page
    assert "user50@acme.test" not in page
    following = page.partition("Next page")[0].rpartition('href="')[2].partition('"')[0]
    text = text_of(admin.client.get(following))
    assert "52 members" in text
    assert "user51@acme.test" in text
    assert "user49@acme.test" not in text


def test_viewer_sees_no_form(okta: Scim, admin: Browser, viewer: Browser) -> None:
    path = add(admin, "Board")
    admin.post(f"{path}/members", {"user_name": okta.user("user1@acme.test")["userName"]})
    text = text_of(viewer.get(path)) + text_of(viewer.get("groups"))
    assert "user1@acme.test" in text
    assert not [word for word in ("Take out", "Rename", "Remove", "New group") if word in text]
