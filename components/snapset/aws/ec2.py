"""Every call of EC2 that snapset makes, with the permission that it needs.

boto3 is imported when the first client is made, so that importing snapset stays cheap.
API reference: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from snapset.aws.errors import INVALID_INSTANCE_NOT_FOUND, calling_aws, dry_run
from snapset.aws.records import Instance, Snapshot, Volume
from snapset.aws.session import make_ec2_client
from snapset.aws.settings import AwsSettings
from snapset.errors import NotFoundError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

# The most values that a filter of EC2 takes.
FILTER_VALUES = 200
_SNAPSHOTS_A_PAGE = 1000
_INSTANCES_A_CALL = 1000
_VOLUMES_A_PAGE = 500
# create() follows check() within seconds, and reuses the instance that check() described.
_RECALL_SECONDS = 10.0


class Ec2:
    """EC2 in one Region with one set of credentials. Safe to share between threads."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self._described: dict[str, tuple[float, Instance]] = {}

    @cached_property
    def _client(self) -> EC2Client:
        return make_ec2_client(self.settings, retries=True)

    @cached_property
    def _client_without_retries(self) -> EC2Client:
        return make_ec2_client(self.settings, retries=False)

    def prepare(self) -> None:
        """Make the client now, which takes a third of a second, and not at the first call."""
        self._client  # noqa: B018

    # Instances and zones.

    def describe_instance(self, instance_id: str) -> Instance:
        """Return the instance.

        Raises:
            NotFoundError: there is none.
        """
        with calling_aws(f"describing instance {instance_id}", needs="ec2:DescribeInstances"):
            answer = self._client.describe_instances(InstanceIds=[instance_id])
        found = [item for reservation in answer["Reservations"] for item in reservation["Instances"]]
        if not found:
            raise NotFoundError(
                f"describing instance {instance_id}: {INVALID_INSTANCE_NOT_FOUND}: "
                f"there is no such instance in {self.settings.region}. Check the id, the Region and the account.",
                code=INVALID_INSTANCE_NOT_FOUND,
            )
        instance = Instance.parse(found[0])
        self._described[instance_id] = (time.monotonic(), instance)
        return instance

    def describe_instances(self, instance_ids: Sequence[str]) -> dict[str, Instance]:
        """Return the instances by id, a thousand with each call; those that don't exist are left out."""
        found: dict[str, Instance] = {}
        for start in range(0, len(instance_ids), _INSTANCES_A_CALL):
            wanted = list(instance_ids[start : start + _INSTANCES_A_CALL])
            while wanted:
                doing = (
                    f"describing instance {wanted[0]}" if len(wanted) == 1 else f"describing {len(wanted)} instances"
                )
                try:
                    with calling_aws(doing, needs="ec2:DescribeInstances"):
                        answer = self._client.describe_instances(InstanceIds=wanted)
                except NotFoundError as error:
                    # One that does not exist fails the call, which names it.
                    missing = [instance_id for instance_id in wanted if instance_id in str(error)]
                    if not missing:
                        raise
                    wanted = [instance_id for instance_id in wanted if instance_id not in missing]
                    continue
                parsed = [Instance.parse(item) for group in answer["Reservations"] for item in group["Instances"]]
                found |= {instance.instance_id: instance for instance in parsed}
                break
        return found

    def recall_instance(self, instance_id: str) -> Instance | None:
        """Return the instance if it was described seconds ago, else None. Calls nothing."""
        when, instance = self._described.get(instance_id, (0.0, None))
        return instance if time.monotonic() - when < _RECALL_SECONDS else None

    def find_instances(self, filters: Mapping[str, Iterable[str]]) -> list[str]:
        """Return the ids of the instances that have volumes to snapshot and match all filters, sorted."""
        return sorted(instance.instance_id for instance in self.describe_matching(filters))

    def describe_matching(self, filters: Mapping[str, Iterable[str]]) -> list[Instance]:
        """Return the instances that have volumes to snapshot and match all filters.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
        """
        wanted = {"instance-state-name": ("running", "stopping", "stopped"), **filters}
        pages = self._client.get_paginator("describe_instances").paginate(Filters=_filter_list(wanted))
        with calling_aws(f"looking for instances in {self.settings.region}", needs="ec2:DescribeInstances"):
            reservations = [reservation for page in pages for reservation in page["Reservations"]]
        return [Instance.parse(item) for reservation in reservations for item in reservation["Instances"]]

    def stop_instance(self, instance_id: str) -> None:
        """Begin to stop the instance. Safe to repeat.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html
        """
        with calling_aws(f"stopping {instance_id}", needs="ec2:StopInstances"):
            self._client.stop_instances(InstanceIds=[instance_id])

    def start_instance(self, instance_id: str) -> None:
        """Begin to start the instance. Safe to repeat."""
        with calling_aws(f"starting {instance_id}", needs="ec2:StartInstances"):
            self._client.start_instances(InstanceIds=[instance_id])

    def check_stop_and_start(self, instance_id: str) -> None:
        """Ask AWS, by dry runs, whether the instance could be stopped and started. Changes nothing."""
        with dry_run(f"checking the stop of {instance_id}", needs="ec2:StopInstances"):
            self._client.stop_instances(InstanceIds=[instance_id], DryRun=True)
        with dry_run(f"checking the start of {instance_id}", needs="ec2:StartInstances"):
            self._client.start_instances(InstanceIds=[instance_id], DryRun=True)

    def is_stop_protected(self, instance_id: str) -> bool:
        """Tell whether the instance refuses to be stopped.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-stop-protection.html
        """
        with calling_aws(f"describing stop protection of {instance_id}", needs="ec2:DescribeInstanceAttribute"):
            answer = self._client.describe_instance_attribute(InstanceId=instance_id, Attribute="disableApiStop")
        return bool(answer["DisableApiStop"]["Value"])

    def has_persistent_spot_request(self, instance_id: str) -> bool:
        """Tell whether the Spot Instance belongs to a persistent request, so that it can be stopped and started."""
        filters = _filter_list({"instance-id": [instance_id]})
        with calling_aws(f"describing the request of {instance_id}", needs="ec2:DescribeSpotInstanceRequests"):
            answer = self._client.describe_spot_instance_requests(Filters=filters)
        return any(request.get("Type") == "persistent" for request in answer["SpotInstanceRequests"])

    def describe_zone_type(self, zone: str) -> str | None:
        """Return `availability-zone`, `local-zone` or `wavelength-zone`, or None if the Region has no such zone."""
        with calling_aws(f"describing zone {zone}", needs="ec2:DescribeAvailabilityZones"):
            answer = self._client.describe_availability_zones(
                Filters=_filter_list({"zone-name": [zone]}), AllAvailabilityZones=True
            )
        zones = answer["AvailabilityZones"]
        return zones[0].get("ZoneType", "availability-zone") if zones else None

    # Snapshots.

    def create_snapshots(self, request: Mapping[str, Any]) -> list[Snapshot]:
        """Take one snapshot of every volume that the request leaves in, in one call.

        The call has no ClientToken, so it is never retried here.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
        """
        instance_id = request["InstanceSpecification"]["InstanceId"]
        needs = "ec2:CreateSnapshots and ec2:CreateTags"
        with calling_aws(f"creating snapshots of {instance_id}", needs=needs):
            answer = self._client_without_retries.create_snapshots(**request)
        return [Snapshot.parse(item) for item in answer["Snapshots"]]

    def check_create_snapshots(self, request: Mapping[str, Any]) -> None:
        """Ask AWS, by a dry run, whether the call would be allowed. Creates nothing."""
        instance_id = request["InstanceSpecification"]["InstanceId"]
        needs = "ec2:CreateSnapshots and ec2:CreateTags"
        with dry_run(f"checking snapshots of {instance_id}", needs=needs):
            self._client.create_snapshots(**request, DryRun=True)

    def describe_snapshots(self, snapshot_ids: Sequence[str]) -> list[Snapshot]:
        """Return those of the snapshots that EC2 can see now; the others are left out, without an error."""
        found: list[Snapshot] = []
        for start in range(0, len(snapshot_ids), _SNAPSHOTS_A_PAGE):
            wanted = snapshot_ids[start : start + _SNAPSHOTS_A_PAGE]
            try:
                # By id, EC2 does not go through all snapshots of the account.
                with calling_aws(f"describing snapshots in {self.settings.region}", needs="ec2:DescribeSnapshots"):
                    answer = self._client.describe_snapshots(OwnerIds=["self"], SnapshotIds=list(wanted))
                found += [Snapshot.parse(item) for item in answer["Snapshots"]]
            except NotFoundError:
                # One that can't be seen fails the call, and a filter leaves it out.
                for first in range(0, len(wanted), FILTER_VALUES):
                    found += self.find_snapshots({"snapshot-id": wanted[first : first + FILTER_VALUES]})
        return found

    def find_snapshots(self, filters: Mapping[str, Iterable[str]]) -> list[Snapshot]:
        """Return this account's snapshots that match all filters (at most 200 values each), page by page.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
        """
        pages = self._client.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"], Filters=_filter_list(filters), PaginationConfig={"PageSize": _SNAPSHOTS_A_PAGE}
        )
        with calling_aws(f"describing snapshots in {self.settings.region}", needs="ec2:DescribeSnapshots"):
            items = [item for page in pages for item in page["Snapshots"]]
        return [Snapshot.parse(item) for item in items]

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete one snapshot. Safe to repeat.

        Raises:
            NotFoundError: it is gone already.
            InputError: with code `InvalidSnapshot.InUse`, an AMI uses it.
        """
        with calling_aws(f"deleting {snapshot_id}", needs="ec2:DeleteSnapshot"):
            self._client.delete_snapshot(SnapshotId=snapshot_id)

    # Tags, of snapshots and of volumes.

    def add_tags(self, resource_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Add the tags to the resources, overwriting those of the same key. Safe to repeat."""
        with calling_aws(f"tagging {', '.join(resource_ids)}", needs="ec2:CreateTags"):
            self._client.create_tags(Resources=list(resource_ids), Tags=tag_list(tags))

    def check_add_tags(self, resource_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Ask AWS, by a dry run, whether the tags could be added. Tags nothing."""
        with dry_run(f"checking the tags of {', '.join(resource_ids)}", needs="ec2:CreateTags"):
            self._client.create_tags(Resources=list(resource_ids), Tags=tag_list(tags), DryRun=True)

    def remove_tags(self, resource_ids: Sequence[str], keys: Iterable[str]) -> None:
        """Remove the tags of these keys from the resources. Safe to repeat."""
        with calling_aws(f"removing tags of {', '.join(resource_ids)}", needs="ec2:DeleteTags"):
            self._client.delete_tags(Resources=list(resource_ids), Tags=[{"Key": key} for key in keys])

    def check_remove_tags(self, resource_ids: Sequence[str], keys: Iterable[str]) -> None:
        """Ask AWS, by a dry run, whether the tags could be removed. Removes nothing."""
        with dry_run(f"checking the tags of {', '.join(resource_ids)}", needs="ec2:DeleteTags"):
            self._client.delete_tags(Resources=list(resource_ids), Tags=[{"Key": key} for key in keys], DryRun=True)

    # Volumes.

    def describe_volumes(self, volume_ids: Sequence[str]) -> list[Volume]:
        """Return those of the volumes that EC2 can see now; the others are left out, without an error."""
        found: list[Volume] = []
        for start in range(0, len(volume_ids), FILTER_VALUES):
            found += self.find_volumes({"volume-id": volume_ids[start : start + FILTER_VALUES]})
        return found

    def find_attached(self, instance_ids: Sequence[str]) -> list[Volume]:
        """Return the volumes of these instances; of one that has none, or does not exist, none."""
        found: list[Volume] = []
        for start in range(0, len(instance_ids), FILTER_VALUES):
            found += self.find_volumes({"attachment.instance-id": instance_ids[start : start + FILTER_VALUES]})
        return found

    def find_volumes(self, filters: Mapping[str, Iterable[str]]) -> list[Volume]:
        """Return the volumes that match all filters (at most 200 values each), page by page.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumes.html
        """
        pages = self._client.get_paginator("describe_volumes").paginate(
            Filters=_filter_list(filters), PaginationConfig={"PageSize": _VOLUMES_A_PAGE}
        )
        with calling_aws(f"describing volumes in {self.settings.region}", needs="ec2:DescribeVolumes"):
            items = [item for page in pages for item in page["Volumes"]]
        return [Volume.parse(item) for item in items]

    def create_volume(self, request: Mapping[str, Any], *, client_token: str) -> str:
        """Make the volume of one snapshot, and return its id. With the same token, AWS makes no second one.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
        """
        needs = "ec2:CreateVolume and ec2:CreateTags"
        with calling_aws(f"creating the volume of {request['SnapshotId']}", needs=needs):
            answer = self._client_without_retries.create_volume(**request, ClientToken=client_token)
        return answer["VolumeId"]

    def check_create_volume(self, request: Mapping[str, Any]) -> None:
        """Ask AWS, by a dry run, whether the call would be allowed. Creates nothing."""
        needs = "ec2:CreateVolume and ec2:CreateTags"
        with dry_run(f"checking the volume of {request['SnapshotId']}", needs=needs):
            self._client.create_volume(**request, DryRun=True)

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> None:
        """Begin to attach an available volume. Not safe to repeat: AWS refuses if it is attached already."""
        with calling_aws(f"attaching {volume_id} to {instance_id} at {device}", needs="ec2:AttachVolume"):
            self._client.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)

    def check_swap(self, volume_id: str, *, instance_id: str, device: str) -> None:
        """Ask AWS, by dry runs, whether a volume could be detached and another attached. Changes nothing."""
        with dry_run(f"checking the detachment of {volume_id}", needs="ec2:DetachVolume"):
            self._client.detach_volume(VolumeId=volume_id, InstanceId=instance_id, DryRun=True)
        with dry_run(f"checking the attachment at {device}", needs="ec2:AttachVolume"):
            self._client.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device, DryRun=True)

    def detach_volume(self, volume_id: str, *, instance_id: str) -> None:
        """Begin to detach a volume. Not safe to repeat: AWS refuses if it is detached already."""
        with calling_aws(f"detaching {volume_id} from {instance_id}", needs="ec2:DetachVolume"):
            self._client.detach_volume(VolumeId=volume_id, InstanceId=instance_id)

    def set_delete_on_termination(self, instance_id: str, devices: Sequence[str]) -> None:
        """Let the volumes at these devices be deleted when the instance is terminated. Safe to repeat.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
        """
        mappings: Any = [{"DeviceName": device, "Ebs": {"DeleteOnTermination": True}} for device in devices]
        doing = f"setting DeleteOnTermination of {', '.join(devices)} of {instance_id}"
        with calling_aws(doing, needs="ec2:ModifyInstanceAttribute"):
            self._client.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=mappings)

    def check_delete_volume(self, volume_id: str) -> None:
        """Ask AWS, by a dry run, whether a volume could be deleted. Changes nothing."""
        with dry_run(f"checking the deletion of {volume_id}", needs="ec2:DeleteVolume"):
            self._client.delete_volume(VolumeId=volume_id, DryRun=True)

    def delete_volume(self, volume_id: str) -> None:
        """Delete one volume. Safe to repeat.

        Raises:
            NotFoundError: it is gone already.
        """
        with calling_aws(f"deleting {volume_id}", needs="ec2:DeleteVolume"):
            self._client.delete_volume(VolumeId=volume_id)


@lru_cache(maxsize=32)
def connect(settings: AwsSettings) -> Ec2:
    """Return the EC2 that everything in this process with the same settings shares."""
    return Ec2(settings)


def literal(value: str) -> str:
    r"""Return the value as a filter of EC2 has to spell it, where `*` and `?` are wildcards, and `\` quotes them."""
    return re.sub(r"([\\*?])", r"\\\1", value)


def tag_list(tags: Mapping[str, str]) -> list[Any]:
    """Return the tags as EC2's requests spell them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _filter_list(filters: Mapping[str, Iterable[str]]) -> list[Any]:
    return [{"Name": name, "Values": list(values)} for name, values in filters.items()]
