"""An application whose people are provisioned: who may sign in, and what for, it knows from the gateway.

To sign in is to press a button here, where an application of yours has single sign-on.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from flask import Flask, abort, current_app, g, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from gateway_client import Event, Feed, GatewayError, InvalidSignature, Mirror, verify

#: A group that an identity provider pushes, and the role that its members have here.
ROLES = {"Admins": "admin", "Editors": "editor"}
#: Seconds between two looks at the feed. A webhook makes the next one follow at once.
SECONDS_WITH_WEBHOOK, SECONDS_WITHOUT = 10.0, 0.25
TABLES = """
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, user_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS recent_events (id INTEGER PRIMARY KEY, at TEXT, type TEXT, name TEXT);
"""
PEOPLE = """
SELECT u.id, u.user_name, coalesce(u.display_name, u.user_name) AS name, u.active,
  (SELECT count(*) FROM sessions s WHERE s.user_id = u.id) AS sessions,
  (SELECT json_group_array(p.display_name) FROM gateway_memberships m
    JOIN gateway_groups p ON p.organization = m.organization AND p.id = m.group_id
    WHERE m.organization = u.organization AND m.user_id = u.id) AS groups
FROM gateway_users u WHERE u.organization = ?1 AND ?2 IN ('', u.id) ORDER BY name
"""
log = logging.getLogger(__name__)


def create_app(settings: Mapping[str, str] = os.environ) -> Flask:
    """Make the application and let it follow the gateway. The README names the settings."""
    app = Flask(__name__)
    app.secret_key = settings.get("SECRET_KEY") or secrets.token_hex()
    app.config.update(SESSION_COOKIE_SAMESITE="Lax", MAX_CONTENT_LENGTH=2**20)
    app.config["GATEWAY"] = gateway = settings["GATEWAY_URL"].rstrip("/")
    app.config["ORGANIZATION"] = settings["GATEWAY_ORGANIZATION"]
    app.config["TOKEN"] = settings["GATEWAY_TOKEN"]
    app.config["WEBHOOK_SECRETS"] = settings.get("WEBHOOK_SECRETS", "").split()
    app.config["DATABASE"] = settings.get("DATABASE", "application.sqlite3")
    app.teardown_appcontext(close_database)

    app.add_url_rule("/", view_func=show_page)
    app.add_url_rule("/sign-in", view_func=sign_in, methods=["POST"])
    app.add_url_rule("/sign-out", view_func=sign_out, methods=["POST"])
    app.add_url_rule("/console", view_func=open_console, methods=["POST"])
    app.add_url_rule("/hooks", view_func=receive_webhook, methods=["POST"])

    @app.after_request
    def add_headers(response: Any) -> Any:
        # The button of the console is a form here that ends at the gateway.
        policy = f"default-src 'none'; style-src 'self'; form-action 'self' {gateway}; frame-ancestors 'none'"
        response.headers["Content-Security-Policy"] = policy
        return response

    feed = Feed(gateway, settings["GATEWAY_TOKEN"], settings["GATEWAY_ORGANIZATION"], wait=0)
    app.extensions["follower"] = follower = Follower(app.config["DATABASE"], feed)
    follower.seconds = SECONDS_WITH_WEBHOOK if app.config["WEBHOOK_SECRETS"] else SECONDS_WITHOUT
    follower.start()
    return app


# Following the gateway --------------------------------------------------------------------------------------------


class Follower(threading.Thread):
    """Applies events to the copy of people and groups, and ends sessions in the same transaction."""

    def __init__(self, database: str, feed: Feed) -> None:
        super().__init__(name="follower", daemon=True)
        self.seconds = SECONDS_WITHOUT
        self._wake, self._stopped = threading.Event(), False
        self._connection = sqlite3.connect(database, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(TABLES)
        self._mirror = Mirror(self._connection, feed, react=react)

    def run(self) -> None:
        """Follow the feed until `stop`. A failure is logged, and the next look tries again."""
        while not self._stopped:
            try:
                self._mirror.catch_up()
            except (GatewayError, sqlite3.OperationalError) as error:
                log.warning("the gateway is not followed: %s", error)
            self._wake.wait(self.seconds)
            self._wake.clear()
        self._connection.close()

    def wake(self) -> None:
        """Look at the feed now."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread and close its connection to the database."""
        self._stopped = True
        self._wake.set()
        self.join()


