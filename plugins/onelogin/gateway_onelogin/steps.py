"""The setup steps: OneLogin's pages in their order, with the values of the connection."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gateway import USER_URN, Connection


def template(extension_urn: str) -> str:
    """Return the SCIM JSON template, the body of a user. OneLogin itself adds `active` (captured)."""
    body = {
        "schemas": [USER_URN],
        "userName": "{$parameters.scimusername}",
        "displayName": "{$user.display_name}",
        "name": {"givenName": "{$user.firstname}", "familyName": "{$user.lastname}"},
        "emails": [{"value": "{$user.email}", "type": "work", "primary": True}],
    }
    if extension_urn:
        body[extension_urn] = {"group": "{$parameters.group}"}
    return json.dumps(body)


def setup_steps(connection: Connection) -> Sequence[str]:
    """Return the setup steps in their order."""
    return (
        "Make sure that SAML single sign-on is set up for the organization and that its plan has SCIM: "
        "provisioning needs both.",
        "In OneLogin, open Applications, select Add App, search for SCIM Provisioner with SAML "
        "(SCIM v2 Enterprise), give it a name and save it.",
        f"On the Configuration tab, enter {connection.base_url or 'the base URL of this connection'} "
        "as SCIM Base URL.",
        f"Enter {template('')} as SCIM JSON Template, in place of what is there.",
        'Make a token for this connection here, and enter it as SCIM Bearer Token, without the word "Bearer".',
        "Select Enable under API Connection: OneLogin looks up a user that nobody has. Then save.",
        "On the Parameters tab, set scimusername to Email. For groups, open Groups and tick Include in User "
        "Provisioning; Refresh Entitlements on the Provisioning tab then reads the groups that are here.",
        "On the Provisioning tab, tick Enable provisioning, and select Suspend or Delete for users who are "
        "deleted in OneLogin or lose the application. As long as an action needs an admin's approval "
        "nothing is sent until somebody approves it.",
        "On the Rules tab, say who shall be in which group. On the Access tab, select the roles whose people "
        "get the application. Each of them takes a seat.",
        "To fill the application's groups by Map to groups instead, add a parameter named group with Include "
        f"in User Provisioning, and enter {template(connection.extension_urn)} as SCIM JSON Template.",
    )
