"""What somebody else does to the instance while it is rolled back, or between two runs, loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.restore import rollback_plan
from snapset.restore.rollback import roll_back
from snapset.restore.rollback_plan import RollbackInputs, RollbackPlan, RollbackRecord, plan_rollback
from snapset.sets.journal import JOURNAL, Journal
from support.project import mutating, until
from support.restores import DATA, ROOT, SCRATCH, restored_in, take_set
from support.rollbacks import DEVICES, Deployed, connect, deploy, described, devices_of, safety_sets, tags_of
from support.sets import find_sets

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

pytestmark = pytest.mark.long


@pytest.fixture
def aws(ec2: EmbeddedEC2) -> Ec2:
    return connect(ec2)


@pytest.fixture
def deployed(ec2: EmbeddedEC2) -> Deployed:
    return deploy(ec2)


def plan_of(aws: Ec2, deployed: Deployed, **inputs: Any) -> RollbackPlan:
    wanted = RollbackInputs(instance_id=deployed.instance_id, **{"set_id": deployed.set_id, "timeout": 20, **inputs})
    return plan_rollback(aws, wanted)


def run(
    aws: Ec2, deployed: Deployed, *, at: str = "", then: Callable[[], object] = lambda: None, **inputs: Any
) -> tuple[RollbackRecord, list[str]]:
    """Roll back; once the instance is seen in the state `at`, do something to it, once."""
    said: list[str] = []
    left = [then] if at else []

    def meanwhile(record: RollbackRecord) -> None:
        if record["state"] == at and left:
            left.pop()()

    plan = plan_of(aws, deployed, **inputs)
    record = roll_back(aws.saying(said.append), plan, report=meanwhile)
    assert not left, f"it was never seen {at}"
    return record, said


def volumes_of(ec2: EmbeddedEC2) -> set[str]:
    return {volume["VolumeId"] for volume in ec2.ec2().describe_volumes()["Volumes"]}


def start(ec2: EmbeddedEC2, deployed: Deployed) -> None:
    """Start it in another second than before: EC2 says in whole seconds when it was started."""
    launched = described(ec2, deployed.instance_id)["LaunchTime"]
    until(lambda: datetime.now(timezone.utc) - launched > timedelta(seconds=1))
    ec2.ec2().start_instances(InstanceIds=[deployed.instance_id])


def cut_off(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed, action: str, *, skip: int, swapped: int, **inputs: Any
) -> None:
    """Roll back, with AWS refusing an action after so many calls of it."""
    ec2.fault(action=action, kind="error", code="InvalidParameterValue", skip=skip, times=9)
    with pytest.raises(errors.SnapsetError, match=f"{swapped} of 3 volumes swapped"):
        run(aws, deployed, **inputs)
    ec2.clear_faults()


def test_a_volume_that_somebody_detaches_meanwhile_is_in_no_set_and_is_kept(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.settings(instance_seconds=1)

    def detach() -> None:
        ec2.ec2().detach_volume(VolumeId=deployed.before[SCRATCH])

    record, said = run(aws, deployed, at="stopping", then=detach, delete_replaced=True)
    assert volumes_of(ec2) & set(deployed.before.values()) == {deployed.before[SCRATCH]}
    assert set(record["deleted_volume_ids"]) == set(deployed.before.values()) - {deployed.before[SCRATCH]}
    assert f"warning: {deployed.before[SCRATCH]} stays: no set has all that is on it" in said


def test_what_was_written_after_a_safety_set_is_in_another_one_before_it_is_deleted(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    cut_off(aws, ec2, deployed, "DetachVolume", skip=1, swapped=0, delete_replaced=True)
    start(ec2, deployed)
    # EC2 says in whole seconds when an instance was started.
    ec2.settings(instance_seconds=1)
    record, _ = run(aws, deployed, delete_replaced=True)
    assert len(safety_sets(ec2, deployed)) == 2
    assert safety_sets(ec2, deployed)[str(record["safety_set_id"])] == set(deployed.before.values())
    assert not volumes_of(ec2) & set(deployed.before.values())


@pytest.mark.parametrize(("minutes", "is_used"), [(5, True), (20, False), (120, False)])
def test_a_safety_set_of_an_earlier_run_is_used_only_while_it_shows_what_is_there_now(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed, minutes: int, is_used: bool
) -> None:
    # The run is cut off before it has claimed the set.
    cut_off(aws, ec2, deployed, "CreateTags", skip=2, swapped=0)
    sets = find_sets(ec2)
    [left] = sets.keys() - {deployed.set_id}
    ec2.age(sets[left].ids, seconds=minutes * 60)
    record, _ = run(aws, deployed)
    assert (record["safety_set_id"] == left) == is_used
    assert len(find_sets(ec2)) == (2 if is_used else 3)


def test_what_a_run_without_a_safety_set_replaced_is_kept_by_the_next_one(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    cut_off(aws, ec2, deployed, "AttachVolume", skip=2, swapped=1, safety_set=False)
    record, _ = run(aws, deployed, delete_replaced=True)
    # Two of them had been detached by then.
    assert volumes_of(ec2) & set(deployed.before.values()) == {deployed.before[DATA], deployed.before[SCRATCH]}
    assert len(record["deleted_volume_ids"]) == 1


def test_an_instance_that_is_started_meanwhile_is_not_swapped_under_its_feet(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    run(aws, deployed, at="stopped", then=lambda: start(ec2, deployed))
    power = ("StopInstances", "StartInstances")
    done = [action for action in mutating(ec2.calls()) if action in (*power, "DetachVolume")]
    assert done == [*power, "StopInstances", *["DetachVolume"] * 3, "StartInstances"]
    assert not set(devices_of(ec2, deployed.instance_id).values()) & set(deployed.before.values())


def test_a_volume_that_is_attached_meanwhile_is_not_taken_away(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    client = ec2.ec2()
    theirs = client.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]

    def attach() -> None:
        client.detach_volume(VolumeId=deployed.before[DATA])
        client.attach_volume(VolumeId=theirs, InstanceId=deployed.instance_id, Device=DATA)

    with pytest.raises(errors.SnapsetError, match=f"{theirs} was attached there meanwhile"):
        run(aws, deployed, at="stopped", then=attach)
    assert devices_of(ec2, deployed.instance_id)[DATA] == theirs


def test_an_instance_that_is_terminated_meanwhile_is_not_waited_for(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.settings(instance_seconds=1)
    terminate = lambda: ec2.ec2().terminate_instances(InstanceIds=[deployed.instance_id])  # noqa: E731
    with pytest.raises(errors.SnapsetError, match=r"it was terminated meanwhile") as raised:
        run(aws, deployed, at="stopping", then=terminate)
    assert "Run the same command again" not in str(raised.value)


def test_of_two_rollbacks_to_other_sets_the_first_ends_and_the_second_goes_on(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    other = take_set(ec2, deployed.instance, change_id="release-41", tags={})
    ec2.settings(instance_seconds=1)
    second: list[RollbackPlan] = []

    def begin_another() -> None:
        # As far as its mark: it goes on once the first one has ended.
        second.append(plan_of(aws, deployed, set_id=other))
        journal = Journal(
            rollback_id=second[0].rollback_id, set_id=other, was_running=True, begun="2026-11-26T15:00:00Z"
        )
        aws.add_tags([deployed.instance_id], {JOURNAL: journal.text()})

    with pytest.raises(errors.SnapsetError, match=f"another rollback, to {other}, has begun meanwhile"):
        run(aws, deployed, at="stopping", then=begin_another)
    assert second[0].was_running
    assert tags_of(described(ec2, deployed.instance_id))["snapset:rollback"].startswith(second[0].rollback_id)
    run(aws, deployed, set_id=other)
    assert described(ec2, deployed.instance_id)["State"]["Name"] == "running"
    now = set(devices_of(ec2, deployed.instance_id).values())
    assert {volume.tags["snapset:restored-from"] for volume in restored_in(ec2) if volume.volume_id in now} == {other}


def assert_of_one_moment(aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed, *, used: str) -> None:
    """Roll back, and check that no volume that was used since is among the new ones, and that a safety set has it."""
    there = set(devices_of(ec2, deployed.instance_id).values())
    run(aws, deployed)
    now = devices_of(ec2, deployed.instance_id)
    assert set(now) == set(DEVICES)
    assert not {used, *deployed.before.values()} & set(now.values())
    assert there in safety_sets(ec2, deployed).values()
    of_now = [volume for volume in restored_in(ec2) if volume.volume_id in now.values()]
    assert len({volume.tags["snapset:restored-for"] for volume in of_now}) == 1
    assert described(ec2, deployed.instance_id)["State"]["Name"] == "running"


@pytest.mark.parametrize("put_aside", [True, False])
def test_a_new_volume_that_somebody_used_is_not_put_beside_the_other_new_ones(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed, put_aside: bool
) -> None:
    client = ec2.ec2()
    # EC2 says in whole seconds when an instance was started.
    ec2.settings(instance_seconds=1)
    cut_off(aws, ec2, deployed, "AttachVolume", skip=2, swapped=1)
    used = devices_of(ec2, deployed.instance_id)[DATA]
    ec2.settings(instance_seconds=0)
    planned = plan_of(aws, deployed)
    start(ec2, deployed)
    with pytest.raises(errors.SnapsetError, match="since the plan was made its volumes have changed, it was started"):
        roll_back(aws, planned)
    if put_aside:
        client.detach_volume(VolumeId=used)
        client.attach_volume(VolumeId=deployed.before[DATA], InstanceId=deployed.instance_id, Device=DATA)
    assert_of_one_moment(aws, ec2, deployed, used=used)


def test_an_instance_that_is_started_between_two_swaps_keeps_no_volume_that_it_used(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.settings(instance_seconds=1)

    def start_at_the_second(line: str) -> None:
        if line.startswith(SCRATCH):
            start(ec2, deployed)

    with pytest.raises(errors.SnapsetError, match="it was started meanwhile, with some of the new volumes"):
        roll_back(aws.saying(start_at_the_second), plan_of(aws, deployed))
    assert_of_one_moment(aws, ec2, deployed, used=devices_of(ec2, deployed.instance_id)[DATA])


def test_a_leftover_that_the_rerun_needs_or_that_somebody_attaches_meanwhile_is_not_deleted(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    cut_off(aws, ec2, deployed, "DetachVolume", skip=1, swapped=0)
    made = {volume.tags["snapset:restored-device"]: volume.volume_id for volume in restored_in(ec2)}
    assert plan_of(aws, deployed).leftovers == ()
    less = {"exclude_boot_volume": True, "exclude_volume_ids": (deployed.before[DATA],), "delete_leftovers": True}
    assert sorted(plan_of(aws, deployed, **less).to_delete) == sorted([made[ROOT], made[DATA]])

    def attach() -> None:
        ec2.ec2().attach_volume(VolumeId=made[ROOT], InstanceId=ec2.launch().instance_id, Device="/dev/sdx")

    record, _ = run(aws, deployed, at="running", then=attach, **less)
    assert record["deleted_volume_ids"] == [made[DATA]]
    assert made[ROOT] in volumes_of(ec2)


def test_a_rerun_that_fails_early_says_what_is_swapped_and_makes_only_what_is_missing(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    ec2.fault(action="CreateVolume", kind="error", code="InvalidParameterValue", skip=3, times=9)
    with pytest.raises(errors.SnapsetError, match="0 of 3 volumes swapped"):
        run(aws, deployed)
    ec2.clear_faults()
    said: list[str] = []
    ec2.fault(action="AttachVolume", kind="error", code="InvalidParameterValue", skip=2, times=9)
    with pytest.raises(errors.SnapsetError, match="1 of 3 volumes swapped"):
        roll_back(aws.saying(said.append), plan_of(aws, deployed))
    assert f"making 1 volume from {deployed.set_id}" in said
    ec2.clear_faults()
    plan = plan_of(aws, deployed)
    ec2.fault(action="DescribeVolumes", kind="error", code="InvalidParameterValue", times=9)
    with pytest.raises(errors.SnapsetError, match="was last seen stopped, with 1 of 3 volumes swapped"):
        roll_back(aws, plan)
    ec2.clear_faults()
    said = run(aws, deployed)[1]
    assert not [line for line in said if line.startswith("making")]


def cut_off_at_its_end(aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed) -> dict[str, str]:
    # EC2 says in whole seconds when an instance was started.
    ec2.settings(instance_seconds=1)
    ec2.fault(action="DeleteTags", kind="error", code="InvalidParameterValue", times=None, skip=1)
    with pytest.raises(errors.SnapsetError, match="3 of 3 volumes swapped"):
        run(aws, deployed)
    ec2.clear_faults()
    return devices_of(ec2, deployed.instance_id)


def test_a_rerun_ends_a_rollback_of_which_only_the_end_was_missing(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    in_place = cut_off_at_its_end(aws, ec2, deployed)
    run(aws, deployed)
    assert devices_of(ec2, deployed.instance_id) == in_place
    assert "snapset:rollback" not in tags_of(described(ec2, deployed.instance_id))


def test_an_instance_that_was_backed_up_or_used_since_is_rolled_back_once_more(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place = cut_off_at_its_end(aws, ec2, deployed)
    with monkeypatch.context() as patch:
        patch.setattr(rollback_plan, "RECENT_SECONDS", -1)
        assert plan_of(aws, deployed).begun == ""
        # Unless there is still something of it to do.
        assert plan_of(aws, deployed, delete_replaced=True).begun
    assert plan_of(aws, deployed).begun
    ec2.settings(snapshot_seconds=0)
    take_set(ec2, deployed.instance, change_id="release-43", tags={})
    run(aws, deployed)
    assert not set(devices_of(ec2, deployed.instance_id).values()) & set(in_place.values())


def test_what_has_no_room_for_a_tag_or_can_not_be_seen_is_said_before_anything_is_touched(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    volume_id = devices_of(ec2, deployed.instance_id)[DATA]
    full: Any = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    ec2.ec2().create_tags(Resources=[deployed.instance_id], Tags=full)
    ec2.ec2().create_tags(Resources=[volume_id], Tags=full[:48])
    ec2.clear_calls()
    with pytest.raises(errors.InputError) as raised:
        plan_of(aws, deployed, delete_replaced=True)
    assert f"{deployed.instance_id} has 50 tags: there is no room for snapset:rollback" in str(raised.value)
    assert f"{volume_id} has 49 tags: there is no room for snapset:replaced and snapset:saved-in" in str(raised.value)
    ec2.ec2().delete_tags(Resources=[deployed.instance_id], Tags=full[:1])
    plan_of(aws, deployed)
    ec2.fault(action="DeleteVolume", kind="deny")
    ec2.ec2().delete_tags(Resources=[volume_id], Tags=full[:2])
    with pytest.raises(errors.NotPermittedError, match=r"Allow ec2:DeleteVolume\."):
        plan_of(aws, deployed, delete_replaced=True)
    assert mutating(ec2.calls()) == ["DeleteTags", "DeleteTags"]


def test_a_set_that_is_gone_is_no_riddle_while_a_rollback_to_it_is_under_way(
    aws: Ec2, ec2: EmbeddedEC2, deployed: Deployed
) -> None:
    cut_off(aws, ec2, deployed, "AttachVolume", skip=2, swapped=1)
    filters: Any = [{"Name": "tag:snapset:set", "Values": [deployed.set_id]}]
    for snapshot in ec2.ec2().describe_snapshots(Filters=filters)["Snapshots"]:
        ec2.ec2().delete_snapshot(SnapshotId=snapshot["SnapshotId"])
    with pytest.raises(errors.NotFoundError) as raised:
        plan_of(aws, deployed, set_id=None)
    assert f"a rollback to {deployed.set_id} that began at" in str(raised.value)
    assert "have the tag snapset:replaced" in str(raised.value)
