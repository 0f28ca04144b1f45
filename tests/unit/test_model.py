"""`snapset.catalog`: which snapshots make up a set, told by their tags alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.aws.ec2 import Snapshot
from snapset.sets import tags
from snapset.sets.model import TaggedSet, group

WEB, DB = "i-0123456789abcdef0", "i-0fedcba9876543210"
SET_IDS = [f"set-{number:017x}" for number in range(6)]


def snapshot(
    set_id: str, *, number: int = 0, instance: str = WEB, more: Mapping[str, str] | None = None, **fields: Any
) -> Snapshot:
    plain: dict[str, Any] = {
        "snapshot_id": f"snap-{number:017x}",
        "volume_id": f"vol-{number:017x}",
        "size_gib": 8,
        "encrypted": False,
        "state": "completed",
        "progress": "100%",
        "start_time": "2026-11-23T23:15:00.000Z",
        "owner_id": "123456789012",
        "tags": {tags.SET: set_id, tags.TOKEN: "t", tags.INSTANCE: instance, **(more or {})},
    }
    return Snapshot(**{**plain, **fields})


def one(*snapshots: Snapshot) -> TaggedSet:
    [found] = group(snapshots)
    return found


def test_sets_come_newest_first_with_the_root_first_in_each() -> None:
    old = [snapshot(SET_IDS[0], number=1, start_time="2026-11-22T23:15:00.000Z")]
    devices = {2: "/dev/sdf", 3: "/dev/xvda", 4: "/dev/sdg"}
    new = [snapshot(SET_IDS[1], number=each, more={tags.DEVICE: device}) for each, device in devices.items()]
    found = group([*old, *new])
    assert [each.set_id for each in found] == [SET_IDS[1], SET_IDS[0]]
    assert [each.tags[tags.DEVICE] for each in found[0].snapshots] == ["/dev/xvda", "/dev/sdf", "/dev/sdg"]


@pytest.mark.parametrize(
    ("states", "count", "state"),
    [
        (["completed", "completed"], None, "completed"),
        (["completed", "completed"], "2", "completed"),
        (["completed", "completed"], "3", "incomplete"),
        (["completed", "completed"], "many", "completed"),
        (["completed", "pending"], "3", "pending"),
        (["completed", "recovering"], "2", "pending"),
        (["pending", "error"], "2", "error"),
    ],
)
def test_the_state_of_a_set_is_that_of_its_worst_snapshot(states: list[str], count: str | None, state: str) -> None:
    more = {tags.COUNT: count} if count else {}
    parts = [snapshot(SET_IDS[0], number=number, state=each, more=more) for number, each in enumerate(states)]
    assert one(*parts).state == state


def test_the_count_is_known_from_any_snapshot_that_was_claimed() -> None:
    claimed = snapshot(SET_IDS[0], number=1, more={tags.COUNT: "3", tags.CLAIM: "c"})
    found = one(snapshot(SET_IDS[0]), claimed)
    assert (found.count, found.is_claimed, found.state) == (3, True, "incomplete")
    assert (one(snapshot(SET_IDS[0])).count, one(snapshot(SET_IDS[0])).is_claimed) == (None, False)


@pytest.mark.parametrize(
    "foreign",
    [
        replace(snapshot(SET_IDS[0]), tags={}),
        replace(snapshot(SET_IDS[0]), tags={tags.SET: SET_IDS[0]}),
        replace(snapshot(SET_IDS[0]), tags={tags.SET: SET_IDS[0], tags.INSTANCE: WEB}),
        snapshot("set-1"),
        snapshot(f"{SET_IDS[0]} (copy)"),
        snapshot(SET_IDS[0], instance="somewhere"),
        snapshot(SET_IDS[0], volume_id="vol-ffffffff"),
        replace(snapshot(SET_IDS[0]), tags={"snapset:restored-from": SET_IDS[0], tags.DEVICE: "/dev/sdf"}),
    ],
)
def test_what_snapset_did_not_take_is_in_no_set(foreign: Snapshot) -> None:
    own = snapshot(SET_IDS[0], number=7)
    assert group([foreign]) == []
    assert one(own, foreign).snapshots == (own,)


def test_a_set_that_is_said_to_be_of_two_instances_is_none() -> None:
    assert group([snapshot(SET_IDS[0], number=1), snapshot(SET_IDS[0], number=2, instance=DB)]) == []


@given(st.lists(st.tuples(st.sampled_from(SET_IDS), st.integers(0, 9)), unique=True), st.randoms())
def test_each_snapshot_is_in_one_set_in_whatever_order_they_come(parts: list[tuple[str, int]], random: Any) -> None:
    taken = [snapshot(set_id, number=10 * SET_IDS.index(set_id) + number) for set_id, number in parts]
    found = group(taken)
    assert sorted(id_ for each in found for id_ in each.snapshot_ids) == sorted(each.snapshot_id for each in taken)
    assert all({part.tags[tags.SET] for part in each.snapshots} == {each.set_id} for each in found)
    random.shuffle(taken)
    assert group(taken) == found
