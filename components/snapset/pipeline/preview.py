"""What a backup would take, and what would stand in its way: asked of EC2 alone, without an engine and a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict

from snapset import errors
from snapset.aws.ec2 import Ec2, connect
from snapset.aws.session import find_region
from snapset.pipeline.request import BackupRequest
from snapset.retry import Retry
from snapset.sets import preflight
from snapset.sets.find import find_sets_of
from snapset.sets.inputs import SetInputs, parse


class PlannedVolume(TypedDict):
    """One volume that would be snapshotted. `size_gib` in GiB, or null where it may not be described."""

    volume_id: str
    device_name: str
    size_gib: int | None


class PlannedSet(TypedDict):
    """What would be done for one instance: a new set of these volumes, or `set_id`, which the change has already."""

    instance_id: str
    region: str
    set_id: str | None
    volumes: list[PlannedVolume]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would be taken, and the failures, by instance."""

    planned: list[PlannedSet]
    failures: dict[str, errors.SnapsetError]


def preview(request: BackupRequest, *, retry: Retry) -> Preview:
    """Find out what a backup would do. Creates nothing, and leaves no stack behind.

    Raises:
        InputError: no Region is set anywhere.
    """
    settings = request.settings
    region = request.inputs.get("region") or find_region(settings)
    ec2 = connect(settings.in_region(region))
    found = Preview(planned=[], failures={})
    for instance_id in request.instance_ids:
        try:
            given: dict[str, Any] = {**request.inputs, "region": region, "scope": "", "instance_id": instance_id}
            inputs = parse({**given, "change_id": request.change_id})
            found.planned.append(_plan(ec2, inputs, retry=retry))
        except errors.SnapsetError as error:
            found.failures[instance_id] = error
    return found


def _plan(ec2: Ec2, inputs: SetInputs, *, retry: Retry) -> PlannedSet:
    for problem in preflight.find_problems(ec2, inputs, dry_run=True, retry=retry):
        known = errors.parse_shown(problem.reason)
        raise known or errors.InputError(f"reading {problem.property}: {problem.reason}.")
    doing = f"describing instance {inputs.instance_id}"
    instance = retry.while_throttled(lambda: ec2.describe_instance(inputs.instance_id), doing=doing)
    volumes = preflight.volumes_of(preflight.resolve(inputs, instance, describe=ec2.describe_volumes), instance)
    sizes = _find_sizes(ec2, list(volumes), retry=retry)
    return PlannedSet(
        instance_id=inputs.instance_id,
        region=inputs.region,
        set_id=_find_served(ec2, inputs, retry=retry),
        volumes=[
            PlannedVolume(volume_id=volume_id, device_name=device, size_gib=sizes.get(volume_id))
            for volume_id, device in sorted(
                volumes.items(), key=lambda item: (item[0] != instance.root_volume_id, item[1])
            )
        ],
    )


def _find_sizes(ec2: Ec2, volume_ids: list[str], *, retry: Retry) -> dict[str, int]:
    try:
        found = retry.while_throttled(lambda: ec2.describe_volumes(volume_ids), doing="describing the volumes")
        return {volume.volume_id: volume.size_gib for volume in found}
    except errors.SnapsetError as error:
        retry.say(f"warning: the volumes' sizes are not known: {error}")
        return {}


def _find_served(ec2: Ec2, inputs: SetInputs, *, retry: Retry) -> str | None:
    sets = find_sets_of(ec2, instance_id=inputs.instance_id, change_id=inputs.change_id, retry=retry)
    return next((found.set_id for found in sets if found.is_whole and found.claims), None)
