"""snapset: crash-consistent snapshot sets of EC2 instances, as a create-only Pulumi resource.

The public names are loaded when they are first used, so that `snapset --help` need not import Pulumi.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snapset.resources.fleet_snapshots import FleetSnapshots, FleetSnapshotsArgs
    from snapset.resources.get_snapshots import GetSnapshotsResult, get_snapshots, get_snapshots_output
    from snapset.resources.guard import backup_before_change
    from snapset.resources.instance_snapshots import InstanceSnapshots, InstanceSnapshotsArgs
    from snapset.resources.snapshot_set import SnapshotSet
    from snapset.sets.model import SnapshotRecord

__all__ = [
    "FleetSnapshots",
    "FleetSnapshotsArgs",
    "GetSnapshotsResult",
    "InstanceSnapshots",
    "InstanceSnapshotsArgs",
    "SnapshotRecord",
    "SnapshotSet",
    "backup_before_change",
    "get_snapshots",
    "get_snapshots_output",
]

_HOMES = {
    "FleetSnapshots": "snapset.resources.fleet_snapshots",
    "FleetSnapshotsArgs": "snapset.resources.fleet_snapshots",
    "GetSnapshotsResult": "snapset.resources.get_snapshots",
    "InstanceSnapshots": "snapset.resources.instance_snapshots",
    "InstanceSnapshotsArgs": "snapset.resources.instance_snapshots",
    "SnapshotRecord": "snapset.sets.model",
    "SnapshotSet": "snapset.resources.snapshot_set",
    "backup_before_change": "snapset.resources.guard",
    "get_snapshots": "snapset.resources.get_snapshots",
    "get_snapshots_output": "snapset.resources.get_snapshots",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
