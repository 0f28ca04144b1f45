"""What a test can change: how long snapshots take and stay invisible, which sets fail, which snapshots are locked.

moto builds its backends itself and passes them no arguments, so this state is a module-level value.
"""

import time
from dataclasses import dataclass, field, replace

from .life import Failure, Life


@dataclass(frozen=True)
class Settings:
    """How this EC2 behaves.

    snapshot_seconds: how long snapshots stay pending; may be `life.FOREVER`, which is `forever` in JSON.
    visibility_seconds: how long DescribeSnapshots omits a new snapshot (eventual consistency).
    instance_seconds: how long an instance takes to stop, and to start.
    status_seconds: how long the status checks of an instance are `initializing` once it runs.
    volume_seconds: how long snapshots of single volumes stay pending, by volume id.
    block_token_seconds: how long the block tokens of EBS direct are valid, those that were given out before, too.
    """

    snapshot_seconds: float = 0.0
    visibility_seconds: float = 0.0
    instance_seconds: float = 0.0
    status_seconds: float = 0.0
    volume_seconds: dict[str, float] = field(default_factory=dict)
    # assumption: each list says when its tokens expire; the reference does not say how long that is.
    block_token_seconds: float = 24 * 3600.0


class World:
    """What tests have changed in one server process."""

    def __init__(self) -> None:
        self._initial = Settings()
        self.settings = self._initial
        self.locked: set[str] = set()
        self.next_failure: Failure | None = None

    def begin(self, settings: Settings) -> None:
        """Start over with these settings. `reset` returns to them."""
        self._initial = settings
        self.reset()

    def change(self, **changes: object) -> None:
        """Change some settings; the others stay."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]

    def reset(self) -> None:
        """Restore the state at the server's start."""
        self.settings = self._initial
        self.locked = set()
        self.next_failure = None

    def now(self) -> float:
        """The time in seconds, on the clock of all `Life` values."""
        return time.monotonic()

    def take_failure(self) -> Failure | None:
        """Return the failure scripted for the next set, and clear it."""
        failure, self.next_failure = self.next_failure, None
        return failure

    def life_of(self, volume_id: str, failure: Failure | None) -> Life:
        """The life of a snapshot of this volume taken now."""
        seconds = self.settings.volume_seconds.get(volume_id, self.settings.snapshot_seconds)
        return Life(self.now(), seconds, failure)


WORLD = World()
