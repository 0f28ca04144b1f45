"""Put an instance back on the volumes of a set, in place: new volumes, a safety set, stop, swap, start.

Each step can be cut off and repeated. A tag on the instance says which rollback is under way, and whether the
instance ran before; the tags of the new and of the replaced volumes say how far it got. It goes when all is done.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-restoring-volume.html
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import RUNNING, STOPPED, STOPPING, Instance, Volume
from snapset.restore.inputs import RESTORED_FOR, RESTORED_FROM, RestoreInputs, Source
from snapset.restore.plan import Plan, make_plan
from snapset.restore.volumes import (
    attach,
    create_missing,
    delete_volumes,
    detach,
    set_delete_on_termination,
    wait_until_attached,
)
from snapset.retry import Retry
from snapset.sets import attempts, preflight, tags
from snapset.sets.claim import claim_set
from snapset.sets.create import create_set
from snapset.sets.find import find_latest, find_set, find_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.wait import poller_for, wait_for_set

# On the instance, while a rollback is under way: its id, the set, the power state before, and when it began.
JOURNAL = "snapset:rollback"
# On a volume that a rollback has replaced: the rollback's id, the instance and the device.
REPLACED = "snapset:replaced"

_JOURNAL = re.compile(r"(rb-[0-9a-f]{17}) (set-[0-9a-f]{17}) (running|stopped) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_AUTO_SCALING_GROUP = "aws:autoscaling:groupName"
_PENDING = "pending"
# A safety set shows what is there now: an older one is not used, unless volumes have been swapped since.
_FRESH_SECONDS = 600
# For so long a rollback that was cut off after its last step is known to be done, and is not done again.
_RECENT_SECONDS = 3600


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
        is_resumed: whether an earlier run was cut off.
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
    was_running: bool
    is_resumed: bool
    is_done: bool
    stays: Mapping[str, str]
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

    def _new_volume_id(self, source: Source) -> str | None:
        made = self.plan.volumes.get(source.snapshot.snapshot_id)
        return made.volume_id if made else None


@dataclass(frozen=True, kw_only=True)
class _Journal:
    rollback_id: str
    set_id: str
    was_running: bool
    begun: str

    @classmethod
    def of(cls, instance: Instance) -> _Journal | None:
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
        return f"{self.rollback_id} {self.set_id} {RUNNING if self.was_running else STOPPED} {self.begun}"


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


def roll_back(
    ec2: Ec2,
    rollback: Rollback,
    *,
    retry: Retry,
    report: Callable[[RollbackRecord], None] = lambda so_far: None,
) -> RollbackRecord:
    """Carry out the plan, step by step, and return how all stands at the end. Safe to repeat: it goes on.

    Args:
        ec2: where.
        rollback: the plan.
        retry: how long to go on trying, and whom to tell of each step.
        report: told how all stands after each step.

    Raises:
        WaitTimeoutError: the instance did not stop or start in time, or a volume was not made or attached in time.
        SnapsetError: the answer of AWS, and how far the rollback got.
    """
    run = _Run(ec2=ec2, rollback=rollback, retry=retry, report=report)
    with run.saying_how_far():
        run.carry_out()
    return run.record


def _look(ec2: Ec2, inputs: RollbackInputs, *, retry: Retry) -> Rollback:
    instance = ec2.describe_instance(inputs.instance_id)
    journal = _Journal.of(instance)
    found = _choose_set(ec2, inputs, journal, retry=retry)
    attached = {volume.volume_id: volume for volume in ec2.describe_volumes(list(instance.devices))}
    is_resumed = journal is not None and journal.set_id == found.set_id
    rollback_id = journal.rollback_id if journal and is_resumed else _new_id()
    rollback = _plan(ec2, inputs, instance, found, attached, rollback_id, retry=retry)
    # Somebody may have started it since an earlier run was cut off.
    was_running = instance.state in (RUNNING, _PENDING) or (journal is not None and journal.was_running)
    if journal and is_resumed and _is_in_place(rollback) and was_running == (instance.state == RUNNING):
        if clock.age_of(journal.begun) > _RECENT_SECONDS:
            # It had nothing left to do but to say so, and the instance has been used since.
            is_resumed = False
            rollback = _plan(ec2, inputs, instance, found, attached, _new_id(), retry=retry)
    elif not journal and (done := _find_done(ec2, instance, found)):
        rollback = _plan(ec2, inputs, instance, found, attached, done, retry=retry)
        return replace(rollback, is_done=True, is_resumed=True)
    obstacles = _find_obstacles(ec2, inputs, rollback, attached, retry=retry)
    return replace(rollback, was_running=was_running, is_resumed=is_resumed, obstacles=tuple(obstacles))


def _new_id() -> str:
    return f"rb-{secrets.token_hex(9)[:17]}"


def _choose_set(ec2: Ec2, inputs: RollbackInputs, journal: _Journal | None, *, retry: Retry) -> SnapshotSet:
    instance_id = inputs.instance_id
    set_id = inputs.set_id or (journal.set_id if journal and not inputs.change_id else None)
    if journal and not inputs.set_id and not inputs.change_id and clock.age_of(journal.begun) > _RECENT_SECONDS:
        raise errors.InputError(
            f"rolling back {instance_id}: a rollback to {journal.set_id} that began at {journal.begun} was not "
            "ended. Say which set is meant: --set or --change-id."
        )
    if not set_id:
        return find_latest(ec2, instance_id=instance_id, change_id=inputs.change_id, retry=retry)
    found = find_set(ec2, set_id, retry=retry)
    if found.instance_id != instance_id:
        raise errors.InputError(
            f"rolling back {instance_id}: {set_id} was taken of {found.instance_id}. Choose a set of {instance_id}, "
            "or make volumes of this one with snapset restore."
        )
    return found


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
    at = {volume.device_name: volume for volume in attached.values()}
    sources = [source for source in plan.sources if not _is_excluded(source, at, inputs)]
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
    old = {device: volume for device, volume in at.items() if device in devices and volume.volume_id not in new}
    return Rollback(
        inputs=inputs,
        rollback_id=rollback_id,
        instance=instance,
        found=found,
        restore=restore,
        plan=plan,
        sources=tuple(sources),
        old={**{device: volume for device, volume in replaced.items() if device in devices}, **old},
        was_running=False,
        is_resumed=False,
        is_done=False,
        stays={device: volume.volume_id for device, volume in sorted(at.items()) if device not in devices},
    )


def _is_excluded(source: Source, at: Mapping[str, Volume], inputs: RollbackInputs) -> bool:
    now = at[source.device].volume_id if source.device in at else ""
    return bool({source.snapshot.volume_id, now} & set(inputs.exclude_volume_ids))


def _is_in_place(rollback: Rollback) -> bool:
    """Tell whether each of the devices has its new volume."""
    new = rollback.plan.volumes
    there = {(volume.instance_id, volume.device_name) for volume in new.values()}
    return bool(rollback.sources) and there == {
        (rollback.instance.instance_id, source.device) for source in rollback.sources
    }


def _find_done(ec2: Ec2, instance: Instance, found: SnapshotSet) -> str | None:
    """Return the rollback to this set that a run on this machine has just finished, and could not report."""
    for rollback_id in attempts.awaited(_note_of(instance.instance_id)):
        volumes = ec2.find_volumes({f"tag:{RESTORED_FOR}": [f"rollback {rollback_id}"]})
        places = {volume.instance_id for volume in volumes}
        sets = {volume.tags.get(RESTORED_FROM) for volume in volumes}
        if (places, sets) == ({instance.instance_id}, {found.set_id}):
            return rollback_id
    return None


def _note_of(instance_id: str) -> str:
    return f"rollback-{instance_id}"


def _find_obstacles(
    ec2: Ec2, inputs: RollbackInputs, rollback: Rollback, attached: Mapping[str, Volume], *, retry: Retry
) -> list[str]:
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
    found += [
        f"{volume_id} is neither attached to it nor in the set, so it can't be left out"
        for volume_id in inputs.exclude_volume_ids
        if volume_id not in attached and volume_id not in known
    ]
    for device, volume in rollback.old.items():
        if volume.multi_attach:
            found.append(
                f"{volume.volume_id} at {device} can be attached to several instances at once; leave it out "
                f"(--exclude-volume {volume.volume_id})"
            )
        if len(volume.tags) >= tags.MAX_TAGS and REPLACED not in volume.tags:
            found.append(f"{volume.volume_id} has {len(volume.tags)} tags: there is no room for one more")
    return found + (_find_stop_obstacles(ec2, instance, retry=retry) if instance.state != STOPPED else [])


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
        ec2.check_create_snapshots(_safety_inputs(rollback).request(set_id=tags.new_set_id()))
    ec2.check_stop_and_start(instance_id)
    for device, volume in rollback.old.items():
        ec2.check_swap(volume.volume_id, instance_id=instance_id, device=device)
        return


def _safety_inputs(rollback: Rollback) -> SetInputs:
    return SetInputs(
        instance_id=rollback.instance.instance_id,
        scope=rollback.restore.scope,
        region=rollback.restore.region,
        outpost_arn=rollback.found.snapshots[0].outpost_arn or None,
        description=f"before the rollback to {rollback.found.set_id}",
        change_id=f"{tags.SAFETY_CHANGE}{rollback.found.set_id}",
    )


@dataclass(kw_only=True)
class _Run:
    """One run of a rollback: its steps, and how far they got."""

    ec2: Ec2
    rollback: Rollback
    retry: Retry
    report: Callable[[RollbackRecord], None]
    record: RollbackRecord = field(init=False)
    # Whether the instance is marked, and the devices that have their new volumes.
    began: bool = False
    swapped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.record = self.rollback.record(region=self.rollback.restore.region)
        self.report(self.record)

    @property
    def instance_id(self) -> str:
        return self.rollback.instance.instance_id

    def carry_out(self) -> None:
        rollback, inputs = self.rollback, self.rollback.inputs
        if not rollback.is_done:
            self._begin()
            new = self._create_volumes()
            # The volumes that are replaced have what is written until the instance has stopped. If they are to be
            # deleted, the set has to have it.
            if inputs.safety_set and not inputs.delete_replaced:
                self._take_safety_set()
            if len(self.swapped) < len(new):
                self._reach(STOPPED)
            if inputs.safety_set and inputs.delete_replaced:
                self._take_safety_set()
            self._swap_all(new)
            if rollback.was_running:
                self._reach(RUNNING)
            if inputs.delete_replaced:
                self._delete_replaced()
            attempts.note(_note_of(self.instance_id), rollback.rollback_id, seconds=_RECENT_SECONDS)
            self._call(lambda: self.ec2.remove_tags([self.instance_id], [JOURNAL]), doing="ending the rollback of")
        attempts.forget(_note_of(self.instance_id), rollback.rollback_id)

    @contextmanager
    def saying_how_far(self) -> Iterator[None]:
        """Add to an error how far the rollback got; whatever failed, the input is not what is wrong any more."""
        try:
            yield
        except errors.SnapsetError as error:
            if not self.began:
                raise
            record = self.record
            number = f"{len(self.swapped)} of {len(record['devices'])} volumes are swapped"
            where = f"{self.instance_id} is {record['state']}, {number}"
            again = "Run the same command again: it goes on from there."
            kind = errors.SnapsetError if isinstance(error, errors.InputError) else type(error)
            raise kind(f"{error} {where}. {again}", code=error.code) from error

    def _call(self, call: Callable[[], None], *, doing: str) -> None:
        self.retry.while_throttled(call, doing=f"{doing} {self.instance_id}")

    def _begin(self) -> None:
        rollback, journal = self.rollback, _Journal.of(self.rollback.instance)
        now = self.ec2.describe_instance(self.instance_id)
        if (now.devices, _Journal.of(now)) != (rollback.instance.devices, journal):
            # While somebody was asked, or by another run.
            raise errors.SnapsetError(
                f"rolling back {self.instance_id}: its volumes have changed since the plan was made, or another run "
                "has begun a rollback. Run it again to see the new plan."
            )
        if journal and journal.rollback_id == rollback.rollback_id:
            what = f"a rollback to {journal.set_id} that began at {journal.begun}"
            self.retry.say(f"{self.instance_id}: going on with {what}")
            self.began = True
            return
        new = _Journal(
            rollback_id=rollback.rollback_id,
            set_id=rollback.found.set_id,
            was_running=rollback.was_running,
            begun=clock.stamp(),
        )
        self.began = True
        self._call(lambda: self.ec2.add_tags([self.instance_id], {JOURNAL: new.text()}), doing="tagging")

    def _create_volumes(self) -> dict[str, Volume]:
        """Return the new volumes, by device."""
        rollback = self.rollback
        self.retry.say(f"making {len(rollback.sources)} volumes from {rollback.found.set_id}")
        made = create_missing(self.ec2, rollback.restore, rollback.plan, retry=self.retry)
        new = {source.device: made[source.snapshot.snapshot_id] for source in rollback.sources}
        for device in self.record["devices"]:
            device["new_volume_id"] = new[device["device_name"]].volume_id
        self.swapped = {device for device, volume in new.items() if volume.instance_id == self.instance_id}
        self.report(self.record)
        return new

    def _take_safety_set(self) -> None:
        """Take a set of what is there now, unless an earlier run has, or has begun to swap."""
        inputs, swapping = _safety_inputs(self.rollback), bool(self.swapped)
        known = [
            found
            for found in find_sets(self.ec2, {f"tag:{tags.TOKEN}": [inputs.token]}, retry=self.retry)
            if swapping or found.age < _FRESH_SECONDS
        ]
        if known:
            safety = known[0]
        elif swapping:
            self.retry.say(f"warning: no safety set of {self.instance_id}: an earlier run has begun to swap volumes")
            return
        else:
            self.retry.say(f"taking a safety set of {self.instance_id}")
            instance = self.ec2.describe_instance(self.instance_id)
            volumes = preflight.volumes_of(inputs, instance)
            safety = create_set(self.ec2, inputs, volumes=volumes, retry=self.retry).set
        if not all(snapshot.tags.get(tags.SNAPSHOT) == snapshot.snapshot_id for snapshot in safety.snapshots):
            claim = next(iter(safety.claims), None) or tags.new_claim()
            claim_set(self.ec2, safety, claim=claim, retry=self.retry)
        self.record["safety_set_id"] = safety.set_id
        self.report(self.record)

    def _reach(self, wanted: str) -> None:
        """Stop or start the instance, and wait until it has."""
        change = self.ec2.stop_instance if wanted == STOPPED else self.ec2.start_instance
        doing = "stopping" if wanted == STOPPED else "starting"
        unwanted = RUNNING if wanted == STOPPED else STOPPED
        give_up, pause, said = time.monotonic() + self.rollback.inputs.timeout, 0.5, False
        while True:
            instance = self.retry.while_throttled(
                lambda: self.ec2.describe_instance(self.instance_id), doing=f"describing instance {self.instance_id}"
            )
            self.record["state"] = instance.state
            self.report(self.record)
            if instance.state == wanted:
                return
            if not said:
                self.retry.say(f"{doing} {self.instance_id}")
                said = True
            if instance.state == unwanted:
                self._call(lambda: change(self.instance_id), doing=doing)
            if time.monotonic() + pause > give_up:
                raise errors.WaitTimeoutError(
                    f"{doing} {self.instance_id}: it is still {instance.state} after "
                    f"{self.rollback.inputs.timeout:.0f} s."
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 5.0)

    def _swap_all(self, new: Mapping[str, Volume]) -> None:
        for source in self.rollback.sources:
            if source.device not in self.swapped:
                self._swap(source.device, new[source.device])
        seen = wait_until_attached(
            self.ec2, [volume.volume_id for volume in new.values()], self.instance_id, retry=self.retry
        )
        deleted = {source.device for source in self.rollback.sources if self._was_deleted_with_it(source)}
        set_delete_on_termination(self.ec2, seen.values(), deleted, instance_id=self.instance_id, retry=self.retry)

    def _was_deleted_with_it(self, source: Source) -> bool:
        if source.was:
            return source.was.delete_on_termination
        old = self.rollback.old.get(source.device)
        return bool(old and old.deleted_with_instance)

    def _swap(self, device: str, new: Volume) -> None:
        old = self.rollback.old.get(device)
        if old and old.instance_id:
            self.retry.say(f"{device} of {self.instance_id}: {new.volume_id} in place of {old.volume_id}")
            mark = {REPLACED: f"{self.rollback.rollback_id} {self.instance_id} {device}"}
            self._call(lambda: self.ec2.add_tags([old.volume_id], mark), doing=f"tagging {old.volume_id} of")
            detach(self.ec2, old, retry=self.retry)
        attach(self.ec2, new.volume_id, instance_id=self.instance_id, device=device, retry=self.retry)
        wait_until_attached(self.ec2, [new.volume_id], self.instance_id, retry=self.retry)
        self.swapped.add(device)

    def _delete_replaced(self) -> None:
        if safety_id := self.record["safety_set_id"]:
            safety = find_set(self.ec2, safety_id, retry=self.retry)
            asyncio.run(self._wait_for(safety))
        volume_ids = [volume.volume_id for volume in self.rollback.old.values()]
        self.retry.say(f"deleting {', '.join(volume_ids)}")
        delete_volumes(self.ec2, volume_ids, instance_id=None, retry=self.retry)
        self.record["deleted_volume_ids"] = volume_ids
        self.report(self.record)

    async def _wait_for(self, safety: SnapshotSet) -> None:
        timeout = self.rollback.inputs.timeout
        await wait_for_set(poller_for(self.ec2).look, safety, seen=safety, timeout=timeout, retry=self.retry)
