"""Wait for sets to complete: one DescribeSnapshots every few seconds, however many sets are waited for.

Waiting belongs in the program and not in the provider: the set is in the state before the wait begins, so Ctrl-C
loses nothing, and the next `pulumi up` takes the wait up again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, Snapshot
from snapset.retry import Retry
from snapset.sets.model import SnapshotSet

_T = TypeVar("_T")

# The first look is almost at once: long enough for all sets of a program to join it.
_FIRST_PAUSE = 0.05
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0
_GROWTH = 1.5

Look = Callable[[Sequence[str]], Awaitable[list[Snapshot]]]


async def run_in_thread(call: Callable[[], _T]) -> _T:
    """Run a blocking call beside the event loop, in a thread that an interrupted process does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # raised again where the call is awaited
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The program has ended meanwhile, and nobody awaits the call any more.
            return

    threading.Thread(target=run, daemon=True).start()
    return await future


class Poller:
    """Looks at snapshots for everyone who waits in one event loop, with one request each time."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._wanted: set[str] = set()
        self._known: set[str] = set()
        self._next: asyncio.Task[dict[str, Snapshot]] | None = None
        self._pause = _FIRST_PAUSE

    async def look(self, snapshot_ids: Sequence[str]) -> list[Snapshot]:
        """Return what the next request finds of the snapshots; those that EC2 can't see are left out."""
        if not self._known.issuperset(snapshot_ids):
            self._pause = _FIRST_PAUSE
        self._known.update(snapshot_ids)
        self._wanted.update(snapshot_ids)
        if self._next is None:
            self._next = asyncio.create_task(self._look_once())
        # shield(): cancelling one waiter must not cancel the request that the others share.
        found = await asyncio.shield(self._next)
        return [found[snapshot_id] for snapshot_id in snapshot_ids if snapshot_id in found]

    async def _look_once(self) -> dict[str, Snapshot]:
        await asyncio.sleep(self._pause)
        self._pause = max(_SHORTEST_PAUSE, min(self._pause * _GROWTH, _LONGEST_PAUSE))
        wanted, self._wanted, self._next = sorted(self._wanted), set(), None
        found = await run_in_thread(lambda: self._ec2.describe_snapshots(wanted))
        return {snapshot.snapshot_id: snapshot for snapshot in found}


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Ec2, Poller]] = WeakKeyDictionary()


def poller_for(ec2: Ec2) -> Poller:
    """Return the poller that all waits on this EC2 share in the running event loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    return pollers.setdefault(ec2, Poller(ec2))


async def wait_for_set(
    look: Look, taken: SnapshotSet, *, seen: SnapshotSet, timeout: float, retry: Retry
) -> SnapshotSet:
    """Wait until every snapshot of the set has completed, and return the set as it is then.

    Snapshots that no longer exist are left out of the answer. How far the set is is said in one line, each time that
    this changes.

    Args:
        look: finds snapshots, such as `Poller.look`.
        taken: the set with all snapshots that it was taken with.
        seen: the set as a first look found it.
        timeout: seconds from now.
        retry: for how long a young snapshot may be invisible.

    Raises:
        SetFailedError: AWS set a snapshot to `error`.
        WaitTimeoutError: the snapshots go on, but the time is up.
        NotPermittedError: DescribeSnapshots is refused.
    """
    give_up = time.monotonic() + timeout
    trouble, said = "", ""
    while True:
        for snapshot in seen.snapshots:
            if snapshot.state == ERROR:
                raise _failed(taken, snapshot)
        # A missing snapshot of a young set may not be visible yet; of an older one it no longer exists.
        all_there = len(seen.snapshots) == len(taken.snapshots) or not retry.may_be_invisible(taken.start_time)
        if all_there and not trouble and all(snapshot.state == COMPLETED for snapshot in seen.snapshots):
            if said:
                retry.say(f"{taken.set_id}: {_progress(seen, taken)}")
            return seen
        progress = _progress(seen, taken) + trouble
        if progress != said:
            said = progress
            retry.say(f"{taken.set_id}: {said}")
        if time.monotonic() > give_up:
            raise errors.WaitTimeoutError(
                f"waiting for {taken.set_id}: {said} when the {timeout:.0f} s were up. The snapshots go on: "
                f"`snapset show {taken.set_id}` looks at them, and `snapset wait {taken.set_id}` or the next run "
                "waits for them again."
            )
        try:
            seen, trouble = taken.as_seen(await look(taken.snapshot_ids)), ""
        except (errors.NoAnswerError, errors.ThrottledError, errors.UnreachableError) as error:
            trouble = f" ({error})"


def _progress(seen: SnapshotSet, taken: SnapshotSet) -> str:
    done = [
        100 if snapshot.state == COMPLETED else int(snapshot.progress.rstrip("%") or 0) for snapshot in seen.snapshots
    ]
    completed = sum(snapshot.state == COMPLETED for snapshot in seen.snapshots)
    number = len(taken.snapshots)
    return f"{completed} of {number} snapshots completed, {sum(done) // number}%"


def _failed(taken: SnapshotSet, snapshot: Snapshot) -> errors.SetFailedError:
    cause = (snapshot.state_message or "AWS gives no reason").rstrip(".")
    return errors.SetFailedError(
        f"waiting for {taken.set_id}: {snapshot.snapshot_id} of {snapshot.volume_id} is in error: {cause}. "
        "There is no backup: take a new set; in a stack, with `pulumi refresh` and `pulumi up`."
    )
