"""Third-party files that a browser loads: listed, unchanged, and without anything that comes from elsewhere."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import gateway

FOLDER = Path(gateway.__file__).parent / "web" / "console" / "static" / "vendored"
PACKAGES = tomllib.loads((FOLDER / "vendored.toml").read_text("utf-8"))["package"]
DIGESTS = {name: digest for package in PACKAGES for name, digest in package["files"].items()}


def test_each_vendored_file_is_listed_and_no_other_is():
    present = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert present == {"vendored.toml", *DIGESTS}
    assert len(DIGESTS) == sum(len(package["files"]) for package in PACKAGES) > 0


@pytest.mark.parametrize("name", DIGESTS)
def test_a_vendored_file_is_the_one_that_was_published(name):
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_a_vendored_package_says_version_licence_and_source(package):
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
    assert package["licence"] in {"0BSD", "MIT"}
    assert package["source"].startswith("npm package ")
    assert any(name.endswith("-licence.txt") for name in package["files"])


@pytest.mark.parametrize("name", [name for name in DIGESTS if name.endswith(".css")])
def test_a_vendored_style_sheet_loads_nothing(name):
    """`img-src data:` is all that the policy of the pages allows beside their own files."""
    text = (FOLDER / name).read_text("utf-8")
    assert "@import" not in text
    assert "@font-face" not in text
    assert set(re.findall(r"url\(\"?(\w+:)", text)) <= {"data:"}
    assert len(re.findall(r"url\(", text)) == len(re.findall(r'url\("data:image/', text))
