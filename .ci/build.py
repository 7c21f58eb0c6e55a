"""Build sdist and wheel of every distribution into dist/, and try the wheels in a clean environment: `make build`.

Each wheel is made from its sdist, so that what is missing in the one is missed in the other. The sources are built from
a copy, since what an earlier build left beside them would get into the new one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
BUILD = "build >= 1.2"
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def run(*command: str | Path, scratch: Path) -> str:
    """Run a command away from this folder and without settings of this shell, and return what it wrote to stdout."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "PYTHON"))
    }
    environment |= {"GATEWAY_INSTANCE": str(scratch / "instance")}
    done = subprocess.run(
        list(map(str, command)), cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{' '.join(map(str, command))} ended with {done.returncode}.")
    return done.stdout


def environment(folder: Path) -> Path:
    """Make a virtual environment and return its folder of programs."""
    venv.create(folder, with_pip=True)
    return folder / "bin"


def sources(scratch: Path) -> dict[str, Path]:
    """Copy the distributions; the folder of each, by the name of its package."""
    core = scratch / "sources" / "core"
    shutil.copytree(ROOT / "gateway", core / "gateway", ignore=LEFT_OUT)
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, core)
    client = shutil.copytree(ROOT / "client", core.parent / "client", ignore=LEFT_OUT)
    found = {"gateway": core, "gateway_client": client}
    for path in sorted(ROOT.glob("plugins/*/setup.cfg")):
        name = path.parent.name
        found[f"gateway_{name}"] = shutil.copytree(path.parent, core.parent / name, ignore=LEFT_OUT)
    return found


def build(folders: dict[str, Path], scratch: Path) -> list[Path]:
    """Build into dist/, which is emptied before, and return the wheels."""
    python = environment(scratch / "build") / "python"
    run(python, *INSTALL, BUILD, scratch=scratch)
    shutil.rmtree(DIST, ignore_errors=True)
    for package, folder in folders.items():
        print(f"building {package}", flush=True)
        run(python, "-m", "build", "--outdir", DIST, folder, scratch=scratch)
    wheels = [next(DIST.glob(f"{distribution(package)}-*.whl")) for package in folders]
    assert len(list(DIST.iterdir())) == 2 * len(wheels), sorted(DIST.iterdir())
    return wheels


def distribution(package: str) -> str:
    names = {"gateway": "provisioning_gateway", "gateway_client": "provisioning_gateway_client"}
    return names.get(package, package)


def look_into(wheel: Path, package: str, source: Path) -> None:
    """Hold a wheel against its source: all files of the package, the marker of types, and nothing beside it."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {str(path.relative_to(source)) for path in (source / package).rglob("*") if path.is_file()}
    if names != expected:
        sys.exit(
            f"{wheel.name}: missing {sorted(expected - names)}, too much {sorted(names - expected)}. "
            f"package_data in setup.cfg says which files go along."
        )
    if f"{package}/py.typed" not in names:
        sys.exit(f"{wheel.name}: {package}/py.typed is missing, so type checkers would ignore its types.")


def try_out(wheels: list[Path], scratch: Path) -> None:
    """Install the wheels where nothing else is, and run what a newcomer runs first."""
    programs = environment(scratch / "clean")
    run(programs / "python", *INSTALL, *wheels, scratch=scratch)
    version = run(programs / "gateway", "--version", scratch=scratch).strip()
    expected = re.match(r"provisioning_gateway-([^-]+)-", wheels[0].name)
    assert expected, wheels[0]
    assert version.endswith(f" {expected[1]}"), version
    plugins = json.loads(run(programs / "gateway", "plugins", "--json", scratch=scratch))
    found = {plugin["name"]: plugin["version"] for plugin in plugins}
    wanted = {path.parent.name: expected[1] for path in ROOT.glob("plugins/*/setup.cfg")}
    assert {name: found.get(name) for name in wanted} == wanted, found
    run(programs / "python", "-c", "from gateway_client import Feed, verify", scratch=scratch)
    run(programs / "gateway", "demo", "--once", scratch=scratch)
    print(f"{version}, with the plugins {', '.join(found)}: `gateway demo --once` went well")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gateway-build-") as name:
        scratch = Path(name).resolve()
        folders = sources(scratch)
        wheels = build(folders, scratch)
        for wheel, (package, folder) in zip(wheels, folders.items(), strict=True):
            look_into(wheel, package, folder)
        try_out(wheels, scratch)
    print(*sorted(path.relative_to(ROOT) for path in DIST.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
