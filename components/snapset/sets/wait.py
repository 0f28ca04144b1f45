"""Wait for sets to complete: one DescribeSnapshots every few seconds, however many sets are waited for.

Waiting belongs in the program and not in the provider: the set is in the state before the wait begins, so Ctrl-C
loses nothing, and the next `pulumi up` takes the wait up again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, PENDING, RECOVERABLE, Snapshot
from snapset.aws.session import refuse_other_account
from snapset.aws.settings import AwsSettings
from snapset.sets.model import SnapshotSet
from snapset.sets.threads import run_in_thread

# The first poll is almost at once: long enough for all sets of a program to join it.
_FIRST_PAUSE = 0.05
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0
_GROWTH = 1.5


class Poller:
    """Polls snapshots for everyone who waits in one event loop, with one request each time."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2.once()
        self._wanted: set[str] = set()
        self._known: set[str] = set()
        self._next: asyncio.Task[dict[str, Snapshot]] | None = None
        self._pause = _FIRST_PAUSE

    async def poll(self, snapshot_ids: Sequence[str]) -> list[Snapshot]:
        """Return what the next request finds of the snapshots; those that EC2 can't see are left out."""
        if not self._known.issuperset(snapshot_ids):
            self._pause = _FIRST_PAUSE
        self._known.update(snapshot_ids)
        self._wanted.update(snapshot_ids)
        if self._next is None:
            self._next = asyncio.create_task(self._poll_once())
        # shield(): cancelling one waiter must not cancel the request that the others share.
        found = await asyncio.shield(self._next)
        return [found[snapshot_id] for snapshot_id in snapshot_ids if snapshot_id in found]

    async def _poll_once(self) -> dict[str, Snapshot]:
        await asyncio.sleep(self._pause)
        self._pause = max(_SHORTEST_PAUSE, min(self._pause * _GROWTH, _LONGEST_PAUSE))
        wanted, self._wanted, self._next = sorted(self._wanted), set(), None
        found = await run_in_thread(lambda: self._ec2.describe_snapshots(wanted))
        return {snapshot.snapshot_id: snapshot for snapshot in found}


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[AwsSettings, Poller]] = WeakKeyDictionary()