def react(cursor: Any, event: Event) -> None:
    """End the sessions of a person who was deactivated or deleted, and keep the newest events for the page."""
    if event.type in ("user.deactivated", "user.deleted"):
        cursor.execute("DELETE FROM sessions WHERE user_id = ?", (event.resource_id,))
    data = event.data or {}
    name = data.get("displayName") or data.get("userName") or ""
    values = (f"{event.at:%H:%M:%S}", event.type, name)
    cursor.execute("INSERT INTO recent_events (at, type, name) VALUES (?, ?, ?)", values)
    cursor.execute("DELETE FROM recent_events WHERE id <= ?", (cursor.lastrowid - 12,))


def receive_webhook() -> ResponseReturnValue:
    """Check who sent it, and look at the feed now: it has the same event, and those before it."""
    try:
        verify(request.get_data(), request.headers, current_app.config["WEBHOOK_SECRETS"])
    except (InvalidSignature, ValueError):
        abort(400)
    current_app.extensions["follower"].wake()
    return "", 204


# Pages ------------------------------------------------------------------------------------------------------------


def show_page() -> ResponseReturnValue:
    """Show who is signed in here, all people, and the events as they come."""
    person = find_person()
    events = query("SELECT * FROM recent_events ORDER BY id DESC")
    ended = person is None and "id" in session
    return render_template("page.html", person=person, people=list_people(), events=events, ended=ended)


def sign_in() -> ResponseReturnValue:
    """Begin a session of a person who is active."""
    user = request.form["user"]
    if not any(person["active"] for person in list_people(user)):
        abort(403, "Nobody who may sign in has this id.")
    session["id"] = secrets.token_urlsafe()
    query("INSERT INTO sessions (id, user_id) VALUES (?, ?)", session["id"], user)
    return redirect("/", 303)


def sign_out() -> ResponseReturnValue:
    """End this session."""
    query("DELETE FROM sessions WHERE id = ?", session.pop("id", ""))
    return redirect("/", 303)


def open_console() -> ResponseReturnValue:
    """Ask the gateway for a link into its console for an admin, and lead the browser there."""
    person = find_person()
    if person is None or "admin" not in person["roles"]:
        abort(403, "Only an admin opens the console.")
    config = current_app.config
    asked = Request(  # noqa: S310 - the URL is the operator's setting
        f"{config['GATEWAY']}/admin/v1/organizations/{config['ORGANIZATION']}/console-links",
        json.dumps({"person": person["user_name"], "role": "admin"}).encode(),
        {"Authorization": f"Bearer {config['TOKEN']}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(asked, timeout=5) as answer:  # noqa: S310
            return redirect(json.load(answer)["url"], 303)
    except URLError as error:
        log.warning("the gateway makes no console link: %s", error)
        abort(502, "The console cannot be opened now. Try again in a moment.")


# The database of a request ----------------------------------------------------------------------------------------


def find_person() -> dict[str, Any] | None:
    """Return the person of this session; None where it has ended or the person is not active."""
    rows = query("SELECT user_id FROM sessions WHERE id = ?", session.get("id", ""))
    people = list_people(rows[0]["user_id"]) if rows else []
    return next((person for person in people if person["active"]), None)


def list_people(user: str = "") -> list[dict[str, Any]]:
    """Return all people with their groups and roles, or (with an id) one."""
    people = [dict(row) for row in query(PEOPLE, current_app.config["ORGANIZATION"], user)]
    for person in people:
        person["groups"] = sorted(json.loads(person["groups"]))
        person["roles"] = [ROLES[name] for name in person["groups"] if name in ROLES]
    return people


def query(sql: str, *values: str) -> list[sqlite3.Row]:
    """Run a statement, commit, and return its rows."""
    if "database" not in g:
        g.database = sqlite3.connect(current_app.config["DATABASE"])
        g.database.row_factory = sqlite3.Row
    with g.database:
        rows: list[sqlite3.Row] = g.database.execute(sql, values).fetchall()
    return rows


def close_database(_: BaseException | None) -> None:
    """Close the connection of a request."""
    if "database" in g:
        g.pop("database").close()
