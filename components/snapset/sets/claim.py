"""Claim a set for the resource that holds it, and delete a set that no other resource has claimed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.retry import Retry
from snapset.sets import tags
from snapset.sets.model import SnapshotSet


def claim_set(ec2: Ec2, taken: SnapshotSet, *, claim: str, retry: Retry) -> None:
    """Tag each snapshot with the claim of the resource that holds it, its device, and the count. Safe to repeat."""
    for snapshot_id in taken.snapshot_ids:
        wanted = {tags.CLAIM: claim, tags.COUNT: str(taken.count), tags.DEVICE: taken.devices[snapshot_id]}
        _tag_new(ec2, [snapshot_id], {key: value for key, value in wanted.items() if value}, retry=retry)


def announce_claim(ec2: Ec2, adopted: SnapshotSet, *, claim: str, retry: Retry) -> None:
    """Tag an adopted set as about to be held by another resource than the one that took it.

    If the old resource turns out to hold this set in its state, deleting that resource must not delete the set. Until
    it is claimed, a rerun can still adopt the set.
    """
    _tag_new(ec2, adopted.snapshot_ids, {tags.CLAIM: tags.announce(claim)}, retry=retry)


def delete_set(ec2: Ec2, snapshot_ids: Sequence[str], *, set_id: str, claim: str, retry: Retry) -> list[str]:
    """Delete each snapshot of the set, and return the ids of those that another resource has claimed, which stay.

    A snapshot that is gone already counts as deleted; all are tried.

    Raises:
        SnapsetError: some could not be deleted; it names each with AWS's reason.
    """
    holders = {
        snapshot.snapshot_id: tags.holder_of(snapshot.tags) for snapshot in ec2.describe_snapshots(snapshot_ids)
    }
    others = [snapshot_id for snapshot_id in snapshot_ids if holders.get(snapshot_id) not in (None, claim)]
    own = [snapshot_id for snapshot_id in snapshot_ids if snapshot_id not in others]
    if kept := list(delete_snapshots(ec2, own, retry=retry).values()):
        why = " ".join(str(error) for error in kept)
        raise type(kept[0])(
            f"deleting {set_id}: {len(kept)} of {len(snapshot_ids)} snapshots stay: {why} The rest is deleted; "
            "run it again once the reason is gone, or set on_delete to retain.",
            code=kept[0].code,
        )
    return others


def delete_snapshots(ec2: Ec2, snapshot_ids: Sequence[str], *, retry: Retry) -> dict[str, errors.SnapsetError]:
    """Delete each snapshot; return why some stay, by id. What is gone already counts as deleted; all are tried."""
    kept: dict[str, errors.SnapsetError] = {}
    for snapshot_id in snapshot_ids:
        try:
            retry.while_throttled(partial(ec2.delete_snapshot, snapshot_id), doing=f"deleting {snapshot_id}")
        except errors.NotFoundError:
            continue
        except errors.SnapsetError as error:
            kept[snapshot_id] = error
    return kept


def _tag_new(ec2: Ec2, snapshot_ids: Sequence[str], wanted: Mapping[str, str], *, retry: Retry) -> None:
    give_up = time.monotonic() + retry.consistency
    while True:
        try:
            return ec2.add_tags(snapshot_ids, wanted)
        except errors.NotFoundError:
            # The snapshots have only just been made, and not every part of EC2 knows them yet.
            if time.monotonic() > give_up:
                raise
            time.sleep(1)
