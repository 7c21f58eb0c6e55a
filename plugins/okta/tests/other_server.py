"""A small SCIM server that shares no code with the gateway, as a `Session`.

It is right, or broken in ways that were met in the field, to prove that the simulator notices.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.simulation import Answer

TOKEN = "right"
CORE = "urn:ietf:params:scim:schemas:core:2.0:"
MESSAGES = "urn:ietf:params:scim:api:messages:2.0:"


class Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class OtherServer:
    """`broken` names the faults it has; `seats` is the number of active users that it allows."""

    def __init__(self, *broken: str, seats: int | None = None) -> None:
        self.broken = set(broken)
        self.seats = seats
        self.kept: dict[str, dict[str, dict[str, Any]]] = {"Users": {}, "Groups": {}}
        self.calls: list[tuple[str, str, Any, dict[str, str]]] = []
        self.lock = threading.Lock()

    def call(self, method, path, body=None, *, token=None, headers=()) -> Answer:
        with self.lock:
            self.calls.append((method, path, body, dict(headers)))
            try:
                self._authenticate(token or TOKEN)
                status, answer = self._serve(method, urlsplit(path), json.loads(json.dumps(body)))
            except Refused as refused:
                status, answer = refused.status, self._error(refused.status, str(refused))
        if status >= 400 and "html errors" in self.broken:
            return Answer(500, None, "<html>Internal Server Error</html>", 0.0)
        text = "" if answer is None else json.dumps(answer)
        return Answer(status, json.loads(text) if text else None, text, 0.0)

    def _authenticate(self, token: str) -> None:
        if token != TOKEN and "any token" not in self.broken:
            raise Refused(401, "This token is not known.")

    def _serve(self, method: str, url: Any, body: Any) -> tuple[int, Any]:
        kind, _, one = url.path.strip("/").partition("/")
        if not one:
            return self._list(kind, parse_qs(url.query)) if method == "GET" else self._create(kind, body)
        if one not in self.kept[kind]:
            raise Refused(404, f"There is no {one} here.")
        return getattr(self, f"_{method.lower()}")(kind, one, body)

    # Reading --------------------------------------------------------------------------------------------

    def _list(self, kind: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        found = [each for each in self.kept[kind].values() if self._matches(each, query)]
        start, count = int(query["startIndex"][0]), int(query["count"][0])
        page = found[start - 1 : start - 1 + count]
        if "unstable order" in self.broken and start > 1:
            page = found[:count]
        return 200, {
            "schemas": [MESSAGES + "ListResponse"],
            "totalResults": str(len(found)) if "total as text" in self.broken else len(found),
            "startIndex": start,
            "itemsPerPage": len(page),
            "Resources": page,
        }

    def _matches(self, document: dict[str, Any], query: dict[str, list[str]]) -> bool:
        if "filter" not in query or "ignores filters" in self.broken:
            return True
        attribute, value = re.fullmatch(r'(\w+) eq "(.*)"', query["filter"][0]).groups()
        if "letter case" in self.broken:
            return document[attribute] == value
        return document[attribute].lower() == value.lower()

    def _get(self, kind: str, one: str, body: None) -> tuple[int, Any]:
        document = self.kept[kind][one]
        if "inactive is gone" in self.broken and document.get("active") is False:
            raise Refused(404, "There is no such user.")
        return 200, document

    # Writing --------------------------------------------------------------------------------------------

    def _create(self, kind: str, body: dict[str, Any]) -> tuple[int, Any]:
        name = "userName" if kind == "Users" else "displayName"
        if any(each[name].lower() == body[name].lower() for each in self.kept[kind].values()):
            return self._taken(body[name])
        self._take_seat(kind, body)
        self._refuse_empty(body)
        new = f"{kind.lower()}-{len(self.kept[kind]) + 1}"
        self.kept[kind][new] = self._stored(kind, new, body)
        return 201, {} if "empty create" in self.broken else self.kept[kind][new]

    def _taken(self, name: str) -> tuple[int, Any]:
        if "200 for a duplicate" in self.broken:
            return 200, {}
        raise Refused(409, f"{name} is taken.")

    def _take_seat(self, kind: str, body: dict[str, Any]) -> None:
        used = sum(user["active"] is True for user in self.kept["Users"].values())
        if kind == "Users" and self.seats is not None and used >= self.seats:
            raise Refused(403, "No seat is left here.")

    def _refuse_empty(self, body: dict[str, Any]) -> None:
        entries = body.get("phoneNumbers", ())
        if "refuses empty values" in self.broken and any(not entry.get("value") for entry in entries):
            raise Refused(400, "A telephone number needs a value.")

    def _put(self, kind: str, one: str, body: dict[str, Any]) -> tuple[int, Any]:
        self._refuse_empty(body)
        if "deactivation is lost" in self.broken:
            body.pop("active", None)
        if "profile is lost" in self.broken:
            body["name"] = self.kept[kind][one].get("name")
        self.kept[kind][one] = self._stored(kind, one, {**self.kept[kind][one], **body})
        return 200, self.kept[kind][one]

    def _patch(self, kind: str, one: str, body: dict[str, Any]) -> tuple[int, Any]:
        for operation in body["Operations"]:
            self._apply(self.kept[kind][one], operation)
        return 204, None

    def _apply(self, document: dict[str, Any], operation: dict[str, Any]) -> None:
        path, value = operation.get("path"), operation.get("value")
        members = document.get("members", [])
        if path is None:
            if "refuses the id" in self.broken and "id" in value:
                raise Refused(400, "id is read-only.")
            kept_out = {"active"} if "deactivation is lost" in self.broken else set()
            document.update({name: held for name, held in value.items() if name not in kept_out})
        elif path.startswith("members["):
            gone = re.fullmatch(r'members\[value eq "(.*)"\]', path)[1]
            if "filtered remove is ignored" not in self.broken:
                document["members"] = [each for each in members if each["value"] != gone]
        else:
            document["members"] = value if operation["op"] == "replace" else members + value

    def _delete(self, kind: str, one: str, body: None) -> tuple[int, Any]:
        del self.kept[kind][one]
        return 204, None

    def _stored(self, kind: str, one: str, body: dict[str, Any]) -> dict[str, Any]:
        known = {name: held for name, held in body.items() if name not in {"password", "groups"}}
        return {**known, "schemas": [CORE + kind[:-1]], "id": one, "meta": {"resourceType": kind[:-1]}}

    def _error(self, status: int, detail: str) -> dict[str, Any]:
        return {"schemas": [MESSAGES + "Error"], "status": str(status), "detail": detail}
