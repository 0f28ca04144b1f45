"""Find out what a rollback will do, and what stands in its way, before anything is touched.

A tag on the instance says which rollback is under way, and whether the instance ran before; the tags of the new and
of the replaced volumes say how far it got.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import AVAILABLE, RUNNING, STOPPED, Instance, InstanceFacts, Volume
from snapset.restore.inputs import RestoreInputs, Source, client_token
from snapset.restore.plan import Plan, make_plan
from snapset.restore.way_back import commands_for_gone
from snapset.sets import attempts, tags
from snapset.sets.find import find_latest, find_set, find_sets_of
from snapset.sets.inputs import SetInputs
from snapset.sets.journal import JOURNAL, Journal
from snapset.sets.model import SnapshotSet

# On a new volume, to AWS's time: from then on it was attached, and may be used.
SWAPPED_IN = "snapset:swapped-in"
# On a volume that a rollback has replaced: the rollback's id, the instance and the device.
REPLACED = "snapset:replaced"
# On a replaced volume that is to be deleted: the rollback's id, and the safety set that has all that is on it.
SAVED = "snapset:saved-in"

# How long a rollback that was cut off after its last step is known to be done, and is not done again.
RECENT_SECONDS = 600
# How long a rollback that was cut off is surely the one that is meant: where no set is named, and where one is.
_SURE_SECONDS = (3600, 86_400)
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
    leftover_volume_ids: list[str]
    deleted_volume_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class RollbackInputs:
    """What to roll back, and how. `timeout`, for each step, in seconds. `resume` answers what `doubt` asks.

    The set is one `of` another instance, if that is given. `force` bears that it is not known whether its root fits.
    """

    instance_id: str
    of: str | None = None
    set_id: str | None = None
    change_id: str | None = None
    force: bool = False
    exclude_boot_volume: bool = False
    exclude_volume_ids: tuple[str, ...] = ()
    safety_set: bool = True
    delete_replaced: bool = False
    delete_leftovers: bool = False
    resume: bool | None = None
    timeout: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One device of the instance that gets another volume.

    Attributes:
        source: the snapshot that the new volume is made of.
        old: the volume that is, or was, at the device before, if there was one.
        new: the new volume, once it is made.
    """

    source: Source
    old: Volume | None
    new: Volume | None

    @property
    def device(self) -> str:
        """Where the volumes are attached."""
        return self.source.device

    @property
    def deleted_with_instance(self) -> bool:
        """Whether the volume at the device was deleted with the instance, as far as that is known."""
        if self.source.was:
            return self.source.was.delete_on_termination
        return bool(self.old and self.old.deleted_with_instance)

    def record(self) -> SwapRecord:
        """Return the swap as JSON documents have it."""
        return SwapRecord(
            device_name=self.device,
            snapshot_id=self.source.snapshot.snapshot_id,
            start_time=self.source.snapshot.start_time,
            old_volume_id=self.old.volume_id if self.old else None,
            new_volume_id=self.new.volume_id if self.new else None,
        )


