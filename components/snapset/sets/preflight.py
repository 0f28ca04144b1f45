"""Find out, before the call, what would make it fail: inputs that don't fit the instance, or a missing permission."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Instance, Volume
from snapset.retry import Retry
from snapset.rules import Problem
from snapset.sets import tags
from snapset.sets.inputs import MAX_EXCLUSIONS, SetInputs

# Returns the volumes of these ids; those that can't be seen are left out.
Describe = Callable[[list[str]], list[Volume]]


def find_problems(ec2: Ec2, inputs: SetInputs, *, dry_run: bool, retry: Retry) -> list[Problem]:
    """Return every reason why CreateSnapshots would fail now, by the property that is to blame. Creates nothing.

    If a check lacks a permission or an answer, that is said in one line, and is not reported as a problem. With
    `dry_run`, AWS is also asked whether the call would be allowed.
    """
    unchecked = f"warning: {inputs.instance_id} is not checked"
    try:
        try:
            instance = ec2.describe_instance(inputs.instance_id)
            inputs = resolve(inputs, instance, describe=ec2.describe_volumes)
            found = _find_misfits(ec2, inputs, instance)
        except errors.NotPermittedError as error:
            retry.say(f"{unchecked}: {error}")
            found = []
        if dry_run and not found:
            ec2.check_create_snapshots(inputs.request(set_id=tags.new_set_id()))
    except (errors.ThrottledError, errors.NoAnswerError) as error:
        # create_set() retries these errors. An early check must not fail the run because of them.
        retry.say(f"{unchecked}: {error}")
        return []
    except errors.SnapsetError as error:
        return [Problem(property="instance_id", reason=errors.show(error))]
    return found


def resolve(inputs: SetInputs, instance: Instance, *, describe: Describe) -> SetInputs:
    """Return the inputs with what the instance adds to them now: volumes that have a tag, and tags of its own.

    Args:
        inputs: what to snapshot.
        instance: of what.
        describe: returns the volumes of these ids.

    Raises:
        SnapsetError: the volumes can't be described.
    """
    tagged: list[str] = []
    if wanted := inputs.exclude_data_volume_tags.items():
        data = [volume_id for volume_id in instance.devices if volume_id != instance.root_volume_id]
        tagged = [volume.volume_id for volume in describe(data) if wanted & volume.tags.items()]
    handed_on = {
        key: value
        for key, value in instance.tags.items()
        if inputs.copy_tags_from_instance and not key.lower().startswith(("aws:", tags.PREFIX))
    }
    return replace(inputs, tagged_volume_ids=tuple(tagged), instance_tags=handed_on)


def volumes_of(inputs: SetInputs, instance: Instance) -> dict[str, str]:
    """Return the volumes of the instance that the inputs leave in, each with its device."""
    left_out = set(inputs.all_exclusions)
    if inputs.exclude_boot_volume:
        left_out.add(instance.root_volume_id or "")
    return {volume_id: device for volume_id, device in instance.devices.items() if volume_id not in left_out}


def check_instance(inputs: SetInputs, instance: Instance) -> list[Problem]:
    """Return what of the inputs does not fit the instance."""
    instance_id = instance.instance_id
    if instance.is_gone:
        reason = f"{instance_id} is {instance.state}: its volumes can no longer be snapshotted"
        return [Problem(property="instance_id", reason=reason)]
    found: list[Problem] = []
    for volume_id in inputs.exclude_data_volume_ids:
        if volume_id == instance.root_volume_id:
            reason = f"{volume_id} is the root volume of {instance_id}; to leave it out, set exclude_boot_volume"
        elif volume_id not in instance.devices:
            attached = ", ".join(instance.devices) or "none"
            reason = f"{volume_id} is not attached to {instance_id} (attached: {attached})"
        else:
            continue
        found.append(Problem(property="exclude_data_volume_ids", reason=reason))
    if not volumes_of(inputs, instance):
        named = ("exclude_data_volume_ids", "exclude_data_volume_tags")
        blamed = next((name for name in named if getattr(inputs, name)), "exclude_boot_volume")
        reason = f"nothing is left to snapshot: {instance_id} has no volume that is not excluded"
        found.append(Problem(property=blamed, reason=reason))
    if (number := len(inputs.all_exclusions)) > MAX_EXCLUSIONS:
        reason = f"{number} volumes of {instance_id} would be left out; AWS takes at most {MAX_EXCLUSIONS}"
        found.append(Problem(property="exclude_data_volume_tags", reason=reason))
    if (number := len(inputs.user_tags)) > tags.MAX_USER_TAGS:
        reason = f"with those of {instance_id}, {number} tags are too many; there is room for {tags.MAX_USER_TAGS}"
        found.append(Problem(property="copy_tags_from_instance", reason=reason))
    if inputs.outpost_arn and inputs.outpost_arn != instance.outpost_arn:
        place = f"on {instance.outpost_arn}" if instance.outpost_arn else "not on an Outpost"
        reason = f"{instance_id} is {place}; give the instance's own Outpost, or none"
        found.append(Problem(property="outpost_arn", reason=reason))
    return found


def _find_misfits(ec2: Ec2, inputs: SetInputs, instance: Instance) -> list[Problem]:
    found = check_instance(inputs, instance)
    if inputs.location and not found and ec2.describe_zone_type(instance.availability_zone) != "local-zone":
        place = f"{inputs.instance_id} runs in {instance.availability_zone}"
        found.append(Problem(property="location", reason=f"{place}, which is not a Local Zone; leave location out"))
    return found
