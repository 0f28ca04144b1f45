"""Find out what a restore will do, and what stands in its way, before anything is created."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, Instance, Snapshot, Volume
from snapset.restore.inputs import RESTORE, RESTORED_FOR, SNAPSHOT, RestoreInputs, restored_for
from snapset.retry import Retry
from snapset.rules import Problem
from snapset.sets import tags
from snapset.sets.find import find_set
from snapset.sets.model import BOOT_DEVICES, SnapshotSet

_ATTACHABLE = ("running", "stopped", "stopping")
_GONE = ("deleting", "deleted", "error")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restore will do.

    Attributes:
        zone: where the volumes will be.
        snapshots: those to restore, the root volume's first, then by device.
        devices: each snapshot's device; empty where it is not known.
        volumes: those that an earlier attempt made, by snapshot id.
        problems: what stands in the way, by the property that is to blame.
    """

    zone: str
    snapshots: tuple[Snapshot, ...]
    devices: Mapping[str, str]
    volumes: Mapping[str, Volume]
    problems: tuple[Problem, ...] = ()


def find_problems(ec2: Ec2, inputs: RestoreInputs, *, retry: Retry, renamed_from: str | None = None) -> list[Problem]:
    """Return every reason why the restore would fail now, by the property that is to blame. Creates nothing.

    If a check lacks a permission or an answer, that is said in one line, and is not reported as a problem.

    Args:
        ec2: where.
        inputs: what to restore.
        retry: whom to tell.
        renamed_from: the scope of the resource before it was renamed, if it was. The devices that its previous
            version holds count as free, because Pulumi deletes that version first.
    """
    scopes = {scope for scope in (inputs.scope, renamed_from) if scope}
    unchecked = f"warning: the restore of {inputs.set_id} is not checked"
    try:
        try:
            # An early check waits for nothing: restore_set() does.
            plan = make_plan(ec2, inputs, retry=replace(retry, throttle=0), replaced=scopes)
        except errors.NotPermittedError as error:
            retry.say(f"{unchecked}: {error}")
            return []
        if not plan.problems:
            first = plan.snapshots[0]
            ec2.check_create_volume(inputs.request(first, device=plan.devices[first.snapshot_id], zone=plan.zone))
        return list(plan.problems)
    except (errors.ThrottledError, errors.NoAnswerError) as error:
        # restore_set() retries these errors. An early check must not fail the run because of them.
        retry.say(f"{unchecked}: {error}")
        return []
    except errors.SnapsetError as error:
        return [Problem(property="set_id", reason=errors.show(error))]


def make_plan(ec2: Ec2, inputs: RestoreInputs, *, retry: Retry, replaced: Collection[str] = ()) -> Plan:
    """Look at the set, at the target, and at what an earlier attempt at the same restore has made.

    Raises:
        NotFoundError: there is no such set, or no such instance.
        SetFailedError: AWS set the set to `error`.
        InputError: the set is not whole, or has not completed.
    """
    found = _find_whole_set(ec2, inputs, retry=retry)
    instance = ec2.describe_instance(inputs.instance_id) if inputs.instance_id else None
    boot = (*BOOT_DEVICES, instance.root_device_name if instance else None)
    kept = [
        snapshot
        for snapshot in found.snapshots
        if not (inputs.exclude_boot_volume and found.devices[snapshot.snapshot_id] in boot)
    ]
    plan = Plan(
        zone=instance.availability_zone if instance else inputs.availability_zone or "",
        snapshots=tuple(kept),
        devices={snapshot.snapshot_id: found.devices[snapshot.snapshot_id] for snapshot in kept},
        volumes=find_restored(ec2, inputs, kept),
    )
    return replace(plan, problems=tuple(_problems_of(ec2, inputs, plan, instance, replaced)))


def find_restored(ec2: Ec2, inputs: RestoreInputs, snapshots: list[Snapshot]) -> dict[str, Volume]:
    """Return the volumes that an earlier attempt at this restore has made of these snapshots, by snapshot id."""
    wanted = {snapshot.snapshot_id for snapshot in snapshots}
    there = [
        volume
        for volume in ec2.find_volumes({f"tag:{RESTORE}": [inputs.token]})
        if volume.tags.get(SNAPSHOT) in wanted and volume.state not in _GONE
    ]
    # The oldest of each, in every run the same one.
    there.sort(key=lambda volume: (volume.create_time, volume.volume_id), reverse=True)
    return {volume.tags[SNAPSHOT]: volume for volume in there}