@dataclass(frozen=True, kw_only=True)
class RollbackPlan:
    """What a rollback will do.

    Attributes:
        rollback_id: `rb-` and 17 hex digits; that of an earlier run that was cut off, if there was one.
        attached: what is attached to the instance now, by device.
        found: the set.
        restore_plan: which new volumes exist, and which are to be made.
        swaps: the devices that get other volumes, in the order of `restore_plan.sources`.
        was_running: whether the instance ran before the rollback.
        journal: the rollback that was cut off: it is gone on with, or this one takes its place.
        is_done: whether an earlier run had nothing left to do.
        leftovers: what earlier rollbacks of the instance made, and what is attached to nothing now.
    """

    inputs: RollbackInputs
    rollback_id: str
    instance: Instance
    attached: Mapping[str, Volume]
    found: SnapshotSet
    restore_plan: Plan
    swaps: tuple[Swap, ...]
    was_running: bool = False
    journal: Journal | None = None
    is_done: bool = False
    leftovers: tuple[Volume, ...] = ()
    obstacles: tuple[str, ...] = ()

    @property
    def begun(self) -> str:
        """When the rollback began that is gone on with; empty if it is a new one."""
        return self.journal.begun if self.journal and self.journal.rollback_id == self.rollback_id else ""

    @property
    def doubt(self) -> str:
        """Why it has to be asked in any case whether a rollback of long ago is meant; empty if it is clear."""
        journal, sure = self.journal, _SURE_SECONDS[bool(self.inputs.set_id or self.inputs.change_id)]
        if not journal or clock.age_of(journal.begun) <= sure:
            return ""
        is_same = journal.set_id == self.found.set_id
        option = "--resume" if is_same else f"--set {journal.set_id}"
        text = f"{journal.title}: {option} goes on with it, --start-over forgets it"
        return "" if is_same and self.inputs.resume else text

    @property
    def stays(self) -> dict[str, str]:
        """The volumes that stay as they are, by device."""
        devices = {swap.device for swap in self.swaps}
        return {device: self.attached[device].volume_id for device in sorted(self.attached.keys() - devices)}

    @property
    def has_other_root(self) -> bool:
        """Whether the instance gets the root of another one."""
        devices = {swap.device for swap in self.swaps}
        return self.found.instance_id != self.instance.instance_id and self.instance.root_device_name in devices

    @property
    def old_volumes(self) -> list[Volume]:
        """The volumes that are, or were, at the devices before."""
        return [swap.old for swap in self.swaps if swap.old]

    @property
    def is_in_place(self) -> bool:
        """Whether each of the devices has its new volume."""
        there = {(volume.instance_id, volume.device_name) for volume in self.restore_plan.volumes}
        return bool(self.swaps) and there == {(self.instance.instance_id, swap.device) for swap in self.swaps}

    @property
    def is_partly_used(self) -> bool:
        """Whether the instance may have run with some of the new volumes: the others are of another moment."""
        launched = self.instance.launch_time
        return not self.is_in_place and any(volume.create_time < launched for volume in self.restore_plan.volumes)

    @property
    def to_delete(self) -> list[str]:
        """The ids of the leftovers that are to be deleted: no rollback has attached them."""
        wanted = self.inputs.delete_leftovers
        return [volume.volume_id for volume in self.leftovers if wanted and SWAPPED_IN not in volume.tags]

    def record(self) -> RollbackRecord:
        """Return what is planned, as JSON documents have it."""
        return RollbackRecord(
            instance_id=self.instance.instance_id,
            region=self.restore_plan.inputs.region,
            set_id=self.found.set_id,
            safety_set_id=None,
            state=self.instance.state,
            devices=[swap.record() for swap in self.swaps],
            leftover_volume_ids=[volume.volume_id for volume in self.leftovers],
            deleted_volume_ids=[],
        )

    def safety_inputs(self, *, launch_time: str = "") -> SetInputs:
        """Return the safety set's inputs; with `launch_time`, it has what the stopped instance wrote since then."""
        restore = self.restore_plan.inputs
        return SetInputs(
            instance_id=self.instance.instance_id,
            scope=f"{restore.scope} {launch_time}".rstrip(),
            region=restore.region,
            outpost_arn=self.found.snapshots[0].outpost_arn or None,
            description=f"before the rollback to {self.found.set_id}",
            change_id=f"{tags.SAFETY_CHANGE}{self.found.set_id}",
        )


def note_of(instance_id: str) -> str:
    """Return the name of this machine's notes of the rollbacks of an instance that are at their end."""
    return f"rollback-{instance_id}"


def plan_rollback(ec2: Ec2, inputs: RollbackInputs) -> RollbackPlan:
    """Find out what a rollback will do. Changes nothing.

    Raises:
        InputError: something stands in the way; all of it is named.
        NotFoundError: there is no such instance, or no set to go back to.
        NotPermittedError: a permission that the rollback needs is missing.
        SnapsetError: the answer of AWS.
    """
    plan = _inspect(ec2, inputs)
    if plan.obstacles:
        raise errors.InputError(f"rolling back {inputs.instance_id}: {'; '.join(plan.obstacles)}.")
    if not plan.is_done:
        _check_permissions(ec2, plan)
    return plan


