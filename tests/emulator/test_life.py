"""A snapshot is pending with progress, then completed, or in error together with its whole set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.emulator.life import FOREVER, Failure, Life

SECONDS = st.floats(min_value=0, max_value=1e6)


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch([(20, "/dev/sdf", {})])


@pytest.fixture
def create(ec2: Any, instance: LaunchedInstance) -> Any:
    def create_set() -> Any:
        made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance.instance_id})["Snapshots"]
        return [snapshot["SnapshotId"] for snapshot in made]

    return create_set


@pytest.fixture
def look(ec2: Any) -> Any:
    def describe(snapshot_ids: Any) -> Any:
        return ec2.describe_snapshots(SnapshotIds=snapshot_ids)["Snapshots"]

    return describe


def states(snapshots: Any) -> Any:
    return [snapshot["State"] for snapshot in snapshots]


def test_with_zero_seconds_the_first_look_finds_it_completed(create: Any, look: Any) -> None:
    for snapshot in look(create()):
        assert (snapshot["State"], snapshot["Progress"]) == ("completed", "100%")
        assert snapshot["CompletionTime"] == snapshot["StartTime"]
        assert "StateMessage" not in snapshot


def test_with_forever_it_stays_pending_until_complete_is_called(
    create: Any, look: Any, ec2_server: EmbeddedEC2
) -> None:
    ec2_server.settings(snapshot_seconds=FOREVER)
    snapshot_ids = create()
    for snapshot in look(snapshot_ids):
        assert (snapshot["State"], snapshot["Progress"]) == ("pending", "0%")
        assert "CompletionTime" not in snapshot
    assert ec2_server.complete(snapshot_ids[:1]) == snapshot_ids[:1]
    assert states(look(snapshot_ids)) == ["completed", "pending"]
    assert ec2_server.complete() == snapshot_ids[1:]
    assert states(look(snapshot_ids)) == ["completed", "completed"]
    assert ec2_server.complete() == []


def test_progress_grows_until_it_is_completed(
    create: Any, look: Any, ec2_server: EmbeddedEC2, eventually: Any
) -> None:
    ec2_server.settings(snapshot_seconds=0.4)
    snapshot_ids = create()
    seen: list[Any] = []

    def look_again() -> Any:
        seen.append(look(snapshot_ids))
        return states(seen[-1])

    eventually(look_again, lambda now: now == ["completed"] * 2)
    # Each snapshot completes by itself; the other one of the set may take a moment longer.
    first = [snapshots[0] for snapshots in seen]
    progress = [int(snapshot["Progress"].removesuffix("%")) for snapshot in first]
    assert progress == sorted(progress)
    assert [percent == 100 for percent in progress] == [snapshot["State"] == "completed" for snapshot in first]


def test_a_volume_can_have_its_own_duration(
    create: Any, look: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2_server.settings(volume_seconds={instance.root_volume_id: FOREVER})
    assert states(look(create())) == ["pending", "completed"]


def test_fail_hits_only_the_next_set(create: Any, look: Any, ec2_server: EmbeddedEC2) -> None:
    ec2_server.fail(message="The volume is too hot.")
    failed, fine = create(), create()
    for snapshot in look(failed):
        assert (snapshot["State"], snapshot["StateMessage"]) == ("error", "The volume is too hot.")
    assert states(look(fine)) == ["completed"] * 2


def test_the_next_set_can_fail_while_pending(
    create: Any, look: Any, ec2_server: EmbeddedEC2, eventually: Any
) -> None:
    ec2_server.settings(snapshot_seconds=FOREVER)
    ec2_server.fail(after_seconds=2)
    snapshot_ids = create()
    assert states(look(snapshot_ids)) == ["pending"] * 2
    eventually(lambda: states(look(snapshot_ids)), lambda now: now == ["error"] * 2)


@pytest.mark.parametrize("seconds", [0, FOREVER])
def test_all_snapshots_of_a_set_fail_and_no_others(
    create: Any, look: Any, ec2_server: EmbeddedEC2, seconds: float
) -> None:
    ec2_server.settings(snapshot_seconds=seconds)
    failed, other = create(), create()
    assert sorted(ec2_server.fail(failed[:1])) == sorted(failed)
    assert states(look(failed)) == ["error"] * 2
    assert "error" not in states(look(other))
    assert ec2_server.complete(failed) == []


def test_a_refused_call_does_not_use_up_the_failure(
    create: Any, look: Any, ec2: Any, ec2_server: EmbeddedEC2, refused: Any
) -> None:
    ec2_server.fail()
    with refused("InvalidInstanceID.NotFound"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": "i-01234567"})
    assert states(look(create())) == ["error"] * 2


def test_single_snapshots_and_copies_start_pending_too(
    ec2: Any, ec2_server: EmbeddedEC2, look: Any, instance: LaunchedInstance, refused: Any
) -> None:
    ec2_server.settings(snapshot_seconds=FOREVER)
    single = ec2.create_snapshot(VolumeId=instance.root_volume_id, Description="single")
    assert single["State"] == "pending"
    with refused("IncorrectState", single["SnapshotId"]):
        ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=single["SnapshotId"])
    ec2_server.complete()
    copy = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=single["SnapshotId"])["SnapshotId"]
    assert states(look([single["SnapshotId"], copy])) == ["completed", "pending"]


@given(SECONDS, SECONDS)
def test_a_snapshot_stays_completed(seconds: float, age: float) -> None:
    life = Life(begun=0.0, seconds=seconds)
    over = age >= seconds
    assert life.state(age) == ("completed" if over else "pending")
    assert (life.progress(age) == "100%") == over
    assert life.completed_after(age) == (seconds if over else None)


@given(SECONDS, SECONDS, SECONDS)
def test_a_set_that_will_fail_never_completes(seconds: float, after: Any, age: float) -> None:
    life = Life(begun=0.0, seconds=seconds, failure=Failure("why", after))
    assert life.state(age) == ("error" if age >= after else "pending")
    assert life.message(age) == ("why" if age >= after else None)
    assert int(life.progress(age).removesuffix("%")) <= 99
    assert life.completed_after(age) is None


def test_a_life_can_be_ended_or_failed_at_any_time() -> None:
    life = Life(begun=0.0, seconds=FOREVER)
    assert life.ended(5.0).state(5.0) == "completed"
    assert life.ended(5.0).completed_after(6.0) == 5.0
    assert life.failed(5.0, "why").state(5.0) == "error"
    assert life.failed(5.0, "why").ended(6.0).state(6.0) == "error"


def test_snapshots_can_be_made_older(create: Any, look: Any, ec2_server: EmbeddedEC2) -> None:
    old, new = create(), create()
    before = look(new)[0]["StartTime"]
    ec2_server.age(old, seconds=3600)
    assert [before - snapshot["StartTime"] >= timedelta(minutes=59) for snapshot in look(old)] == [True, True]
    assert {snapshot["StartTime"] for snapshot in look(new)} == {before}
