"""Take one set exactly once: adopt the one that an earlier attempt left behind, or create one.

CreateSnapshots has no ClientToken, so a lost answer can't be told from a lost call. Each set therefore carries the
token of its intent, applied by the call itself, and nothing is created before a poll for sets with that token.

A set is *claimed* once a stack's state holds it. A resource adopts only an unclaimed set: one that a run took and
whose record that run could not write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot
from snapset.pace import Pace
from snapset.retry import Progress, polls, while_throttled
from snapset.sets import attempts, tags
from snapset.sets.choose import Intent, choose, may_grow
from snapset.sets.find import find_sets_by_token
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet

# How often CreateSnapshots is called in all where AWS gives no answer.
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The set of an intent: `created` by this run, `adopted` from an earlier one, or claimed before (`unchanged`).

    `is_confirmed`: AWS's answer to the call named every expected volume, so that the set need not be polled.
    """

    set: SnapshotSet
    outcome: Literal["created", "adopted", "unchanged"]
    is_confirmed: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all sets of one run have in common.

    Attributes:
        ec2: where.
        still_wanted: asked before each attempt; false once nobody is there to record the set.
        pace: of CreateSnapshots, where many threads call it.
        progress: asked when CreateSnapshots was throttled for as long as the limits allow.
    """

    ec2: Ec2
    still_wanted: Callable[[], bool]
    pace: Pace | None = None
    progress: Progress | None = None


def create_set(run: Run, intent: Intent) -> Taken:
    """Adopt the set that an earlier attempt at the same intent left behind, or create one.

    Raises:
        ThrottledError: AWS throttled the call for as long as the limits allow. No set was made.
        NoAnswerError: AWS gave no answer, and no set of this intent showed up. A rerun adopts it if it does.
        SnapsetError: the answer of AWS; no set was made.
    """
    search = _Search(ec2=run.ec2, intent=intent)
    if found := search.poll(first=intent.earlier):
        return Taken(set=found, outcome="adopted")
    doing = f"creating snapshots of {intent.inputs.instance_id}"
    while True:
        set_id = tags.new_set_id()
        search.own_ids.append(set_id)
        try:
            taken = _call(run, intent, set_id, doing=doing)
            is_confirmed = intent.volumes is not None and taken.volume_ids >= intent.volumes.keys()
            return Taken(set=taken, outcome="created", is_confirmed=is_confirmed)
        except errors.NoAnswerError as error:
            if found := _find_after(search, error, doing=doing):
                return Taken(set=found, outcome="created" if found.set_id in search.own_ids else "adopted")


def _find_after(search: _Search, error: errors.NoAnswerError, *, doing: str) -> SnapshotSet | None:
    """Return the set of a call without an answer; or None if it did not happen, and may be repeated.

    Raises:
        NoAnswerError: it must not be repeated.
    """
    ec2 = search.ec2
    ec2.say(f"{doing}: no answer from AWS: looking whether the set was taken")
    outcome = f"No set showed up within {ec2.limits.consistency:.0f} s."
    try:
        if found := search.poll(wait=ec2.limits.consistency):
            return found
        # A call that AWS itself has not answered may happen yet, so another attempt now could make it two.
        give_in = isinstance(error, errors.LateAnswerError) or len(search.own_ids) == _ATTEMPTS
    except errors.SnapsetError as looking:
        outcome, give_in = f"Whether the set was taken could not be seen: {looking}", True
    if give_in:
        again = "Run it again: a set that shows up later is adopted, not taken twice."
        raise type(error)(f"{error} {outcome} {again}", code=error.code) from error
    return None


def _call(run: Run, intent: Intent, set_id: str, *, doing: str) -> SnapshotSet:
    """Call CreateSnapshots, again while AWS throttles it, with a note of it until the set can be seen."""
    ec2, inputs, limits = run.ec2, intent.inputs, run.ec2.limits
    request = inputs.request(set_id=set_id, count=None if intent.volumes is None else len(intent.volumes))

    def attempt() -> SnapshotSet:
        if not run.still_wanted():
            raise errors.SnapsetError(f"{doing}: the Pulumi engine is gone, and nobody would record the set.")
        # The call may happen as late as that, and its set be visible later still.
        attempts.note(inputs.token, set_id, seconds=limits.late + limits.consistency)
        try:
            snapshots = ec2.create_snapshots(request)
            _refuse_partial(snapshots, intent.volumes, doing=doing)
            taken = _make_set(snapshots, set_id, inputs, intent.volumes)
        except errors.NoAnswerError:
            raise
        except errors.SnapsetError:
            # An answer: the call did not happen.
            attempts.forget(inputs.token, set_id)
            raise
        attempts.note(inputs.token, set_id, seconds=limits.consistency)
        return taken

    return while_throttled(
        partial(run.pace.make, attempt) if run.pace else attempt,
        doing=doing,
        seconds=limits.throttle,
        say=ec2.say,
        progress=run.progress,
        has_pace=run.pace is not None,
    )


def _refuse_partial(snapshots: Sequence[Snapshot], volumes: Mapping[str, str] | None, *, doing: str) -> None:
    """Raise a `LateAnswerError` if the answer to CreateSnapshots lacks a volume: the set has to be looked for."""
    expected = set(volumes or {})
    missing = expected - {snapshot.volume_id for snapshot in snapshots}
    if missing or not snapshots:
        lacking = ", ".join(sorted(missing)) or "any snapshot"
        raise errors.LateAnswerError(
            f"{doing}: AWS's answer does not name a snapshot of {lacking}. Was the volume detached meanwhile?"
        )


@dataclass(kw_only=True)
class _Search:
    """Looks for the set of one intent. `own_ids` are the sets that this run itself has asked for."""

    ec2: Ec2
    intent: Intent
    own_ids: list[str] = field(default_factory=list)

    def poll(self, *, wait: float = 0, first: Sequence[SnapshotSet] | None = None) -> SnapshotSet | None:
        """Return the set, whole, or None.

        Args:
            wait: for how many seconds to poll for a set that may not be visible yet.
            first: what a first poll has just found.
        """
        began, intent, limits = time.monotonic(), self.intent, self.ec2.limits
        for goes_on in polls(max(wait, limits.consistency)):
            passed = time.monotonic() - began
            sets = (
                find_sets_by_token(self.ec2, [intent.inputs.token]).get(intent.inputs.token, [])
                if first is None
                else first
            )
            first = None
            time_is_up = not goes_on or passed >= limits.consistency
            if found := choose(sets, intent, own_ids=self.own_ids, time_is_up=time_is_up, limits=limits):
                return _make_set(found.snapshots, found.set_id, intent.inputs, intent.volumes)
            is_growing = not time_is_up and may_grow(sets, intent, own_ids=self.own_ids, limits=limits)
            if not is_growing and passed >= wait:
                break
        return None


def _make_set(
    snapshots: Sequence[Snapshot], set_id: str, inputs: SetInputs, volumes: Mapping[str, str] | None
) -> SnapshotSet:
    made = SnapshotSet.of(snapshots, set_id=set_id, instance_id=inputs.instance_id, count=len(snapshots))
    return made.with_devices_of(volumes or {})
