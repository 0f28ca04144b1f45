"""Every call of EC2 that snapset makes, with the permission that it needs.

boto3 is imported when the first client is made, so that importing snapset stays cheap.
API reference: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from snapset.aws.errors import DRY_RUN_OPERATION, INVALID_INSTANCE_NOT_FOUND, calling_aws, reading_answer
from snapset.aws.records import Instance, Snapshot, Volume
from snapset.aws.session import make_ec2_client
from snapset.aws.settings import AwsSettings
from snapset.errors import NotFoundError, SnapsetError
from snapset.limits import Limits
from snapset.retry import PASSING, THROTTLED, Say, silent, while_throttled

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_T = TypeVar("_T")
_Record = TypeVar("_Record", Instance, Snapshot, Volume)

# The most values that a filter of EC2 takes.
FILTER_VALUES = 200
_SNAPSHOTS_A_PAGE = 1000
_INSTANCES_A_CALL = 1000
_VOLUMES_A_PAGE = 500
_CREATE_SNAPSHOTS = "CreateSnapshots"
_MAKERS = (_CREATE_SNAPSHOTS, "CreateVolume")
_TAGGERS = (*_MAKERS, "RegisterImage")


class _Clients:
    """boto3's clients for one Region and one set of credentials, made when they are first used."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings

    @cached_property
    def with_retries(self) -> EC2Client:
        return make_ec2_client(self._settings, retries=True)

    @cached_property
    def without_retries(self) -> EC2Client:
        return make_ec2_client(self._settings, retries=False)


@lru_cache(maxsize=32)
def _clients_for(settings: AwsSettings) -> _Clients:
    return _Clients(settings)


