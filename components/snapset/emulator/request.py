"""CreateSnapshots' request, parsed and checked before any resource is looked up.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import errors, rules

REGIONAL = "regional"
LOCAL = "local"


@dataclass(frozen=True)
class CreateSnapshotsRequest:
    """One valid request for a set."""

    instance_id: str
    exclude_boot_volume: bool
    exclude_data_volume_ids: tuple[str, ...]
    description: str
    tags: Mapping[str, str]
    copy_tags: bool
    outpost_arn: str | None
    location: str | None


def read_create_snapshots(params: Mapping[str, Any]) -> CreateSnapshotsRequest:
    """The request in these parameters, which have botocore's names; raises EC2's error if it is invalid."""
    spec = params.get("InstanceSpecification") or {}
    instance_id = spec.get("InstanceId")
    if not instance_id:
        raise errors.missing("InstanceSpecification.InstanceId")
    rules.check_id(rules.INSTANCE, instance_id)
    description = params.get("Description") or ""
    rules.check_description(description)
    outpost_arn, location = params.get("OutpostArn"), params.get("Location")
    _check_destination(outpost_arn=outpost_arn, location=location)
    return CreateSnapshotsRequest(
        instance_id=instance_id,
        exclude_boot_volume=bool(spec.get("ExcludeBootVolume")),
        exclude_data_volume_ids=_read_exclusions(spec.get("ExcludeDataVolumeIds") or []),
        description=description,
        tags=read_tag_specifications(params.get("TagSpecifications") or [], "snapshot"),
        copy_tags=_read_copy_tags(params.get("CopyTagsFromSource")),
        outpost_arn=outpost_arn,
        location=location,
    )


def read_tag_specifications(specifications: Sequence[Mapping[str, Any]], expected_type: str) -> dict[str, str]:
    """The tags that TagSpecification.N puts on resources of this type. EC2 allows one specification per type."""
    if not specifications:
        return {}
    for specification in specifications:
        resource_type = specification.get("ResourceType")
        if not resource_type:
            raise errors.invalid_value("Tag specification resource type must have a value")
        if resource_type != expected_type:
            raise errors.invalid_value(f"'{resource_type}' is not a valid taggable resource type for this operation.")
    if len(specifications) > 1:
        raise errors.invalid_value("The same resource type may not be specified more than once in tag specifications")
    tags = read_tags(specifications[0].get("Tags") or [])
    if not tags:
        raise errors.invalid_value("Tag specification must have at least one tag")
    return tags


def read_tags(tags: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """These Tag.N as a mapping; raises EC2's error if they are invalid."""
    pairs = [(tag.get("Key") or "", tag.get("Value") or "") for tag in tags]
    rules.check_tags(pairs)
    return dict(pairs)


def _check_destination(*, outpost_arn: str | None, location: str | None) -> None:
    if outpost_arn is not None:
        rules.check_outpost_arn(outpost_arn)
    if location not in (None, REGIONAL, LOCAL):
        raise errors.invalid_value(f"Value ({location}) for parameter Location is invalid.")
    if outpost_arn is not None and location is not None:
        # assumption: OutpostArn is for Outposts only and Location for Local Zones only; no code is documented.
        raise errors.invalid_combination("The parameter OutpostArn cannot be used with the parameter Location")


def _read_exclusions(volume_ids: Sequence[str]) -> tuple[str, ...]:
    if len(volume_ids) > rules.MAX_EXCLUSIONS:
        # assumption: the reference gives the limit, but no code.
        raise errors.invalid_value(f"You can specify up to {rules.MAX_EXCLUSIONS} volume IDs in ExcludeDataVolumeId.")
    rules.check_ids(rules.VOLUME, volume_ids)
    for volume_id in volume_ids:
        if volume_ids.count(volume_id) > 1:
            # assumption: the reference does not mention an id that is listed twice.
            raise errors.invalid_value(f"The volume {volume_id} is specified more than once in ExcludeDataVolumeId.")
    return tuple(volume_ids)


def _read_copy_tags(source: str | None) -> bool:
    if source not in (None, "volume"):
        raise errors.invalid_value(f"Value ({source}) for parameter CopyTagsFromSource is invalid.")
    return source == "volume"
