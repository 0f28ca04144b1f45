"""`aws.ec2.Ami`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from standin.blocks import EBS, find_image, mapping
from standin.cloud import Cloud, change_tags, tag_specifications, wait_until
from standin.resource import Properties, Resource

_REGISTER = {
    "architecture": "Architecture",
    "bootMode": "BootMode",
    "description": "Description",
    "enaSupport": "EnaSupport",
    "imdsSupport": "ImdsSupport",
    "name": "Name",
    "rootDeviceName": "RootDeviceName",
    "sriovNetSupport": "SriovNetSupport",
    "tpmSupport": "TpmSupport",
    "virtualizationType": "VirtualizationType",
}
_DEFAULTS = {
    "architecture": "x86_64",
    "enaSupport": False,
    "sriovNetSupport": "simple",
    "virtualizationType": "paravirtual",
}


class Ami(Resource):
    """https://www.pulumi.com/registry/packages/aws/api-docs/ec2/ami/."""

    noun = "EC2 AMI"
    required = (("name",),)
    replacing = frozenset(_REGISTER.keys() - {"description"} | {"ebsBlockDevices", "region"})
    kept = frozenset(_DEFAULTS.keys() | {"ebsBlockDevices", "region"})
    optional = frozenset(_REGISTER.keys() - _DEFAULTS.keys())
    computed = frozenset({"arn", "ownerId", "platformDetails", "usageOperation"})
    names_itself = True
    # Optional and not computed in ec2_ami.go of hashicorp/terraform-provider-aws, and read from EC2.
    lost_in_blocks = frozenset({"encrypted", "iops"})

    @classmethod
    def create(cls, cloud: Cloud, inputs: Properties) -> tuple[str, Properties]:
        """Register the image and wait until it is available."""
        ec2 = cloud.ec2(inputs)
        wanted = {**_DEFAULTS, **inputs}
        image_id = ec2.register_image(
            **{option: wanted[name] for name, option in _REGISTER.items() if wanted.get(name) is not None},
            BlockDeviceMappings=[
                mapping({"volumeType": "standard", **block}) for block in inputs.get("ebsBlockDevices") or []
            ],
            TagSpecifications=tag_specifications(image=inputs.get("tagsAll")),
        )["ImageId"]
        wait_until(lambda: (find_image(ec2, image_id) or {}).get("State") == "available", f"{image_id} create")
        return image_id, cls._outputs(cloud, find_image(ec2, image_id), inputs)

    @classmethod
    def read(cls, cloud: Cloud, resource_id: str, state: Properties) -> Properties | None:
        """Look up the image."""
        image = find_image(cloud.ec2(state), resource_id)
        return cls._outputs(cloud, image, state) if image else None

    @classmethod
    def update(cls, cloud: Cloud, resource_id: str, olds: Properties, news: Properties) -> Properties:
        """Change the image's tags."""
        ec2 = cloud.ec2(news)
        change_tags(ec2, [resource_id], olds.get("tagsAll") or {}, news.get("tagsAll") or {})
        return cls._outputs(cloud, find_image(ec2, resource_id), news)

    @classmethod
    def delete(cls, cloud: Cloud, resource_id: str, state: Properties) -> None:
        """Deregister the image; its snapshots stay."""
        ec2 = cloud.ec2(state)
        if find_image(ec2, resource_id):
            ec2.deregister_image(ImageId=resource_id)
        wait_until(lambda: find_image(ec2, resource_id) is None, f"EC2 AMI ({resource_id}) delete")

    @classmethod
    def _outputs(cls, cloud: Cloud, image: Mapping[str, Any], state: Properties) -> Properties:
        blocks = [
            {
                "deviceName": block["DeviceName"],
                **{name: block["Ebs"][option] for name, option in EBS.items() if option in block["Ebs"]},
            }
            for block in image["BlockDeviceMappings"]
        ]
        return {
            **{name: image[option] for name, option in _REGISTER.items() if option in image},
            "id": image["ImageId"],
            "arn": cloud.arn(state, f"image/{image['ImageId']}"),
            "ebsBlockDevices": blocks,
            "ownerId": image["OwnerId"],
            "platformDetails": image["PlatformDetails"],
            "region": state.get("region") or cloud.region,
            "usageOperation": image["UsageOperation"],
            **cloud.split_tags(image.get("Tags", []), state),
        }
