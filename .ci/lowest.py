"""Print the lowest versions that the setup.cfg files allow, as constraints of pip: `lowest.py > constraints.txt`.

Of the extras those that the tests need; linters and what draws plots are left out.
"""

import re
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("postgres", "gunicorn", "oidc", "test")
OURS = "provisioning-gateway"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?\s*>=\s*(?P<version>[\d.]+)(\s*,\s*<\s*[\d.]+)?")


def requirements(extras: tuple[str, ...] = EXTRAS) -> dict[str, str]:
    """The lowest version of each library, by its name.

    :raises ValueError: a requirement without a lowest version.
    """
    lowest: dict[str, str] = {}
    for path in [
        ROOT / "setup.cfg",
        ROOT / "client" / "setup.cfg",
        *sorted(ROOT.glob("plugins/*/setup.cfg")),
    ]:
        config = ConfigParser(interpolation=None)
        config.read_string(path.read_text("utf-8"))
        texts = [config["options"]["install_requires"]]
        if path.parent == ROOT:
            texts += [config["options.extras_require"][extra] for extra in extras]
        for line in "\n".join(texts).splitlines():
            if not line or line.startswith("#"):
                continue
            found = REQUIREMENT.fullmatch(line)
            if not found:
                raise ValueError(f"{path.relative_to(ROOT)}: no lowest version in {line!r}.")
            name, version = found["name"], found["version"]
            lowest[name] = max(lowest.get(name, version), version, key=_numbers)
    lowest.pop(OURS, None)
    return lowest


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    sys.stdout.writelines(f"{name} == {version}\n" for name, version in requirements().items())
