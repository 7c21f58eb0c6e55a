"""The plugin host: finds plugins, asks the right ones, folds their answers. Nobody else touches pluggy.

A plugin is asked by itself, so that the activity can say who answered what, and so that no answer rests on the order
in which plugins were found.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import pluggy
from marshmallow import ValidationError

from gateway import defaults, hookspecs
from gateway.contracts import (
    Connection,
    Credentials,
    Declaration,
    Event,
    GroupGrant,
    Json,
    Organization,
    Principal,
    SeatRequest,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.scim.errors import Refusal, Unavailable
from gateway.scim.schemas import (
    ENTERPRISE,
    ResourceType,
    application_extension,
    group_type,
    narrow,
    user_type,
)
from gateway.store import Store

log = logging.getLogger("gateway.plugins")

ENTRY_POINTS = "gateway.plugins"
Kind = TypeVar("Kind")


class PluginError(Exception):
    """A plugin that cannot be used; the sentence names it. Stops start-up."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one plugin said to one hook, for the activity."""

    plugin: str
    hook: str
    verdict: str


@dataclass(frozen=True, slots=True)
class SeatLimit:
    """The lowest ceiling that any plugin set, who set it, and its sentence."""

    plugin: str
    ceiling: int
    sentence: str


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin as the operator sees it."""

    name: str
    version: str
    idp: bool
    hooks: tuple[str, ...]
    declaration: Declaration


@dataclass(frozen=True, slots=True)
class Kept:
    """The resource types as one connection keeps them."""

    user: ResourceType
    group: ResourceType


class PluginHost:
    """The plugins of one application."""

    def __init__(
        self, store: Store, extension_urn: str, application: str, disabled: Sequence[str] = ()
    ) -> None:
        self._extension = application_extension(extension_urn, application)
        self._manager = pluggy.PluginManager("gateway")
        self._manager.add_hookspecs(hookspecs)
        for name in disabled:
            self._manager.set_blocked(name)
        self._manager.register(defaults.Defaults(store), defaults.NAME)
        self._load()
        self._plugins: dict[str, PluginInfo] = {}
        self._describe()
        self._kept = lru_cache(maxsize=512)(self._keep)

    def add(self, plugin: object, name: str) -> None:
        """Register one more plugin (a test's)."""
        self._manager.register(plugin, name)
        self._describe()

    def _load(self) -> None:
        try:
            self._manager.load_setuptools_entrypoints(ENTRY_POINTS)
        except (
            Exception
        ) as error:  # a plugin's import may fail in any way; say which plugins there are to look at
            raise PluginError(
                f"A plugin of the entry point group {ENTRY_POINTS} cannot be loaded: {error!r}."
            ) from error

    def _describe(self) -> None:
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"A plugin implements a hook that does not exist: {error}.") from None
        names = sorted(name for name, plugin in self._manager.list_name_plugin() if plugin is not None)
        # The defaults come last wherever the first answer stands.
        names.sort(key=lambda name: name == defaults.NAME)
        self._callers = {name: self._callers_of(name, names) for name in names}
        self._plugins = {name: self._info(name) for name in names}
        self._having = {
            hook: [name for name in names if hook in self._callers[name]]
            for hook in vars(hookspecs)
            if hook.startswith("gateway_")
        }

    def _callers_of(self, name: str, names: Sequence[str]) -> dict[str, Callable[..., Any]]:
        plugin = self._manager.get_plugin(name)
        others = [self._manager.get_plugin(other) for other in names if other != name]
        implemented = {caller.name for caller in self._manager.get_hookcallers(plugin) or ()}
        return {hook: self._manager.subset_hook_caller(hook, others) for hook in sorted(implemented)}

    def _info(self, name: str) -> PluginInfo:
        declaration = Declaration(title=name)
        if caller := self._callers[name].get("gateway_declare"):
            answers = caller()
            declaration = answers[0] if answers else declaration
        if not isinstance(declaration, Declaration):
            raise PluginError(
                f"The plugin {name} declares a {type(declaration).__name__}, not a Declaration."
            )
        return PluginInfo(name, self._version(name), declaration.idp, tuple(self._callers[name]), declaration)

    def _version(self, name: str) -> str:
        plugin = self._manager.get_plugin(name)
        for registered, distribution in self._manager.list_plugin_distinfo():
            if registered is plugin:
                return str(distribution.version)
        try:
            return version("provisioning-gateway") if name == defaults.NAME else ""
        except PackageNotFoundError:
            return ""

    # Looking ----------------------------------------------------------------------------------------------------

    def plugins(self) -> list[PluginInfo]:
        """All plugins, the core's defaults included, by name."""
        return sorted(self._plugins.values(), key=lambda plugin: plugin.name)

    def declaration(self, idp: str) -> Declaration | None:
        """What an identity provider declares; None where no plugin of that name is an identity provider."""
        plugin = self._plugins.get(idp)
        return plugin.declaration if plugin and plugin.idp else None

    def setup_steps(self, connection: Connection) -> list[str]:
        """What an admin does at the identity provider; nothing where its plugin is gone or fails to say."""
        declaration = self.declaration(connection.idp)
        try:
            return list(declaration.setup_steps(connection)) if declaration else []
        except Exception:  # a plugin may fail in any way; the connection can be shown without its steps
            log.exception("plugin %s failed to tell its setup steps", connection.idp)
            return []

    def title(self, idp: str) -> str:
        """What people call an identity provider."""
        declaration = self.declaration(idp)
        return declaration.title if declaration else idp

    def limits_seats(self) -> bool:
        """Whether any plugin judges seats at all."""
        return any("gateway_check_seats" in callers for callers in self._callers.values())

    def listeners(self) -> list[str]:
        """Plugins that want to be told of changes."""
        return [name for name, callers in self._callers.items() if "gateway_provisioned" in callers]

    def resolves_groups(self, idp: str) -> bool:
        """Whether a plugin besides the defaults may put users of this identity provider into groups."""
        return any(
            "gateway_resolve_groups" in self._callers[name]
            for name in self._audience(idp)
            if name != defaults.NAME
        )

    def kept(self, connection: Connection) -> Kept:
        """The resource types as this connection keeps them: discovery and validation follow from it."""
        keeps = self._declared(connection).keeps
        try:
            paths = keeps(connection.settings) if keeps else None
            return self._kept(tuple(paths) if paths is not None else None)
        except Exception as error:  # a plugin may fail in any way, or name what no schema knows
            raise _failed(connection.idp, "keeps") from error

    def would_keep(self, idp: str, settings: Mapping[str, Any]) -> Kept:
        """What a connection with these settings would keep. Raises ValueError for what no schema knows."""
        declaration = self.declaration(idp)
        try:
            paths = declaration.keeps(settings) if declaration and declaration.keeps else None
        except Exception as error:  # a plugin may fail in any way
            raise _failed(idp, "keeps") from error
        return self._keep(tuple(paths) if paths is not None else None)

    def _keep(self, paths: tuple[str, ...] | None) -> Kept:
        whole = user_type(ENTERPRISE, self._extension)
        if paths is None:
            return Kept(whole, group_type())
        # Whether an account is active, and what Map to groups maps, is kept whatever a plugin leaves out.
        return Kept(narrow(whole, (*paths, "active", f"{self._extension.id}:group")), group_type())

    def _declared(self, connection: Connection) -> Declaration:
        declaration = self.declaration(connection.idp)
        if declaration is None:
            raise Unavailable(
                f"The gateway has no plugin for the identity provider {connection.idp!r} of this connection any more."
                " Nothing was changed; ask the operator of the application to install it."
            )
        return declaration

    def _audience(self, idp: str) -> list[str]:
        """Whom a question about a connection of this identity provider may reach: never another one's plugin."""
        return [
            name for name, plugin in self._plugins.items() if not plugin.idp or name in (idp, defaults.NAME)
        ]

    # Asking -----------------------------------------------------------------------------------------------------

    def authenticate(self, connection: Connection, credentials: Credentials) -> Principal | None:
        """Who presented these credentials; None when nobody knows them."""
        for name in (connection.idp, defaults.NAME):
            answer = self._ask(name, "gateway_authenticate", connection=connection, credentials=credentials)
            if answer is not None:
                return _expect(name, "gateway_authenticate", answer, Principal)
        return None

    def map_resource(self, connection: Connection, resource_type: str, document: Json) -> Json:
        """The canonical document, still to be validated."""
        answer = self._ask(
            connection.idp,
            "gateway_map_resource",
            connection=connection,
            resource_type=resource_type,
            document=document,
        )
        return document if answer is None else _expect(connection.idp, "gateway_map_resource", answer, dict)

    def map_patch(
        self, connection: Connection, resource_type: str, operations: list[Json], current: Json
    ) -> list[Json]:
        """The canonical operations, still to be validated."""
        if "gateway_map_patch" not in self._callers.get(connection.idp, {}):
            return operations
        answer = self._ask(
            connection.idp,
            "gateway_map_patch",
            connection=connection,
            resource_type=resource_type,
            operations=operations,
            current=copy.deepcopy(current),
        )
        if answer is None:
            return operations
        listed = _expect(connection.idp, "gateway_map_patch", answer, list)
        return [_expect(connection.idp, "gateway_map_patch", one, dict) for one in listed]

    def resolve_groups(
        self, connection: Connection, user: User, decisions: list[Decision]
    ) -> dict[str, frozenset[str]]:
        """The groups that a user should be in, by the source that wants it (`mapping`, or a plugin's name)."""
        resolved: dict[str, frozenset[str]] = {}
        for name in self._audience(connection.idp):
            answer = self._ask(name, "gateway_resolve_groups", connection=connection, user=user)
            if answer is None:
                continue
            wanted = frozenset(
                _expect(name, "gateway_resolve_groups", grant, GroupGrant).group for grant in answer
            )
            resolved["mapping" if name == defaults.NAME else name] = wanted
            decisions.append(Decision(name, "resolve_groups", ", ".join(sorted(wanted)) or "none"))
        return resolved

    def check_entitlement(
        self, organization: Organization, feature: str, decisions: list[Decision]
    ) -> str | None:
        """The sentence of a denial, or None when the organization may."""
        for name in self._having["gateway_check_entitlement"]:
            answer = self._ask(name, "gateway_check_entitlement", organization=organization, feature=feature)
            if answer is None:
                continue
            verdict = _expect(name, "gateway_check_entitlement", answer, Verdict)
            if not verdict.allowed:
                decisions.append(Decision(name, "check_entitlement", "denied"))
                return verdict.sentence
        return None

    def check_seats(
        self, organization: Organization, request: SeatRequest, decisions: list[Decision]
    ) -> SeatLimit | None:
        """The lowest ceiling, or None when nobody sets a limit."""
        lowest: SeatLimit | None = None
        for name in self._having["gateway_check_seats"]:
            answer = self._ask(name, "gateway_check_seats", organization=organization, request=request)
            if answer is None:
                continue
            verdict = _expect(name, "gateway_check_seats", answer, SeatVerdict)
            _expect(name, "gateway_check_seats", verdict.ceiling, int)
            decisions.append(Decision(name, "check_seats", f"at most {verdict.ceiling}"))
            if lowest is None or verdict.ceiling < lowest.ceiling:
                lowest = SeatLimit(name, verdict.ceiling, verdict.sentence)
        return lowest

    def tell(self, plugin: str, event: Event) -> bool:
        """Tell one plugin of one event; False when it raised, which was logged."""
        try:
            self._callers[plugin]["gateway_provisioned"](event=event)
        except Exception:  # a listener may fail in any way; the change stands, and it is told again later
            log.exception(
                "plugin %s failed at event %s of organization %s", plugin, event.id, event.organization.id
            )
            return False
        return True

    def _ask(self, name: str, hook: str, **arguments: Any) -> Any:
        caller = self._callers.get(name, {}).get(hook)
        if caller is None:
            return None
        try:
            answer = caller(**arguments)
            if hook in _COLLECTED:
                # The list of the one plugin that was asked.
                answer = answer[0] if answer else None
            # What is yielded is made here, where a plugin may fail.
            return list(answer) if hook == "gateway_resolve_groups" and answer is not None else answer
        except Refusal:
            raise
        except Exception as error:  # a plugin may fail in any way; the request is refused, to be tried again
            raise _failed(name, hook) from error


