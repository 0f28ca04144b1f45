"""Claim a set for the resource that holds it, and delete a set that no other resource has claimed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.retry import Retry
from snapset.sets import tags
from snapset.sets.model import SnapshotSet
from snapset.sets.threads import for_each
from snapset.sets.volume_tag import VolumeAttributes

# As many ids fit in the value of one tag.
_MARKED_AT_ONCE = 11
# CreateTags takes a thousand resources; an error names all of a call.
_ANNOUNCED_AT_ONCE = 200


def claim_set(ec2: Ec2, taken: SnapshotSet, *, claim: str, retry: Retry, adopted: bool = False) -> None:
    """Claim one set, or a part of it; see `claim_sets`.

    Args:
        ec2: where.
        taken: the set, or a part of it.
        claim: the value by which the resource tells its own set from another's.
        retry: how long to go on trying.
        adopted: another run took the set.

    Raises:
        SnapsetError: why it could not be claimed.
    """
    for error in claim_sets(
        ec2, [taken], claim=claim, adopted=[taken.set_id] if adopted else [], retry=retry
    ).values():
        raise error


def claim_sets(
    ec2: Ec2,
    taken: Sequence[SnapshotSet],
    *,
    claim: str,
    adopted: Collection[str] = (),
    attributes: Mapping[str, str] | None = None,
    retry: Retry,
) -> dict[str, errors.SnapsetError]:
    """Mark each snapshot with the claim of the resource that holds it, and with all that a restore has to know.

    That is its device, its own id, how its volume was, and which others there are. Snapshots with the same marks
    share a call. Safe to repeat.

    Args:
        ec2: where.
        taken: the sets, or parts of them.
        claim: the value by which the resource tells its own sets from another's.
        adopted: the ids of the sets that another run took, so that its claim is not overwritten.
        attributes: how the volumes were when the sets were taken, as far as that is known; else as they are now.
        retry: how long to go on trying, with each call.

    Returns:
        Why some could not be claimed, by the set's id.
    """
    failures: dict[str, errors.SnapsetError] = {}
    set_ids = {snapshot_id: found.set_id for found in taken for snapshot_id in found.snapshot_ids}

    def mark(part: tuple[Mapping[str, str], list[str]]) -> None:
        wanted, snapshot_ids = part
        try:
            _tag_new(ec2, snapshot_ids, {**wanted, tags.SNAPSHOT: ",".join(snapshot_ids)}, retry=retry)
        except errors.SnapsetError as error:
            if len(snapshot_ids) == 1:
                failures.setdefault(set_ids[snapshot_ids[0]], error)
                return
            # One may be to blame for all.
            for snapshot_id in snapshot_ids:
                mark((wanted, [snapshot_id]))

    attributes = {**_find_attributes(ec2, taken, known=attributes or {}, retry=retry), **(attributes or {})}
    for_each(mark, list(_marks_of(taken, attributes, claim=claim, adopted=adopted)), abreast=len(taken) > 1)
    return failures


def _marks_of(
    taken: Sequence[SnapshotSet], attributes: Mapping[str, str], *, claim: str, adopted: Collection[str]
) -> Iterator[tuple[Mapping[str, str], list[str]]]:
    """Return tags, each with the snapshots that are to have them."""
    alike: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for found in taken:
        claimed = {f"{tags.ADOPTER}{claim}": tags.HOLDS} if found.set_id in adopted else {tags.CLAIM: claim}
        for snapshot in found.snapshots:
            wanted = {
                **claimed,
                tags.COUNT: str(found.count),
                tags.DEVICE: found.devices[snapshot.snapshot_id],
                tags.DEVICES: tags.devices_text(found.devices.values()),
            }
            if snapshot.volume_id in attributes:
                wanted[tags.VOLUME] = attributes[snapshot.volume_id]
            alike[tuple(wanted.items())].append(snapshot.snapshot_id)
    for marks, snapshot_ids in alike.items():
        for start in range(0, len(snapshot_ids), _MARKED_AT_ONCE):
            yield dict(marks), snapshot_ids[start : start + _MARKED_AT_ONCE]


def announce_claim(ec2: Ec2, adopted: Sequence[SnapshotSet], *, claim: str, retry: Retry) -> None:
    """Tag adopted sets as about to be held by another resource than the one that took them.

    If the old resource turns out to hold such a set in its state, deleting that resource must not delete the set.
    Until it is claimed, a rerun can still adopt the set.
    """
    snapshot_ids = [snapshot_id for found in adopted for snapshot_id in found.snapshot_ids]
    for start in range(0, len(snapshot_ids), _ANNOUNCED_AT_ONCE):
        some = snapshot_ids[start : start + _ANNOUNCED_AT_ONCE]
        _tag_new(ec2, some, {f"{tags.ADOPTER}{claim}": tags.ANNOUNCED}, retry=retry)


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


def _find_attributes(
    ec2: Ec2, taken: Sequence[SnapshotSet], *, known: Collection[str], retry: Retry
) -> dict[str, str]:
    """Return how the volumes are, by id. Where they can't be described, that is said, and marked is what is known."""
    unknown = sorted({key for found in taken for key in found.volume_ids} - set(known))
    if not unknown:
        return {}
    describe = partial(ec2.describe_volumes, unknown)
    which = taken[0].set_id if len(taken) == 1 else f"{len(taken)} sets"
    try:
        volumes = retry.while_throttled(describe, doing=f"describing the volumes of {which}")
    except errors.SnapsetError as error:
        retry.say(f"warning: {which}: the types of the volumes are not recorded: {error}")
        return {}
    return {volume.volume_id: VolumeAttributes.of(volume).text() for volume in volumes}


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
