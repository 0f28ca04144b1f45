"""Claim the sets that a state holds, and mark each snapshot with all that a restore has to know."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Volume
from snapset.sets import tags
from snapset.sets.model import SnapshotSet
from snapset.sets.threads import for_each
from snapset.sets.volume_tag import VolumeAttributes

# 11 ids of 22 characters fit in a 256-character tag.
_MARKED_AT_ONCE = 11


def claim_set(ec2: Ec2, taken: SnapshotSet, *, claim: str) -> None:
    """Claim one set, or a part of it; see `claim_sets`.

    Raises:
        SnapsetError: why it could not be claimed.
    """
    for error in claim_sets(ec2, [taken], claim=claim).values():
        raise error


def claim_sets(
    ec2: Ec2, taken: Sequence[SnapshotSet], *, claim: str, attributes: Mapping[str, str] | None = None
) -> dict[str, errors.SnapsetError]:
    """Mark each snapshot with the claim of the resource that holds it, and with all that a restore has to know.

    That is its device, its own id, how its volume was, and which others there are. Snapshots with the same marks
    share a call. Safe to repeat.

    Args:
        ec2: where.
        taken: the sets, or parts of them.
        claim: the value by which the resource tells its own sets from another's.
        attributes: how the volumes were when the sets were taken, as far as that is known; else as they are now.

    Returns:
        Why some could not be claimed, by the set's id.
    """
    failures: dict[str, errors.SnapsetError] = {}
    set_ids = {snapshot_id: found.set_id for found in taken for snapshot_id in found.snapshot_ids}

    def mark(part: tuple[Mapping[str, str], list[str]]) -> None:
        wanted, snapshot_ids = part
        try:
            _tag_new(ec2, snapshot_ids, {**wanted, tags.SNAPSHOT: ",".join(snapshot_ids)})
        except errors.SnapsetError as error:
            if len(snapshot_ids) == 1:
                failures.setdefault(set_ids[snapshot_ids[0]], error)
                return
            # One may be to blame for all.
            for snapshot_id in snapshot_ids:
                mark((wanted, [snapshot_id]))

    attributes = attributes or {}
    volumes = _find_volumes(ec2, taken, known=attributes)
    for_each(mark, list(_marks_of(taken, attributes, volumes, claim=claim)), abreast=len(taken) > 1)
    return failures


def complete_claim(ec2: Ec2, found: SnapshotSet, *, volumes: Mapping[str, str]) -> SnapshotSet:
    """Mark the rest of a set that a killed run has claimed in part, with the claim that it bears already.

    If the rest can't be marked, warn.

    Args:
        ec2: where.
        found: a set that somebody has claimed.
        volumes: the instance's volumes, each with its device.

    Returns:
        The set, with the devices of all snapshots.
    """
    rest = {one.snapshot_id for one in found.snapshots if not one.tags.get(tags.CLAIM)}
    if not rest:
        return found
    known = {one.volume_id: device for one in found.snapshots if (device := found.devices[one.snapshot_id])}
    whole = found.with_devices_of({**volumes, **known})
    part = replace(whole, snapshots=tuple(one for one in whole.snapshots if one.snapshot_id in rest))
    try:
        claim_set(ec2, part, claim=min(found.claims))
    except errors.SnapsetError as error:
        ec2.say(f"warning: {found.set_id}: not all of its snapshots could be tagged: {error}")
    return whole


def find_other_claims(ec2: Ec2, snapshot_ids: Sequence[str], *, claim: str) -> list[str]:
    """Return those of the snapshots that another resource holds."""
    found = ec2.describe_snapshots(snapshot_ids)
    return [snapshot.snapshot_id for snapshot in found if snapshot.tags.get(tags.CLAIM, claim) not in ("", claim)]


def _marks_of(
    taken: Sequence[SnapshotSet], attributes: Mapping[str, str], volumes: Mapping[str, Volume], *, claim: str
) -> Iterator[tuple[Mapping[str, str], list[str]]]:
    """Yield tags, each with the snapshots that are to have them."""
    alike: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for found in taken:
        for snapshot in found.snapshots:
            wanted = {
                tags.CLAIM: claim,
                tags.COUNT: str(found.count),
                tags.DEVICE: found.devices[snapshot.snapshot_id],
                tags.DEVICES: tags.devices_text(found.devices.values()),
            }
            if snapshot.volume_id in attributes:
                wanted[tags.VOLUME] = attributes[snapshot.volume_id]
            elif volume := volumes.get(snapshot.volume_id):
                wanted[tags.VOLUME] = VolumeAttributes.of(volume.at(found.instance_id)).text()
            alike[tuple(wanted.items())].append(snapshot.snapshot_id)
    for marks, snapshot_ids in alike.items():
        for start in range(0, len(snapshot_ids), _MARKED_AT_ONCE):
            yield dict(marks), snapshot_ids[start : start + _MARKED_AT_ONCE]


def _find_volumes(ec2: Ec2, taken: Sequence[SnapshotSet], *, known: Collection[str]) -> dict[str, Volume]:
    """Return the volumes, by id. If they can't be described, warn, and mark only what is known."""
    unknown = sorted({key for found in taken for key in found.volume_ids} - set(known))
    if not unknown:
        return {}
    try:
        return {volume.volume_id: volume for volume in ec2.describe_volumes(unknown)}
    except errors.SnapsetError as error:
        which = taken[0].set_id if len(taken) == 1 else f"{len(taken)} sets"
        ec2.say(f"warning: {which}: the types of the volumes are not recorded: {error}")
        return {}


def _tag_new(ec2: Ec2, snapshot_ids: Sequence[str], wanted: Mapping[str, str]) -> None:
    deadline = time.monotonic() + ec2.limits.consistency
    while True:
        try:
            return ec2.add_tags(snapshot_ids, wanted)
        except errors.NotFoundError:
            # The snapshots have only just been made, and not every part of EC2 knows them yet.
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
