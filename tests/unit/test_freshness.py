"""`snapset.sets.freshness`: which instances have no fresh backup."""

from __future__ import annotations

import datetime
from typing import Any

from snapset.aws.records import Snapshot
from snapset.sets import tags
from snapset.sets.freshness import check_sets
from snapset.sets.model import SnapshotSet, group

FRESH, OLD, BROKEN, NONE = (f"i-{number:017x}" for number in range(4))
HOUR = 3600.0


def a_set(
    instance_id: str, number: int, *, hours: float, state: str = "completed", count: int = 1, **more: Any
) -> Snapshot:
    taken = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=hours)
    marks = {tags.SET: f"set-{number:017x}", tags.TOKEN: "t", tags.INSTANCE: instance_id, tags.COUNT: str(count)}
    return Snapshot(
        snapshot_id=f"snap-{number:017x}",
        volume_id="vol-1",
        size_gib=8,
        encrypted=False,
        state=state,
        progress="100%",
        start_time=taken.isoformat(),
        owner_id="123456789012",
        tags={**marks, tags.SNAPSHOT: f"snap-{number:017x}"},
        **more,
    )


def test_only_the_newest_whole_and_completed_set_counts() -> None:
    sets: list[SnapshotSet] = group(
        [
            a_set(FRESH, 1, hours=30),
            a_set(FRESH, 2, hours=2),
            a_set(FRESH, 3, hours=1, state="pending"),
            a_set(OLD, 4, hours=25),
            a_set(OLD, 7, hours=1, is_archived=True),
            a_set(BROKEN, 5, hours=1, state="error"),
            a_set(BROKEN, 6, hours=1, count=2),
        ]
    )
    records = check_sets([NONE, FRESH, OLD, BROKEN], sets, max_age=24 * HOUR)
    assert [(record["instance_id"], record["ok"], record["set_id"]) for record in records] == [
        (NONE, False, None),
        (FRESH, True, f"set-{2:017x}"),
        (OLD, False, f"set-{4:017x}"),
        (BROKEN, False, None),
    ]
    ages = [record["age_seconds"] for record in records]
    assert ages[0] is None
    assert ages[1] is not None
    assert abs(ages[1] - 2 * HOUR) < 60
    assert records[0]["start_time"] is None


def test_no_instances_are_no_failure() -> None:
    assert check_sets([], [], max_age=1) == []