def _find_whole_set(ec2: Ec2, inputs: RestoreInputs, *, retry: Retry) -> SnapshotSet:
    doing = f"restoring {inputs.set_id}"
    found = find_set(ec2, inputs.set_id, retry=retry)
    if missing := sorted(inputs.devices.keys() - set(found.snapshot_ids)):
        raise errors.InputError(f"{doing}: {', '.join(missing)} of it can't be found. Restore a set that is whole.")
    if not found.is_whole:
        number = f"{len(found.snapshots)} of its {found.count or 'unknown number of'} snapshots are left"
        raise errors.InputError(f"{doing}: {number}. Restore a set that is whole.")
    for snapshot in found.snapshots:
        if snapshot.state == ERROR:
            cause = (snapshot.state_message or "AWS gives no reason").rstrip(".")
            raise errors.SetFailedError(f"{doing}: {snapshot.snapshot_id} is in error: {cause}. Restore another set.")
    pending = [
        f"{snapshot.snapshot_id} ({snapshot.progress})" for snapshot in found.snapshots if snapshot.state != COMPLETED
    ]
    if pending:
        raise errors.InputError(f"{doing}: not completed yet: {', '.join(pending)}. Run it again once they are.")
    devices = {key: device or inputs.devices.get(key, "") for key, device in found.devices.items()}
    return SnapshotSet.of(found.snapshots, set_id=found.set_id, instance_id=found.instance_id, devices=devices)


def _problems_of(
    ec2: Ec2, inputs: RestoreInputs, plan: Plan, instance: Instance | None, replaced: Collection[str]
) -> list[Problem]:
    if not plan.snapshots:
        return [Problem(property="exclude_boot_volume", reason="nothing is left to restore")]
    for snapshot in plan.snapshots:
        number = len(inputs.tags_of(snapshot, device=plan.devices[snapshot.snapshot_id]))
        if number > tags.MAX_TAGS:
            reason = (
                f"the volume of {snapshot.snapshot_id} would have {number} tags; AWS takes at most {tags.MAX_TAGS}"
            )
            return [Problem(property="tags", reason=reason)]
    if instance is None:
        if ec2.describe_zone_type(plan.zone):
            return []
        return [Problem(property="availability_zone", reason=f"there is no zone {plan.zone} in {inputs.region}")]
    if instance.state not in _ATTACHABLE:
        reason = f"{instance.instance_id} is {instance.state}: no volume can be attached to it"
        return [Problem(property="instance_id", reason=reason)]
    if nameless := [snapshot_id for snapshot_id, device in plan.devices.items() if not device]:
        reason = f"the device of {', '.join(nameless)} is not known; tag it with {tags.DEVICE}"
        return [Problem(property="set_id", reason=reason)]
    moved = [
        f"{volume.volume_id} (at {volume.device_name} of {volume.instance_id})"
        for snapshot_id, volume in plan.volumes.items()
        if _is_elsewhere(volume, instance, plan.devices[snapshot_id])
    ]
    if moved:
        reason = f"restored earlier, but moved since: {', '.join(moved)}; detach them, or delete them"
        return [Problem(property="instance_id", reason=reason)]
    return _occupied(ec2, plan, instance, replaced)


def _occupied(ec2: Ec2, plan: Plan, instance: Instance, replaced: Collection[str]) -> list[Problem]:
    own = {volume.volume_id for volume in plan.volumes.values()}
    wanted = set(plan.devices.values())
    taken = {
        device: volume_id
        for volume_id, device in instance.devices.items()
        if device in wanted and volume_id not in own
    }
    if taken and replaced:
        holders = {restored_for(scope) for scope in replaced}
        occupants = ec2.describe_volumes(list(taken.values()))
        old = {volume.volume_id for volume in occupants if volume.tags.get(RESTORED_FOR) in holders}
        taken = {device: volume_id for device, volume_id in taken.items() if volume_id not in old}
    if not taken:
        return []
    named = ", ".join(f"{device} by {volume_id}" for device, volume_id in sorted(taken.items()))
    advice = "detach what is there"
    if instance.root_device_name in taken:
        advice = f"{instance.root_device_name} is its root: exclude_boot_volume (--exclude-boot) leaves it out" + (
            f"; of the others, {advice}" if len(taken) > 1 else ""
        )
    reason = f"devices of {instance.instance_id} are occupied: {named}; {advice}"
    return [Problem(property="instance_id", reason=reason)]


def _is_elsewhere(volume: Volume, instance: Instance, device: str) -> bool:
    return bool(volume.instance_id) and (volume.instance_id, volume.device_name) != (instance.instance_id, device)
