"""A set as a stack's state has it: written, and read again, in this file only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import NotRequired, TypedDict

from snapset.sets.create import Taken
from snapset.sets.finish import SetStatus
from snapset.sets.model import SnapshotRecord, SnapshotSet


class SetState(TypedDict):
    """The outputs that describe a set.

    `count` is how many snapshots it was taken with; Pulumi carries every number as a float. `outcome` is `created`,
    `adopted` or `unchanged`. `confirmed` says that AWS's answer named every volume, and `volumes` how they were.
    """

    set_id: str
    instance_id: str
    snapshot_ids: list[str]
    snapshots: list[SnapshotRecord]
    count: float | None
    owner_id: str
    start_time: str
    outcome: str
    confirmed: NotRequired[bool]
    volumes: NotRequired[dict[str, str]]


def state_of(taken: Taken) -> SetState:
    """Return the outputs that describe a set."""
    found = taken.set
    return SetState(
        set_id=found.set_id,
        instance_id=found.instance_id,
        snapshot_ids=found.snapshot_ids,
        snapshots=found.records(),
        count=found.count,
        owner_id=found.owner_id,
        start_time=found.start_time,
        outcome=taken.outcome,
    )


def set_from_state(state: Mapping[str, Any]) -> SnapshotSet:
    """Return the set that a resource's outputs describe."""
    return SnapshotSet.recorded(
        state["snapshots"],
        set_id=state["set_id"],
        instance_id=state["instance_id"],
        # A mock leaves it out.
        count=int(state["count"] or len(state["snapshots"])),
        owner_id=state.get("owner_id") or "",
    )


def status_from_state(state: Mapping[str, Any], *, trusts_answer: bool = False) -> SetStatus:
    """Return how a set stands, before EC2 was asked.

    Args:
        state: the outputs that describe it.
        trusts_answer: the set was taken in this very run, so that AWS's answer counts as seen.
    """
    is_confirmed = trusts_answer and bool(state.get("confirmed"))
    return SetStatus(set=set_from_state(state), outcome=str(state["outcome"]), is_confirmed=is_confirmed)
