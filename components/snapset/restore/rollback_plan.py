"""Find out what a rollback will do, and what stands in its way, before anything is touched.

A tag on the instance says which rollback is under way, and whether the instance ran before; the tags of the new and
of the replaced volumes say how far it got.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import RUNNING, STOPPED, STOPPING, Instance, Volume
from snapset.restore.inputs import RestoreInputs, Source
from snapset.restore.plan import Plan, make_plan
from snapset.retry import Retry
from snapset.sets import attempts, tags
from snapset.sets.find import find_latest, find_set, find_sets_of
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet

# On the instance, while a rollback is under way: its id, the set, the power state before, and when it began.
JOURNAL = "snapset:rollback"
# On a volume that a rollback has replaced: the rollback's id, the instance and the device.
REPLACED = "snapset:replaced"
# On a replaced volume that is to be deleted: the rollback's id, and the safety set that has all that is on it.
SAVED = "snapset:saved-in"

# For so long a rollback that was cut off after its last step is known to be done, and is not done again.
RECENT_SECONDS = 600
# For so long a rollback that was cut off is the one that is meant where no set is named.
_UNDER_WAY_SECONDS = 3600
_JOURNAL = re.compile(r"(rb-[0-9a-f]{17}) (set-[0-9a-f]{17}) (running|stopped) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_AUTO_SCALING_GROUP = "aws:autoscaling:groupName"
_PENDING = "pending"


class SwapRecord(TypedDict):
    """One device of the instance, in JSON documents. `start_time` is the snapshot's; null stands for none."""

    device_name: str
    snapshot_id: str
    start_time: str
    old_volume_id: str | None
    new_volume_id: str | None


class RollbackRecord(TypedDict):
    """A rollback, in JSON documents. `state` is the instance's as last seen."""

    instance_id: str
    region: str
    set_id: str
    safety_set_id: str | None
    state: str
    devices: list[SwapRecord]
    deleted_volume_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class RollbackInputs:
    """What to roll back, and how. `timeout` is for each of stop and start, in seconds."""

    instance_id: str
    set_id: str | None = None
    change_id: str | None = None
    exclude_boot_volume: bool = False
    exclude_volume_ids: tuple[str, ...] = ()
    safety_set: bool = True
    delete_replaced: bool = False
    timeout: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """What a rollback will do.

    Attributes:
        rollback_id: `rb-` and 17 hex digits; that of an earlier run that was cut off, if there was one.
        instance: as it is now.
        found: the set.
        sources: the snapshots whose volumes are swapped in, the root's last.
        old: the volumes that are, or were, at these devices before.
        was_running: whether the instance ran before the rollback.
        begun: when the earlier run that was cut off began; empty if there was none.
        is_done: whether that run had nothing left to do.
        stays: the devices that keep their volumes, with those.
    """

    inputs: RollbackInputs
    rollback_id: str
    instance: Instance
    found: SnapshotSet
    restore: RestoreInputs
    plan: Plan
    sources: tuple[Source, ...]
    old: Mapping[str, Volume]
    stays: Mapping[str, str]
    was_running: bool = False
    begun: str = ""
    is_done: bool = False
    obstacles: tuple[str, ...] = ()

    def record(self, *, region: str) -> RollbackRecord:
        """Return what is planned, as JSON documents have it."""
        return RollbackRecord(
            instance_id=self.instance.instance_id,
            region=region,
            set_id=self.found.set_id,
            safety_set_id=None,
            state=self.instance.state,
            devices=[
                SwapRecord(
                    device_name=source.device,
                    snapshot_id=source.snapshot.snapshot_id,
                    start_time=source.snapshot.start_time,
                    old_volume_id=self.old[source.device].volume_id if source.device in self.old else None,
                    new_volume_id=self._new_volume_id(source),
                )
                for source in self.plan.sources
            ],
            deleted_volume_ids=[],
        )

    def safety_inputs(self, *, launch_time: str = "") -> SetInputs:
        """Return what the safety set is taken with.

        Args:
            launch_time: of the stopped instance, if the set has to have all that was written since.
        """
        return SetInputs(
            instance_id=self.instance.instance_id,
            scope=f"{self.restore.scope} {launch_time}".rstrip(),
            region=self.restore.region,
            outpost_arn=self.found.snapshots[0].outpost_arn or None,
            description=f"before the rollback to {self.found.set_id}",
            change_id=f"{tags.SAFETY_CHANGE}{self.found.set_id}",
        )

    @property
    def is_in_place(self) -> bool:
        """Whether each of the devices has its new volume."""
        there = {(volume.instance_id, volume.device_name) for volume in self.plan.volumes.values()}
        return bool(self.sources) and there == {(self.instance.instance_id, source.device) for source in self.sources}

    def _new_volume_id(self, source: Source) -> str | None:
        made = self.plan.volumes.get(source.snapshot.snapshot_id)
        return made.volume_id if made else None


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What the tag on an instance says of the rollback that is under way."""

    rollback_id: str
    set_id: str
    was_running: bool
    begun: str

    @classmethod
    def of(cls, instance: Instance) -> Journal | None:
        """Return what the instance's tag says, or None if it has none that snapset wrote."""
        match = _JOURNAL.fullmatch(instance.tags.get(JOURNAL, ""))
        if not match:
            return None
        try:
            clock.age_of(match[4])
        except ValueError:
            # Somebody else wrote it: there is no such time.
            return None
        return cls(rollback_id=match[1], set_id=match[2], was_running=match[3] == RUNNING, begun=match[4])

    def text(self) -> str:
        """Return the value of the tag."""
        return f"{self.rollback_id} {self.set_id} {RUNNING if self.was_running else STOPPED} {self.begun}"


