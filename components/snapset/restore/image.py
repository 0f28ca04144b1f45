"""An image of a set, so that an instance can be launched from it as the set's was.

The name of an image is unique, and that of a set's is made of the set's id: it is registered once, whatever fails.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws.ec2 import Ec2, tag_list
from snapset.aws.errors import INVALID_IMAGE_NAME_DUPLICATE
from snapset.aws.records import InstanceFacts, Snapshot
from snapset.restore.plan import find_restorable
from snapset.retry import polls
from snapset.sets import tags
from snapset.sets.model import SnapshotSet
from snapset.sets.volume_arguments import volume_arguments
from snapset.sets.volume_tag import VolumeAttributes
from snapset.sets.volume_tag import parse as parse_attributes

# On the image: the set that it was registered of.
IMAGE_OF = "snapset:image-of"
# What AWS bills for plain Linux: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-info-fields.html
_LINUX = "RunInstances"
# What AWS makes of a mapping without a type; Pulumi's default is a magnetic disk.
_USUAL_TYPE = "gp2"
# What `aws.ec2.Ami` calls the arguments of an `aws.ebs.Volume`. Encryption and key are those of the snapshot.
_OF_VOLUME = {
    "snapshot_id": "snapshot_id",
    "size": "volume_size",
    "type": "volume_type",
    "iops": "iops",
    "throughput": "throughput",
}


class ImageRecord(TypedDict):
    """An image of a set, in JSON documents. `snapshot_ids`: the root volume's first."""

    image_id: str
    name: str
    set_id: str
    region: str
    architecture: str
    root_device_name: str
    snapshot_ids: list[str]


