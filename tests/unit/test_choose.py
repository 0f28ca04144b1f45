"""`snapset.sets.choose`: which of the sets with the token of an intent is adopted, and which may still grow."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from snapset.aws.records import Snapshot
from snapset.limits import Limits
from snapset.sets import tags
from snapset.sets.choose import Intent, choose, is_orphan, may_grow
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet

LIMITS = Limits(consistency=20, adoption=3600)
ONE_INSTANCE = "i-0123456789abcdef0"


@dataclass(frozen=True)
class Seen:
    """A set of which these volumes are seen: `age` in seconds, `count` as its tags have it."""

    volumes: str = "ab"
    name: str = "x"
    age: float = 300
    count: int | None = 2
    state: str = "pending"
    claim: str = ""

    def as_set(self) -> SnapshotSet:
        began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=self.age)
        snapshots = [
            Snapshot(
                snapshot_id=f"snap-{self.name}{volume}",
                volume_id=volume,
                size_gib=8,
                encrypted=False,
                state=self.state,
                progress="0%",
                start_time=began.isoformat(),
                owner_id="123456789012",
                tags={tags.COUNT: "" if self.count is None else str(self.count), tags.CLAIM: self.claim},
            )
            for volume in self.volumes
        ]
        return SnapshotSet.of(snapshots, set_id=self.name, instance_id=ONE_INSTANCE)


# What is seen, the expected volumes (None: not known), whether the intent may hold others, whether the time is up;
# what is chosen, and whether something may grow.
CASES: dict[str, tuple[Sequence[Seen], str | None, bool, bool, str, bool]] = {
    "nothing": ([], "ab", False, False, "", False),
    "just the volumes": ([Seen()], "ab", False, False, "x", False),
    "just the volumes, young": ([Seen(age=1)], "ab", False, False, "x", False),
    "of several, the oldest": ([Seen(name="y", age=10), Seen(name="x", age=20)], "ab", False, False, "x", False),
    "claimed": ([Seen(claim="c")], "ab", False, True, "", False),
    "in error": ([Seen(state="error")], "ab", False, True, "", False),
    "too old": ([Seen(age=3700)], "ab", False, True, "", False),
    "a part, young": ([Seen("a", age=1)], "ab", False, False, "", True),
    "a part, old": ([Seen("a")], "ab", False, True, "", False),
    "others, of a fixed intent": ([Seen("ac")], "ab", False, True, "", False),
    "others, of a change": ([Seen("ac")], "ab", True, False, "x", False),
    "others, of a change, young": ([Seen("ac", age=1)], "ab", True, False, "", True),
    "others, of a change, young, the time is up": ([Seen("ac", age=1)], "ab", True, True, "x", True),
    "a part of a change's": ([Seen("a")], "ab", True, True, "", False),
    "of unknown count, of a change": ([Seen("a", count=None)], "ab", True, True, "x", False),
    "volumes not known": ([Seen()], None, False, False, "x", False),
    "volumes not known, young": ([Seen(age=1)], None, False, False, "", True),
    "volumes not known, a part": ([Seen("a")], None, False, True, "", False),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_adopted_and_what_may_grow(case: str) -> None:
    seen, volumes, is_open, time_is_up, chosen, grows = CASES[case]
    intent = intent_of(volumes, change_id="c" if is_open else None)
    sets = [one.as_set() for one in seen]
    found = choose(sets, intent, own_ids=[], time_is_up=time_is_up, limits=LIMITS)
    assert (found.set_id if found else "") == chosen
    assert may_grow(sets, intent, own_ids=[], limits=LIMITS) == grows


def test_what_the_run_itself_has_asked_for_may_hold_other_volumes() -> None:
    sets = [Seen("ac").as_set()]
    assert choose(sets, intent_of("ab"), own_ids=["x"], time_is_up=False, limits=LIMITS) == sets[0]
    assert choose(sets, intent_of("ab"), own_ids=[], time_is_up=False, limits=LIMITS) is None


def intent_of(volumes: str | None, *, change_id: str | None = None) -> Intent:
    return Intent(
        inputs=SetInputs(instance_id=ONE_INSTANCE, scope="s", region="us-east-1", change_id=change_id),
        volumes=None if volumes is None else dict.fromkeys(volumes, "/dev/sdf"),
        accepts=lambda found: is_orphan(found, limits=LIMITS),
    )
