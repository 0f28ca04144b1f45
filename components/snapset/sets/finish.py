"""What a run does with the sets that a state holds: claim them, and wait for them. Knows no Pulumi."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.retry import Say, silent
from snapset.sets import tags
from snapset.sets.claims import claim_sets
from snapset.sets.model import SnapshotSet
from snapset.sets.threads import run_in_thread
from snapset.sets.wait import poll_set, wait_for_set

Until = Literal["completed", "seen"]

_SAY_EVERY = 25


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """How the set of an instance stands.

    Attributes:
        set: as last seen; until it was seen as a whole, the rest is as the state has it.
        outcome: `unchanged` if it was claimed before, else `created` or `adopted`.
        is_confirmed: the answer to the call of this run named every expected volume: it need not be polled.
        failure: why there is no backup, or why that could not be seen.
    """

    set: SnapshotSet
    outcome: str
    is_confirmed: bool = False
    failure: errors.SnapsetError | None = None

    @property
    def instance_id(self) -> str:
        """The instance that the set was taken of."""
        return self.set.instance_id

    @property
    def completed(self) -> bool:
        """Whether every snapshot was seen completed."""
        return self.failure is None and self.set.has_completed


Report = Callable[[SetStatus], None]


def _ignore(_status: SetStatus) -> None:
    """Report nothing."""


async def finish_sets(
    ec2: Ec2,
    recorded: Sequence[SetStatus],
    *,
    claim: str,
    until: Until,
    timeout: float,
    serves_anyone: bool = False,
    attributes: Mapping[str, str] | None = None,
    tell: Say = silent,
    report: Report = _ignore,
) -> list[SetStatus]:
    """Claim the sets that the state holds, and wait for them.

    Args:
        ec2: where, and how progress is shown.
        recorded: the sets as the state has them.
        claim: the resource's.
        until: what is waited for.
        timeout: for how many seconds.
        serves_anyone: a set that another run has claimed meanwhile serves this one, too.
        attributes: how the volumes were, as far as that is known.
        tell: shows a line that stays.
        report: told how a set stands as soon as that is known, and each time it is seen.

    Raises:
        SnapsetError: EC2 can't be asked for any of them.
    """
    for status in recorded:
        report(status)
    quiet = _quiet(ec2, recorded)
    seen = await asyncio.gather(*(_see(quiet, status) for status in recorded))
    checked = [
        _check_claims(status, now, claim=claim, serves_anyone=serves_anyone)
        for status, now in zip(recorded, seen, strict=True)
    ]
    parts = [
        part
        for status, now in zip(checked, seen, strict=True)
        if (part := _unclaimed_part(status, now, claim=claim, ec2=ec2))
    ]
    refused = await _claim(ec2, parts, checked, claim=claim, attributes=attributes or {}, tell=tell)
    claimed_before = {status.set.set_id for status in checked} - {part.set_id for part in parts}
    checked = [
        replace(
            status,
            outcome="unchanged" if status.set.set_id in claimed_before else status.outcome,
            failure=status.failure or refused.get(status.set.set_id),
        )
        for status in checked
    ]
    return await wait_for_sets(ec2, checked, seen=seen, until=until, timeout=timeout, report=report)


async def wait_for_sets(
    ec2: Ec2,
    statuses: Sequence[SetStatus],
    *,
    until: Until,
    timeout: float,
    seen: Sequence[SnapshotSet] | None = None,
    report: Report = _ignore,
) -> list[SetStatus]:
    """Wait for the sets that have not failed, and return how each stands then.

    Args:
        ec2: where, and how progress is shown.
        statuses: the sets.
        until: what is waited for.
        timeout: for how many seconds.
        seen: each set as a first poll found it, if there was one.
        report: told how a set stands each time it is seen as a whole.
    """
    quiet, done = _quiet(ec2, statuses), 0

    async def wait_for(status: SetStatus, now: SnapshotSet | None) -> SetStatus:
        nonlocal done

        def keep(found: SnapshotSet) -> None:
            if found.is_whole:
                report(replace(status, set=found))

        if status.failure or (until == "seen" and status.is_confirmed):
            return status
        if now:
            keep(now)
        try:
            found = await wait_for_set(quiet, status.set, seen=now, timeout=timeout, until=until, report=keep)
        except errors.SnapsetError as error:
            return replace(status, failure=error)
        done += 1
        if until == "completed" and len(statuses) > 1 and (done % _SAY_EVERY == 0 or done == len(statuses)):
            ec2.say(f"{done} of {len(statuses)} sets completed")
        return replace(status, set=found)

    first: Sequence[SnapshotSet | None] = seen or [None] * len(statuses)
    return await asyncio.gather(*map(wait_for, statuses, first))


def _quiet(ec2: Ec2, statuses: Sequence[SetStatus]) -> Ec2:
    """Return EC2 without progress if there are several sets: the progress of each would fill the screen."""
    return ec2 if len(statuses) == 1 else ec2.saying(silent)


async def _see(ec2: Ec2, status: SetStatus) -> SnapshotSet:
    return status.set if status.is_confirmed else await poll_set(ec2, status.set)


def _check_claims(status: SetStatus, seen: SnapshotSet, *, claim: str, serves_anyone: bool) -> SetStatus:
    """Return the status, after a look at whether another resource was faster to claim an adopted set."""
    if status.outcome != "adopted" or not seen.claims - {claim}:
        return status
    if serves_anyone:
        return replace(status, outcome="unchanged")
    again = f"Run it again: then a set of its own is taken of {status.instance_id}."
    reason = f"adopting {status.set.set_id}: another resource has claimed it meanwhile. {again}"
    return replace(status, failure=errors.SnapsetError(reason))


def _unclaimed_part(status: SetStatus, seen: SnapshotSet, *, claim: str, ec2: Ec2) -> SnapshotSet | None:
    """Return the part of the set that is still to be claimed, or None."""
    if status.failure or status.outcome == "unchanged":
        return None
    claimed = {one.snapshot_id for one in seen.snapshots if one.tags.get(tags.CLAIM) == claim}
    gone = set(status.set.snapshot_ids) - set(seen.snapshot_ids)
    # A young snapshot may not be visible yet: repeating a claim is harmless.
    surely_gone = set() if ec2.limits.may_be_invisible(status.set.age) else gone
    unclaimed = tuple(one for one in status.set.snapshots if one.snapshot_id not in claimed | surely_gone)
    return replace(status.set, snapshots=unclaimed) if unclaimed else None


async def _claim(
    ec2: Ec2,
    parts: Sequence[SnapshotSet],
    statuses: Sequence[SetStatus],
    *,
    claim: str,
    attributes: Mapping[str, str],
    tell: Say,
) -> dict[str, errors.SnapsetError]:
    """Claim these sets, or parts of them; return why adopted ones could not be, by set id."""
    if not parts:
        return {}
    adopted = {status.set.set_id for status in statuses if status.outcome == "adopted"}
    for part in parts:
        if part.set_id in adopted:
            tell(f"adopted {part.set_id}: an earlier run took it at {part.start_time} and could not record it")
    failures = await run_in_thread(lambda: claim_sets(ec2, parts, claim=claim, attributes=attributes))
    for set_id, error in failures.items():
        if set_id not in adopted:
            # The backup exists and the state holds it; only the tags for a restore without a state are missing.
            tell(f"warning: {set_id} is taken, but its snapshots could not be tagged: {error}")
    # Unclaimed, an adopted set might be adopted by another resource, too.
    return {set_id: error for set_id, error in failures.items() if set_id in adopted}
