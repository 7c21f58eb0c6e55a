"""URLs of PostgreSQL: validation, description without secrets, explanation of failed connections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gateway.store.engine.base import UnusableDatabase

# Timeouts of a server that does not answer: a new connection, data that was sent (a machine without power answers
# nothing), a waiting reader. Seconds, the second one milliseconds. Parameters of the URL take precedence.
TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
#: Parameters of a URL that are secret.
SECRETS = ("password", "sslpassword", "oauth_client_secret")
#: Patterns of libpq's messages about failed connections, which have no codes, and their explanations.
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
#: The most characters of the driver's message that are shown.
_MESSAGE_LENGTH = 300


def check_url(url: str) -> None:
    """Refuse a URL that libpq cannot parse: UnusableDatabase, without its message, which may hold the password."""
    try:
        parameters = conninfo_to_dict(url)
        for name in ("port", "connect_timeout"):
            if not re.fullmatch(r"[0-9,]*", str(parameters.get(name, ""))):
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
    # Raised out here: otherwise the traceback would show libpq's error as its context.
    raise UnusableDatabase(sentence)


def iterate_servers(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each server of a URL, which may name several."""
    lists = {
        name: str(parameters[name]).split(",")
        for name in ("host", "hostaddr", "port")
        if parameters.get(name)
    }
    for number in range(max(map(len, lists.values()), default=1)):
        yield parameters | {name: values[number if len(values) > 1 else 0] for name, values in lists.items()}


def _iterate_named_servers(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each server, with the default host and port where they are missing."""
    for server in iterate_servers(parameters):
        host = server.get("host") or server.get("hostaddr") or "localhost"
        yield server | {"host": host, "port": server.get("port") or 5432}


def describe_url(url: str) -> str:
    """Return the URL of a database without secrets, with its servers in the order in which they are tried."""
    parameters = conninfo_to_dict(url)
    servers = ",".join(f"{server['host']}:{server['port']}" for server in _iterate_named_servers(parameters))
    user = parameters.get("user", "")
    return f"postgresql://{user}@{servers}/{parameters.get('dbname') or user}"


def explain_failure(url: str) -> str | None:
    """Return one sentence on why no server of a URL accepts a connection; None if one does."""
    parameters = TIMEOUTS | conninfo_to_dict(url)
    parameters.pop("target_session_attrs", None)
    user, dbname = parameters.get("user", ""), parameters.get("dbname") or parameters.get("user", "")
    sentences = []
    for server, named in zip(iterate_servers(parameters), _iterate_named_servers(parameters), strict=True):
        try:
            psycopg.connect("", **server).close()
        except psycopg.Error as error:
            message = str(error)
        else:
            return None
        words = next((words for pattern, words in _FAILURES if re.search(pattern, message)), None)
        words = (
            words.format(user=repr(user), dbname=repr(dbname))
            if words
            else _excerpt_failure(message, parameters)
        )
        sentences.append(f"the PostgreSQL at {named['host']}, port {named['port']}, {words}")
    text = "; ".join(sentences)
    return f"{text[:1].upper()}{text[1:]}. Correct GATEWAY_DATABASE_URL or the server."


def explain_missing_right(url: str, error: psycopg.Error) -> str:
    """Return the sentence for a privilege that the user of a URL lacks."""
    parameters = conninfo_to_dict(url)
    where = ", ".join(
        f"{server['host']}, port {server['port']}" for server in _iterate_named_servers(parameters)
    )
    message = error.diag.message_primary or "insufficient privilege"
    return (
        f"The user {parameters.get('user', '')!r} lacks a right in the database {parameters.get('dbname')!r} of the"
        f" PostgreSQL at {where}: {message}. Make it the owner of the database (ALTER DATABASE … OWNER TO …) and of its"
        " tables."
    )


def mask_secrets(text: str, parameters: Mapping[str, Any]) -> str:
    """Mask the secret parameters of a URL in a message of the driver or of a program."""
    for name in SECRETS:
        if parameters.get(name):
            text = text.replace(str(parameters[name]), "…")
    return text


def _excerpt_failure(message: str, parameters: dict[str, Any]) -> str:
    """Return the first line of the driver's message, without the secrets of the URL."""
    first = mask_secrets(message.strip().splitlines()[0] if message.strip() else "nothing", parameters)
    return f"cannot be connected to: {first.removeprefix('connection failed: ')[:_MESSAGE_LENGTH]}"
