"""Find sets by the tags of their snapshots: no state and no engine needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snapset.aws.ec2 import Ec2, literal
from snapset.aws.records import COMPLETED
from snapset.errors import InputError, NotFoundError
from snapset.retry import Retry, looks
from snapset.sets import tags
from snapset.sets.model import INCOMPLETE, SnapshotSet, group


def find_sets(ec2: Ec2, filters: Mapping[str, Iterable[str]], *, retry: Retry) -> list[SnapshotSet]:
    """Return the account's sets that match all filters of DescribeSnapshots, the newest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    wanted = {"tag-key": [tags.SET], **filters}
    doing = f"describing snapshots in {ec2.settings.region}"
    return group(retry.while_throttled(lambda: ec2.find_snapshots(wanted), doing=doing))


def find_sets_of(
    ec2: Ec2, *, instance_id: str | None = None, change_id: str | None = None, retry: Retry
) -> list[SnapshotSet]:
    """Return the sets of an instance, or for a change, or both, the newest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    change = None if change_id is None else literal(tags.fit(change_id))
    filters = {tags.INSTANCE: instance_id, tags.CHANGE: change}
    return find_sets(ec2, {f"tag:{key}": [value] for key, value in filters.items() if value is not None}, retry=retry)


def find_latest(
    ec2: Ec2,
    *,
    instance_id: str | None = None,
    change_id: str | None = None,
    allow_incomplete: bool = False,
    retry: Retry,
) -> SnapshotSet:
    """Return the newest whole and completed set of an instance, or for a change, or both.

    A set that a rollback took of what it replaced is passed over. With `allow_incomplete`, one counts too of which
    snapshots are missing, if the others have completed.

    Raises:
        InputError: sets of several instances were taken for the change.
        NotFoundError: there is no such set, or none of them is whole and completed.
        SnapsetError: the answer of AWS.
    """
    of = f" of {instance_id}" if instance_id else ""
    doing = f"looking for a set{of}" + (f" for change {change_id}" if change_id else "")
    found = [
        one
        for one in find_sets_of(ec2, instance_id=instance_id, change_id=change_id, retry=retry)
        if not one.is_safety_set
    ]
    if len(instance_ids := sorted({one.instance_id for one in found})) > 1:
        raise InputError(f"{doing}: there are sets of {', '.join(instance_ids)}. Name the instance.")
    done = (COMPLETED, INCOMPLETE) if allow_incomplete else (COMPLETED,)
    for one in found:
        if one.state in done:
            return one
    if found:
        states = ", ".join(f"{one.set_id} is {one.state}" for one in found[:3])
        raise NotFoundError(f"{doing}: none is whole and completed: {states}. Wait for it, or choose another one.")
    raise NotFoundError(f"{doing}: there is none in {ec2.settings.region}. Check the id, the Region and the account.")


def find_set(ec2: Ec2, set_id: str, *, retry: Retry, wait: float = 0) -> SnapshotSet:
    """Return the set of this id.

    Args:
        ec2: where.
        set_id: `set-` and 17 hex digits.
        retry: how long to go on trying.
        wait: for how many seconds to wait for a young set that is not visible yet, or not as a whole.

    Raises:
        NotFoundError: there is no such set.
        SnapsetError: the answer of AWS.
    """
    found: list[SnapshotSet] = []
    for _ in looks(min(wait, retry.consistency)):
        found = find_sets(ec2, {f"tag:{tags.SET}": [set_id]}, retry=retry)
        if found and not (len(found[0].snapshots) != found[0].count and retry.may_be_invisible(found[0].age)):
            break
    if not found:
        raise NotFoundError(
            f"looking for {set_id}: no snapshot in {ec2.settings.region} has the tag {tags.SET} with this value. "
            "Check the id, the Region and the account."
        )
    return found[0]
