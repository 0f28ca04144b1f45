"""Images, and the instances that are run from them.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import InvalidAMIIdError, UnvailableAMIIdError
from moto.ec2.models.amis import Ami
from moto.ec2.utils import random_ami_id

from . import errors, rules
from .world import WORLD

ROOT_DEVICE = "/dev/sda1"
_ROOT_SIZE = 8
_AMAZON = "137112412989"
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")

# What RegisterImage keeps as it is asked.
_KEPT = (
    *("Architecture", "BootMode", "Description", "EnaSupport", "ImdsSupport", "Name", "RootDeviceName"),
    *("SriovNetSupport", "TpmSupport", "UefiData", "VirtualizationType"),
)
# What an instance has from its image.
_INHERITED = (
    *("architecture", "boot_mode", "ena_support", "platform", "platform_details", "product_codes"),
    *("root_device_name", "tpm_support", "uefi_data", "usage_operation", "virtualization_type"),
)
# moto asks for some attributes by names of its own.
_ATTRIBUTES = {"imds": "imds_support", "ramdisk": "ramdisk_id", "tmp": "tpm_support", "uefi": "uefi_data"}


class StrictImage(Ami):  # type: ignore[misc]
    """One image. moto's serializer reads the attributes by their snake_case names."""

    # assumption: the reference gives no default for the architecture; tools that leave it out get i386.
    architecture = "i386"
    block_device_mappings: Any = ()
    boot_mode = sriov = tpm_support = uefi_data = owner_alias = platform = kernel_id = None
    description = instance_id = None
    ena_support = False
    hypervisor = "xen"
    image_type = "machine"
    platform_details = "Linux/UNIX"
    product_codes: Any = ()
    root_device_name = ROOT_DEVICE
    root_device_type = "ebs"
    state = "available"
    usage_operation = "RunInstances"
    virtualization_type = "paravirtual"

    def __init__(self, backend: Any, **described: Any) -> None:
        # moto's constructor makes a volume, and a snapshot of it.
        self.ec2_backend = backend
        self.id = random_ami_id()
        self.owner_id = backend.account_id
        self.creation_date = datetime.now(timezone.utc)
        self.launch_permissions: list[dict[str, str]] = []
        for name, value in described.items():
            setattr(self, name, value)

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        """The value that DescribeImages compares with a filter."""
        if filter_name == "block-device-mapping.snapshot-id":
            return [mapping["Ebs"].get("SnapshotId", "") for mapping in self.block_device_mappings]
        return super().get_filter_value(filter_name, method_name)


