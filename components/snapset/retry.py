"""Repeat a call while AWS throttles it, or gives no answer, and poll for what may not be visible yet."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from snapset import errors

_T = TypeVar("_T")

Say = Callable[[str], None]

# What passes by itself. After the second, the call may have happened.
THROTTLED = (errors.ThrottledError,)
PASSING = (*THROTTLED, errors.NoAnswerError, errors.UnreachableError)


class Progress(Protocol):
    """Tells whether the run makes progress, so that a throttled call may be repeated for longer."""

    def goes_on(self) -> bool:
        """Asked when the throttle budget is spent; True starts it again."""
        ...


def silent(_text: str) -> None:
    """Say nothing."""


def while_throttled(
    call: Callable[[], _T],
    *,
    doing: str,
    seconds: float,
    say: Say = silent,
    progress: Progress | None = None,
    has_pace: bool = False,
    bears: tuple[type[errors.SnapsetError], ...] = THROTTLED,
) -> _T:
    """Make a call, and repeat it while AWS throttles it, or fails it in another way that passes.

    Args:
        call: what to do.
        doing: gerund, noun and id, for messages.
        seconds: the throttle budget: for how long to repeat it.
        say: shows one line to the user.
        progress: asked when the budget is spent.
        has_pace: the call waits for its turn by itself, as `snapset.pace.Pace` has it.
        bears: the errors after which it is repeated.

    Raises:
        ThrottledError: the budget is spent; or the last one of `bears`.
    """
    give_up = time.monotonic() + seconds
    for attempt in itertools.count(1):
        try:
            return call()
        except bears as error:
            asks_for = error.asks_for if isinstance(error, errors.ThrottledError) else None
            if has_pace and asks_for is None and time.monotonic() < give_up:
                continue
            if time.monotonic() >= give_up:
                if not (progress and progress.goes_on()):
                    raise
                say(f"{doing}: the snapshots of this run make progress: waiting for as long again")
                give_up = time.monotonic() + seconds
            # The last attempt comes when the budget is spent, as with `polls`.
            pause = min(throttle_pause(asks_for, attempt), max(0.0, give_up - time.monotonic()))
            say(f"{doing}: {error.code or 'no answer'}: trying again in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError


def throttle_pause(asked_for: float | None, attempt: int) -> float:
    """Return how many seconds to wait after the n-th throttled call, jittered so that many don't come back at once.

    Args:
        asked_for: what AWS asks for with this code, in seconds.
        attempt: 1 after the first.
    """
    if asked_for is not None:
        return asked_for + random.uniform(0, asked_for / 3)
    return random.uniform(0.5, 2.0 ** min(attempt, 4))


def polls(seconds: float) -> Iterator[bool]:
    """Yield once a poll: True if another poll follows. The last poll comes when the time is up.

    The pauses between them grow up to five seconds.
    """
    end, pause = time.monotonic() + seconds, 0.5
    while time.monotonic() < end:
        yield True
        time.sleep(max(0.0, min(pause, end - time.monotonic())))
        pause = min(pause * 1.5, 5.0)
    yield False
