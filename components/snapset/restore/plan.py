"""Find out what a restore will do, and what stands in its way, before anything is created."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, Instance, Snapshot, Volume
from snapset.restore.inputs import FINISHED, RESTORE, SNAPSHOT, RestoreInputs, Source
from snapset.sets import tags
from snapset.sets.find import find_set
from snapset.sets.model import BOOT_DEVICES, SnapshotSet
from snapset.sets.volume_tag import VolumeAttributes
from snapset.sets.volume_tag import parse as parse_attributes

_ATTACHABLE = ("running", "stopped", "stopping")
_GONE = ("deleting", "deleted", "error")
# How long after its restore a volume that is attached nowhere is taken to be unused.
_UNUSED_SECONDS = 600
# How long a rerun takes up a volume that was made and never handed out.
_UNFINISHED_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restore will do.

    Attributes:
        zone: where the volumes will be.
        outpost_arn: the Outpost that they will be on; empty for none.
        sources: the snapshots to restore, the root volume's first, then by device.
        volumes: those that an earlier attempt made, by snapshot id.
        finished_at: when an earlier run finished this restore, ISO 8601; empty if none has.
        set_aside: the volumes that earlier restores made, and that may have been used since, by snapshot id.
        obstacle: what stands in the way; empty if nothing does.
    """

    zone: str
    outpost_arn: str
    sources: tuple[Source, ...]
    volumes: Mapping[str, Volume]
    finished_at: str = ""
    set_aside: Mapping[str, tuple[str, ...]]
    obstacle: str = ""

    @property
    def devices(self) -> dict[str, str]:
        """The device of each snapshot's volume by snapshot id; empty where it is not known."""
        return {source.snapshot.snapshot_id: source.device for source in self.sources}

    def setting_aside(self, volumes: Iterable[Volume]) -> Plan:
        """Return the plan with new volumes in place of these, which may have been used."""
        set_aside = defaultdict(list, {key: list(volume_ids) for key, volume_ids in self.set_aside.items()})
        for volume in sorted(volumes, key=_age_order):
            set_aside[volume.tags[SNAPSHOT]].append(volume.volume_id)
        used = {volume_id for volume_ids in set_aside.values() for volume_id in volume_ids}
        return replace(
            self,
            volumes={key: volume for key, volume in self.volumes.items() if volume.volume_id not in used},
            set_aside={snapshot_id: tuple(volume_ids) for snapshot_id, volume_ids in set_aside.items()},
        )


def make_plan(ec2: Ec2, inputs: RestoreInputs, *, in_place: bool = False) -> Plan:
    """Inspect the set, the target, and what an earlier attempt at the same restore has made.

    Args:
        ec2: where.
        inputs: what to restore.
        in_place: whatever is at the devices is taken away first.

    Raises:
        NotFoundError: there is no such set, or no such instance.
        SetFailedError: AWS set the set to `error`.
        InputError: the set is not whole, or has not completed.
    """
    found = _find_set(
        ec2, inputs, "Choose a set that is whole" if in_place else "Restore a whole set, or add --allow-incomplete"
    )
    instance = ec2.describe_instance(inputs.instance_id) if inputs.instance_id else None
    boot = (*BOOT_DEVICES, instance.root_device_name if instance else None)
    kept = [
        snapshot
        for snapshot in found.snapshots
        if not (inputs.exclude_boot_volume and found.devices[snapshot.snapshot_id] in boot)
    ]
    was = _find_attributes(ec2, kept)
    plan = Plan(
        zone=instance.availability_zone if instance else inputs.availability_zone or "",
        outpost_arn=(instance.outpost_arn if instance else kept[0].outpost_arn if kept else "") or "",
        sources=tuple(
            Source(snapshot=one, device=found.devices[one.snapshot_id], was=was.get(one.snapshot_id)) for one in kept
        ),
        volumes={},
        set_aside={},
    )
    plan = _with_earlier(plan, _find_made(ec2, inputs, kept), instance)
    obstacle = _find_obstacle(ec2, inputs, plan, instance)
    if instance and not obstacle and not in_place:
        obstacle = _find_occupied(plan, instance)
    return replace(plan, obstacle=obstacle)


