"""Find at preview what would fail: do the inputs fit the instance as it is now, and would AWS allow the call?"""

from __future__ import annotations

from collections.abc import Callable

from snapset import errors
from snapset.aws.ec2 import Ec2, Instance
from snapset.sets import create as lifecycle
from snapset.sets import tags
from snapset.sets.inputs import Problem, SetInputs


def find_problems(ec2: Ec2, inputs: SetInputs, *, dry_run: bool = True, say: Callable[[str], None]) -> list[Problem]:
    """Return every reason why CreateSnapshots would fail now, by the property that is to blame. Creates nothing.

    Args:
        ec2: where.
        inputs: what would be asked for.
        dry_run: ask AWS, too, whether the call would be allowed.
        say: told in one line what can't be checked for want of a permission or of an answer, which is no problem
            by itself.
    """
    unchecked = f"warning: {inputs.instance_id} is not checked"
    try:
        try:
            found = _fit_problems(ec2, inputs)
        except errors.NotPermittedError as error:
            say(f"{unchecked}: {error}")
            found = []
        if dry_run and not found:
            ec2.check_create_snapshots(inputs, lifecycle.tags_of(inputs, set_id=tags.new_set_id()))
    except (errors.ThrottledError, errors.NoAnswerError) as error:
        # The call itself waits for better times; what only finds problems early must not be one.
        say(f"{unchecked}: {error}")
        return []
    except errors.SnapsetError as error:
        return [Problem(property="instance_id", reason=errors.show(error))]
    return found


def _fit_problems(ec2: Ec2, inputs: SetInputs) -> list[Problem]:
    instance = ec2.describe_instance(inputs.instance_id)
    found = check_instance(inputs, instance)
    if inputs.location and not found and ec2.describe_zone_type(instance.availability_zone) != "local-zone":
        where = f"{inputs.instance_id} runs in {instance.availability_zone}"
        found.append(Problem(property="location", reason=f"{where}, which is not a Local Zone; leave location out"))
    return found


def volumes_of(inputs: SetInputs, instance: Instance) -> dict[str, str]:
    """Return the volumes of the instance that the inputs leave in, each with its device, the root first."""
    left_out = set(inputs.exclude_data_volume_ids)
    if inputs.exclude_boot_volume:
        left_out.add(instance.root_volume_id or "")
    kept = [pair for pair in instance.devices.items() if pair[0] not in left_out]
    return dict(sorted(kept, key=lambda pair: (pair[1] != instance.root_device_name, pair[1])))


def check_instance(inputs: SetInputs, instance: Instance) -> list[Problem]:
    """Return what of the inputs does not fit the instance."""
    where = instance.instance_id
    if instance.state in ("terminated", "shutting-down"):
        gone = f"{where} is {instance.state}: its volumes can no longer be snapshotted"
        return [Problem(property="instance_id", reason=gone)]
    found: list[Problem] = []
    for volume_id in inputs.exclude_data_volume_ids:
        if volume_id == instance.root_volume_id:
            wrong = f"{volume_id} is the root volume of {where}; to leave it out, set exclude_boot_volume"
        elif volume_id not in instance.devices:
            wrong = f"{volume_id} is not attached to {where} (attached: {', '.join(instance.devices) or 'none'})"
        else:
            continue
        found.append(Problem(property="exclude_data_volume_ids", reason=wrong))
    if not volumes_of(inputs, instance):
        blamed = "exclude_data_volume_ids" if inputs.exclude_data_volume_ids else "exclude_boot_volume"
        wrong = f"nothing is left to snapshot: {where} has no volume that is not excluded"
        found.append(Problem(property=blamed, reason=wrong))
    if inputs.outpost_arn and inputs.outpost_arn != instance.outpost_arn:
        place = f"on {instance.outpost_arn}" if instance.outpost_arn else "not on an Outpost"
        wrong = f"{where} is {place}; give the instance's own Outpost, or none"
        found.append(Problem(property="outpost_arn", reason=wrong))
    return found
