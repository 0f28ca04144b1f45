"""Find out what a restore will do, and what stands in its way, before anything is created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, Instance, Volume
from snapset.restore.inputs import FINISHED, RESTORE, SNAPSHOT, RestoreInputs, Source, place_from
from snapset.sets import tags
from snapset.sets.find import find_set
from snapset.sets.model import BOOT_DEVICES, SnapshotSet
from snapset.sets.volume_tag import VolumeAttributes
from snapset.sets.volume_tag import parse as parse_attributes

_ATTACHABLE = ("pending", "running", "stopped", "stopping")
_GONE = ("deleting", "deleted", "error")
# How long after its restore a volume that is attached nowhere is taken to be unused.
_UNUSED_SECONDS = 600
# How long a rerun takes up a volume that was made and never handed out.
_UNFINISHED_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restore will do.

    Attributes:
        inputs: what to restore.
        zone: where the volumes will be.
        outpost_arn: the Outpost that they will be on; empty for none.
        sources: the snapshots to restore, the root volume's first, then by device.
        obstacle: what stands in the way; empty if nothing does.
    """

    inputs: RestoreInputs
    zone: str
    outpost_arn: str
    sources: tuple[Source, ...]
    obstacle: str = ""

    @property
    def volumes(self) -> list[Volume]:
        """The volumes that an earlier attempt made."""
        return [source.volume for source in self.sources if source.volume]

    @property
    def finished_at(self) -> str:
        """When an earlier run finished this restore, ISO 8601; empty if none has."""
        times = [volume.tags[FINISHED] for volume in self.volumes if FINISHED in volume.tags]
        return min(times) if times and len(times) == len(self.sources) else ""

    def request(self, source: Source) -> dict[str, Any]:
        """Return the CreateVolume request for a snapshot."""
        return self.inputs.request(source, zone=self.zone, outpost_arn=self.outpost_arn)


def make_plan(ec2: Ec2, inputs: RestoreInputs, *, in_place: bool = False) -> Plan:
    """Inspect the set, the target, and what an earlier attempt at the same restore has made.

    With `in_place`, what is at the devices is detached first, so it does not stand in the way; and the root goes to
    the root device of the instance, whatever it was called.

    Raises:
        NotFoundError: there is no such set, or no such instance.
        SetFailedError: AWS set the set to `error`.
        InputError: the set is not whole, or has not completed.
    """
    advice = "Choose a set that is whole" if in_place else "Restore a whole set, or add --allow-incomplete"
    doing = f"restoring {inputs.set_id}"
    found = find_restorable(ec2, inputs.set_id, doing=doing, advice=advice, allow_incomplete=inputs.allow_incomplete)
    instance = ec2.describe_instance(inputs.instance_id) if inputs.instance_id else None
    roots = _find_roots(ec2, found) if inputs.exclude_boot_volume or in_place else ()
    # Another instance's image may have chosen another name for the device of its root.
    root = instance.root_device_name if instance and in_place else None
    sources = [
        Source(
            snapshot=snapshot,
            device=root if root and device in roots else device,
            was=parse_attributes(snapshot.tags.get(tags.VOLUME, "")),
        )
        for snapshot in found.snapshots
        if (device := found.devices[snapshot.snapshot_id]) not in roots or not inputs.exclude_boot_volume
    ]
    if inputs.devices_from:
        sources = place_from(inputs.devices_from, sources)
    sources = _with_earlier(_with_attributes(ec2, sources), _find_made(ec2, inputs, sources), instance)
    plan = Plan(
        inputs=inputs,
        zone=instance.availability_zone if instance else inputs.availability_zone or "",
        outpost_arn=(instance.outpost_arn if instance else sources[0].snapshot.outpost_arn if sources else "") or "",
        sources=tuple(sources),
    )
    return replace(plan, obstacle=next(_find_obstacles(ec2, plan, instance, in_place=in_place), ""))


def find_new(ec2: Ec2, plan: Plan, source: Source) -> Volume | None:
    """Return the snapshot's volume that an attempt of this run has made, as far as EC2 can see it."""
    made = _find_made(ec2, plan.inputs, [source])
    return next((volume for volume in made if volume.volume_id not in source.set_aside), None)


