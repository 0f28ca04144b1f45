"""The tag on an instance that says which rollback of it is under way."""

from __future__ import annotations

import re
from dataclasses import dataclass

from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import RUNNING, STOPPED, Instance

# The rollback's id, the set, the power state before, and when it began.
JOURNAL = "snapset:rollback"
_JOURNAL = re.compile(r"(rb-[0-9a-f]{17}) (set-[0-9a-f]{17}) (running|stopped) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What the tag on an instance says of the rollback that is under way."""

    rollback_id: str
    set_id: str
    was_running: bool
    begun: str

    @classmethod
    def of(cls, instance: Instance) -> Journal | None:
        """Return what the instance's tag says, or None if it has none that snapset wrote."""
        match = _JOURNAL.fullmatch(instance.tags.get(JOURNAL, ""))
        if not match:
            return None
        try:
            clock.age_of(match[4])
        except ValueError:
            # Somebody else wrote it: there is no such time.
            return None
        return cls(rollback_id=match[1], set_id=match[2], was_running=match[3] == RUNNING, begun=match[4])

    @property
    def title(self) -> str:
        """What it is, for messages."""
        return f"a rollback to {self.set_id} that began at {self.begun} was not ended"

    def text(self) -> str:
        """Return the value of the tag."""
        return f"{self.rollback_id} {self.set_id} {RUNNING if self.was_running else STOPPED} {self.begun}"


def find_sets_in_use(ec2: Ec2) -> set[str]:
    """Return the ids of the sets that instances are just being rolled back to.

    Raises:
        SnapsetError: the answer of AWS.
    """
    marked = ec2.describe_matching({"tag-key": [JOURNAL]})
    return {journal.set_id for journal in map(Journal.of, marked) if journal}
