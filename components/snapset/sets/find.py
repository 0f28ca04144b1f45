"""Find sets by the tags of their snapshots: no state and no engine needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from snapset.aws.ec2 import FILTER_VALUES, Ec2, literal
from snapset.aws.records import COMPLETED, PENDING
from snapset.errors import InputError, NotFoundError
from snapset.retry import polls
from snapset.sets import attempts, tags
from snapset.sets.model import INCOMPLETE, SnapshotSet, group


def find_sets(ec2: Ec2, filters: Mapping[str, Iterable[str]]) -> list[SnapshotSet]:
    """Return the account's sets that match all filters of DescribeSnapshots, the newest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    return group(ec2.find_snapshots({"tag-key": [tags.SET], **filters}))


def find_sets_by_token(ec2: Ec2, tokens: Sequence[str]) -> dict[str, list[SnapshotSet]]:
    """Return the sets of these intents, the newest first, by token; two hundred tokens with each call.

    Raises:
        SnapsetError: the answer of AWS.
    """
    found: defaultdict[str, list[SnapshotSet]] = defaultdict(list)
    for one in find_sets_with(ec2, tags.TOKEN, tokens):
        found[one.snapshots[0].tags[tags.TOKEN]].append(one)
    return found


def find_sets_with(ec2: Ec2, key: str, values: Sequence[str]) -> list[SnapshotSet]:
    """Return the sets whose snapshots have one of these values in a tag; two hundred values with each call.

    Raises:
        SnapsetError: the answer of AWS.
    """
    parts = [values[start : start + FILTER_VALUES] for start in range(0, len(values), FILTER_VALUES)]
    return [one for part in parts for one in find_sets(ec2, {f"tag:{key}": part})]


def find_earlier(ec2: Ec2, tokens: Sequence[str], *, cut_off: bool) -> dict[str, list[SnapshotSet]]:
    """Return the sets that earlier attempts at these intents have left, by token.

    What a run has asked for a moment ago may not be visible yet, and is waited for.

    Args:
        ec2: where.
        tokens: the intents.
        cut_off: a run on another machine was cut off; those of this machine are noted.
    """
    awaited = attempts.awaited(tokens)
    seconds = max([*awaited.values(), ec2.limits.consistency if cut_off else 0.0])
    found: dict[str, list[SnapshotSet]] = {}
    said = False
    for goes_on in polls(seconds):
        found = find_sets_by_token(ec2, tokens)
        missing = awaited.keys() - {one.set_id for sets in found.values() for one in sets}
        all_there = found.keys() == set(tokens) if cut_off else not missing
        if all_there:
            break
        if goes_on and not said:
            ec2.say(
                f"an earlier run may have taken what is not visible yet: looking for it for up to {seconds:.0f} s"
            )
            said = True
    return found


def find_sets_of(ec2: Ec2, *, instance_id: str | None = None, change_id: str | None = None) -> list[SnapshotSet]:
    """Return the sets of an instance, or for a change, or both, the newest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    change = None if change_id is None else literal(tags.fit(change_id))
    filters = {tags.INSTANCE: instance_id, tags.CHANGE: change}
    return find_sets(ec2, {f"tag:{key}": [value] for key, value in filters.items() if value is not None})


def find_latest(
    ec2: Ec2,
    *,
    instance_id: str | None = None,
    change_id: str | None = None,
    allow_incomplete: bool = False,
    under_way: str = "",
) -> SnapshotSet:
    """Return the newest whole and completed set of an instance; or the one for a change.

    Safety sets are passed over. With `allow_incomplete`, a set with missing snapshots also qualifies, if the others
    have completed. Of several sets for the change, it is the one to which a rollback is `under_way`.

    Raises:
        InputError: sets of several instances were taken for the change, or several of this one; all are named.
        NotFoundError: there is no such set, or none of them is whole and completed.
        SnapsetError: the answer of AWS.
    """
    of = f" of {instance_id}" if instance_id else ""
    doing = f"looking for a set{of}" + (f" for change {change_id}" if change_id else "")
    found = [one for one in find_sets_of(ec2, instance_id=instance_id, change_id=change_id) if not one.is_safety_set]
    if len(instance_ids := sorted({one.instance_id for one in found})) > 1:
        raise InputError(f"{doing}: there are sets of {', '.join(instance_ids)}. Name the instance.")
    states = (COMPLETED, INCOMPLETE) if allow_incomplete else (COMPLETED,)
    done = [one for one in found if one.state in states]
    for one in done:
        if change_id is None or len(done) == 1 or one.set_id == under_way:
            return one
    if done:
        listed = ", ".join(_with_times(ec2, done))
        raise InputError(f"{doing}: there are {len(done)}: {listed}. Choose one by its id.")
    if found:
        listed = ", ".join(f"{one.set_id} is {one.state}" for one in found[:3])
        advice = "Wait for it" if any(one.state == PENDING for one in found) else "Choose another change or instance"
        raise NotFoundError(f"{doing}: none is whole and completed: {listed}. {advice}.")
    raise NotFoundError(f"{doing}: there is none in {ec2.settings.region}. Check the id, the Region and the account.")


def _with_times(ec2: Ec2, sets: Sequence[SnapshotSet]) -> Iterator[str]:
    """Yield each of the sets of an instance, when it was taken, and which rollback of the instance came next."""
    of_instance = find_sets_of(ec2, instance_id=sets[0].instance_id)
    rollbacks = sorted(one.start_time for one in of_instance if one.is_safety_set)
    for one in sets:
        later = next((f", before the rollback at {time[:19]}Z" for time in rollbacks if one.start_time < time), "")
        yield f"{one.set_id} (taken {one.start_time[:19]}Z{later})"


def find_set(ec2: Ec2, set_id: str, *, wait: float = 0) -> SnapshotSet:
    """Return the set of this id.

    Args:
        ec2: where.
        set_id: `set-` and 17 hex digits.
        wait: for how many seconds to wait for a young set that is not visible yet, or not as a whole.

    Raises:
        NotFoundError: there is no such set.
        SnapsetError: the answer of AWS.
    """
    found: list[SnapshotSet] = []
    for _ in polls(min(wait, ec2.limits.consistency)):
        found = find_sets(ec2, {f"tag:{tags.SET}": [set_id]})
        if found and not (len(found[0].snapshots) != found[0].count and ec2.limits.may_be_invisible(found[0].age)):
            break
    if not found:
        raise NotFoundError(
            f"looking for {set_id}: no snapshot in {ec2.settings.region} has the tag {tags.SET} with this value. "
            "Check the id, the Region and the account."
        )
    return found[0]
