"""Instances, snapshots and volumes as EC2 reports them, and the states that they can be in."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# Of a snapshot: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Snapshot.html
PENDING = "pending"
COMPLETED = "completed"
ERROR = "error"
# In the Recycle Bin; on its way back from there it is `recovering`.
RECOVERABLE = "recoverable"

# Where a snapshot is kept: https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-archive.html
ARCHIVE = "archive"

# Of an instance: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html
RUNNING = "running"
STOPPING = "stopping"
STOPPED = "stopped"

# Of a volume, and of its attachment: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Volume.html
CREATING = "creating"
AVAILABLE = "available"
IN_USE = "in-use"
ATTACHED = "attached"


@dataclass(frozen=True, kw_only=True)
class InstanceFacts:
    """What an instance is, whatever state it is in: another one can be launched so. Empty where EC2 does not say it.

    Attributes:
        root_device: the name of the device of its root volume, as its image chose it.
        boot_mode: `legacy-bios` or `uefi`, as it was booted; if EC2 does not say it, as its image has it.
        usage_operation: what AWS bills: `RunInstances` is Linux, see
            https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-info-fields.html.
        product_codes: those of AWS Marketplace.
    """

    root_device: str = ""
    image_id: str = ""
    instance_type: str = ""
    architecture: str = ""
    boot_mode: str = ""
    usage_operation: str = ""
    tpm_support: str = ""
    subnet_id: str = ""
    has_ena: bool = False
    product_codes: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, item: Any) -> InstanceFacts:
        """Read an item of DescribeInstances."""
        return cls(
            root_device=item.get("RootDeviceName") or "",
            image_id=item.get("ImageId") or "",
            instance_type=item.get("InstanceType") or "",
            architecture=item.get("Architecture") or "",
            boot_mode=item.get("CurrentInstanceBootMode") or item.get("BootMode") or "",
            usage_operation=item.get("UsageOperation") or "",
            tpm_support=item.get("TpmSupport") or "",
            subnet_id=item.get("SubnetId") or "",
            has_ena=bool(item.get("EnaSupport")),
            product_codes=tuple(code["ProductCodeId"] for code in item.get("ProductCodes") or []),
            security_group_ids=tuple(group["GroupId"] for group in item.get("SecurityGroups") or []),
        )


@dataclass(frozen=True, kw_only=True)
class Instance:
    """An instance.

    Attributes:
        devices: the device of each attached volume, by volume id.
        deleted_with_it: the volumes that are deleted when it is terminated.
        is_spot: whether it is a Spot Instance, which can be stopped only if its request says so.
        has_instance_store_root: whether its root is no EBS volume, so that it can't be stopped.
        launch_time: when it was started last, ISO 8601 UTC; AWS says it in whole seconds.
        state_reason: AWS's words for why it was stopped or has failed to start, if it has any.
    """

    instance_id: str
    state: str
    root_device_name: str | None
    devices: Mapping[str, str]
    availability_zone: str
    outpost_arn: str | None
    deleted_with_it: frozenset[str] = frozenset()
    is_spot: bool = False
    has_instance_store_root: bool = False
    launch_time: str = ""
    state_reason: str = ""
    public_ip: str = ""
    facts: InstanceFacts = InstanceFacts()
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, item: Any) -> Instance:
        """Read an item of DescribeInstances."""
        mappings = [mapping for mapping in item.get("BlockDeviceMappings", []) if "Ebs" in mapping]
        return cls(
            instance_id=item["InstanceId"],
            state=item["State"]["Name"],
            root_device_name=item.get("RootDeviceName"),
            devices={mapping["Ebs"]["VolumeId"]: mapping["DeviceName"] for mapping in mappings},
            availability_zone=item["Placement"]["AvailabilityZone"],
            outpost_arn=item.get("OutpostArn") or None,
            deleted_with_it=frozenset(
                mapping["Ebs"]["VolumeId"] for mapping in mappings if mapping["Ebs"].get("DeleteOnTermination")
            ),
            is_spot=item.get("InstanceLifecycle") == "spot",
            has_instance_store_root=item.get("RootDeviceType") == "instance-store",
            launch_time=_time_of(item["LaunchTime"]),
            state_reason=(item.get("StateReason") or {}).get("Message") or "",
            public_ip=item.get("PublicIpAddress") or "",
            facts=InstanceFacts.parse(item),
            tags=_tags_of(item),
        )

    @property
    def is_gone(self) -> bool:
        """Whether it is terminated, or about to be: its volumes can no longer be snapshotted."""
        return self.state in ("terminated", "shutting-down")

    @property
    def is_hibernated(self) -> bool:
        """Whether it would go on with the memory that its root volume has."""
        return self.state == STOPPED and "Hibernate" in self.state_reason

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
    kms_key_id: str = ""
    outpost_arn: str = ""
    is_archived: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def percent(self) -> int:
        """How far it is."""
        digits = self.progress.rstrip("%")
        return 100 if self.state == COMPLETED else int(digits) if digits.isdecimal() else 0

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
            start_time=_time_of(item["StartTime"]),
            owner_id=item["OwnerId"],
            state_message=item.get("StateMessage") or "",
            kms_key_id=item.get("KmsKeyId") or "",
            outpost_arn=item.get("OutpostArn") or "",
            is_archived=item.get("StorageTier") == ARCHIVE,
            tags=_tags_of(item),
        )


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume. `size_gib` in GiB, `throughput` in MiB/s; `iops` and `throughput` are 0 where its type has none.

    `instance_id` (or the ARN of a resource that AWS manages), `device_name`, `attachment` (its state), `attach_time`
    and `deleted_with_instance` are those of its first attachment, and empty where it has none; see `at`.
    `attachments` has all, by instance.
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
    attach_time: str = ""
    deleted_with_instance: bool = False
    attachments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volume_type: str = ""
    iops: int = 0
    throughput: int = 0
    multi_attach: bool = False
    outpost_arn: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, item: Any) -> Volume:
        """Read an item of DescribeVolumes."""
        # An attachment of a managed resource names no instance.
        attachments = {
            one.get("InstanceId") or one.get("AssociatedResource") or "managed": one
            for one in item.get("Attachments") or []
        }
        volume = cls(
            volume_id=item["VolumeId"],
            snapshot_id=item.get("SnapshotId") or "",
            size_gib=item["Size"],
            availability_zone=item["AvailabilityZone"],
            state=item["State"],
            create_time=_time_of(item["CreateTime"]),
            attachments=attachments,
            volume_type=item.get("VolumeType") or "",
            iops=item.get("Iops") or 0,
            throughput=item.get("Throughput") or 0,
            multi_attach=bool(item.get("MultiAttachEnabled")),
            outpost_arn=item.get("OutpostArn") or "",
            tags=_tags_of(item),
        )
        return volume.at(next(iter(attachments), ""))

    def at(self, instance_id: str) -> Volume:
        """Return the volume as this instance has it attached; if it has not, as it is."""
        attachment = self.attachments.get(instance_id)
        if attachment is None:
            return self
        return replace(
            self,
            instance_id=instance_id,
            device_name=attachment.get("Device") or "",
            attachment=attachment.get("State") or "",
            attach_time=_time_of(attachment["AttachTime"]) if attachment.get("AttachTime") else "",
            deleted_with_instance=bool(attachment.get("DeleteOnTermination")),
        )


def _time_of(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _tags_of(item: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or []}
