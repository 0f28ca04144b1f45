"""Which set serves a change that was backed up before, by whichever run, on whichever machine.

A set serves if it has the token of the change, is whole and not in error, leaves out no more than is asked for now,
is young enough, and nothing has happened to the instance since that makes it a backup of something else: neither was
a set of another change taken of it, nor did a rollback run. Of several, the oldest counts: it was surely taken before
the change. One that nobody has claimed yet is adopted and claimed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from snapset.aws.ec2 import Ec2
from snapset.aws.records import ERROR, Volume
from snapset.sets import tags
from snapset.sets.find import find_earlier, find_sets_with
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.preflight import Inspection, inspect_instances


def find_served(
    ec2: Ec2, wanted: Sequence[SetInputs], *, within: float, cut_off: bool = False
) -> tuple[dict[str, SnapshotSet], Inspection]:
    """Return the set that serves each instance, as far as there is one; and what was seen of the instances.

    Args:
        ec2: where.
        wanted: what is asked for, one for each instance.
        within: how old a set may be, in seconds.
        cut_off: a run on another machine was cut off; what it took may not be visible yet.

    Raises:
        SnapsetError: the answer of AWS.
    """
    fitting, inspection = _find_all(ec2, wanted, within=within, cut_off=cut_off)
    served = {key: choose_served(found) for key, found in fitting.items()}
    return {key: found for key, found in served.items() if found}, inspection


def find_all_fitting(ec2: Ec2, wanted: Sequence[SetInputs], *, within: float) -> dict[str, list[SnapshotSet]]:
    """Return the sets that serve each instance if they are whole, claimed or not, the oldest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    return _find_all(ec2, wanted, within=within, cut_off=False)[0]


def inspect_and_find(
    ec2: Ec2, wanted: Sequence[SetInputs], *, cut_off: bool
) -> tuple[Inspection, dict[str, list[SnapshotSet]]]:
    """Describe the instances and, at the same time, find what earlier runs have taken, by token."""
    with ThreadPoolExecutor(1) as pool:
        inspecting = pool.submit(inspect_instances, ec2, wanted)
        earlier = find_earlier(ec2, [inputs.token for inputs in wanted], cut_off=cut_off)
        return inspecting.result(), earlier


def _find_all(
    ec2: Ec2, wanted: Sequence[SetInputs], *, within: float, cut_off: bool
) -> tuple[dict[str, list[SnapshotSet]], Inspection]:
    inspection, earlier = inspect_and_find(ec2, wanted, cut_off=cut_off)
    # An instance that is gone meanwhile may have been backed up before.
    resolved = {inputs.instance_id: inputs for inputs in [*wanted, *inspection.ready]}
    return find_fitting(ec2, list(resolved.values()), earlier, inspection.attached, within=within), inspection


def find_fitting(
    ec2: Ec2,
    asked: Sequence[SetInputs],
    earlier: Mapping[str, Sequence[SnapshotSet]],
    attached: Mapping[str, Sequence[Volume]],
    *,
    within: float,
) -> dict[str, list[SnapshotSet]]:
    """Return the sets that serve each instance if they are whole, the oldest first; of one without any, none.

    Args:
        ec2: where.
        asked: what is asked for, one for each instance, with what the instance adds.
        earlier: the sets with these tokens, by token.
        attached: the volumes of the instances, by instance, as far as they can be described.
        within: how old a set may be, in seconds.

    Raises:
        SnapsetError: the answer of AWS.
    """
    candidates = {inputs.instance_id: earlier.get(inputs.token, ()) for inputs in asked}
    history = _find_history(ec2, [key for key, found in candidates.items() if found])
    return {
        inputs.instance_id: choose_fitting(
            inputs,
            candidates[inputs.instance_id],
            history=history.get(inputs.instance_id, ()),
            attached=attached.get(inputs.instance_id, ()),
            within=within,
        )
        for inputs in asked
    }


def choose_served(fitting: Sequence[SnapshotSet]) -> SnapshotSet | None:
    """Return the set that serves as it is, of those that fit, the oldest first; or None."""
    return next((found for found in fitting if found.is_whole and found.claims), None)


def choose_fitting(
    asked: SetInputs,
    candidates: Sequence[SnapshotSet],
    *,
    history: Sequence[SnapshotSet],
    attached: Sequence[Volume],
    within: float,
) -> list[SnapshotSet]:
    """Return the candidates that serve if they are whole, the oldest first.

    Args:
        asked: what is asked for, with what the instance adds.
        candidates: the sets with its token.
        history: all sets of the instance.
        attached: its volumes, as far as they can be described.
        within: how old a set may be, in seconds.
    """
    ended = max([*_other_changes(asked, history), *_rollbacks(attached)], default="")
    fitting = [
        found
        for found in candidates
        if found.state != ERROR
        and found.age <= within
        and found.start_time > ended
        and asked.leaves_out(_still_attached(found.excluded, attached))
    ]
    return sorted(fitting, key=lambda found: (found.start_time, found.set_id))


def _other_changes(asked: SetInputs, history: Sequence[SnapshotSet]) -> list[str]:
    """Return when sets of other changes were taken."""
    change = tags.fit(asked.change_id or "")
    return [found.start_time for found in history if found.change_id and found.change_id != change]


def _rollbacks(attached: Sequence[Volume]) -> list[str]:
    """Return when a rollback has put volumes in place."""
    return [
        max(volume.create_time, volume.attach_time)
        for volume in attached
        if volume.tags.get(tags.RESTORED_FOR, "").startswith(tags.ROLLBACK_SCOPE)
    ]


def _still_attached(excluded: Sequence[str], attached: Sequence[Volume]) -> list[str]:
    """Return the excluded volumes without those that are gone: what is not attached now can't be asked for."""
    if not attached:
        return list(excluded)
    return [
        word for word in excluded if word == tags.ROOT or any(volume.volume_id.endswith(word) for volume in attached)
    ]


def _find_history(ec2: Ec2, instance_ids: Sequence[str]) -> dict[str, list[SnapshotSet]]:
    """Return all sets of these instances, by instance."""
    found: defaultdict[str, list[SnapshotSet]] = defaultdict(list)
    for one in find_sets_with(ec2, tags.INSTANCE, instance_ids):
        found[one.instance_id].append(one)
    return found
