"""`make_plan`: what a restore will do, and what stands in its way; `restore_set`; and `delete_volumes`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Volume
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.restore.inputs import RestoreInputs
from snapset.restore.plan import Plan, make_plan
from snapset.restore.volumes import VolumeRecord, delete_volumes, restore_set
from snapset.sets.model import SnapshotSet

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ROOT, DATA, SCRATCH = "/dev/sda1", "/dev/sdf", "/dev/sdg"
ZONE = "us-east-1a"


@pytest.fixture
def in_zone(claimed: SnapshotSet) -> RestoreInputs:
    """A restore of the set in a zone."""
    return RestoreInputs(set_id=claimed.set_id, scope="snapset restore", region="us-east-1", availability_zone=ZONE)


@pytest.fixture
def target(ec2: EmbeddedEC2) -> LaunchedInstance:
    """An instance with nothing but its root volume."""
    return ec2.launch(zone="us-east-1b")


@pytest.fixture
def attached(in_zone: RestoreInputs, target: LaunchedInstance) -> RestoreInputs:
    """A restore of the set's data volumes, attached to that instance."""
    return replace(in_zone, availability_zone=None, instance_id=target.instance_id, exclude_boot_volume=True)


def volumes_of(aws: Ec2, inputs: RestoreInputs) -> list[Volume]:
    """All volumes that were made for this restore."""
    return aws.find_volumes({"tag:snapset:restored-by": [inputs.token]})


def ids_of(records: list[VolumeRecord]) -> list[str]:
    return [record["volume_id"] for record in records]


def snapshot_ids_of(plan: Plan) -> list[str]:
    return [source.snapshot.snapshot_id for source in plan.sources]


def test_a_plan_for_an_instance_is_in_its_zone_without_the_excluded_root(
    aws: Ec2, claimed: SnapshotSet, attached: RestoreInputs
) -> None:
    plan = make_plan(aws, attached)
    assert plan.obstacle == ""
    assert snapshot_ids_of(plan) == claimed.snapshot_ids[1:]
    assert (plan.zone, [source.device for source in plan.sources]) == ("us-east-1b", [DATA, SCRATCH])