def find_sets_in_use(ec2: Ec2, *, retry: Retry) -> set[str]:
    """Return the ids of the sets that instances are just being rolled back to.

    Raises:
        SnapsetError: the answer of AWS.
    """
    doing = "looking for rollbacks that are under way"
    marked = retry.while_throttled(lambda: ec2.describe_matching({"tag-key": [JOURNAL]}), doing=doing)
    return {journal.set_id for journal in map(Journal.of, marked) if journal}


def note_of(instance_id: str) -> str:
    """Return the name of this machine's notes of the rollbacks of an instance that are at their end."""
    return f"rollback-{instance_id}"


def plan_rollback(ec2: Ec2, inputs: RollbackInputs, *, retry: Retry) -> Rollback:
    """Find out what a rollback will do. Changes nothing.

    Raises:
        InputError: something stands in the way; all of it is named.
        NotFoundError: there is no such instance, or no set to go back to.
        NotPermittedError: a permission that the rollback needs is missing.
        SnapsetError: the answer of AWS.
    """
    once, doing = replace(retry, throttle=0), f"rolling back {inputs.instance_id}"
    rollback = retry.while_throttled(lambda: _look(ec2, inputs, retry=once), doing=doing)
    if rollback.obstacles:
        raise errors.InputError(f"{doing}: {'; '.join(rollback.obstacles)}.")
    if not rollback.is_done:
        retry.while_throttled(lambda: _check_permissions(ec2, rollback), doing=doing)
    return rollback


def _look(ec2: Ec2, inputs: RollbackInputs, *, retry: Retry) -> Rollback:
    instance = ec2.describe_instance(inputs.instance_id)
    journal = Journal.of(instance)
    found = _choose_set(ec2, inputs, journal, retry=retry)
    attached = _find_attached(ec2, instance)
    # Somebody may have started it since an earlier run was cut off.
    was_running = instance.state in (RUNNING, _PENDING) or (journal is not None and journal.was_running)
    rollback: Rollback | None = None
    for rollback_id in _earlier_ids(instance, journal, found):
        earlier = _plan(ec2, inputs, instance, found, attached, rollback_id, retry=retry)
        is_over = earlier.is_in_place and was_running == (instance.state == RUNNING)
        if is_over and _was_used_since(ec2, earlier, retry=retry):
            continue
        if journal:
            rollback = replace(earlier, begun=journal.begun)
        elif is_over:
            return replace(earlier, is_done=True)
    rollback = rollback or _plan(ec2, inputs, instance, found, attached, _new_id(), retry=retry)
    obstacles = _find_obstacles(ec2, rollback, attached, retry=retry)
    return replace(rollback, was_running=was_running, obstacles=tuple(obstacles))


def _new_id() -> str:
    return f"rb-{secrets.token_hex(9)[:17]}"


def _earlier_ids(instance: Instance, journal: Journal | None, found: SnapshotSet) -> list[str]:
    """Return the rollbacks to this set that may have been cut off; without a journal, just before they said so."""
    if journal:
        return [journal.rollback_id] if journal.set_id == found.set_id else []
    return sorted(attempts.awaited([note_of(instance.instance_id)]))