class Ec2:
    """EC2 in one Region with one set of credentials, and how long a run waits for it. Safe to share between threads.

    Every call but CreateSnapshots is repeated while AWS throttles it; see `bearing`, too.

    Attributes:
        settings: where calls go and as whom.
        limits: how long to wait.
        say: shows one line to the user.
    """

    def __init__(self, settings: AwsSettings, limits: Limits, say: Say = silent, *, is_dry_run: bool = False) -> None:
        self.settings, self.limits, self.say = settings, limits, say
        self._clients = _clients_for(settings)
        self._is_dry_run = is_dry_run
        self._bears: tuple[type[SnapsetError], ...] = THROTTLED

    def saying(self, say: Say) -> Ec2:
        """Return the same EC2, which shows its lines in another way."""
        return Ec2(self.settings, self.limits, say)

    def once(self) -> Ec2:
        """Return the same EC2, which repeats no throttled call: for polls, and for checks that may be left out."""
        return Ec2(self.settings, replace(self.limits, throttle=0.0), self.say)

    def bearing(self, seconds: float) -> Ec2:
        """Return the same EC2, which bears for so long that AWS gives no answer: for what must not end half-way.

        What makes something is not repeated then: its caller has to look whether it was made.
        """
        patient = copy(self)
        patient.limits = replace(self.limits, throttle=seconds, volume=max(self.limits.volume, seconds))
        patient._bears = PASSING
        return patient

    def dry_run(self) -> Ec2:
        """Return the same EC2, which only asks AWS whether calls that change something would be allowed."""
        return Ec2(self.settings, self.limits, self.say, is_dry_run=True)

    def _call(self, doing: str, action: str, read: Callable[[Any], Any] = lambda _: None, **request: Any) -> Any:
        """Make a call and return what is read of the answer; nothing of a dry run that would be allowed.

        Args:
            doing: gerund, noun and id, for messages.
            action: AWS's name of the call; with `ec2:` before it, it is the permission that the call needs.
            read: reads the answer.
            request: as boto3 takes it.
        """
        if self._is_dry_run:
            doing, request = f"dry run: {doing}", {**request, "DryRun": True}
        try:
            return self._repeat(doing, action, lambda: self._method(action)(**request), read)
        except SnapsetError as error:
            if error.code != DRY_RUN_OPERATION:
                raise
            return []

    def _call_pages(self, doing: str, action: str, read: Callable[[Sequence[Any]], _T], **request: Any) -> _T:
        """Make the call for each page, and return what is read of all."""

        def turn_pages() -> list[Any]:
            client: Any = self._clients.with_retries
            return list(client.get_paginator(_snake(action)).paginate(**request))

        return self._repeat(doing, action, turn_pages, read)

    def _repeat(self, doing: str, action: str, call: Callable[[], Any], read: Callable[[Any], _T]) -> _T:
        def attempt() -> _T:
            with calling_aws(doing, needs=_permissions(action)):
                answer = call()
            with reading_answer(doing):
                return read(answer)

        # Who calls CreateSnapshots repeats it: each attempt is noted before.
        is_repeated = action != _CREATE_SNAPSHOTS or self._is_dry_run
        seconds = self.limits.throttle if is_repeated else 0.0
        bears = THROTTLED if action in _MAKERS else self._bears
        return while_throttled(attempt, doing=doing, seconds=seconds, say=self.say, bears=bears)

    def _method(self, action: str) -> Callable[..., Any]:
        # What makes something is not repeated by botocore: its answer may be lost after it has happened.
        client = self._clients.without_retries if action in _MAKERS else self._clients.with_retries
        method: Callable[..., Any] = getattr(client, _snake(action))
        return method

    # Instances and zones.

    def describe_instance(self, instance_id: str) -> Instance:
        """Return the instance.

        Raises:
            NotFoundError: there is none.
        """
        found = self.describe_instances([instance_id])
        if instance_id not in found:
            raise NotFoundError(
                f"describing instance {instance_id}: {INVALID_INSTANCE_NOT_FOUND}: "
                f"there is no such instance in {self.settings.region}. Check the id, the Region and the account.",
                code=INVALID_INSTANCE_NOT_FOUND,
            )
        return found[instance_id]

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
                    there = self._call(doing, "DescribeInstances", lambda one: _instances([one]), InstanceIds=wanted)
                except NotFoundError as error:
                    # One that does not exist fails the call, which names it.
                    missing = [instance_id for instance_id in wanted if instance_id in str(error)]
                    if not missing:
                        raise
                    wanted = [instance_id for instance_id in wanted if instance_id not in missing]
                    continue
                found |= {instance.instance_id: instance for instance in there}
                break
        return found

    def find_instances(self, filters: Mapping[str, Iterable[str]]) -> list[str]:
        """Return the ids of the instances that have volumes to snapshot and match all filters, sorted."""
        return sorted(instance.instance_id for instance in self.describe_matching(filters))

    def describe_matching(self, filters: Mapping[str, Iterable[str]]) -> list[Instance]:
        """Return the instances that have volumes to snapshot and match all filters.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
        """
        wanted = {"instance-state-name": ("pending", "running", "stopping", "stopped"), **filters}
        doing = f"looking for instances in {self.settings.region}"
        return self._call_pages(doing, "DescribeInstances", _instances, Filters=_filter_list(wanted))

    def stop_instance(self, instance_id: str) -> None:
        """Begin to stop the instance. Safe to repeat.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html
        """
        self._call(f"stopping {instance_id}", "StopInstances", InstanceIds=[instance_id])

    def start_instance(self, instance_id: str) -> None:
        """Begin to start the instance. Safe to repeat."""
        self._call(f"starting {instance_id}", "StartInstances", InstanceIds=[instance_id])

    def is_stop_protected(self, instance_id: str) -> bool:
        """Tell whether the instance refuses to be stopped.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-stop-protection.html
        """
        return bool(
            self._call(
                f"describing stop protection of {instance_id}",
                "DescribeInstanceAttribute",
                lambda answer: answer["DisableApiStop"]["Value"],
                InstanceId=instance_id,
                Attribute="disableApiStop",
            )
        )

    def has_persistent_spot_request(self, instance_id: str) -> bool:
        """Tell whether the Spot Instance belongs to a persistent request, so that it can be stopped and started."""
        filters = _filter_list({"instance-id": [instance_id]})
        requests = self._call(
            f"describing the request of {instance_id}",
            "DescribeSpotInstanceRequests",
            lambda answer: answer["SpotInstanceRequests"],
            Filters=filters,
        )
        return any(request.get("Type") == "persistent" for request in requests)

    def describe_zone_type(self, zone: str) -> str | None:
        """Return `availability-zone`, `local-zone` or `wavelength-zone`, or None if the Region has no such zone."""
        zones = self._call(
            f"describing zone {zone}",
            "DescribeAvailabilityZones",
            lambda answer: answer["AvailabilityZones"],
            Filters=_filter_list({"zone-name": [literal(zone)]}),
            AllAvailabilityZones=True,
        )
        return zones[0].get("ZoneType", "availability-zone") if zones else None

    # Snapshots.

    def create_snapshots(self, request: Mapping[str, Any]) -> list[Snapshot]:
        """Take one snapshot of every volume that the request leaves in, in one call.

        The call has no ClientToken, so it is never retried here.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
        """
        instance_id = request["InstanceSpecification"]["InstanceId"]
        doing = f"creating snapshots of {instance_id}"
        taken: list[Snapshot] = self._call(doing, _CREATE_SNAPSHOTS, lambda one: _snapshots([one]), **request)
        return taken

    def describe_snapshots(self, snapshot_ids: Sequence[str]) -> list[Snapshot]:
        """Return those of the snapshots that EC2 can see now; the others are left out, without an error."""
        found: list[Snapshot] = []
        for start in range(0, len(snapshot_ids), _SNAPSHOTS_A_PAGE):
            wanted = snapshot_ids[start : start + _SNAPSHOTS_A_PAGE]
            try:
                # By id, EC2 does not go through all snapshots of the account.
                found += self._call(
                    f"describing snapshots in {self.settings.region}",
                    "DescribeSnapshots",
                    lambda answer: _snapshots([answer]),
                    OwnerIds=["self"],
                    SnapshotIds=list(wanted),
                )
            except NotFoundError:
                # One that can't be seen fails the call, and a filter leaves it out.
                for first in range(0, len(wanted), FILTER_VALUES):
                    found += self.find_snapshots({"snapshot-id": wanted[first : first + FILTER_VALUES]})
        return found

    def find_snapshots(self, filters: Mapping[str, Iterable[str]]) -> list[Snapshot]:
        """Return this account's snapshots that match all filters (at most 200 values each), page by page.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
        """
        return self._call_pages(
            f"describing snapshots in {self.settings.region}",
            "DescribeSnapshots",
            _snapshots,
            OwnerIds=["self"],
            Filters=_filter_list(filters),
            PaginationConfig={"PageSize": _SNAPSHOTS_A_PAGE},
        )

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete one snapshot. Safe to repeat.

        Raises:
            NotFoundError: it is gone already.
            InputError: with code `InvalidSnapshot.InUse`, an AMI uses it.
        """
        self._call(f"deleting {snapshot_id}", "DeleteSnapshot", SnapshotId=snapshot_id)

    # Tags, of snapshots and of volumes.

    def add_tags(self, resource_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Add the tags to the resources, overwriting those of the same key. Safe to repeat."""
        self._call(
            f"tagging {', '.join(resource_ids)}", "CreateTags", Resources=list(resource_ids), Tags=tag_list(tags)
        )

    def remove_tags(self, resource_ids: Sequence[str], keys: Iterable[str]) -> None:
        """Remove the tags of these keys from the resources. Safe to repeat."""
        self._call(
            f"removing tags of {', '.join(resource_ids)}",
            "DeleteTags",
            Resources=list(resource_ids),
            Tags=[{"Key": key} for key in keys],
        )

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
        return self._call_pages(
            f"describing volumes in {self.settings.region}",
            "DescribeVolumes",
            partial(_records, Volume, "Volumes"),
            Filters=_filter_list(filters),
            PaginationConfig={"PageSize": _VOLUMES_A_PAGE},
        )

    def create_volume(self, request: Mapping[str, Any], *, client_token: str) -> str:
        """Make the volume of one snapshot, and return its id. With the same token, AWS makes no second one.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
        """
        made = self._call(
            f"creating the volume of {request['SnapshotId']}",
            "CreateVolume",
            lambda answer: answer["VolumeId"],
            **request,
            ClientToken=client_token,
        )
        return str(made)

    def attach_volume(self, volume_id: str, *, instance_id: str, device: str) -> None:
        """Begin to attach an available volume. Not safe to repeat: AWS refuses if it is attached already."""
        self._call(
            f"attaching {volume_id} to {instance_id} at {device}",
            "AttachVolume",
            VolumeId=volume_id,
            InstanceId=instance_id,
            Device=device,
        )

    def detach_volume(self, volume_id: str, *, instance_id: str) -> None:
        """Begin to detach a volume. Not safe to repeat: AWS refuses if it is detached already."""
        self._call(
            f"detaching {volume_id} from {instance_id}", "DetachVolume", VolumeId=volume_id, InstanceId=instance_id
        )

    def set_delete_on_termination(self, instance_id: str, devices: Sequence[str]) -> None:
        """Let the volumes at these devices be deleted when the instance is terminated. Safe to repeat.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
        """
        mappings: Any = [{"DeviceName": device, "Ebs": {"DeleteOnTermination": True}} for device in devices]
        doing = f"setting DeleteOnTermination of {', '.join(devices)} of {instance_id}"
        self._call(doing, "ModifyInstanceAttribute", InstanceId=instance_id, BlockDeviceMappings=mappings)

    def delete_volume(self, volume_id: str) -> None:
        """Delete one volume. Safe to repeat.

        Raises:
            NotFoundError: it is gone already.
        """
        self._call(f"deleting {volume_id}", "DeleteVolume", VolumeId=volume_id)

    # Images.

    def register_image(self, request: Mapping[str, Any], *, doing: str) -> str:
        """Register an image, and return its id. Its name is unique, so that it is safe to repeat.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
        """
        image_id: str = self._call(doing, "RegisterImage", lambda answer: answer["ImageId"], **request)
        return image_id

    def find_images(self, filters: Mapping[str, Iterable[str]]) -> list[str]:
        """Return the ids of the account's own images that match all filters."""
        doing = f"looking for images in {self.settings.region}"
        found: list[str] = self._call_pages(
            doing,
            "DescribeImages",
            lambda answers: [image["ImageId"] for answer in answers for image in answer["Images"]],
            Owners=["self"],
            Filters=_filter_list(filters),
        )
        return found


