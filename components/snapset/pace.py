"""The pace of calls that AWS limits by a token bucket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from snapset import errors

_T = TypeVar("_T")


class Pace:
    """Spreads the calls of many threads as AWS's token bucket refills, once it throttles one.

    Until then the calls are not held back. https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    """

    # CreateSnapshots may be called 100 times at once, and five times a second after that.
    _REFILL_SECONDS = 0.2
    _LONGEST_SECONDS = 5.0
    # So about one call in 25 is refused: as fast as the bucket refills, whatever its size, and whoever else uses it.
    _SLOWER, _FASTER = 1.05, 0.998

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interval = 0.0
        self._next = self._slowed = 0.0

    def make(self, call: Callable[[], _T]) -> _T:
        """Make the call when its turn has come.

        Raises:
            ThrottledError: AWS throttled the call; all calls come more slowly from now on.
        """
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        time.sleep(turn - now)
        try:
            made = call()
        except errors.ThrottledError as error:
            if error.asks_for is None:
                self._slow_down(began=turn)
            raise
        with self._lock:
            self._interval *= self._FASTER
        return made

    def _slow_down(self, *, began: float) -> None:
        with self._lock:
            if not self._interval:
                self._interval = self._REFILL_SECONDS
            elif began > self._slowed:
                # A call that was under way when the pace changed says nothing of the new one.
                self._interval = min(self._interval * self._SLOWER, self._LONGEST_SECONDS)
            self._slowed = time.monotonic()
            self._next = max(self._next, self._slowed + self._interval)
