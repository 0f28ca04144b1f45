"""What a script can change: how long snapshots take, when they show, which sets fail, which snapshots are locked.

moto builds its backends itself and hands them nothing, so the one world of this process is a module's value.
"""

import time
from dataclasses import dataclass, field, replace

from .life import Failure, Life


@dataclass(frozen=True)
class Settings:
    """How this EC2 behaves.

    snapshot_seconds: from pending to completed; `life.FOREVER` for never.
    visibility_seconds: how long a new snapshot stays out of DescribeSnapshots (eventual consistency).
    volume_seconds: snapshot_seconds of single volumes, by volume id.
    """

    snapshot_seconds: float = 0.0
    visibility_seconds: float = 0.0
    volume_seconds: dict[str, float] = field(default_factory=dict)


class World:
    """The scripted state of one server process."""

    def __init__(self) -> None:
        self._initial = Settings()
        self.settings = self._initial
        self.locked: set[str] = set()
        self.next_failure: Failure | None = None

    def begin(self, settings: Settings) -> None:
        """Start over with these settings; `reset` comes back to them."""
        self._initial = settings
        self.reset()

    def change(self, **changes: object) -> None:
        """Change some settings; the others stay."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]

    def reset(self) -> None:
        """Back to how the server started."""
        self.settings = self._initial
        self.locked = set()
        self.next_failure = None

    def now(self) -> float:
        """Seconds of the clock that all lives run on."""
        return time.monotonic()

    def take_failure(self) -> Failure | None:
        """The failure scripted for the next set, which is spent by this."""
        failure, self.next_failure = self.next_failure, None
        return failure

    def life_of(self, volume_id: str, failure: Failure | None) -> Life:
        """The life of a snapshot of this volume that starts now."""
        seconds = self.settings.volume_seconds.get(volume_id, self.settings.snapshot_seconds)
        return Life(self.now(), seconds, failure)


WORLD = World()
