"""Members are found by their ids, however many are named at once: never by going through the organization."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.testing import Deployment

NAMED = 500


@pytest.mark.sqlite  # PostgreSQL plans by its own statistics of the table
def test_members_that_are_named_together_are_found_by_the_index_on_ids(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "instance")
    scim = deployment.connection("okta")
    database = deployment.gateway.store.database
    plans: list[str] = []
    usual = database.all

    def explained(sql: str, *parameters: object) -> list[tuple[object, ...]]:
        if "uid IN" in sql:
            plans.extend(str(row[3]) for row in usual(f"EXPLAIN QUERY PLAN {sql}", *parameters))
        return usual(sql, *parameters)

    database.all = explained  # type: ignore[method-assign]
    group, names = scim.group("Sales")["id"], [f"nobody-{number}" for number in range(NAMED)]
    for kind in ("add", "remove"):
        members = [{"value": name} for name in names]
        scim.patch(f"/Groups/{group}", {"op": kind, "path": "members", "value": members})
    deployment.close()
    # The second statement of a removal is that of members who wait, a table of its own.
    of_users = [plan for plan in plans if "users" in plan]
    assert len(of_users) >= 2, plans
    assert all("(uid=?)" in plan for plan in of_users), of_users
