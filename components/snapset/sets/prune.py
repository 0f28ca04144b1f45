"""Which sets are too many, and deleting those; never the newest completed set of an instance, whatever the rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.retry import Patience, age_of, wait_out_throttling
from snapset.sets import tags
from snapset.sets.create import COMPLETED, ERROR, delete_snapshots
from snapset.sets.model import PENDING, TaggedSet, group

Choice = Callable[[Sequence[TaggedSet]], list[TaggedSet]]
Say = Callable[[str], None]


class NeededError(errors.SnapsetError):
    """The set may not go any more: newer ones went before it."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What became of a set that was chosen: which snapshots are deleted, and why the others stay, by id."""

    chosen: TaggedSet
    deleted: tuple[str, ...]
    stay: Mapping[str, errors.SnapsetError]


def choose(
    sets: Iterable[TaggedSet], *, adoption: float, keep_last: int | None = None, older_than: float | None = None
) -> list[TaggedSet]:
    """Return the sets that may be deleted, the oldest first. One of the two rules is given.

    The newest completed set of every instance is never among them, nor one that is pending, nor one that is so new
    that the run that took it may still record it. Where nothing newer has completed, an incomplete set stays as well.

    Args:
        sets: the newest first, as `group` returns them.
        adoption: for how many seconds a set without a claim may still be adopted.
        keep_last: keep this many completed sets of every instance, at least 1, and delete what is older than those.
        older_than: delete what was taken more than so many seconds ago.
    """
    by_instance: defaultdict[str, list[TaggedSet]] = defaultdict(list)
    for each in sets:
        by_instance[each.instance_id].append(each)
    chosen = [
        each
        for of_one in by_instance.values()
        for each in _choose_of_one(of_one, keep_last=keep_last, older_than=older_than)
        if each.state != PENDING and (each.is_claimed or age_of(each.start_time) > adoption)
    ]
    return sorted(chosen, key=lambda each: (each.start_time, each.set_id))


def _choose_of_one(
    sets: Sequence[TaggedSet], *, keep_last: int | None, older_than: float | None
) -> Iterator[TaggedSet]:
    newer_and_completed = 0
    for each in sets:
        superseded = newer_and_completed >= (keep_last or 1)
        if older_than is not None:
            # What is in error holds nothing.
            if (superseded or each.state == ERROR) and age_of(each.start_time) > older_than:
                yield each
        elif superseded:
            yield each
        newer_and_completed += each.state == COMPLETED


def find_sets(ec2: Ec2, filters: Mapping[str, Sequence[str]], *, say: Say = lambda text: None) -> list[TaggedSet]:
    """Return the account's sets that match all filters of DescribeSnapshots, the newest first.

    Raises:
        SnapsetError: the answer of AWS.
    """
    wanted = {"tag-key": [tags.SET], **filters}
    return group(
        wait_out_throttling(
            lambda: ec2.find_snapshots(wanted),
            doing=f"describing snapshots in {ec2.settings.region}",
            patience=Patience.from_environment(),
            say=say,
        )
    )


def prune(ec2: Ec2, chosen: Sequence[TaggedSet], *, choice: Choice, say: Say = lambda text: None) -> Iterator[Pruned]:
    """Delete the chosen sets, the oldest first, one instance after the other; whatever stays, the rest is tried.

    Each instance's sets are looked at once more just before: what was chosen a while ago may be the newest by now.

    Args:
        ec2: where.
        chosen: the sets.
        choice: chooses among the sets of one instance as they are by then.
        say: told in one line what is waited for.

    Raises:
        SnapsetError: an instance's sets can't be looked at; nothing more is deleted.
    """
    for instance_id in dict.fromkeys(each.instance_id for each in chosen):
        now = find_sets(ec2, {f"tag:{tags.INSTANCE}": [instance_id]}, say=say)
        there, allowed = {each.set_id for each in now}, {each.set_id: each for each in choice(now)}
        for each in chosen:
            if each.instance_id != instance_id:
                continue
            if each.set_id in there and each.set_id not in allowed:
                kept = NeededError(f"deleting {each.set_id}: it stays: newer ones are gone since it was chosen.")
                yield Pruned(chosen=each, deleted=(), stay=dict.fromkeys(each.snapshot_ids, kept))
                continue
            say(f"deleting {each.set_id} of {instance_id}")
            # What is gone by now counts as deleted.
            stay = delete_snapshots(ec2, allowed[each.set_id].snapshot_ids, say=say) if each.set_id in there else {}
            gone = tuple(snapshot_id for snapshot_id in each.snapshot_ids if snapshot_id not in stay)
            yield Pruned(chosen=each, deleted=gone, stay=stay)


def is_refusal(error: errors.SnapsetError) -> bool:
    """Tell whether just this snapshot may not go: an image uses it, say, or a lock keeps it.

    AWS documents no code for a lock, so every answer counts that is about neither the caller nor the moment.
    """
    if isinstance(error, NeededError):
        return True
    about_others = (errors.NotPermittedError, errors.ThrottledError, errors.NoAnswerError)
    return error.code is not None and not isinstance(error, about_others)
