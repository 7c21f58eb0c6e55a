"""The promises of plugins, as test classes: subclass one, name the plugin, give examples.

    from gateway.testing import Document, IdpPromises, Patch

    class TestAcme(IdpPromises):
        plugin = "acme"
        documents = {
            "a plain user is left alone": Document({"schemas": [USER], "userName": "user1@acme.test"}),
            "a word becomes a boolean": Document({…, "active": "enabled"}, becomes={…, "active": True}),
            "another word is refused": Document({…, "active": "perhaps"}, refused="enabled or disabled"),
        }
        patches = {
            "deactivated": Patch([{"op": "replace", "path": "active", "value": "disabled"}],
                                 becomes=[{"op": "replace", "path": "active", "value": False}]),
        }

The keys are the names of the tests. `IdpPromises` is everything that an identity provider promises; the parts may be
used one by one. A plugin that decides on seats takes `SeatPromises`, and so on. Hooks of the installed plugin are
called directly; requests go through a gateway that has no other plugin, on the engine of the run. A test of your own in
such a class may take `document`, `patch`, `transcript` or `style` as an argument as well, and the fixture `connection`,
which is one of this plugin with these `settings`.
"""

from gateway.testing.promises.application import (
    EntitlementPromises,
    GroupPromises,
    GuardPromises,
    ListenerPromises,
    SeatPromises,
)
from gateway.testing.promises.base import PluginPromises
from gateway.testing.promises.dialect import DialectPromises
from gateway.testing.promises.idp import (
    CredentialPromises,
    DeclarationPromises,
    IdpPromises,
    TranscriptPromises,
)
from gateway.testing.promises.simulator import ScenarioPromises, SimulatorPromises

__all__ = [
    "CredentialPromises",
    "DeclarationPromises",
    "DialectPromises",
    "EntitlementPromises",
    "GroupPromises",
    "GuardPromises",
    "IdpPromises",
    "ListenerPromises",
    "PluginPromises",
    "ScenarioPromises",
    "SeatPromises",
    "SimulatorPromises",
    "TranscriptPromises",
]
