"""Which of the sets with the token of an intent is the one to adopt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from snapset.aws.records import ERROR
from snapset.limits import Limits
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet

Accept = Callable[[SnapshotSet], bool]


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One set that is wanted.

    Attributes:
        inputs: what to snapshot; its token names the intent.
        volumes: the volumes that the set will hold, each with its device, or None if they are not known.
        earlier: the sets with this token that a first poll has found.
        accepts: tells whether a set with this token may be adopted.
    """

    inputs: SetInputs
    volumes: Mapping[str, str] | None
    earlier: Sequence[SnapshotSet] = ()
    accepts: Accept


def is_orphan(found: SnapshotSet, *, limits: Limits) -> bool:
    """Tell whether a run took the set and could not record it: such a set may be adopted."""
    return not found.claims and found.state != ERROR and found.age <= limits.adoption


def choose(
    sets: Sequence[SnapshotSet], intent: Intent, *, own_ids: Collection[str], time_is_up: bool, limits: Limits
) -> SnapshotSet | None:
    """Return the set to adopt, the oldest of several; or None.

    Args:
        sets: those with the token.
        intent: what is wanted.
        own_ids: the sets that this run itself has asked for.
        time_is_up: whether all that there is must be visible by now.
        limits: for how long a snapshot may be invisible.
    """
    for candidate in sorted(filter(intent.accepts, sets), key=lambda found: (found.start_time, found.set_id)):
        if intent.volumes is not None and candidate.volume_ids == intent.volumes.keys():
            return candidate
        is_settled = time_is_up or not limits.may_be_invisible(candidate.age)
        is_complete = candidate.count is None or candidate.is_whole
        if is_settled and is_complete and _may_hold_others(candidate, intent, own_ids):
            return candidate
    return None


def may_grow(sets: Sequence[SnapshotSet], intent: Intent, *, own_ids: Collection[str], limits: Limits) -> bool:
    """Tell whether some snapshots of a set that may be adopted may not be visible yet."""
    return any(
        limits.may_be_invisible(candidate.age)
        and (_may_hold_others(candidate, intent, own_ids) or candidate.volume_ids < (intent.volumes or {}).keys())
        for candidate in filter(intent.accepts, sets)
    )


def _may_hold_others(candidate: SnapshotSet, intent: Intent, own_ids: Collection[str]) -> bool:
    """Tell whether the set may hold other volumes than are expected now: a volume was attached, or tagged, since."""
    open_intent = bool(intent.inputs.change_id or intent.inputs.exclude_data_volume_tags)
    return intent.volumes is None or open_intent or candidate.set_id in own_ids
