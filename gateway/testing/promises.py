"""What a plugin promises, as test classes: subclass one, name the plugin, give examples.

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
taken one by one. A plugin that judges seats takes `SeatPromises`, and so on. What is asked is the installed plugin by
itself; what goes through a gateway goes through one that has no other plugin, on the engine of the run. A test of your
own in such a class may take `document`, `patch`, `transcript` or `style` as an argument as well, and the fixture
`connection`, which is one of this plugin with these `settings`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from gateway.plugin.contracts import (
    Connection,
    Credentials,
    Declaration,
    Event,
    GroupGrant,
    ResourceType,
    SeatRequest,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.scim.documents import CleanDocument, clean, is_empty
from gateway.scim.errors import Refusal
from gateway.scim.filters import parse_filter
from gateway.scim.members import split_members
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.schemas import PATCH_URN
from gateway.simulation.api import Answer, SimulationOptions, Simulator
from gateway.testing import transcripts
from gateway.testing.deployment import Deployment, Scim
from gateway.testing.examples import (
    GROUP,
    USER,
    Document,
    Installed,
    Patch,
    Resolved,
    installed,
    manager_with,
    organization,
    others,
)
from gateway.testing.mutations import CASES, FULL, JUNK, Place, places, recased, recased_operation

SECRET = "a-secret-that-nobody-may-repeat"  # noqa: S105 - opens nothing
FOREIGN = {
    "a token of nobody": Credentials("bearer", SECRET),
    "a token without a scheme": Credentials("", SECRET),
    "a name and a password": Credentials("basic", SECRET),
    "nothing at all": Credentials("", ""),
    "an unsigned JSON web token": Credentials("bearer", f"eyJhbGciOiJub25lIn0.e30.{SECRET}"),
    "a long one": Credentials("bearer", SECRET * 100),
}


class PluginPromises:
    """What every plugin promises: it is installed, says what it is, and repeats no secret."""

    #: The name of the plugin: that of its entry point.
    plugin: ClassVar[str] = ""
    #: The settings of the connection on which the examples are tried.
    settings: ClassVar[Mapping[str, Any]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each example."""
        for argument in _EXAMPLES.keys() & set(metafunc.fixturenames):
            found = _EXAMPLES[argument](type(self))
            nothing = [pytest.param(None, marks=pytest.mark.no_examples)]
            metafunc.parametrize(argument, list(found.values()) or nothing, ids=list(found) or None)

    @pytest.fixture
    def deployment(self, tmp_path: Path) -> Iterator[Deployment]:
        """A gateway that has this plugin and no other."""
        deployment = Deployment(tmp_path / "instance", plugins_disabled=others(self.plugin))
        yield deployment
        deployment.close()

    @property
    def asked(self) -> Installed:
        """The plugin, asked by itself."""
        return installed(self.plugin)

    @property
    def words(self) -> Connection:
        """A connection as the plugin sees it."""
        return self.asked.connection(self.settings)

    def test_it_is_installed_and_says_what_it_is(self) -> None:
        """Its hooks exist (the host refuses others), and a declaration is one."""
        declaration = self.asked.declaration
        assert isinstance(declaration, Declaration)
        assert declaration.title.strip()
        info = next(each for each in manager_with(self.plugin).declared.plugins() if each.name == self.plugin)
        assert info.version, "the plugin belongs to no distribution"
        assert info.hooks, "the plugin implements no hook"

    def test_a_settings_name_that_does_not_exist_is_refused(self) -> None:
        """So that a misspelt one is noticed."""
        with pytest.raises(Exception, match="no_such_setting"):
            self.asked.connection({**self.settings, "no_such_setting": 1})


