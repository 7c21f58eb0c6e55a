"""The test kit for plugin authors, and for the core's own tests.

With the core installed pytest finds the fixtures of `gateway.testing.plugin` by an entry point. The names for authors
are exported here, and loaded on first use: `replay` needs no pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.testing.deployment import Deployment, Scim
    from gateway.testing.examples import Document, Patch, Resolved
    from gateway.testing.promises import (
        CredentialPromises,
        DeclarationPromises,
        DialectPromises,
        EntitlementPromises,
        GroupPromises,
        GuardPromises,
        IdpPromises,
        ListenerPromises,
        PluginPromises,
        ScenarioPromises,
        SeatPromises,
        SimulatorPromises,
        TranscriptPromises,
    )
    from gateway.testing.transcripts import replay

__all__ = [
    "CredentialPromises",
    "DeclarationPromises",
    "Deployment",
    "DialectPromises",
    "Document",
    "EntitlementPromises",
    "GroupPromises",
    "GuardPromises",
    "IdpPromises",
    "ListenerPromises",
    "Patch",
    "PluginPromises",
    "Resolved",
    "ScenarioPromises",
    "Scim",
    "SeatPromises",
    "SimulatorPromises",
    "TranscriptPromises",
    "replay",
]

_MODULES = {
    "Deployment": "deployment",
    "Scim": "deployment",
    "Document": "examples",
    "Patch": "examples",
    "Resolved": "examples",
    "replay": "transcripts",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"gateway.testing has no {name}")
    return getattr(import_module(f"gateway.testing.{_MODULES.get(name, 'promises')}"), name)
