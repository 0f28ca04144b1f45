"""What the program does once the state holds a set: claim it, say so if it was adopted, wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pulumi

from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.records import COMPLETED
from snapset.resources.aws_provider import provider_of, settings_of
from snapset.resources.context import is_mocked, say_in_program, waiting
from snapset.resources.snapshot_set import SnapshotSet, set_of
from snapset.retry import Retry
from snapset.sets import model, tags
from snapset.sets.claim import claim_set
from snapset.sets.wait import look_at_set, poller_for, run_in_thread, wait_for_set


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a set stands at the end of a run.

    Attributes:
        set: the set as last seen; until it was seen as a whole, the rest is as the state has it.
        region: where the set is.
        completed: whether every snapshot of it was seen completed.
        outcome: `unchanged` if the set was claimed before, else `created` or `adopted`, as the state has it.
    """

    set: model.SnapshotSet
    region: str
    completed: bool
    outcome: str


_OUTPUTS = ("set_id", "instance_id", "snapshots", "count", "region", "claim", "outcome", "start_time")


def claim_and_wait(taken: SnapshotSet, *, wait: bool, timeout: float) -> pulumi.Output[Finished]:
    """Claim the set if it is new, and wait for it: until it has completed if `wait` says so, else until it was seen.

    Pulumi writes the state before a resource's outputs resolve in the program, so a set that gets here is recorded.
    In a preview, and in a user's unit test, nothing is called.

    Args:
        taken: the resource.
        wait: wait until every snapshot has completed.
        timeout: for how many seconds.
    """

    async def finish(known: dict[str, Any]) -> Finished:
        if pulumi.runtime.is_dry_run() or is_mocked():
            return _foresee(known, wait=wait)
        try:
            return await finish_recorded(taken, known, wait=wait, timeout=timeout)
        except errors.SnapsetError as error:
            raise pulumi.RunError(errors.show(error)) from None

    return outputs_of(taken).apply(finish)


def outputs_of(taken: SnapshotSet) -> pulumi.Output[dict[str, Any]]:
    """Return what `finish_recorded` has to know of the resource."""
    return pulumi.Output.all(**{name: getattr(taken, name) for name in _OUTPUTS})


async def finish_recorded(
    taken: SnapshotSet,
    known: dict[str, Any],
    *,
    wait: bool,
    timeout: float,
    report: Callable[[Finished], None] = lambda so_far: None,
) -> Finished:
    """Claim the set that the state holds, and wait for it; see `claim_and_wait`.

    Args:
        taken: the resource.
        known: its outputs.
        wait: wait until every snapshot has completed.
        timeout: for how many seconds.
        report: told how the set stands as soon as that is known, and again before the wait.

    Raises:
        SetFailedError: there is no backup: snapshots are in error, or no longer exist.
        SnapsetError: whether there is one could not be seen, or another resource holds the set, too.
    """
    recorded = set_of(known)
    finished = partial(Finished, region=known["region"])
    report(finished(set=recorded, completed=False, outcome=known["outcome"]))
    retry = Retry.from_environment(say_in_program(taken, ephemeral=True))
    settings = await settings_of(provider_of(taken))
    ec2 = connect(settings.in_region(known["region"]))
    look = poller_for(ec2).look
    seen = await look_at_set(look, recorded, retry=retry)
    outcome = await _claim(ec2, taken, known, recorded, seen, retry=retry)
    report(finished(set=_merge(recorded, seen), completed=False, outcome=outcome))
    with waiting():
        seen = await wait_for_set(
            look, recorded, seen=seen, timeout=timeout, retry=retry, until="completed" if wait else "seen"
        )
    return finished(set=seen, completed=seen.state == COMPLETED, outcome=outcome)


def _foresee(known: Mapping[str, Any], *, wait: bool) -> Finished:
    """Return the set as `pulumi up` will have it."""
    # Only a mock leaves the snapshots out.
    recorded = set_of({**known, "snapshots": known["snapshots"] or []})
    if wait:
        done = tuple(replace(snapshot, state=COMPLETED) for snapshot in recorded.snapshots)
        recorded = replace(recorded, snapshots=done)
    completed = all(snapshot.state == COMPLETED for snapshot in recorded.snapshots)
    return Finished(set=recorded, region=known["region"], completed=completed, outcome="unchanged")


async def _claim(
    ec2: Ec2,
    taken: SnapshotSet,
    known: dict[str, Any],
    recorded: model.SnapshotSet,
    seen: model.SnapshotSet,
    *,
    retry: Retry,
) -> str:
    """Mark the snapshots that do not bear the claim yet; return what became of the set in this run.

    Raises:
        SnapsetError: another resource holds the set, too.
    """
    set_id, claim, adopted = recorded.set_id, known["claim"], known["outcome"] == "adopted"
    if adopted and seen.claims - {claim}:
        raise errors.SnapsetError(
            f"adopting {set_id}: another resource has claimed it meanwhile. Run it again: then {taken._name} takes a "
            "set of its own."
        )
    claimed = {snapshot.snapshot_id for snapshot in seen.snapshots if claim in tags.claims_of(snapshot.tags)}
    gone = set(recorded.snapshot_ids) - set(seen.snapshot_ids)
    # A young snapshot may not be visible yet: repeating a claim is harmless.
    to_claim = [
        snapshot
        for snapshot in recorded.snapshots
        if snapshot.snapshot_id not in claimed
        and not (snapshot.snapshot_id in gone and not retry.may_be_invisible(recorded.age))
    ]
    if not to_claim:
        return "unchanged"
    if adopted:
        text = f"adopted {set_id}: an earlier run took it at {known['start_time']} and could not record it"
        pulumi.log.info(text, taken)
    part = replace(recorded, snapshots=tuple(to_claim))
    try:
        await run_in_thread(lambda: claim_set(ec2, part, claim=claim, retry=retry, adopted=adopted))
    except errors.SnapsetError as error:
        if adopted:
            # Unclaimed, the set could be deleted with the resource that this one replaces.
            raise
        # The backup exists and the state holds it; only the tags that a restore without the state needs are missing.
        pulumi.log.warn(f"{set_id} is taken, but its snapshots could not be tagged: {error}", taken)
    return str(known["outcome"])


def _merge(recorded: model.SnapshotSet, seen: model.SnapshotSet) -> model.SnapshotSet:
    """Return the recorded set with the snapshots that were seen as they are now."""
    now = {snapshot.snapshot_id: snapshot for snapshot in seen.snapshots}
    return replace(
        recorded,
        snapshots=tuple(now.get(snapshot.snapshot_id, snapshot) for snapshot in recorded.snapshots),
    )
