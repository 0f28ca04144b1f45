"""The life of a snapshot set: adopt or create, claim, find, delete. Exactly one set for one intent.

CreateSnapshots has no ClientToken, so a lost answer can't be told from a lost call. Each set therefore carries the
token of its intent, applied by the call itself, and nothing is created before a look for a set with that token.

A set is *claimed* once a stack's state holds it. Only an unclaimed set is ever adopted: one that a run took and whose
record that run could not write.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from snapset import errors
from snapset.aws.ec2 import Ec2, Snapshot
from snapset.retry import Patience, age_of, wait_out_throttling
from snapset.sets import tags
from snapset.sets.inputs import SetInputs

COMPLETED = "completed"
ERROR = "error"

# How often CreateSnapshots is called in all where AWS gives no answer.
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class SnapshotSet:
    """A set as it stands in EC2; `adopted` if an earlier run took it."""

    set_id: str
    snapshots: tuple[Snapshot, ...]
    adopted: bool = False


def create_set(
    ec2: Ec2,
    inputs: SetInputs,
    *,
    volume_ids: Collection[str] | None,
    patience: Patience | None = None,
    say: Callable[[str], None] = lambda text: None,
    still_wanted: Callable[[], bool] = lambda: True,
) -> SnapshotSet:
    """Adopt the set that an earlier attempt at the same intent left behind, or create one.

    Args:
        ec2: where.
        inputs: what to snapshot; its token names the intent.
        volume_ids: the volumes that the set will hold, as far as known; a set that holds others is not adopted.
        patience: how long to go on trying.
        say: told in one line what is waited for.
        still_wanted: asked before each attempt; false once nobody is there to record the set.

    Raises:
        ThrottledError: AWS went on answering "not now" for as long as `patience` allows. No set was made.
        NoAnswerError: AWS gave no answer, and no set of this intent showed up. A rerun adopts it if it does.
        SnapsetError: the answer of AWS; no set was made.
    """
    patience = patience or Patience.from_environment()
    doing = f"creating snapshots of {inputs.instance_id}"
    unanswered = 0
    if found := wait_out_throttling(
        lambda: _find_adoptable(ec2, inputs, volume_ids, patience), doing=doing, patience=patience, say=say
    ):
        return found
    while True:
        all_tags = tags_of(inputs, set_id=tags.new_set_id())

        def create(all_tags: Mapping[str, str] = all_tags) -> list[Snapshot]:
            if not still_wanted():
                raise errors.SnapsetError(f"{doing}: the Pulumi engine is gone, and nobody would record the set.")
            return ec2.create_snapshots(inputs, all_tags)

        try:
            taken = wait_out_throttling(create, doing=doing, patience=patience, say=say)
            return SnapshotSet(set_id=all_tags[tags.SET], snapshots=tuple(taken))
        except errors.NoAnswerError as error:
            unanswered += 1
            say(f"{doing}: no answer from AWS: looking whether the set was taken")
            outcome = f"No set showed up within {patience.consistency:.0f} s."
            try:
                if found := _find_adoptable(ec2, inputs, volume_ids, patience, wait=True):
                    return replace(found, adopted=found.set_id != all_tags[tags.SET])
                # A call whose answer is late may happen yet, so another attempt now could make it two.
                give_in = isinstance(error, errors.LateAnswerError) or unanswered == _ATTEMPTS
            except errors.SnapsetError as looking:
                outcome, give_in = f"Whether the set was taken could not be seen: {looking}", True
            if give_in:
                again = "Run it again: a set that shows up later is adopted, not taken twice."
                raise type(error)(f"{error} {outcome} {again}", code=error.code) from error


def tags_of(inputs: SetInputs, *, set_id: str) -> dict[str, str]:
    """Return all tags for the CreateSnapshots call: the user's and snapset's own."""
    own = {tags.SET: set_id, tags.TOKEN: inputs.token, tags.INSTANCE: inputs.instance_id}
    if inputs.change_id:
        own[tags.CHANGE] = inputs.change_id[: tags.MAX_VALUE_LENGTH]
    return {**inputs.tags, **own}


def claim_set(ec2: Ec2, *, claim: str, devices: Mapping[str, str], count: int | None = None) -> None:
    """Mark each snapshot as held by a state, and with the device that its volume had. Safe to repeat.

    Args:
        ec2: where.
        claim: the mark of the resource that holds the set.
        devices: the device of each snapshot's volume, by snapshot id; empty where it is not known.
        count: how many snapshots the set has; as many as `devices` if left out.
    """
    marks_of_all = {tags.CLAIM: claim, tags.COUNT: str(count or len(devices))}
    for snapshot_id, device in devices.items():
        _tag_new(ec2, [snapshot_id], {**marks_of_all, **({tags.DEVICE: device} if device else {})})


def announce_claim(ec2: Ec2, adopted: SnapshotSet, *, claim: str) -> None:
    """Mark an adopted set as about to be held by another resource than the one that took it.

    That one's record, if it has one after all, must not take the set along. Until it is claimed, the set can still be
    adopted by a rerun.
    """
    _tag_new(ec2, [each.snapshot_id for each in adopted.snapshots], {tags.CLAIM: tags.announced(claim)})


def _tag_new(ec2: Ec2, snapshot_ids: Sequence[str], marks: Mapping[str, str]) -> None:
    give_up = time.monotonic() + Patience.from_environment().consistency
    while True:
        try:
            return ec2.tag_snapshots(snapshot_ids, marks)
        except errors.NotFoundError:
            # The snapshots have only just been made, and not every part of EC2 knows them yet.
            if time.monotonic() > give_up:
                raise
            time.sleep(1)


def delete_set(ec2: Ec2, snapshot_ids: Sequence[str], *, set_id: str, claim: str) -> list[str]:
    """Delete each snapshot of the set, and return the ids of those that another resource has claimed, which stay.

    A snapshot that is gone already counts as deleted; all are tried.

    Raises:
        SnapsetError: some could not be deleted; it names each with AWS's reason.
    """
    holders = {each.snapshot_id: tags.holder_of(each.tags) for each in ec2.describe_snapshots(snapshot_ids)}
    others = [each for each in snapshot_ids if holders.get(each) not in (None, claim)]
    kept = list(delete_snapshots(ec2, [each for each in snapshot_ids if each not in others]).values())
    if kept:
        why = " ".join(str(error) for error in kept)
        raise type(kept[0])(
            f"deleting {set_id}: {len(kept)} of {len(snapshot_ids)} snapshots stay: {why} The rest is deleted; "
            "run it again once the reason is gone, or set on_delete to retain.",
            code=kept[0].code,
        )
    return others


def delete_snapshots(
    ec2: Ec2, snapshot_ids: Sequence[str], *, say: Callable[[str], None] = lambda text: None
) -> dict[str, errors.SnapsetError]:
    """Delete each snapshot; return why some stay, by id. What is gone already counts as deleted; all are tried."""
    stay: dict[str, errors.SnapsetError] = {}
    patience = Patience.from_environment()
    for snapshot_id in snapshot_ids:
        try:
            call = partial(ec2.delete_snapshot, snapshot_id)
            wait_out_throttling(call, doing=f"deleting {snapshot_id}", patience=patience, say=say)
        except errors.NotFoundError:
            continue
        except errors.SnapsetError as error:
            stay[snapshot_id] = error
    return stay


def find_set(ec2: Ec2, snapshot_ids: Sequence[str]) -> tuple[Snapshot, ...]:
    """Return those of the snapshots that exist, in the given order."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in ec2.describe_snapshots(snapshot_ids)}
    return tuple(by_id[each] for each in snapshot_ids if each in by_id)


