"""Put an instance back on the volumes of a set, in place: new volumes, a safety set, stop, swap, start.

Each step can be cut off and repeated: `rollback_plan` finds in the tags how far an earlier run got. The instance is
inspected before each step that touches it, since somebody else may have touched it.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-restoring-volume.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.errors import PASSING_STATE_CODES
from snapset.aws.records import ERROR, RUNNING, STOPPED, Instance, Volume
from snapset.restore import volumes
from snapset.restore.rollback_plan import (
    RECENT_SECONDS,
    REPLACED,
    SAVED,
    SWAPPED_IN,
    RollbackPlan,
    RollbackRecord,
    Swap,
    note_of,
    with_leftovers,
)
from snapset.retry import PASSING, polls, while_throttled
from snapset.sets import attempts, tags
from snapset.sets.claims import claim_set
from snapset.sets.find import find_set, find_sets_by_token
from snapset.sets.journal import JOURNAL, Journal
from snapset.sets.model import is_marked
from snapset.sets.take import take_set
from snapset.sets.wait import wait_for_set

# A safety set shows what is there now: an older one is not used, unless volumes have been swapped since.
_FRESH_SECONDS = 600
# How often the instance is stopped, or started, if it does not stay so: somebody else, or AWS, may undo it.
_TURNS = 3
# In AWS's words for why an instance has failed to start: it had no room for it in the zone.
_NO_CAPACITY = "Insufficient"


def roll_back(
    ec2: Ec2, plan: RollbackPlan, *, report: Callable[[RollbackRecord], None] = lambda so_far: None
) -> RollbackRecord:
    """Carry out the plan, and return how all stands at the end. Safe to repeat.

    What passes by itself is borne for as long as the inputs say: no single answer is to leave the instance stopped.
    `report` gets what is returned from the beginning on, each time that the instance has been looked at.

    Raises:
        WaitTimeoutError: the instance did not stop or start in time, or a volume was not made or attached in time.
        SnapsetError: the answer of AWS, and how far the rollback got.
    """
    run = _Run(ec2=ec2.bearing(plan.inputs.timeout), plan=plan, report=report)
    try:
        run.carry_out()
    except errors.SnapsetError as error:
        if not run.began:
            raise
        kind, why = type(error), str(error)
        if isinstance(error, PASSING):
            kind, why = errors.WaitTimeoutError, f"{why} The time of {plan.inputs.timeout:.0f} s was up."
        elif isinstance(error, errors.InputError):
            # Once it has begun, the input is no longer to blame.
            kind = errors.SnapsetError
        raise kind(f"{why} {run.how_far()}", code=error.code) from error
    except KeyboardInterrupt:
        if run.began:
            ec2.say(f"cut off: {run.how_far()}")
        raise
    return run.record


@dataclass(kw_only=True)
class _Run:
    """One run of a rollback: its steps, and how far they got."""

    ec2: Ec2
    plan: RollbackPlan
    report: Callable[[RollbackRecord], None]
    record: RollbackRecord = field(init=False)
    # Whether the instance is marked, the ids of the new volumes by device, and the devices that have them.
    began: bool = False
    new: dict[str, str] = field(init=False)
    swapped: set[str] = field(init=False)
    # When the instance was started last, before any volume was swapped.
    launched: str = field(init=False)
    advice: str = "Run the same command again: it goes on from there."

    def __post_init__(self) -> None:
        self.record, self.launched = self.plan.record(), self.plan.instance.launch_time
        self._note_new({swap.device: swap.new for swap in self.plan.swaps if swap.new})
        self.report(self.record)

    @property
    def instance_id(self) -> str:
        return self.plan.instance.instance_id

    @property
    def _is_swapped(self) -> bool:
        return len(self.swapped) == len(self.plan.swaps)

    def _note_new(self, new: Mapping[str, Volume]) -> None:
        self.new = {device: volume.volume_id for device, volume in new.items()}
        self.swapped = {device for device, volume in new.items() if volume.instance_id == self.instance_id}

    def carry_out(self) -> None:
        plan, inputs = self.plan, self.plan.inputs
        if not plan.is_done:
            self._begin()
            self._create_volumes()
            # The volumes that are replaced have what is written until the instance has stopped. If they are to be
            # deleted, the set has to have it.
            if inputs.safety_set and not inputs.delete_replaced:
                self._take_safety_set()
            if not self._is_swapped:
                self._reach(STOPPED)
            if inputs.safety_set and inputs.delete_replaced:
                self._take_safety_set(launch_time=self._inspect_instance().launch_time)
            self._swap_all()
            if inputs.safety_set and inputs.delete_replaced:
                self._mark_saved()
            if plan.was_running:
                self._reach(RUNNING)
            if inputs.delete_replaced:
                self._delete_replaced()
            if plan.to_delete:
                # Unless somebody has attached them since they were shown.
                still = with_leftovers(self.ec2, plan).to_delete
                self._delete([volume_id for volume_id in plan.to_delete if volume_id in still])
            self._reach(RUNNING if plan.was_running else STOPPED)
            attempts.note(note_of(self.instance_id), plan.rollback_id, seconds=RECENT_SECONDS)
            self.ec2.remove_tags([self.instance_id], [JOURNAL])
        attempts.forget(note_of(self.instance_id), plan.rollback_id)

    def how_far(self) -> str:
        number = f"{len(self.swapped)} of {len(self.plan.swaps)} volumes swapped"
        return f"{self.instance_id} was last seen {self.record['state']}, with {number}. {self.advice}"

    def _inspect_instance(self) -> Instance:
        """Return the instance as it is now, and note what another run of the same rollback has swapped."""
        instance = self.ec2.describe_instance(self.instance_id)
        self.record["state"] = instance.state
        self.swapped |= {device for device, new_id in self.new.items() if instance.devices.get(new_id) == device}
        self.report(self.record)
        doing = f"rolling back {self.instance_id}"
        if instance.is_gone:
            self.advice = "The volumes that were swapped out, and those that were not swapped in yet, stay."
            raise errors.SnapsetError(f"{doing}: it was terminated meanwhile.")
        if not self.swapped:
            self.launched = instance.launch_time
        elif not self._is_swapped and instance.launch_time > self.launched:
            raise errors.SnapsetError(f"{doing}: it was started meanwhile, with some of the new volumes.")
        journal, earlier = Journal.of(instance), Journal.of(self.plan.instance)
        if journal and journal.rollback_id not in (self.plan.rollback_id, earlier and earlier.rollback_id):
            self.advice = "This one ends here. What the other one does is shown with --preview."
            raise errors.SnapsetError(f"{doing}: another rollback, to {journal.set_id}, has begun meanwhile.")
        return instance

    def _begin(self) -> None:
        plan = self.plan
        # One answer may be stale.
        for _ in polls(self.ec2.limits.consistency):
            both = (self.ec2.describe_instance(self.instance_id), plan.instance)
            seen, planned = [(one.devices, one.launch_time, Journal.of(one)) for one in both]
            if seen == planned:
                break
        else:
            # While somebody was asked, or by another run.
            raise errors.SnapsetError(
                f"rolling back {self.instance_id}: since the plan was made its volumes have changed, it was started, "
                "or another run has begun a rollback. Run it again to see the new plan."
            )
        self.began = True
        if plan.begun:
            what = f"the rollback to {plan.found.set_id} that began at {plan.begun}"
            self.ec2.say(f"{self.instance_id}: going on with {what}")
            return
        journal = Journal(
            rollback_id=plan.rollback_id, set_id=plan.found.set_id, was_running=plan.was_running, begun=clock.stamp()
        )
        self.ec2.add_tags([self.instance_id], {JOURNAL: journal.text()})

    def _create_volumes(self) -> None:
        plan = self.plan
        if missing := len(plan.swaps) - len(self.new):
            self.ec2.say(f"making {missing} {'volume' if missing == 1 else 'volumes'} from {plan.found.set_id}")
        made = volumes.create_missing(self.ec2, plan.restore_plan)
        new = {swap.device: volume for swap, volume in zip(plan.swaps, made, strict=True)}
        self.record["devices"] = [replace(swap, new=new[swap.device]).record() for swap in plan.swaps]
        self._note_new(new)

    def _take_safety_set(self, *, launch_time: str = "") -> None:
        """Take a set of what is there now, unless an earlier run has, or has begun to swap.

        With `launch_time`, it has to have what the stopped instance wrote since then.
        """
        inputs = self.plan.safety_inputs(launch_time=launch_time)
        found = find_sets_by_token(self.ec2, [inputs.token]).get(inputs.token, [])
        # Nothing was written since, if the instance has not been started; and what was swapped is no longer there.
        any_age = bool(launch_time or self.swapped)
        known = [one for one in found if one.state != ERROR and (any_age or one.age < _FRESH_SECONDS)]
        if known:
            safety = known[0]
        elif launch_time and self._is_swapped:
            return
        elif self.swapped and not launch_time:
            self.ec2.say(f"warning: no safety set of {self.instance_id}: an earlier run has begun to swap volumes")
            return
        else:
            doing = f"taking a safety set of {self.instance_id}"
            self.ec2.say(doing)
            safety = while_throttled(
                lambda: take_set(self.ec2, inputs, adopt_within=_FRESH_SECONDS).set,
                doing=doing,
                seconds=self.plan.inputs.timeout,
                say=self.ec2.say,
                bears=PASSING,
            )
        if not all(map(is_marked, safety.snapshots)):
            claim_set(self.ec2, safety, claim=next(iter(safety.claims), None) or tags.new_claim())
        self.record["safety_set_id"] = safety.set_id

    def _reach(self, wanted: str) -> Instance:
        """Stop or start the instance, and return it once it has. Don't stop it if all volumes are swapped."""
        change = self.ec2.stop_instance if wanted == STOPPED else self.ec2.start_instance
        doing = f"{'stopping' if wanted == STOPPED else 'starting'} {self.instance_id}"
        unwanted = RUNNING if wanted == STOPPED else STOPPED
        timeout, trouble = self.plan.inputs.timeout, ""
        # When it was started last, each time that it was found as it should not be.
        turns: set[str] = set()
        for number, _ in enumerate(polls(timeout)):
            instance = self._inspect_instance()
            if instance.state == wanted or (wanted == STOPPED and self._is_swapped):
                return instance
            if number == 0:
                self.ec2.say(doing)
            if instance.state == unwanted:
                if _NO_CAPACITY not in instance.state_reason:
                    turns.add(instance.launch_time)
                if len(turns) > _TURNS:
                    why = f" ({instance.state_reason})" if instance.state_reason else ""
                    raise errors.SnapsetError(f"{doing}: each time it is {unwanted} again{why}.")
                try:
                    change(self.instance_id)
                except errors.SnapsetError as error:
                    # What was seen of it may be stale.
                    if error.code not in PASSING_STATE_CODES:
                        raise
                    trouble = f" {error}"
        raise errors.WaitTimeoutError(f"{doing}: it is still {self.record['state']} after {timeout:.0f} s.{trouble}")

    def _swap_all(self) -> None:
        plan = self.plan
        # The root last: until then, the instance could be started again as it was.
        for swap in sorted(plan.swaps, key=lambda swap: swap.device == plan.instance.root_device_name):
            if swap.device not in self.swapped:
                self._swap(swap)
        attached = volumes.wait_until_attached(self.ec2, list(self.new.values()), instance_id=self.instance_id)
        devices = {swap.device for swap in plan.swaps if swap.deleted_with_instance}
        volumes.set_delete_on_termination(self.ec2, attached, devices, instance_id=self.instance_id)

    def _swap(self, swap: Swap) -> None:
        instance, old, new_id = self._reach(STOPPED), swap.old, self.new[swap.device]
        if swap.device in self.swapped:
            return
        where = f"{swap.device} of {self.instance_id}"
        there = {at: volume_id for volume_id, at in instance.devices.items()}.get(swap.device, new_id)
        if there != new_id:
            if not old or there != old.volume_id:
                raise errors.SnapsetError(f"swapping {where}: {there} was attached there meanwhile.")
            self.ec2.say(f"{where}: {new_id} in place of {there}")
            mark = {REPLACED: f"{self.plan.rollback_id} {self.instance_id} {swap.device}"}
            if SAVED in old.tags:
                # It was put back, and used again.
                mark[SAVED] = ""
            self.ec2.add_tags([there], mark)
            volumes.detach(self.ec2, there, instance_id=self.instance_id)
        self.ec2.add_tags([new_id], {SWAPPED_IN: clock.stamp()})
        volumes.attach(self.ec2, new_id, instance_id=self.instance_id, device=swap.device)
        volumes.wait_until_attached(self.ec2, [new_id], instance_id=self.instance_id)
        self.swapped.add(swap.device)

    def _mark_saved(self) -> None:
        """Mark the replaced volumes that are wholly in the safety set: it began after they were used last."""
        instance, set_id = self._inspect_instance(), self.record["safety_set_id"]
        if not set_id or instance.state != STOPPED:
            return
        safety = find_set(self.ec2, set_id, wait=self.ec2.limits.consistency)
        if not safety.began_after(instance.launch_time):
            return
        saved = [
            volume.volume_id
            for volume in self._describe_old_volumes()
            if volume.volume_id in safety.volume_ids and not volume.instance_id
        ]
        if saved:
            self.ec2.add_tags(saved, {SAVED: f"{self.plan.rollback_id} {set_id}"})

    def _describe_old_volumes(self) -> list[Volume]:
        return self.ec2.describe_volumes([volume.volume_id for volume in self.plan.old_volumes])

    def _delete_replaced(self) -> None:
        """Delete the replaced volumes that are wholly in a safety set, or all of them if none was wanted."""
        saved_in: dict[str, str] = {}
        for volume in self._describe_old_volumes():
            rollback_id, _, set_id = volume.tags.get(SAVED, "").partition(" ")
            saved_in[volume.volume_id] = set_id if rollback_id == self.plan.rollback_id else ""
        completed = {set_id for set_id in sorted(set(saved_in.values()) - {""}) if self._completes(set_id)}
        wanted = self.plan.inputs.safety_set
        deletable = [volume_id for volume_id, set_id in saved_in.items() if set_id in completed or not wanted]
        if kept := sorted(saved_in.keys() - set(deletable)):
            self.ec2.say(f"warning: {', '.join(kept)} stays: no set has all that is on it")
        self._delete(deletable)

    def _delete(self, volume_ids: list[str]) -> None:
        if volume_ids:
            self.ec2.say(f"deleting {', '.join(volume_ids)}")
            volumes.delete_volumes(self.ec2, volume_ids)
        self.record["deleted_volume_ids"] += volume_ids
        left = self.record["leftover_volume_ids"]
        self.record["leftover_volume_ids"] = [volume_id for volume_id in left if volume_id not in volume_ids]

    def _completes(self, set_id: str) -> bool:
        """Wait for the safety set, and tell whether it has completed."""
        try:
            safety = find_set(self.ec2, set_id, wait=self.ec2.limits.consistency)
            asyncio.run(wait_for_set(self.ec2, safety, timeout=self.plan.inputs.timeout))
        except (errors.SetFailedError, errors.NotFoundError) as error:
            # A rerun would not mend the set.
            self.ec2.say(f"warning: {error}")
            return False
        self.record["safety_set_id"] = set_id
        return True
