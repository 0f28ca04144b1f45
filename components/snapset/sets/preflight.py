"""Look at the instances before the call: what they add to the inputs, and what would make the call fail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.errors import INVALID_INSTANCE_NOT_FOUND
from snapset.aws.records import Instance, Volume
from snapset.rules import Problem
from snapset.sets import tags
from snapset.sets.inputs import MAX_EXCLUSIONS, SetInputs
from snapset.sets.journal import JOURNAL, Journal
from snapset.sets.volume_tag import VolumeAttributes


@dataclass(kw_only=True)
class Inspection:
    """What is to be taken, with what the instances add to it; and why some can't be taken.

    Attributes:
        ready: the inputs of each set, with the volumes that their tags exclude, and with the instance's tags.
        volumes: those of each set, by instance, each with its device, as far as they are known.
        problems: what stands in the way, by instance.
        attached: all volumes of each instance, as far as they can be described.
        attributes: how the volumes are, by id: see `snapset.sets.volume_tag`.
    """

    ready: list[SetInputs] = field(default_factory=list)
    volumes: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    attached: Mapping[str, Sequence[Volume]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


def inspect_instances(ec2: Ec2, wanted: Sequence[SetInputs]) -> Inspection:
    """Describe the instances and, at the same time, their volumes.

    Raises:
        SnapsetError: they can't be described.
    """
    instance_ids = [inputs.instance_id for inputs in wanted]
    with ThreadPoolExecutor(1) as pool:
        describing = pool.submit(ec2.describe_instances, instance_ids)
        attached = _find_attached(ec2, wanted)
    instances: Mapping[str, Instance] | None = None
    try:
        instances = describing.result()
    except errors.NotPermittedError as error:
        if any(inputs.needs_instance for inputs in wanted):
            raise
        which = instance_ids[0] if len(wanted) == 1 else f"{len(wanted)} instances"
        unknown = "not checked" if attached else "the snapshots' devices are not recorded"
        ec2.say(f"warning: {which}: {unknown}: {error}")
    attributes = {
        volume.volume_id: VolumeAttributes.of(volume).text()
        for some in attached.values()
        for volume in some
        # Else each instance has its own.
        if len(volume.attachments) == 1
    }
    found = Inspection(attached=attached, attributes=attributes)
    for inputs in wanted:
        _inspect(ec2, inputs, instances, found)
    _refuse_ready(found, lambda inputs: _find_tag_problem(inputs, found))
    return found


def check_ready(ec2: Ec2, found: Inspection) -> None:
    """Find out why sets could not be taken now; AWS is asked, too, by a dry run for one of them. Creates nothing.

    A dry run counts against the rate limit of CreateSnapshots, so it is for previews.

    Raises:
        SnapsetError: AWS would not allow the call.
    """
    _refuse_ready(found, lambda inputs: _find_location_problem(ec2, inputs))
    for inputs in found.ready[:1]:
        ec2.dry_run().create_snapshots(inputs.request(set_id=tags.new_set_id()))


def preview_sets(ec2: Ec2, wanted: Sequence[SetInputs]) -> Inspection:
    """Inspect the instances, and check what is ready; see `check_ready`. Creates nothing."""
    found = inspect_instances(ec2, wanted)
    check_ready(ec2, found)
    return found


def check_against_ec2(ec2: Ec2, inputs: SetInputs) -> list[Problem]:
    """Return every reason why one set could not be taken now, by the property that is to blame. Creates nothing.

    If AWS does not answer the check, or throttles it, warn: the call itself is repeated.
    """
    try:
        return preview_sets(ec2.once(), [inputs]).problems.get(inputs.instance_id, [])
    except (errors.ThrottledError, errors.NoAnswerError) as error:
        ec2.say(f"warning: {inputs.instance_id} is not checked: {error}")
        return []
    except errors.SnapsetError as error:
        return [Problem(property="instance_id", reason=errors.show(error), error=error)]


def error_of(instance_id: str, problems: Sequence[Problem]) -> errors.SnapsetError:
    """Return the problems of an instance as one error."""
    for problem in problems:
        if problem.error:
            return problem.error
    reasons = "; ".join(problem.reason for problem in problems)
    return errors.InputError(f"creating snapshots of {instance_id}: {reasons}.")


def resolve(inputs: SetInputs, instance: Instance, attached: Sequence[Volume]) -> SetInputs:
    """Return the inputs with what the instance adds: volumes that have a tag, tags of its own, and what it is."""
    wanted = inputs.exclude_data_volume_tags.items()
    tagged = [
        volume.volume_id
        for volume in attached
        if volume.volume_id != instance.root_volume_id and wanted & volume.tags.items()
    ]
    handed_on = {
        key: value
        for key, value in instance.tags.items()
        if inputs.copy_tags_from_instance and not key.lower().startswith(("aws:", tags.PREFIX))
    }
    return replace(inputs, tagged_volume_ids=tuple(tagged), instance_tags=handed_on, was=instance.facts)


def resolve_volumes(ec2: Ec2, inputs: SetInputs, instance: Instance) -> dict[str, str]:
    """Return the volumes of a set that would be taken now, each with its device.

    Raises:
        SnapsetError: the answer of AWS.
    """
    attached = ec2.find_attached([instance.instance_id]) if inputs.exclude_data_volume_tags else []
    return volumes_of(resolve(inputs, instance, attached), instance)


def volumes_of(inputs: SetInputs, instance: Instance) -> dict[str, str]:
    """Return the volumes of the instance that the inputs leave in, each with its device."""
    left_out = set(inputs.all_exclusions)
    if inputs.exclude_boot_volume:
        left_out.add(instance.root_volume_id or "")
    return {volume_id: device for volume_id, device in instance.devices.items() if volume_id not in left_out}


def check_instance(inputs: SetInputs, instance: Instance) -> list[Problem]:
    """Return what of the inputs does not fit the instance."""
    instance_id = instance.instance_id
    if reason := _find_obstacle(inputs, instance):
        return [Problem(property="instance_id", reason=reason)]
    found: list[Problem] = []
    for volume_id in inputs.exclude_data_volume_ids:
        if volume_id == instance.root_volume_id:
            reason = f"{volume_id} is the root volume of {instance_id}, which is left out by an option of its own"
        elif volume_id not in instance.devices:
            attached = ", ".join(instance.devices) or "none"
            reason = f"{volume_id} is not attached to {instance_id} (attached: {attached})"
        else:
            continue
        found.append(Problem(property="exclude_data_volume_ids", reason=reason))
    if inputs.exclude_boot_volume and not instance.root_device_name:
        reason = f"which volume is the root of {instance_id} is not known, as EC2 names no root device"
        found.append(Problem(property="exclude_boot_volume", reason=reason))
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


def _find_obstacle(inputs: SetInputs, instance: Instance) -> str | None:
    """Return why no set can be taken of the instance as it is now, or None."""
    if instance.is_gone:
        return f"{instance.instance_id} is {instance.state}: its volumes can no longer be snapshotted"
    journal = Journal.of(instance)
    if not journal or inputs.scope.startswith(tags.ROLLBACK_SCOPE):
        return None
    return (
        f"{journal.title}, so a set of {instance.instance_id} could hold volumes of two moments. End it with "
        f"snapset rollback {instance.instance_id}, or delete the instance's tag {JOURNAL} to keep it as it is"
    )


def _refuse_ready(found: Inspection, find_problem: Callable[[SetInputs], Problem | None]) -> None:
    """Take out of what is ready whatever has this problem."""
    for inputs in found.ready:
        if problem := find_problem(inputs):
            found.problems[inputs.instance_id] = [problem]
    found.ready = [inputs for inputs in found.ready if inputs.instance_id not in found.problems]


def _find_tag_problem(inputs: SetInputs, found: Inspection) -> Problem | None:
    """Return that a volume has too many tags to copy them all, if so."""
    if not inputs.copy_tags_from_source:
        return None
    left_in = found.volumes.get(inputs.instance_id, {})
    for volume in found.attached.get(inputs.instance_id, ()):
        copied = {key for key in volume.tags if not key.startswith("aws:")}
        number = len(copied | inputs.user_tags.keys() | set(tags.OWN_KEYS))
        if volume.volume_id in left_in and number > tags.MAX_TAGS:
            reason = f"a snapshot of {volume.volume_id} would have {number} tags; AWS takes at most {tags.MAX_TAGS}"
            return Problem(property="copy_tags_from_source", reason=reason)
    return None


def _find_location_problem(ec2: Ec2, inputs: SetInputs) -> Problem | None:
    if not inputs.location:
        return None
    zone = ec2.describe_instance(inputs.instance_id).availability_zone
    if ec2.describe_zone_type(zone) == "local-zone":
        return None
    reason = f"{inputs.instance_id} runs in {zone}, which is not a Local Zone: there is no location to choose"
    return Problem(property="location", reason=reason)


def _find_attached(ec2: Ec2, wanted: Sequence[SetInputs]) -> dict[str, list[Volume]]:
    """Return the volumes of each instance. Without the permission to do so, none."""
    found: defaultdict[str, list[Volume]] = defaultdict(list)
    instance_ids = [inputs.instance_id for inputs in wanted]
    try:
        volumes = ec2.find_attached(instance_ids)
    except errors.NotPermittedError:
        if any(inputs.exclude_data_volume_tags for inputs in wanted):
            raise
        # The instances themselves have their devices, too.
        return {}
    for volume in volumes:
        for instance_id in volume.attachments.keys() & set(instance_ids):
            found[instance_id].append(volume.at(instance_id))
    return found


def _inspect(ec2: Ec2, inputs: SetInputs, instances: Mapping[str, Instance] | None, found: Inspection) -> None:
    """Add to what was found what is known of one instance."""
    instance_id = inputs.instance_id
    # They may be visible before a new instance is.
    attached = () if inputs.needs_more_than_volumes else found.attached.get(instance_id, ())
    devices = {volume.volume_id: volume.device_name for volume in attached}
    if instances and instance_id in instances:
        instance = instances[instance_id]
        inputs = resolve(inputs, instance, found.attached.get(instance_id, ()))
        if problems := check_instance(inputs, instance):
            found.problems[instance_id] = problems
            return
        devices = devices or volumes_of(inputs, instance)
    elif instances is not None and not devices:
        found.problems[instance_id] = [_missing(ec2, instance_id)]
        return
    found.ready.append(inputs)
    found.volumes[instance_id] = devices


def _missing(ec2: Ec2, instance_id: str) -> Problem:
    where = f"there is no such instance in {ec2.settings.region}. Check the id, the Region and the account"
    code = INVALID_INSTANCE_NOT_FOUND
    error = errors.NotFoundError(f"creating snapshots of {instance_id}: {code}: {where}.", code=code)
    return Problem(property="instance_id", reason=where, error=error)