def poller_for(ec2: Ec2) -> Poller:
    """Return the poller that all waits with the same settings share in the running event loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    return pollers.setdefault(ec2.settings, Poller(ec2))


async def poll_set(ec2: Ec2, taken: SnapshotSet) -> SnapshotSet:
    """Return the set as the next answer of EC2 shows it; a snapshot that is left out may not be visible yet.

    Raises:
        UnreachableError: the endpoint can't be reached.
        SnapsetError: AWS has given no answer, or has throttled the call, for as long as the limits allow; or refuses.
    """
    poller, deadline = poller_for(ec2), time.monotonic() + ec2.limits.throttle
    while True:
        try:
            return taken.as_seen(await poller.poll(taken.snapshot_ids))
        except (errors.NoAnswerError, errors.ThrottledError) as error:
            if time.monotonic() > deadline:
                raise
            ec2.say(f"{taken.set_id}: {error}")


def _ignore(_seen: SnapshotSet) -> None:
    """Report nothing."""


async def wait_for_set(
    ec2: Ec2,
    taken: SnapshotSet,
    *,
    timeout: float,
    until: Literal["seen", "completed"] = "completed",
    seen: SnapshotSet | None = None,
    report: Callable[[SnapshotSet], None] = _ignore,
) -> SnapshotSet:
    """Wait until every snapshot of the set was seen, or seen completed, and return the set as it is then.

    Each change of its progress is shown in one line.

    Args:
        ec2: where, and for how long a snapshot that exists may be left out of answers, and AWS may give no answer.
        taken: the set with all snapshots that it was taken with.
        timeout: seconds from now.
        until: what is waited for.
        seen: the set as a first poll found it, if there was one.
        report: told how the set stands after each answer.

    Raises:
        SetFailedError: AWS set a snapshot to `error`, or one no longer exists.
        WaitTimeoutError: the snapshots go on, but the time is up.
        SnapsetError: AWS has given no answer for as long as the limits allow, or refuses DescribeSnapshots.
    """
    poller, seen = poller_for(ec2), seen or taken
    now = time.monotonic()
    deadline, last_answer, last_whole = now + timeout, now, now
    trouble, said = "", ""
    while True:
        now = time.monotonic()
        if seen.is_whole:
            last_whole = now
        if not trouble:
            # By this machine's own watch: no clock has to be right for it.
            await _refuse_loss(ec2, seen, taken, missing_for=now - last_whole)
            if seen.is_whole and (until == "seen" or seen.has_completed):
                if said:
                    ec2.say(f"{taken.set_id}: {_progress(seen, taken)}")
                return seen
        progress = _progress(seen, taken) + trouble
        if progress != said:
            said = progress
            ec2.say(f"{taken.set_id}: {said}")
        if now > deadline:
            raise errors.WaitTimeoutError(
                f"waiting for {taken.set_id}: {said} when the {timeout:.0f} s were up. The snapshots go on: "
                f"`snapset show {taken.set_id}` looks at them, and `snapset wait {taken.set_id}` or the next run "
                "waits for them again."
            )
        try:
            seen, trouble, last_answer = taken.as_seen(await poller.poll(taken.snapshot_ids)), "", time.monotonic()
            report(seen)
        except (errors.NoAnswerError, errors.ThrottledError, errors.UnreachableError) as error:
            if time.monotonic() > last_answer + ec2.limits.throttle:
                raise
            trouble = f" ({error})"


async def _refuse_loss(ec2: Ec2, seen: SnapshotSet, taken: SnapshotSet, *, missing_for: float) -> None:
    """Raise a `SetFailedError` if the set is no backup: a snapshot is in error, or was not seen for too long."""
    doing = f"waiting for {taken.set_id}"
    advice = "There is no backup: take a new set; in a stack, with `pulumi refresh` and `pulumi up`."
    for snapshot in seen.snapshots:
        what = f"{doing}: {snapshot.snapshot_id} of {snapshot.volume_id}"
        if snapshot.state == ERROR:
            cause = (snapshot.state_message or "AWS gives no reason").rstrip(".")
            raise errors.SetFailedError(f"{what} is in error: {cause}. {advice}")
        if snapshot.state == RECOVERABLE:
            back = f"aws ec2 restore-snapshot-from-recycle-bin --snapshot-id {snapshot.snapshot_id}"
            raise errors.SetFailedError(f"{what} is in the Recycle Bin. {advice} To bring it back: {back}")
    if seen.is_whole or missing_for < ec2.limits.consistency:
        return
    await run_in_thread(lambda: refuse_other_account(ec2.settings, taken.owner_id, doing=doing))
    if missing := [key for key in taken.snapshot_ids if key not in seen.snapshot_ids]:
        verb = "no longer exists" if len(missing) == 1 else "no longer exist"
        raise errors.SetFailedError(f"{doing}: {', '.join(missing)} {verb}. {advice}")
    number = f"{len(seen.snapshots)} of {taken.count or 'an unknown number of'} snapshots are left"
    raise errors.SetFailedError(f"{doing}: {number}. {advice}")


def _progress(seen: SnapshotSet, taken: SnapshotSet) -> str:
    completed = sum(snapshot.state == COMPLETED for snapshot in seen.snapshots)
    number = taken.count or len(taken.snapshots)
    percent = sum(snapshot.percent for snapshot in seen.snapshots) // number
    odd = [f", {one.snapshot_id} is {one.state}" for one in seen.snapshots if one.state not in (PENDING, COMPLETED)]
    return "".join([f"{completed} of {number} snapshots completed, {percent}%", *odd])