def _was_used_since(ec2: Ec2, earlier: Rollback, *, retry: Retry) -> bool:
    """Tell whether the instance has been used since the rollback was in place, so that another one is meant."""
    in_place = max(volume.create_time for volume in earlier.plan.volumes.values())
    sets = find_sets_of(ec2, instance_id=earlier.instance.instance_id, retry=retry)
    if any(found.began_after(in_place) and not found.is_safety_set for found in sets):
        return True
    if earlier.inputs.delete_replaced and earlier.old:
        return False
    launched = earlier.instance.launch_time
    return launched > in_place and clock.age_of(launched) > RECENT_SECONDS


def _choose_set(ec2: Ec2, inputs: RollbackInputs, journal: Journal | None, *, retry: Retry) -> SnapshotSet:
    instance_id, doing = inputs.instance_id, f"rolling back {inputs.instance_id}"
    set_id = inputs.set_id or (journal.set_id if journal and not inputs.change_id else None)
    under_way = f"a rollback to {journal.set_id} that began at {journal.begun} was not ended" if journal else ""
    if journal and not inputs.set_id and not inputs.change_id and clock.age_of(journal.begun) > _UNDER_WAY_SECONDS:
        raise errors.InputError(f"{doing}: {under_way}. Say which set is meant: --set or --change-id.")
    if not set_id:
        return find_latest(ec2, instance_id=instance_id, change_id=inputs.change_id, retry=retry)
    try:
        found = find_set(ec2, set_id, retry=retry)
    except errors.NotFoundError as error:
        if not journal or journal.set_id != set_id:
            raise
        replaced = f"The volumes that it has replaced have the tag {REPLACED}; another set can be chosen with --set."
        raise errors.NotFoundError(f"{error} {doing}: {under_way}. {replaced}", code=error.code) from error
    if found.instance_id != instance_id:
        raise errors.InputError(
            f"{doing}: {set_id} was taken of {found.instance_id}. Choose a set of {instance_id}, "
            "or make volumes of this one with snapset restore."
        )
    return found


def _find_attached(ec2: Ec2, instance: Instance) -> dict[str, Volume]:
    """Return what is attached to the instance, by device.

    Raises:
        SnapsetError: a volume is there, and can't be described.
    """
    volumes = {volume.volume_id: volume for volume in ec2.describe_volumes(list(instance.devices))}
    if unseen := sorted(instance.devices.keys() - volumes.keys()):
        raise errors.SnapsetError(
            f"rolling back {instance.instance_id}: {', '.join(unseen)} is attached to it, and EC2 does not describe "
            "it. Run it again in a moment."
        )
    return {device: volumes[volume_id] for volume_id, device in instance.devices.items()}


def _plan(
    ec2: Ec2,
    inputs: RollbackInputs,
    instance: Instance,
    found: SnapshotSet,
    attached: Mapping[str, Volume],
    rollback_id: str,
    *,
    retry: Retry,
) -> Rollback:
    restore = RestoreInputs(
        set_id=found.set_id,
        scope=f"rollback {rollback_id}",
        region=str(ec2.settings.region),
        instance_id=inputs.instance_id,
        exclude_boot_volume=inputs.exclude_boot_volume,
    )
    plan = make_plan(ec2, restore, retry=retry, in_place=True)
    # Somebody has started the instance since, perhaps with this volume, and put it aside again.
    used = [
        volume
        for volume in plan.volumes.values()
        if not volume.instance_id and instance.launch_time > volume.create_time
    ]
    plan = plan.setting_aside(used)
    sources = [source for source in plan.sources if not _is_excluded(source, attached, inputs)]
    kept = {source.snapshot.snapshot_id for source in sources}
    plan = replace(
        plan,
        sources=tuple(sources),
        volumes={key: volume for key, volume in plan.volumes.items() if key in kept},
    )
    # The root last: until then, the instance could be started again as it was.
    sources.sort(key=lambda source: source.device == instance.root_device_name)
    devices = {source.device for source in sources}
    new = {volume.volume_id for volume in plan.volumes.values()}
    replaced = {
        volume.tags[REPLACED].split()[-1]: volume
        for volume in ec2.find_volumes({f"tag:{REPLACED}": [f"{rollback_id} {instance.instance_id} *"]})
    }
    now = {device: volume for device, volume in attached.items() if volume.volume_id not in new}
    return Rollback(
        inputs=inputs,
        rollback_id=rollback_id,
        instance=instance,
        found=found,
        restore=restore,
        plan=plan,
        sources=tuple(sources),
        old={device: volume for device, volume in {**replaced, **now}.items() if device in devices},
        stays={device: volume.volume_id for device, volume in sorted(attached.items()) if device not in devices},
    )