class DeclarationPromises(PluginPromises):
    """What the declaration of an identity provider promises."""

    def test_it_is_an_identity_provider(self) -> None:
        """Otherwise no connection can be made."""
        assert self.asked.declaration.idp

    def test_what_a_connection_keeps_is_known_to_the_schemas(self) -> None:
        """The host refuses a path that no schema has; a user name is kept in any case."""
        kept = manager_with(self.plugin).declared.kept(self.words)
        assert "userName".lower() in {name.lower() for name in kept.user.root.table}

    def test_the_steps_are_sentences_with_the_connections_own_values(self) -> None:
        """An admin follows them, and needs the base URL; before it is known they can be told as well."""
        steps = list(self.asked.declaration.setup_steps(self.words))
        assert steps, "there are no setup steps"
        assert [step for step in steps if not step.endswith((".", "!", "?"))] == []
        assert any(self.words.base_url in step for step in steps), "no step shows the base URL"

    def test_secret_settings_are_in_no_repr(self) -> None:
        """A connection is logged and shown in tracebacks."""
        secrets = _secrets(self.asked.declaration, self.words.settings)
        assert [name for name, value in secrets.items() if value in repr(self.words)] == []


class CredentialPromises(PluginPromises):
    """What a plugin promises of who knocks."""

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
        told = refused.text + caplog.text + activity + shown
        secrets = {"token": SECRET, "own token": connection.token}
        secrets |= _secrets(self.asked.declaration, self.words.settings)
        assert [name for name, value in secrets.items() if value in told] == []


