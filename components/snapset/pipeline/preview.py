"""What a backup would take, and what would prevent it: from EC2 alone, without an engine and a state."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws.ec2 import connect
from snapset.pipeline.request import BackupRequest
from snapset.retry import Say
from snapset.sets.preflight import check_ready, error_of
from snapset.sets.served import find_served


class PlannedVolume(TypedDict):
    """One volume that would be snapshotted. `size_gib` in GiB, or null where it may not be described."""

    volume_id: str
    device_name: str
    size_gib: int | None


class PlannedSet(TypedDict):
    """What would be done for one instance: a new set of these volumes, or `set_id`, which the change has already."""

    instance_id: str
    region: str
    set_id: str | None
    volumes: list[PlannedVolume]


def preview(request: BackupRequest, *, say: Say) -> tuple[list[PlannedSet], dict[str, errors.SnapsetError]]:
    """Return what a backup would take, and the failures by instance. Creates nothing, and leaves no stack behind.

    Raises:
        SnapsetError: the answer of AWS.
    """
    ec2 = connect(request.settings, say=say)
    served, inspection = find_served(ec2, request.wanted, within=request.served_within)
    check_ready(ec2, inspection)
    failures = {key: error_of(key, problems) for key, problems in inspection.problems.items() if key not in served}
    sizes = {volume.volume_id: volume.size_gib for some in inspection.attached.values() for volume in some}
    roots = {inputs.instance_id: inputs.was.root_device for inputs in inspection.ready if inputs.was}
    planned = [
        PlannedSet(
            instance_id=key,
            region=request.region,
            set_id=served[key].set_id if key in served else None,
            volumes=_volumes_in(inspection.volumes.get(key, {}), sizes, root=roots.get(key)),
        )
        for key in request.instance_ids
        if key not in failures
    ]
    return planned, failures


def _volumes_in(devices: Mapping[str, str], sizes: Mapping[str, int], *, root: str | None) -> list[PlannedVolume]:
    """Return the volumes, the root volume first, then by device."""
    in_order = sorted(devices.items(), key=lambda item: (item[1] != root, item[1]))
    return [
        PlannedVolume(volume_id=volume_id, device_name=device, size_gib=sizes.get(volume_id))
        for volume_id, device in in_order
    ]
