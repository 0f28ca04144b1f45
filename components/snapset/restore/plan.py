"""Find out what a restore will do, and what stands in its way, before anything is created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from snapset import errors
from snapset.aws.ec2 import Instance, Snapshot
from snapset.aws.volumes import Volume, VolumeEc2
from snapset.restore.inputs import RESTORE, RESTORED_FOR, SNAPSHOT, RestoreInputs
from snapset.sets import tags
from snapset.sets.create import COMPLETED, ERROR
from snapset.sets.inputs import Problem
from snapset.sets.model import BOOT_DEVICES

_ATTACHABLE = ("running", "stopped", "stopping")
_GONE = ("deleting", "deleted", "error")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restore will do.

    Attributes:
        zone: where the volumes will be.
        snapshots: those to restore, the root volume's first, then in the order of the devices.
        devices: each snapshot's device; empty where it is not known.
        volumes: those that an earlier attempt made, by snapshot id.
        problems: what stands in the way, by the property that is to blame.
    """

    zone: str
    snapshots: tuple[Snapshot, ...]
    devices: Mapping[str, str]
    volumes: Mapping[str, Volume]
    problems: tuple[Problem, ...] = ()


def find_problems(ec2: VolumeEc2, inputs: RestoreInputs, *, say: Callable[[str], None]) -> list[Problem]:
    """Return every reason why the restore would fail now, by the property that is to blame. Creates nothing.

    What an earlier version of the same resource occupies is free: Pulumi deletes that first.

    Args:
        ec2: where.
        inputs: what would be asked for.
        say: told in one line what can't be checked for want of a permission or of an answer, which is no problem
            by itself.
    """
    unchecked = f"warning: the restore of {inputs.set_id} is not checked"
    try:
        try:
            plan = make_plan(ec2, inputs, replaces_its_own=True)
        except errors.NotPermittedError as error:
            say(f"{unchecked}: {error}")
            return []
        if not plan.problems:
            first = plan.snapshots[0]
            wanted = wanted_tags(inputs, plan, first)
            ec2.check_create_volume(inputs, snapshot_id=first.snapshot_id, zone=plan.zone, tags=wanted)
        return list(plan.problems)
    except (errors.ThrottledError, errors.NoAnswerError) as error:
        # The restore itself waits for better times; what only finds problems early must not be one.
        say(f"{unchecked}: {error}")
        return []
    except errors.SnapsetError as error:
        return [Problem(property="set_id", reason=errors.show(error))]


def make_plan(ec2: VolumeEc2, inputs: RestoreInputs, *, replaces_its_own: bool = False) -> Plan:
    """Look at the set, at the target, and at what an earlier attempt at the same restore has made.

    Raises:
        NotFoundError: there is no such set, or no such instance.
        SetFailedError: AWS set the set to `error`.
        InputError: the set is not whole, or has not completed.
    """
    snapshots = find_whole_set(ec2, inputs)
    devices = {
        each.snapshot_id: each.tags.get(tags.DEVICE) or inputs.devices.get(each.snapshot_id, "") for each in snapshots
    }
    instance = ec2.describe_instance(inputs.instance_id) if inputs.instance_id else None
    boot = (*BOOT_DEVICES, instance.root_device_name if instance else None)
    kept = [each for each in snapshots if not (inputs.exclude_boot_volume and devices[each.snapshot_id] in boot)]
    kept.sort(key=lambda each: (devices[each.snapshot_id] not in boot, devices[each.snapshot_id], each.snapshot_id))
    plan = Plan(
        zone=instance.availability_zone if instance else inputs.availability_zone or "",
        snapshots=tuple(kept),
        devices={each.snapshot_id: devices[each.snapshot_id] for each in kept},
        volumes=find_restored(ec2, inputs, kept),
    )
    return replace(plan, problems=tuple(_problems_of(ec2, inputs, plan, instance, replaces_its_own)))


def find_whole_set(ec2: VolumeEc2, inputs: RestoreInputs) -> list[Snapshot]:
    """Return all snapshots of the set, which have completed; see `make_plan` for what is raised."""
    doing = f"restoring {inputs.set_id}"
    snapshots = ec2.find_snapshots({f"tag:{tags.SET}": [inputs.set_id]})
    if not snapshots:
        raise errors.NotFoundError(
            f"{doing}: no snapshot in {inputs.region} has the tag {tags.SET} with this value. "
            "Check the id, the Region and the account."
        )
    if missing := sorted(inputs.devices.keys() - {each.snapshot_id for each in snapshots}):
        raise errors.InputError(f"{doing}: {', '.join(missing)} of it can't be found. Restore a set that is whole.")
    for each in snapshots:
        if each.state == ERROR:
            cause = (each.state_message or "AWS gives no reason").rstrip(".")
            raise errors.SetFailedError(f"{doing}: {each.snapshot_id} is in error: {cause}. Restore another set.")
    if pending := [f"{each.snapshot_id} ({each.progress})" for each in snapshots if each.state != COMPLETED]:
        raise errors.InputError(f"{doing}: not completed yet: {', '.join(pending)}. Run it again once they are.")
    return snapshots