_COLLECTED = frozenset(
    name
    for name, spec in vars(hookspecs).items()
    if name.startswith("gateway_") and not (getattr(spec, "gateway_spec", None) or {}).get("firstresult")
)


def _failed(plugin: str, hook: str) -> Unavailable:
    log.exception("plugin %s failed in %s", plugin, hook)
    return Unavailable(
        f"The gateway's plugin {plugin} failed, so nothing was changed. Try again later; if it stays, give the request"
        " id to the operator of the application.",
        retry_after=30,
    )


def _expect(plugin: str, hook: str, answer: Any, kind: type[Kind]) -> Kind:
    """The answer, if it is of the kind that the hook's contract names."""
    if isinstance(answer, kind):
        return answer
    log.error("plugin %s answered %s with a %s, not a %s", plugin, hook, type(answer).__name__, kind.__name__)
    raise Unavailable(
        f"The gateway's plugin {plugin} gave an answer that cannot be used, so nothing was changed. Tell the"
        " operator of the application."
    )


def settings_of(declaration: Declaration, values: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's settings, checked by the schema of its plugin. Raises marshmallow's ValidationError."""
    if declaration.settings is None:
        return _no_settings(values)
    return dict(declaration.settings().load(dict(values)))


def _no_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    if values:
        raise ValidationError({name: ["This identity provider has no such setting."] for name in values})
    return {}


def shown_settings(declaration: Declaration | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they may be shown: secrets are not."""
    schema = declaration.settings() if declaration and declaration.settings else None
    secret = (
        {name for name, field in schema.fields.items() if field.metadata.get("secret")} if schema else set()
    )
    return {name: value for name, value in values.items() if name not in secret}
