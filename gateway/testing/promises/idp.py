"""What an identity provider's plugin promises: declaration, credentials, dialect, transcripts, simulator."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.plugin.contracts import (
    Credentials,
    Declaration,
)
from gateway.testing import transcripts
from gateway.testing.deployment import Deployment, Scim
from gateway.testing.examples import (
    USER,
    manager_with,
)
from gateway.testing.faults import FixedAnswerServer
from gateway.testing.promises.base import SECRET, PluginPromises
from gateway.testing.promises.dialect import DialectPromises
from gateway.testing.promises.simulator import SimulatorPromises


class DeclarationPromises(PluginPromises):
    """The promises of an identity provider's declaration."""

    def test_it_is_an_identity_provider(self) -> None:
        """Otherwise no connection can be made."""
        assert self.asked.declaration.idp

    def test_what_a_connection_keeps_is_known_to_the_schemas(self) -> None:
        """The plugin manager refuses a path that no schema has; a user name is kept in any case."""
        kept = manager_with(self.plugin).declared.kept(self.words)
        assert "userName".lower() in {name.lower() for name in kept.user.root.table}

    def test_the_steps_are_sentences_with_the_connections_own_values(self) -> None:
        """An admin follows them, and needs the base URL; they can be shown before it is known as well."""
        steps = list(self.asked.declaration.setup_steps(self.words))
        assert steps, "there are no setup steps"
        assert [step for step in steps if not step.endswith((".", "!", "?"))] == []
        assert any(self.words.base_url in step for step in steps), "no step shows the base URL"

    def test_secret_settings_are_in_no_repr(self) -> None:
        """A connection is logged and shown in tracebacks."""
        secrets = _secrets(self.asked.declaration, self.words.settings)
        assert [name for name, value in secrets.items() if value in repr(self.words)] == []


class CredentialPromises(PluginPromises):
    """The promises of a plugin that authenticates."""

    def test_the_credentials_of_others_are_not_its_own(self, foreign: Credentials) -> None:
        """None, so that the next one is asked; nobody who knows them is 401."""
        assert self.asked.ask("gateway_authenticate", connection=self.words, credentials=foreign) is None

    def test_a_wrong_token_is_refused_and_repeated_nowhere(
        self, connection: Scim, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in the answer, not in a log, not in the activity; nor are secret settings."""
        with caplog.at_level(logging.DEBUG):
            refused = connection.call("GET", "/Users", token=SECRET)
            connection.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"})
        assert refused.status == 401
        activity = repr(connection.deployment.activity(connection.organization))
        shown = connection.deployment.admin("GET", f"/connections/{connection.uid}").text
        shown_text = refused.text + caplog.text + activity + shown
        secrets = {"token": SECRET, "own token": connection.token}
        secrets |= _secrets(self.asked.declaration, self.words.settings)
        assert [name for name, value in secrets.items() if value in shown_text] == []


class TranscriptPromises(PluginPromises):
    """The promises of a plugin's transcripts: each holds, and the application sees its users and groups."""

    def test_there_are_transcripts(self) -> None:
        """In the folder that the declaration names, so that `gateway conformance` finds them too."""
        folder = self.asked.declaration.transcripts
        assert folder is not None, "the declaration names no folder of transcripts"
        assert transcripts.read(folder), f"there is no transcript in {folder}"

    def test_a_transcript_is_well_formed(self, transcript: Mapping[str, Any]) -> None:
        """It has the keys of the format, says where it comes from, and needs nothing that no answer gave."""
        assert transcripts.find_mistakes(transcript) == []
        self.asked.connection({**self.settings, **transcript.get("settings", {})})

    def test_a_server_that_says_yes_to_everything_does_not_hold(self, transcript: Mapping[str, Any]) -> None:
        """A transcript that expects no more than a 200 proves nothing."""
        assert transcripts.replay(FixedAnswerServer(200, echo=True), transcript) != []

    def test_a_transcript_holds(self, deployment: Deployment, transcript: Mapping[str, Any]) -> None:
        """The answers and what the application sees are as the transcript says, and nothing else happened."""
        settings = {**self.settings, **transcript.get("settings", {})}
        client = deployment.connection(self.plugin, settings=settings)
        assert transcripts.replay(client, transcript) == []
        path = f"/organizations/{client.organization.uid}"
        lists = {name: deployment.listed(f"{path}/{name}") for name in ("users", "groups")}
        assert transcripts.compare_lists(transcript, **lists) == []
        refused = deployment.activity(client.organization, outcome="failure")
        assert sorted(line.status for line in refused) == transcripts.list_refusals(transcript)
        assert deployment.used(client.organization) == sum(user["active"] for user in lists["users"])


class IdpPromises(
    DeclarationPromises, CredentialPromises, DialectPromises, TranscriptPromises, SimulatorPromises
):
    """Everything that an identity provider's plugin promises."""


def _secrets(declaration: Declaration, settings: Mapping[str, Any]) -> dict[str, str]:
    schema = declaration.settings() if declaration.settings else None
    marked = (
        {name for name, field in schema.fields.items() if field.metadata.get("secret")} if schema else set()
    )
    return {name: str(settings[name]) for name in sorted(marked) if settings.get(name)}
