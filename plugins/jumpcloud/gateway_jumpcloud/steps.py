"""The setup steps: JumpCloud's pages in their order, with the values of the connection."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Connection


def setup_steps(connection: Connection) -> Sequence[str]:
    """Return the setup steps in their order."""
    return (
        "Make sure that SAML single sign-on is set up for the organization and that its plan has SCIM: "
        "provisioning needs both.",
        "In JumpCloud's Admin Portal, open SSO Applications and the application that people sign in with, "
        "or add a custom one.",
        "Open its Identity Management tab, then the configuration settings, and select SCIM 2.0.",
        f"Enter {connection.base_url or 'the base URL of this connection'} as Base URL.",
        'Make a token for this connection here, and enter it as Token Key, without the word "Bearer".',
        "Enter a Test User Email that nobody has yet, at a domain of yours. JumpCloud creates, updates and "
        "deletes a user of that address and a group, so one seat must be free while it does.",
        "To push groups as well, select Enable management of User Groups and Group Membership. A group of "
        "the same name that is here already is taken over.",
        "Select Test Connection, then Activate, then save. Whoever changes these settings later needs a "
        "test e-mail address again.",
        "On the User Groups tab, select the groups whose people get the application. Each person takes a seat. "
        "A group without people is not sent, and people of a group that is unselected later are "
        "deactivated, unless another group still gives them the application.",
        "To fill the application's groups by Map to groups instead, choose at the connection here an attribute that "
        "JumpCloud sends, such as title. Its custom integration knows no namespaces of applications.",
    )