class DialectPromises(PluginPromises):
    """What a plugin promises of the documents and PATCHes that it translates."""

    documents: ClassVar[Mapping[str, Document]] = {}
    patches: ClassVar[Mapping[str, Patch]] = {}
    #: By a filter as it is sent, the plain one that it becomes; None where it is left alone.
    filters: ClassVar[Mapping[str, str | None]] = {}

    def test_a_document_becomes_what_it_should(self, document: Document) -> None:
        """It is translated, refused with the remedy, or left alone."""
        _holds(document, self._resource(document.kind), document.sent)

    def test_what_a_document_becomes_passes_the_tables_of_the_core(self, document: Document) -> None:
        """Like any stranger's."""
        if not document.refused:
            answer = self._resource(document.kind)(copy.deepcopy(document.sent))
            kept = manager_with(self.plugin).declared.kept(self.words)
            kind = kept.user if document.kind == "User" else kept.group
            clean(kind, document.sent if answer is None else answer)

    def test_what_a_document_becomes_is_left_alone(self, document: Document) -> None:
        """Canonical is canonical: a translation is not translated again."""
        if document.becomes is not None:
            _holds(
                Document(document.becomes, kind=document.kind),
                self._resource(document.kind),
                document.becomes,
            )

    def test_operations_become_what_they_should(self, patch: Patch) -> None:
        """They are translated, refused with the remedy, or left alone."""
        stored = copy.deepcopy(patch.stored)
        _holds(patch, self._patch(patch, stored), patch.sent)
        assert stored == patch.stored, "the stored document was changed"

    def test_what_operations_become_is_applied_by_the_core(self, patch: Patch) -> None:
        """They are plain RFC 7644, and the result is a valid document."""
        if not patch.refused:
            answer = self._patch(patch, copy.deepcopy(patch.stored))(copy.deepcopy(patch.sent))
            self._apply(patch, patch.sent if answer is None else answer)

    def test_what_operations_become_is_left_alone(self, patch: Patch) -> None:
        """Canonical is canonical: a translation is not translated again."""
        if patch.becomes is not None:
            again = self._patch(patch, copy.deepcopy(patch.stored))(copy.deepcopy(patch.becomes))
            assert again in (None, patch.becomes)

    def test_filters_become_what_they_should(self) -> None:
        """They are translated to plain RFC 7644, once and for all, or left alone."""
        for sent, becomes in self.filters.items():
            assert (sent, self._filter(sent)) == (sent, becomes)
            if becomes is not None:
                parse_filter(becomes)
                assert self._filter(becomes) in (None, becomes)

    def test_junk_anywhere_in_a_document_is_refused_or_told(self, document: Document) -> None:
        """Null, a number, a text, an empty list: never a crash, and never taken for what belongs there."""
        self._junk_is_told(document.sent, lambda sent: self._stored(document.kind, sent))

    def test_junk_anywhere_in_operations_is_refused_or_told(self, patch: Patch) -> None:
        """As in documents."""
        self._junk_is_told(patch.sent, lambda sent: self._patched(patch, sent))

    @pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
    def test_names_of_a_document_mean_the_same_in_any_letter_case(
        self, document: Document, case: Callable[[str], str]
    ) -> None:
        """RFC 7643, 2.1: names are case insensitive."""
        again = self._stored(document.kind, recased(document.sent, case))
        assert _folded(again) == _folded(self._stored(document.kind, document.sent))

    @pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
    def test_names_in_operations_mean_the_same_in_any_letter_case(
        self, patch: Patch, case: Callable[[str], str]
    ) -> None:
        """In paths and in values."""
        again = self._patched(patch, [recased_operation(operation, case) for operation in patch.sent])
        assert _folded(again) == _folded(self._patched(patch, patch.sent))

    def test_junk_is_never_answered_with_a_5xx(self, connection: Scim) -> None:
        """By the whole gateway: the first example of each kind, with junk at each place."""
        for kind, path in (("User", "/Users"), ("Group", "/Groups")):
            example = next((each for each in self.documents.values() if each.kind == kind), None)
            for place in places(example.sent) if example else ():
                for junk in JUNK:
                    sent = place.replaced(example.sent, junk) if example else None
                    answer = connection.call("POST", path, sent)
                    assert answer.status < 500, f"{junk!r} at {place}: {answer.text}"
                    if answer.status == 201:
                        connection.call("DELETE", f"{path}/{answer.json['id']}")

    def _junk_is_told(self, example: Any, receive: Callable[[Any], Any]) -> None:
        proper = receive(example)
        for place in places(example):
            left_out = receive(_without(place, example))
            matters = _folded(left_out) != _folded(proper)
            for junk in JUNK:
                received, what = receive(place.replaced(example, junk)), f"{junk!r} at {place}"
                if isinstance(received, Refusal):
                    assert 400 <= received.status < 500, what
                    assert received.detail.endswith((".", "!", "?")), f"{what}: the refusal is no sentence"
                elif matters and not _alike(junk, place.value(example)):
                    assert received != proper, f"{what} is taken for what belongs there"
                    dropped = junk in FULL and received == left_out
                    assert not dropped, f"{what} is dropped, and nobody is told"

    def _stored(self, kind: str, sent: Any) -> CleanDocument | Refusal:
        """What the core would store of a document as it is sent, or the refusal."""
        kept = manager_with(self.plugin).declared.kept(self.words)
        try:
            answer = self._resource(kind)(copy.deepcopy(sent))
            assert answer is None or isinstance(answer, dict), "the answer is no object"
            return clean(kept.user if kind == "User" else kept.group, sent if answer is None else answer)
        except Refusal as refused:
            return refused

    def _patched(self, example: Patch, sent: Any) -> CleanDocument | Refusal:
        """What the core would store after operations as they are sent, or the refusal."""
        kept = manager_with(self.plugin).declared.kept(self.words)
        empty = self.asked.declaration.empty_patches
        changes: list[Any] = []
        try:
            read = read_operations({"schemas": [PATCH_URN], "Operations": copy.deepcopy(sent)}, empty)
            answer = self._patch(example, copy.deepcopy(example.stored))(copy.deepcopy(read))
            assert answer is None or isinstance(answer, list), "the answer is no list"
            message = {"schemas": [PATCH_URN], "Operations": read if answer is None else answer}
            operations = read_operations(message, may_be_empty=True)
            if example.kind == "Group":
                changes, operations = split_members(operations)
            resource_type = kept.user if example.kind == "User" else kept.group
            patched = apply(resource_type, example.stored, operations)
            return CleanDocument({**patched.document, "changes": changes}, patched.ignored)
        except Refusal as refused:
            return refused

    def _filter(self, sent: str) -> Any:
        return self.asked.ask("gateway_map_filter", connection=self.words, resource_type="User", filter=sent)

    def _resource(self, kind: str) -> Callable[[Any], Any]:
        return lambda sent: self.asked.ask(
            "gateway_map_resource", connection=self.words, resource_type=kind, document=sent
        )

    def _patch(self, example: Patch, stored: Any) -> Callable[[Any], Any]:
        return lambda sent: self.asked.ask(
            "gateway_map_patch",
            connection=self.words,
            resource_type=example.kind,
            operations=sent,
            current=stored,
        )

    def _apply(self, example: Patch, operations: Any) -> None:
        read = read_operations({"schemas": [PATCH_URN], "Operations": operations})
        kept = manager_with(self.plugin).declared.kept(self.words)
        if example.kind == "Group":
            _, read = split_members(read)
        apply(kept.user if example.kind == "User" else kept.group, example.stored, read)


