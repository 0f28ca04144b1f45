"""What the program does once the state holds a set: claim it, say so if it was adopted, wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import pulumi

from snapset import errors
from snapset.aws.ec2 import connect
from snapset.aws.records import COMPLETED
from snapset.pace import Pace
from snapset.resources.aws_provider import provider_of, settings_of
from snapset.resources.context import is_mocked, say_in_program, waiting
from snapset.resources.sets_provider import set_of
from snapset.resources.snapshot_set import SnapshotSet
from snapset.retry import Retry
from snapset.sets import model, tags
from snapset.sets.claim import claim_sets
from snapset.sets.threads import run_in_thread
from snapset.sets.wait import look_at_set, poller_for, wait_for_set


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


_SAY_EVERY = 25
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
        where = {"region": known["region"], "claim": known["claim"]}
        try:
            of = known["instance_id"]
            done, failures = await finish_sets(taken, {of: known}, **where, wait=wait, timeout=timeout)
        except errors.SnapsetError as error:
            raise pulumi.RunError(errors.show(error)) from None
        for failure in failures.values():
            raise pulumi.RunError(errors.show(failure))
        return done[of]

    return pulumi.Output.all(**{name: getattr(taken, name) for name in _OUTPUTS}).apply(finish)


async def finish_sets(
    taken: pulumi.Resource,
    records: Mapping[str, Mapping[str, Any]],
    *,
    region: str,
    claim: str,
    wait: bool,
    timeout: float,
    report: Callable[[Finished], None] = lambda so_far: None,
) -> tuple[dict[str, Finished], dict[str, errors.SnapsetError]]:
    """Claim the sets that the state holds, and wait for them.

    Args:
        taken: the resource that holds them.
        records: the outputs that describe each, by instance.
        region: where they are.
        claim: the resource's.
        wait: wait until they have completed, and not only until they were seen.
        timeout: for how many seconds.
        report: told how a set stands as soon as that is known, and again before the wait.

    Returns:
        The sets, and why there is no backup or why that could not be seen, both by instance.

    Raises:
        SnapsetError: EC2 can't be asked for any of them.
    """
    recorded = {key: set_of(record) for key, record in records.items()}
    outcomes = {key: str(record["outcome"]) for key, record in records.items()}

    def standing(key: str, found: model.SnapshotSet) -> Finished:
        return Finished(set=found, region=region, completed=False, outcome=outcomes[key])

    for key, found in recorded.items():
        report(standing(key, found))
    retry = Retry.from_environment(say_in_program(taken, ephemeral=True))
    # How far each of many is would fill the screen.
    of_each = retry if len(recorded) == 1 else replace(retry, say=lambda text: None)
    ec2 = connect((await settings_of(provider_of(taken))).in_region(region))
    look = poller_for(ec2).look
    looks = [look_at_set(look, found, retry=of_each) for found in recorded.values()]
    seen = dict(zip(recorded, await asyncio.gather(*looks), strict=True))
    adopted = {recorded[key].set_id for key, outcome in outcomes.items() if outcome == "adopted"}
    parts, failures = _find_unclaimed(recorded, seen, claim=claim, adopted=adopted, retry=retry)
    attributes = {key: text for record in records.values() for key, text in (record.get("volumes") or {}).items()}
    claiming = partial(claim_sets, ec2, claim=claim, adopted=adopted, attributes=attributes)
    refused = await _claim(claiming, taken, list(parts.values()), adopted=adopted, retry=retry)
    failures |= {key: refused[part.set_id] for key, part in parts.items() if part.set_id in refused}
    outcomes |= dict.fromkeys(recorded.keys() - parts.keys(), "unchanged")
    done: dict[str, Finished] = {}

    async def wait_for(key: str) -> None:
        until: Literal["completed", "seen"] = "completed" if wait else "seen"
        try:
            found = await wait_for_set(
                look, recorded[key], seen=seen[key], timeout=timeout, retry=of_each, until=until
            )
        except errors.SnapsetError as error:
            failures[key] = error
            return
        done[key] = Finished(set=found, region=region, completed=found.state == COMPLETED, outcome=outcomes[key])
        if wait and len(recorded) > 1 and (len(done) % _SAY_EVERY == 0 or len(done) == len(recorded)):
            retry.say(f"{len(done)} of {len(recorded)} sets completed")

    waited_for = [key for key in recorded if key not in failures]
    for key in waited_for:
        report(standing(key, _merge(recorded[key], seen[key])))
    with waiting():
        await asyncio.gather(*map(wait_for, waited_for))
    return done, failures


def _foresee(known: Mapping[str, Any], *, wait: bool) -> Finished:
    """Return the set as `pulumi up` will have it."""
    # Only a mock leaves the snapshots out.
    recorded = set_of({**known, "snapshots": known["snapshots"] or []})
    if wait:
        done = tuple(replace(snapshot, state=COMPLETED) for snapshot in recorded.snapshots)
        recorded = replace(recorded, snapshots=done)
    completed = all(snapshot.state == COMPLETED for snapshot in recorded.snapshots)
    return Finished(set=recorded, region=known["region"], completed=completed, outcome="unchanged")


def _find_unclaimed(
    recorded: Mapping[str, model.SnapshotSet],
    seen: Mapping[str, model.SnapshotSet],
    *,
    claim: str,
    adopted: Collection[str],
    retry: Retry,
) -> tuple[dict[str, model.SnapshotSet], dict[str, errors.SnapsetError]]:
    """Return what is to be claimed, and why some sets can't be: another resource was faster."""
    parts: dict[str, model.SnapshotSet] = {}
    failures: dict[str, errors.SnapsetError] = {}
    for key, found in recorded.items():
        if found.set_id in adopted and seen[key].claims - {claim}:
            failures[key] = errors.SnapsetError(
                f"adopting {found.set_id}: another resource has claimed it meanwhile. Run it again: then a set "
                f"of its own is taken of {found.instance_id}."
            )
            continue
        claimed = {one.snapshot_id for one in seen[key].snapshots if claim in tags.claims_of(one.tags)}
        gone = set(found.snapshot_ids) - set(seen[key].snapshot_ids)
        # A young snapshot may not be visible yet: repeating a claim is harmless.
        surely_gone = set() if retry.may_be_invisible(found.age) else gone
        if to_claim := [one for one in found.snapshots if one.snapshot_id not in claimed | surely_gone]:
            parts[key] = replace(found, snapshots=tuple(to_claim))
    return parts, failures


