"""The functions (data sources) that programs call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from standin.blocks import described_blocks, root_device_of
from standin.cloud import Cloud
from standin.instances import describe
from standin.resource import Properties


def get_instance(cloud: Cloud, args: Properties) -> Properties:
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/getinstance/.

    Raises:
        LookupError: no instance is found, or several.
    """
    ec2 = cloud.ec2(args)
    ids = [args["instanceId"]] if args.get("instanceId") else []
    found = [instance for instance in _instances(ec2, args, ids) if instance["State"]["Name"] != "terminated"]
    instance = _only(found)
    blocks = described_blocks(ec2, instance, root_device_of(instance))
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    return {
        **args,
        **describe(instance),
        "arn": cloud.arn(args, f"instance/{instance['InstanceId']}"),
        "ebsBlockDevices": blocks["ebsBlockDevices"],
        "id": instance["InstanceId"],
        "launchTime": instance["LaunchTime"].isoformat(),
        "region": args.get("region") or cloud.region,
        "rootBlockDevices": [blocks["rootBlockDevice"]] if "rootBlockDevice" in blocks else [],
        "tags": tags,
    }


def get_instances(cloud: Cloud, args: Properties) -> Properties:
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/getinstances/."""
    states = args.get("instanceStateNames") or ["running"]
    found = list(_instances(cloud.ec2(args), args, [], {"Name": "instance-state-name", "Values": states}))
    region = args.get("region") or cloud.region
    return {
        **args,
        "id": region,
        "ids": [instance["InstanceId"] for instance in found],
        "instanceTags": args.get("instanceTags") or {},
        "ipv6Addresses": [],
        "privateIps": [instance["PrivateIpAddress"] for instance in found if instance.get("PrivateIpAddress")],
        "publicIps": [instance["PublicIpAddress"] for instance in found if instance.get("PublicIpAddress")],
        "region": region,
    }


def get_ami(cloud: Cloud, args: Properties) -> Properties:
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/getami/.

    Raises:
        LookupError: no image is found, or several without `mostRecent`.
    """
    options = {"Owners": args.get("owners"), "Filters": _filters(args)}
    images = cloud.ec2(args).describe_images(**{name: value for name, value in options.items() if value})["Images"]
    images = [image for image in images if re.search(args.get("nameRegex") or "", image.get("Name", ""))]
    if args.get("mostRecent"):
        images = sorted(images, key=lambda image: str(image["CreationDate"]))[-1:]
    image = _only(images)
    return {
        **args,
        "architecture": image.get("Architecture", ""),
        "arn": f"arn:aws:ec2:{args.get('region') or cloud.region}::image/{image['ImageId']}",
        "creationDate": image["CreationDate"],
        "id": image["ImageId"],
        "imageId": image["ImageId"],
        "name": image.get("Name", ""),
        "ownerId": image.get("OwnerId", ""),
        "region": args.get("region") or cloud.region,
        "rootDeviceName": image.get("RootDeviceName", ""),
        "tags": {tag["Key"]: tag["Value"] for tag in image.get("Tags", [])},
    }


def get_region(cloud: Cloud, args: Properties) -> Properties:
    """https://www.pulumi.com/registry/packages/aws/api-docs/getregion/."""
    region = args.get("region") or args.get("name") or cloud.region
    return {
        "description": region,
        "endpoint": f"ec2.{region}.amazonaws.com",
        "id": region,
        "name": region,
        "region": region,
    }


def get_subnet(cloud: Cloud, args: Properties) -> Properties:
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/getsubnet/.

    Raises:
        LookupError: no subnet is found, or several.
    """
    ids = [args["id"]] if args.get("id") else []
    subnet = _only(cloud.ec2(args).describe_subnets(SubnetIds=ids, Filters=_filters(args))["Subnets"])
    return {
        **args,
        "arn": cloud.arn(args, f"subnet/{subnet['SubnetId']}"),
        "availabilityZone": subnet["AvailabilityZone"],
        "cidrBlock": subnet["CidrBlock"],
        "id": subnet["SubnetId"],
        "outpostArn": subnet.get("OutpostArn", ""),
        "region": args.get("region") or cloud.region,
        "vpcId": subnet["VpcId"],
    }


def get_availability_zone(cloud: Cloud, args: Properties) -> Properties:
    """https://www.pulumi.com/registry/packages/aws/api-docs/getavailabilityzone/.

    Raises:
        LookupError: no zone is found, or several.
    """
    zones = cloud.ec2(args).describe_availability_zones(
        AllAvailabilityZones=bool(args.get("allAvailabilityZones")),
        ZoneNames=[args["name"]] if args.get("name") else [],
        Filters=_filters(args),
    )
    zone = _only(zones["AvailabilityZones"])
    return {
        **args,
        "id": zone["ZoneName"],
        "name": zone["ZoneName"],
        "region": zone["RegionName"],
        "zoneId": zone["ZoneId"],
        "zoneType": zone["ZoneType"],
    }


FUNCTIONS: dict[str, Callable[[Cloud, Properties], Properties]] = {
    "aws:ec2/getAmi:getAmi": get_ami,
    "aws:ec2/getInstance:getInstance": get_instance,
    "aws:ec2/getInstances:getInstances": get_instances,
    "aws:ec2/getSubnet:getSubnet": get_subnet,
    "aws:index/getAvailabilityZone:getAvailabilityZone": get_availability_zone,
    "aws:index/getRegion:getRegion": get_region,
}


def _instances(ec2: Any, args: Properties, ids: list[str], *more: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    tags = [{"Name": f"tag:{key}", "Values": [value]} for key, value in (args.get("instanceTags") or {}).items()]
    pages = ec2.get_paginator("describe_instances").paginate(InstanceIds=ids, Filters=[*_filters(args), *tags, *more])
    for page in pages:
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _filters(args: Properties) -> list[dict[str, Any]]:
    return [{"Name": wanted["name"], "Values": wanted["values"]} for wanted in args.get("filters") or []]


def _only(found: list[Any]) -> Any:
    if len(found) == 1:
        return found[0]
    how_many = "no results" if not found else "more than one result"
    raise LookupError(f"Your query returned {how_many}. Please change your search criteria and try again.")