class TranscriptPromises(PluginPromises):
    """What a plugin promises of its recorded conversations: each holds, and the application sees what was said."""

    def test_there_are_transcripts(self) -> None:
        """In the folder that the declaration names, so that `gateway conformance` finds them too."""
        folder = self.asked.declaration.transcripts
        assert folder is not None, "the declaration names no folder of transcripts"
        assert transcripts.read(folder), f"there is no transcript in {folder}"

    def test_a_transcript_is_well_formed(self, transcript: Mapping[str, Any]) -> None:
        """It has the keys of the format, says where it comes from, and needs nothing that no answer gave."""
        assert transcripts.malformed(transcript) == []
        self.asked.connection({**self.settings, **transcript.get("settings", {})})

    def test_a_server_that_says_yes_to_everything_does_not_hold(self, transcript: Mapping[str, Any]) -> None:
        """A transcript that expects no more than a 200 proves nothing."""
        assert transcripts.replay(_Agreeing(), transcript) != []

    def test_a_transcript_holds(self, deployment: Deployment, transcript: Mapping[str, Any]) -> None:
        """The identity provider hears what it needs, the application sees what was said, and nothing else happened."""
        settings = {**self.settings, **transcript.get("settings", {})}
        client = deployment.connection(self.plugin, settings=settings)
        assert transcripts.replay(client, transcript) == []
        path = f"/organizations/{client.organization.uid}"
        lists = {name: deployment.listed(f"{path}/{name}") for name in ("users", "groups")}
        assert transcripts.unseen(transcript, **lists) == []
        refused = deployment.activity(client.organization, outcome="failure")
        assert sorted(line.status for line in refused) == transcripts.refusals(transcript)
        assert deployment.used(client.organization) == sum(user["active"] for user in lists["users"])


class SimulatorPromises(PluginPromises):
    """What a plugin promises of its simulator, where it brings one."""

    def test_the_gateway_passes_the_simulator(self, connection: Scim, style: str) -> None:
        """In each style, and the steps are as many as were announced."""
        steps, announced = self._played(connection, style)
        assert [f"{step.title}: {step.explanation}" for step in steps if not step.ok] == []
        assert len(steps) == announced

    def test_a_server_that_fails_is_found_out(self, style: str) -> None:
        """A simulator that passes whatever it hears proves nothing."""
        steps, _ = self._played(_Failing(), style)
        assert any(not step.ok for step in steps)
        assert [step.title for step in steps if not step.ok and not step.explanation] == []

    def test_a_server_that_says_yes_to_everything_is_found_out(self, style: str) -> None:
        """A simulator that looks at the status alone believes a server that keeps nothing."""
        steps, _ = self._played(_Agreeing(), style)
        assert any(not step.ok for step in steps)

    def _played(self, session: Any, style: str) -> tuple[list[Any], int]:
        simulator = self.asked.declaration.simulator
        assert isinstance(simulator, Simulator)
        options = SimulationOptions(users=2, groups=1, style=style, run="kit")
        return list(simulator.run(session, options)), simulator.count_steps(options)