def _inspect(ec2: Ec2, inputs: RollbackInputs) -> RollbackPlan:
    instance = _find_instance(ec2, inputs)
    journal = None if inputs.resume is False else Journal.of(instance)
    found = _choose_set(ec2, inputs, journal)
    plan_as = partial(_plan, ec2, inputs, instance, _find_attached(ec2, instance), found)
    # Somebody may have started it since an earlier run was cut off.
    was_running = instance.state in (RUNNING, _PENDING) or (journal is not None and journal.was_running)
    # Without a journal, those that this machine has noted may have been cut off after their last step.
    earlier_ids = [] if journal else sorted(attempts.awaited([note_of(inputs.instance_id)]))
    if journal and journal.set_id == found.set_id:
        earlier_ids = [journal.rollback_id]
    plan: RollbackPlan | None = None
    for rollback_id in earlier_ids:
        earlier = plan_as(rollback_id)
        is_over = earlier.is_in_place and was_running == (instance.state == RUNNING)
        if earlier.is_partly_used or (is_over and _was_used_since(ec2, earlier)):
            continue
        if journal:
            plan = earlier
        elif is_over:
            return replace(earlier, is_done=True)
    plan = plan or plan_as(f"rb-{secrets.token_hex(9)[:17]}")
    plan = with_leftovers(ec2, replace(plan, was_running=was_running, journal=journal))
    return replace(plan, obstacles=tuple(_find_obstacles(ec2, plan)))


def _find_instance(ec2: Ec2, inputs: RollbackInputs) -> Instance:
    """Return the instance.

    Raises:
        InstanceGoneError: it does not exist any more, and there is a set of it.
        NotFoundError: there is neither such an instance nor a set of it.
        SnapsetError: the answer of AWS.
    """
    instance = ec2.describe_instances([inputs.instance_id]).get(inputs.instance_id)
    if instance and not instance.is_gone:
        return instance
    found = _choose_set(ec2, inputs, None)
    state = instance.state if instance else "gone"
    error = errors.InstanceGoneError(
        f"rolling back {inputs.instance_id}: it is {state}. Launch another instance, and put the volumes of "
        f"{found.set_id} on it."
    )
    error.way_back = commands_for_gone(found, region=str(ec2.settings.region))
    raise error


def with_leftovers(ec2: Ec2, plan: RollbackPlan) -> RollbackPlan:
    """Return the plan with the volumes that earlier rollbacks of the instance have left, less those that it needs."""
    made_for = f"{tags.ROLLBACK_SCOPE}* {plan.instance.instance_id}"
    found = ec2.find_volumes({f"tag:{tags.RESTORED_FOR}": [made_for], "status": [AVAILABLE]})
    needed = {volume.volume_id for volume in plan.restore_plan.volumes}
    left = (volume for volume in found if volume.volume_id not in needed and REPLACED not in volume.tags)
    return replace(plan, leftovers=tuple(left))


def _was_used_since(ec2: Ec2, earlier: RollbackPlan) -> bool:
    """Tell whether the instance has been used since the rollback was in place, so that another one is meant."""
    in_place = max(volume.create_time for volume in earlier.restore_plan.volumes)
    sets = find_sets_of(ec2, instance_id=earlier.instance.instance_id)
    if any(found.began_after(in_place) and not found.is_safety_set for found in sets):
        return True
    if earlier.inputs.delete_replaced and earlier.old_volumes:
        return False
    launched = earlier.instance.launch_time
    return launched > in_place and clock.age_of(launched) > RECENT_SECONDS


def _choose_set(ec2: Ec2, inputs: RollbackInputs, journal: Journal | None) -> SnapshotSet:
    instance_id, doing = inputs.instance_id, f"rolling back {inputs.instance_id}"
    taken_of, under_way = inputs.of or instance_id, journal.set_id if journal else ""
    if inputs.change_id:
        return find_latest(ec2, instance_id=taken_of, change_id=inputs.change_id, under_way=under_way)
    set_id = inputs.set_id or under_way
    if not set_id:
        return find_latest(ec2, instance_id=taken_of)
    try:
        found = find_set(ec2, set_id)
    except errors.NotFoundError as error:
        if not journal or under_way != set_id:
            raise
        replaced = f"The volumes that it has replaced have the tag {REPLACED}; another set can be chosen with --set."
        raise errors.NotFoundError(f"{error} {doing}: {journal.title}. {replaced}", code=error.code) from error
    if found.instance_id == taken_of or (found.set_id == under_way and not inputs.of):
        return found
    if not inputs.set_id:
        return find_latest(ec2, instance_id=taken_of)
    raise errors.InputError(
        f"{doing}: {set_id} was taken of {found.instance_id}. To put its volumes on {instance_id}: "
        f"snapset rollback {instance_id} --of {found.instance_id} --set {set_id}"
    )


