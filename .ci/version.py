"""Show the one version of all distributions here, or set it: `version.py [X.Y.Z]`, which is `make version TO=X.Y.Z`.

All that is built here is released together. setuptools reads no file outside of a distribution's own folder, so the
version stands in each setup.cfg; this writes them all, and the least core that the plugins ask for.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"^version = (.+)$", re.MULTILINE)
CORE = re.compile(r"^(    provisioning-gateway >= ).+$", re.MULTILINE)


def configurations() -> list[Path]:
    """The setup.cfg of every distribution; the core's comes first."""
    return [ROOT / "setup.cfg", ROOT / "client" / "setup.cfg", *sorted(ROOT.glob("plugins/*/setup.cfg"))]


def versions() -> dict[str, str]:
    """The version of each distribution, by the path of its setup.cfg."""
    return {
        str(path.relative_to(ROOT)): VERSION.findall(path.read_text("utf-8"))[0] for path in configurations()
    }


def set_version(version: str) -> None:
    """Write the version into every setup.cfg."""
    minor = ".".join(version.split(".")[:2])
    for path in configurations():
        text = VERSION.sub(f"version = {version}", path.read_text("utf-8"), count=1)
        path.write_text(CORE.sub(rf"\g<1>{minor}", text), "utf-8")


def main(arguments: list[str]) -> None:
    if arguments and not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", arguments[0]):
        sys.exit(f"{arguments[0]!r} is no version such as 1.2.3 or 1.2.3rc1.")
    if arguments:
        set_version(arguments[0])
    found = versions()
    if len(set(found.values())) > 1:
        sys.exit(f"The distributions differ in their version: {found}. Set it with: make version TO=X.Y.Z")
    print(next(iter(found.values())))


if __name__ == "__main__":
    main(sys.argv[1:])
