"""Instances, snapshots and volumes as EC2 reports them, and the states that they can be in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of a snapshot: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Snapshot.html
PENDING = "pending"
COMPLETED = "completed"
ERROR = "error"

# Of a volume, and of its attachment: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Volume.html
CREATING = "creating"
AVAILABLE = "available"
IN_USE = "in-use"
ATTACHED = "attached"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """An instance. `devices` maps each attached volume's id to its device."""

    instance_id: str
    state: str
    root_device_name: str | None
    devices: Mapping[str, str]
    availability_zone: str
    outpost_arn: str | None

    @classmethod
    def parse(cls, item: Any) -> Instance:
        """Read an item of DescribeInstances."""
        mappings = item.get("BlockDeviceMappings", [])
        return cls(
            instance_id=item["InstanceId"],
            state=item["State"]["Name"],
            root_device_name=item.get("RootDeviceName"),
            devices={mapping["Ebs"]["VolumeId"]: mapping["DeviceName"] for mapping in mappings if "Ebs" in mapping},
            availability_zone=item["Placement"]["AvailabilityZone"],
            outpost_arn=item.get("OutpostArn") or None,
        )

    @property
    def is_gone(self) -> bool:
        """Whether it is terminated, or about to be: its volumes can no longer be snapshotted."""
        return self.state in ("terminated", "shutting-down")

    @property
    def root_volume_id(self) -> str | None:
        """The volume at the root device, if one is attached there."""
        for volume_id, device in self.devices.items():
            if device == self.root_device_name:
                return volume_id
        return None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot. `size_gib` in GiB, `start_time` in ISO 8601 UTC."""

    snapshot_id: str
    volume_id: str
    size_gib: int
    encrypted: bool
    state: str
    progress: str
    start_time: str
    owner_id: str
    state_message: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, item: Any) -> Snapshot:
        """Read an item of CreateSnapshots or of DescribeSnapshots."""
        # Some EC2 endpoints leave State and Progress out of CreateSnapshots' answer: it has only just begun.
        return cls(
            snapshot_id=item["SnapshotId"],
            volume_id=item["VolumeId"],
            size_gib=item["VolumeSize"],
            encrypted=item.get("Encrypted", False),
            state=item.get("State") or PENDING,
            progress=item.get("Progress") or "0%",
            start_time=item["StartTime"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            owner_id=item["OwnerId"],
            state_message=item.get("StateMessage") or "",
            tags=_tags_of(item),
        )


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume. `size_gib` in GiB.

    `instance_id`, `device_name` and `attachment` (its state) are empty where it is attached to none.
    """

    volume_id: str
    snapshot_id: str
    size_gib: int
    availability_zone: str
    state: str
    create_time: str
    instance_id: str = ""
    device_name: str = ""
    attachment: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, item: Any) -> Volume:
        """Read an item of DescribeVolumes."""
        attachment: Any = next(iter(item.get("Attachments") or []), {})
        return cls(
            volume_id=item["VolumeId"],
            snapshot_id=item.get("SnapshotId") or "",
            size_gib=item["Size"],
            availability_zone=item["AvailabilityZone"],
            state=item["State"],
            create_time=item["CreateTime"].isoformat(),
            instance_id=attachment.get("InstanceId") or "",
            device_name=attachment.get("Device") or "",
            attachment=attachment.get("State") or "",
            tags=_tags_of(item),
        )


def _tags_of(item: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or []}
