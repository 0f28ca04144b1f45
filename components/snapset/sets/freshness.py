"""Which instances have no whole, completed set that is young enough: for monitoring. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from typing_extensions import TypedDict

from snapset.aws.records import COMPLETED
from snapset.sets.model import SnapshotSet


class CheckRecord(TypedDict):
    """One instance, in JSON documents.

    `set_id`, `start_time` and `age_seconds` are those of its newest whole and completed set, or null if it has none.
    """

    instance_id: str
    ok: bool
    set_id: str | None
    start_time: str | None
    age_seconds: int | None


def check_sets(instance_ids: Iterable[str], sets: Iterable[SnapshotSet], *, max_age: float) -> list[CheckRecord]:
    """Return how each instance stands, in the given order.

    Args:
        instance_ids: the instances.
        sets: the newest first, as `group` returns them.
        max_age: how old the newest whole and completed set may be, in seconds.
    """
    newest: dict[str, SnapshotSet] = {}
    for found in sets:
        # What a rollback has replaced is no backup of what is there now.
        if found.is_whole and found.state == COMPLETED and not found.is_safety_set:
            newest.setdefault(found.instance_id, found)
    return [_record(instance_id, newest.get(instance_id), max_age=max_age) for instance_id in instance_ids]


def _record(instance_id: str, newest: SnapshotSet | None, *, max_age: float) -> CheckRecord:
    return CheckRecord(
        instance_id=instance_id,
        ok=newest is not None and newest.age <= max_age,
        set_id=newest.set_id if newest else None,
        start_time=newest.start_time if newest else None,
        age_seconds=round(newest.age) if newest else None,
    )