class IdpPromises(
    DeclarationPromises, CredentialPromises, DialectPromises, TranscriptPromises, SimulatorPromises
):
    """Everything that an identity provider's plugin promises."""


class GroupPromises(PluginPromises):
    """What a plugin promises that puts users into groups."""

    users: ClassVar[Mapping[str, Resolved]] = {}

    def test_a_user_is_in_its_groups_and_again_the_same(self, resolved: Resolved) -> None:
        """The answer is the same twice, and the user is left as it was."""
        assert self._groups(resolved) == set(resolved.groups) == self._groups(resolved)

    def test_the_application_sees_the_groups_and_no_longer_when_they_are_not_listed(
        self, deployment: Deployment, resolved: Resolved
    ) -> None:
        """They are recomputed whole at each write."""
        client = deployment.connection(
            self.plugin if self.asked.declaration.idp else "generic", settings=self._client_settings()
        )
        for name in resolved.groups:
            path = f"/organizations/{client.organization.uid}/groups"
            assert deployment.admin("POST", path, {"name": name}).status == 201
        made = client.call("POST", "/Users", dict(resolved.document))
        assert made.status == 201, made.text
        assert {group["display"] for group in made.json.get("groups", ())} == set(resolved.groups)
        bare = {"schemas": [USER], "userName": resolved.document["userName"]}
        left = client.call("PUT", f"/Users/{made.json['id']}", bare)
        assert {group["display"] for group in left.json.get("groups", ())} == self._groups(Resolved(bare))

    def _client_settings(self) -> Mapping[str, Any]:
        return self.settings if self.asked.declaration.idp else {}

    def _groups(self, example: Resolved) -> set[str]:
        held = copy.deepcopy(example.document)
        user = User("u1", held["userName"], held.get("active", True) is True, MappingProxyType(held))
        grants = list(self.asked.ask("gateway_resolve_groups", connection=self.words, user=user) or ())
        assert held == example.document, "the user was changed"
        assert all(isinstance(grant, GroupGrant) for grant in grants)
        return {grant.group for grant in grants}


class EntitlementPromises(PluginPromises):
    """What a plugin promises that judges what an organization may use."""

    #: Plans that have SCIM, and plans that have not.
    allowed: ClassVar[Sequence[str]] = ()
    denied: ClassVar[Sequence[str]] = ()
    #: Words of the remedy, in every denial.
    denial: ClassVar[str] = ""

    def test_a_plan_is_allowed(self, allowed_plan: str) -> None:
        """Or not judged at all."""
        verdict = self._verdict(allowed_plan)
        assert verdict is None or verdict.allowed

    def test_a_denial_says_why_and_is_the_same_twice(self, denied_plan: str) -> None:
        """In a sentence that names the organization and who can mend it."""
        verdict = self._verdict(denied_plan)
        assert isinstance(verdict, Verdict)
        assert not verdict.allowed
        assert "Acme" in verdict.sentence
        assert self.denial in verdict.sentence
        assert verdict == self._verdict(denied_plan)

    def test_a_denial_reaches_the_identity_provider_word_for_word(
        self, deployment: Deployment, denied_plan: str
    ) -> None:
        """403, and nothing is stored."""
        client = deployment.connection("generic", deployment.organization(plan=denied_plan))
        refused = client.call("POST", "/Users", {"schemas": [USER], "userName": "user1@acme.test"})
        asked = deployment.gateway.callers.tenant(client.organization)
        verdict = self.asked.ask("gateway_check_entitlement", organization=asked, feature="scim")
        assert (refused.status, refused.json["detail"]) == (403, verdict.sentence)
        assert deployment.used(client.organization) == 0

    def test_a_feature_that_it_does_not_know_is_not_its_to_judge(self) -> None:
        """Features are added; a plugin that denies what it does not know would switch them off."""
        for plan in (*self.allowed, *self.denied):
            assert self._verdict(plan, "a-feature-of-tomorrow") is None

    def _verdict(self, plan: str, feature: str = "scim") -> Any:
        return self.asked.ask(
            "gateway_check_entitlement", organization=organization(plan=plan), feature=feature
        )


