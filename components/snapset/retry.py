"""How long to go on trying, and durations as people write them."""

from __future__ import annotations

import itertools
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from snapset import errors
from snapset.pace import Pace

_T = TypeVar("_T")

Say = Callable[[str], None]

_DURATION = re.compile(r"(?=\d)(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,12})s)?", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


def _ignore(_text: str) -> None:
    """Say nothing."""


def _get_nowhere() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How long to go on trying, in seconds, and whom to tell. Read once, where a run begins, and passed down.

    Attributes:
        consistency: how long a snapshot that exists may stay invisible to DescribeSnapshots.
        throttle: how long to go on after AWS answered "not now".
        late: how long after its beginning a call without an answer may still happen.
        adoption: how old an unclaimed set may be and still be adopted.
        volume: how long to wait until volumes are made, attached or detached.
        pace: shared by many threads that make the same call, so that they slow down together; None for none.
        gets_on: tells, when the time for "not now" is up, whether AWS has got on meanwhile with what stands before
            the call; then it begins anew.
        say: shows one line to the user.
    """

    consistency: float = 20.0
    throttle: float = 600.0
    late: float = 60.0
    adoption: float = 3600.0
    volume: float = 300.0
    pace: Pace | None = None
    gets_on: Callable[[], bool] = _get_nowhere
    say: Say = _ignore

    @classmethod
    def from_environment(cls, say: Say = _ignore) -> Retry:
        """Read SNAPSET_CONSISTENCY_SECONDS and the likes: _THROTTLE_, _LATE_, _ADOPTION_, _VOLUME_SECONDS.

        Raises:
            InputError: one of them is not a number.
        """
        names = ("consistency", "throttle", "late", "adoption", "volume")
        seconds: dict[str, Any] = {
            name: read_seconds(f"SNAPSET_{name.upper()}_SECONDS", getattr(cls, name)) for name in names
        }
        return cls(**seconds, say=say)

    def saying(self, say: Say) -> Retry:
        """Return the same, with another way to say something."""
        return replace(self, say=say)

    def may_be_invisible(self, age: float) -> bool:
        """Tell whether a snapshot of this age, in seconds, is so young that DescribeSnapshots may not show it yet."""
        return age < self.consistency

    def while_throttled(self, call: Callable[[], _T], *, doing: str) -> _T:
        """Make a call, again and again while AWS answers "not now", for as long as `throttle` allows.

        Args:
            call: raises `ThrottledError` where AWS won't do it now.
            doing: gerund, noun and id, for what is said.

        Raises:
            ThrottledError: the time is up.
        """
        give_up = time.monotonic() + self.throttle
        for attempt in itertools.count(1):
            try:
                return self.pace.make(call) if self.pace else call()
            except errors.ThrottledError as error:
                if self.pace and error.asks_for is None and time.monotonic() < give_up:
                    # The next attempt has its turn when the others have had theirs.
                    continue
                pause = throttle_pause(error.asks_for, attempt)
                if time.monotonic() + pause > give_up:
                    if not self.gets_on():
                        raise
                    self.say(f"{doing}: the snapshots that this run has taken get on: waiting for as long again")
                    give_up = time.monotonic() + self.throttle
                self.say(f"{doing}: {error.code}: trying again in {pause:.0f} s")
                time.sleep(pause)
        raise AssertionError


def looks(seconds: float) -> Iterator[bool]:
    """Yield for each look at what may not be visible yet whether another one follows.

    The pauses between them grow up to five seconds. The last look is made when the time is up, and not before.
    """
    end, pause = time.monotonic() + seconds, 0.5
    while time.monotonic() < end:
        yield True
        time.sleep(max(0.0, min(pause, end - time.monotonic())))
        pause = min(pause * 1.5, 5.0)
    yield False


def throttle_pause(asked_for: float | None, attempt: int) -> float:
    """Return how many seconds to wait after the n-th "not now", jittered so that many don't come back at once.

    Args:
        asked_for: what AWS asks for with this code, in seconds.
        attempt: 1 after the first.
    """
    if asked_for is not None:
        return asked_for + random.uniform(0, asked_for / 3)
    return random.uniform(0.5, 2.0 ** min(attempt, 4))


def read_seconds(variable: str, default: float) -> float:
    """Return the seconds in an environment variable.

    Raises:
        InputError: it is set, and not to a number of seconds.
    """
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise errors.InputError(f"reading {variable}: {text!r} is not a number of seconds.")
    return seconds


def parse_duration(text: object, *, name: str, bare_seconds: bool = True) -> float:
    """Return the seconds in `90s`, `30m`, `2h`, `1d`, `1h30m` or a bare number of seconds.

    Args:
        text: the duration.
        name: the option or input that it was given to, for messages.
        bare_seconds: whether a number without a unit is a number of seconds, or is refused.

    Raises:
        InputError: the text is none of these, or is zero.
    """
    if not isinstance(text, str):
        raise errors.InputError(f"reading {name}: it is {type(text).__name__}, not a string. Use 90s, 30m or 2h.")
    written = text.strip()
    if not bare_seconds and _SECONDS.fullmatch(written):
        raise errors.InputError(f"reading {name}: {text!r} has no unit. Use 90s, 12h or 30d.")
    match = _DURATION.fullmatch(f"{written}s" if _SECONDS.fullmatch(written) else written)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    if not (total := ((days * 24 + hours) * 60 + minutes) * 60 + seconds):
        raise errors.InputError(f"reading {name}: {text!r} is not a duration. Use 90s, 30m or 2h.")
    return float(total)
