"""AWS's clock: this machine's, corrected by the `Date` of the latest answer of AWS that this process has seen.

This machine's clock can be minutes off, and the start times of snapshots are AWS's.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any


class _Seen:
    """How far AWS's clock is ahead of this machine's, as far as this process has seen."""

    ahead = datetime.timedelta()


def now() -> datetime.datetime:
    """Return the time by AWS's clock, in UTC; by this machine's before the first answer of AWS."""
    return _here() + _Seen.ahead


def stamp(timespec: str = "seconds") -> str:
    """Return the time by AWS's clock, ISO 8601 UTC, in whole seconds, or in milliseconds."""
    return now().replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def age_of(start_time: str) -> float:
    """Return the seconds since an ISO 8601 start time of AWS's; none since one that seems to be ahead."""
    passed = now() - datetime.datetime.fromisoformat(start_time.replace("Z", "+00:00"))
    # This clock may be a second slow, as the answers' dates have whole seconds.
    return max(0.0, passed.total_seconds())


def set_by(answer: Mapping[str, Any]) -> None:
    """Set the clock by an answer as botocore has parsed it; one without a `Date` changes nothing."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        theirs = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return
    # A proxy may add a second date, and some write -0000: then Python leaves the zone out. HTTP's dates are in UTC.
    theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=datetime.timezone.utc)
    difference = theirs - _here()
    # The header has whole seconds, and an answer takes a moment: what is nearer than that is no difference.
    _Seen.ahead = difference if abs(difference) > datetime.timedelta(seconds=2) else datetime.timedelta()


def _here() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