def find_restorable(
    ec2: Ec2,
    set_id: str,
    *,
    doing: str,
    advice: str = "Choose a set that is whole",
    allow_incomplete: bool = False,
) -> SnapshotSet:
    """Return the set, with all snapshots that volumes can be made of.

    Raises:
        NotFoundError: there is no such set.
        SetFailedError: AWS set it to `error`.
        InputError: it is not whole, unless that is allowed, or has not completed.
    """
    found = find_set(ec2, set_id)
    found = found.as_seen(found.there)
    if not found.is_whole:
        what = f"{len(found.snapshots)} of its {found.count or 'unknown number of'} snapshots are left"
        if found.missing_devices:
            what += f"; {', '.join(found.missing_devices)} is missing"
        if not allow_incomplete or not found.snapshots:
            raise errors.InputError(f"{doing}: {what}. {advice}.")
        ec2.say(f"warning: {set_id} is not whole: {what}")
    for snapshot in found.snapshots:
        if snapshot.state == ERROR:
            cause = (snapshot.state_message or "AWS gives no reason").rstrip(".")
            raise errors.SetFailedError(f"{doing}: {snapshot.snapshot_id} is in error: {cause}. Restore another set.")
    if archived := [snapshot.snapshot_id for snapshot in found.snapshots if snapshot.is_archived]:
        raise errors.InputError(
            f"{doing}: {', '.join(archived)} is in the archive. Bring it back first: aws ec2 restore-snapshot-tier "
            f"--snapshot-id {archived[0]} --temporary-restore-days 3; that takes hours."
        )
    if pending := [snapshot for snapshot in found.snapshots if snapshot.state != COMPLETED]:
        listed = ", ".join(f"{one.snapshot_id} ({one.state} {one.progress})" for one in pending)
        raise errors.InputError(f"{doing}: not completed yet: {listed}. Run it again once they are.")
    return found


def _find_roots(ec2: Ec2, found: SnapshotSet) -> Sequence[str]:
    """Return the device of the set's root volume; where it is not recorded, the instance's, or the usual names."""
    if found.was:
        return found.roots
    instance = ec2.describe_instances([found.instance_id]).get(found.instance_id)
    if instance and instance.root_device_name:
        return (instance.root_device_name,)
    usual = " or ".join(BOOT_DEVICES)
    ec2.say(f"warning: which device was the root of {found.instance_id} is not recorded: {usual} is taken for it")
    return BOOT_DEVICES


def _with_attributes(ec2: Ec2, sources: Sequence[Source]) -> list[Source]:
    """Fill in how a volume was from the volume itself, if its snapshot's tag does not say it."""
    unknown = {source.snapshot.volume_id for source in sources if not source.was}
    there = {volume.volume_id: VolumeAttributes.of(volume) for volume in ec2.describe_volumes(sorted(unknown))}
    sources = [replace(source, was=source.was or there.get(source.snapshot.volume_id)) for source in sources]
    if lost := ", ".join(source.snapshot.snapshot_id for source in sources if not source.was):
        ec2.say(f"warning: what type the volume of {lost} was is not known: AWS's default is used")
    return sources


def _find_made(ec2: Ec2, inputs: RestoreInputs, sources: Sequence[Source]) -> list[Volume]:
    """Return the volumes that any attempt at this restore has made of these snapshots, the oldest first."""
    wanted = {source.snapshot.snapshot_id for source in sources}
    made = [
        volume
        for volume in ec2.find_volumes({f"tag:{RESTORE}": [inputs.token]})
        if volume.tags.get(SNAPSHOT) in wanted and volume.state not in _GONE
    ]
    return sorted(made, key=lambda volume: (volume.create_time, volume.volume_id))


