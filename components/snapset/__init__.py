"""snapset: crash-consistent snapshot sets of EC2 instances, as a create-only Pulumi resource.

The public names are loaded when they are first used, so that `snapset --help` need not import Pulumi.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snapset.component import InstanceSnapshots, InstanceSnapshotsArgs, SnapshotRecord
    from snapset.guard import backup_before_change
    from snapset.resource import SnapshotSet
    from snapset.restore import RestoredVolumes, RestoredVolumesArgs, VolumeRecord

__all__ = [
    "InstanceSnapshots",
    "InstanceSnapshotsArgs",
    "RestoredVolumes",
    "RestoredVolumesArgs",
    "SnapshotRecord",
    "SnapshotSet",
    "VolumeRecord",
    "backup_before_change",
]

_HOMES = {
    "InstanceSnapshots": "snapset.component",
    "InstanceSnapshotsArgs": "snapset.component",
    "RestoredVolumes": "snapset.restore",
    "RestoredVolumesArgs": "snapset.restore",
    "SnapshotRecord": "snapset.component",
    "SnapshotSet": "snapset.resource",
    "VolumeRecord": "snapset.restore",
    "backup_before_change": "snapset.guard",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
