"""URLs of PostgreSQL: read, named without what is secret in them, and why nothing can be connected to at one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gateway.store.engine.base import UnusableDatabase

# How soon a server is given up that is silent: to a new connection, to what was sent (a machine without power answers
# nothing), to a waiting reader. Seconds, the second one milliseconds. What the URL says wins.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
#: Parameters of a URL that are secret.
SECRETS = ("password", "sslpassword", "oauth_client_secret")
#: What libpq says of a connection that is not made, as a text alone, and how it is told.
_FAILURES = (
    ("password authentication failed", "refuses the password of the user {user}, or has no such user"),
    ("no password supplied", "asks for a password of the user {user}, and the URL has none"),
    (r'role ".*" does not exist', "has no user {user}"),
    (r'role ".*" is not permitted to log in', "does not let the user {user} log in: the role lacks LOGIN"),
    (r'permission denied for database', "does not let the user {user} use the database {dbname}: GRANT CONNECT"),
    (r'database ".*" does not exist', "has no database {dbname}"),
    (r'is not currently accepting connections', "does not open the database {dbname} to anybody (ALLOW_CONNECTIONS)"),
    (
        "pg_hba.conf",
        "does not let the user {user} reach the database {dbname} from here (pg_hba.conf)",
    ),
    ("could not translate host name|failed to resolve host", "is a host whose name cannot be resolved"),
    ("Connection refused", "refuses the connection: nothing listens there"),
    ("No such file or directory", "has no socket there: no server runs with that folder"),
    ("timeout expired|timed out", "does not answer"),
    ("No route to host|Network is unreachable", "cannot be reached from this machine"),
    ("invalid response to SSL negotiation", "is no PostgreSQL: another program listens there"),
    ("server does not support SSL", "speaks no TLS, and the URL requires it (sslmode)"),
)  # fmt: skip
#: Characters of what the driver said that are shown.
_SAID_LENGTH = 300


def check_url(url: str) -> None:
    """Refuse a URL that libpq cannot read. What libpq says of it may hold the password, so that is not shown."""
    try:
        told = conninfo_to_dict(url)
        for name in ("port", "connect_timeout"):
            if not re.fullmatch(r"[0-9,]*", str(told.get(name, ""))):
                raise psycopg.ProgrammingError(name)
    except psycopg.ProgrammingError as error:
        option = re.search(r'invalid URI query parameter: "([a-z_]{1,40})"', str(error))
        sentence = (
            f"GATEWAY_DATABASE_URL has an option {option[1]!r} behind its `?` that PostgreSQL does not know."
            if option
            else "GATEWAY_DATABASE_URL has a connect_timeout that is no number of seconds."
            if str(error) == "connect_timeout"
            else "GATEWAY_DATABASE_URL cannot be read: it must be postgresql://user:password@host:port/database, with"
            " what is special in user and password percent-encoded (`@` as %40, `/` as %2F, `%` as %25)."
        )
    else:
        return
    # Raised out here: the error of libpq would stand in the traceback, as what came before.
    raise UnusableDatabase(sentence)


def servers_of(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of each server of a URL that names several."""
    lists = {name: str(told[name]).split(",") for name in ("host", "hostaddr", "port") if told.get(name)}
    for number in range(max(map(len, lists.values()), default=1)):
        yield told | {name: values[number if len(values) > 1 else 0] for name, values in lists.items()}


def _named(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of each server, with the host and port that are meant where they are left out."""
    for server in servers_of(told):
        host = server.get("host") or server.get("hostaddr") or "localhost"
        yield server | {"host": host, "port": server.get("port") or 5432}


def place(url: str) -> str:
    """Name the database of a URL without what is secret, its servers in the order in which they are asked."""
    told = conninfo_to_dict(url)
    servers = ",".join(f"{server['host']}:{server['port']}" for server in _named(told))
    return f"postgresql://{told.get('user', '')}@{servers}/{told.get('dbname') or told.get('user', '')}"


def explain_failure(url: str) -> str | None:
    """One sentence for all servers of a URL; None where one of them can be connected to."""
    told = PATIENCE | conninfo_to_dict(url)
    told.pop("target_session_attrs", None)
    user, dbname = told.get("user", ""), told.get("dbname") or told.get("user", "")
    sentences = []
    for server, named in zip(servers_of(told), _named(told), strict=True):
        try:
            psycopg.connect("", **server).close()
        except psycopg.Error as error:
            said = str(error)
        else:
            return None
        words = next((words for pattern, words in _FAILURES if re.search(pattern, said)), None)
        words = words.format(user=repr(user), dbname=repr(dbname)) if words else _shown(said, told)
        sentences.append(f"the PostgreSQL at {named['host']}, port {named['port']}, {words}")
    text = "; ".join(sentences)
    return f"{text[:1].upper()}{text[1:]}. Correct GATEWAY_DATABASE_URL or the server."


def explain_missing_right(url: str, error: psycopg.Error) -> str:
    """The sentence for a right that the user of a URL lacks."""
    told = conninfo_to_dict(url)
    where = ", ".join(f"{server['host']}, port {server['port']}" for server in _named(told))
    said = error.diag.message_primary or "insufficient privilege"
    return (
        f"The user {told.get('user', '')!r} lacks a right in the database {told.get('dbname')!r} of the PostgreSQL at"
        f" {where}: {said}. Make it the owner of the database (ALTER DATABASE … OWNER TO …) and of its tables."
    )


def without_secrets(text: str, told: Mapping[str, Any]) -> str:
    """Mask what is secret among the parameters of a URL in a text of the driver or of a program."""
    for name in SECRETS:
        if told.get(name):
            text = text.replace(str(told[name]), "…")
    return text


def _shown(said: str, told: dict[str, Any]) -> str:
    """The first line of what the driver said, without what is secret in the URL."""
    first = without_secrets(said.strip().splitlines()[0] if said.strip() else "nothing", told)
    return f"cannot be connected to: {first.removeprefix('connection failed: ')[:_SAID_LENGTH]}"
