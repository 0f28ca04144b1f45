"""An instance's volumes: `rootBlockDevice` and `ebsBlockDevices`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from standin.cloud import change_tags, is_missing
from standin.resource import Properties

# The root device of images that EC2 does not know. The embedded EC2 starts without any.
_ROOT_DEVICE = "/dev/sda1"

EBS = {
    "deleteOnTermination": "DeleteOnTermination",
    "encrypted": "Encrypted",
    "iops": "Iops",
    "kmsKeyId": "KmsKeyId",
    "snapshotId": "SnapshotId",
    "throughput": "Throughput",
    "volumeSize": "VolumeSize",
    "volumeType": "VolumeType",
}
_MODIFY = {"iops": "Iops", "throughput": "Throughput", "volumeSize": "Size", "volumeType": "VolumeType"}


def block_device_mappings(ec2: Any, inputs: Properties) -> list[dict[str, Any]]:
    """The mappings that make RunInstances create these volumes."""
    root, data = inputs.get("rootBlockDevice") or {}, inputs.get("ebsBlockDevices") or []
    if not root and not data:
        return []
    # moto drops the root volume if only others are mapped. Mapping it too does no harm on EC2.
    image = find_image(ec2, inputs["ami"])
    known = {"deviceName": image["RootDeviceName"]} if image else {"deviceName": _ROOT_DEVICE, "volumeSize": 8}
    mappings = [mapping({**known, **root})]
    return mappings + [mapping(block) for block in data]


def tag_blocks(ec2: Any, instance: Mapping[str, Any], inputs: Properties) -> None:
    """Tag the volumes of a new instance one by one; RunInstances would give all of them the same tags."""
    root, data = inputs.get("rootBlockDevice") or {}, inputs.get("ebsBlockDevices") or []
    volumes = {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]}
    for block in [{"deviceName": root_device_of(instance), **root}, *data]:
        change_tags(ec2, [volumes[block["deviceName"]]], {}, block.get("tags") or {})


def described_blocks(ec2: Any, instance: Mapping[str, Any], root_device: str) -> Properties:
    """The outputs for the root volume and for all others, including those attached later."""
    listed = [mapping for mapping in instance.get("BlockDeviceMappings", []) if mapping.get("Ebs")]
    mappings = {mapping["Ebs"]["VolumeId"]: mapping for mapping in listed}
    if not mappings:
        return {"ebsBlockDevices": []}
    volumes = ec2.describe_volumes(VolumeIds=sorted(mappings))["Volumes"]
    described = [_described(mappings[volume["VolumeId"]], volume) for volume in volumes]
    described.sort(key=lambda block: str(block["deviceName"]))
    root = next((block for block in described if block["deviceName"] == root_device), None)
    data = [block for block in described if block is not root]
    return {"ebsBlockDevices": data} if root is None else {"rootBlockDevice": root, "ebsBlockDevices": data}


def change_root(ec2: Any, instance_id: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Change the root volume in place to what the program declares."""
    changed = {option: new[name] for name, option in _MODIFY.items() if name in new and new[name] != old.get(name)}
    if changed:
        ec2.modify_volume(VolumeId=old["volumeId"], **changed)
    if "tags" in new:
        change_tags(ec2, [old["volumeId"]], old.get("tags") or {}, new["tags"])
    if new.get("deleteOnTermination") not in {None, old.get("deleteOnTermination")}:
        ebs = {"DeleteOnTermination": new["deleteOnTermination"]}
        ec2.modify_instance_attribute(
            InstanceId=instance_id, BlockDeviceMappings=[{"DeviceName": old["deviceName"], "Ebs": ebs}]
        )


def all_volumes(instance: Mapping[str, Any]) -> list[str]:
    """The ids of all volumes of an instance."""
    return [mapping["Ebs"]["VolumeId"] for mapping in instance.get("BlockDeviceMappings", [])]


def root_device_of(instance: Mapping[str, Any]) -> str:
    """The root device's name."""
    return str(instance.get("RootDeviceName") or _ROOT_DEVICE)


def find_image(ec2: Any, image_id: str) -> Any:
    """Return the image as EC2 describes it, or None if EC2 does not know it."""
    try:
        return next(iter(ec2.describe_images(ImageIds=[image_id])["Images"]), None)
    except ec2.exceptions.ClientError as error:
        if is_missing(error):
            return None
        raise


def mapping(block: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping of one volume, which goes with its instance unless it says otherwise."""
    ebs = {EBS[name]: value for name, value in block.items() if name in EBS}
    return {"DeviceName": block["deviceName"], "Ebs": {"DeleteOnTermination": True, **ebs}}


def _described(mapping: Mapping[str, Any], volume: Mapping[str, Any]) -> Properties:
    return {
        "deleteOnTermination": mapping["Ebs"].get("DeleteOnTermination", False),
        "deviceName": mapping["DeviceName"],
        "encrypted": volume["Encrypted"],
        "iops": volume.get("Iops", 0),
        "kmsKeyId": volume.get("KmsKeyId", ""),
        "snapshotId": volume.get("SnapshotId") or "",
        "tags": {tag["Key"]: tag["Value"] for tag in volume.get("Tags", [])},
        "throughput": volume.get("Throughput", 0),
        "volumeId": volume["VolumeId"],
        "volumeSize": volume["Size"],
        "volumeType": volume["VolumeType"],
    }
