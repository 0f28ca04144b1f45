"""Take a set exactly once: adopt the one that an earlier attempt left behind, or create one.

CreateSnapshots has no ClientToken, so a lost answer can't be told from a lost call. Each set therefore carries the
token of its intent, applied by the call itself, and nothing is created before a look for a set with that token.

A set is *claimed* once it has served its purpose: a stack's state holds it, or the guarded change has happened. Only
an unclaimed set is ever adopted: one that a run took and whose record that run could not write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR, Snapshot
from snapset.retry import Retry, age_of
from snapset.sets import tags
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
) -> Taken:
    """Adopt the set that an earlier attempt at the same intent left behind, or create one.

    Args:
        ec2: where.
        inputs: what to snapshot; its token names the intent.
        volumes: the volumes that the set will hold, each with its device, or None if they are not known; a set that
            holds others is not adopted.
        retry: how long to go on trying.
        still_wanted: asked before each attempt; false once nobody is there to record the set.

    Raises:
        ThrottledError: AWS went on answering "not now" for as long as `retry` allows. No set was made.
        NoAnswerError: AWS gave no answer, and no set of this intent showed up. A rerun adopts it if it does.
        SnapsetError: the answer of AWS; no set was made.
    """
    doing = f"creating snapshots of {inputs.instance_id}"

    def create() -> SnapshotSet:
        if not still_wanted():
            raise errors.SnapsetError(f"{doing}: the Pulumi engine is gone, and nobody would record the set.")
        return _make_set(ec2.create_snapshots(inputs.request(set_id=set_id)), set_id, inputs, volumes)

    if found := retry.while_throttled(lambda: _find_adoptable(ec2, inputs, volumes, retry), doing=doing):
        return Taken(set=found, outcome="adopted")
    own_ids: list[str] = []
    while True:
        set_id = tags.new_set_id()
        own_ids.append(set_id)
        try:
            return Taken(set=retry.while_throttled(create, doing=doing), outcome="created")
        except errors.NoAnswerError as error:
            retry.say(f"{doing}: no answer from AWS: looking whether the set was taken")
            outcome = f"No set showed up within {retry.consistency:.0f} s."
            try:
                if found := _find_adoptable(ec2, inputs, volumes, retry, wait=True):
                    return Taken(set=found, outcome="created" if found.set_id in own_ids else "adopted")
                # A call whose answer is late may happen yet, so another attempt now could make it two.
                give_in = isinstance(error, errors.LateAnswerError) or len(own_ids) == _ATTEMPTS
            except errors.SnapsetError as looking:
                outcome, give_in = f"Whether the set was taken could not be seen: {looking}", True
            if give_in:
                again = "Run it again: a set that shows up later is adopted, not taken twice."
                raise type(error)(f"{error} {outcome} {again}", code=error.code) from error


def _find_adoptable(
    ec2: Ec2, inputs: SetInputs, volumes: Mapping[str, str] | None, retry: Retry, *, wait: bool = False
) -> SnapshotSet | None:
    """Look for the set of this intent; with `wait` also for one that may not be visible yet."""
    give_up = time.monotonic() + retry.consistency
    pause = 0.5
    wanted = volumes.keys() if volumes is not None else None
    while True:
        candidates = _find_candidates(ec2, inputs, retry)
        time_is_up = time.monotonic() + pause > give_up
        for candidate in candidates:
            if wanted is None:
                is_whole = time_is_up or not retry.may_be_invisible(candidate.start_time)
            else:
                is_whole = candidate.volume_ids == wanted
            if is_whole:
                return _make_set(candidate.snapshots, candidate.set_id, inputs, volumes)
        # Some snapshots of a young set may not be visible yet.
        may_grow = any(wanted is None or candidate.volume_ids < wanted for candidate in candidates)
        if time_is_up or not (wait or may_grow):
            return None
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def _find_candidates(ec2: Ec2, inputs: SetInputs, retry: Retry) -> list[SnapshotSet]:
    return [
        found
        for found in group(ec2.find_snapshots({f"tag:{tags.TOKEN}": [inputs.token]}))
        if not found.is_claimed and found.state != ERROR and age_of(found.start_time) <= retry.adoption
    ]


def _make_set(
    snapshots: Sequence[Snapshot], set_id: str, inputs: SetInputs, volumes: Mapping[str, str] | None
) -> SnapshotSet:
    made = SnapshotSet.of(snapshots, set_id=set_id, instance_id=inputs.instance_id, count=len(snapshots))
    return made.with_devices_of(volumes or {})