def test_copies_with_all_tags_of_their_snapshots_are_left_out(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    for snapshot in claimed.snapshots:
        copied = client.copy_snapshot(SourceSnapshotId=snapshot.snapshot_id, SourceRegion="us-east-1")["SnapshotId"]
        aws.add_tags([copied], dict(snapshot.tags))
    assert snapshot_ids_of(make_plan(aws, in_zone)) == claimed.snapshot_ids


def test_copies_do_not_make_a_set_whole_again(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    lost = claimed.snapshots[1]
    copied = client.copy_snapshot(SourceSnapshotId=lost.snapshot_id, SourceRegion="us-east-1")["SnapshotId"]
    aws.add_tags([copied], dict(lost.tags))
    client.delete_snapshot(SnapshotId=lost.snapshot_id)
    with pytest.raises(errors.InputError) as caught:
        make_plan(aws, in_zone)
    assert str(caught.value) == (
        f"restoring {claimed.set_id}: 2 of its 3 snapshots are left; {DATA} is missing. Restore a whole set, "
        "or add --allow-incomplete."
    )
    with pytest.raises(errors.InputError, match=rf"{DATA} is missing\. Choose a set that is whole\."):
        make_plan(aws, in_zone, in_place=True)


def test_what_is_in_the_recycle_bin_is_not_there(
    aws: Ec2, claimed: SnapshotSet, in_zone: RestoreInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *rest = claimed.snapshots
    for binned, left in (([first], rest), (claimed.snapshots, [])):
        seen = claimed.as_seen([*(replace(one, state="recoverable") for one in binned), *left])
        monkeypatch.setattr("snapset.restore.plan.find_set", lambda *_, seen=seen: seen)
        with pytest.raises(errors.InputError, match=f"{len(left)} of its 3 snapshots are left"):
            make_plan(aws, replace(in_zone, allow_incomplete=not left))
        if left:
            allowed = make_plan(aws, replace(in_zone, allow_incomplete=True))
            assert snapshot_ids_of(allowed) == [one.snapshot_id for one in rest]


def test_what_stands_in_the_way_is_named(
    aws: Ec2,
    ec2: EmbeddedEC2,
    client: EC2Client,
    in_zone: RestoreInputs,
    attached: RestoreInputs,
    target: LaunchedInstance,
) -> None:
    def obstacle(inputs: RestoreInputs) -> str:
        return make_plan(aws, inputs).obstacle

    assert obstacle(replace(in_zone, availability_zone="us-east-1z")) == "there is no zone us-east-1z in us-east-1"
    # The root of the target is in the way of the set's root.
    assert obstacle(replace(attached, exclude_boot_volume=False)) == (
        f"devices of {target.instance_id} are occupied: {ROOT} by {target.root_volume_id}; "
        f"{ROOT} is its root: --exclude-boot leaves it out"
    )
    full = ec2.launch([(1, DATA, {}), (1, SCRATCH, {})])
    assert obstacle(replace(attached, instance_id=full.instance_id)) == (
        f"devices of {full.instance_id} are occupied: {DATA} by {full.volume_ids[DATA]}, "
        f"{SCRATCH} by {full.volume_ids[SCRATCH]}; detach what is there"
    )
    # A rollback takes away what is there.
    assert make_plan(aws, replace(attached, instance_id=full.instance_id), in_place=True).obstacle == ""
    client.terminate_instances(InstanceIds=[full.instance_id])
    assert obstacle(replace(attached, instance_id=full.instance_id)) == (
        f"{full.instance_id} is terminated: no volume can be attached to it"
    )


def test_if_only_the_root_is_left_and_excluded_nothing_is_left_to_restore(
    aws: Ec2, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    aws.add_tags(claimed.snapshot_ids[:1], {"snapset:count": "1"})
    aws.remove_tags(claimed.snapshot_ids[1:], ["snapset:set"])
    assert make_plan(aws, replace(in_zone, exclude_boot_volume=True)).obstacle == "nothing is left to restore"


def test_more_tags_than_a_volume_can_have_are_refused(aws: Ec2, claimed: SnapshotSet, in_zone: RestoreInputs) -> None:
    aws.add_tags(claimed.snapshot_ids[:1], {"theirs": "x"})
    tags = {f"k{number}": "v" for number in range(44)}
    assert make_plan(aws, replace(in_zone, tags=tags)).obstacle == (
        f"the volume of {claimed.snapshot_ids[0]} would have 51 tags; AWS takes at most 50"
    )


def test_what_was_used_since_is_set_aside_and_stands_in_the_way_where_it_is(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client, attached: RestoreInputs
) -> None:
    first, second = restore_set(aws, attached)
    client.detach_volume(VolumeId=first["volume_id"])
    plan = make_plan(aws, attached)
    assert plan.volumes == []
    assert [source.set_aside for source in plan.sources] == [(first["volume_id"],), (second["volume_id"],)]
    assert f"are occupied: {SCRATCH} by {second['volume_id']}; detach what is there" in plan.obstacle
    client.detach_volume(VolumeId=second["volume_id"])
    again = restore_set(aws, attached)
    assert [record["device_name"] for record in again] == [DATA, SCRATCH]
    assert not {first["volume_id"], second["volume_id"]} & set(ids_of(again))


def test_of_two_volumes_of_one_snapshot_it_is_always_the_oldest(aws: Ec2, in_zone: RestoreInputs) -> None:
    [source, *_] = make_plan(aws, in_zone).sources
    request = in_zone.request(source, zone=ZONE)
    made = [aws.create_volume(request, client_token=token) for token in ("one", "two", "three")]
    volumes = aws.describe_volumes(made)
    oldest = min(volumes, key=lambda volume: (volume.create_time, volume.volume_id))
    assert make_plan(aws, in_zone).volumes == [oldest]


def test_volumes_of_an_earlier_run_get_the_tags_that_are_asked_for_now(aws: Ec2, in_zone: RestoreInputs) -> None:
    made = restore_set(aws, in_zone)
    again = restore_set(aws, replace(in_zone, tags={"Name": "till", "team": "ops"}))
    assert ids_of(again) == ids_of(made)
    for volume in volumes_of(aws, in_zone):
        assert (volume.tags["Name"], volume.tags["team"]) == ("till", "ops")


def test_deleting_deletes_the_volumes_and_no_other(aws: Ec2, in_zone: RestoreInputs) -> None:
    first, *rest = ids_of(restore_set(aws, in_zone))
    for _ in range(2):
        delete_volumes(aws, rest)
    assert [volume.volume_id for volume in volumes_of(aws, in_zone)] == [first]


def test_a_volume_that_is_attached_stays_and_the_rest_is_deleted(
    aws: Ec2, client: EC2Client, attached: RestoreInputs
) -> None:
    first, second = ids_of(restore_set(aws, attached))
    client.detach_volume(VolumeId=second)
    with pytest.raises(errors.SnapsetError) as caught:
        delete_volumes(aws, [first, second])
    text = str(caught.value)
    assert text.startswith(f"deleting volumes: 1 of 2 stay: deleting {first}: VolumeInUse: ")
    assert caught.value.code == "VolumeInUse"
    assert "\n" not in text
    assert [volume.volume_id for volume in volumes_of(aws, attached)] == [first]


def test_a_volume_that_goes_meanwhile_counts_as_deleted(aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs) -> None:
    made = ids_of(restore_set(aws, in_zone))
    ec2.fault(action="DeleteVolume", kind="error", code="InvalidVolume.NotFound", match=made[0])
    delete_volumes(aws, made)
    assert [volume.volume_id for volume in volumes_of(aws, in_zone)] == made[:1]
