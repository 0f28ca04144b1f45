"""Choose which sets are too many, and delete those; never the newest completed set of an instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, PENDING
from snapset.retry import Retry
from snapset.sets import tags
from snapset.sets.claim import delete_snapshots
from snapset.sets.find import find_sets
from snapset.sets.model import SnapshotSet

Choice = Callable[[Sequence[SnapshotSet]], list[SnapshotSet]]


class NeededError(errors.SnapsetError):
    """The set must stay after all: newer ones were deleted before it."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What became of a chosen set: which snapshots are deleted, and why the others were kept, by id."""

    chosen: SnapshotSet
    deleted: tuple[str, ...]
    kept: Mapping[str, errors.SnapsetError]


def choose(
    sets: Iterable[SnapshotSet], *, adoption: float, keep_last: int | None = None, older_than: float | None = None
) -> list[SnapshotSet]:
    """Return the sets that may be deleted, the oldest first. One of the two rules is given.

    The newest completed set of every instance is never among them, nor one that is pending, nor one that is so new
    that the run that took it may still record it. Where nothing newer has completed, an incomplete set stays as well.

    Args:
        sets: the newest first, as `group` returns them.
        adoption: for how many seconds a set without a claim may still be adopted.
        keep_last: keep this many completed sets of every instance, at least 1, and delete what is older than those.
        older_than: delete what was taken more than so many seconds ago.
    """
    by_instance: defaultdict[str, list[SnapshotSet]] = defaultdict(list)
    for found in sets:
        by_instance[found.instance_id].append(found)
    chosen = [
        found
        for sets_of_one in by_instance.values()
        for found in _choose_of_one(sets_of_one, keep_last=keep_last, older_than=older_than)
        if found.state != PENDING and (found.claims or found.age > adoption)
    ]
    return sorted(chosen, key=lambda found: (found.start_time, found.set_id))


def prune(ec2: Ec2, chosen: Sequence[SnapshotSet], *, choice: Choice, retry: Retry) -> Iterator[Pruned]:
    """Delete the chosen sets, the oldest first, one instance after the other; whatever stays, the rest is tried.

    Each instance's sets are looked at once more just before: what was chosen a while ago may be the newest by now.

    Args:
        ec2: where.
        chosen: the sets.
        choice: chooses among the sets of one instance as they are by then.
        retry: how long to go on trying.

    Raises:
        SnapsetError: an instance's sets can't be looked at; nothing more is deleted.
    """
    for instance_id in dict.fromkeys(found.instance_id for found in chosen):
        now = find_sets(ec2, {f"tag:{tags.INSTANCE}": [instance_id]}, retry=retry)
        still_there = {found.set_id for found in now}
        allowed = {found.set_id: found for found in choice(now)}
        for found in chosen:
            if found.instance_id != instance_id:
                continue
            if found.set_id in still_there and found.set_id not in allowed:
                reason = "newer sets were deleted after it was chosen, so it may now be the newest"
                error = NeededError(f"keeping {found.set_id}: {reason}.")
                yield Pruned(chosen=found, deleted=(), kept=dict.fromkeys(found.snapshot_ids, error))
                continue
            retry.say(f"deleting {found.set_id} of {instance_id}")
            # What is gone by now counts as deleted.
            there = allowed[found.set_id].snapshot_ids if found.set_id in still_there else []
            kept = delete_snapshots(ec2, there, retry=retry)
            deleted = tuple(snapshot_id for snapshot_id in found.snapshot_ids if snapshot_id not in kept)
            yield Pruned(chosen=found, deleted=deleted, kept=kept)


def is_refusal(error: errors.SnapsetError) -> bool:
    """Tell whether just this snapshot can't be deleted: because an image uses it, say, or a lock keeps it.

    AWS documents no code for a lock, so every answer counts that is about neither the caller nor the moment.
    """
    if isinstance(error, NeededError):
        return True
    about_others = (errors.NotPermittedError, errors.ThrottledError, errors.NoAnswerError)
    return error.code is not None and not isinstance(error, about_others)


def _choose_of_one(
    sets: Sequence[SnapshotSet], *, keep_last: int | None, older_than: float | None
) -> Iterator[SnapshotSet]:
    newer_and_completed = 0
    for found in sets:
        superseded = newer_and_completed >= (keep_last or 1)
        if older_than is not None:
            # A set in error holds nothing.
            if (superseded or found.state == ERROR) and found.age > older_than:
                yield found
        elif superseded:
            yield found
        newer_and_completed += found.state == COMPLETED
