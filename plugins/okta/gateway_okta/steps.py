"""The setup steps: Okta's pages in their order, with the values of the connection."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Connection

#: A failed assignment stays a task in Okta until somebody retries it.
RETRY_STEP = "In Okta, open Dashboard, then Tasks, select the failed assignments and press Retry Selected."
#: Okta keeps the `Retry-After` of a 429 exactly, and sends the request again by itself, ten times at most.
AFTER_WAITING = (
    "In Okta nothing has to be pressed: it sends the request again by itself, up to ten times, for two hours or more."
    " What it has given up stands under Dashboard, then Tasks: select it there and press Retry Selected."
)


def setup_steps(connection: Connection) -> Sequence[str]:
    """Return the setup steps in their order: provisioning of users, then the optional Map to groups."""
    return (*_find_the_application(), *_connect(connection), *_switch_on(), *_map_to_groups(connection))


def _find_the_application() -> Sequence[str]:
    return (
        "Make sure that SAML single sign-on is set up for the organization and that its plan has SCIM: "
        "provisioning needs both. Then sign in to Okta as an administrator.",
        "Open Applications in the menu, and Applications again below it.",
        "Search for the application and open it.",
        'On the Sign On tab, set "Application username format" to Email. '
        "Users whose name is not an e-mail address are refused.",
        "On the Provisioning tab, select Configure API Integration.",
        "Tick Enable API integration.",
    )


def _connect(connection: Connection) -> Sequence[str]:
    return (
        "In another window, open the page Set up of this console.",
        "Paste the metadata of Okta's Sign On tab under Single sign-on, if it is not there yet.",
        "Turn on the switch Turn on SCIM provisioning.",
        f"Copy the base URL, {connection.base_url or 'shown beside it'}, into the Base URL field in Okta.",
        "On the page Set up, choose when the bearer token expires, generate it, and copy it. It is shown only once.",
        'Paste the token into the API Token field in Okta, by itself: without the word "Bearer".',
        "Select Test API Credentials. When Okta says that they were verified, select Save. If it does not, "
        "copy base URL and token once more, then see under Check the connection what is wrong.",
    )


def _switch_on() -> Sequence[str]:
    return (
        "Still on the Provisioning tab, select To App under Settings.",
        "Select Edit.",
        "Tick Enable for Create Users, Update User Attributes and Deactivate Users, then select Save.",
        "Under Attribute Mappings, remove all attributes except Username, Given name, Family name, Primary "
        "email and Display name. What else Okta sends is ignored and named in the activity.",
        "Open the Assignments tab.",
        "Assign the people who should have access. Each of them takes a seat; when none is left "
        "the assignment is refused, and Okta shows the reason beside it.",
    )


def _map_to_groups(connection: Connection) -> Sequence[str]:
    namespace = connection.extension_urn or "the one shown at the connection"
    return (
        "To fill the application's groups from an attribute as well, open the profile of the application in "
        "Okta's Profile Editor and add an attribute. Display name: any, for example Application group. "
        f"External name: group. External namespace: {namespace}. Attribute type: User. "
        "Add it only now: an attribute made before provisioning was switched on may never be sent.",
        "Under Mappings, map the attribute of Okta that says where a person belongs to the new attribute, "
        "on create and update.",
        "Save the mapping, then assign a person as before; Okta sends the value along.",
        "In this console, open the page Map to groups and turn on the switch Map to groups.",
        "In the left column, enter the values exactly as they stand in Okta, letter case included.",
        "In the right column, choose a group of the application for each value, or type the name of a new "
        "one. Look at the preview, then save. From then on the groups of this connection's people cannot be "
        "edited by hand: they follow Okta.",
    )
