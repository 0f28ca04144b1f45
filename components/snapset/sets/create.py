"""Take a set exactly once: adopt the one that an earlier attempt left behind, or create one.

CreateSnapshots has no ClientToken, so a lost answer can't be told from a lost call. Each set therefore carries the
token of its intent, applied by the call itself, and nothing is created before a look for a set with that token.

A set is *claimed* once a stack's state holds it. Only an unclaimed set is ever adopted: one that a run took and whose
record that run could not write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR, Snapshot
from snapset.retry import Retry, looks
from snapset.sets import attempts, tags
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet, group

# How often CreateSnapshots is called in all where AWS gives no answer.
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A set that stands for the intent now: `created` by this run, or `adopted` from an earlier one."""

    set: SnapshotSet
    outcome: Literal["created", "adopted"]


def create_set(
    ec2: Ec2,
    inputs: SetInputs,
    *,
    volumes: Mapping[str, str] | None,
    retry: Retry,
    still_wanted: Callable[[], bool] = lambda: True,
    first_look: Sequence[SnapshotSet] | None = None,
) -> Taken:
    """Adopt the set that an earlier attempt at the same intent left behind, or create one.

    Args:
        ec2: where.
        inputs: what to snapshot; its token names the intent.
        volumes: the volumes that the set will hold, each with its device, or None if they are not known.
        retry: how long to go on trying.
        still_wanted: asked before each attempt; false once nobody is there to record the set.
        first_look: the sets of this intent that a look for many intents has just found; it has waited, too.

    Raises:
        ThrottledError: AWS went on answering "not now" for as long as `retry` allows. No set was made.
        NoAnswerError: AWS gave no answer, and no set of this intent showed up. A rerun adopts it if it does.
        SnapsetError: the answer of AWS; no set was made.
    """
    doing = f"creating snapshots of {inputs.instance_id}"
    search = _Search(ec2=ec2, inputs=inputs, volumes=volumes, retry=retry, first_look=first_look)
    awaited = attempts.awaited([inputs.token]) if first_look is None else {}
    wait = max(awaited.values(), default=0.0)
    if wait:
        retry.say(f"{doing}: an earlier run was cut off: looking for its set for up to {wait:.0f} s")
    if found := search.run(doing, wait=wait, awaited=awaited):
        return Taken(set=found, outcome="adopted")
    while True:
        set_id = tags.new_set_id()
        search.own_ids.append(set_id)
        try:
            taken = _call(ec2, inputs, set_id, volumes=volumes, retry=retry, still_wanted=still_wanted, doing=doing)
            return Taken(set=taken, outcome="created")
        except errors.NoAnswerError as error:
            retry.say(f"{doing}: no answer from AWS: looking whether the set was taken")
            outcome = f"No set showed up within {retry.consistency:.0f} s."
            try:
                if found := search.run(doing, wait=retry.consistency):
                    return Taken(set=found, outcome="created" if found.set_id in search.own_ids else "adopted")
                # A call whose answer is late may happen yet, so another attempt now could make it two.
                give_in = isinstance(error, errors.LateAnswerError) or len(search.own_ids) == _ATTEMPTS
            except errors.SnapsetError as looking:
                outcome, give_in = f"Whether the set was taken could not be seen: {looking}", True
            if give_in:
                again = "Run it again: a set that shows up later is adopted, not taken twice."
                raise type(error)(f"{error} {outcome} {again}", code=error.code) from error