class ImagesBackend:
    """The part of one region's backend that registers images and runs instances."""

    account_id: str
    amis: dict[str, Any]
    deleted_amis: list[str]
    get_instance: Any
    get_snapshot: Any
    get_subnet: Any
    get_volume: Any
    _get_template_from_args: Any

    def register_mapped_image(self, params: Mapping[str, Any]) -> StrictImage:
        """Register an image of the snapshots in these parameters. All checks come first."""
        for image in self.amis.values():
            if (image.owner_id, image.name) == (self.account_id, params["Name"]):
                raise errors.EC2Error(
                    "InvalidAMIName.Duplicate", f"AMI name {image.name} is already in use by AMI {image.id}"
                )
        mappings = [self._complete(mapping) for mapping in params.get("BlockDeviceMappings") or []]
        root_device = params.get("RootDeviceName", ROOT_DEVICE)
        if not any(mapping["DeviceName"] == root_device and "SnapshotId" in mapping["Ebs"] for mapping in mappings):
            raise _invalid_mapping(f"No snapshot is specified for the root device {root_device}.")
        described = {camelcase_to_underscores(name): params[name] for name in _KEPT if name in params}
        image = StrictImage(self, **described, block_device_mappings=mappings)
        image.image_location = f"{self.account_id}/{image.name}"
        self.amis[image.id] = image
        return image

    def add_usual_image(self, *, product_codes: Iterable[str] = (), **described: Any) -> StrictImage:
        """Add an image as AWS's own are, but for what is described."""
        unknown = described.keys() - vars(StrictImage).keys()
        if unknown:
            raise ValueError(f"an image has no {', '.join(sorted(unknown))}")
        image = _make_usual_image(self, **described)
        image.product_codes = [{"ProductCodeId": code, "ProductCodeType": "marketplace"} for code in product_codes]
        self.amis[image.id] = image
        return image

    def describe_image_attribute(self, ami_id: str, attribute_name: str) -> Any:
        """An attribute of an image, or None."""
        if ami_id not in self.amis:
            raise InvalidAMIIdError(ami_id)
        return getattr(self.amis[ami_id], _ATTRIBUTES.get(attribute_name, attribute_name), None)

    def get_instance_uefi_data(self, instance_id: str) -> bytes:
        """The variable store in base64, as the instance has it from its image."""
        return (self.get_instance(instance_id).uefi_data or "").encode()

    def run_instances(
        self, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Any:
        """Run instances with all volumes of their image, which moto drops, and with what the request maps."""
        template: dict[str, Any] = {}
        if kwargs.get("launch_template"):
            template = self._get_template_from_args(kwargs["launch_template"]).data
        image_id = image_id or template.get("ImageId", "")
        if image_id in self.deleted_amis:
            raise UnvailableAMIIdError(image_id)
        image = self.amis.get(image_id) or _make_usual_image(self)
        requested = kwargs.get("block_device_mappings") or template.get("BlockDeviceMappings") or []
        mappings = [self._complete(mapping) for mapping in _override(image.block_device_mappings, requested)]
        kwargs["block_device_mappings"] = mappings
        reservation = super().run_instances(  # type: ignore[misc]
            image_id, count, user_data, security_group_names, **kwargs
        )
        for instance in reservation.instances:
            subnet = self.get_subnet(instance.subnet_id)
            instance.outpost_arn = getattr(subnet, "outpost_arn", None)
            # EC2 has this time in whole seconds.
            instance.launch_time = instance.launch_time.replace(microsecond=0)
            instance.begun = WORLD.now()
            _describe(instance, image)
            for mapping in mappings:
                volume = self.get_volume(instance.block_device_mapping[mapping["DeviceName"]].volume_id)
                volume.iops = mapping["Ebs"].get("Iops", volume.iops)
                volume.throughput = mapping["Ebs"].get("Throughput", volume.throughput)
        return reservation

    def _complete(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """A mapping with what its snapshot and EC2 add to it; raises EC2's error if it makes no volume."""
        # assumption: EC2's first command line tools say that DeleteOnTermination is true unless it is set; the
        # reference names no default for it, nor for the type.
        ebs = {"DeleteOnTermination": True, "VolumeType": "gp2", **(mapping.get("Ebs") or {})}
        if snapshot_id := ebs.get("SnapshotId"):
            snapshot = self.get_snapshot(snapshot_id)
            snapshot.check_usable()
            ebs.setdefault("VolumeSize", snapshot.volume_size)
            if ebs["VolumeSize"] < snapshot.volume_size:
                raise _invalid_mapping(
                    f"Volume of size {ebs['VolumeSize']}GB is smaller than snapshot '{snapshot_id}', "
                    f"expect size >= {snapshot.volume_size}GB",
                )
            ebs["Encrypted"] = bool(snapshot.encrypted or ebs.get("Encrypted"))
        elif "VolumeSize" not in ebs:
            raise errors.missing("size or snapshotId")
        return {"DeviceName": mapping["DeviceName"], "Ebs": {"Encrypted": False, **ebs}}


def check_image(params: Mapping[str, Any]) -> None:
    """Refuse a RegisterImage whose form is not valid."""
    name, mappings = params.get("Name"), params.get("BlockDeviceMappings") or []
    if not name:
        raise errors.missing("name")
    if not _NAME.fullmatch(name):
        # assumption: RegisterImage's reference gives the constraints of a name, and the list of errors this code, but
        # neither says that they belong together.
        raise errors.EC2Error(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '.', '-', '/', '_', and other allowed characters",
        )
    rules.check_description(params.get("Description") or "")
    rules.check_ids(rules.SNAPSHOT, filter(None, (mapping.get("Ebs", {}).get("SnapshotId") for mapping in mappings)))
    devices = [mapping.get("DeviceName") for mapping in mappings]
    if len(set(devices)) < len(devices) or None in devices:
        raise _invalid_mapping("A device name is missing, or specified more than once.")


def _invalid_mapping(message: str) -> errors.EC2Error:
    # assumption: the code is documented for mappings that are not valid; the reference names none for these rules.
    return errors.EC2Error("InvalidBlockDeviceMapping", message)


def _make_usual_image(backend: Any, **described: Any) -> StrictImage:
    """An image as AWS's own are, with the root volume that AWS has made for it."""
    device = described.get("root_device_name", ROOT_DEVICE)
    root = {"DeviceName": device, "Ebs": {"VolumeSize": _ROOT_SIZE, "DeleteOnTermination": True}}
    usual = {"architecture": "x86_64", "ena_support": True, "virtualization_type": "hvm"}
    names = {"name": "al2023", "owner_id": _AMAZON, "owner_alias": "amazon", "launch_permissions": [{"Group": "all"}]}
    return StrictImage(backend, block_device_mappings=[root], **usual | names | described)


def _override(mappings: Iterable[Mapping[str, Any]], requested: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The image's mappings with the request's over them, by device."""
    merged: dict[str, dict[str, Any]] = {mapping["DeviceName"]: dict(mapping) for mapping in mappings}
    for mapping in requested:
        device = mapping["DeviceName"]
        if "NoDevice" in mapping:
            merged.pop(device, None)
            continue
        # assumption: a volume of the request that the image does not have stays when its instance goes.
        base = merged.get(device, {}).get("Ebs", {"DeleteOnTermination": False})
        merged[device] = {"DeviceName": device, "Ebs": {**base, **(mapping.get("Ebs") or {})}}
    return list(merged.values())


def _describe(instance: Any, image: Any) -> None:
    """Let DescribeInstances show what the instance has from its image."""
    for name in _INHERITED:
        setattr(instance, name, getattr(image, name, None))
    # assumption: an image without a boot mode boots as most instance types of its architecture do, and every type can
    # boot what `uefi-preferred` asks for.
    usual = "uefi" if "arm64" in str(image.architecture) else "legacy-bios"
    booted = {None: usual, "uefi-preferred": "uefi"}
    instance.current_instance_boot_mode = booted.get(image.boot_mode, image.boot_mode)
