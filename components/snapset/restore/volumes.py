"""Restore a set: one volume a snapshot, made once whatever fails, and attached where it was.

Each volume is made with a ClientToken, and carries the token of its restore as a tag from the call itself. A restore
looks for the volumes of its token first, and goes on from there: it makes what is missing and attaches what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ATTACHED, AVAILABLE, CREATING, IN_USE, Volume
from snapset.restore.inputs import FINISHED, RestoreInputs, Source, client_token
from snapset.restore.plan import Plan, find_new, make_plan
from snapset.retry import polls

# How often CreateVolume is tried where AWS gives no answer, and how often a volume that vanished is made again.
_ATTEMPTS = 4
# AWS hands out a volume's id for its token again even after that volume was deleted, for about a day; so the token of
# a restore that is done over and over, as in a drill, changes after these seconds.
_TOKEN_SECONDS = 600
# How long after a change the token from before is tried first: a run that was cut off may have used it.
_OVERLAP_SECONDS = 120


class VolumeRecord(TypedDict):
    """One restored volume, in JSON documents. `size_gib` in GiB, `state` is EC2's."""

    volume_id: str
    snapshot_id: str
    device_name: str
    size_gib: int
    availability_zone: str
    state: str


def restore_set(ec2: Ec2, inputs: RestoreInputs) -> list[VolumeRecord]:
    """Make one volume of each snapshot of the set, and attach each to the instance, if the inputs name one.

    Safe to repeat: the volumes that an earlier attempt made are taken up.

    Raises:
        InputError: the set or the target does not fit; nothing was created.
        SetFailedError: AWS set the set to `error`; nothing was created.
        WaitTimeoutError: the volumes are made, but not available or attached in time.
        SnapsetError: the answer of AWS. The volumes made so far stay, and a rerun goes on from there.
    """
    plan = make_plan(ec2, inputs)
    if plan.obstacle:
        raise errors.InputError(f"restoring {inputs.set_id}: {plan.obstacle}.")
    _show_earlier(ec2, inputs, plan)
    for source in plan.sources:
        found = plan.volumes.get(source.snapshot.snapshot_id)
        if found and not (wanted := inputs.tags_of(source)).items() <= found.tags.items():
            ec2.add_tags([found.volume_id], wanted)
    made = create_missing(ec2, inputs, plan)
    try:
        if inputs.instance_id:
            made = _attach_all(ec2, made, plan, instance_id=inputs.instance_id)
        # What was handed out once keeps the time of that.
        if new := [volume.volume_id for volume in made.values() if FINISHED not in volume.tags]:
            ec2.add_tags(new, {FINISHED: clock.stamp("milliseconds")})
    except errors.InputError as error:
        # The input is not what is wrong any more: something was made.
        volume_ids = ", ".join(volume.volume_id for volume in made.values())
        text = f"{error} The volumes stay: {volume_ids}. Run it again to go on."
        raise errors.SnapsetError(text, code=error.code) from error
    return [_record(source, made[source.snapshot.snapshot_id]) for source in plan.sources]


def _show_earlier(ec2: Ec2, inputs: RestoreInputs, plan: Plan) -> None:
    """Say which volumes of earlier runs are taken up, and which are not."""
    volume_ids = ", ".join(volume.volume_id for volume in plan.volumes.values())
    if plan.finished_at:
        ec2.say(f"{inputs.set_id}: restored at {plan.finished_at} as {volume_ids}, which an earlier run made")
    elif volume_ids:
        ec2.say(f"{inputs.set_id}: going on with {volume_ids}, which an earlier run made")
    if plan.set_aside:
        used = ", ".join(sorted(volume_id for volume_ids in plan.set_aside.values() for volume_id in volume_ids))
        ec2.say(f"{inputs.set_id}: an earlier restore made {used}, which may have been used since: making new ones")


def delete_volumes(ec2: Ec2, volume_ids: Sequence[str]) -> None:
    """Delete the volumes that a rollback replaced. Safe to repeat.

    A volume that is gone already counts as deleted; all are tried.

    Raises:
        SnapsetError: some could not be deleted; it names each with the reason.
    """
    kept: list[errors.SnapsetError] = []
    for volume in ec2.describe_volumes(volume_ids):
        try:
            ec2.delete_volume(volume.volume_id)
        except errors.NotFoundError:
            continue
        except errors.SnapsetError as error:
            kept.append(error)
    if kept:
        why = " ".join(str(error) for error in kept)
        raise type(kept[0])(
            f"deleting the replaced volumes: {len(kept)} of {len(volume_ids)} stay: {why} The rest is deleted; "
            "run it again once the reason is gone.",
            code=kept[0].code,
        )