def _is_excluded(source: Source, attached: Mapping[str, Volume], inputs: RollbackInputs) -> bool:
    now = attached[source.device].volume_id if source.device in attached else ""
    return bool({source.snapshot.volume_id, now} & set(inputs.exclude_volume_ids))


def _find_obstacles(ec2: Ec2, rollback: Rollback, attached: Mapping[str, Volume], *, retry: Retry) -> list[str]:
    """Return everything that stands in the way."""
    instance, instance_id = rollback.instance, rollback.instance.instance_id
    if instance.state not in (RUNNING, STOPPED, STOPPING, _PENDING):
        return [f"it is {instance.state}"]
    found = [problem.reason for problem in rollback.plan.problems]
    if not rollback.sources and not found:
        found.append("no volume is left to roll back")
    if group := instance.tags.get(_AUTO_SCALING_GROUP):
        advice = f"aws autoscaling detach-instances --instance-ids {instance_id} --auto-scaling-group-name {group}"
        found.append(f"its Auto Scaling group {group} would replace it while it is stopped; take it out: {advice}")
    known = {source.snapshot.volume_id for source in rollback.plan.sources} | rollback.found.volume_ids
    known |= {volume.volume_id for volume in attached.values()}
    found += [
        f"{volume_id} is neither attached to it nor in the set, so it can't be left out"
        for volume_id in rollback.inputs.exclude_volume_ids
        if volume_id not in known
    ]
    for device, volume in rollback.old.items():
        if volume.multi_attach:
            found.append(
                f"{volume.volume_id} at {device} can be attached to several instances at once; leave it out "
                f"(--exclude-volume {volume.volume_id})"
            )
    found += _find_full(rollback)
    return found + (_find_stop_obstacles(ec2, instance, retry=retry) if instance.state != STOPPED else [])


def _find_full(rollback: Rollback) -> Iterator[str]:
    """Return what has no room for the tags that a rollback sets."""
    instance, keys = rollback.instance, {REPLACED, SAVED} if rollback.inputs.delete_replaced else {REPLACED}
    volumes = [(volume.volume_id, volume.tags, keys) for volume in rollback.old.values()]
    for resource_id, theirs, own in [(instance.instance_id, instance.tags, {JOURNAL}), *volumes]:
        others = [key for key in theirs if key not in own and not key.startswith("aws:")]
        if len(others) + len(own) > tags.MAX_TAGS:
            yield f"{resource_id} has {len(others)} tags: there is no room for {' and '.join(sorted(own))}"


def _find_stop_obstacles(ec2: Ec2, instance: Instance, *, retry: Retry) -> list[str]:
    instance_id = instance.instance_id
    if instance.has_instance_store_root:
        return ["its root is an instance store, so it can't be stopped"]
    found: list[str] = []
    if instance.is_spot and not ec2.has_persistent_spot_request(instance_id):
        found.append("it is a one-time Spot Instance, which can't be stopped")
    try:
        if ec2.is_stop_protected(instance_id):
            advice = f"aws ec2 modify-instance-attribute --instance-id {instance_id} --no-disable-api-stop"
            found.append(f"it is protected from being stopped; take that away: {advice}")
    except errors.NotPermittedError as error:
        retry.say(f"warning: whether {instance_id} is protected from being stopped is not known: {error}")
    return found


def _check_permissions(ec2: Ec2, rollback: Rollback) -> None:
    """Ask AWS, by dry runs, whether every call would be allowed: a refusal must not find the instance stopped.

    Raises:
        NotPermittedError: a permission is missing.
        SnapsetError: AWS would refuse a call for another reason.
    """
    instance_id, source = rollback.instance.instance_id, rollback.sources[0]
    ec2.check_add_tags([instance_id], {JOURNAL: "checked"})
    ec2.check_remove_tags([instance_id], [JOURNAL])
    ec2.check_create_volume(
        rollback.restore.request(source, zone=rollback.plan.zone, outpost_arn=rollback.plan.outpost_arn)
    )
    if rollback.inputs.safety_set:
        ec2.check_create_snapshots(rollback.safety_inputs().request(set_id=tags.new_set_id()))
    ec2.check_stop_and_start(instance_id)
    for device, volume in list(rollback.old.items())[:1]:
        ec2.check_swap(volume.volume_id, instance_id=instance_id, device=device)
        if rollback.inputs.delete_replaced:
            ec2.check_delete_volume(volume.volume_id)
