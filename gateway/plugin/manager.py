"""The plugin manager: loads plugins, calls the hooks of the right ones and combines their answers.

A plugin is asked by itself, so that the activity can say who answered what, and so that no answer rests on the order
in which plugins were found.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from time import perf_counter
from types import MappingProxyType
from typing import Any

import pluggy

from gateway.plugin import builtin, hookspecs
from gateway.plugin.call_stats import ANSWERED, FAILED, INVALID, NONE, REFUSED, CallStats, HookCalls
from gateway.plugin.contracts import (
    Change,
    Connection,
    Credentials,
    Declaration,
    Event,
    Organization,
    Principal,
    SeatRequest,
    SeatVerdict,
    User,
    Verdict,
)
from gateway.plugin.declarations import Declarations, PluginInfo, unusable
from gateway.plugin.json_values import NotPlainJson, copy_json
from gateway.plugin.listener import Listener
from gateway.plugin.results import READERS, Answered, Decision, SeatLimit, accept_any, checked_refusal
from gateway.scim.errors import Refusal, Unavailable
from gateway.scim.json_text import Json
from gateway.scim.schemas import application_extension
from gateway.store import Store
from gateway.store.ids_and_time import now

log = logging.getLogger("gateway.plugins")

ENTRY_POINTS = "gateway.plugins"


class PluginError(Exception):
    """A plugin that cannot be loaded or declares what is invalid; the sentence names it. It ends the start."""


@lru_cache(maxsize=2)
def _entry_points(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    # `path` is the key: all that is installed is read once, however many applications a process builds.
    return tuple(entry_points(group=ENTRY_POINTS))


def _check_disabled(names: Sequence[str]) -> None:
    """Refuse names that no installed plugin has."""
    if not names:
        return
    known = sorted({point.name for point in _entry_points(tuple(sys.path))} | {builtin.NAME})
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f" Is {near[0]!r} meant?" if near else f" Installed are: {', '.join(known)}."
            raise PluginError(f"plugins_disabled names {name!r}, and no plugin is called so.{meant}")


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook of one plugin: how it is called, how its answer is validated, and the counts of its calls.

    `read` hands back the answer as the core takes it, or raises NotPlainJson.
    """

    plugin: str
    name: str
    call: Callable[[Mapping[str, Any]], Any]
    read: Callable[[Any], Any]
    calls: HookCalls