def connect(settings: AwsSettings, *, say: Say = silent) -> Ec2:
    """Return EC2 for these settings, with the limits of the environment.

    Raises:
        InputError: a limit in the environment is not a number of seconds.
    """
    return Ec2(settings, Limits.from_environment(), say)


def _permissions(action: str) -> str:
    """Return the permissions that a call needs: what makes something tags it, too."""
    return f"ec2:{action} and ec2:CreateTags" if action in _TAGGERS else f"ec2:{action}"


def _snake(action: str) -> str:
    return re.sub("(?<!^)(?=[A-Z])", "_", action).lower()


def literal(value: str) -> str:
    r"""Return the value as a filter of EC2 has to spell it, where `*` and `?` are wildcards, and `\` quotes them."""
    return re.sub(r"([\\*?])", r"\\\1", value)


def tag_list(tags: Mapping[str, str]) -> list[Any]:
    """Return the tags as EC2's requests spell them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _records(kind: type[_Record], key: str, answers: Iterable[Any]) -> list[_Record]:
    """Read the records in answers. One that AWS names twice, as on two pages, is one."""
    items = (item for answer in answers for item in answer[key])
    return list({item[f"{kind.__name__}Id"]: kind.parse(item) for item in items}.values())


_snapshots = partial(_records, Snapshot, "Snapshots")


def _instances(answers: Iterable[Any]) -> list[Instance]:
    return _records(Instance, "Instances", [group for answer in answers for group in answer["Reservations"]])


def _filter_list(filters: Mapping[str, Iterable[str]]) -> list[Any]:
    return [{"Name": name, "Values": list(values)} for name, values in filters.items()]