def _find_attached(ec2: Ec2, instance: Instance) -> dict[str, Volume]:
    """Return what is attached to the instance, by device."""
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
    attached: Mapping[str, Volume],
    found: SnapshotSet,
    rollback_id: str,
) -> RollbackPlan:
    restore_inputs = RestoreInputs(
        set_id=found.set_id,
        scope=f"{tags.ROLLBACK_SCOPE}{rollback_id} {inputs.instance_id}",
        region=str(ec2.settings.region),
        instance_id=inputs.instance_id,
        exclude_boot_volume=inputs.exclude_boot_volume,
    )
    restore_plan = make_plan(ec2, restore_inputs, in_place=True)
    sources = tuple(source for source in restore_plan.sources if not _is_excluded(source, attached, inputs))
    restore_plan = replace(restore_plan, sources=sources)
    new = {volume.volume_id for volume in restore_plan.volumes}
    replaced = {
        volume.tags[REPLACED].split()[-1]: volume
        for volume in ec2.find_volumes({f"tag:{REPLACED}": [f"{rollback_id} {instance.instance_id} *"]})
    }
    now = {device: volume for device, volume in attached.items() if volume.volume_id not in new}
    old = {**replaced, **now}
    return RollbackPlan(
        inputs=inputs,
        rollback_id=rollback_id,
        instance=instance,
        attached=attached,
        found=found,
        restore_plan=restore_plan,
        swaps=tuple(Swap(source=source, old=old.get(source.device), new=source.volume) for source in sources),
    )


def _is_excluded(source: Source, attached: Mapping[str, Volume], inputs: RollbackInputs) -> bool:
    now = attached[source.device].volume_id if source.device in attached else ""
    return bool({source.snapshot.volume_id, now} & set(inputs.exclude_volume_ids))


def _find_obstacles(ec2: Ec2, plan: RollbackPlan) -> Iterator[str]:
    """Yield everything that stands in the way."""
    instance, instance_id = plan.instance, plan.instance.instance_id
    if plan.restore_plan.obstacle:
        yield plan.restore_plan.obstacle
    elif not plan.swaps:
        yield "no volume is left to roll back"
    if group := instance.tags.get(_AUTO_SCALING_GROUP):
        advice = f"aws autoscaling detach-instances --instance-ids {instance_id} --auto-scaling-group-name {group}"
        yield f"its Auto Scaling group {group} would replace it while it is stopped; take it out: {advice}"
    known = plan.found.volume_ids | {volume.volume_id for volume in plan.attached.values()}
    for volume_id in plan.inputs.exclude_volume_ids:
        if volume_id not in known:
            yield f"{volume_id} is neither attached to it nor in the set, so it can't be left out"
    yield from _find_unfit(plan)
    yield from _find_full(plan)
    if instance.state != STOPPED:
        yield from _find_stop_obstacles(ec2, instance)


def _find_unfit(plan: RollbackPlan) -> Iterator[str]:
    """Yield which volumes can't be swapped, or not without another one."""
    if plan.instance.is_hibernated and plan.instance.root_device_name not in {swap.device for swap in plan.swaps}:
        yield "it is hibernated, and its memory fits only the volumes of now; start and stop it, or take in its root"
    yield from _find_copies(plan)
    if plan.has_other_root:
        yield from _find_unfit_root(plan)
    for swap in plan.swaps:
        if swap.old and swap.old.multi_attach:
            what = f"{swap.old.volume_id} at {swap.device}"
            advice = f"leave it out (--exclude-volume {swap.old.volume_id})"
            yield f"{what} can be attached to several instances at once; {advice}"


