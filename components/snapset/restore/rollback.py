"""Put an instance back on the volumes of a set, in place: new volumes, a safety set, stop, swap, start.

Each step can be cut off and repeated: `rollback_plan` finds in the tags how far an earlier run got. The instance is
looked at once more before each step that touches it, since somebody else may have.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-restoring-volume.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR, RUNNING, STOPPED, Instance, Volume
from snapset.restore.inputs import Source
from snapset.restore.rollback_plan import (
    JOURNAL,
    RECENT_SECONDS,
    REPLACED,
    SAVED,
    Journal,
    Rollback,
    RollbackRecord,
    note_of,
)
from snapset.restore.volumes import (
    attach,
    create_missing,
    delete_volumes,
    describe,
    detach,
    set_delete_on_termination,
    wait_until_attached,
)
from snapset.retry import Retry
from snapset.sets import attempts, preflight, tags
from snapset.sets.claim import claim_set
from snapset.sets.create import create_set
from snapset.sets.find import find_set, find_sets
from snapset.sets.model import SnapshotSet, is_marked
from snapset.sets.wait import poller_for, wait_for_set

_T = TypeVar("_T")

# A safety set shows what is there now: an older one is not used, unless volumes have been swapped since.
_FRESH_SECONDS = 600
# How often it is stopped, or started, if it does not stay so: somebody else, or AWS, may be at it too.
_TURNS = 3


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


@dataclass(kw_only=True)
class _Run:
    """One run of a rollback: its steps, and how far they got."""

    ec2: Ec2
    rollback: Rollback
    retry: Retry
    report: Callable[[RollbackRecord], None]
    record: RollbackRecord = field(init=False)
    # Whether the instance is marked, the new volumes by device, and the devices that have them.
    began: bool = False
    new: dict[str, Volume] = field(default_factory=dict)
    swapped: set[str] = field(default_factory=set)
    advice: str = "Run the same command again: it goes on from there."

    def __post_init__(self) -> None:
        self.record = self.rollback.record(region=self.rollback.restore.region)
        self.report(self.record)

    @property
    def instance_id(self) -> str:
        return self.rollback.instance.instance_id

    @property
    def _is_swapped(self) -> bool:
        return len(self.swapped) == len(self.new)

    def carry_out(self) -> None:
        rollback, inputs = self.rollback, self.rollback.inputs
        if not rollback.is_done:
            self._begin()
            self._create_volumes()
            # The volumes that are replaced have what is written until the instance has stopped. If they are to be
            # deleted, the set has to have it.
            if inputs.safety_set and not inputs.delete_replaced:
                self._take_safety_set()
            if not self._is_swapped:
                self._reach(STOPPED)
            if inputs.safety_set and inputs.delete_replaced:
                self._take_safety_set_of_stopped()
            self._swap_all()
            if inputs.safety_set and inputs.delete_replaced:
                self._mark_saved()
            if rollback.was_running:
                self._reach(RUNNING)
            if inputs.delete_replaced:
                self._delete_replaced()
            self._look_again()
            attempts.note(note_of(self.instance_id), rollback.rollback_id, seconds=RECENT_SECONDS)
            self._call(lambda: self.ec2.remove_tags([self.instance_id], [JOURNAL]), doing="ending the rollback of")
        attempts.forget(note_of(self.instance_id), rollback.rollback_id)

    @contextmanager
    def saying_how_far(self) -> Iterator[None]:
        """Add to an error how far the rollback got; whatever failed, the input is not what is wrong any more."""
        try:
            yield
        except errors.SnapsetError as error:
            if not self.began:
                raise
            kind = errors.SnapsetError if isinstance(error, errors.InputError) else type(error)
            raise kind(f"{error} {self._how_far()}", code=error.code) from error
        except KeyboardInterrupt:
            if self.began:
                self.retry.say(f"cut off: {self._how_far()}")
            raise

    def _how_far(self) -> str:
        number = f"{len(self.swapped)} of {len(self.record['devices'])} volumes are swapped"
        return f"{self.instance_id} is {self.record['state']}, {number}. {self.advice}"

    def _call(self, call: Callable[[], _T], *, doing: str) -> _T:
        return self.retry.while_throttled(call, doing=f"{doing} {self.instance_id}")

    def _describe(self) -> Instance:
        return self._call(lambda: self.ec2.describe_instance(self.instance_id), doing="describing instance")

    def _look_again(self) -> Instance:
        """Return the instance as it is now. Another run of the same rollback may have swapped more.

        Raises:
            SnapsetError: it is gone, or another rollback of it has begun.
        """
        instance = self._describe()
        self.record["state"] = instance.state
        self.swapped |= {device for device, new in self.new.items() if instance.devices.get(new.volume_id) == device}
        self.report(self.record)
        doing = f"rolling back {self.instance_id}"
        if instance.is_gone:
            self.advice = "The volumes that were swapped out, and those that were not swapped in yet, stay."
            raise errors.SnapsetError(f"{doing}: it was terminated meanwhile.")
        journal, earlier = Journal.of(instance), Journal.of(self.rollback.instance)
        if journal and journal.rollback_id not in (self.rollback.rollback_id, earlier and earlier.rollback_id):
            self.advice = "This one ends here. What the other one does is shown with --preview."
            raise errors.SnapsetError(f"{doing}: another rollback, to {journal.set_id}, has begun meanwhile.")
        return instance

    def _begin(self) -> None:
        rollback, journal = self.rollback, Journal.of(self.rollback.instance)
        now = self._describe()
        if (now.devices, Journal.of(now)) != (rollback.instance.devices, journal):
            # While somebody was asked, or by another run.
            raise errors.SnapsetError(
                f"rolling back {self.instance_id}: its volumes have changed since the plan was made, or another run "
                "has begun a rollback. Run it again to see the new plan."
            )
        if rollback.begun:
            what = f"the rollback to {rollback.found.set_id} that began at {rollback.begun}"
            self.retry.say(f"{self.instance_id}: going on with {what}")
            self.began = True
            return
        new = Journal(
            rollback_id=rollback.rollback_id,
            set_id=rollback.found.set_id,
            was_running=rollback.was_running,
            begun=clock.stamp(),
        )
        self.began = True
        self._call(lambda: self.ec2.add_tags([self.instance_id], {JOURNAL: new.text()}), doing="tagging")

    def _create_volumes(self) -> None:
        rollback = self.rollback
        self.retry.say(f"making {len(rollback.sources)} volumes from {rollback.found.set_id}")
        made = create_missing(self.ec2, rollback.restore, rollback.plan, retry=self.retry)
        self.new = {source.device: made[source.snapshot.snapshot_id] for source in rollback.sources}
        for device in self.record["devices"]:
            device["new_volume_id"] = self.new[device["device_name"]].volume_id
        self.swapped = {device for device, volume in self.new.items() if volume.instance_id == self.instance_id}
        self.report(self.record)

    def _take_safety_set(self) -> None:
        """Take a set of what is there now, unless an earlier run has, or has begun to swap."""
        known = self._find_safety_sets(launch_time="")
        known = [found for found in known if self.swapped or found.age < _FRESH_SECONDS]
        if not known and self.swapped:
            self.retry.say(f"warning: no safety set of {self.instance_id}: an earlier run has begun to swap volumes")
            return
        self._keep_safety_set(known, launch_time="")

    def _take_safety_set_of_stopped(self) -> None:
        """Take a set of all that was written until the instance stopped, unless an earlier run has."""
        launch_time = self._look_again().launch_time
        known = self._find_safety_sets(launch_time=launch_time)
        if known or not self._is_swapped:
            self._keep_safety_set(known, launch_time=launch_time)

    def _find_safety_sets(self, *, launch_time: str) -> list[SnapshotSet]:
        token = self.rollback.safety_inputs(launch_time=launch_time).token
        found = find_sets(self.ec2, {f"tag:{tags.TOKEN}": [token]}, retry=self.retry)
        return [one for one in found if one.state != ERROR]

    def _keep_safety_set(self, known: list[SnapshotSet], *, launch_time: str) -> None:
        if known:
            safety = known[0]
        else:
            self.retry.say(f"taking a safety set of {self.instance_id}")
            inputs = self.rollback.safety_inputs(launch_time=launch_time)
            volumes = preflight.volumes_of(inputs, self._describe())
            safety = create_set(self.ec2, inputs, volumes=volumes, retry=self.retry).set
        if not all(map(is_marked, safety.snapshots)):
            claim = next(iter(safety.claims), None) or tags.new_claim()
            claim_set(self.ec2, safety, claim=claim, retry=self.retry)
        self.record["safety_set_id"] = safety.set_id
        self.report(self.record)

    def _reach(self, wanted: str) -> None:
        """Stop or start the instance, and wait until it has. What is swapped already need not stop for it.

        Raises:
            SnapsetError: it goes back each time, by itself or by somebody else.
            WaitTimeoutError: the time is up.
        """
        change = self.ec2.stop_instance if wanted == STOPPED else self.ec2.start_instance
        doing = "stopping" if wanted == STOPPED else "starting"
        unwanted = RUNNING if wanted == STOPPED else STOPPED
        give_up, pause = time.monotonic() + self.rollback.inputs.timeout, 0.5
        # When it was started last, each time that it was found as it should not be.
        turns: set[str] = set()
        said = False
        while True:
            instance = self._look_again()
            if instance.state == wanted or (wanted == STOPPED and self._is_swapped):
                return
            if not said:
                self.retry.say(f"{doing} {self.instance_id}")
                said = True
            if instance.state == unwanted:
                turns.add(instance.launch_time)
                if len(turns) > _TURNS:
                    why = f" ({instance.state_reason})" if instance.state_reason else ""
                    raise errors.SnapsetError(f"{doing} {self.instance_id}: each time it is {unwanted} again{why}.")
                self._call(lambda: change(self.instance_id), doing=doing)
            if time.monotonic() + pause > give_up:
                raise errors.WaitTimeoutError(
                    f"{doing} {self.instance_id}: it is still {instance.state} after "
                    f"{self.rollback.inputs.timeout:.0f} s."
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 5.0)

    def _swap_all(self) -> None:
        for device, new in self.new.items():
            if device not in self.swapped:
                self._swap(device, new)
        seen = wait_until_attached(
            self.ec2, [volume.volume_id for volume in self.new.values()], self.instance_id, retry=self.retry
        )
        deleted = {source.device for source in self.rollback.sources if self._was_deleted_with_it(source)}
        set_delete_on_termination(self.ec2, seen.values(), deleted, instance_id=self.instance_id, retry=self.retry)

    def _was_deleted_with_it(self, source: Source) -> bool:
        if source.was:
            return source.was.delete_on_termination
        old = self.rollback.old.get(source.device)
        return bool(old and old.deleted_with_instance)

    def _swap(self, device: str, new: Volume) -> None:
        instance, old = self._look_again(), self.rollback.old.get(device)
        if device in self.swapped:
            return
        there = {at: volume_id for volume_id, at in instance.devices.items()}.get(device, new.volume_id)
        if instance.state != STOPPED:
            raise errors.SnapsetError(f"swapping {device} of {self.instance_id}: it was started meanwhile.")
        if there != new.volume_id:
            if not old or there != old.volume_id:
                raise errors.SnapsetError(
                    f"swapping {device} of {self.instance_id}: {there} was attached there meanwhile."
                )
            self.retry.say(f"{device} of {self.instance_id}: {new.volume_id} in place of {there}")
            mark = {REPLACED: f"{self.rollback.rollback_id} {self.instance_id} {device}"}
            if SAVED in old.tags:
                # It was put back, and used again.
                mark[SAVED] = ""
            self._call(lambda: self.ec2.add_tags([there], mark), doing=f"tagging {there} of")
            detach(self.ec2, there, instance_id=self.instance_id, retry=self.retry)
        attach(self.ec2, new.volume_id, instance_id=self.instance_id, device=device, retry=self.retry)
        wait_until_attached(self.ec2, [new.volume_id], self.instance_id, retry=self.retry)
        self.swapped.add(device)

    def _mark_saved(self) -> None:
        """Mark the replaced volumes of which the safety set has everything: it began after they were used last."""
        instance, set_id = self._look_again(), self.record["safety_set_id"]
        if not set_id or instance.state != STOPPED:
            return
        safety = find_set(self.ec2, set_id, retry=self.retry, wait=self.retry.consistency)
        if not safety.began_after(instance.launch_time):
            return
        saved = [
            volume.volume_id
            for volume in describe(self.ec2, self._old_volume_ids, retry=self.retry)
            if volume.volume_id in safety.volume_ids and not volume.instance_id
        ]
        if saved:
            mark = {SAVED: f"{self.rollback.rollback_id} {set_id}"}
            self._call(lambda: self.ec2.add_tags(saved, mark), doing=f"tagging {', '.join(saved)} of")

    @property
    def _old_volume_ids(self) -> list[str]:
        return [volume.volume_id for volume in self.rollback.old.values()]

    def _delete_replaced(self) -> None:
        """Delete the replaced volumes that a safety set has everything of, or all of them if none was wanted."""
        volumes = describe(self.ec2, self._old_volume_ids, retry=self.retry)
        saved_in = {volume.volume_id: self._saved_in(volume) for volume in volumes}
        for set_id in sorted(set(saved_in.values()) - {""}):
            try:
                safety = find_set(self.ec2, set_id, retry=self.retry, wait=self.retry.consistency)
                asyncio.run(self._wait_for(safety))
                self.record["safety_set_id"] = set_id
            except (errors.SetFailedError, errors.NotFoundError) as error:
                # To run it again would not mend the set.
                self.retry.say(f"warning: {error}")
                saved_in = {key: "" if value == set_id else value for key, value in saved_in.items()}
        wanted = self.rollback.inputs.safety_set
        deletable = [volume_id for volume_id, set_id in saved_in.items() if set_id or not wanted]
        if kept := sorted(saved_in.keys() - set(deletable)):
            self.retry.say(f"warning: {', '.join(kept)} stays: no set has all that is on it")
        if deletable:
            self.retry.say(f"deleting {', '.join(deletable)}")
            delete_volumes(self.ec2, deletable, retry=self.retry)
        self.record["deleted_volume_ids"] = deletable
        self.report(self.record)

    def _saved_in(self, volume: Volume) -> str:
        """Return the safety set that has all that is on the volume, or nothing."""
        rollback_id, _, set_id = volume.tags.get(SAVED, "").partition(" ")
        return set_id if rollback_id == self.rollback.rollback_id else ""

    async def _wait_for(self, safety: SnapshotSet) -> None:
        timeout = self.rollback.inputs.timeout
        await wait_for_set(poller_for(self.ec2).look, safety, seen=safety, timeout=timeout, retry=self.retry)
