"""What is given away: one version, bounds of libraries that are tried, and the same checks wherever they run."""

import re
import runpy
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(ROOT.glob("plugins/*/setup.cfg"))
CONFIGURATIONS = [ROOT / "setup.cfg", ROOT / "client" / "setup.cfg", *PLUGINS]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
PRE_COMMIT = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")


def configuration(path):
    config = ConfigParser(interpolation=None)
    config.read_string(path.read_text("utf-8"))
    return config


def recipe(target):
    """The commands of a target of the Makefile, as a person would type them."""
    lines = re.search(rf"^{target}:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)[1].splitlines()
    return [line.removeprefix("\t").replace("$(BIN)", ".venv/bin") for line in lines]


def version_command(root, *arguments):
    command = [sys.executable, root / ".ci" / "version.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path):
    """The configurations and the command, to be written to."""
    for path in [*CONFIGURATIONS, ROOT / ".ci" / "version.py"]:
        place = tmp_path / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return tmp_path


# One version ------------------------------------------------------------------------------------------------------


def test_all_distributions_have_one_version_and_the_changelog_begins_with_it():
    assert len(CONFIGURATIONS) == 8
    (version,) = {configuration(path)["metadata"]["version"] for path in CONFIGURATIONS}
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[1]
    assert version == newest
    assert version_command(ROOT).stdout == f"{version}\n"


def test_plugins_here_ask_for_the_core_of_their_release():
    minor = ".".join(configuration(ROOT / "setup.cfg")["metadata"]["version"].split(".")[:2])
    for path in PLUGINS:
        required = configuration(path)["options"]["install_requires"].split("\n")
        assert f"provisioning-gateway >= {minor}" in required, path


def test_the_command_sets_every_version(copy):
    assert version_command(copy, "2.5.0rc1").stdout == "2.5.0rc1\n"
    for path in CONFIGURATIONS:
        config = configuration(copy / path.relative_to(ROOT))
        assert config["metadata"]["version"] == "2.5.0rc1"
        assert (
            path not in PLUGINS
            or "provisioning-gateway >= 2.5\n" in config["options"]["install_requires"] + "\n"
        )
    changed = (copy / "setup.cfg").read_text("utf-8").replace("version = 2.5.0rc1", "version = 0.1.0")
    assert changed.replace("0.1.0", "") == (ROOT / "setup.cfg").read_text("utf-8").replace("0.1.0", "")


@pytest.mark.parametrize("version", ["2.5", "v2.5.0", "2.5.0-final", "2.5.0 ", ""])
def test_what_is_no_version_is_refused_and_nothing_is_written(copy, version):
    done = version_command(copy, version)
    assert (done.returncode, done.stderr) == (1, f"{version!r} is no version such as 1.2.3 or 1.2.3rc1.\n")
    assert all(
        (copy / path.relative_to(ROOT)).read_text("utf-8") == path.read_text("utf-8")
        for path in CONFIGURATIONS
    )


def test_versions_that_differ_are_shown(copy):
    billing = copy / "plugins" / "billing" / "setup.cfg"
    billing.write_text(re.sub(r"version = .*", "version = 9.9.9", billing.read_text("utf-8")))
    done = version_command(copy)
    assert done.returncode == 1
    assert "'plugins/billing/setup.cfg': '9.9.9'" in done.stderr


# Libraries --------------------------------------------------------------------------------------------------------


def test_every_library_has_a_lowest_version_and_it_is_a_constraint_of_test_lowest():
    lowest = runpy.run_path(str(ROOT / ".ci" / "lowest.py"))["requirements"]()
    core = configuration(ROOT / "setup.cfg")
    required = core["options"]["install_requires"] + core["options.extras_require"]["test"]
    names = re.findall(r"^([a-z][\w-]*)", required, re.MULTILINE)
    assert set(names) <= set(lowest)
    assert all(re.fullmatch(r"\d+(\.\d+)*", version) for version in lowest.values())


@pytest.mark.parametrize("library", ["peewee", "granian"])
def test_a_library_of_which_private_names_are_used_has_a_ceiling(library):
    """The next minor version may rename them."""
    required = configuration(ROOT / "setup.cfg")["options"]["install_requires"]
    low, ceiling = re.search(rf"^{library} >= (\d+\.\d+), < (\d+\.\d+)$", required, re.MULTILINE).groups()
    major, minor = map(int, low.split("."))
    assert ceiling == f"{major}.{minor + 1}"


# The same checks everywhere ---------------------------------------------------------------------------------------


def test_pre_commit_runs_what_make_lint_runs_and_fetches_nothing():
    assert re.findall(r"^ +entry: (.+)$", PRE_COMMIT, re.MULTILINE) == recipe("lint")
    assert set(re.findall(r"repo: (\S+)", PRE_COMMIT)) == {"local"}
    assert set(re.findall(r"language: (\S+)", PRE_COMMIT)) == {"system"}


def test_hosted_ci_runs_the_commands_of_the_makefile_from_the_oldest_python_on():
    oldest = configuration(ROOT / "setup.cfg")["options"]["python_requires"].removeprefix(">=")
    pythons = re.search(r"python: \[(.+)\]", WORKFLOW)[1].replace('"', "").split(", ")
    assert pythons[0] == oldest
    assert pythons == [f"3.{minor}" for minor in range(int(oldest.split(".")[1]), 15)]
    targets = re.search(r"target: \[(.+)\]", WORKFLOW)[1].split(", ")
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()
    assert set(targets) == {"test-lowest", "build"} <= set(phony)
    assert "- run: .ci/run\n" in WORKFLOW


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_what_a_stranger_is_told_to_run_and_read_is_there(name):
    text = (ROOT / name).read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()
    targets = set(re.findall(r"\bmake ([a-z][a-z-]+)", text))
    assert targets <= set(phony), targets - set(phony)
    for link in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", text):
        assert (ROOT / link).exists(), link
