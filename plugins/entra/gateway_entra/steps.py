"""The setup steps: Entra's pages in their order, with the values of the connection."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Connection

#: What was refused is tried again in each cycle, with growing gaps; the pauses of a quarantined job are longer.
AFTER_WAITING = (
    "Entra tries again in its next cycle, within about 40 minutes. To have it sooner, open Provisioning of the"
    " enterprise application in Entra and press Restart provisioning, or Provision on demand for one person."
)


def setup_steps(connection: Connection) -> Sequence[str]:
    """Return the setup steps in their order: application, connection, mappings, start, optional Map to groups."""
    return (*_find_the_application(), *_connect(connection), *_map(), *_start(), *_map_to_groups(connection))


def _find_the_application() -> Sequence[str]:
    return (
        "Make sure that SAML single sign-on is set up for the organization and that its plan has SCIM: "
        "provisioning needs both.",
        "Sign in to the Microsoft Entra admin center, at least as a Cloud Application Administrator.",
        "Go to Entra ID, Enterprise apps, and open the application that people sign in with. Where there is none, "
        "select New application, Create your own application, and the kind that is not in the gallery.",
    )


def _connect(connection: Connection) -> Sequence[str]:
    return (
        "In another window, open the page Set up of this console and turn on the switch Turn on SCIM provisioning. "
        "Choose when the bearer token expires, generate it, and copy it. It is shown only once.",
        "In Entra, open Provisioning in the menu of the application, start a new configuration, and set the "
        "provisioning mode to Automatic.",
        f"Enter the base URL of this connection, {connection.base_url or 'shown beside it'}, as Tenant URL. The flag "
        "aadOptscim062020 may stand behind it (?aadOptscim062020); it is not needed, both of its ways are understood.",
        'Enter the token as Secret Token, by itself: without the word "Bearer".',
        "Select Test Connection. Entra then asks for a user who does not exist, and is content with an empty list. "
        "When it says that the credentials are authorized, select Save; if it does not, see under Check the connection "
        "what is wrong.",
    )


def _map() -> Sequence[str]:
    return (
        "Under Mappings, open the one for users. The mappings that Entra proposes can stay as they are: all of SCIM's "
        "attributes are kept. What else is mapped is ignored and named in the activity.",
        "Leave active mapped to the expression with IsSoftDeleted that Entra proposes. Mapped to accountEnabled "
        "alone, people who are no longer assigned stay active.",
        "Leave userName as the matching attribute. Everybody in scope must have a value there.",
        "Where roles are to be sent, map them with AssertiveAppRoleAssignmentsComplex. With AppRoleAssignmentsComplex "
        "a role that was taken away in Entra stays.",
        "Open the mapping for groups. Leave it enabled to push groups with their members, else set Enabled to No. "
        "Members of groups in groups are not sent by Entra.",
    )


def _start() -> Sequence[str]:
    return (
        "Under Settings, set Scope to sync only assigned users and groups.",
        "Under Users and groups, assign the people and groups who should have access. Each person takes a seat; when "
        "none is left the create is refused, and Entra shows the reason in its provisioning logs.",
        "Try one person with Provision on demand.",
        "Start provisioning. The first cycle sends everybody in scope; then Entra comes about every 40 minutes, and "
        "tries again what was refused.",
        "Who is unassigned, disabled or deleted in Entra is deactivated here and frees the seat. 30 days after a "
        "deletion, or when it is made final, the user is deleted here as well.",
    )


def _map_to_groups(connection: Connection) -> Sequence[str]:
    namespace = connection.extension_urn or "urn:…:User"
    return (
        "To fill the application's groups from an attribute as well, choose one that Entra sends anyway, such as "
        "department. Or map one of your own: at the bottom of the mappings for users, tick Show advanced options, "
        f"select Edit attribute list, and add {namespace}:group of the type String.",
        "In this console, open the page Map to groups, turn on the switch Map to groups, choose the attribute, "
        "enter its values exactly as they stand in Entra on the left and groups of the application on the right. Look "
        "at the preview, then save.",
    )
