"""The configuration of one deployment: each setting with its unit and default.

Defaults are overridden by `instance/config.toml`, that by `GATEWAY_*` of the environment, that by a test's mapping.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from werkzeug.urls import iri_to_uri

#: Fewest characters of a secret that is set by hand.
SECRET_LENGTH = 32
#: Environment variables that other parts read: options of `gateway simulate` and `gateway.gunicorn`, settings of tests.
_FOREIGN_VARIABLES = frozenset(
    f"GATEWAY_{name}"
    for name in (
        "SIMULATE_TOKEN", "LISTEN", "KILLS", "DIFFERENTIAL_PATCHES", "DIFFERENTIAL_FILTERS", "WALK", "MACHINE",
        "FILTERS", "ROWS",
    )
)  # fmt: skip

MAX_PERCENT = 100
#: Minutes that a brake counts removals for, at most.
MAX_BRAKE_MINUTES = 1440


class ConfigurationError(Exception):
    """A setting is missing or cannot be used; the sentence names it."""


@dataclass(frozen=True)
class Config:
    """Everything that can be set. In `config.toml` a key is the name below, in the environment `GATEWAY_<NAME>`."""

    #: Folder of this deployment: `config.toml`, the SQLite file, the secret key.
    instance: Path
    #: `sqlite:///<path>` or `postgresql://…`; empty = `gateway.sqlite3` in the instance folder. May hold a password.
    database_url: str = field(default="", repr=False)
    #: Key of the token digests. SQLite: created once, in the instance folder. PostgreSQL: must be set, the same on
    #: every node.
    secret_key: str = field(default="", repr=False)
    #: Former keys that are still accepted: a digest made with one is renewed with `secret_key` when its token is used.
    secret_key_old: tuple[str, ...] = field(default=(), repr=False)
    #: What base URLs and locations begin with, without a slash at the end; empty = as the request came in.
    public_url: str = ""
    #: An operator token to accept beside those in the database.
    admin_token: str = field(default="", repr=False)
    #: The OpenID provider that signs operators in to the console, as in https://login.acme.test; empty = none. The
    #: gateway is a client of it, with the redirect URI `<public_url>/console/oidc/answer`.
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = field(default="", repr=False)
    #: The claim of the ID token that makes an operator, `name=value`; of a claim that is a list, a value in it.
    oidc_operator_claim: str = ""
    #: Names of plugins not to load.
    plugins_disabled: tuple[str, ...] = ()
    #: Whole seconds; a call of a plugin that takes longer is named in the log, the activity and the metrics. 0 = none.
    plugin_seconds: int = 1
    #: SCIM requests a second for each connection; 0 = none.
    rate_limit: int = 0
    #: Worker processes that `gateway serve` starts; 0 = by the number of cores. Each takes its share of `rate_limit`.
    workers: int = 0
    #: Where an organization's people reach support, and its billing page, unless it says otherwise.
    contact_url: str = "https://application.example/contact"
    billing_url: str = "https://application.example/billing"
    #: Origins of the application that a console link may lead back to, as in https://app.acme.test.
    console_return_origins: tuple[str, ...] = ()
    #: FULL: what was acknowledged is on disk. NORMAL: faster, may lose the last moments at a power cut.
    sqlite_synchronous: str = "FULL"
    application_name: str = "Application"
    extension_urn: str = "urn:calendly:scim:schemas:2.0:User"
    #: Bytes of the largest request body that is read.
    body_limit: int = 1_048_576
    #: The same for a group, whose members stand in one list; not less than `body_limit`.
    group_body_limit: int = 16_777_216
    #: Bytes of JSON of the largest user that is kept, and of the largest group without its members.
    document_limit: int = 262_144
    #: Whole seconds that `gateway serve` waits for the next bytes of a body, and for all of it; the latter also until a
    #: client has room for the next piece of a long answer.
    idle_seconds: int = 10
    body_seconds: int = 30
    #: Days that the activity, and the calls counted by hour, are kept; 0 = for ever.
    activity_days: int = 90
    #: Days that events are kept; 0 = for ever. None is removed that a working subscriber has not received.
    event_days: int = 0
    #: `on`: each process of the server delivers events to webhooks; `off`: `gateway deliver` alone does.
    webhooks: str = "on"
    #: Networks that the operator's webhooks may reach though they are private, as in 10.1.0.0/16.
    webhook_allow: tuple[str, ...] = ()
    #: `on`: organizations make webhooks of their own; `off`: operators alone do.
    organization_webhooks: str = "off"
    #: Days that attempts to deliver to webhooks are kept; 0 = for ever.
    attempt_days: int = 30
    #: Removals that a new connection may make, `percent/least/minutes`: the percentage of the people it manages, but at
    #: least so many, in so many minutes. `off` = any number.
    brake: str = "20/10/60"
    #: Days that explanations of requests are kept; 0 = none is stored.
    trace_days: int = 7
    #: Days after which a deleted user is erased; 0 = never.
    deleted_days: int = 0
    #: Whole seconds that the database may take for a list that no index answers; then it is refused. 0 = any number.
    query_seconds: int = 2
    #: Most resources that one page of a list holds.
    page_limit: int = 1000
    #: Bytes of one page of a list, about: it ends with the resource that reaches them, whatever was asked for.
    page_bytes: int = 2_097_152

    @property
    def brake_values(self) -> dict[str, int] | None:
        """Return the brake of a new connection, by name; None where it has none. Raises ConfigurationError."""
        if self.brake == "off":
            return None
        found = re.fullmatch(r"(\d{1,3})/(\d{1,7})/(\d{1,4})", self.brake)
        values = (
            dict(zip(("percent", "least", "minutes"), map(int, found.groups()), strict=True)) if found else {}
        )
        if not values or values["percent"] > MAX_PERCENT or not 1 <= values["minutes"] <= MAX_BRAKE_MINUTES:
            raise ConfigurationError(
                f"brake must be a percentage of people, a least number of them and minutes, as in 20/10/60, at most"
                f" 100/9999999/{MAX_BRAKE_MINUTES}, or off; it is {self.brake!r}."
            )
        return values


def load(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ, make_key: bool = True
) -> Config:
    """Return the configuration in force: `overrides` (of a test) win over the environment, that over the file.

    `make_key`: create the secret key of an instance that has none; without it nothing is written, and the key is empty.
    Raises ConfigurationError for a setting that does not exist or cannot be used.
    """
    overrides = dict(overrides or {})
    instance = Path(
        overrides.pop("instance", None) or environ.get("GATEWAY_INSTANCE") or "instance"
    ).absolute()
    known = {f.name: f for f in fields(Config)}
    values = _read_file(instance / "config.toml", known) | _read_environment(environ, known) | overrides
    for name in values.keys() - known.keys():
        raise ConfigurationError(f"There is no setting {name!r}.")
    config = Config(
        instance=instance, **{name: _parse_value(known[name], value) for name, value in values.items()}
    )
    return _complete(config, make_key)


def _read_file(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(_file_refusal(path, error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    for name in values.keys() - known.keys():
        raise ConfigurationError(f"{path} has a setting {name!r} that does not exist.")
    return values


def _read_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    named = ((name, environ.get(f"GATEWAY_{name.upper()}")) for name in known if name != "instance")
    return {name: value for name, value in named if value is not None}


def _parse_value(setting: Any, value: Any) -> Any:
    """Return a value of the setting's type; numbers and lists are parsed from the text of environment variables."""
    if setting.type == "int":
        # Neither `true` nor `0.5`, which int() would make 1 and 0.
        if isinstance(value, bool | float) or not re.fullmatch(r"[0-9]{1,15}", str(value).strip()):
            raise ConfigurationError(f"{setting.name} must be a whole number from 0 on, not {value!r}.")
        return int(value)
    if setting.type.startswith("tuple"):
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else tuple(value)
        )
    if not isinstance(value, str):
        raise ConfigurationError(f"{setting.name} must be text, not {value!r}.")
    return value