def find_restored(ec2: VolumeEc2, inputs: RestoreInputs, snapshots: list[Snapshot]) -> dict[str, Volume]:
    """Return the volumes that an earlier attempt at this restore has made of these snapshots, by snapshot id."""
    wanted = {each.snapshot_id for each in snapshots}
    found = ec2.find_volumes({f"tag:{RESTORE}": [inputs.token]})
    there = [each for each in found if each.tags.get(SNAPSHOT) in wanted and each.state not in _GONE]
    # The oldest of each, in every run the same one.
    there.sort(key=lambda each: (each.create_time, each.volume_id), reverse=True)
    return {each.tags[SNAPSHOT]: each for each in there}


def wanted_tags(inputs: RestoreInputs, plan: Plan, snapshot: Snapshot) -> dict[str, str]:
    """Return the tags of the volume that is restored from a snapshot."""
    device = plan.devices[snapshot.snapshot_id]
    return inputs.tags_of(snapshot_id=snapshot.snapshot_id, device=device, tags=snapshot.tags)


def _problems_of(
    ec2: VolumeEc2, inputs: RestoreInputs, plan: Plan, instance: Instance | None, replaces_its_own: bool
) -> list[Problem]:
    if not plan.snapshots:
        return [Problem(property="exclude_boot_volume", reason="nothing is left to restore")]
    for each in plan.snapshots:
        if (number := len(wanted_tags(inputs, plan, each))) > tags.MAX_TAGS:
            reason = f"the volume of {each.snapshot_id} would have {number} tags; AWS takes at most {tags.MAX_TAGS}"
            return [Problem(property="tags", reason=reason)]
    if instance is None:
        if ec2.has_zone(plan.zone):
            return []
        return [Problem(property="availability_zone", reason=f"there is no zone {plan.zone} in {inputs.region}")]
    if instance.state not in _ATTACHABLE:
        reason = f"{instance.instance_id} is {instance.state}: no volume can be attached to it"
        return [Problem(property="instance_id", reason=reason)]
    if nameless := [each for each, device in plan.devices.items() if not device]:
        reason = f"the device of {', '.join(nameless)} is not known; tag it with {tags.DEVICE}"
        return [Problem(property="set_id", reason=reason)]
    astray = [_where(each) for key, each in plan.volumes.items() if _is_astray(each, instance, plan.devices[key])]
    if astray:
        reason = f"restored earlier, but moved since: {', '.join(astray)}; detach them, or delete them"
        return [Problem(property="instance_id", reason=reason)]
    return _occupied(ec2, inputs, plan, instance, replaces_its_own)


def _occupied(
    ec2: VolumeEc2, inputs: RestoreInputs, plan: Plan, instance: Instance, replaces_its_own: bool
) -> list[Problem]:
    own = {each.volume_id for each in plan.volumes.values()}
    wanted = set(plan.devices.values())
    taken = {device: each for each, device in instance.devices.items() if device in wanted and each not in own}
    if taken and replaces_its_own:
        occupants = ec2.describe_volumes(list(taken.values()))
        old = {each.volume_id for each in occupants if each.tags.get(RESTORED_FOR) == inputs.restored_for}
        taken = {device: each for device, each in taken.items() if each not in old}
    if not taken:
        return []
    named = ", ".join(f"{device} by {each}" for device, each in sorted(taken.items()))
    advice = "detach what is there"
    if instance.root_device_name in taken:
        advice = f"{instance.root_device_name} is its root: exclude_boot_volume (--exclude-boot) leaves it out" + (
            f"; of the others, {advice}" if len(taken) > 1 else ""
        )
    reason = f"devices of {instance.instance_id} are occupied: {named}; {advice}"
    return [Problem(property="instance_id", reason=reason)]


def _is_astray(volume: Volume, instance: Instance, device: str) -> bool:
    return bool(volume.instance_id) and (volume.instance_id, volume.device_name) != (instance.instance_id, device)


def _where(volume: Volume) -> str:
    return f"{volume.volume_id} (at {volume.device_name} of {volume.instance_id})"