class PluginManager:
    """The plugins of one application."""

    def __init__(
        self,
        store: Store,
        extension_urn: str,
        application: str,
        disabled: Sequence[str] = (),
        seconds: float = 1,
    ) -> None:
        #: Counts of the calls of plugins; one that takes more than `seconds` is slow.
        self.call_stats = CallStats(seconds)
        self.declared = Declarations(self.call_stats, application_extension(extension_urn, application))
        self._since: dict[str, int] = {}
        #: Of the distributions that plugins were installed with.
        self._versions: dict[str, str] = {}
        self._manager = pluggy.PluginManager("gateway")
        self._manager.add_hookspecs(hookspecs)
        _check_disabled(disabled)
        for name in disabled:
            self._manager.set_blocked(name)
        self._manager.register(builtin.BuiltinPlugin(store), builtin.NAME)
        self._load()
        self._describe()

    def add(self, plugin: object, name: str) -> None:
        """Register one more plugin, as tests do. Raises PluginError."""
        self._manager.register(plugin, name)
        self._describe()

    def _load(self) -> None:
        # Not by `load_setuptools_entrypoints`, which names no plugin when one fails, and looks through all that is
        # installed at each call.
        for point in _entry_points(tuple(sys.path)):
            if self._manager.is_blocked(point.name) or self._manager.has_plugin(point.name):
                continue
            try:
                self._manager.register(point.load(), point.name)
            except Exception as error:  # a plugin's import may fail in any way
                raise PluginError(
                    f"The plugin {point.name} cannot be loaded: {error!r}. Mend or uninstall it, or leave it out with"
                    f" GATEWAY_PLUGINS_DISABLED={point.name}."
                ) from error
            if point.dist is not None:
                self._versions[point.name] = point.dist.version

    def _describe(self) -> None:
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"A plugin implements a hook that does not exist: {error}.") from None
        names = sorted(name for name, plugin in self._manager.list_name_plugin() if plugin is not None)
        # The defaults come last wherever the first answer stands.
        names.sort(key=lambda name: name == builtin.NAME)
        self._callers = {name: self._hooks_of(name, names) for name in names}
        self._plugins = {name: self._info(name) for name in names}
        moment = now()
        self._since = {name: self._since.get(name, moment) for name in names}
        # After what is known of them: a round of the worker may look at the listeners at any moment.
        self._listeners = {
            name: Listener(name, self._delivery_of(hooks["gateway_provisioned"]))
            for name, hooks in self._callers.items()
            if "gateway_provisioned" in hooks
        }
        self.declared.read(self._plugins)
        self._plugins_by_hook = {
            hook: [name for name in names if hook in self._callers[name]]
            for hook in vars(hookspecs)
            if hook.startswith("gateway_")
        }

    def _hooks_of(self, name: str, names: Sequence[str]) -> dict[str, Hook]:
        plugin = self._manager.get_plugin(name)
        others = [self._manager.get_plugin(other) for other in names if other != name]
        found = {}
        for hook in sorted({caller.name for caller in self._manager.get_hookcallers(plugin) or ()}):
            caller = self._manager.subset_hook_caller(hook, others)
            called = hook.removeprefix("gateway_")
            found[hook] = Hook(
                name,
                called,
                _single_caller(caller),
                READERS.get(hook, accept_any),
                self.call_stats.calls(name, called),
            )
        return found

    def _info(self, name: str) -> PluginInfo:
        declaration = Declaration(title=name)
        if hook := self._callers[name].get("gateway_declare"):
            try:
                answer = hook.call({})
            except Exception as error:  # a plugin may fail in any way
                raise PluginError(
                    f"The plugin {name} cannot say what it is: gateway_declare failed with {error!r}. Mend or"
                    f" uninstall it, or leave it out with GATEWAY_PLUGINS_DISABLED={name}."
                ) from error
            declaration = declaration if answer is None else answer
        if not isinstance(declaration, Declaration):
            raise PluginError(
                f"The plugin {name} declares a {type(declaration).__name__}, not a Declaration."
            )
        if not isinstance(declaration.title, str) or not declaration.title.strip():
            raise PluginError(f"The plugin {name} declares no title: a text that people read.")
        if declaration.settings is not None and not declaration.idp:
            raise PluginError(
                f"The plugin {name} declares settings, but is no identity provider: settings are those of a"
                " connection, and every connection is one of an identity provider. Declare idp=True, or no settings."
            )
        return PluginInfo(name, self._version(name), declaration.idp, tuple(self._callers[name]), declaration)

    def _version(self, name: str) -> str:
        if name != builtin.NAME:
            return self._versions.get(name, "")
        try:
            return version("provisioning-gateway")
        except PackageNotFoundError:
            return ""

    # What is installed -------------------------------------------------------------------------------------------

    def limits_seats(self) -> bool:
        """Return whether any plugin limits seats."""
        return any("gateway_check_seats" in callers for callers in self._callers.values())

    def listeners(self) -> list[str]:
        """Return the names of the plugins that listen to events."""
        return [name for name, callers in self._callers.items() if "gateway_provisioned" in callers]

    def resolves_groups(self, idp: str) -> bool:
        """Return whether a plugin besides the built-in one may put users of an identity provider into groups."""
        return any(
            "gateway_resolve_groups" in self._callers[name]
            for name in self._plugins_for(idp)
            if name != builtin.NAME
        )

    def _plugins_for(self, idp: str) -> list[str]:
        """Return the plugins that may be asked about a connection of an identity provider: never another one's."""
        return [
            name for name, plugin in self._plugins.items() if not plugin.idp or name in (idp, builtin.NAME)
        ]

    # Hooks --------------------------------------------------------------------------------------------------------

    def authenticate(self, connection: Connection, credentials: Credentials) -> Answered[Principal | None]:
        """Ask who presented these credentials; None when no plugin knows them."""
        own = credentials.own.token_id if credentials.own else None
        decisions: tuple[Decision, ...] = ()
        for name in (connection.idp, builtin.NAME):
            hook = self._callers.get(name, _NOTHING).get("gateway_authenticate")
            if hook is None:
                continue
            answered = self._ask(hook, {"connection": connection, "credentials": credentials})
            decisions += answered.decisions
            principal: Principal | None = answered.value
            if principal is not None and principal.token_id is not None and principal.token_id != own:
                # It would be shown as used, and may be of another connection.
                answered = self._invalid(hook, "names a token that was not presented")
                return Answered(None, decisions + answered.decisions, answered.refusal)
            if principal is not None or answered.refusal is not None:
                return Answered(principal, decisions, answered.refusal)
        return Answered(None, decisions)

    def map_resource(self, connection: Connection, resource_type: str, document: Json) -> Answered[Json]:
        """Ask for the canonical document, still to be validated."""
        hook = self._callers.get(connection.idp, _NOTHING).get("gateway_map_resource")
        if hook is None:
            return Answered(document)
        arguments = {
            "connection": connection,
            "resource_type": resource_type,
            "document": copy_json(document),
        }
        return self._ask(hook, arguments, document)

    def map_patch(
        self, connection: Connection, resource_type: str, operations: list[Json], current: Json
    ) -> Answered[list[Json]]:
        """Ask for the canonical operations, still to be validated."""
        hook = self._callers.get(connection.idp, _NOTHING).get("gateway_map_patch")
        if hook is None:
            return Answered(operations)
        arguments = {
            "connection": connection,
            "resource_type": resource_type,
            "operations": copy_json(operations),
            "current": copy_json(current),
        }
        return self._ask(hook, arguments, operations)

    def map_filter(self, connection: Connection, resource_type: str, filter: str) -> Answered[str]:
        """Ask for the canonical filter, still to be parsed."""
        hook = self._callers.get(connection.idp, _NOTHING).get("gateway_map_filter")
        if hook is None:
            return Answered(filter)
        return self._ask(
            hook, {"connection": connection, "resource_type": resource_type, "filter": filter}, filter
        )

    def resolve_groups(self, connection: Connection, user: User) -> Answered[Mapping[str, frozenset[str]]]:
        """Ask for the groups that a user should be in, by the source that wants it (`mapping`, or a plugin's name)."""
        resolved: dict[str, frozenset[str]] = {}
        decisions: tuple[Decision, ...] = ()
        for name in self._plugins_for(connection.idp):
            hook = self._callers[name].get("gateway_resolve_groups")
            if hook is None:
                continue
            # What is about to be stored is not handed out.
            shown = user if name == builtin.NAME else replace(user, document=_read_only_copy(user.document))
            answered = self._ask(hook, {"connection": connection, "user": shown})
            decisions += answered.decisions
            if answered.refusal is not None:
                return Answered({}, decisions, answered.refusal)
            wanted: frozenset[str] | None = answered.value
            if wanted is None:
                continue
            resolved["mapping" if name == builtin.NAME else name] = wanted
            decisions += (Decision(name, "resolve_groups", ", ".join(sorted(wanted)) or "none"),)
        return Answered(resolved, decisions)

    def check_entitlement(self, organization: Organization, feature: str) -> Answered[str | None]:
        """Ask whether an organization may use a feature: the sentence of a denial, or None when it may."""
        return self._judge("gateway_check_entitlement", {"organization": organization, "feature": feature})

    def guard_change(self, organization: Organization, user: User, change: Change) -> Answered[str | None]:
        """Ask whether an identity provider may make a change: the sentence of a denial, or None when it may."""
        return self._judge(
            "gateway_guard_change", {"organization": organization, "user": user, "change": change}
        )

    def _judge(self, name: str, arguments: Mapping[str, Any]) -> Answered[str | None]:
        """Ask every plugin for a verdict; the first denial wins."""
        decisions: tuple[Decision, ...] = ()
        for plugin in self._plugins_by_hook[name]:
            answered = self._ask(self._callers[plugin][name], arguments)
            decisions += answered.decisions
            if answered.refusal is not None:
                return Answered(None, decisions, answered.refusal)
            verdict: Verdict | None = answered.value
            if verdict is not None and not verdict.allowed:
                denied = Decision(plugin, name.removeprefix("gateway_"), "denied")
                return Answered(verdict.sentence, (*decisions, denied))
        return Answered(None, decisions)

    def check_seats(self, organization: Organization, request: SeatRequest) -> Answered[SeatLimit | None]:
        """Ask for the lowest ceiling; None when no plugin sets a limit."""
        lowest: SeatLimit | None = None
        decisions: tuple[Decision, ...] = ()
        for name in self._plugins_by_hook["gateway_check_seats"]:
            hook = self._callers[name]["gateway_check_seats"]
            answered = self._ask(hook, {"organization": organization, "request": request})
            decisions += answered.decisions
            if answered.refusal is not None:
                return Answered(None, decisions, answered.refusal)
            verdict: SeatVerdict | None = answered.value
            if verdict is None:
                continue
            decisions += (Decision(name, "check_seats", f"at most {verdict.ceiling}"),)
            if lowest is None or verdict.ceiling < lowest.ceiling:
                lowest = SeatLimit(name, verdict.ceiling, verdict.sentence)
        return Answered(lowest, decisions)

    def deliver(self, plugin: str, events: Sequence[Event], seconds: float) -> tuple[int, bool]:
        """Deliver events to one plugin in their order for `seconds`; return how many, and whether it takes more.

        It takes no more when it raised, which is logged, or when a call outlasts the time.
        """
        return self._listeners[plugin].deliver(events, seconds)

    def is_late(self, plugin: str) -> bool:
        """Return whether a call of the listener outlasted its time and its result was not fetched yet."""
        return self._listeners[plugin].late

    def take_late_result(self, plugin: str) -> tuple[int, bool] | None:
        """Return events delivered since `deliver` returned, and whether the late call succeeded; None while it runs."""
        return self._listeners[plugin].take_late_result()

    def listening_since(self, plugin: str) -> int:
        """Return the moment from which a listener without a position gets events, in microseconds; 0 = all history."""
        return 0 if self._plugins[plugin].declaration.history else self._since[plugin]

    def _delivery_of(self, hook: Hook) -> Callable[[Event], bool]:
        def deliver(event: Event) -> bool:
            began = perf_counter()
            try:
                hook.call({"event": event})
            except (
                Exception,
                SystemExit,
            ):  # it may fail in any way; the event is delivered again
                log.exception(
                    "plugin %s failed at event %s of organization %s",
                    hook.plugin,
                    event.id,
                    event.organization.id,
                )
                self.call_stats.count_ended(hook.calls, FAILED, perf_counter() - began)
                return False
            self.call_stats.count_ended(hook.calls, ANSWERED, perf_counter() - began)
            return True

        return deliver

    def _ask(self, hook: Hook, arguments: Mapping[str, Any], default: Any = None) -> Answered[Any]:
        """Call a hook of one plugin; `default` stands for no answer.

        Whatever else it does than to answer becomes a refusal, and a decision that the activity shows.
        """
        began = perf_counter()
        try:
            answer = hook.call(arguments)
            if answer is not None:
                answer = hook.read(answer)
        except Refusal as refusal:
            if not checked_refusal(refusal):
                return self._invalid(hook, "raised a refusal that is none", began)
            decision = self._count(hook, REFUSED, "refused", perf_counter() - began)
            return Answered(None, (decision,), refusal)
        except NotPlainJson as invalid:
            return self._invalid(hook, f"answer {invalid}", began)
        except (
            Exception,
            SystemExit,
        ) as error:  # it may fail in any way; the request is refused, to be tried again
            log.exception("plugin %s failed in %s", hook.plugin, hook.name)
            # Never its text, which may hold what the plugin was given.
            decision = self._count(hook, FAILED, f"failed: {type(error).__name__}", perf_counter() - began)
            return Answered(None, (decision,), unusable(hook.plugin))
        seconds, calls = perf_counter() - began, hook.calls
        if seconds > self.call_stats.limit:
            late = self._count(hook, NONE if answer is None else ANSWERED, "", seconds)
            return Answered(default if answer is None else answer, (late,))
        with calls.lock:
            if answer is None:
                calls.none += 1
            else:
                calls.answered += 1
            calls.seconds += seconds
        return Answered(default if answer is None else answer)

    def _count(self, hook: Hook, outcome: str, what: str, seconds: float) -> Decision:
        """Count a call that failed or was slow; return what the activity shows of it."""
        late = self.call_stats.count_ended(hook.calls, outcome, seconds)
        return Decision(hook.plugin, hook.name, ", ".join(part for part in (what, late) if part))

    def _invalid(self, hook: Hook, what: str, began: float | None = None) -> Answered[Any]:
        log.error("plugin %s gave an invalid answer to %s: %s", hook.plugin, hook.name, what)
        decision = self._count(hook, INVALID, f"invalid: {what}", perf_counter() - began if began else 0.0)
        refusal = Unavailable(
            f"The gateway's plugin {hook.plugin} gave an answer that cannot be used, so nothing was changed. Tell the"
            " operator of the application.",
            retry_after=30,
        )
        return Answered(None, (decision,), refusal)


_NOTHING: Mapping[str, Hook] = {}


def _single_caller(caller: pluggy.HookCaller) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that calls the hook of one plugin; it returns None where the plugin does not answer."""
    first = caller.spec is not None and caller.spec.opts["firstresult"]

    def call(arguments: Mapping[str, Any]) -> Any:
        answer = caller(**arguments)
        return answer if first else answer[0] if answer else None

    return call


def _read_only_copy(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a read-only copy of a document: a plugin cannot change what is stored."""
    return MappingProxyType(copy_json(dict(document)))
