"""The plugins that an outsider writes: the one of `plugins/README.md` and the one of `gateway plugin new`.

They are built and installed beside the core's own wheel, in an environment that knows nothing of this folder, and run
there. Nothing is fetched: the libraries are those of this environment.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from gateway.simulation import SimulationOptions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "plugins" / "README.md"
OURS = re.compile(r"gateway(_.*)?$|provisioning[_-]gateway.*|__editable__.*|.*\.pth|gateway_\w+-.*")
OFFLINE = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")


def shown_files():
    """The files of the guide's example by their paths."""
    blocks = re.findall(
        r"^`([\w./]+)`\n\n```\w+\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return dict(blocks)


class Environment:
    """A fresh virtual environment with the libraries that are here, and without what is of this repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")])
        self.bin = folder / "venv" / "bin"
        site = next((folder / "venv" / "lib").glob("python*/site-packages"))
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not OURS.fullmatch(entry.name) and entry.name != "__pycache__":
                (site / entry.name).symlink_to(entry)

    def install(self, *what: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", *OFFLINE]
        self._run([*pip, "--no-build-isolation", *what])

    def wheels(self, *sources: Path) -> list[str]:
        """The wheels of distributions, by one call of pip."""
        dist = self.folder / "dist"
        pip = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation"]
        self._run([*pip, "--wheel-dir", str(dist), *map(str, sources)])
        built = sorted(map(str, dist.glob("*.whl")))
        assert len(built) == len(sources)
        return built

    def run(self, command: str, *arguments: str) -> str:
        """A command of the environment; its output."""
        return self._run([str(self.bin / command), *arguments])

    def _run(self, command: list[str]) -> str:
        names = {"PYTHONPATH", "VIRTUAL_ENV"}
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in names and not name.startswith(("GATEWAY_", "PYTEST_"))
        }
        environment |= {"GATEWAY_INSTANCE": str(self.folder / "instance")}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def test_the_guide_shows_a_whole_distribution():
    assert set(shown_files()) == {
        "setup.cfg",
        "pyproject.toml",
        "gateway_acme/__init__.py",
        "gateway_acme/transcripts/assign.json",
        "tests/test_acme.py",
    }


@pytest.mark.sqlite  # once: what is looked at is how it is built, installed and found
def test_plugins_of_an_outsider_are_built_installed_beside_the_core_and_keep_their_promises(tmp_path):
    environment = Environment(tmp_path)
    core = tmp_path / "core"
    shutil.copytree(ROOT / "gateway", core / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, core)
    acme = tmp_path / "gateway-acme"
    for name, text in shown_files().items():
        (acme / name).parent.mkdir(parents=True, exist_ok=True)
        (acme / name).write_text(text, "utf-8")
    environment.install(*environment.wheels(core, acme))
    assert [p["name"] for p in json.loads(environment.run("gateway", "plugins", "--json"))] == [
        "acme",
        "generic",
    ]

    kinds = {"globex": "idp", "initech": "listener", "hooli": "auth"}
    for name, kind in kinds.items():
        folder = tmp_path / f"gateway-{name}"
        typed = ("--kind", kind, "--title", f"{name.title()} & Söhne's (1)", "--into", str(folder))
        assert "pip install -e" in environment.run("gateway", "plugin", "new", name, *typed)
    environment.install(
        *(argument for name in kinds for argument in ("-e", str(tmp_path / f"gateway-{name}")))
    )
    found = {p["name"]: p for p in json.loads(environment.run("gateway", "plugins", "--json"))}
    assert (found["acme"]["idp"], found["acme"]["version"]) == (True, "0.1.0")
    assert {name: (found[name]["idp"], found[name]["hooks"]) for name in kinds} == {
        "globex": (True, ["gateway_declare", "gateway_map_patch", "gateway_map_resource"]),
        "initech": (False, ["gateway_provisioned"]),
        "hooli": (True, ["gateway_authenticate", "gateway_declare"]),
    }

    tests = [str(acme / "tests"), *(str(tmp_path / f"gateway-{name}" / "tests") for name in kinds)]
    done = environment.run("python", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *tests)
    assert "failed" not in done
    assert "skipped" not in done


def test_the_simulator_of_the_guide_passes_the_gateway(deployment):
    shown = (
        GUIDE.read_text("utf-8")
        .partition("## A simulator")[2]
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    names = {}
    exec(compile(shown, str(GUIDE), "exec"), names)
    options = SimulationOptions(users=2, refused=1)
    server = deployment.connection("generic", deployment.organization(seats=2))
    steps = list(names["SIMULATOR"].run(server, options))
    assert [step.explanation for step in steps if not step.ok] == []
    assert len(steps) == names["SIMULATOR"].count_steps(options) == 7