def create_missing(ec2: Ec2, inputs: RestoreInputs, plan: Plan) -> dict[str, Volume]:
    """Make the volumes that no earlier attempt has made, and return all, by snapshot id, once they are there."""
    volume_ids = {snapshot_id: volume.volume_id for snapshot_id, volume in plan.volumes.items()}
    gone: list[str] = []
    for salt in _salts(clock.now().timestamp()):
        for source in plan.sources:
            if source.snapshot.snapshot_id not in volume_ids:
                volume_ids[source.snapshot.snapshot_id] = _create(ec2, inputs, plan, source, salt=salt)
        there = _wait_until_available(ec2, list(volume_ids.values()))
        gone = [volume_id for volume_id in volume_ids.values() if volume_id not in there]
        if not gone:
            return {snapshot_id: there[volume_id] for snapshot_id, volume_id in volume_ids.items()}
        volume_ids = {key: volume_id for key, volume_id in volume_ids.items() if volume_id in there}
    raise errors.SnapsetError(
        f"restoring {inputs.set_id}: {', '.join(gone)} vanished soon after CreateVolume, as volumes do whose KMS key "
        "may not be used. Check the key, and the permission to use it."
    )


def _salts(now: float) -> list[str]:
    """Return what the client tokens of an attempt, and of each repetition of it, are made with.

    Args:
        now: AWS's time, in seconds since 1970; two runs that follow each other closely begin with the same salt.
    """
    period, passed = divmod(int(now), _TOKEN_SECONDS)
    first = period - 1 if passed < _OVERLAP_SECONDS else period
    return [f"{first}.0", *(f"{period}.{attempt}" for attempt in range(1, _ATTEMPTS))]


def _create(ec2: Ec2, inputs: RestoreInputs, plan: Plan, source: Source, *, salt: str) -> str:
    snapshot = source.snapshot
    request = inputs.request(source, zone=plan.zone, outpost_arn=plan.outpost_arn)
    # AWS would hand out a volume that was set aside again for the token that it was made with.
    token = client_token(request, salt="".join([salt, *plan.set_aside.get(snapshot.snapshot_id, ())]))
    for unanswered in range(1, _ATTEMPTS + 1):
        try:
            return ec2.create_volume(request, client_token=token)
        except errors.NoAnswerError as error:
            # The token makes another call safe; some endpoints do not know tokens, so look for the volume first.
            ec2.say(f"creating the volume of {snapshot.snapshot_id}: no answer from AWS: looking whether it was made")
            if found := find_new(ec2, inputs, plan, snapshot):
                return found.volume_id
            if unanswered == _ATTEMPTS:
                again = "Run it again: it goes on from the volumes that exist."
                raise type(error)(f"{error} {again}", code=error.code) from error
    raise AssertionError


def _wait_until_available(ec2: Ec2, volume_ids: list[str]) -> dict[str, Volume]:
    """Return those of the volumes that are there, once none of them is still being created."""
    poll_until(ec2, volume_ids, lambda seen: len(seen) == len(volume_ids), seconds=ec2.limits.consistency)

    def none_is_creating(seen: Mapping[str, Volume]) -> bool:
        return all(volume.state != CREATING for volume in seen.values())

    seen = poll_until(ec2, volume_ids, none_is_creating, seconds=ec2.limits.volume)
    if late := [volume.volume_id for volume in seen.values() if volume.state == CREATING]:
        raise too_late(late, "being created")
    return {key: volume for key, volume in seen.items() if volume.state in (AVAILABLE, IN_USE)}


def _attach_all(ec2: Ec2, made: Mapping[str, Volume], plan: Plan, *, instance_id: str) -> dict[str, Volume]:
    """Attach each volume as it was attached, wait until all are, and return them as they are then."""
    devices = plan.devices
    for key, volume in made.items():
        if not volume.instance_id:
            attach(ec2, volume.volume_id, instance_id=instance_id, device=devices[key])
    seen = wait_until_attached(ec2, [volume.volume_id for volume in made.values()], instance_id)
    attached = {key: seen[volume.volume_id] for key, volume in made.items()}
    was_deleted = {source.device for source in plan.sources if source.was and source.was.delete_on_termination}
    set_delete_on_termination(ec2, attached.values(), was_deleted, instance_id=instance_id)
    return attached


