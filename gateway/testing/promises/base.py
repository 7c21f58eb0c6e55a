"""What every plugin promises, and the examples of a class as arguments of its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.plugin.contracts import (
    Connection,
    Credentials,
    Declaration,
)
from gateway.testing import transcripts
from gateway.testing.deployment import Deployment
from gateway.testing.examples import (
    Installed,
    installed,
    manager_with,
    others,
)

SECRET = "a-secret-that-nobody-may-repeat"  # noqa: S105 - opens nothing
FOREIGN = {
    "a token of nobody": Credentials("bearer", SECRET),
    "a token without a scheme": Credentials("", SECRET),
    "a name and a password": Credentials("basic", SECRET),
    "nothing at all": Credentials("", ""),
    "an unsigned JSON web token": Credentials("bearer", f"eyJhbGciOiJub25lIn0.e30.{SECRET}"),
    "a long one": Credentials("bearer", SECRET * 100),
}


class PluginPromises:
    """The promises of every plugin: it is installed, has a declaration, and repeats no secret."""

    #: The name of the plugin: that of its entry point.
    plugin: ClassVar[str] = ""
    #: The settings of the connection on which the examples are tried.
    settings: ClassVar[Mapping[str, Any]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize a test by the examples of its class."""
        for argument in _EXAMPLES.keys() & set(metafunc.fixturenames):
            found = _EXAMPLES[argument](type(self))
            nothing = [pytest.param(None, marks=pytest.mark.no_examples)]
            metafunc.parametrize(argument, list(found.values()) or nothing, ids=list(found) or None)

    @pytest.fixture
    def deployment(self, tmp_path: Path) -> Iterator[Deployment]:
        """Provide a gateway that has this plugin and no other."""
        deployment = Deployment(tmp_path / "instance", plugins_disabled=others(self.plugin))
        yield deployment
        deployment.close()

    @property
    def asked(self) -> Installed:
        """The plugin, whose hooks are called directly."""
        return installed(self.plugin)

    @property
    def words(self) -> Connection:
        """A connection as the plugin sees it."""
        return self.asked.connection(self.settings)

    def test_it_is_installed_and_says_what_it_is(self) -> None:
        """Its hooks exist (the host refuses others), and a declaration is one."""
        declaration = self.asked.declaration
        assert isinstance(declaration, Declaration)
        assert declaration.title.strip()
        info = next(each for each in manager_with(self.plugin).declared.plugins() if each.name == self.plugin)
        assert info.version, "the plugin belongs to no distribution"
        assert info.hooks, "the plugin implements no hook"

    def test_a_settings_name_that_does_not_exist_is_refused(self) -> None:
        """So that a misspelt one is noticed."""
        with pytest.raises(Exception, match="no_such_setting"):
            self.asked.connection({**self.settings, "no_such_setting": 1})


def _transcripts(promises: Any) -> dict[str, Any]:
    return dict(transcripts.read(find_declaration(promises).transcripts))


def _styles(promises: Any) -> dict[str, str]:
    simulator = find_declaration(promises).simulator
    return {style or "plain": style for style in simulator.styles} if simulator else {}


def _endings(promises: Any) -> dict[str, Any]:
    return {
        f"{style}-keep_active" if keep else style: (style, keep, active)
        for (style, keep), active in promises.left_active.items()
    }


def find_declaration(promises: Any) -> Declaration:
    """Return the declaration of a plugin."""
    if not promises.plugin:
        raise pytest.UsageError(f'{promises.__name__} says no plugin: write plugin = "acme" into it.')
    try:
        return installed(promises.plugin).declaration
    except LookupError as error:
        raise pytest.UsageError(f"{promises.__name__}: {error}") from None


#: Arguments of tests, and where a class has the examples for them.
_EXAMPLES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "document": lambda promises: dict(promises.documents),
    "patch": lambda promises: dict(promises.patches),
    "transcript": _transcripts,
    "style": _styles,
    "fault": lambda promises: {f"{each[0].__name__}-{each[1]}": each for each in promises.faults},
    "ending": _endings,
    "foreign": lambda promises: dict(FOREIGN),
    "resolved": lambda promises: dict(promises.users),
    "allowed_plan": lambda promises: {plan or "no plan": plan for plan in promises.allowed},
    "guarded_change": lambda promises: dict(promises.guarded),
    "denied_plan": lambda promises: {plan or "no plan": plan for plan in promises.denied},
    "limit": lambda promises: {f"limit {limit}": limit for limit in promises.limits},
}
