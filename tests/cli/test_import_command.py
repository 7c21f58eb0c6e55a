"""`gateway import`: previewed, confirmed and applied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_people_of_a_file_are_previewed_and_imported_once_that_is_confirmed(
    gateway: Any, tmp_path: Path
) -> None:
    assert gateway("migrate").exit_code == 0
    made = json.loads(gateway("try", "okta", "--json").stdout)
    organization = (
        made["organization"] if isinstance(made["organization"], str) else made["organization"]["id"]
    )
    file = tmp_path / "people.csv"
    file.write_text("user_name,active\na@acme.test,true\nb@acme.test,perhaps\n", "utf-8")
    previewed = gateway("import", organization, str(file), "--json")
    assert (previewed.exit_code, json.loads(previewed.stdout)["create"]) == (0, 1)
    assert "Nobody was changed" in previewed.stderr
    shown = gateway("import", organization, str(file), "--yes")
    assert shown.exit_code == 0, shown.output
    assert "people.csv: 2 rows" in shown.stdout
    assert "1 created, 1 wrong" in shown.stdout
    again = json.loads(gateway("import", organization, str(file), "--yes", "--json").stdout)
    assert (again["state"], again["outcomes"]) == ("done", {"same": 1, "wrong": 1})
    file.write_text("secret\n", "utf-8")
    refused = gateway("import", organization, str(file))
    assert refused.exit_code == 1
    assert "'secret'" in refused.stderr
    assert "no organization with the id 'nobody'" in gateway("import", "nobody", str(file)).stderr
