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
from snapset.sets.volume import VolumeAttributes


def claim_set(ec2: Ec2, taken: SnapshotSet, *, claim: str, retry: Retry, adopted: bool = False) -> None:
    """Mark each snapshot with the claim of the resource that holds it, and with all that a restore has to know.

    That is its device, its own id, how its volume was, and which others there are. Safe to repeat.

    Args:
        ec2: where.
        taken: the set, or a part of it.
        claim: the value by which the resource tells its own set from another's.
        retry: how long to go on trying.
        adopted: another run took the set, so its claim is not overwritten.
    """
    claimed = {f"{tags.ADOPTER}{claim}": tags.HOLDS} if adopted else {tags.CLAIM: claim}
    attributes = _find_attributes(ec2, taken, retry=retry)
    for snapshot in taken.snapshots:
        wanted = {
            **claimed,
            tags.COUNT: str(taken.count),
            tags.DEVICE: taken.devices[snapshot.snapshot_id],
            tags.DEVICES: tags.devices_text(taken.devices.values()),
            tags.SNAPSHOT: snapshot.snapshot_id,
        }
        if snapshot.volume_id in attributes:
            wanted[tags.VOLUME] = attributes[snapshot.volume_id].text()
        _tag_new(ec2, [snapshot.snapshot_id], wanted, retry=retry)


def announce_claim(ec2: Ec2, adopted: SnapshotSet, *, claim: str, retry: Retry) -> None:
    """Tag an adopted set as about to be held by another resource than the one that took it.

    If the old resource turns out to hold this set in its state, deleting that resource must not delete the set. Until
    it is claimed, a rerun can still adopt the set.
    """
    _tag_new(ec2, adopted.snapshot_ids, {f"{tags.ADOPTER}{claim}": tags.ANNOUNCED}, retry=retry)


def find_other_claims(ec2: Ec2, snapshot_ids: Sequence[str], *, claim: str) -> list[str]:
    """Return those of the snapshots that another resource holds."""
    found = ec2.describe_snapshots(snapshot_ids)
    return [snapshot.snapshot_id for snapshot in found if tags.claims_of(snapshot.tags) - {claim}]


def delete_set(ec2: Ec2, snapshot_ids: Sequence[str], *, set_id: str, claim: str, retry: Retry) -> list[str]:
    """Delete each snapshot of the set, unless another resource has claimed one, or is about to: then all stay.

    Returns the snapshots that another resource has claimed. A snapshot that is gone already counts as deleted; all
    are tried.

    Raises:
        SnapsetError: some could not be deleted; it names each with AWS's reason.
    """
    found = retry.while_throttled(partial(ec2.describe_snapshots, snapshot_ids), doing=f"deleting {set_id}")
    if others := [snapshot.snapshot_id for snapshot in found if tags.claimants_of(snapshot.tags) - {claim}]:
        return others
    if kept := list(delete_snapshots(ec2, snapshot_ids, retry=retry).values()):
        why = " ".join(str(error) for error in kept)
        raise type(kept[0])(
            f"deleting {set_id}: {len(kept)} of {len(snapshot_ids)} snapshots stay: {why} The rest is deleted; "
            "run it again once the reason is gone, or set on_delete to retain.",
            code=kept[0].code,
        )
    return []


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


def _find_attributes(ec2: Ec2, taken: SnapshotSet, *, retry: Retry) -> dict[str, VolumeAttributes]:
    """Return how the volumes are, by id; that some can't be described is said, and the set is marked all the same."""
    describe = partial(ec2.describe_volumes, sorted(taken.volume_ids))
    try:
        volumes = retry.while_throttled(describe, doing=f"describing the volumes of {taken.instance_id}")
    except errors.SnapsetError as error:
        retry.say(f"warning: {taken.set_id}: the types of its volumes are not recorded: {error}")
        return {}
    return {volume.volume_id: VolumeAttributes.of(volume) for volume in volumes}


def _tag_new(ec2: Ec2, snapshot_ids: Sequence[str], wanted: Mapping[str, str], *, retry: Retry) -> None:
    add, doing = partial(ec2.add_tags, snapshot_ids, wanted), f"tagging {', '.join(snapshot_ids)}"
    deadline = time.monotonic() + retry.consistency
    while True:
        try:
            return retry.while_throttled(add, doing=doing)
        except errors.NotFoundError:
            # The snapshots have only just been made, and not every part of EC2 knows them yet.
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
