"""Wait in the program for sets to complete: one batched DescribeSnapshots a tick, however many sets wait.

Waiting belongs in the program and not in the provider: the set is in the state before the wait begins, so Ctrl-C
loses nothing, and the next `pulumi up` takes the wait up again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

from snapset import errors
from snapset.aws.ec2 import Ec2, Snapshot
from snapset.retry import may_be_invisible
from snapset.sets.create import COMPLETED, ERROR

_T = TypeVar("_T")

# The first look is almost at once: long enough for all sets of a program to join it.
_FIRST_PAUSE = 0.05
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0
_GROWTH = 1.5


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


def end_quietly_on_interrupt() -> None:
    """From here on, let Ctrl-C end this program with one line, where Python would end it with a traceback.

    The engine gets the same Ctrl-C, and ends in order. Whoever has a handler of their own keeps it; a program that
    runs in a thread, as an inline program does, has no say in signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def _end_at_once(*_: object) -> None:
    sys.stderr.write("interrupted: a set that was taken stays, and the next run takes it up\n")
    sys.stderr.flush()
    # Not sys.exit(): Pulumi would show that with a traceback, too, and wait for its threads.
    os._exit(1)


class Poller:
    """Looks at snapshots for everyone who waits in one event loop, with one request a tick."""

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._wanted: set[str] = set()
        self._known: set[str] = set()
        self._tick: asyncio.Task[dict[str, Snapshot]] | None = None
        self._pause = _FIRST_PAUSE

    async def look(self, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        """Return what the next tick sees of the snapshots; those that EC2 can't see are left out."""
        if not self._known.issuperset(snapshot_ids):
            self._pause = _FIRST_PAUSE
        self._known.update(snapshot_ids)
        self._wanted.update(snapshot_ids)
        if self._tick is None:
            self._tick = asyncio.create_task(self._look_once())
        # One who gives up must not take the tick from the others.
        seen = await asyncio.shield(self._tick)
        return {each: seen[each] for each in snapshot_ids if each in seen}

    async def _look_once(self) -> dict[str, Snapshot]:
        await asyncio.sleep(self._pause)
        self._pause = max(_SHORTEST_PAUSE, min(self._pause * _GROWTH, _LONGEST_PAUSE))
        wanted, self._wanted, self._tick = sorted(self._wanted), set(), None
        found = await run_in_thread(lambda: self._ec2.describe_snapshots(wanted))
        return {each.snapshot_id: each for each in found}


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Ec2, Poller]] = WeakKeyDictionary()


def poller_for(ec2: Ec2) -> Poller:
    """Return the poller that all waits on this EC2 share in the running event loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    return pollers.setdefault(ec2, Poller(ec2))


async def wait_for_set(
    look: Callable[[Sequence[str]], Awaitable[dict[str, Snapshot]]],
    *,
    set_id: str,
    snapshot_ids: Sequence[str],
    start_time: str,
    seen: Mapping[str, Snapshot],
    timeout: float,
    report: Callable[[str], None],
) -> Mapping[str, Snapshot]:
    """Wait until every snapshot of the set has completed, and return them as they are then, by id.

    Snapshots that no longer exist are left out of the answer.

    Args:
        look: sees snapshots, such as `Poller.look`.
        set_id: the set's id, for messages.
        snapshot_ids: the snapshots to wait for.
        start_time: when the set was taken, ISO 8601.
        seen: what a first look saw.
        timeout: seconds from now.
        report: told in one line how far the set is, each time that this changes.

    Raises:
        SetFailedError: AWS set a snapshot to `error`.
        WaitTimeoutError: the snapshots go on, but the time is up.
        NotPermittedError: DescribeSnapshots is refused.
    """
    give_up = time.monotonic() + timeout
    trouble, said = "", ""
    while True:
        for snapshot in seen.values():
            if snapshot.state == ERROR:
                raise _failed(set_id, snapshot)
        # What is missing and young may only not be visible yet; what is missing and older is gone.
        whole = len(seen) == len(snapshot_ids) or not may_be_invisible(start_time)
        if whole and not trouble and all(each.state == COMPLETED for each in seen.values()):
            if said:
                report(f"{set_id}: {_progress(seen, of=len(snapshot_ids))}")
            return seen
        progress = _progress(seen, of=len(snapshot_ids)) + trouble
        if progress != said:
            said = progress
            report(f"{set_id}: {said}")
        if time.monotonic() > give_up:
            raise errors.WaitTimeoutError(
                f"waiting for {set_id}: {said} when the {timeout:.0f} s were up. The snapshots go on: "
                f"`snapset show {set_id}` looks at them, and `snapset wait {set_id}` or the next run waits for them "
                "again."
            )
        try:
            seen, trouble = await look(snapshot_ids), ""
        except (errors.NoAnswerError, errors.ThrottledError, errors.UnreachableError) as error:
            trouble = f" ({error})"


def _progress(seen: Mapping[str, Snapshot], *, of: int) -> str:
    done = [100 if each.state == COMPLETED else int(each.progress.rstrip("%") or 0) for each in seen.values()]
    completed = sum(each.state == COMPLETED for each in seen.values())
    return f"{completed} of {of} snapshots completed, {sum(done) // of}%"


def _failed(set_id: str, snapshot: Snapshot) -> errors.SetFailedError:
    cause = snapshot.state_message or "AWS gives no reason"
    return errors.SetFailedError(
        f"waiting for {set_id}: {snapshot.snapshot_id} of {snapshot.volume_id} is in error: {cause.rstrip('.')}. "
        "There is no backup: take a new set; in a stack, with `pulumi refresh` and `pulumi up`."
    )
