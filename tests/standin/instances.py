"""`aws.ec2.Instance`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi.runtime.rpc import UNKNOWN

from standin.blocks import (
    all_volumes,
    block_device_mappings,
    change_root,
    described_blocks,
    root_device_of,
    tag_blocks,
)
from standin.cloud import Cloud, change_tags, is_missing, tag_specifications, wait_until
from standin.resource import Path, Properties, Resource

_ROOT = "rootBlockDevice"


class Instance(Resource):
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/instance/."""

    noun = "EC2 Instance"
    required = (("ami",), ("instanceType",))
    replacing = frozenset(
        {"ami", "availabilityZone", "ebsBlockDevices", "keyName", "region", "subnetId"}
        | {f"{_ROOT}.encrypted", f"{_ROOT}.kmsKeyId"}
    )
    kept = frozenset(
        {"ami", "availabilityZone", "ebsBlockDevices", "instanceType", "keyName", "region", "rootBlockDevice"}
        | {"subnetId", "vpcSecurityGroupIds"}
    )
    optional = frozenset({"userData", "userDataReplaceOnChange", "volumeTags"})
    computed = frozenset(
        {"arn", "instanceState", "outpostArn", "primaryNetworkInterfaceId", "privateDns", "privateIp", "publicDns"}
        | {"publicIp"}
    )

    @classmethod
    def replaces(cls, path: Path, news: Properties) -> bool:
        """Changing the user data replaces the instance only with `userDataReplaceOnChange`."""
        if path[0] == "userData":
            return bool(news.get("userDataReplaceOnChange"))
        return super().replaces(path, news)

    @classmethod
    def planned(cls, inputs: Properties) -> Properties:
        """A new volume's id and device are unknown, even if the rest of the block is known."""
        planned = super().planned(inputs)
        if isinstance(planned[_ROOT], Mapping):
            planned[_ROOT] = {"deviceName": UNKNOWN, "volumeId": UNKNOWN, **planned[_ROOT]}
        return planned

    @classmethod
    def create(cls, cloud: Cloud, inputs: Properties) -> tuple[str, Properties]:
        """Launch the instance and wait until it is running."""
        ec2 = cloud.ec2(inputs)
        options: dict[str, Any] = {
            "ImageId": inputs["ami"],
            "InstanceType": inputs["instanceType"],
            "KeyName": inputs.get("keyName"),
            "Placement": {"AvailabilityZone": inputs["availabilityZone"]} if inputs.get("availabilityZone") else None,
            "SecurityGroupIds": inputs.get("vpcSecurityGroupIds"),
            "SubnetId": inputs.get("subnetId"),
            "UserData": inputs.get("userData"),
            "BlockDeviceMappings": block_device_mappings(ec2, inputs),
            "TagSpecifications": tag_specifications(instance=inputs.get("tagsAll"), volume=inputs.get("volumeTags")),
        }
        given = {name: value for name, value in options.items() if value}
        instance_id = ec2.run_instances(MinCount=1, MaxCount=1, **given)["Instances"][0]["InstanceId"]
        cls._wait(ec2, instance_id, "running")
        tag_blocks(ec2, find_instance(ec2, instance_id), inputs)
        return instance_id, cls._outputs(cloud, find_instance(ec2, instance_id), inputs)

    @classmethod
    def read(cls, cloud: Cloud, resource_id: str, state: Properties) -> Properties | None:
        """Look up the instance; a terminated one counts as deleted."""
        instance = find_instance(cloud.ec2(state), resource_id)
        return cls._outputs(cloud, instance, state) if instance else None

    @classmethod
    def update(cls, cloud: Cloud, resource_id: str, olds: Properties, news: Properties) -> Properties:
        """Change what can be changed in place, and stop the instance to change its type or user data."""
        ec2 = cloud.ec2(news)
        change_tags(ec2, [resource_id], olds.get("tagsAll") or {}, news.get("tagsAll") or {})
        if (olds.get("volumeTags") or {}) != (news.get("volumeTags") or {}):
            volumes = all_volumes(find_instance(ec2, resource_id))
            change_tags(ec2, volumes, olds.get("volumeTags") or {}, news.get("volumeTags") or {})
        groups = news.get("vpcSecurityGroupIds")
        if groups and sorted(groups) != sorted(olds.get("vpcSecurityGroupIds") or []):
            ec2.modify_instance_attribute(InstanceId=resource_id, Groups=groups)
        change_root(ec2, resource_id, olds.get(_ROOT) or {}, news.get(_ROOT) or {})
        changes = list(_while_stopped(olds, news))
        if changes:
            ec2.stop_instances(InstanceIds=[resource_id])
            cls._wait(ec2, resource_id, "stopped")
            for change in changes:
                ec2.modify_instance_attribute(InstanceId=resource_id, **change)
            ec2.start_instances(InstanceIds=[resource_id])
            cls._wait(ec2, resource_id, "running")
        return cls._outputs(cloud, find_instance(ec2, resource_id), news)

    @classmethod
    def delete(cls, cloud: Cloud, resource_id: str, state: Properties) -> None:
        """Terminate the instance and wait until it is terminated."""
        ec2 = cloud.ec2(state)
        try:
            ec2.terminate_instances(InstanceIds=[resource_id])
        except ec2.exceptions.ClientError as error:
            if not is_missing(error):
                raise
        wait_until(lambda: find_instance(ec2, resource_id) is None, f"EC2 Instance ({resource_id}) delete")

    @classmethod
    def _wait(cls, ec2: Any, instance_id: str, state: str) -> None:
        wait_until(
            lambda: (find_instance(ec2, instance_id) or {"State": {}})["State"].get("Name") == state,
            f"EC2 Instance ({instance_id}) to be {state}",
        )

    @classmethod
    def _outputs(cls, cloud: Cloud, instance: Mapping[str, Any], state: Properties) -> Properties:
        instance_id = instance["InstanceId"]
        return {
            **{name: state[name] for name in cls.optional & state.keys()},
            **describe(instance),
            **described_blocks(cloud.ec2(state), instance, root_device_of(instance)),
            **cloud.split_tags(instance.get("Tags", []), state),
            "id": instance_id,
            "arn": cloud.arn(state, f"instance/{instance_id}"),
            "region": state.get("region") or cloud.region,
        }


