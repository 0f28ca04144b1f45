"""Take a set of each of many instances, each exactly once, with as few calls as there can be.

Their volumes are described together, and what earlier runs took is looked for together, two hundred with a call. What
remains is one CreateSnapshots for each, side by side, and paced once AWS answers "not now". One that fails keeps none
of the others from its set.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from snapset import errors
from snapset.aws.ec2 import FILTER_VALUES, Ec2
from snapset.aws.errors import INVALID_INSTANCE_NOT_FOUND
from snapset.aws.records import COMPLETED, PENDING, Instance, Volume
from snapset.pace import Pace
from snapset.retry import Retry, looks
from snapset.sets import attempts, preflight, tags
from snapset.sets.create import Taken, create_set
from snapset.sets.find import find_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.threads import for_each
from snapset.sets.volume_tag import VolumeAttributes

_Instances = Mapping[str, Instance]


@dataclass(kw_only=True)
class Fleet:
    """What became of each instance, by id: its set, or why it has none."""

    taken: dict[str, Taken] = field(default_factory=dict)
    failures: dict[str, errors.SnapsetError] = field(default_factory=dict)
    # How the volumes were, as far as that was seen: see `snapset.sets.volume_tag`.
    attributes: dict[str, str] = field(default_factory=dict)


def take_sets(
    ec2: Ec2,
    wanted: Sequence[SetInputs],
    *,
    retry: Retry,
    still_wanted: Callable[[], bool] = lambda: True,
    cut_off: bool = False,
) -> Fleet:
    """Adopt or create the set of each intent; see `snapset.sets.create.create_set`.

    Args:
        ec2: where.
        wanted: what to snapshot, one for each instance.
        retry: how long to go on trying, with each of them.
        still_wanted: asked before each attempt; false once nobody is there to record the sets.
        cut_off: a run on another machine was cut off while it took sets, which may not be visible yet.

    Raises:
        SnapsetError: the instances, or the sets, can't be looked at; nothing was taken.
    """
    look = _look(ec2, wanted, retry=retry)
    fleet = Fleet(failures=look.refused, attributes=look.attributes)
    seen = _find_earlier(ec2, look.ready, cut_off=cut_off, retry=retry)
    if len(look.ready) > 1:
        still_wanted = _asked_rarely(still_wanted)
        retry = replace(retry, pace=Pace(), gets_on=_OwnSnapshots(ec2, fleet, within=retry.throttle))

    def take(inputs: SetInputs) -> None:
        try:
            fleet.taken[inputs.instance_id] = create_set(
                ec2,
                inputs,
                volumes=look.volumes.get(inputs.instance_id) or None,
                retry=retry,
                still_wanted=still_wanted,
                first_look=seen.get(inputs.token, ()),
            )
        except errors.SnapsetError as error:
            fleet.failures[inputs.instance_id] = error

    for_each(take, look.ready, say=lambda number: retry.say(f"{number} sets taken"))
    return fleet


def find_refused(ec2: Ec2, wanted: Sequence[SetInputs], *, retry: Retry) -> dict[str, errors.SnapsetError]:
    """Return why no set can be taken, by the instances that are not as they have to be. Creates nothing.

    Raises:
        SnapsetError: the instances can't be looked at; or AWS would allow no set, by a dry run for one of them.
    """
    look = _look(ec2, wanted, retry=retry)
    for inputs in look.ready[:1]:
        ec2.check_create_snapshots(inputs.request(set_id=tags.new_set_id()))
    return look.refused


@dataclass(kw_only=True)
class _Look:
    """What is to be taken, with what the instances add to it; and why some have to be left out.

    `volumes` has those of each set, by instance, each with its device, as far as they are known.
    """

    ready: list[SetInputs] = field(default_factory=list)
    volumes: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: dict[str, errors.SnapsetError] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


def _look(ec2: Ec2, wanted: Sequence[SetInputs], *, retry: Retry) -> _Look:
    """Look at the volumes of the instances; and at the instances where that does not tell enough.

    What DescribeInstances tells of an instance is several times as much, and takes as long.
    """
    look = _Look()
    simple = [inputs for inputs in wanted if not inputs.needs_more_than_volumes]
    for volume in _find_attached(ec2, [inputs.instance_id for inputs in simple], retry=retry):
        look.attributes[volume.volume_id] = VolumeAttributes.of(volume).text()
        for instance_id, device in volume.devices.items():
            look.volumes.setdefault(instance_id, {})[volume.volume_id] = device
    look.ready += [inputs for inputs in simple if inputs.instance_id in look.volumes]
    rest = [each for each in wanted if each.needs_more_than_volumes or each.instance_id not in look.volumes]
    _look_at_instances(ec2, rest, look, retry=retry)
    return look


def _find_attached(ec2: Ec2, instance_ids: Sequence[str], *, retry: Retry) -> list[Volume]:
    doing = f"describing the volumes of {_number(instance_ids)}"
    try:
        return retry.while_throttled(lambda: ec2.find_attached(instance_ids), doing=doing)
    except errors.NotPermittedError:
        # The instances themselves have their devices, too.
        return []


def _look_at_instances(ec2: Ec2, wanted: Sequence[SetInputs], look: _Look, *, retry: Retry) -> None:
    """Look at the instances. Without the permission to do so, the inputs are as they are."""
    if not wanted:
        return
    ids = [inputs.instance_id for inputs in wanted]
    try:
        instances = retry.while_throttled(lambda: ec2.describe_instances(ids), doing=f"describing {_number(ids)}")
    except errors.NotPermittedError as error:
        if any(inputs.needs_instance for inputs in wanted):
            raise
        retry.say(f"warning: {_number(ids)}: the snapshots' devices are not recorded: {error}")
        look.ready += wanted
        return
    describe = _describe_data_volumes(ec2, wanted, instances, retry=retry)
    for inputs in wanted:
        instance_id, doing = inputs.instance_id, f"creating snapshots of {inputs.instance_id}"
        if instance_id not in instances:
            where = f"there is no such instance in {ec2.settings.region}. Check the id, the Region and the account."
            code = INVALID_INSTANCE_NOT_FOUND
            look.refused[instance_id] = errors.NotFoundError(f"{doing}: {code}: {where}", code=code)
            continue
        resolved = preflight.resolve(inputs, instances[instance_id], describe=describe)
        if problems := preflight.check_instance(resolved, instances[instance_id]):
            reasons = "; ".join(problem.reason for problem in problems)
            look.refused[instance_id] = errors.InputError(f"{doing}: {reasons}.")
        else:
            look.ready.append(resolved)
            look.volumes[instance_id] = preflight.volumes_of(resolved, instances[instance_id])


def _describe_data_volumes(
    ec2: Ec2, wanted: Sequence[SetInputs], instances: _Instances, *, retry: Retry
) -> preflight.Describe:
    """Return what describes a data volume: asked once for all, and only if their tags matter."""
    if not any(inputs.exclude_data_volume_tags for inputs in wanted):
        return lambda volume_ids: []
    of_all = sorted({key for one in instances.values() for key in one.devices if key != one.root_volume_id})
    found = retry.while_throttled(
        lambda: ec2.describe_volumes(of_all), doing=f"describing the volumes of {_number(list(instances))}"
    )
    volumes = {volume.volume_id: volume for volume in found}
    return lambda volume_ids: [volumes[key] for key in volume_ids if key in volumes]


def _find_earlier(
    ec2: Ec2, wanted: Sequence[SetInputs], *, cut_off: bool, retry: Retry
) -> dict[str, list[SnapshotSet]]:
    """Return the sets that earlier attempts at these intents have left, by token.

    Where a run was cut off as it took some, they may not be visible yet, and are waited for.
    """
    tokens = [inputs.token for inputs in wanted]
    awaited = attempts.awaited(tokens)
    seconds = max([*awaited.values(), retry.consistency if cut_off else 0.0])
    if seconds:
        retry.say(f"an earlier run was cut off: looking for what it has taken for up to {seconds:.0f} s")
    found: defaultdict[str, list[SnapshotSet]] = defaultdict(list)
    for _ in looks(seconds):
        found.clear()
        for start in range(0, len(tokens), FILTER_VALUES):
            for one in find_sets(ec2, {f"tag:{tags.TOKEN}": tokens[start : start + FILTER_VALUES]}, retry=retry):
                found[one.snapshots[0].tags[tags.TOKEN]].append(one)
        missing = awaited.keys() - {one.set_id for sets in found.values() for one in sets}
        are_there = found.keys() == set(tokens) if cut_off else not missing
        if are_there:
            break
    return found


def _asked_rarely(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return what gives the same answer, looked up four times a second at most."""
    known: list[tuple[float, bool]] = [(0.0, True)]

    def answer() -> bool:
        until, last = known[0]
        if time.monotonic() > until:
            last = ask()
            known[0] = (time.monotonic() + 0.25, last)
        return last

    return answer


