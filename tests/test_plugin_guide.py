"""The plugin that `plugins/README.md` shows, run as it stands there: found by its entry point, passing its own test."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "plugins" / "README.md"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The files of the guide in a folder, installed there: an installation is modules and their metadata."""
    folder = tmp_path_factory.mktemp("plugin")
    shown = re.findall(
        r"^`([\w.]+)`\n\n```\w+\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    for name, text in shown:
        (folder / name).write_text(text, "utf-8")
    setup = configparser.ConfigParser()
    setup.read(folder / "setup.cfg")
    name, version = setup["metadata"]["name"], setup["metadata"]["version"]
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = setup["options.entry_points"].items()
    (metadata / "entry_points.txt").write_text("".join(f"[{group}]{lines}\n" for group, lines in groups))
    return folder


def run(plugin, *command):
    """A command in a fresh process that has the plugin installed."""
    environment = os.environ | {"PYTHONPATH": str(plugin), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=plugin, env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_guide_shows_a_whole_distribution(plugin):
    names = {path.name for path in plugin.iterdir() if path.is_file()}
    assert names == {"setup.cfg", "pyproject.toml", "gateway_acme.py", "test_acme.py"}


def test_the_plugin_of_the_guide_passes_its_own_test(plugin):
    done = run(plugin, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_acme.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_the_plugin_of_the_guide_is_found_by_its_entry_point(plugin, tmp_path):
    program = (
        "from gateway.testing import Deployment; from pathlib import Path;"
        f" d = Deployment(Path({str(tmp_path / 'instance')!r}));"
        " print(*((p.name, p.version, p.idp) for p in d.gateway.host.plugins()), sep='\\n'); d.close()"
    )
    done = run(plugin, "-W", "error", "-c", program)
    assert "('acme', '0.1.0', True)" in done.stdout.splitlines(), done.stdout + done.stderr
