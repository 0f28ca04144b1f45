"""Durations as people write them, and seconds in environment variables."""

from __future__ import annotations

import math
import os
import re

from snapset import errors

_DURATION = re.compile(r"(?=\d)(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,12})s)?", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


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
        InputError: the text is not a duration, or is zero.
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
