"""Choose which sets are too many, and delete those; never the newest completed set of an instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from snapset.aws.ec2 import Ec2
from snapset.aws.records import COMPLETED, ERROR, PENDING
from snapset.sets import tags
from snapset.sets.deletion import Deleted, delete_set, keep, why_needed
from snapset.sets.find import find_set, find_sets
from snapset.sets.model import SnapshotSet

Choice = Callable[[Sequence[SnapshotSet]], list[SnapshotSet]]


def pin(ec2: Ec2, set_ids: Sequence[str], *, pinned: bool) -> None:
    """Let the sets be kept by every `choose` from now on, or no longer.

    Raises:
        NotFoundError: one of them does not exist; none is changed.
    """
    found = [find_set(ec2, set_id) for set_id in set_ids]
    for one in found:
        ec2.add_tags(one.snapshot_ids, {tags.PINNED: "pinned" if pinned else ""})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What to keep, of every instance; what no part of it keeps is deleted. At least one part is given.

    Attributes:
        keep_last: so many completed sets, the newest.
        keep_daily: the newest completed set of each of so many days that have one, by AWS's clock in UTC.
        keep_weekly: likewise, of weeks, which begin on Monday.
        keep_monthly: likewise, of months.
        older_than: what was taken less than so many seconds ago.
    """

    keep_last: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    older_than: float | None = None

    def kept_of(self, completed: Sequence[SnapshotSet]) -> set[str]:
        """Return the ids of the completed sets of one instance, the newest first, that are kept by their number."""
        kept = {found.set_id for found in completed[: self.keep_last or 1]}
        for number, form in (
            (self.keep_daily, "%Y-%m-%d"),
            (self.keep_weekly, "%G-%V"),
            (self.keep_monthly, "%Y-%m"),
        ):
            newest: dict[str, str] = {}
            for found in completed:
                newest.setdefault(found.started.strftime(form), found.set_id)
            kept |= set(list(newest.values())[: number or 0])
        return kept


def choose(
    sets: Iterable[SnapshotSet], rule: Rule, *, adoption: float, in_use: AbstractSet[str] = frozenset()
) -> list[SnapshotSet]:
    """Return the sets that may be deleted, the oldest first.

    The newest completed set of every instance is never among them, nor one that is pinned or pending, nor one that is
    so new that the run that took it may still record it. Where nothing newer has completed, an incomplete set stays.
    Safety sets don't count towards the number kept.

    Args:
        sets: the newest first, as `group` returns them.
        rule: what to keep.
        adoption: for how many seconds a set without a claim may still be adopted.
        in_use: the sets that instances are just being rolled back to; they stay, and so do the safety sets.
    """
    by_instance: defaultdict[str, list[SnapshotSet]] = defaultdict(list)
    for found in sets:
        by_instance[found.instance_id].append(found)
    chosen = [
        found
        for sets_of_one in by_instance.values()
        for found in _choose_of_one(sets_of_one, rule)
        if found.state != PENDING and not why_needed(found, in_use=in_use) and (found.claims or found.age > adoption)
    ]
    return sorted(chosen, key=lambda found: (found.start_time, found.set_id))


def prune(ec2: Ec2, chosen: Sequence[SnapshotSet], *, choice: Choice) -> Iterator[Deleted]:
    """Delete the chosen sets, the oldest first, one instance after the other; whatever stays, the rest is tried.

    Each instance's sets are looked for once more just before: what was chosen a while ago may be needed by now.

    Args:
        ec2: where.
        chosen: the sets.
        choice: chooses among the sets of one instance as they are by then.

    Raises:
        SnapsetError: the answer of AWS when it was asked for an instance's sets; nothing more is deleted.
    """
    for instance_id in dict.fromkeys(found.instance_id for found in chosen):
        now = find_sets(ec2, {f"tag:{tags.INSTANCE}": [instance_id]})
        still_there = {found.set_id for found in now}
        allowed = {found.set_id: found for found in choice(now)}
        for found in chosen:
            if found.instance_id != instance_id:
                continue
            if found.set_id in still_there and found.set_id not in allowed:
                yield keep(found, "it is needed now: newer ones were deleted meanwhile, or a rollback has begun")
                continue
            # What is gone by now counts as deleted.
            there = allowed[found.set_id].snapshot_ids if found.set_id in still_there else []
            yield delete_set(ec2, found, snapshot_ids=there)


def _choose_of_one(sets: Sequence[SnapshotSet], rule: Rule) -> Iterator[SnapshotSet]:
    kept = rule.kept_of([found for found in sets if found.has_completed and not found.is_safety_set])
    newer_and_completed = 0
    for found in sets:
        superseded = newer_and_completed >= (rule.keep_last or 1)
        # A set in error holds nothing.
        is_wanted = found.set_id in kept or not (superseded or (rule.older_than is not None and found.state == ERROR))
        if not is_wanted and (rule.older_than is None or found.age > rule.older_than):
            yield found
        newer_and_completed += found.state == COMPLETED and not found.is_safety_set
