"""AWS's clock. Placeholder until the aws part is merged."""

from __future__ import annotations

import datetime


def now() -> datetime.datetime:
    """Return the time by AWS's clock."""
    return datetime.datetime.now(datetime.timezone.utc)


def age_of(start_time: str) -> float:
    """Return the seconds since an ISO 8601 start time of AWS's."""
    return (now() - datetime.datetime.fromisoformat(start_time.replace("Z", "+00:00"))).total_seconds()