def _complete(config: Config, make_key: bool) -> Config:
    url = config.database_url or f"sqlite:///{config.instance / 'gateway.sqlite3'}"
    if not url.startswith(("sqlite:///", "postgresql://")):
        # Nothing but the scheme is shown: behind it, or where it is missing, a password may stand.
        scheme = re.match(r"([a-z][a-z0-9+]{0,20}):/", url)
        begins = f"begins with {scheme[1]!r}" if scheme else "begins with no scheme"
        raise ConfigurationError(
            f"GATEWAY_DATABASE_URL {begins}; it must be sqlite:///<path> or postgresql://…"
        )
    if not Path(url.removeprefix("sqlite:///")).name:
        raise ConfigurationError("GATEWAY_DATABASE_URL names no file; it must be sqlite:///<path>.")
    if url.startswith("postgresql://") and not config.secret_key:
        raise ConfigurationError(
            "GATEWAY_SECRET_KEY is not set. With PostgreSQL it must be, to the same value on every node: tokens are"
            " kept as digests made with it. One can be made with `openssl rand -base64 48`."
        )
    if config.sqlite_synchronous.upper() not in ("FULL", "NORMAL"):
        raise ConfigurationError(
            f"sqlite_synchronous must be FULL or NORMAL, not {config.sqlite_synchronous!r}."
        )
    _check_webhooks(config)
    _ = config.brake_values
    given = [("secret_key", config.secret_key), ("admin_token", config.admin_token)]
    given += [("secret_key_old", key) for key in config.secret_key_old]
    for name, secret in given:
        if 0 < len(secret) < SECRET_LENGTH:
            raise ConfigurationError(
                f"{name} has fewer than {SECRET_LENGTH} characters, which can be guessed. One can be made with"
                " `openssl rand -base64 48`."
            )
    _check_public_url(config.public_url)
    _check_oidc(config)
    for origin in config.console_return_origins:
        if not re.fullmatch(r"https?://[^/?#@\s]+", origin):
            raise ConfigurationError(
                f"console_return_origins has {origin!r}; an origin is http:// or https:// with a host and nothing"
                " behind it, as in https://app.acme.test."
            )
    key = config.secret_key or _secret_key(config.instance / "secret_key", make_key)
    values = {f.name: getattr(config, f.name) for f in fields(Config)}
    values |= {
        "database_url": url,
        "secret_key": key,
        "public_url": iri_to_uri(config.public_url.rstrip("/")),
    }
    values |= {"sqlite_synchronous": config.sqlite_synchronous.upper()}
    return Config(**values)