def find_new(ec2: Ec2, inputs: RestoreInputs, plan: Plan, snapshot: Snapshot) -> Volume | None:
    """Return the volume of the snapshot that an attempt of this run has made, as far as EC2 can see it."""
    old = plan.set_aside.get(snapshot.snapshot_id, ())
    made = [volume for volume in _find_made(ec2, inputs, [snapshot]) if volume.volume_id not in old]
    # The oldest, in every run the same one.
    return min(made, key=_age_order, default=None)


def _find_made(ec2: Ec2, inputs: RestoreInputs, snapshots: Sequence[Snapshot]) -> list[Volume]:
    """Return the volumes that any attempt at this restore has made of these snapshots."""
    wanted = {snapshot.snapshot_id for snapshot in snapshots}
    return [
        volume
        for volume in ec2.find_volumes({f"tag:{RESTORE}": [inputs.token]})
        if volume.tags.get(SNAPSHOT) in wanted and volume.state not in _GONE
    ]


def _with_earlier(plan: Plan, made: Sequence[Volume], instance: Instance | None) -> Plan:
    """Go on with what an unfinished restore has made, or take up a finished one whose volumes nobody has used."""
    # An unfinished attempt is newer than every finished restore: it began because those could not be taken up.
    kept = [volume for volume in made if FINISHED not in volume.tags and _may_go_on(volume, instance, plan.devices)]
    finished_at = ""
    finished = sorted((volume for volume in made if FINISHED in volume.tags), key=_finish_order)
    newest = {volume.tags[SNAPSHOT]: volume for volume in finished}
    if not kept and newest and all(_is_untouched(volume, instance, plan.devices) for volume in newest.values()):
        kept = list(newest.values())
        finished_at = min(volume.tags[FINISHED] for volume in kept)
    volumes = {
        volume.tags[SNAPSHOT]: volume
        # The oldest of each, in every run the same one.
        for volume in sorted(kept, key=_age_order, reverse=True)
    }
    return replace(
        plan,
        volumes=volumes,
        finished_at=finished_at if volumes.keys() == plan.devices.keys() else "",
    ).setting_aside(volume for volume in made if volume not in kept)


def _is_in_place(volume: Volume, instance: Instance | None, devices: Mapping[str, str]) -> bool:
    here = (volume.instance_id, volume.device_name)
    return instance is not None and here == (instance.instance_id, devices[volume.tags[SNAPSHOT]])


def _may_go_on(volume: Volume, instance: Instance | None, devices: Mapping[str, str]) -> bool:
    """Tell whether a volume that was never handed out is still as it was made, as far as that can be known."""
    if volume.instance_id:
        return _is_in_place(volume, instance, devices)
    return clock.age_of(volume.create_time) < _UNFINISHED_SECONDS


def _is_untouched(volume: Volume, instance: Instance | None, devices: Mapping[str, str]) -> bool:
    """Tell whether a volume that was handed out is where the restore left it, and was nowhere else since.

    EC2 does not tell where a detached volume was attached before: for a while it counts as unused.
    """
    if instance:
        return _is_in_place(volume, instance, devices)
    try:
        age = clock.age_of(volume.tags[FINISHED])
    except ValueError:
        # Somebody else wrote the tag.
        return False
    return not volume.instance_id and age < _UNUSED_SECONDS


def _age_order(volume: Volume) -> tuple[str, str]:
    return volume.create_time, volume.volume_id


def _finish_order(volume: Volume) -> tuple[str, str, str]:
    return volume.tags[FINISHED], *_age_order(volume)


def _find_attributes(ec2: Ec2, snapshots: Sequence[Snapshot]) -> dict[str, VolumeAttributes]:
    """Return how each snapshot's volume was, by snapshot id: from its tag, else from a volume that still exists."""
    found = {
        snapshot.snapshot_id: attributes
        for snapshot in snapshots
        if (attributes := parse_attributes(snapshot.tags.get(tags.VOLUME, "")))
    }
    if unknown := [snapshot for snapshot in snapshots if snapshot.snapshot_id not in found]:
        volumes = {
            volume.volume_id: volume
            for volume in ec2.describe_volumes(sorted({snapshot.volume_id for snapshot in unknown}))
        }
        for snapshot in unknown:
            if snapshot.volume_id in volumes:
                found[snapshot.snapshot_id] = VolumeAttributes.of(volumes[snapshot.volume_id])
    if lost := [snapshot.snapshot_id for snapshot in snapshots if snapshot.snapshot_id not in found]:
        ec2.say(f"warning: what type the volume of {', '.join(lost)} was is not known: AWS's default is used")
    return found