class SeatPromises(PluginPromises):
    """What a plugin promises that judges seats."""

    #: Seat limits of organizations that are tried: none, none left, and some.
    limits: ClassVar[Sequence[int | None]] = (None, 0, 1, 3)
    #: Words of the remedy, in every sentence, by payment.
    mends: ClassVar[Mapping[str, str]] = {}

    def test_a_verdict_is_a_ceiling_and_a_sentence_that_says_why(self, limit: int | None) -> None:
        """It names the organization and the user, and what to do, however full it is and however it pays."""
        for payment in ("card", "invoice"):
            for verdict in filter(None, self._verdicts(limit, payment)):
                assert isinstance(verdict, SeatVerdict)
                assert isinstance(verdict.ceiling, int)
                assert "Acme" in verdict.sentence
                assert "user9@acme.test" in verdict.sentence
                assert self.mends.get(payment, "") in verdict.sentence

    def test_the_same_question_has_the_same_answer(self, limit: int | None) -> None:
        """A story is told again when something changed under it, and is then judged anew."""
        assert self._verdicts(limit, "card") == self._verdicts(limit, "card")

    def test_seats_are_taken_up_to_the_ceiling_and_then_refused(
        self, deployment: Deployment, limit: int | None
    ) -> None:
        """403 with the plugin's own sentence; nothing is stored, and a seat that is freed is taken again."""
        client = deployment.connection("generic", deployment.organization(seats=limit))
        verdict = self._asked(deployment, client)
        if verdict is None or verdict.ceiling > 10:
            client.user("user9@acme.test")
            return
        made = [client.user(f"user{number}@acme.test") for number in range(verdict.ceiling)]
        body = {"schemas": [USER], "userName": "user9@acme.test"}
        verdict = self._asked(deployment, client)
        refused = client.call("POST", "/Users", body)
        assert (refused.status, refused.json["detail"]) == (403, verdict.sentence)
        assert deployment.used(client.organization) == len(made)
        for user in made[:1]:
            client.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": False})
            assert client.call("POST", "/Users", body).status == 201

    def _verdicts(self, limit: int | None, payment: str) -> list[Any]:
        request = SeatRequest("user9@acme.test")
        uses = {0, limit or 0, (limit or 0) + 1}
        return [
            self.asked.ask(
                "gateway_check_seats",
                organization=organization(limit, used, payment=payment),
                request=request,
            )
            for used in sorted(uses)
        ]

    def _asked(self, deployment: Deployment, client: Scim) -> Any:
        tenant = deployment.gateway.callers.tenant(client.organization)
        return self.asked.ask(
            "gateway_check_seats", organization=tenant, request=SeatRequest("user9@acme.test")
        )


class ListenerPromises(PluginPromises):
    """What a plugin promises that is told of changes."""

    def test_it_hears_every_event_twice_and_those_of_tomorrow(self) -> None:
        """At least once means that it may be told again, and kinds of events are added."""
        user = {"schemas": [USER], "userName": "user1@acme.test", "active": True}
        group = {"schemas": [GROUP], "displayName": "Sales"}
        kinds: tuple[tuple[ResourceType, Any], ...] = (("User", user), ("Group", group))
        verbs = ("created", "updated", "deactivated", "reactivated", "restored", "deleted", "of_tomorrow")
        for number, verb in enumerate((*verbs, *verbs)):
            for kind, data in kinds:
                told, name = copy.deepcopy(data), f"{kind.lower()}.{verb}"
                event = Event(
                    number, name, "2026-01-01T00:00:00.000Z", organization(), "c1", kind, "r1", told
                )
                self.asked.ask("gateway_provisioned", event=event)
                assert told == data, "the event was changed"