def _with_earlier(sources: Sequence[Source], made: Sequence[Volume], instance: Instance | None) -> list[Source]:
    """Go on with what an unfinished restore has made, or take up a finished one whose volumes nobody has used."""
    devices = {source.snapshot.snapshot_id: source.device for source in sources}
    unused = [volume for volume in made if _is_unused(volume, instance, devices[volume.tags[SNAPSHOT]])]
    # An unfinished attempt is newer than every finished restore: it began because those could not be taken up.
    kept = [volume for volume in unused if FINISHED not in volume.tags]
    finished = sorted(
        (volume for volume in made if FINISHED in volume.tags), key=lambda volume: volume.tags[FINISHED]
    )
    newest = {volume.tags[SNAPSHOT]: volume for volume in finished}
    if not kept and all(volume in unused for volume in newest.values()):
        kept = list(newest.values())
    # The oldest of each, in every run the same one.
    volumes = {volume.tags[SNAPSHOT]: volume for volume in reversed(kept)}
    set_aside = [volume for volume in made if volume not in kept]
    return [
        replace(
            source,
            volume=volumes.get(snapshot_id),
            set_aside=tuple(volume.volume_id for volume in set_aside if volume.tags[SNAPSHOT] == snapshot_id),
        )
        for snapshot_id, source in zip(devices, sources, strict=True)
    ]


def _is_unused(volume: Volume, instance: Instance | None, device: str) -> bool:
    """Tell whether nobody can have used the volume: it is at its device, or attached to nothing for a short time.

    EC2 does not tell where a detached volume was attached before, so one that was attached at the end counts as used.
    """
    if volume.instance_id:
        return instance is not None and (volume.instance_id, volume.device_name) == (instance.instance_id, device)
    if FINISHED not in volume.tags:
        return clock.age_of(volume.create_time) < _UNFINISHED_SECONDS
    try:
        return instance is None and clock.age_of(volume.tags[FINISHED]) < _UNUSED_SECONDS
    except ValueError:
        # Somebody else wrote the tag.
        return False


def _find_obstacles(ec2: Ec2, plan: Plan, instance: Instance | None, *, in_place: bool) -> Iterator[str]:
    """Yield what stands in the way; only the first is shown, and later checks may rest on earlier ones."""
    if not plan.sources:
        yield "nothing is left to restore"
    for source in plan.sources:
        yield from _find_misfits(plan, source, instance)
    if instance is None:
        if not ec2.describe_zone_type(plan.zone):
            yield f"there is no zone {plan.zone} in {plan.inputs.region}"
        return
    if instance.state not in _ATTACHABLE:
        yield f"{instance.instance_id} is {instance.state}: no volume can be attached to it"
    if nameless := ", ".join(source.snapshot.snapshot_id for source in plan.sources if not source.device):
        yield f"the device of {nameless} is not known; tag it with {tags.DEVICE}"
    if not in_place:
        yield from _find_occupied(plan, instance)


def _find_misfits(plan: Plan, source: Source, instance: Instance | None) -> Iterator[str]:
    snapshot = source.snapshot
    if problem := plan.inputs.find_kind_problem(source):
        yield problem.reason
    if (number := len(plan.inputs.tags_of(source)) + 1) > tags.MAX_TAGS:
        yield f"the volume of {snapshot.snapshot_id} would have {number} tags; AWS takes at most {tags.MAX_TAGS}"
    if snapshot.outpost_arn and snapshot.outpost_arn != plan.outpost_arn:
        where = f"{instance.instance_id} is not" if instance else "the other snapshots are not"
        yield f"{snapshot.snapshot_id} is stored on {snapshot.outpost_arn}, where {where}"


def _find_occupied(plan: Plan, instance: Instance) -> Iterator[str]:
    own = {volume.volume_id for volume in plan.volumes}
    wanted = {source.device for source in plan.sources}
    taken = {
        device: volume_id
        for volume_id, device in instance.devices.items()
        if device in wanted and volume_id not in own
    }
    if taken:
        named = ", ".join(f"{device} by {volume_id}" for device, volume_id in sorted(taken.items()))
        advice = "detach what is there"
        if instance.root_device_name in taken:
            others = "; detach the others" if len(taken) > 1 else ""
            advice = f"{instance.root_device_name} is its root: --exclude-boot leaves it out{others}"
        yield f"devices of {instance.instance_id} are occupied: {named}; {advice}"