class _OwnSnapshots:
    """Tells whether AWS has got on with what a run has taken: too many pending snapshots keep it from taking more."""

    _LOOK_SECONDS = 30.0

    def __init__(self, ec2: Ec2, fleet: Fleet, *, within: float) -> None:
        self._ec2, self._fleet, self._within = ec2, fleet, within
        self._lock = threading.Lock()
        self._done, self._got_on, self._looked = 0, -within, -self._LOOK_SECONDS

    def __call__(self) -> bool:
        """Tell whether it has within as many seconds as a call is patient."""
        # Many threads ask at about the same time.
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= self._LOOK_SECONDS:
                done = self._look()
                if done > self._done:
                    self._done, self._got_on = done, now
                self._looked = now
            return now - self._got_on <= self._within

    def _look(self) -> int:
        """Return how much of them is done, in percent of one snapshot; what it was before if that can't be seen."""
        taken = [key for taken in list(self._fleet.taken.values()) for key in taken.set.snapshot_ids]
        try:
            found = self._ec2.describe_snapshots(taken)
        except errors.SnapsetError:
            return self._done
        done = {PENDING: 0, COMPLETED: 100}
        return sum(int(one.progress.rstrip("%") or 0) or done.get(one.state, 0) for one in found)


def _number(instance_ids: Sequence[str]) -> str:
    return instance_ids[0] if len(instance_ids) == 1 else f"{len(instance_ids)} instances"
