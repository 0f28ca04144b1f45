"""What the program does once a set is in the state: claim it, say so if it was adopted, wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
from typing_extensions import TypedDict

from snapset import errors
from snapset.aws.ec2 import Ec2, Snapshot, connect
from snapset.resources.aws_provider import provider_of, settings_of
from snapset.resources.context import is_mocked
from snapset.resources.snapshot_set import SnapshotSet
from snapset.retry import may_be_invisible
from snapset.sets import create as lifecycle
from snapset.sets import tags
from snapset.sets import wait as waiting


class Finished(TypedDict):
    """How a set stands at the end of a run.

    `outcome` is `created` or `adopted` in the run that recorded the set and `unchanged` in later ones; `snapshots`
    are the resource's records with the latest `state`, and with `progress`.
    """

    set_id: str
    region: str
    completed: bool
    outcome: str
    snapshots: list[dict[str, Any]]


def finish(
    taken: SnapshotSet, *, wait: bool, timeout: float, recorded: Callable[[Finished], None] = lambda so_far: None
) -> pulumi.Output[Finished]:
    """Claim the set if it is new, and wait for it to complete if `wait` says so.

    Pulumi writes the state before a resource's outputs resolve in the program, so a set that gets here is recorded.
    In a preview, and in a user's unit test, nothing is called.

    Args:
        taken: the resource.
        wait: wait until every snapshot has completed.
        timeout: for how many seconds.
        recorded: told how the set stands as soon as that is known, and again before the wait.
    """

    async def finish_known(known: dict[str, Any]) -> Finished:
        # Only a mock leaves them out.
        records: list[dict[str, Any]] = known["snapshots"] or []
        if pulumi.runtime.is_dry_run() or is_mocked():
            # What `pulumi up` will have waited for.
            expected = [{**each, "state": lifecycle.COMPLETED} for each in records] if wait else records
            completed = all(each["state"] == lifecycle.COMPLETED for each in expected)
            return _finished(known, expected, {}, completed=completed, outcome="unchanged")
        recorded(_finished(known, records, {}, completed=False, outcome=known["outcome"]))
        ids = [each["snapshot_id"] for each in records]
        try:
            settings = await settings_of(provider_of(taken))
            ec2 = connect(settings.in_region(known["region"]))
            poller = waiting.poller_for(ec2)
            first = await _first_look(poller, ids, taken)
            outcome = await _claim(ec2, taken, known, first)
            seen = first or {}
            recorded(_finished(known, records, seen, completed=False, outcome=outcome))
            if wait:
                waiting.end_quietly_on_interrupt()
                seen = await waiting.wait_for_set(
                    poller.look,
                    set_id=known["set_id"],
                    snapshot_ids=ids,
                    start_time=known["start_time"],
                    seen=seen,
                    timeout=timeout,
                    report=lambda text: pulumi.log.info(text, taken, ephemeral=True),
                )
        except errors.SnapsetError as error:
            raise pulumi.RunError(errors.show(error)) from None
        if wait and len(seen) < len(ids):
            gone = ", ".join(each for each in ids if each not in seen)
            pulumi.log.warn(f"{known['set_id']}: {gone} no longer exist; `pulumi refresh` updates the state", taken)
        completed = len(seen) == len(ids) and all(each.state == lifecycle.COMPLETED for each in seen.values())
        return _finished(known, records, seen, completed=completed, outcome=outcome)

    names = ("set_id", "snapshots", "region", "claim", "outcome", "start_time")
    return pulumi.Output.all(**{name: getattr(taken, name) for name in names}).apply(finish_known)


async def _first_look(poller: waiting.Poller, ids: list[str], taken: SnapshotSet) -> Mapping[str, Snapshot] | None:
    try:
        return await poller.look(ids)
    except (errors.NoAnswerError, errors.ThrottledError, errors.UnreachableError) as error:
        # The set is recorded; a look that fails for now is no reason to fail the run.
        pulumi.log.warn(errors.show(error), taken)
        return None


async def _claim(ec2: Ec2, taken: SnapshotSet, known: dict[str, Any], first: Mapping[str, Snapshot] | None) -> str:
    # What could not be looked at is claimed to be sure: the same claim another time does no harm.
    seen, young = first or {}, first is None or may_be_invisible(known["start_time"])
    unclaimed = {
        each["snapshot_id"]: each["device_name"]
        for each in known["snapshots"]
        if (not tags.claim_of(seen[each["snapshot_id"]].tags) if each["snapshot_id"] in seen else young)
    }
    if not unclaimed:
        return "unchanged"
    set_id, outcome = known["set_id"], known["outcome"]
    if outcome == "adopted":
        text = f"adopted {set_id}: an earlier run took it at {known['start_time']} and could not record it"
        pulumi.log.info(text, taken)
    try:
        await waiting.run_in_thread(
            lambda: lifecycle.claim_set(ec2, claim=known["claim"], devices=unclaimed, count=len(known["snapshots"]))
        )
    except errors.SnapsetError as error:
        if outcome == "adopted":
            # Unclaimed, the set could be deleted with the resource that this one replaces.
            raise
        # The backup is there and in the state; only the marks that a restore without the state needs are missing.
        pulumi.log.warn(f"{set_id} is taken, but its snapshots could not be marked: {error}", taken)
    return str(outcome)


def _finished(
    known: Mapping[str, Any],
    records: list[dict[str, Any]],
    seen: Mapping[str, Snapshot],
    *,
    completed: bool,
    outcome: str,
) -> Finished:
    latest = [
        {**each, "state": now.state, "progress": now.progress} if (now := seen.get(each["snapshot_id"])) else {**each}
        for each in records
    ]
    return Finished(
        set_id=known["set_id"], region=known["region"], completed=completed, outcome=outcome, snapshots=latest
    )