async def _claim(
    claiming: Callable[..., dict[str, errors.SnapsetError]],
    taken: pulumi.Resource,
    parts: Sequence[model.SnapshotSet],
    *,
    adopted: Collection[str],
    retry: Retry,
) -> dict[str, errors.SnapsetError]:
    """Claim these sets, or parts of them; return why adopted ones could not be, by set id."""
    if not parts:
        return {}
    for part in parts:
        if part.set_id in adopted:
            text = f"adopted {part.set_id}: an earlier run took it at {part.start_time} and could not record it"
            pulumi.log.info(text, taken)
    paced = replace(retry, pace=Pace()) if len(parts) > 1 else retry
    found = await run_in_thread(partial(claiming, parts, retry=paced))
    for set_id, error in found.items():
        if set_id not in adopted:
            # The backup exists and the state holds it; only the tags for a restore without a state are missing.
            pulumi.log.warn(f"{set_id} is taken, but its snapshots could not be tagged: {error}", taken)
    # Unclaimed, an adopted set could be deleted with the resource that this one replaces.
    return {set_id: error for set_id, error in found.items() if set_id in adopted}


def _merge(recorded: model.SnapshotSet, seen: model.SnapshotSet) -> model.SnapshotSet:
    """Return the recorded set with the snapshots that were seen as they are now."""
    now = {snapshot.snapshot_id: snapshot for snapshot in seen.snapshots}
    return replace(
        recorded,
        snapshots=tuple(now.get(snapshot.snapshot_id, snapshot) for snapshot in recorded.snapshots),
    )
