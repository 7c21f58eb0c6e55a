"""What is kept of a user's groups between requests."""

from __future__ import annotations

from gateway.store.records import MemberRecord, cache_short


def test_what_is_made_of_few_groups_is_made_once_and_of_many_each_time() -> None:
    made = []

    @cache_short(2)
    def names(groups: tuple[MemberRecord, ...], joint: str) -> str:
        made.append(len(groups))
        return joint.join(group.display for group in groups)

    groups = tuple(MemberRecord(str(number), f"Group {number}") for number in range(3))
    for _ in range(2):
        assert names(groups[:2], "-") == "Group 0-Group 1"
        assert names(groups[:2], "+") == "Group 0+Group 1"
        assert names(groups, "-") == "Group 0-Group 1-Group 2"
    # Renamed is another group.
    assert names((groups[0]._replace(display="Sales"),), "-") == "Sales"
    assert made == [2, 2, 3, 3, 1]
