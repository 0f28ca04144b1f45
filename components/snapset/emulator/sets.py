"""Which volumes a set covers and which tags its snapshots get. All of it is decided before a snapshot is made."""

from collections.abc import Mapping
from typing import Any

from . import errors, rules
from .request import LOCAL, CreateSnapshotsRequest

# The states of an instance that no longer has volumes.
_STATES_WITHOUT_VOLUMES = ("shutting-down", "terminated")


def find_source(backend: Any, request: CreateSnapshotsRequest) -> Any:
    """The instance; raises EC2's error if no set of it can be made, or not stored where the request says."""
    instance = backend.get_instance(request.instance_id)
    if instance.state in _STATES_WITHOUT_VOLUMES:
        # assumption: the reference names no states, but a terminated instance has no volumes to read.
        raise errors.EC2Error(
            "IncorrectInstanceState", f"The instance '{instance.id}' is in the state '{instance.state}'."
        )
    if request.outpost_arn and request.outpost_arn != getattr(instance, "outpost_arn", None):
        # assumption: the reference requires the instance's own Outpost, but names no code.
        raise errors.invalid_value(f"The instance {instance.id} is not on the Outpost {request.outpost_arn}.")
    if request.location == LOCAL and not backend.is_local_zone(instance.availability_zone):
        # assumption: `local` works in Local Zones only; no code is documented. `regional`, the default, works for
        # every instance.
        raise errors.invalid_value(f"Location 'local' is not supported: {instance.id} is not in a Local Zone.")
    return instance


def choose_volumes(backend: Any, instance: Any, request: CreateSnapshotsRequest) -> list[Any]:
    """The volumes of the instance without the excluded ones."""
    attached = {block.volume_id: device for device, block in instance.get_block_device_mapping}
    excluded = set(request.exclude_data_volume_ids)
    for volume_id in request.exclude_data_volume_ids:
        _check_exclusion(instance, volume_id, attached.get(volume_id))
    if request.exclude_boot_volume:
        excluded |= {volume_id for volume_id, device in attached.items() if device == instance.root_device_name}
    chosen = [volume_id for volume_id in attached if volume_id not in excluded]
    if not chosen:
        # assumption: no code is documented for a set without volumes.
        raise errors.invalid_value(f"No volumes of the instance {instance.id} are left to snapshot.")
    if len(chosen) > rules.MAX_SNAPSHOTS_IN_SET:
        # assumption: the limit is documented in the EBS guide, the code is not.
        raise errors.invalid_value(
            f"A set can have up to {rules.MAX_SNAPSHOTS_IN_SET} snapshots, {instance.id} has {len(chosen)} volumes."
        )
    return [backend.get_volume(volume_id) for volume_id in chosen]


def merge_tags(source: Mapping[str, str], request: CreateSnapshotsRequest) -> dict[str, str]:
    """The tags of the snapshot of a volume with these tags: the copied ones and the request's."""
    copied = source if request.copy_tags else {}
    # assumption: a tag of the request wins over a copied one, and `aws:` tags are not copied.
    tags = {key: value for key, value in copied.items() if not rules.is_reserved(key)} | dict(request.tags)
    if len(tags) > rules.MAX_TAGS:
        raise errors.too_many_tags()
    return tags


def _check_exclusion(instance: Any, volume_id: str, device: str | None) -> None:
    if device is None:
        # assumption: the reference does not say what excluding a volume that is not attached does.
        raise errors.invalid_value(f"The volume {volume_id} is not attached to the instance {instance.id}.")
    if device == instance.root_device_name:
        # assumption: documented to fail ("use ExcludeBootVolume"), without a code.
        raise errors.invalid_value(
            f"The volume {volume_id} is the root volume of {instance.id}. To exclude it, use ExcludeBootVolume."
        )