def _find_set(ec2: Ec2, inputs: RestoreInputs, advice: str) -> SnapshotSet:
    doing = f"restoring {inputs.set_id}"
    found = find_set(ec2, inputs.set_id)
    if not found.is_whole:
        what = f"{len(found.snapshots)} of its {found.count or 'unknown number of'} snapshots are left"
        if found.missing_devices:
            what += f"; {', '.join(found.missing_devices)} is missing"
        if not inputs.allow_incomplete:
            raise errors.InputError(f"{doing}: {what}. {advice}.")
        ec2.say(f"warning: {inputs.set_id} is not whole: {what}")
    for snapshot in found.snapshots:
        if snapshot.state == ERROR:
            cause = (snapshot.state_message or "AWS gives no reason").rstrip(".")
            raise errors.SetFailedError(f"{doing}: {snapshot.snapshot_id} is in error: {cause}. Restore another set.")
    if archived := [snapshot.snapshot_id for snapshot in found.snapshots if snapshot.is_archived]:
        raise errors.InputError(
            f"{doing}: {', '.join(archived)} is in the archive. Bring it back first: aws ec2 restore-snapshot-tier "
            f"--snapshot-id {archived[0]} --temporary-restore-days 3; that takes hours."
        )
    pending = [
        f"{snapshot.snapshot_id} ({snapshot.state} {snapshot.progress})"
        for snapshot in found.snapshots
        if snapshot.state != COMPLETED
    ]
    if pending:
        raise errors.InputError(f"{doing}: not completed yet: {', '.join(pending)}. Run it again once they are.")
    return found


def _find_obstacle(ec2: Ec2, inputs: RestoreInputs, plan: Plan, instance: Instance | None) -> str:
    """Return what stands in the way, but for what is at the devices; or nothing."""
    if not plan.sources:
        return "nothing is left to restore"
    for source in plan.sources:
        if obstacle := _find_misfit(inputs, plan, source, instance):
            return obstacle
    if instance is None:
        return "" if ec2.describe_zone_type(plan.zone) else f"there is no zone {plan.zone} in {inputs.region}"
    if instance.state not in _ATTACHABLE:
        return f"{instance.instance_id} is {instance.state}: no volume can be attached to it"
    if nameless := [snapshot_id for snapshot_id, device in plan.devices.items() if not device]:
        return f"the device of {', '.join(nameless)} is not known; tag it with {tags.DEVICE}"
    return ""


def _find_misfit(inputs: RestoreInputs, plan: Plan, source: Source, instance: Instance | None) -> str:
    snapshot = source.snapshot
    if problem := inputs.find_kind_problem(source):
        return problem.reason
    if (number := len(inputs.tags_of(source)) + 1) > tags.MAX_TAGS:
        return f"the volume of {snapshot.snapshot_id} would have {number} tags; AWS takes at most {tags.MAX_TAGS}"
    if snapshot.outpost_arn and snapshot.outpost_arn != plan.outpost_arn:
        where = f"{instance.instance_id} is not" if instance else "the other snapshots are not"
        return f"{snapshot.snapshot_id} is stored on {snapshot.outpost_arn}, where {where}"
    return ""


def _find_occupied(plan: Plan, instance: Instance) -> str:
    own = {volume.volume_id for volume in plan.volumes.values()}
    wanted = set(plan.devices.values())
    taken = {
        device: volume_id
        for volume_id, device in instance.devices.items()
        if device in wanted and volume_id not in own
    }
    if not taken:
        return ""
    named = ", ".join(f"{device} by {volume_id}" for device, volume_id in sorted(taken.items()))
    advice = "detach what is there"
    if instance.root_device_name in taken:
        advice = f"{instance.root_device_name} is its root: --exclude-boot leaves it out" + (
            "; detach the others" if len(taken) > 1 else ""
        )
    return f"devices of {instance.instance_id} are occupied: {named}; {advice}"