def _find_adoptable(
    ec2: Ec2, inputs: SetInputs, volume_ids: Collection[str] | None, patience: Patience, *, wait: bool = False
) -> SnapshotSet | None:
    """Look for the set of this intent; `wait` for one that may not be visible yet, too."""
    give_up = time.monotonic() + patience.consistency
    pause = 0.5
    while True:
        candidates = _find_candidates(ec2, inputs, patience)
        time_is_up = time.monotonic() + pause > give_up
        for candidate in candidates:
            if volume_ids is None:
                whole = time_is_up or age_of(candidate.snapshots[0].start_time) > patience.consistency
            else:
                whole = {each.volume_id for each in candidate.snapshots} == set(volume_ids)
            if whole:
                return candidate
        # Of a set that is only just visible, some snapshots may not be.
        partly = any(
            volume_ids is None or {each.volume_id for each in one.snapshots} < set(volume_ids) for one in candidates
        )
        if time_is_up or not (wait or partly):
            return None
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def _find_candidates(ec2: Ec2, inputs: SetInputs, patience: Patience) -> list[SnapshotSet]:
    sets: defaultdict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in ec2.find_snapshots({f"tag:{tags.TOKEN}": [inputs.token]}):
        sets[snapshot.tags.get(tags.SET, "")].append(snapshot)
    fit = [
        SnapshotSet(set_id=set_id, snapshots=tuple(snapshots), adopted=True)
        for set_id, snapshots in sets.items()
        if not any(tags.claim_of(each.tags) or each.state == ERROR for each in snapshots)
        if age_of(snapshots[0].start_time) <= patience.adoption
    ]
    return sorted(fit, key=lambda each: each.snapshots[0].start_time, reverse=True)