def _find_copies(plan: RollbackPlan) -> Iterator[str]:
    """Yield what would be on the instance twice: two volumes at one device, or one volume beside its older copy."""
    sources = {swap.device: swap.source.snapshot for swap in plan.swaps}
    for swap in plan.swaps:
        snapshot = swap.source.snapshot
        if sources[swap.device] != snapshot:
            yield f"{snapshot.snapshot_id} and {sources[swap.device].snapshot_id} would both be at {swap.device}"
        for device, volume_id in plan.stays.items():
            if snapshot.volume_id == volume_id or snapshot.snapshot_id == plan.attached[device].snapshot_id:
                yield (
                    f"{volume_id} is at {device}, and {snapshot.snapshot_id} of the set would be a copy of it at "
                    f"{swap.device}: detach it, attach it at {swap.device}, or leave it out "
                    f"(--exclude-volume {snapshot.volume_id})"
                )


def _find_unfit_root(plan: RollbackPlan) -> Iterator[str]:
    """Yield why the instance would not boot from the root of another one, as far as that is known."""
    was, now = plan.found.was or InstanceFacts(), plan.instance.facts
    for what, before, after in (
        ("architecture", was.architecture, now.architecture),
        ("boot mode", was.boot_mode, now.boot_mode),
    ):
        if before and after and before != after:
            yield f"its {what} is {after}, and the root of the set is of {before}"
        elif not (before and after) and not plan.inputs.force:
            yield f"whether the root of the set fits its {what} is not known; --force tries it"


def _find_full(plan: RollbackPlan) -> Iterator[str]:
    """Yield what has no room for the tags that a rollback sets."""
    instance, keys = plan.instance, {REPLACED, SAVED} if plan.inputs.delete_replaced else {REPLACED}
    volumes = [(volume.volume_id, volume.tags, keys) for volume in plan.old_volumes]
    for resource_id, theirs, own in [(instance.instance_id, instance.tags, {JOURNAL}), *volumes]:
        others = [key for key in theirs if key not in own and not key.startswith("aws:")]
        if len(others) + len(own) > tags.MAX_TAGS:
            yield f"{resource_id} has {len(others)} tags: there is no room for {' and '.join(sorted(own))}"


def _find_stop_obstacles(ec2: Ec2, instance: Instance) -> Iterator[str]:
    """Yield why the instance can't be stopped."""
    instance_id = instance.instance_id
    if instance.has_instance_store_root:
        yield "its root is an instance store, so it can't be stopped"
        return
    if instance.is_spot and not ec2.has_persistent_spot_request(instance_id):
        yield "it is a one-time Spot Instance, which can't be stopped"
    try:
        if ec2.is_stop_protected(instance_id):
            advice = f"aws ec2 modify-instance-attribute --instance-id {instance_id} --no-disable-api-stop"
            yield f"it is protected from being stopped; take that away: {advice}"
    except errors.NotPermittedError as error:
        ec2.say(f"warning: whether {instance_id} is protected from being stopped is not known: {error}")


def _check_permissions(ec2: Ec2, plan: RollbackPlan) -> None:
    """Ask AWS, by dry runs, whether every call would be allowed: a refusal must not find the instance stopped.

    Raises:
        NotPermittedError: a permission is missing.
        SnapsetError: AWS would refuse a call for another reason.
    """
    instance_id, dry_run = plan.instance.instance_id, ec2.dry_run()
    dry_run.add_tags([instance_id], {JOURNAL: "checked"})
    dry_run.remove_tags([instance_id], [JOURNAL])
    request = plan.restore_plan.request(plan.restore_plan.sources[0])
    dry_run.create_volume(request, client_token=client_token(request, salt="dry run"))
    if plan.inputs.safety_set:
        dry_run.create_snapshots(plan.safety_inputs().request(set_id=tags.new_set_id()))
    dry_run.stop_instance(instance_id)
    dry_run.start_instance(instance_id)
    for swap in plan.swaps:
        if swap.old:
            dry_run.detach_volume(swap.old.volume_id, instance_id=instance_id)
            dry_run.attach_volume(swap.old.volume_id, instance_id=instance_id, device=swap.device)
            break
    if devices := [swap.device for swap in plan.swaps if swap.deleted_with_instance]:
        dry_run.set_delete_on_termination(instance_id, devices)
    replaced = [volume.volume_id for volume in plan.old_volumes if plan.inputs.delete_replaced]
    for volume_id in [*replaced, *plan.to_delete][:1]:
        dry_run.delete_volume(volume_id)
