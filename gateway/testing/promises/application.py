"""What plugins promise that resolve groups, judge plans and seats, or listen to events."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from gateway.plugin.contracts import (
    Change,
    Event,
    GroupGrant,
    ResourceType,
    SeatRequest,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.testing.deployment import Deployment, Scim
from gateway.testing.examples import (
    GROUP,
    USER,
    Resolved,
    organization,
)
from gateway.testing.promises.base import PluginPromises


class GroupPromises(PluginPromises):
    """The promises of a plugin that puts users into groups."""

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
    """The promises of a plugin that decides which features an organization may use."""

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


class GuardPromises(PluginPromises):
    """The promises of a plugin that keeps identity providers from taking something from a user."""

    #: A userName and a change that is denied, by a name for the case.
    guarded: ClassVar[Mapping[str, tuple[str, Change]]] = {}
    #: Words of the remedy, in every denial.
    denial: ClassVar[str] = ""

    def test_a_denied_change_reaches_the_identity_provider_word_for_word(
        self, deployment: Deployment, guarded_change: tuple[str, Change]
    ) -> None:
        """403 in the plugin's own sentence, the same twice, and the user stays as it was."""
        name, change = guarded_change
        client = deployment.connection("generic")
        uid = client.user(name)["id"]
        before = client.call("GET", f"/Users/{uid}").json
        values = {"deactivate": ("active", False), "rename": ("userName", f"other-{name}")}
        for _ in range(2):
            if change == "delete":
                refused = client.call("DELETE", f"/Users/{uid}")
            else:
                path, value = values[change]
                refused = client.patch(f"/Users/{uid}", {"op": "replace", "path": path, "value": value})
            assert refused.status == 403
            assert self.denial in refused.json["detail"]
        user = User(uid, name, True, MappingProxyType(before))
        verdict = self.asked.ask(
            "gateway_guard_change",
            organization=deployment.gateway.callers.tenant(client.organization),
            user=user,
            change=change,
        )
        assert (verdict.allowed, verdict.sentence) == (False, refused.json["detail"])
        assert client.call("GET", f"/Users/{uid}").json == before


class SeatPromises(PluginPromises):
    """The promises of a plugin that decides on seats."""

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
        """An operation is retried after a conflict, and asks again."""
        assert self._verdicts(limit, "card") == self._verdicts(limit, "card")

    def test_seats_are_taken_up_to_the_ceiling_and_then_refused(
        self, deployment: Deployment, limit: int | None
    ) -> None:
        """403 with the plugin's own sentence; nothing is stored, and a seat that is freed is used again."""
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
    """The promises of a plugin that listens to events."""

    def test_every_event_may_come_twice_and_may_be_of_an_unknown_kind(self) -> None:
        """Events are delivered at least once, so each may come again; kinds of events are added."""
        user = {"schemas": [USER], "userName": "user1@acme.test", "active": True}
        group = {"schemas": [GROUP], "displayName": "Sales"}
        kinds: tuple[tuple[ResourceType, Any], ...] = (("User", user), ("Group", group))
        verbs = ("created", "updated", "deactivated", "reactivated", "restored", "deleted", "of_tomorrow")
        for number, verb in enumerate((*verbs, *verbs)):
            for kind, data in kinds:
                received, name = copy.deepcopy(data), f"{kind.lower()}.{verb}"
                event = Event(
                    number, name, "2026-01-01T00:00:00.000Z", organization(), "c1", kind, "r1", received
                )
                self.asked.ask("gateway_provisioned", event=event)
                assert received == data, "the event was changed"
