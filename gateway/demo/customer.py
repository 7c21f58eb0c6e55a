"""Sets up an organization of the demonstration, maps groups and compares, through the admin REST, in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gateway.demo.metadata import saml_metadata
from gateway.simulation.api import Answer, Step
from gateway.simulation.client import ExpectationError
from gateway.simulation.http_session import HttpSession

Json = Any
#: The value of the attribute `group` that the demonstration maps, and the application group it maps it to.
VALUE, GROUP = "Sales EMEA", "Sales"
#: A value that it leaves to the reader: the console shows that no rule covers it.
OTHER_VALUE = "Support EMEA"
SET_UP, MAPPING, COMPARISON = "Set up", "Map to groups", "The application sees"
#: How many steps there are when all goes well.
STEPS = 5 + 4 + 2


class Customer:
    """An organization of the application, which provisions by Okta. Each method yields steps."""

    def __init__(self, admin: HttpSession, run: str, seats: int, extension: str) -> None:
        self._admin, self._run, self._seats, self._extension = admin, run, seats, extension
        self.organization = self.connection = self.base_url = self.token = ""

    # Set up -----------------------------------------------------------------------------------------------------

    def set_up(self) -> Iterator[Step]:
        """Make organization, single sign-on, connection and token. Ends at the first step that fails."""
        for title, action in (
            ("make the organization", self._make_organization),
            ("store the SAML metadata", self._store_sso),
            ("add the Okta connection", self._add_connection),
            ("switch provisioning on", self._switch_on),
            ("make a token", self._make_token),
        ):
            step = self._step(SET_UP, title, action)
            yield step
            if not step.ok:
                return

    def _make_organization(self, call: _Calls) -> str:
        body = {"name": f"Acme {self._run}", "plan": "enterprise", "seats": {"limit": self._seats}}
        made = call("POST", "/organizations", 201, {**body, "billing": {"payment": "invoice"}})
        self.organization = made["id"]
        return f"{made['name']} has {made['seats']['limit']} seats and pays by invoice."

    def _store_sso(self, call: _Calls) -> str:
        xml = saml_metadata(f"https://idp.acme.test/{self._run}")
        sso = call("PUT", f"/organizations/{self.organization}/sso", 200, {"metadata_xml": xml})
        return f"Its certificate is good until {sso['certificate_expires_at'][:10]}."

    def _add_connection(self, call: _Calls) -> str:
        path = f"/organizations/{self.organization}/connections"
        made = call("POST", path, 201, {"idp": "okta", "name": "Okta"})
        self.connection, self.base_url = made["id"], made["base_url"]
        return f"Its base URL is {self.base_url}."

    def _switch_on(self, call: _Calls) -> str:
        call("PUT", f"/connections/{self.connection}/provisioning", 200, {"enabled": True})
        return "Plan and single sign-on allow it."

    def _make_token(self, call: _Calls) -> str:
        # The token that makes it is one of a month, and makes none that outlives it.
        body = {"label": "Okta", "expires_in_days": 30}
        made = call("POST", f"/connections/{self.connection}/tokens", 201, body)
        self.token = made["token"]
        return f"Its value is shown this once; it begins with {made['prefix']}."

    # Map to groups ----------------------------------------------------------------------------------------------

    def map_groups(self, user_name: str, others: Sequence[str], scim: HttpSession) -> Iterator[Step]:
        """Send values as the identity provider, preview the mapping of the first as the admin, and save just that."""
        mapped: list[str] = []
        rules = [{"value": VALUE, "group": GROUP}]
        attribute = f"{self._extension}:group"
        body = {"enabled": True, "attribute": attribute, "rules": rules, "apply_to_existing": True}
        path = f"/connections/{self.connection}/group-mapping"

        def send_value(call: _Calls) -> str:
            for name, value in ((user_name, VALUE), *((other, OTHER_VALUE) for other in others)):
                wanted = quote(f'userName eq "{name}"', safe="")
                found = call("GET", f"/Users?filter={wanted}", 200)["Resources"]
                if len(found) != 1:
                    raise ExpectationError(f"{name} to be found once")
                user = {**found[0], "schemas": [*found[0]["schemas"], self._extension]}
                call("PUT", f"/Users/{user['id']}", 200, {**user, self._extension: {"group": value}})
            return f'Okta puts the value "{VALUE}" into the attribute group of {user_name}.'

        def preview(call: _Calls) -> str:
            effect = call("POST", f"{path}/preview", 200, body)
            if {"user": user_name, "group": GROUP} not in effect["joins"]:
                raise ExpectationError(f"{user_name} to be about to join {GROUP}")
            mapped.append(call.etag)
            return f"{user_name} would join {GROUP}, which would be made. Nothing was changed yet."

        def save(call: _Calls) -> str:
            call("PUT", path, 200, body, {"If-Match": mapped[0]})
            return "What was previewed is what was done; another effect would have been refused with 412."

        def check_groups(call: _Calls) -> str:
            user = next((each for each in self._users(call) if each["user_name"] == user_name), None)
            groups = {each["name"]: each["sources"] for each in (user or {}).get("groups", ())}
            if "mapping" not in groups.get(GROUP, ()):
                raise ExpectationError(
                    f"{user_name} to be in {GROUP} by mapping, and not in {sorted(groups)}"
                )
            return f"{user_name} is in {' and '.join(sorted(groups))}."

        yield self._step(MAPPING, f"{user_name}: send the value", send_value, scim)
        yield self._step(MAPPING, "preview", preview)
        if mapped:
            yield self._step(MAPPING, "save what was previewed", save)
            yield self._step(MAPPING, f"{user_name}: is in the group", check_groups)

    # The console ------------------------------------------------------------------------------------------------

    def make_setup_link(self) -> str:
        """Return a link that opens the console as the customer's IT admin, once."""
        path, body = (
            f"/organizations/{self.organization}/setup-links",
            {"email": "it@acme.test", "expires_in_hours": 24},
        )
        return str(self._admin.call("POST", path, body).json["url"])

    # What the application sees ----------------------------------------------------------------------------------

    def compare(self, users: int) -> Iterator[Step]:
        """Compare the users and seats that the application sees with those that were provisioned."""

        def count_users(call: _Calls) -> str:
            states = [user["active"] for user in self._users(call)]
            if len(states) != users or states.count(False) != 1:
                raise ExpectationError(
                    f"{users} users, all but the last active, and not {len(states)} with the states {states}"
                )
            return f"{users} users, all but the last active."

        def count_seats(call: _Calls) -> str:
            seats = call("GET", f"/organizations/{self.organization}/seats", 200)
            if seats["used"] != users - 1:
                raise ExpectationError(
                    f"{users - 1} seats in use, one for each active user, and not {seats['used']}"
                )
            return f"{seats['used']} of {seats['limit']} seats are in use, one for each active user."

        yield self._step(COMPARISON, "count the users", count_users)
        yield self._step(COMPARISON, "count the seats", count_seats)

    def list_all(self, kind: str, query: str = "") -> list[Json]:
        """Return all entries of one of the organization's lists, page by page, up to a page that fails."""
        entries: list[Json] = []
        path = f"/organizations/{self.organization}/{kind}?limit=100{query}"
        page = self._admin.call("GET", path)
        while page.status == 200 and page.json["items"]:
            entries += page.json["items"]
            # Where events end, `next` is where to go on from later, so an empty page follows.
            if (after := page.json["next"]) is None:
                break
            page = self._admin.call("GET", f"{path}&after={quote(str(after), safe='')}")
        return entries

    def _users(self, call: _Calls) -> list[Json]:
        return list(call("GET", f"/organizations/{self.organization}/users?limit=100", 200)["items"])

    def _step(
        self, phase: str, title: str, action: Callable[[_Calls], str], session: HttpSession | None = None
    ) -> Step:
        calls = _Calls(session or self._admin)
        try:
            ok, outcome = True, action(calls)
        except ExpectationError as expected:
            ok, outcome = False, f"Expected {expected}."
        except (KeyError, TypeError, IndexError) as missing:
            ok, outcome = False, f"The answer is not what the contract promises: {missing!r}."
        return Step(phase, title, ok, f"{calls.failed} {outcome}".strip(), tuple(calls.answers))


class _Calls:
    """Sends the calls of one step, and keeps their answers, the last ETag, and the call that failed."""

    def __init__(self, session: HttpSession) -> None:
        self._session = session
        self.answers: list[Answer] = []
        self.etag = ""
        self.failed = ""

    def __call__(
        self,
        method: str,
        path: str,
        expected: int,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        answer, received = self._session.exchange(method, path, body, headers=headers)
        self.answers.append(answer)
        self.etag = received.get("ETag", "")
        if answer.status != expected:
            body = answer.json if isinstance(answer.json, dict) else {}
            detail = body.get("message") or body.get("detail") or answer.text[:200]
            self.failed = f"Sent {method} {path}, came {answer.status or 'no answer'} ({detail.rstrip('.')})."
            raise ExpectationError(f"status {expected}")
        return answer.json
