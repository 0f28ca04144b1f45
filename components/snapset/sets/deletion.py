"""Delete snapshots, and sets that a person names. Nothing else in snapset deletes a snapshot, but `prune`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.sets.model import SnapshotSet


class NeededError(errors.SnapsetError):
    """Something needs the set, so it stays."""


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """What became of a set: which snapshots are deleted, and why the others were kept, by id."""

    chosen: SnapshotSet
    deleted: tuple[str, ...]
    kept: Mapping[str, errors.SnapsetError]


def delete_named(ec2: Ec2, chosen: Sequence[SnapshotSet], *, in_use: AbstractSet[str]) -> Iterator[Deleted]:
    """Delete the sets that a person has named; whatever stays, the rest is tried.

    What an image or a lock needs, AWS itself refuses to delete.

    Args:
        ec2: where.
        chosen: the sets.
        in_use: the sets that instances are just being rolled back to.
    """
    for found in chosen:
        if reason := why_needed(found, in_use=in_use):
            yield keep(found, reason)
        else:
            yield delete_set(ec2, found)


def why_needed(found: SnapshotSet, *, in_use: AbstractSet[str]) -> str | None:
    """Return what needs the set, as far as its tags and the rollbacks tell; or None."""
    if found.is_pinned:
        return f"it is pinned. Unpin it first: snapset prune --unpin {found.set_id}"
    if found.in_use_until > clock.stamp():
        return f"something else needs it until {found.in_use_until}, such as a copy of it that is being made"
    if found.set_id in in_use:
        return "an instance is being rolled back to it. End that rollback first: run its command again"
    if found.rolled_back_to in in_use:
        return f"it is the safety set of a rollback that has not ended. End that to {found.rolled_back_to} first"
    return None


def keep(found: SnapshotSet, reason: str) -> Deleted:
    """Return that the set stays, and why."""
    error = NeededError(f"keeping {found.set_id}: {reason}.")
    return Deleted(chosen=found, deleted=(), kept=dict.fromkeys(found.snapshot_ids, error))


def delete_set(ec2: Ec2, found: SnapshotSet, *, snapshot_ids: Collection[str] | None = None) -> Deleted:
    """Delete each snapshot of the set. What is gone already counts as deleted.

    If AWS refuses the first one, such as the root volume's that an image uses, the set stays whole; otherwise all are
    tried.

    Args:
        ec2: where.
        found: the set.
        snapshot_ids: those that still exist, if that is known.
    """
    ec2.say(f"deleting {found.set_id} of {found.instance_id}")
    kept: dict[str, errors.SnapsetError] = {}
    wanted = found.snapshot_ids if snapshot_ids is None else list(snapshot_ids)
    for number, snapshot_id in enumerate(wanted):
        try:
            ec2.delete_snapshot(snapshot_id)
        except errors.NotFoundError:
            continue
        except errors.SnapsetError as error:
            kept[snapshot_id] = error
            if number == 0 and is_refusal(error):
                kept = dict.fromkeys(wanted, error)
                break
    deleted = tuple(snapshot_id for snapshot_id in found.snapshot_ids if snapshot_id not in kept)
    return Deleted(chosen=found, deleted=deleted, kept=kept)


def is_refusal(error: errors.SnapsetError) -> bool:
    """Tell whether just this snapshot can't be deleted: because an image uses it, say, or a lock keeps it.

    AWS documents no code for a lock, so every answer counts that is about neither the caller nor the moment.
    """
    if isinstance(error, NeededError):
        return True
    about_others = (errors.NotPermittedError, errors.ThrottledError, errors.NoAnswerError)
    return error.code is not None and not isinstance(error, about_others)