def wait_until_attached(ec2: Ec2, volume_ids: Sequence[str], instance_id: str) -> dict[str, Volume]:
    """Wait until the volumes are attached, and return them, by id."""

    def all_attached(seen: Mapping[str, Volume]) -> bool:
        return len(seen) == len(volume_ids) and all(volume.attachment == ATTACHED for volume in seen.values())

    seen = poll_until(ec2, volume_ids, all_attached, seconds=ec2.limits.volume)
    if late := [key for key in volume_ids if key not in seen or seen[key].attachment != ATTACHED]:
        raise too_late(late, f"being attached to {instance_id}")
    return seen


def set_delete_on_termination(
    ec2: Ec2, attached: Iterable[Volume], devices: Collection[str], *, instance_id: str
) -> None:
    """Let the volumes at these devices be deleted with the instance, as before: a volume that is attached is not.

    If AWS refuses, warn: the volumes are attached, and at worst one stays after the instance.
    """
    to_set = [volume for volume in attached if volume.device_name in devices and not volume.deleted_with_instance]
    if not to_set:
        return
    try:
        ec2.set_delete_on_termination(instance_id, [volume.device_name for volume in to_set])
    except errors.UnreachableError:
        raise
    except (errors.NotPermittedError, errors.InputError) as error:
        volume_ids = ", ".join(volume.volume_id for volume in to_set)
        ec2.say(f"warning: {volume_ids} will stay when {instance_id} is terminated: {error}")


def attach(ec2: Ec2, volume_id: str, *, instance_id: str, device: str) -> None:
    """Begin to attach the volume, unless it is attached there already."""
    try:
        ec2.attach_volume(volume_id, instance_id=instance_id, device=device)
    except (errors.NotPermittedError, errors.UnreachableError):
        raise
    except errors.SnapsetError:
        # AWS refuses to attach an attached volume: the answer may have been lost, or another run was quicker.
        where = {(volume.instance_id, volume.device_name) for volume in ec2.describe_volumes([volume_id])}
        if where != {(instance_id, device)}:
            raise


def detach(ec2: Ec2, volume_id: str, *, instance_id: str) -> None:
    """Detach the volume from the instance, and wait until it is."""

    def all_detached(seen: Mapping[str, Volume]) -> bool:
        return not any(volume.instance_id for volume in seen.values())

    try:
        ec2.detach_volume(volume_id, instance_id=instance_id)
    except (errors.NotPermittedError, errors.NotFoundError, errors.UnreachableError):
        raise
    except errors.SnapsetError:
        if any(found.instance_id for found in ec2.describe_volumes([volume_id])):
            raise
    if not all_detached(poll_until(ec2, [volume_id], all_detached, seconds=ec2.limits.volume)):
        raise too_late([volume_id], f"being detached from {instance_id} (unmount it there)")


def poll_until(
    ec2: Ec2, volume_ids: Sequence[str], done: Callable[[Mapping[str, Volume]], bool], *, seconds: float
) -> dict[str, Volume]:
    """Return the volumes that EC2 can see, by id, once they are `done`, or once the time is up."""
    seen: dict[str, Volume] = {}
    for _ in polls(seconds):
        seen = {volume.volume_id: volume for volume in ec2.describe_volumes(volume_ids)}
        if done(seen):
            break
    return seen


def too_late(volume_ids: Sequence[str], what: str) -> errors.WaitTimeoutError:
    """Return the error of a wait for volumes whose time is up."""
    return errors.WaitTimeoutError(
        f"waiting for {', '.join(volume_ids)}: still {what} when the time was up. Run it again to go on."
    )


def _record(source: Source, volume: Volume) -> VolumeRecord:
    return VolumeRecord(
        volume_id=volume.volume_id,
        snapshot_id=source.snapshot.snapshot_id,
        device_name=volume.device_name or source.device,
        size_gib=volume.size_gib,
        availability_zone=volume.availability_zone,
        state=volume.state,
    )
