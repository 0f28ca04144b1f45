"""The calls of EC2 that a restore makes: volumes made, attached, detached and deleted, with the permission of each.

API reference: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from snapset.aws.ec2 import Ec2, tag_list
from snapset.aws.errors import calling_aws, dry_run
from snapset.aws.session import AwsSettings
from snapset.restore.inputs import RestoreInputs

# DescribeVolumes takes at most 200 values a filter and answers at most 500 volumes a page.
_FILTER_VALUES = 200
_PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One volume as EC2 reports it. `size_gib` in GiB.

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


class VolumeEc2(Ec2):
    """EC2 with the calls for volumes beside those for sets."""

    def describe_volumes(self, volume_ids: Sequence[str]) -> list[Volume]:
        """Return those of the volumes that EC2 can see now; the others are left out, without an error."""
        found: list[Volume] = []
        for start in range(0, len(volume_ids), _FILTER_VALUES):
            found += self.find_volumes({"volume-id": volume_ids[start : start + _FILTER_VALUES]})
        return found

    def find_volumes(self, filters: Mapping[str, Iterable[str]]) -> list[Volume]:
        """Return the volumes that match all filters (at most 200 values each), page by page.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumes.html
        """
        pages = self._client.get_paginator("describe_volumes").paginate(
            Filters=[{"Name": name, "Values": list(values)} for name, values in filters.items()],
            PaginationConfig={"PageSize": _PAGE},
        )
        with calling_aws(f"describing volumes in {self.settings.region}", needs="ec2:DescribeVolumes"):
            return [_volume_of(item) for page in pages for item in page["Volumes"]]

    def has_zone(self, zone: str) -> bool:
        """Tell whether the Region has a zone of this name."""
        with calling_aws(f"describing zone {zone}", needs="ec2:DescribeAvailabilityZones"):
            answer = self._client.describe_availability_zones(
                Filters=[{"Name": "zone-name", "Values": [zone]}], AllAvailabilityZones=True
            )
        return bool(answer["AvailabilityZones"])

    def create_volume(
        self, inputs: RestoreInputs, *, snapshot_id: str, zone: str, tags: Mapping[str, str], client_token: str
    ) -> str:
        """Make the volume of one snapshot, and return its id. With the same token, AWS makes no second one.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
        """
        request = _create_request(inputs, snapshot_id=snapshot_id, zone=zone, tags=tags)
        needs = "ec2:CreateVolume and ec2:CreateTags"
        with calling_aws(f"creating the volume of {snapshot_id}", needs=needs):
            answer = self._client_without_retries.create_volume(**request, ClientToken=client_token)
        return answer["VolumeId"]

    def check_create_volume(
        self, inputs: RestoreInputs, *, snapshot_id: str, zone: str, tags: Mapping[str, str]
    ) -> None:
        """Ask AWS, by a dry run, whether the call would be allowed. Creates nothing."""
        request = _create_request(inputs, snapshot_id=snapshot_id, zone=zone, tags=tags)
        needs = "ec2:CreateVolume and ec2:CreateTags"
        with dry_run(f"checking the volume of {snapshot_id}", needs=needs):
            self._client.create_volume(**request, DryRun=True)

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> None:
        """Begin to attach an available volume. Once it is attached, AWS refuses another time."""
        with calling_aws(f"attaching {volume_id} to {instance_id} at {device}", needs="ec2:AttachVolume"):
            self._client.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)

    def detach_volume(self, volume_id: str, *, instance_id: str) -> None:
        """Begin to detach a volume. Once it is detached, AWS refuses another time."""
        with calling_aws(f"detaching {volume_id} from {instance_id}", needs="ec2:DetachVolume"):
            self._client.detach_volume(VolumeId=volume_id, InstanceId=instance_id)

    def delete_volume(self, volume_id: str) -> None:
        """Delete one volume. Safe to repeat.

        Raises:
            NotFoundError: it is gone already.
        """
        with calling_aws(f"deleting {volume_id}", needs="ec2:DeleteVolume"):
            self._client.delete_volume(VolumeId=volume_id)

    def tag_volumes(self, volume_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Add the tags to the volumes, overwriting those of the same key. Safe to repeat."""
        with calling_aws(f"tagging {', '.join(volume_ids)}", needs="ec2:CreateTags"):
            self._client.create_tags(Resources=list(volume_ids), Tags=tag_list(tags))

    def untag_volumes(self, volume_ids: Sequence[str], keys: Iterable[str]) -> None:
        """Remove the tags of these keys from the volumes. Safe to repeat."""
        with calling_aws(f"removing tags of {', '.join(volume_ids)}", needs="ec2:DeleteTags"):
            self._client.delete_tags(Resources=list(volume_ids), Tags=[{"Key": key} for key in keys])


@lru_cache(maxsize=32)
def connect_for_volumes(settings: AwsSettings) -> VolumeEc2:
    """Return the EC2 that every restore in this process with the same settings shares."""
    return VolumeEc2(settings)


def _create_request(inputs: RestoreInputs, *, snapshot_id: str, zone: str, tags: Mapping[str, str]) -> dict[str, Any]:
    optional = {
        "VolumeType": inputs.volume_type,
        "Iops": inputs.iops,
        "Throughput": inputs.throughput,
        # A key is for encryption only.
        "Encrypted": inputs.encrypted or bool(inputs.kms_key_id),
        "KmsKeyId": inputs.kms_key_id,
    }
    return {
        "SnapshotId": snapshot_id,
        "AvailabilityZone": zone,
        "TagSpecifications": [{"ResourceType": "volume", "Tags": tag_list(tags)}],
        **{name: value for name, value in optional.items() if value},
    }


def _volume_of(item: Any) -> Volume:
    attachment: Any = next(iter(item.get("Attachments") or []), {})
    return Volume(
        volume_id=item["VolumeId"],
        snapshot_id=item.get("SnapshotId") or "",
        size_gib=item["Size"],
        availability_zone=item["AvailabilityZone"],
        state=item["State"],
        create_time=item["CreateTime"].isoformat(),
        instance_id=attachment.get("InstanceId") or "",
        device_name=attachment.get("Device") or "",
        attachment=attachment.get("State") or "",
        tags={tag["Key"]: tag["Value"] for tag in item.get("Tags") or []},
    )
