"""Requests with ids: how an operation is sent, and which method of the model says what is expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.simulation.api import Answer
from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment, Scim
from gateway.testing.deployment import GROUP, PATCH
from tests.oracles.state_machine.answers import filled, group_shown, user_shown
from tests.oracles.state_machine.documents import member_operations, operation
from tests.oracles.state_machine.model import Model
from tests.oracles.state_machine.records import ADMIN, BULK, DEPARTMENT, IDPS, Heard, Json, Op, Refused


@dataclass
class Request:
    """An operation with the ids of whom it meets: how it is sent, and what the model says of it."""

    send: Callable[[], Answer]
    expect: Callable[[Model, Heard], Any]
    #: Compares the answer with what the model shows; None where only the status counts.
    shown: Callable[[Json], Json] | None = None
    status: int = 200


class RequestBuilder:
    """Turns operations into requests about ids that were seen, and says what the model expects of each."""

    deployment: Deployment
    acme: OrganizationRecord
    scims: list[Scim]
    model: Model
    users: list[str]
    groups: list[str]
    previews: list[tuple[int, Json, Json, str]]

    def uid(self, number: int) -> str:
        return self.users[-1 - number % len(self.users)]

    def gid(self, number: int) -> str:
        return self.groups[-1 - number % len(self.groups)]

    def uids(self, numbers: Sequence[int]) -> list[str]:
        """Members: mostly users, sometimes an id that nobody has."""
        return list(dict.fromkeys("nobody" if number == 11 else self.uid(number) for number in numbers))

    def request(self, op: Op) -> Request | None:
        """The operation with ids."""
        if op.kind == "map_save":
            return self.mapping(op.by, op.values)
        if op.by == ADMIN:
            return self.admin_request(op)
        scim, method, path, body, expect = self.scims[op.by], *self.describe(op)
        headers = {"If-Match": 'W/"0"'} if op.stale else {}
        shown = user_shown if op.kind.startswith("user") else group_shown
        status = {"POST": 201, "DELETE": 204}.get(method, 204 if op.kind == "group_patch" else 200)
        return Request(lambda: scim.call(method, path, body, headers=headers), expect, shown, status)

    def describe(self, op: Op) -> tuple[str, str, Json | None, Callable[[Model, Heard], Any]]:
        """Method, path, body, and what the model makes of it, for a single request or one in bulk."""
        by, values, uid, gid, members = (
            op.by,
            op.values,
            self.uid(op.user),
            self.gid(op.group),
            self.uids(op.members),
        )
        group = {"schemas": [GROUP], "displayName": values, "members": [{"value": each} for each in members]}
        if op.kind == "user_create":
            return "POST", "/Users", values, lambda model, heard: model.user_create(by, values, heard)
        if op.kind == "user_put":
            return "PUT", f"/Users/{uid}", values, lambda model, _: model.user_put(by, uid, values)
        if op.kind == "user_patch":
            body = {"schemas": [PATCH], "Operations": [operation(*step) for step in values]}
            return (
                "PATCH",
                f"/Users/{uid}",
                body,
                lambda model, _: model.user_patch(by, uid, values, op.stale),
            )
        if op.kind == "user_delete":
            return "DELETE", f"/Users/{uid}", None, lambda model, _: model.user_delete(by, uid)
        if op.kind == "group_create":
            return (
                "POST",
                "/Groups",
                group,
                lambda model, heard: model.group_create(by, values, members, heard),
            )
        if op.kind == "group_put":
            return "PUT", f"/Groups/{gid}", group, lambda model, _: model.group_put(by, gid, values, members)
        if op.kind == "group_delete":
            return "DELETE", f"/Groups/{gid}", None, lambda model, _: model.group_delete(by, gid)
        steps = [(verb, given if verb == "name" else self.uids(given)) for verb, given in values]
        steps = [(verb, given) for verb, given in steps if given or verb == "replace"] or [("replace", [])]
        body = {
            "schemas": [PATCH],
            "Operations": [each for step in steps for each in member_operations(*step)],
        }
        return "PATCH", f"/Groups/{gid}", body, lambda model, _: model.group_patch(by, gid, steps)

    def admin_request(self, op: Op) -> Request:
        values, uid, gid = op.values, self.uid(op.user), self.gid(op.group)
        member = ("DELETE", "PUT")[bool(values)]
        made: dict[str, tuple[str, str, Any, Callable[[Model, Heard], Any]]] = {
            "admin_user_create": ("POST", "/users", values, lambda m, heard: m.admin_user_create(values, heard)),
            "admin_user_edit": ("PATCH", f"/users/{uid}", values, lambda m, _: m.admin_user_edit(uid, values)),
            "admin_user_delete": ("DELETE", f"/users/{uid}", None, lambda m, _: m.user_delete(ADMIN, uid)),
            "admin_group_create": (
                "POST", "/groups", {"name": values}, lambda m, heard: m.admin_group_create(values, heard),
            ),
            "admin_group_rename": (
                "PATCH", f"/groups/{gid}", {"name": values}, lambda m, _: m.admin_group_rename(gid, values),
            ),
            "admin_group_delete": ("DELETE", f"/groups/{gid}", None, lambda m, _: m.group_delete(ADMIN, gid)),
            "admin_member": (
                member, f"/groups/{gid}/members/{uid}", None, lambda m, _: m.admin_member(gid, uid, values),
            ),
            "limit": ("PATCH", "", {"seats": {"limit": values}}, lambda m, _: setattr(m, "limit", values)),
        }  # fmt: skip
        method, path, body, expect = made[op.kind]
        status = 204 if op.kind == "admin_member" else {"POST": 201, "DELETE": 204}.get(method, 200)
        shown = self.admin_user if "user" in op.kind else self.admin_group
        return Request(lambda: self.admin_call(method, path, body), expect, shown, status)

    def admin_call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.deployment.admin(method, f"/organizations/{self.acme.uid}{path}", body, **headers)

    def owner(self, managed: Json | None) -> int | None:
        if managed is None:
            return None
        owner = [scim.uid for scim in self.scims].index(managed["connection"])
        assert managed["idp"] == IDPS[owner]
        return owner

    def admin_user(self, shown: Json) -> Json:
        user = {
            key: value
            for key, value in shown.items()
            if key not in ("created_at", "updated_at", "managed_by")
        }
        held = {(group["id"], group["name"], why) for group in shown["groups"] for why in group["sources"]}
        return user | {"owner": self.owner(shown["managed_by"]), "groups": held}

    def admin_group(self, shown: Json) -> Json:
        owner = self.owner(shown["managed_by"])
        assert shown["source"] == ("manual" if owner is None else "push")
        return {key: shown[key] for key in ("id", "name", "members")} | {"owner": owner}

    # Map to groups

    def mapping(self, by: int, plan: Json, sent: Json | None = None) -> Request | None:
        """Look at the preview; the request that saves it."""
        answer = self.deployment.admin(
            "POST", f"/connections/{self.scims[by].uid}/group-mapping/preview", sent or plan
        )
        kept = IDPS[by] != "okta" or plan["attribute"] != DEPARTMENT
        try:
            if not kept and (plan["enabled"] or plan["attribute"] != self.model.mapping[by].attribute):
                raise Refused(422)
            effect = self.model.effect(by, plan)
            status = 200
        except Refused as refused:
            status = refused.status
        assert answer.status == status, answer.text
        if status != 200:
            return None
        shown = {
            key: sorted((m["user"], m["group"]) for m in answer.json[key]) for key in ("joins", "leaves")
        }
        shown["unmapped"] = {entry["value"]: entry["users"] for entry in answer.json["unmapped"]}
        assert shown | {"groups_to_create": answer.json["groups_to_create"], "was": effect["was"]} == effect
        preview = by, plan, effect, self.deployment.last_headers["ETag"]
        self.previews = [*self.previews[-3:], preview]
        return self.saving(*preview, sent=sent)

    def saving(self, by: int, plan: Json, effect: Json, tag: str, sent: Json | None = None) -> Request:
        path = f"/connections/{self.scims[by].uid}/group-mapping"
        return Request(
            lambda: self.deployment.admin("PUT", path, sent or plan, If_Match=tag),
            lambda model, heard: model.map_save(by, plan, effect, heard),
        )

    # Bulk

    def in_bulk(self, by: int, listed: list[Any], patience: int | None, backwards: bool) -> None:
        """Operations of which some name users and groups that the same request creates."""
        sent, expected = [], []
        for number, (_, op, referred, target) in enumerate(listed):
            op = replace(op, by=by, stale=False)
            method, path, body, expect = self.describe(op)
            creates = [n for n, entry in enumerate(listed[:number]) if entry[1].kind == "user_create"]
            named = f"bulkId:b{creates[referred % len(creates)]}" if creates and referred % 2 else None
            if named and op.kind in ("group_create", "group_put"):
                body = {**body, "members": [*body["members"], {"value": named}]}
            if named and op.kind in ("user_put", "user_patch", "user_delete") and target % 2:
                path = f"/Users/{named}"
            entry = {"method": method, "path": path, "bulkId": f"b{number}"}
            sent.append(entry if body is None else entry | {"data": body})
            expected.append((op, entry, named, path, body, expect))
        if backwards:
            sent.reverse()
            expected.reverse()
        body = {"schemas": [BULK], "Operations": sent} | ({"failOnErrors": patience} if patience else {})
        answer = self.scims[by].call("POST", "/Bulk", body)
        self.catch_up()
        assert answer.status == 200, answer.text
        answers = {each["bulkId"]: each for each in answer.json["Operations"]}
        assert len(answers) == len(answer.json["Operations"])
        self.explain_bulk(by, expected, answers, patience)

    def explain_bulk(
        self, by: int, expected: list[Any], answers: dict[str, Json], patience: int | None
    ) -> None:
        """In the order of the request, but nothing before what it refers to."""
        left, ids, errors, done = list(expected), {}, 0, set()
        while left:
            ready = next(e for e in left if not self.refers(e) - done)
            left.remove(ready)
            op, entry, _, path, body, expect = ready
            done.add(entry["bulkId"])
            if patience is not None and errors >= patience:
                assert entry["bulkId"] not in answers
                continue
            describe = answers[entry["bulkId"]]
            uid = describe.get("location", "/").rsplit("/", 1)[1]
            heard = Heard(int(describe["status"]), {"id": uid})
            status = {"POST": 201, "DELETE": 204}.get(
                entry["method"], 204 if op.kind == "group_patch" else 200
            )
            try:
                if self.refers(ready) - ids.keys():
                    raise Refused(400)
                path, body = json.loads(filled(json.dumps([path, body]), ids))
                self.apply(by, op, path, body, heard, expect)
            except Refused as refused:
                status = refused.status
            assert describe["status"] == str(status), f"{entry}: {describe}, expected {status}"
            errors += status >= 400
            if status == 201:
                ids[entry["bulkId"]] = uid

    def refers(self, entry: Any) -> set[str]:
        _, _, named, path, body, _ = entry
        return {named.removeprefix("bulkId:")} if named and named in json.dumps([path, body]) else set()

    def apply(
        self, by: int, op: Op, path: str, body: Any, heard: Heard, expect: Callable[[Model, Heard], Any]
    ) -> None:  # fmt: skip
        """What the model makes of an operation whose references are filled in."""
        model, uid = self.model, path.rsplit("/", 1)[1]
        members = [entry["value"] for entry in body.get("members", ())] if body else []
        if op.kind == "user_create":
            assert model.user_create(by, body, heard)["id"] == heard.uid
        elif op.kind == "user_put":
            model.user_put(by, uid, body)
        elif op.kind == "user_patch":
            model.user_patch(by, uid, op.values)
        elif op.kind == "user_delete":
            model.user_delete(by, uid)
        elif op.kind == "group_create":
            model.group_create(by, op.values, members, heard)
        elif op.kind == "group_put":
            model.group_put(by, uid, op.values, members)
        else:
            expect(model, heard)