class _Failing:
    """A server that answers every request with a 500."""

    def call(self, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        return Answer(500, {"status": "500", "detail": "a server of a test"}, "", 0.0)


class _Agreeing:
    """A server that answers every request with a 200 and the document that was sent."""

    def call(self, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        return Answer(200, body if isinstance(body, dict) else {}, "", 0.0)


def _holds(example: Document | Patch, ask: Callable[[Any], Any], sent: Any) -> None:
    """The example is answered as it says, twice, and what was given is unchanged unless something came back."""
    for _ in range(2):
        given = copy.deepcopy(sent)
        if example.refused:
            with pytest.raises(Refusal) as refused:
                ask(given)
            assert 400 <= refused.value.status < 500
            assert example.refused in refused.value.detail
            assert refused.value.detail.endswith((".", "!", "?")), "the refusal is no sentence"
            continue
        answer = ask(given)
        if example.becomes is None:
            assert answer is None or answer == sent
        else:
            assert answer == example.becomes
        if answer is None:
            assert given == sent, "it answered None, but changed what it was given"


def _without(place: Place, example: Any) -> Any:
    """The example without what stands there: without its value an operation changes nothing.

    What a remove names is what goes; another name is nobody's, and null is no name (RFC 7643, 2.5).
    """
    number, *keys = place.keys
    if isinstance(number, int) and keys in ([], ["value"]):
        if keys and example[number]["op"] == "remove":
            return example
        return Place((number,)).replaced(example, {"op": "add", "value": {}})
    return place.removed(example)


def _alike(junk: Any, value: Any) -> bool:
    """Whether the junk is the value itself, or empty as it is."""
    return (type(junk) is type(value) and junk == value) or (is_empty(junk) and is_empty(value))


def _folded(received: CleanDocument | Refusal) -> Any:
    """What is compared between letter cases: the document, and the status of a refusal."""
    return received.status if isinstance(received, Refusal) else received.document


def _secrets(declaration: Declaration, settings: Mapping[str, Any]) -> dict[str, str]:
    schema = declaration.settings() if declaration.settings else None
    marked = (
        {name for name, field in schema.fields.items() if field.metadata.get("secret")} if schema else set()
    )
    return {name: str(settings[name]) for name in sorted(marked) if settings.get(name)}


def _stories(promises: Any) -> dict[str, Any]:
    return dict(transcripts.read(_declared(promises).transcripts))


def _styles(promises: Any) -> dict[str, str]:
    simulator = _declared(promises).simulator
    return {style or "plain": style for style in simulator.styles} if simulator else {}


def _declared(promises: Any) -> Declaration:
    if not promises.plugin:
        raise pytest.UsageError(f'{promises.__name__} says no plugin: write plugin = "acme" into it.')
    try:
        return installed(promises.plugin).declaration
    except LookupError as error:
        raise pytest.UsageError(f"{promises.__name__}: {error}") from None


#: Arguments of tests, and where a class has the examples for them.
_EXAMPLES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "document": lambda promises: dict(promises.documents),
    "patch": lambda promises: dict(promises.patches),
    "transcript": _stories,
    "style": _styles,
    "foreign": lambda promises: dict(FOREIGN),
    "resolved": lambda promises: dict(promises.users),
    "allowed_plan": lambda promises: {plan or "no plan": plan for plan in promises.allowed},
    "denied_plan": lambda promises: {plan or "no plan": plan for plan in promises.denied},
    "limit": lambda promises: {f"limit {limit}": limit for limit in promises.limits},
}
