"""Restore a set: one volume a snapshot, made once whatever fails, and attached where it was; and undo that.

Each volume is made with a ClientToken, and carries the token of its restore as a tag from the call itself. A restore
looks for the volumes of its token first, and goes on from there: it makes what is missing and attaches what is not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from snapset import errors
from snapset.aws.ec2 import Snapshot
from snapset.aws.volumes import Volume, VolumeEc2
from snapset.restore.attach import Say, attach_all, detach, look_until, too_late
from snapset.restore.inputs import RestoreInputs
from snapset.restore.plan import Plan, find_restored, make_plan, wanted_tags
from snapset.retry import Patience, wait_out_throttling
from snapset.sets import tags

AVAILABLE = "available"
CREATING = "creating"
IN_USE = "in-use"

# How often CreateVolume is called in all where AWS gives no answer, and where the volume vanishes again.
_ATTEMPTS = 4
# AWS hands out a volume's id for its token again even after that volume was deleted, for about a day; so the token of
# a restore that is done over and over, as in a drill, changes after these seconds.
_TOKEN_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class RestoredVolume:
    """One volume of a restored set. `size_gib` in GiB."""

    volume_id: str
    snapshot_id: str
    device_name: str
    size_gib: int
    availability_zone: str
    state: str


def restore_set(ec2: VolumeEc2, inputs: RestoreInputs, *, say: Say = lambda text: None) -> list[RestoredVolume]:
    """Make one volume of each snapshot of the set, and attach each to the instance, if the inputs name one.

    Safe to repeat: what an earlier attempt made is taken up.

    Args:
        ec2: where.
        inputs: what to restore, and where to.
        say: told in one line what is waited for, and what is taken up.

    Raises:
        InputError: the set or the target does not fit; nothing was created.
        SetFailedError: AWS set the set to `error`; nothing was created.
        WaitTimeoutError: the volumes are made, but not available or attached in time.
        SnapsetError: the answer of AWS. The volumes made so far stay, and a rerun goes on from there.
    """
    patience = Patience.from_environment()
    plan = wait_out_throttling(
        lambda: make_plan(ec2, inputs), doing=f"restoring {inputs.set_id}", patience=patience, say=say
    )
    for problem in plan.problems:
        raise errors.InputError(f"restoring {inputs.set_id}: {problem.reason}.")
    if plan.volumes:
        ids = ", ".join(each.volume_id for each in plan.volumes.values())
        say(f"{inputs.set_id}: going on with {ids}, which an earlier run made")
    for snapshot in plan.snapshots:
        found, wanted = plan.volumes.get(snapshot.snapshot_id), wanted_tags(inputs, plan, snapshot)
        if found and not wanted.items() <= found.tags.items():
            ec2.tag_volumes([found.volume_id], wanted)
    made = _create_missing(ec2, inputs, plan, patience=patience, say=say)
    if inputs.instance_id:
        made = attach_all(ec2, made, devices=plan.devices, instance_id=inputs.instance_id, patience=patience, say=say)
    return [_record(each, plan, made[each.snapshot_id]) for each in plan.snapshots]


def delete_volumes(
    ec2: VolumeEc2, volume_ids: Sequence[str], *, instance_id: str | None, say: Say = lambda text: None
) -> None:
    """Detach the volumes from the instance they were attached to, and delete them. Safe to repeat.

    A volume that is gone already counts as deleted; all are tried.

    Raises:
        SnapsetError: some could not be deleted, or are attached to another instance; it names each with the reason.
    """
    patience = Patience.from_environment()
    there = {each.volume_id: each for each in ec2.describe_volumes(volume_ids)}
    kept: list[errors.SnapsetError] = []
    for volume in there.values():
        try:
            if volume.instance_id and volume.instance_id == instance_id:
                detach(ec2, volume, patience=patience, say=say)
            call = partial(ec2.delete_volume, volume.volume_id)
            wait_out_throttling(call, doing=f"deleting {volume.volume_id}", patience=patience, say=say)
        except errors.NotFoundError:
            continue
        except errors.SnapsetError as error:
            kept.append(error)
    if kept:
        why = " ".join(str(error) for error in kept)
        raise type(kept[0])(
            f"deleting the restored volumes: {len(kept)} of {len(volume_ids)} stay: {why} The rest is deleted; "
            "run it again once the reason is gone.",
            code=kept[0].code,
        )


def _create_missing(
    ec2: VolumeEc2, inputs: RestoreInputs, plan: Plan, *, patience: Patience, say: Say
) -> dict[str, Volume]:
    period = int(time.time()) // _TOKEN_SECONDS
    ids = {snapshot_id: each.volume_id for snapshot_id, each in plan.volumes.items()}
    gone: list[str] = []
    for attempt in range(_ATTEMPTS):
        for snapshot in plan.snapshots:
            if snapshot.snapshot_id not in ids:
                ids[snapshot.snapshot_id] = _create(
                    ec2, inputs, plan, snapshot, salt=f"{period}.{attempt}", patience=patience, say=say
                )
        there = _wait_until_available(ec2, list(ids.values()), patience=patience)
        gone = [each for each in ids.values() if each not in there]
        if not gone:
            return {snapshot_id: there[each] for snapshot_id, each in ids.items()}
        ids = {snapshot_id: each for snapshot_id, each in ids.items() if each in there}
    raise errors.SnapsetError(
        f"restoring {inputs.set_id}: {', '.join(gone)} vanished soon after CreateVolume, as volumes do whose KMS key "
        "may not be used. Check kms_key_id, and the permission to use the key."
    )


def _create(
    ec2: VolumeEc2,
    inputs: RestoreInputs,
    plan: Plan,
    snapshot: Snapshot,
    *,
    salt: str,
    patience: Patience,
    say: Say,
) -> str:
    wanted, doing = wanted_tags(inputs, plan, snapshot), f"creating the volume of {snapshot.snapshot_id}"
    call = partial(
        ec2.create_volume,
        inputs,
        snapshot_id=snapshot.snapshot_id,
        zone=plan.zone,
        tags=wanted,
        client_token=inputs.client_token(snapshot_id=snapshot.snapshot_id, tags=wanted, salt=salt),
    )
    for unanswered in range(1, _ATTEMPTS + 1):
        try:
            return wait_out_throttling(call, doing=doing, patience=patience, say=say)
        except errors.NoAnswerError as error:
            # The token makes another call safe; the look is for an endpoint that does not know tokens.
            say(f"{doing}: no answer from AWS: looking whether it was made")
            if found := find_restored(ec2, inputs, [snapshot]):
                return found[snapshot.snapshot_id].volume_id
            if unanswered == _ATTEMPTS:
                again = "Run it again: it goes on from the volumes that exist."
                raise type(error)(f"{error} {again}", code=error.code) from error
    raise AssertionError


def _wait_until_available(ec2: VolumeEc2, volume_ids: list[str], *, patience: Patience) -> dict[str, Volume]:
    """Return those of the volumes that are there, once none of them is still being created."""
    look_until(ec2, volume_ids, lambda seen: len(seen) == len(volume_ids), seconds=patience.consistency)
    seen = look_until(ec2, volume_ids, lambda seen: all(each.state != CREATING for each in seen.values()))
    if late := [each for each in seen if seen[each].state == CREATING]:
        raise too_late(late, "being created")
    return {each: volume for each, volume in seen.items() if volume.state in (AVAILABLE, IN_USE)}


def _record(snapshot: Snapshot, plan: Plan, volume: Volume) -> RestoredVolume:
    return RestoredVolume(
        volume_id=volume.volume_id,
        snapshot_id=snapshot.snapshot_id,
        device_name=volume.device_name or plan.devices[snapshot.snapshot_id] or snapshot.tags.get(tags.DEVICE, ""),
        size_gib=volume.size_gib,
        availability_zone=volume.availability_zone,
        state=volume.state,
    )