def _check_public_url(url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or re.search(r"[?#\s]", url):
        raise ConfigurationError(
            "public_url must be http:// or https:// with a host and no user, query or fragment, as in"
            " https://scim.acme.test."
        )


def _check_webhooks(config: Config) -> None:
    for name in ("webhooks", "organization_webhooks"):
        if getattr(config, name) not in ("on", "off"):
            raise ConfigurationError(f"{name} must be on or off, not {getattr(config, name)!r}.")
    for network in config.webhook_allow:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ConfigurationError(
                f"webhook_allow has {network!r}, which is no network; one is written as in 10.1.0.0/16."
            ) from None


def _check_oidc(config: Config) -> None:
    """Refuse a provider without all that makes its sign-in safe, or without the libraries that it needs."""
    names = ("oidc_client_id", "oidc_client_secret", "oidc_operator_claim")
    if not config.oidc_issuer:
        given = [name for name in names if getattr(config, name)]
        if given:
            raise ConfigurationError(f"{given[0]} is set, and oidc_issuer, which it belongs to, is not.")
        return
    if not is_encrypted_or_local(config.oidc_issuer) or re.search(r"[?#\s]", config.oidc_issuer):
        raise ConfigurationError(
            "oidc_issuer must be the https:// address that the provider gives as its issuer, as in"
            " https://login.acme.test; http:// is accepted on this machine alone."
        )
    for name in names[:2]:
        if not getattr(config, name):
            raise ConfigurationError(
                f"oidc_issuer is set, and {name} is not. The provider gives it to its clients."
            )
    claim, _, value = config.oidc_operator_claim.partition("=")
    if not claim.strip() or not value.strip():
        raise ConfigurationError(
            "oidc_issuer is set, and oidc_operator_claim does not say who is an operator. Without it everybody who can"
            " sign in there would be one. It is name=value, as in groups=gateway-operators."
        )
    if any(find_spec(library) is None for library in ("authlib", "requests")):
        raise ConfigurationError(
            "oidc_issuer is set, and Authlib is not installed. Install it with `pip install"
            " 'provisioning-gateway[oidc]'`."
        )


def is_encrypted_or_local(url: str) -> bool:
    """Return whether nobody on the way can read what is sent to a URL: https://, or http:// on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unknown_settings(environ: Mapping[str, str], others: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each `GATEWAY_*` variable that nothing reads; `others` are the names of plugins."""
    known = {f"GATEWAY_{each.name.upper()}" for each in fields(Config)}
    beginnings = ("GATEWAY_TEST_", *(f"GATEWAY_{other.upper()}_" for other in others))
    sentences = []
    for name in sorted(environ):
        if (
            not name.startswith("GATEWAY_")
            or name in known | _FOREIGN_VARIABLES
            or name.startswith(beginnings)
        ):
            continue
        near = get_close_matches(name, sorted(known), 1)
        meant = f" Is {near[0]} meant?" if near else ""
        sentences.append(f"Nothing reads the environment variable {name}.{meant}")
    return sentences


def _secret_key(path: Path, make: bool) -> str:
    """Return the key of this instance; empty if there is none and `make` is false."""
    try:
        key = _read_key(path)
        if not key and make:
            key = _create_secret_key(path)
    except OSError as error:
        raise ConfigurationError(_file_refusal(path, error)) from None
    if key and (len(key) < SECRET_LENGTH or not key.isascii()):
        raise ConfigurationError(
            f"{path} holds no secret key of {SECRET_LENGTH} characters or more. Put back the one that tokens were made"
            " with; without a database that has any, remove the file and a new one is made."
        )
    return key


def _read_key(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _create_secret_key(path: Path) -> str:
    """Create the key once, under a file lock, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+", encoding="ascii", errors="replace") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        key = file.read().strip()
        if not key:
            key = secrets.token_urlsafe(48)
            file.seek(0)
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        return key


def _file_refusal(path: Path, error: OSError) -> str:
    """Return the sentence for a file of the instance folder that cannot be read or written."""
    return (
        f"{path} cannot be used: {error.strerror}. Set GATEWAY_INSTANCE to a folder that this user may write, or"
        " correct the file."
    )
