"""Volumes: made from completed snapshots only, attached to one instance of their zone, at a free device."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from . import errors

# These do not describe the volume. Requests that differ only in them count as the same request.
_ENVELOPE = ("ClientToken", "DryRun")

_ATTACHABLE_STATES = ("running", "stopped", "stopping")


class VolumesBackend:
    """The part of one region's backend that makes and attaches volumes."""

    volumes: dict[str, Any]
    get_instance: Any
    get_snapshot: Any
    check_zone: Any

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)  # type: ignore[call-arg]
        self._made: dict[str, tuple[dict[str, Any], Any]] = {}

    def find_made(self, request: Mapping[str, Any]) -> Any | None:
        """The volume that an earlier request with this ClientToken made, even if it was deleted since; else None.

        https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
        """
        token = request.get("ClientToken")
        if not token or token not in self._made:
            return None
        asked, volume = self._made[token]
        if asked != _without_envelope(request):
            raise errors.parameter_mismatch(token)
        # assumption: the reference does not say what happens if the token's volume was deleted. The EBS CSI driver
        # reports that EC2 answers with its id again, and that DescribeVolumes does not find it.
        return volume

    def remember_made(self, request: Mapping[str, Any], volume: Any) -> None:
        """Remember the volume that a request made, if the request has a ClientToken."""
        if token := request.get("ClientToken"):
            self._made[token] = (_without_envelope(request), volume)

    def get_volume(self, volume_id: str) -> Any:
        """The volume with this id."""
        volume = self.volumes.get(volume_id)
        if volume is None:
            raise errors.volume_not_found(volume_id)
        return volume

    def describe_volumes(self, volume_ids: list[str] | None = None, filters: Any = None) -> list[Any]:
        """The volumes with these ids; the error names the unknown id, as EC2's does. moto's prints a Python set."""
        for volume_id in volume_ids or []:
            self.get_volume(volume_id)
        unique = list(dict.fromkeys(volume_ids or []))
        return super().describe_volumes(unique, filters)  # type: ignore[misc,no-any-return]

    def check_new_volume(self, *, zone: str | None, size: int | None, snapshot_id: str | None) -> int:
        """Refuse a volume that EC2 would not make; return the size in GiB that it will have."""
        if not zone:
            raise errors.missing("availabilityZone")
        self.check_zone(zone)
        if snapshot_id is None:
            if size is None:
                raise errors.missing("size/snapshot")
            return size
        snapshot = self.get_snapshot(snapshot_id)
        snapshot.check_completed()
        if size is not None and size < snapshot.volume_size:
            raise errors.invalid_value(
                f"Volume of size {size}GB is smaller than snapshot '{snapshot_id}', "
                f"expect size >= {snapshot.volume_size}GB"
            )
        return size or snapshot.volume_size

    def find_attachment(self, volume_id: str) -> Any:
        """The attachment of an attached volume."""
        volume = self.get_volume(volume_id)
        if volume.attachment is None:
            raise errors.EC2Error("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
        return volume.attachment

    def check_attachment(self, *, volume_id: str, instance_id: str, device: str) -> None:
        """Refuse an attachment that EC2 would refuse."""
        volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
        if instance.state not in _ATTACHABLE_STATES:
            raise errors.EC2Error("IncorrectState", f"Instance '{instance_id}' is not 'running'.")
        if volume.attachment:
            raise errors.EC2Error("VolumeInUse", f"{volume_id} is already attached to an instance")
        if volume.availability_zone != instance.availability_zone:
            raise errors.EC2Error(
                "InvalidVolume.ZoneMismatch",
                f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'",
            )
        if device in instance.block_device_mapping:
            raise errors.invalid_value(
                f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            )


def _without_envelope(request: Mapping[str, Any]) -> dict[str, Any]:
    return deepcopy({name: value for name, value in request.items() if name not in _ENVELOPE})
