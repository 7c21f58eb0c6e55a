"""The house: who may import whom, lazy imports included, and the habits that a linter does not hold."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"gateway": ROOT / "gateway"}
PLUGINS = {path.name: path for path in sorted(ROOT.glob("plugins/*/gateway_*")) if path.is_dir()}
PACKAGES |= {"gateway_client": ROOT / "client" / "gateway_client", **PLUGINS}


def modules():
    """Every module with its path; a package is its `__init__`."""
    for name, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (name, *path.relative_to(folder).with_suffix("").parts)
            yield ".".join(part for part in parts if part != "__init__"), path


MODULES = {name: path for name, path in modules() if not re.search(r"\.\d", name)}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}

each_module = pytest.mark.parametrize("name", MODULES)


def imported(name):
    """Our modules that a module imports anywhere in it: at its top, in a function, or for its types only."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                found = f"{origin}.{alias.name}"
                if found in MODULES or origin in MODULES:
                    yield found if found in MODULES else origin


def test_no_module_imports_itself_on_any_way_round():
    graph = {name: set(imported(name)) - {name} for name in MODULES}
    assert sum(map(len, graph.values())) > len(graph)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" > ".join(reversed(error.args[1])))


def test_the_walls_of_setup_cfg_hold():
    """Each wall has its reason beside it there; `lint-imports` sees lazy imports too."""
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout), done.stdout


def test_every_room_has_its_floor():
    """A room that the layers do not name could be imported from anywhere."""
    layers = re.search(r"^layers =\n((?: .+\n)+)", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)[1]
    rooms = {
        f"gateway.{path.stem}"
        for path in (ROOT / "gateway").iterdir()
        if path.suffix == ".py" or is_package(path)
    }
    assert rooms - {"gateway.__init__"} <= set(re.findall(r"[\w.]+", layers))


@each_module
def test_web_reaches_neither_repositories_nor_plugins_through_an_attribute(name):
    """What the contracts of setup.cfg cannot see: `gateway.store` and `gateway.plugins` are there for commands."""
    if name.startswith("gateway.web"):
        reached = [
            (node.lineno, node.attr)
            for node in ast.walk(TREES[name])
            if isinstance(node, ast.Attribute) and node.attr in ("store", "plugins", "database")
        ]
        assert reached == []


def is_package(path):
    return (path / "__init__.py").exists()


@each_module
def test_a_module_says_what_lives_in_it(name):
    assert ast.get_docstring(TREES[name])


@each_module
def test_only_who_asks_plugins_catches_whatever_comes(name):
    """A plugin may fail in any way; everything else in ways that are known.

    The background threads (the worker, those that deliver to webhooks) outlive both, and the dispatcher answers for
    both, as Flask does elsewhere. The threads of the server serve all requests: what one of them meets is logged and
    ends that one alone.
    """
    bare = [
        node.lineno
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or "Exception" in {getattr(each, "id", None) for each in ast.walk(node.type)})
    ]
    assert bare == [] or name in (
        "gateway.plugin.declarations",
        "gateway.plugin.manager",
        "gateway.provisioning.webhooks.delivery",
        "gateway.provisioning.webhooks.sender_threads",
        "gateway.provisioning.worker",
        "gateway.server.deadlines",
        "gateway.server.exchange",
        "gateway.web.scim.wsgi",
    )


@each_module
def test_nothing_asks_whether_it_is_under_test(name):
    if name.startswith(("gateway.testing", "gateway_client.pytest_plugin")):
        return
    assert not re.search(r"PYTEST|sys\.modules|\bTESTING\b|import pytest", MODULES[name].read_text("utf-8"))


@each_module
def test_a_plugin_imports_public_modules_only(name):
    if name.split(".")[0] in PLUGINS:
        assert {found for found in imported(name) if found.split(".")[0] == "gateway"} <= {
            "gateway",
            "gateway.simulation",
        }