def _call(
    ec2: Ec2,
    inputs: SetInputs,
    set_id: str,
    *,
    volumes: Mapping[str, str] | None,
    retry: Retry,
    still_wanted: Callable[[], bool],
    doing: str,
) -> SnapshotSet:
    """Call CreateSnapshots, again while AWS answers "not now", with a note of it until the set can be seen."""
    request = inputs.request(set_id=set_id, count=len(volumes) if volumes is not None else None)

    def call() -> SnapshotSet:
        if not still_wanted():
            raise errors.SnapsetError(f"{doing}: the Pulumi engine is gone, and nobody would record the set.")
        # The call may happen as late as that, and its set be visible later still.
        attempts.note(inputs.token, set_id, seconds=retry.late + retry.consistency)
        try:
            taken = _make_set(ec2.create_snapshots(request), set_id, inputs, volumes)
        except errors.NoAnswerError:
            raise
        except errors.SnapsetError:
            # An answer: the call did not happen.
            attempts.forget(inputs.token, set_id)
            raise
        attempts.note(inputs.token, set_id, seconds=retry.consistency)
        return taken

    return retry.while_throttled(call, doing=doing)


@dataclass(kw_only=True)
class _Search:
    """Looks for the set of one intent. `own_ids` are the sets that this run itself has asked for."""

    ec2: Ec2
    inputs: SetInputs
    volumes: Mapping[str, str] | None
    retry: Retry
    first_look: Sequence[SnapshotSet] | None = None
    own_ids: list[str] = field(default_factory=list)

    def run(self, doing: str, *, wait: float = 0, awaited: Collection[str] = ()) -> SnapshotSet | None:
        """Return the set, whole, or None.

        Args:
            doing: gerund, noun and id, for what is said.
            wait: for how many seconds to look for a set that may not be visible yet.
            awaited: the sets that may show up; once all have, there is no more to wait for.
        """
        began = time.monotonic()
        for goes_on in looks(max(wait, self.retry.consistency)):
            passed = time.monotonic() - began
            if self.first_look is not None:
                sets, self.first_look = list(self.first_look), None
            else:
                sets = self.retry.while_throttled(self._look, doing=doing)
            candidates = [found for found in sets if self._is_adoptable(found)]
            time_is_up = not goes_on or passed >= self.retry.consistency
            for candidate in candidates:
                if self._fits(candidate, time_is_up=time_is_up):
                    return _make_set(candidate.snapshots, candidate.set_id, self.inputs, self.volumes)
            may_grow = not time_is_up and any(map(self._may_grow, candidates))
            all_seen = bool(awaited) and set(awaited) <= {found.set_id for found in sets}
            may_show_up = passed < wait and not all_seen
            if not may_grow and not may_show_up:
                break
        return None

    def _look(self) -> list[SnapshotSet]:
        return group(self.ec2.find_snapshots({f"tag:{tags.TOKEN}": [self.inputs.token]}))

    def _is_adoptable(self, found: SnapshotSet) -> bool:
        return not found.claims and found.state != ERROR and found.age <= self.retry.adoption

    def _fits(self, candidate: SnapshotSet, *, time_is_up: bool) -> bool:
        if self.volumes is not None and candidate.volume_ids == self.volumes.keys():
            return True
        # What an attempt of this run took is its set, also if a volume was attached in between.
        settled = time_is_up or not self.retry.may_be_invisible(candidate.age)
        return settled and self._may_hold_others(candidate) and (candidate.count is None or candidate.is_whole)

    def _may_grow(self, candidate: SnapshotSet) -> bool:
        """Tell whether some snapshots of the set may not be visible yet."""
        if not self.retry.may_be_invisible(candidate.age):
            return False
        return self._may_hold_others(candidate) or candidate.volume_ids < (self.volumes or {}).keys()

    def _may_hold_others(self, candidate: SnapshotSet) -> bool:
        # Tags of volumes may have changed since.
        open_intent = bool(self.inputs.change_id or self.inputs.exclude_data_volume_tags)
        return self.volumes is None or open_intent or candidate.set_id in self.own_ids


def _make_set(
    snapshots: Sequence[Snapshot], set_id: str, inputs: SetInputs, volumes: Mapping[str, str] | None
) -> SnapshotSet:
    made = SnapshotSet.of(snapshots, set_id=set_id, instance_id=inputs.instance_id, count=len(snapshots))
    return made.with_devices_of(volumes or {})
