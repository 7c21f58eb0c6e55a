"""`gateway export`: an organization as a file, which its owner alone can read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any


def test_an_organization_is_written_to_a_file(gateway: Any, tmp_path: Path) -> None:
    assert gateway("migrate").exit_code == 0
    made = json.loads(gateway("try", "okta", "--json").stdout)
    organization = (
        made["organization"] if isinstance(made["organization"], str) else made["organization"]["id"]
    )
    file = tmp_path / "acme.zip"
    done = gateway("export", organization, str(file), "--json")
    assert done.exit_code == 0, done.output
    manifest = json.loads(done.stdout)
    assert manifest["organization"]["id"] == organization
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("manifest.json"))["files"] == manifest["files"]
    before = file.read_bytes()
    refused = gateway("export", organization, str(file))
    sentence = f"Error: {file} exists already. --force overwrites it."
    assert (refused.exit_code, refused.stderr.splitlines()[1:]) == (1, [sentence])
    assert (list(tmp_path.glob("*acme*")), file.read_bytes()) == ([file], before)
    table = gateway("export", organization, str(file), "--force")
    assert "organizations.jsonl" in table.stdout
    assert "no organization with the id 'nobody'" in gateway("export", "nobody", str(tmp_path / "b")).stderr
    assert not (tmp_path / "b").exists()
