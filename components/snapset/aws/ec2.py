"""The only module that calls EC2: every call that snapset makes, the permission it needs, and its errors.

boto3 is imported when the first client is made, so that importing snapset stays cheap.
API reference: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from snapset import errors
from snapset.aws.errors import calling_aws, dry_run
from snapset.aws.session import AwsSettings, make_client

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from snapset.sets.inputs import SetInputs

# DescribeSnapshots takes at most 200 values a filter and answers at most 1000 snapshots a page.
_FILTER_VALUES = 200
_PAGE = 1000
# A set is taken right after its inputs were checked; what was described for that holds for both.
_MOMENT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What snapset needs to know of an instance. `devices` maps each attached volume's id to its device."""

    instance_id: str
    state: str
    root_device_name: str | None
    devices: Mapping[str, str]
    availability_zone: str
    outpost_arn: str | None

    @property
    def root_volume_id(self) -> str | None:
        """The volume at the root device, if one is attached there."""
        for volume_id, device in self.devices.items():
            if device == self.root_device_name:
                return volume_id
        return None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One snapshot as EC2 reports it. `size_gib` in GiB, `start_time` in ISO 8601 UTC."""

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


class Ec2:
    """EC2 in one Region with one set of credentials. Safe to share between threads."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self._described: dict[str, tuple[float, Instance]] = {}

    @cached_property
    def _client(self) -> EC2Client:
        return make_client(self.settings, retries=True)

    @cached_property
    def _client_without_retries(self) -> EC2Client:
        return make_client(self.settings, retries=False)

    def prepare(self) -> None:
        """Make the client now, which takes a while, and not at the first call."""
        self._client  # noqa: B018

    def describe_instance(self, instance_id: str) -> Instance:
        """Return the instance.

        Raises:
            NotFoundError: there is none, or it is gone for good.
        """
        with calling_aws(f"describing instance {instance_id}", needs="ec2:DescribeInstances"):
            answer = self._client.describe_instances(InstanceIds=[instance_id])
        found = [item for reservation in answer["Reservations"] for item in reservation["Instances"]]
        if not found:
            raise errors.NotFoundError(
                f"describing instance {instance_id}: {errors.INVALID_INSTANCE_NOT_FOUND}: "
                f"there is no such instance in {self.settings.region}. Check the id, the Region and the account.",
                code=errors.INVALID_INSTANCE_NOT_FOUND,
            )
        item = found[0]
        mappings = item.get("BlockDeviceMappings", [])
        instance = Instance(
            instance_id=instance_id,
            state=item["State"]["Name"],
            root_device_name=item.get("RootDeviceName"),
            devices={each["Ebs"]["VolumeId"]: each["DeviceName"] for each in mappings if "Ebs" in each},
            availability_zone=item["Placement"]["AvailabilityZone"],
            outpost_arn=item.get("OutpostArn") or None,
        )
        self._described[instance_id] = (time.monotonic(), instance)
        return instance

    def find_instances(self, filters: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the ids of the instances that have volumes to snapshot and match all filters, sorted.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
        """
        wanted = {"instance-state-name": ("running", "stopping", "stopped"), **filters}
        pages = self._client.get_paginator("describe_instances").paginate(
            Filters=[{"Name": name, "Values": list(values)} for name, values in wanted.items()]
        )
        with calling_aws(f"looking for instances in {self.settings.region}", needs="ec2:DescribeInstances"):
            found = [
                each for page in pages for reservation in page["Reservations"] for each in reservation["Instances"]
            ]
        return sorted(each["InstanceId"] for each in found)

    def recall_instance(self, instance_id: str) -> Instance | None:
        """Return the instance as it was described a moment ago, or None. Calls nothing."""
        when, instance = self._described.get(instance_id, (0.0, None))
        return instance if time.monotonic() - when < _MOMENT_SECONDS else None

    def describe_zone_type(self, zone: str) -> str:
        """Return `availability-zone`, `local-zone` or `wavelength-zone`."""
        with calling_aws(f"describing zone {zone}", needs="ec2:DescribeAvailabilityZones"):
            answer = self._client.describe_availability_zones(ZoneNames=[zone], AllAvailabilityZones=True)
        return answer["AvailabilityZones"][0].get("ZoneType", "availability-zone")

    def create_snapshots(self, inputs: SetInputs, tags: Mapping[str, str]) -> list[Snapshot]:
        """Take one snapshot of every volume that the inputs leave in, in one call, with the tags on each.

        The call has no ClientToken, so it is never retried here.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
        """
        needs = "ec2:CreateSnapshots and ec2:CreateTags"
        with calling_aws(f"creating snapshots of {inputs.instance_id}", needs=needs):
            answer = self._client_without_retries.create_snapshots(**_create_request(inputs, tags))
        return [_snapshot_of(item) for item in answer["Snapshots"]]

    def check_create_snapshots(self, inputs: SetInputs, tags: Mapping[str, str]) -> None:
        """Ask AWS, by a dry run, whether the call would be allowed. Creates nothing."""
        needs = "ec2:CreateSnapshots and ec2:CreateTags"
        with dry_run(f"checking snapshots of {inputs.instance_id}", needs=needs):
            self._client.create_snapshots(**_create_request(inputs, tags), DryRun=True)

    def describe_snapshots(self, snapshot_ids: Sequence[str]) -> list[Snapshot]:
        """Return those of the snapshots that EC2 can see now; the others are left out, without an error."""
        found: list[Snapshot] = []
        for start in range(0, len(snapshot_ids), _FILTER_VALUES):
            found += self.find_snapshots({"snapshot-id": snapshot_ids[start : start + _FILTER_VALUES]})
        return found

    def find_snapshots(self, filters: Mapping[str, Iterable[str]]) -> list[Snapshot]:
        """Return this account's snapshots that match all filters (at most 200 values each), page by page.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
        """
        pages = self._client.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"],
            Filters=[{"Name": name, "Values": list(values)} for name, values in filters.items()],
            PaginationConfig={"PageSize": _PAGE},
        )
        with calling_aws(f"describing snapshots in {self.settings.region}", needs="ec2:DescribeSnapshots"):
            return [_snapshot_of(item) for page in pages for item in page["Snapshots"]]

    def tag_snapshots(self, snapshot_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Add the tags to the snapshots, overwriting those of the same key. Safe to repeat."""
        with calling_aws(f"tagging {', '.join(snapshot_ids)}", needs="ec2:CreateTags"):
            self._client.create_tags(Resources=list(snapshot_ids), Tags=tag_list(tags))

    def check_tag_snapshots(self, snapshot_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Ask AWS, by a dry run, whether the tags could be added. Tags nothing."""
        with dry_run(f"checking the tags of {', '.join(snapshot_ids)}", needs="ec2:CreateTags"):
            self._client.create_tags(Resources=list(snapshot_ids), Tags=tag_list(tags), DryRun=True)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete one snapshot. Safe to repeat.

        Raises:
            NotFoundError: it is gone already.
            InputError: with code `InvalidSnapshot.InUse`, an AMI uses it.
        """
        with calling_aws(f"deleting {snapshot_id}", needs="ec2:DeleteSnapshot"):
            self._client.delete_snapshot(SnapshotId=snapshot_id)


@lru_cache(maxsize=32)
def connect(settings: AwsSettings) -> Ec2:
    """Return the EC2 that everything in this process with the same settings shares."""
    return Ec2(settings)


def _create_request(inputs: SetInputs, tags: Mapping[str, str]) -> dict[str, Any]:
    instance: dict[str, Any] = {"InstanceId": inputs.instance_id}
    if inputs.exclude_boot_volume:
        instance["ExcludeBootVolume"] = True
    if inputs.exclude_data_volume_ids:
        instance["ExcludeDataVolumeIds"] = list(inputs.exclude_data_volume_ids)
    optional = {
        "Description": inputs.description,
        "CopyTagsFromSource": inputs.copy_tags_from_source,
        "OutpostArn": inputs.outpost_arn,
        "Location": inputs.location,
    }
    return {
        "InstanceSpecification": instance,
        "TagSpecifications": [{"ResourceType": "snapshot", "Tags": tag_list(tags)}],
        **{name: value for name, value in optional.items() if value},
    }


def tag_list(tags: Mapping[str, str]) -> list[Any]:
    """Return the tags as EC2's requests spell them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _snapshot_of(item: Any) -> Snapshot:
    # Some EC2 endpoints leave State and Progress out of CreateSnapshots' answer: it has only just begun.
    return Snapshot(
        snapshot_id=item["SnapshotId"],
        volume_id=item["VolumeId"],
        size_gib=item["VolumeSize"],
        encrypted=item.get("Encrypted", False),
        state=item.get("State") or "pending",
        progress=item.get("Progress") or "0%",
        start_time=item["StartTime"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        owner_id=item["OwnerId"],
        state_message=item.get("StateMessage") or "",
        tags={tag["Key"]: tag["Value"] for tag in item.get("Tags") or []},
    )
