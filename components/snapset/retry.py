"""How long to go on trying, and how old is too old."""

from __future__ import annotations

import datetime
import itertools
import math
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from snapset import errors

_T = TypeVar("_T")

_DURATION = re.compile(r"(?=\d)(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,12})s)?", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on trying, in seconds.

    Attributes:
        consistency: how long a snapshot that exists may stay invisible to DescribeSnapshots.
        throttle: how long to go on after AWS answered "not now".
        adoption: how old an unclaimed set may be and still stand for the same intent.
    """

    consistency: float = 20.0
    throttle: float = 600.0
    adoption: float = 3600.0

    @classmethod
    def from_environment(cls) -> Patience:
        """Read SNAPSET_CONSISTENCY_SECONDS, SNAPSET_THROTTLE_SECONDS and SNAPSET_ADOPTION_SECONDS.

        Raises:
            InputError: one of them is not a number.
        """
        return cls(
            consistency=seconds_from_environment("SNAPSET_CONSISTENCY_SECONDS", cls.consistency),
            throttle=seconds_from_environment("SNAPSET_THROTTLE_SECONDS", cls.throttle),
            adoption=seconds_from_environment("SNAPSET_ADOPTION_SECONDS", cls.adoption),
        )


def seconds_from_environment(variable: str, default: float) -> float:
    """Return the seconds that an environment variable names.

    Raises:
        InputError: it is set, and is no number of seconds.
    """
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError as error:
        raise errors.InputError(f"reading {variable}: {text!r} is not a number of seconds.") from error
    if not 0 <= seconds < math.inf:
        raise errors.InputError(f"reading {variable}: {text!r} is not a number of seconds.")
    return seconds


def parse_duration(text: str) -> float:
    """Return the seconds in `90s`, `30m`, `2h`, `1d`, `1h30m` or a bare number of seconds.

    Raises:
        InputError: the text is none of these, or is zero.
    """
    written = text.strip()
    match = _DURATION.fullmatch(f"{written}s" if _SECONDS.fullmatch(written) else written)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    if not (total := ((days * 24 + hours) * 60 + minutes) * 60 + seconds):
        raise errors.InputError(f"reading the duration {text!r}: it is none. Write it like 90s, 30m, 2h or 1h30m.")
    return float(total)


def age_of(start_time: str) -> float:
    """Return the seconds since an ISO 8601 start time."""
    started = datetime.datetime.fromisoformat(start_time.replace("Z", "+00:00"))
    return (datetime.datetime.now(datetime.timezone.utc) - started).total_seconds()


def may_be_invisible(start_time: str) -> bool:
    """Tell whether a snapshot that DescribeSnapshots leaves out is so young that it may exist all the same."""
    return age_of(start_time) < Patience.from_environment().consistency


def wait_out_throttling(call: Callable[[], _T], *, doing: str, patience: Patience, say: Callable[[str], None]) -> _T:
    """Make a call, again and again while AWS answers "not now", for as long as `patience.throttle` allows.

    Args:
        call: raises `ThrottledError` where AWS would not do it now.
        doing: gerund, noun and id, for what is said.
        patience: how long to go on.
        say: told in one line what is waited for.

    Raises:
        ThrottledError: the time is up.
    """
    give_up = time.monotonic() + patience.throttle
    for attempt in itertools.count(1):
        try:
            return call()
        except errors.ThrottledError as error:
            pause = throttle_pause(error.code, attempt)
            if time.monotonic() + pause > give_up:
                raise
            say(f"{doing}: {error.code}: trying again in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError


def throttle_pause(code: str | None, attempt: int) -> float:
    """Return how many seconds to wait after the n-th "not now", jittered so that many don't come back at once.

    AWS asks for 15 s and more between snapshots of one volume, and for "later" where too many are pending:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    if code == errors.PER_VOLUME_RATE_EXCEEDED:
        return 15.0 + random.uniform(0, 5)
    if code in (errors.CONCURRENT_LIMIT_EXCEEDED, errors.PENDING_LIMIT_EXCEEDED):
        return 60.0 + random.uniform(0, 30)
    return random.uniform(0.5, 2.0 ** min(attempt, 4))
