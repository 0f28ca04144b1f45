"""Images that use snapshots, and instances that get their image's root volume."""

from collections.abc import Sequence
from typing import Any

ROOT_DEVICE = "/dev/sda1"
_ROOT_SIZE = 8


class ImagesBackend:
    """The part of one region's backend that registers images and runs instances."""

    amis: dict[str, Any]
    snapshots: dict[str, Any]
    get_snapshot: Any
    get_subnet: Any

    def register_mapped_image(
        self, *, name: str, description: str, root_device: str | None, snapshot_ids: Sequence[str]
    ) -> Any:
        """Register an image of these snapshots, the root's first; moto would make up a snapshot instead."""
        for snapshot_id in snapshot_ids:
            self.get_snapshot(snapshot_id)
        image = self.register_image(name, description)  # type: ignore[attr-defined]
        image.root_device_name = root_device or ROOT_DEVICE
        image.mapped_snapshot_ids = tuple(snapshot_ids)
        if snapshot_ids:
            self.snapshots.pop(image.ebs_snapshot.id)
            image.ebs_snapshot = self.get_snapshot(snapshot_ids[0])
        return image

    def run_instances(
        self, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Any:
        """Run instances with the image's root volume, which moto drops when only other devices are mapped."""
        image = self.amis.get(image_id)
        root_device = image.root_device_name if image else ROOT_DEVICE
        mappings = list(kwargs.get("block_device_mappings") or [])
        from_template = kwargs.get("launch_template") and not mappings
        if not from_template and all(mapping["DeviceName"] != root_device for mapping in mappings):
            root = {"DeviceName": root_device, "Ebs": {"VolumeSize": _ROOT_SIZE, "DeleteOnTermination": True}}
            kwargs["block_device_mappings"] = [root, *mappings]
        reservation = super().run_instances(  # type: ignore[misc]
            image_id, count, user_data, security_group_names, **kwargs
        )
        for instance in reservation.instances:
            subnet = self.get_subnet(instance.subnet_id)
            instance.outpost_arn = getattr(subnet, "outpost_arn", None)
            # EC2 has this time in whole seconds.
            instance.launch_time = instance.launch_time.replace(microsecond=0)
        return reservation
