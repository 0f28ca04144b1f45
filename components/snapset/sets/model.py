"""The sets that snapshots are parts of, told by their tags alone. Pure: no state, no engine, no AWS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snapset.aws.ec2 import Snapshot
from snapset.sets import tags
from snapset.sets.create import COMPLETED, ERROR
from snapset.sets.inputs import INSTANCE_ID

PENDING = "pending"
# Some snapshots of the set were deleted: what is left can't restore the instance as it was.
INCOMPLETE = "incomplete"

# A set does not say which of its volumes was the root's, but AWS keeps these names for it.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html#available-ec2-device-names
BOOT_DEVICES = ("/dev/sda1", "/dev/xvda")

# CopySnapshot gives a copy this volume. A tool that copies the tags too does not make the copy a part of the set.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html
_VOLUME_OF_COPIES = "vol-ffffffff"


@dataclass(frozen=True, kw_only=True)
class TaggedSet:
    """A set as its tags give it; `snapshots` with the root volume's first, then by device."""

    set_id: str
    instance_id: str
    snapshots: tuple[Snapshot, ...]

    @property
    def snapshot_ids(self) -> list[str]:
        """The ids of the snapshots, in their order."""
        return [each.snapshot_id for each in self.snapshots]

    @property
    def start_time(self) -> str:
        """When it was taken, ISO 8601 UTC."""
        return min(each.start_time for each in self.snapshots)

    @property
    def is_claimed(self) -> bool:
        """Whether a stack's state holds it, or held it once."""
        return any(tags.claim_of(each.tags) for each in self.snapshots)

    @property
    def count(self) -> int | None:
        """How many snapshots it was taken with; not known before it is claimed."""
        counts = [text for each in self.snapshots if (text := each.tags.get(tags.COUNT, "")).isdecimal()]
        return max(map(int, counts), default=None)

    @property
    def state(self) -> str:
        """`error`, `pending`, `incomplete` or `completed`: the first that holds."""
        states = {each.state for each in self.snapshots}
        if ERROR in states:
            return ERROR
        if states != {COMPLETED}:
            return PENDING
        return INCOMPLETE if len(self.snapshots) < (self.count or 0) else COMPLETED

    @property
    def change_id(self) -> str | None:
        """The change that it was taken for."""
        return self.snapshots[0].tags.get(tags.CHANGE)

    def record(self, *, region: str) -> dict[str, Any]:
        """Return the set as `--json` documents have it."""
        change = {"change_id": self.change_id} if self.change_id else {}
        return {
            "set_id": self.set_id,
            "instance_id": self.instance_id,
            "region": region,
            "state": self.state,
            **change,
            "snapshot_ids": self.snapshot_ids,
            "snapshots": [
                {
                    "snapshot_id": each.snapshot_id,
                    "volume_id": each.volume_id,
                    "device_name": each.tags.get(tags.DEVICE, ""),
                    "size_gib": each.size_gib,
                    "encrypted": each.encrypted,
                    "state": each.state,
                    "progress": each.progress,
                    "start_time": each.start_time,
                }
                for each in self.snapshots
            ],
        }


def group(snapshots: Iterable[Snapshot]) -> list[TaggedSet]:
    """Return the sets that the snapshots make up, the newest first; what snapset did not take is left out."""
    by_set: defaultdict[str, list[Snapshot]] = defaultdict(list)
    for each in snapshots:
        if _is_taken_by_snapset(each):
            by_set[each.tags[tags.SET]].append(each)
    found = [
        TaggedSet(set_id=set_id, instance_id=parts[0].tags[tags.INSTANCE], snapshots=tuple(sorted(parts, key=_order)))
        for set_id, parts in by_set.items()
        # What is said to be of two instances was tagged by somebody else.
        if len({each.tags[tags.INSTANCE] for each in parts}) == 1
    ]
    return sorted(found, key=lambda each: (each.start_time, each.set_id), reverse=True)


def _is_taken_by_snapset(snapshot: Snapshot) -> bool:
    return (
        tags.SET_ID.fullmatch(snapshot.tags.get(tags.SET, "")) is not None
        and INSTANCE_ID.fullmatch(snapshot.tags.get(tags.INSTANCE, "")) is not None
        and bool(snapshot.tags.get(tags.TOKEN))
        and snapshot.volume_id != _VOLUME_OF_COPIES
    )


def _order(snapshot: Snapshot) -> tuple[bool, str, str]:
    device = snapshot.tags.get(tags.DEVICE, "")
    return device not in BOOT_DEVICES, device, snapshot.snapshot_id
