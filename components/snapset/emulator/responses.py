"""The answers: check the request's form, then DryRun, then the resources, so that a refused call changes nothing.

assumption: EC2 checks permissions first (scripted denials never reach this module), and evaluates DryRun before it
looks up resources.
"""

from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.responses import EC2Response

from . import errors, rules
from .filters import MAX_RESULTS, describe_snapshots, make_token, read_token
from .images import check_image
from .request import read_create_snapshots, read_tag_specifications, read_tags


class StrictEC2Response(EC2Response):  # type: ignore[misc]
    """EC2's answers to one request."""

    def serialized(self, action_result: ActionResult) -> Any:
        """The HTTP answer with EC2's status; moto answers every error with 400."""
        status, headers, body = super().serialized(action_result)
        if isinstance(action_result.result, Exception):
            status = errors.HTTP_STATUS.get(getattr(action_result.result, "code", ""), status)
        return status, headers, body

    def create_snapshots(self) -> ActionResult:
        """CreateSnapshots."""
        request = read_create_snapshots(self._get_params())
        self.error_on_dryrun()
        made = self.ec2_backend.create_set(request)
        return ActionResult({"Snapshots": [_announce(snapshot) for snapshot in made]})

    def create_snapshot(self) -> ActionResult:
        """CreateSnapshot."""
        self._check_param_id(rules.VOLUME, "VolumeId")
        rules.check_description(self._get_param("Description") or "")
        tags = read_tag_specifications(self._get_param("TagSpecifications") or [], "snapshot")
        self.error_on_dryrun()
        snapshot = self.ec2_backend.create_snapshot(self._get_param("VolumeId"), self._get_param("Description"))
        snapshot.add_tags(tags)
        return ActionResult(_announce(snapshot))

    def describe_snapshots(self) -> ActionResult:
        """DescribeSnapshots."""
        rules.check_ids(rules.SNAPSHOT, self._get_param("SnapshotIds") or [])
        self.error_on_dryrun()
        page, token = describe_snapshots(self.ec2_backend, self._get_params())
        return ActionResult({"Snapshots": page, "NextToken": token})

    def delete_snapshot(self) -> ActionResult:
        """DeleteSnapshot."""
        self._check_param_id(rules.SNAPSHOT, "SnapshotId")
        return super().delete_snapshot()

    def describe_instances(self) -> ActionResult:
        """DescribeInstances."""
        rules.check_ids(rules.INSTANCE, self._get_param("InstanceIds") or [])
        return super().describe_instances()

    def describe_instance_status(self) -> ActionResult:
        """DescribeInstanceStatus: in pages, which moto does not have."""
        instance_ids, size = self._get_param("InstanceIds") or [], self._get_param("MaxResults")
        rules.check_ids(rules.INSTANCE, instance_ids)
        if instance_ids and size is not None:
            raise errors.invalid_combination(
                "The parameter instancesSet cannot be used with the parameter maxResults"
            )
        self.error_on_dryrun()
        begin = read_token(self._get_param("NextToken")) if self._get_param("NextToken") else 0
        rest = super().describe_instance_status().result["InstanceStatuses"][begin:]
        page = rest if size is None else rest[: min(size, MAX_RESULTS)]
        token = make_token(begin + len(page)) if len(rest) > len(page) else None
        return ActionResult({"InstanceStatuses": page, "NextToken": token})

    def describe_volumes(self) -> ActionResult:
        """DescribeVolumes."""
        volume_ids = self._get_param("VolumeIds") or []
        rules.check_ids(rules.VOLUME, volume_ids)
        if volume_ids and self._get_param("MaxResults") is not None:
            raise errors.invalid_combination("The parameter volumeSet cannot be used with the parameter maxResults")
        self.error_on_dryrun()
        return super().describe_volumes()

    def create_volume(self) -> ActionResult:
        """CreateVolume."""
        if self._get_param("SnapshotId"):
            self._check_param_id(rules.SNAPSHOT, "SnapshotId")
        read_tag_specifications(self._get_param("TagSpecifications") or [], "volume")
        self.error_on_dryrun()
        request = dict(self._get_params())
        if made := self.ec2_backend.find_made(request):
            return ActionResult(made)
        self.params.update(self.ec2_backend.check_new_volume(request))
        result = super().create_volume()
        result.result.outpost_arn = request.get("OutpostArn")
        self.ec2_backend.remember_made(request, result.result)
        return result

    def delete_volume(self) -> ActionResult:
        """DeleteVolume."""
        self._check_param_id(rules.VOLUME, "VolumeId")
        return super().delete_volume()

    def attach_volume(self) -> ActionResult:
        """AttachVolume."""
        self._check_param_id(rules.VOLUME, "VolumeId")
        self._check_param_id(rules.INSTANCE, "InstanceId")
        device = self._get_param("Device")
        if not device:
            raise errors.missing("device")
        self.error_on_dryrun()
        self.ec2_backend.check_attachment(
            volume_id=self._get_param("VolumeId"), instance_id=self._get_param("InstanceId"), device=device
        )
        return super().attach_volume()

    def detach_volume(self) -> ActionResult:
        """DetachVolume: InstanceId is optional, as in EC2; moto requires it."""
        self._check_param_id(rules.VOLUME, "VolumeId")
        self.error_on_dryrun()
        attachment = self.ec2_backend.find_attachment(self._get_param("VolumeId"))
        self.ec2_backend.check_detachment(self._get_param("VolumeId"))
        self.params.setdefault("InstanceId", attachment.instance_id)
        return super().detach_volume()

    def modify_instance_attribute(self) -> ActionResult:
        """ModifyInstanceAttribute."""
        self._check_param_id(rules.INSTANCE, "InstanceId")
        self.error_on_dryrun()
        devices = [mapping.get("DeviceName") for mapping in self._get_param("BlockDeviceMappings") or []]
        self.ec2_backend.check_delete_on_termination(self._get_param("InstanceId"), devices)
        return super().modify_instance_attribute()

    def stop_instances(self) -> ActionResult:
        """StopInstances."""
        return self._with_states(super().stop_instances(), "StoppingInstances")

    def start_instances(self) -> ActionResult:
        """StartInstances."""
        return self._with_states(super().start_instances(), "StartingInstances")

    def _with_states(self, result: ActionResult, name: str) -> ActionResult:
        """Let the answer show the state of what did not change; moto shows each as changing."""
        for item in result.result[name]:
            state = self.ec2_backend.get_instance(item["InstanceId"]).instance_state
            if item["PreviousState"].name == state.name:
                item["CurrentState"] = state
        return result

    def create_tags(self) -> ActionResult:
        """CreateTags: either all resources get the tags, or none does."""
        tags = read_tags(self._get_param("Tags") or [])
        if not tags:
            raise errors.invalid_value("You must specify one or more tags to create")
        resource_ids = self._tagged_resources()
        self.error_on_dryrun()
        self.ec2_backend.create_tags(resource_ids, tags)
        return EmptyResult()

    def delete_tags(self) -> ActionResult:
        """DeleteTags: without tags in the request, delete all but AWS's own."""
        named = {tag.get("Key") or "": tag.get("Value") for tag in self._get_param("Tags") or []}
        rules.check_tags([(key, value or "") for key, value in named.items()])
        resource_ids = self._tagged_resources()
        self.error_on_dryrun()
        for resource_id in resource_ids:
            tags = named or {key: None for key in self.ec2_backend.tags[resource_id] if not rules.is_reserved(key)}
            self.ec2_backend.delete_tags([resource_id], tags)
        return EmptyResult()

    def register_image(self) -> ActionResult:
        """RegisterImage: the image uses the snapshots that the request names."""
        params = self._get_params()
        check_image(params)
        tags = read_tag_specifications(params.get("TagSpecifications") or [], "image")
        self.error_on_dryrun()
        image = self.ec2_backend.register_mapped_image(params)
        image.add_tags(tags)
        return ActionResult({"ImageId": image.id})

    def describe_availability_zones(self) -> ActionResult:
        """DescribeAvailabilityZones."""
        self.error_on_dryrun()
        zones = self.ec2_backend.describe_availability_zones(
            self._filters_from_querystring(),
            zone_names=self._get_param("ZoneNames") or [],
            zone_ids=self._get_param("ZoneIds") or [],
            every=self._get_param("AllAvailabilityZones", False),
        )
        return ActionResult({"AvailabilityZones": zones})

    def create_subnet(self) -> ActionResult:
        """CreateSubnet: keeps the Outpost, which moto drops."""
        outpost_arn = self._get_param("OutpostArn")
        if outpost_arn:
            rules.check_outpost_arn(outpost_arn)
        result = super().create_subnet()
        result.result["Subnet"].outpost_arn = outpost_arn
        return result

    def _parse_block_device_mapping(self) -> list[dict[str, Any]]:
        """What RunInstances maps, as it was asked; moto fills in defaults, which would hide the image's values."""
        return self._get_param("BlockDeviceMappings") or []

    def _check_param_id(self, kind: str, name: str) -> None:
        resource_id = self._get_param(name)
        if not resource_id:
            raise errors.missing(name[0].lower() + name[1:])
        rules.check_id(kind, resource_id)

    def _tagged_resources(self) -> list[str]:
        resource_ids: list[str] = self._get_param("Resources") or []
        self.ec2_backend.check_resources(resource_ids)
        return resource_ids


def _announce(snapshot: Any) -> dict[str, Any]:
    """A snapshot as its creation answers it: pending and without progress, even if it completes at once."""
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size,
        "State": "pending",
        "Progress": "",
        "StartTime": snapshot.start_time,
        "OwnerId": snapshot.owner_id,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "Tags": snapshot.tag_set,
        "OutpostArn": snapshot.outpost_arn,
        "AvailabilityZone": snapshot.availability_zone,
    }
