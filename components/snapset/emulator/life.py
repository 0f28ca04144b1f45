"""A snapshot's state over time: pending with progress, then completed or error. The caller passes the time."""

import math
from dataclasses import dataclass

PENDING = "pending"
COMPLETED = "completed"
ERROR = "error"

FOREVER = math.inf


@dataclass(frozen=True)
class Failure:
    """How a set fails: EC2's message, and how many seconds after the set's start."""

    message: str
    after_seconds: float = 0.0


@dataclass(frozen=True)
class Life:
    """One snapshot's life, from pending to completed or error; times are seconds of one monotonic clock.

    With 0 seconds the first look already finds it completed, with `FOREVER` it stays pending until `ended` is called.
    """

    begun: float
    seconds: float
    failure: Failure | None = None

    def ended(self, now: float) -> "Life":
        """The same life, completed now unless it has already ended."""
        return self if self.state(now) != PENDING else Life(self.begun, now - self.begun)

    def failed(self, now: float, message: str) -> "Life":
        """The same life, failed now."""
        return Life(self.begun, self.seconds, Failure(message, now - self.begun))

    def state(self, now: float) -> str:
        """`pending`, `completed` or `error`."""
        age = now - self.begun
        if self.failure and age >= self.failure.after_seconds:
            return ERROR
        # A set that will fail never completes first: if one snapshot fails, EC2 puts all of the set into error.
        return COMPLETED if age >= self.seconds and not self.failure else PENDING

    def progress(self, now: float) -> str:
        """`0%` to `99%` while pending, `100%` when completed; a failure freezes it."""
        if self.state(now) == COMPLETED:
            return "100%"
        age = now - self.begun
        if self.failure:
            age = min(age, self.failure.after_seconds)
        if self.seconds <= 0:
            return "0%"
        return f"{int(min(99.0, 100 * age / self.seconds))}%"

    def message(self, now: float) -> str | None:
        """Why it failed, or None."""
        return self.failure.message if self.failure and self.state(now) == ERROR else None

    def completed_after(self, now: float) -> float | None:
        """How many seconds it took to complete, or None if it is not completed."""
        return self.seconds if self.state(now) == COMPLETED else None
