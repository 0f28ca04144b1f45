"""How long snapset waits: read once, where a run begins, and passed down."""

from __future__ import annotations

from dataclasses import dataclass, fields

from snapset.durations import read_seconds


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait, in seconds.

    Attributes:
        consistency: how long a snapshot that exists may stay invisible to DescribeSnapshots.
        throttle: how long to repeat a call that AWS throttles.
        late: how long after its beginning a call without an answer may still happen.
        adoption: how old an unclaimed set may be and still be adopted.
        volume: how long to wait until volumes are made, attached or detached.
    """

    consistency: float = 20.0
    throttle: float = 600.0
    late: float = 60.0
    adoption: float = 3600.0
    volume: float = 300.0

    @classmethod
    def from_environment(cls) -> Limits:
        """Read SNAPSET_CONSISTENCY_SECONDS and the likes: _THROTTLE_, _LATE_, _ADOPTION_, _VOLUME_SECONDS.

        Raises:
            InputError: one of them is not a number of seconds.
        """
        names = [field.name for field in fields(cls)]
        return cls(**{name: read_seconds(f"SNAPSET_{name.upper()}_SECONDS", getattr(cls, name)) for name in names})

    def may_be_invisible(self, age: float) -> bool:
        """Tell whether a snapshot of this age, in seconds, is so young that DescribeSnapshots may not show it yet."""
        return age < self.consistency
