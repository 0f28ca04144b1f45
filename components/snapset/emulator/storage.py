"""Volumes: made from completed snapshots only, attached to one instance of their zone, at a free device."""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from moto.ec2.models.elastic_block_store import VolumeAttachment

from . import errors, rules
from .content import EMPTY

# These do not describe the volume. Requests that differ only in them count as the same request.
_ENVELOPE = ("ClientToken", "DryRun")

# Defaults and limits: https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
_GP3_THROUGHPUT = 125
_GP2_IOPS_PER_GIB = 3
_GP2_IOPS = (100, 16_000)
_INITIALIZATION_RATE = (100, 300)

_ATTACHABLE_STATES = ("running", "stopped", "stopping")


class StrictAttachment(VolumeAttachment):  # type: ignore[misc]
    """A volume's attachment. moto's serializer reads the attributes by their snake_case names."""

    @property
    def delete_on_termination(self) -> bool:
        """Whether the volume is deleted when its instance is terminated."""
        block = self.instance.block_device_mapping.get(self.device)
        return bool(block and block.delete_on_termination)


# The filters of DescribeVolumes whose values are ids.
_ID_OF: dict[str, Callable[[Any], str | None]] = {
    "volume-id": lambda volume: volume.id,
    "attachment.instance-id": lambda volume: volume.attachment.instance.id if volume.attachment else None,
}


def _are_ids(values: Iterable[str]) -> bool:
    return all(re.fullmatch(r"[a-z]+-[0-9a-f]+", value) for value in values)


class VolumesBackend:
    """The part of one region's backend that makes and attaches volumes."""

    volumes: dict[str, Any]
    get_instance: Any
    get_snapshot: Any
    check_zone: Any

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)  # type: ignore[call-arg]
        self._made: dict[str, tuple[dict[str, Any], Any]] = {}

    def create_volume(
        self, size: int, zone_name: str, snapshot_id: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Make a volume with its snapshot's content, and the IOPS and the throughput of its type: moto has none."""
        volume = super().create_volume(size, zone_name, snapshot_id, *args, **kwargs)  # type: ignore[misc]
        volume.blocks = self.get_snapshot(snapshot_id).blocks if snapshot_id else EMPTY
        if volume.volume_type == "gp2":
            low, high = _GP2_IOPS
            volume.iops = max(low, min(high, _GP2_IOPS_PER_GIB * volume.size))
        if volume.volume_type == "gp3":
            volume.throughput = volume.throughput or _GP3_THROUGHPUT
        return volume

    def attach_volume(
        self, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
    ) -> Any:
        """Attach a volume; its attachment shows DeleteOnTermination, which moto leaves out."""
        super().attach_volume(volume_id, instance_id, device_path, delete_on_termination)  # type: ignore[misc]
        volume = self.get_volume(volume_id)
        volume.attachment = StrictAttachment(volume, volume.attachment.instance, device_path, "attached")
        return volume.attachment

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
        exact = {name: set(values) for name, values in (filters or {}).items() if name in _ID_OF and _are_ids(values)}
        # moto compares each volume of the region with each id.
        others = {name: values for name, values in (filters or {}).items() if name not in exact}
        found: list[Any] = super().describe_volumes(unique, others)  # type: ignore[misc]
        return [one for one in found if all(_ID_OF[name](one) in values for name, values in exact.items())]

    def check_new_volume(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse a volume that EC2 would not make; return size, encryption and key, as they will be."""
        zone, size, snapshot_id = (params.get(name) for name in ("AvailabilityZone", "Size", "SnapshotId"))
        outpost_arn, rate = params.get("OutpostArn"), params.get("VolumeInitializationRate")
        if not zone:
            raise errors.missing("availabilityZone")
        self.check_zone(zone)
        if outpost_arn:
            rules.check_outpost_arn(outpost_arn)
        if rate is not None and not (snapshot_id and _INITIALIZATION_RATE[0] <= rate <= _INITIALIZATION_RATE[1]):
            # assumption: the reference gives the limits, and that it is for snapshots only, but no code.
            raise errors.invalid_value(f"Value ({rate}) for parameter volumeInitializationRate is invalid.")
        if snapshot_id is None:
            if size is None:
                raise errors.missing("size/snapshot")
            return {"Size": size}
        snapshot = self.get_snapshot(snapshot_id)
        snapshot.check_usable()
        if snapshot.outpost_arn and snapshot.outpost_arn != outpost_arn:
            # assumption: a snapshot on an Outpost is usable there only; no code is documented.
            raise errors.invalid_value(f"The snapshot '{snapshot_id}' is stored on {snapshot.outpost_arn}.")
        if size is not None and size < snapshot.volume_size:
            raise errors.invalid_value(
                f"Volume of size {size}GB is smaller than snapshot '{snapshot_id}', "
                f"expect size >= {snapshot.volume_size}GB"
            )
        found: dict[str, Any] = {"Size": size or snapshot.volume_size}
        if snapshot.encrypted:
            found |= {"Encrypted": True, "KmsKeyId": params.get("KmsKeyId") or snapshot.kms_key_id}
        return found

    def check_detachment(self, volume_id: str) -> None:
        """Refuse to detach the root volume of an instance that is not stopped."""
        attachment = self.find_attachment(volume_id)
        instance = attachment.instance
        if attachment.device == instance.root_device_name and instance.state != "stopped":
            raise errors.EC2Error(
                "OperationNotPermitted",
                f"Unable to detach root volume '{volume_id}' from instance '{instance.id}'",
            )

    def check_delete_on_termination(self, instance_id: str, devices: list[str]) -> None:
        """Refuse to change a device that the instance does not have."""
        instance = self.get_instance(instance_id)
        for device in devices:
            if device not in instance.block_device_mapping:
                # assumption: the code that EC2 answers with elsewhere for an unknown device.
                raise errors.EC2Error("InvalidInstanceAttributeValue", f"No device is currently mapped at {device}")

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
        if getattr(volume, "outpost_arn", None) != getattr(instance, "outpost_arn", None):
            # assumption: a volume is attached to instances of its own Outpost only; no code is documented.
            raise errors.EC2Error(
                "InvalidVolume.ZoneMismatch",
                f"The volume '{volume_id}' is not on the same Outpost as instance '{instance_id}'",
            )
        if device in instance.block_device_mapping:
            raise errors.invalid_value(
                f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            )


def _without_envelope(request: Mapping[str, Any]) -> dict[str, Any]:
    return deepcopy({name: value for name, value in request.items() if name not in _ENVELOPE})
