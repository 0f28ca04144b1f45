"""Attach volumes and detach them, and wait for what AWS does to volumes. Safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from snapset import errors
from snapset.aws.volumes import Volume, VolumeEc2
from snapset.retry import Patience, seconds_from_environment, wait_out_throttling

ATTACHED = "attached"

_WAIT_SECONDS = 300.0

Say = Callable[[str], None]


def attach_all(
    ec2: VolumeEc2,
    made: Mapping[str, Volume],
    *,
    devices: Mapping[str, str],
    instance_id: str,
    patience: Patience,
    say: Say,
) -> dict[str, Volume]:
    """Attach each volume at its device, wait until all are attached, and return them as they are then.

    Args:
        ec2: where.
        made: the available volumes, by any key.
        devices: the device of each, by the same key.
        instance_id: what to attach them to.
        patience: how long to go on after "not now".
        say: told in one line what is waited for.

    Raises:
        WaitTimeoutError: some are not attached in time.
    """
    for key, volume in made.items():
        if not volume.instance_id:
            device = devices[key]
            _attach(ec2, volume.volume_id, instance_id=instance_id, device=device, patience=patience, say=say)
    ids = [each.volume_id for each in made.values()]

    def all_attached(seen: Mapping[str, Volume]) -> bool:
        return len(seen) == len(ids) and all(each.attachment == ATTACHED for each in seen.values())

    seen = look_until(ec2, ids, all_attached)
    if late := [each for each in ids if each not in seen or seen[each].attachment != ATTACHED]:
        raise too_late(late, f"being attached to {instance_id}")
    return {key: seen[each.volume_id] for key, each in made.items()}


def _attach(ec2: VolumeEc2, volume_id: str, *, instance_id: str, device: str, patience: Patience, say: Say) -> None:
    call = partial(ec2.attach_volume, volume_id, instance_id=instance_id, device=device)
    try:
        wait_out_throttling(call, doing=f"attaching {volume_id}", patience=patience, say=say)
    except (errors.NotPermittedError, errors.UnreachableError):
        raise
    except errors.SnapsetError:
        # AWS refuses to attach what it has attached, be it that the answer was lost or that another run was quicker.
        where = {(each.instance_id, each.device_name) for each in ec2.describe_volumes([volume_id])}
        if where != {(instance_id, device)}:
            raise


def detach(ec2: VolumeEc2, volume: Volume, *, patience: Patience, say: Say) -> None:
    """Detach the volume from what it is attached to, and wait until it is.

    Raises:
        NotFoundError: there is no such volume any more.
        WaitTimeoutError: it is not detached in time.
    """
    call = partial(ec2.detach_volume, volume.volume_id, instance_id=volume.instance_id)
    try:
        wait_out_throttling(call, doing=f"detaching {volume.volume_id}", patience=patience, say=say)
    except (errors.NotPermittedError, errors.NotFoundError, errors.UnreachableError):
        raise
    except errors.SnapsetError:
        if any(each.instance_id for each in ec2.describe_volumes([volume.volume_id])):
            raise
    seen = look_until(ec2, [volume.volume_id], lambda seen: all(not each.instance_id for each in seen.values()))
    if any(each.instance_id for each in seen.values()):
        raise too_late([volume.volume_id], f"being detached from {volume.instance_id} (unmount it there)")


def look_until(
    ec2: VolumeEc2,
    volume_ids: Collection[str],
    done: Callable[[Mapping[str, Volume]], bool],
    *,
    seconds: float | None = None,
) -> dict[str, Volume]:
    """Return the volumes as they are once `done` says so of them, or once the time is up.

    The time is SNAPSET_VOLUME_SECONDS where `seconds` is left out. Volumes that EC2 can't see are left out.
    """
    allowed = seconds_from_environment("SNAPSET_VOLUME_SECONDS", _WAIT_SECONDS) if seconds is None else seconds
    give_up, pause = time.monotonic() + allowed, 0.5
    while True:
        seen = {each.volume_id: each for each in ec2.describe_volumes(list(volume_ids))}
        if done(seen) or time.monotonic() + pause > give_up:
            return seen
        time.sleep(pause)
        pause = min(pause * 1.5, 5.0)


def too_late(volume_ids: Sequence[str], what: str) -> errors.WaitTimeoutError:
    """Return the error for a wait whose time is up."""
    return errors.WaitTimeoutError(
        f"waiting for {', '.join(volume_ids)}: still {what} when the time was up. Run it again to go on."
    )