@dataclass(frozen=True, kw_only=True)
class Image:
    """What is to be registered. `volumes`: each snapshot with how its volume was, by device, the root first."""

    name: str
    set_id: str
    was: InstanceFacts
    volumes: Mapping[str, tuple[Snapshot, VolumeAttributes | None]]

    def request(self, user_tags: Mapping[str, str]) -> dict[str, Any]:
        """Return the RegisterImage request."""
        optional = {"BootMode": self.was.boot_mode, "TpmSupport": self.was.tpm_support}
        return {
            "Name": self.name,
            "Description": f"{self.set_id} of snapset",
            "Architecture": self.was.architecture,
            "RootDeviceName": self.was.root_device,
            "VirtualizationType": "hvm",
            "EnaSupport": self.was.has_ena,
            "BlockDeviceMappings": [
                {"DeviceName": device, "Ebs": {"SnapshotId": snapshot.snapshot_id, **_ebs(was)}}
                for device, (snapshot, was) in self.volumes.items()
            ],
            "TagSpecifications": [{"ResourceType": "image", "Tags": tag_list({**user_tags, IMAGE_OF: self.set_id})}],
            **{name: value for name, value in optional.items() if value},
        }

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of an `aws.ec2.Ami`, but for its name, which Pulumi chooses.

        https://www.pulumi.com/registry/packages/aws/api-docs/ec2/ami/
        """
        optional = {"boot_mode": self.was.boot_mode, "tpm_support": self.was.tpm_support}
        return {
            "description": f"{self.set_id} of snapset",
            "architecture": self.was.architecture,
            "root_device_name": self.was.root_device,
            "virtualization_type": "hvm",
            "ena_support": self.was.has_ena,
            "ebs_block_devices": [
                {"device_name": device, **_block(snapshot, was)} for device, (snapshot, was) in self.volumes.items()
            ],
            "tags": {IMAGE_OF: self.set_id},
            **{name: value for name, value in optional.items() if value},
        }

    def record(self, image_id: str, *, region: str) -> ImageRecord:
        """Return it as JSON documents have it."""
        return ImageRecord(
            image_id=image_id,
            name=self.name,
            set_id=self.set_id,
            region=region,
            architecture=self.was.architecture,
            root_device_name=self.was.root_device,
            snapshot_ids=[snapshot.snapshot_id for snapshot, _ in self.volumes.values()],
        )


def register_image(ec2: Ec2, set_id: str, *, exclude_data: bool, user_tags: Mapping[str, str]) -> ImageRecord:
    """Register the image of a set, unless it is registered already. Safe to repeat.

    Raises:
        InputError: the set is not whole or has not completed, or what is made of it would not boot.
        SnapsetError: the answer of AWS.
    """
    doing = f"registering an image of {set_id}"
    image = image_of(find_restorable(ec2, set_id, doing=doing), exclude_data=exclude_data, doing=doing)
    try:
        image_id = ec2.register_image(image.request(user_tags), doing=doing)
    except errors.SnapsetError as error:
        if error.code != INVALID_IMAGE_NAME_DUPLICATE:
            raise
        image_id = _find_registered(ec2, image.name, error)
        ec2.say(f"{doing}: {image_id} is registered already")
    return image.record(image_id, region=str(ec2.settings.region))


def _find_registered(ec2: Ec2, name: str, error: errors.SnapsetError) -> str:
    for _ in polls(ec2.limits.consistency):
        if found := ec2.find_images({"name": [name]}):
            return found[0]
    raise error


def find_images_of(ec2: Ec2, found: SnapshotSet) -> list[str] | None:
    """Return the ids of the images that use the set, or None, with a warning, if the permission is missing."""
    try:
        return sorted(ec2.find_images({"block-device-mapping.snapshot-id": found.snapshot_ids}))
    except errors.NotPermittedError as error:
        ec2.say(f"warning: whether an image uses {found.set_id} is not known: {error}")
        return None


def image_of(found: SnapshotSet, *, exclude_data: bool, doing: str) -> Image:
    """Return what is to be registered.

    Raises:
        InputError: what is made of it would not boot; or that is not known.
    """
    was, by_device = found.was or InstanceFacts(), {found.devices[one.snapshot_id]: one for one in found.snapshots}
    if reason := _find_obstacle(was, by_device):
        advice = "Launch an instance of the same image as that one"
        raise errors.InputError(
            f"{doing}: {reason}. {advice}, then: snapset rollback NEW --of {found.instance_id} --set {found.set_id}"
        )
    devices = [was.root_device] if exclude_data else [found.devices[one.snapshot_id] for one in found.snapshots]
    return Image(
        name=f"snapset {found.set_id}{' root' if exclude_data else ''}",
        set_id=found.set_id,
        was=was,
        volumes={
            device: (by_device[device], parse_attributes(by_device[device].tags.get(tags.VOLUME, "")))
            for device in devices
        },
    )


def _find_obstacle(was: InstanceFacts, by_device: Mapping[str, Snapshot]) -> str:
    """Return why an instance would not boot from an image of these snapshots; empty if it would."""
    if not (was.root_device and was.architecture):
        return "what the instance was is not recorded with the set"
    if was.root_device not in by_device:
        return f"the set has no snapshot of the root device {was.root_device}"
    if was.usage_operation not in ("", _LINUX):
        return f"AWS bills the instance as {was.usage_operation}, and what is launched from snapshots as plain Linux"
    if was.product_codes:
        return f"the instance is of AWS Marketplace ({', '.join(was.product_codes)})"
    if any(one.outpost_arn for one in by_device.values()):
        return "the snapshots are stored on an Outpost"
    return ""


def _ebs(was: VolumeAttributes | None) -> dict[str, Any]:
    """Return what RegisterImage takes of how a volume was; of what is not known, AWS's default is used."""
    if was is None:
        return {}
    known = {"VolumeType": was.volume_type, "Iops": was.iops, "Throughput": was.throughput}
    return {
        "DeleteOnTermination": was.delete_on_termination,
        **{name: value for name, value in known.items() if value},
    }


def _block(snapshot: Snapshot, was: VolumeAttributes | None) -> dict[str, Any]:
    """Return what `aws.ec2.Ami` takes of how a volume was."""
    known = {"type": _USUAL_TYPE, **volume_arguments(snapshot)}
    block = {name: known[argument] for argument, name in _OF_VOLUME.items() if argument in known}
    return {**block, "delete_on_termination": was.delete_on_termination} if was else block
