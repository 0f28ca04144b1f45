"""`SnapshotSet`: which snapshots make up a set, in which order, whether it is whole, and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.aws.records import InstanceFacts, Snapshot
from snapset.sets import tags
from snapset.sets.instance_tag import tags_of
from snapset.sets.model import BOOT_DEVICES, SnapshotSet, group

OWNER = "123456789012"
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
        "tags": {tags.SET: set_id, tags.TOKEN: "t", tags.INSTANCE: instance, tags.SNAPSHOT: "", **(more or {})},
    }
    return Snapshot(**{**plain, **fields})


def one(*snapshots: Snapshot) -> SnapshotSet:
    [found] = group(snapshots)
    return found


def test_sets_come_newest_first_with_the_root_first_in_each() -> None:
    old = [snapshot(SET_IDS[0], number=1, start_time="2026-11-22T23:15:00.000Z")]
    devices = {2: "/dev/sdf", 3: "/dev/xvda", 4: "/dev/sdg"}
    new = [snapshot(SET_IDS[1], number=number, more={tags.DEVICE: device}) for number, device in devices.items()]
    found = group([*old, *new])
    assert [snapshot_set.set_id for snapshot_set in found] == [SET_IDS[1], SET_IDS[0]]
    assert [part.tags[tags.DEVICE] for part in found[0].snapshots] == ["/dev/xvda", "/dev/sdf", "/dev/sdg"]


@pytest.mark.parametrize(
    ("states", "count", "state"),
    [
        (["completed", "completed"], None, "incomplete"),
        (["completed", "completed"], "2", "completed"),
        (["completed", "completed"], "3", "incomplete"),
        (["completed", "completed"], "many", "incomplete"),
        (["completed", "pending"], "3", "pending"),
        (["completed", "recovering"], "2", "pending"),
        (["completed", "recoverable"], "2", "incomplete"),
        (["completed", "pending", "recoverable"], "3", "pending"),
        (["pending", "error"], "2", "error"),
    ],
)
def test_the_state_of_a_set_is_that_of_its_worst_snapshot(states: list[str], count: str | None, state: str) -> None:
    more = {tags.COUNT: count} if count else {}
    parts = [
        snapshot(SET_IDS[0], number=number, state=part_state, more=more) for number, part_state in enumerate(states)
    ]
    assert one(*parts).state == state


@pytest.mark.parametrize(("count", "state", "has_completed"), [("2", "archived", True), ("3", "incomplete", False)])
def test_a_set_with_a_snapshot_in_the_archive_is_archived(count: str, state: str, has_completed: bool) -> None:
    parts = [
        snapshot(SET_IDS[0], number=number, is_archived=number == 1, more={tags.COUNT: count}) for number in (0, 1)
    ]
    assert (one(*parts).state, one(*parts).has_completed) == (state, has_completed)


def test_a_device_whose_snapshot_is_in_the_recycle_bin_is_missing() -> None:
    more = {tags.COUNT: "2", tags.DEVICES: "sdf,sdg"}
    there = snapshot(SET_IDS[0], more={**more, tags.DEVICE: "/dev/sdf"})
    binned = snapshot(SET_IDS[0], number=1, state="recoverable", more={**more, tags.DEVICE: "/dev/sdg"})
    assert (one(there, binned).is_whole, one(there, binned).missing_devices) == (False, ["/dev/sdg"])


def test_the_count_is_known_from_any_snapshot_that_was_claimed() -> None:
    claimed = snapshot(SET_IDS[0], number=1, more={tags.COUNT: "3", tags.CLAIM: "c"})
    found = one(snapshot(SET_IDS[0]), claimed)
    assert (found.count, found.claims, found.is_whole, found.state) == (3, {"c"}, False, "incomplete")
    assert (one(snapshot(SET_IDS[0])).count, one(snapshot(SET_IDS[0])).claims) == (None, set())


@pytest.mark.parametrize(
    "foreign",
    [
        replace(snapshot(SET_IDS[0]), tags={}),
        replace(snapshot(SET_IDS[0]), tags={tags.SET: SET_IDS[0]}),
        replace(snapshot(SET_IDS[0]), tags={tags.SET: SET_IDS[0], tags.INSTANCE: WEB}),
        snapshot(SET_IDS[0], more={tags.SNAPSHOT: "snap-0fedcba9876543210"}),
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


@pytest.mark.parametrize("copied", [{"start_time": "2026-11-23T23:16:01.000Z"}, {"volume_id": f"vol-{1:017x}"}])
def test_what_got_the_tags_of_a_set_that_is_not_marked_yet_is_no_member(copied: dict[str, str]) -> None:
    own = [snapshot(SET_IDS[0], number=number) for number in (1, 2)]
    fields: Any = {"start_time": "2026-11-23T23:15:30.000Z", **copied}
    other = snapshot(SET_IDS[0], number=3, **fields)
    assert one(other, *own).snapshots == tuple(own)


def test_of_a_volume_that_is_in_a_set_twice_the_marked_snapshot_is_the_member() -> None:
    marked = snapshot(SET_IDS[0], number=1, more={tags.SNAPSHOT: f"snap-{1:017x}"})
    earlier = snapshot(SET_IDS[0], number=2, volume_id=marked.volume_id, start_time="2026-11-23T23:14:59.000Z")
    assert one(earlier, marked).snapshots == (marked,)


def test_the_count_of_a_marked_snapshot_wins_over_what_the_call_expected() -> None:
    marked = snapshot(SET_IDS[0], number=1, more={tags.SNAPSHOT: f"snap-{1:017x}", tags.COUNT: "2"})
    assert one(marked, snapshot(SET_IDS[0], number=2, more={tags.COUNT: "3"})).count == 2


def test_a_set_that_is_said_to_be_of_two_instances_is_none() -> None:
    assert group([snapshot(SET_IDS[0], number=1), snapshot(SET_IDS[0], number=2, instance=DB)]) == []


@given(st.lists(st.tuples(st.sampled_from(SET_IDS), st.integers(0, 9)), unique=True), st.randoms())
def test_every_snapshot_is_in_one_set_in_whatever_order_they_come(parts: list[tuple[str, int]], random: Any) -> None:
    taken = [snapshot(set_id, number=10 * SET_IDS.index(set_id) + number) for set_id, number in parts]
    found = group(taken)
    ids = sorted(snapshot_id for snapshot_set in found for snapshot_id in snapshot_set.snapshot_ids)
    assert ids == sorted(part.snapshot_id for part in taken)
    for snapshot_set in found:
        assert {part.tags[tags.SET] for part in snapshot_set.snapshots} == {snapshot_set.set_id}
    random.shuffle(taken)
    assert group(taken) == found


# Devices of snapshots by number; the root's is one of two names, or not known.
DEVICES = st.dictionaries(
    st.integers(0, 99),
    st.sampled_from(["", "/dev/sda1", "/dev/xvda", "/dev/sdf", "/dev/sdg"]),
    min_size=1,
    max_size=6,
)


@given(DEVICES, st.randoms())
def test_a_set_is_in_the_same_order_however_it_came_about(devices: dict[int, str], random: Any) -> None:
    parts = [
        snapshot(SET_IDS[0], number=number, more={tags.DEVICE: device} if device else {})
        for number, device in devices.items()
    ]
    found = one(*parts)
    volumes = {part.volume_id: part.tags.get(tags.DEVICE, "") for part in parts}
    random.shuffle(parts)
    ways = [
        one(*parts),
        SnapshotSet.of(parts, set_id=SET_IDS[0], instance_id=WEB),
        SnapshotSet.of(
            parts, set_id=SET_IDS[0], instance_id=WEB, devices={}.fromkeys(found.snapshot_ids, "")
        ).with_devices_of(volumes),
        SnapshotSet.recorded(
            found.records(),
            set_id=SET_IDS[0],
            instance_id=WEB,
            count=len(parts),
            owner_id=OWNER,
        ),
        found.as_seen(parts),
    ]
    assert [way.snapshot_ids for way in ways] == [found.snapshot_ids] * len(ways)
    ordered = [found.devices[snapshot_id] for snapshot_id in found.snapshot_ids]
    roots = [device for device in ordered if device in BOOT_DEVICES]
    others = [device for device in ordered if device not in BOOT_DEVICES]
    assert ordered == sorted(roots) + sorted(others)


@pytest.mark.parametrize("root", ["/dev/xvda", "xvda", "/dev/sda", "/dev/xvda1", "/dev/sdf"])
def test_the_recorded_root_comes_first_whatever_it_is_called(root: str) -> None:
    was = tags_of(InstanceFacts(root_device=root))
    devices = sorted({root, "/dev/sda1", "/dev/sdb"})
    found = one(*(snapshot(SET_IDS[0], number=n, more={tags.DEVICE: at, **was}) for n, at in enumerate(devices)))
    in_order = [found.devices[snapshot_id] for snapshot_id in found.snapshot_ids]
    assert in_order == [root, *(device for device in devices if device != root)]
    assert found.roots == (root,)


@given(DEVICES, st.sampled_from(["pending", "completed", "error"]))
def test_what_is_recorded_is_read_back(devices: dict[int, str], state: str) -> None:
    parts = [
        snapshot(SET_IDS[0], number=number, state=state, more={tags.DEVICE: device})
        for number, device in devices.items()
    ]
    taken = SnapshotSet.of(parts, set_id=SET_IDS[0], instance_id=WEB, count=len(parts))
    # As Pulumi's state has them: every number is a float.
    records: Any = [{**record, "size_gib": float(record["size_gib"])} for record in taken.records()]
    read = SnapshotSet.recorded(records, set_id=SET_IDS[0], instance_id=WEB, count=len(parts), owner_id=OWNER)
    assert read.records() == taken.records()
    assert [type(record["size_gib"]) for record in read.records()] == [int] * len(parts)
    assert (read.snapshot_ids, read.devices, read.count) == (taken.snapshot_ids, taken.devices, len(parts))
    assert (read.state, read.start_time, read.volume_ids) == (taken.state, taken.start_time, taken.volume_ids)
    assert read.owner_id == OWNER


def test_a_record_has_what_is_known_of_each_snapshot() -> None:
    part = snapshot(SET_IDS[0], number=7, more={tags.DEVICE: "/dev/sdf"}, encrypted=True, size_gib=20, progress="99%")
    assert one(part).records() == [
        {
            "snapshot_id": part.snapshot_id,
            "volume_id": part.volume_id,
            "device_name": "/dev/sdf",
            "size_gib": 20,
            "encrypted": True,
            "state": "completed",
            "progress": "99%",
            "start_time": "2026-11-23T23:15:00.000Z",
        }
    ]


def test_the_record_of_a_set_says_either_its_change_or_what_this_run_did() -> None:
    found = one(snapshot(SET_IDS[0], more={tags.CHANGE: "42", tags.COUNT: "1"}))
    plain = {
        "set_id": SET_IDS[0],
        "instance_id": WEB,
        "region": "us-east-1",
        "state": "completed",
        "start_time": found.start_time,
        "snapshot_ids": found.snapshot_ids,
        "snapshots": found.records(),
    }
    assert found.record(region="us-east-1") == {**plain, "change_id": "42", "tags": {}, "pinned": False}
    assert found.record(region="us-east-1", outcome="adopted") == {**plain, "outcome": "adopted"}
    assert "change_id" not in one(snapshot(SET_IDS[0])).record(region="us-east-1")


def test_a_recorded_set_is_seen_as_it_is_now_without_what_is_gone_and_what_is_not_its_own() -> None:
    parts = [snapshot(SET_IDS[0], number=number, state="pending", progress="10%") for number in range(3)]
    taken = SnapshotSet.of(parts, set_id=SET_IDS[0], instance_id=WEB, count=3)
    now = [replace(part, state="completed", progress="100%") for part in reversed(parts)]
    assert taken.as_seen([*now, snapshot(SET_IDS[1], number=9)]).snapshots == tuple(reversed(now))
    assert taken.as_seen(now).state == "completed"
    left = taken.as_seen(now[:2])
    assert (left.snapshot_ids, left.count, left.is_whole, left.state) == (
        taken.snapshot_ids[1:],
        3,
        False,
        "incomplete",
    )
    assert taken.as_seen([]).snapshots == ()
    assert taken.as_seen([]).state == "incomplete"


def test_the_devices_of_the_instance_take_the_place_of_those_of_the_tags() -> None:
    parts = [snapshot(SET_IDS[0], number=number, more={tags.DEVICE: "/dev/old"}) for number in range(3)]
    volumes = {parts[2].volume_id: "/dev/xvda", parts[0].volume_id: "/dev/sdf", "vol-other": "/dev/sdz"}
    found = SnapshotSet.of(parts, set_id=SET_IDS[0], instance_id=WEB, count=3).with_devices_of(volumes)
    ids = [part.snapshot_id for part in parts]
    assert found.devices == {ids[0]: "/dev/sdf", ids[1]: "", ids[2]: "/dev/xvda"}
    assert found.snapshot_ids == [ids[2], ids[1], ids[0]]
    assert (found.count, found.instance_id, found.set_id) == (3, WEB, SET_IDS[0])


def test_the_count_that_is_given_wins_over_that_of_the_tags() -> None:
    part = snapshot(SET_IDS[0], more={tags.COUNT: "9"})
    assert SnapshotSet.of([part], set_id=SET_IDS[0], instance_id=WEB, count=1).is_whole
    assert not SnapshotSet.of([part], set_id=SET_IDS[0], instance_id=WEB).is_whole


def test_what_the_tags_of_any_snapshot_say_holds_for_the_set() -> None:
    parts = [snapshot(SET_IDS[0], number=number) for number in range(2)]
    plain, marks = one(*parts), {tags.PINNED: "pinned", tags.EXCLUDED: "root 0b 0a", tags.IN_USE_UNTIL: "2026-11-24"}
    marked = one(parts[0], replace(parts[1], tags={**parts[1].tags, **marks}))
    assert (plain.is_pinned, plain.excluded, plain.in_use_until) == (False, [], "")
    assert (marked.is_pinned, marked.excluded, marked.in_use_until) == (True, ["0a", "0b", "root"], "2026-11-24")


@pytest.mark.parametrize(
    ("moment", "after"),
    [("2026-11-23T23:14:59.999Z", True), ("2026-11-23T23:15:00.000Z", False), ("2026-11-23T23:15:00Z", False)],
)
def test_within_the_same_second_nothing_is_surely_later(moment: str, after: bool) -> None:
    assert one(snapshot(SET_IDS[0], start_time="2026-11-23T23:15:00.500Z")).began_after(moment) == after