def find_instance(ec2: Any, instance_id: str) -> Any:
    """Return the instance as EC2 describes it, or None if it no longer exists."""
    try:
        reservations = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    except ec2.exceptions.ClientError as error:
        if is_missing(error):
            return None
        raise
    found = [instance for reservation in reservations for instance in reservation["Instances"]]
    return next((instance for instance in found if instance["State"]["Name"] != "terminated"), None)


def describe(instance: Mapping[str, Any]) -> Properties:
    """The outputs that the resource shares with the function `getInstance`."""
    interfaces = instance.get("NetworkInterfaces") or [{}]
    return {
        "ami": instance["ImageId"],
        "availabilityZone": instance["Placement"]["AvailabilityZone"],
        "instanceState": instance["State"]["Name"],
        "instanceType": instance["InstanceType"],
        "keyName": instance.get("KeyName", ""),
        "outpostArn": instance.get("OutpostArn", ""),
        "primaryNetworkInterfaceId": interfaces[0].get("NetworkInterfaceId", ""),
        "privateDns": instance.get("PrivateDnsName", ""),
        "privateIp": instance.get("PrivateIpAddress", ""),
        "publicDns": instance.get("PublicDnsName", ""),
        "publicIp": instance.get("PublicIpAddress", ""),
        "subnetId": instance.get("SubnetId", ""),
        "vpcSecurityGroupIds": sorted(group["GroupId"] for group in instance.get("SecurityGroups", [])),
    }


def _while_stopped(olds: Properties, news: Properties) -> Iterator[dict[str, Any]]:
    if news.get("instanceType") not in {None, olds.get("instanceType")}:
        yield {"InstanceType": {"Value": news["instanceType"]}}
    if (news.get("userData") or "") != (olds.get("userData") or ""):
        # Not as `UserData`, which moto rejects as badly encoded.
        yield {"Attribute": "userData", "Value": b64encode((news.get("userData") or "").encode()).decode()}
