"""`make_plan`: what a restore will do, and what stands in its way, before anything is created."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.restore.inputs import RestoreInputs
from snapset.restore.plan import make_plan
from snapset.restore.volumes import restore_set
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


def change_tags(
    client: EC2Client, snapshot_ids: list[str], *, add: dict[str, str] | None = None, drop: str = ""
) -> None:
    if add:
        client.create_tags(Resources=snapshot_ids, Tags=[{"Key": key, "Value": value} for key, value in add.items()])
    if drop:
        client.delete_tags(Resources=snapshot_ids, Tags=[{"Key": drop}])


def test_a_plan_has_every_snapshot_the_roots_first_then_by_device(
    aws: Ec2, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    plan = make_plan(aws, in_zone)
    assert plan.obstacle == ""
    assert list(plan.devices) == claimed.snapshot_ids
    assert list(plan.devices.values()) == [ROOT, DATA, SCRATCH]
    assert (plan.zone, plan.volumes) == (ZONE, {})


def test_a_plan_for_an_instance_is_in_its_zone_without_the_excluded_root(
    aws: Ec2, claimed: SnapshotSet, attached: RestoreInputs
) -> None:
    plan = make_plan(aws, attached)
    assert plan.obstacle == ""
    assert list(plan.devices) == claimed.snapshot_ids[1:]
    assert (plan.zone, list(plan.devices.values())) == ("us-east-1b", [DATA, SCRATCH])


def test_copies_with_all_tags_of_their_snapshots_are_left_out(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    for snapshot in claimed.snapshots:
        copied = client.copy_snapshot(SourceSnapshotId=snapshot.snapshot_id, SourceRegion="us-east-1")["SnapshotId"]
        change_tags(client, [copied], add=dict(snapshot.tags))
    plan = make_plan(aws, in_zone)
    assert list(plan.devices) == claimed.snapshot_ids


def test_copies_do_not_make_a_set_whole_again(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    lost = claimed.snapshots[1]
    copied = client.copy_snapshot(SourceSnapshotId=lost.snapshot_id, SourceRegion="us-east-1")["SnapshotId"]
    change_tags(client, [copied], add=dict(lost.tags))
    client.delete_snapshot(SnapshotId=lost.snapshot_id)
    with pytest.raises(errors.InputError) as caught:
        make_plan(aws, in_zone)
    assert str(caught.value) == (
        f"restoring {claimed.set_id}: 2 of its 3 snapshots are left; {DATA} is missing. Restore a whole set, "
        "or add --allow-incomplete."
    )
    with pytest.raises(errors.InputError, match=rf"{DATA} is missing\. Choose a set that is whole\."):
        make_plan(aws, in_zone, in_place=True)


def test_a_set_in_error_is_refused_with_the_reason_of_aws(
    aws: Ec2, ec2: EmbeddedEC2, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    ec2.fail(claimed.snapshot_ids, message="Given key ID is not accessible.")
    with pytest.raises(
        errors.SetFailedError, match=r"is in error: Given key ID is not accessible\. Restore another set"
    ):
        make_plan(aws, in_zone)


def test_a_set_that_has_not_completed_is_refused_with_how_far_it_is(
    aws: Ec2, ec2: EmbeddedEC2, claimed: SnapshotSet, in_zone: RestoreInputs, client: EC2Client
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    tags = {**claimed.snapshots[0].tags, "snapset:set": "set-0fedcba9876543210", "snapset:snapshot": ""}
    client.create_snapshots(
        InstanceSpecification={"InstanceId": claimed.instance_id},
        TagSpecifications=[
            {"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )
    with pytest.raises(
        errors.InputError, match=r"not completed yet: snap-\w+ \(pending 0%\), snap-\w+ \(pending 0%\), snap-"
    ):
        make_plan(aws, replace(in_zone, set_id="set-0fedcba9876543210"))


def test_what_stands_in_the_way_is_named(
    aws: Ec2,
    ec2: EmbeddedEC2,
    client: EC2Client,
    claimed: SnapshotSet,
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
    change_tags(client, claimed.snapshot_ids[1:2], drop="snapset:device")
    assert obstacle(attached) == f"the device of {claimed.snapshot_ids[1]} is not known; tag it with snapset:device"


def test_if_only_the_root_is_left_and_excluded_nothing_is_left_to_restore(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    change_tags(client, claimed.snapshot_ids[:1], add={"snapset:count": "1"})
    change_tags(client, claimed.snapshot_ids[1:], drop="snapset:set")
    assert make_plan(aws, replace(in_zone, exclude_boot_volume=True)).obstacle == "nothing is left to restore"


def test_more_tags_than_a_volume_can_have_are_refused(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    change_tags(client, claimed.snapshot_ids[:1], add={"theirs": "x"})
    tags = {f"k{number}": "v" for number in range(44)}
    assert make_plan(aws, replace(in_zone, tags=tags)).obstacle == (
        f"the volume of {claimed.snapshot_ids[0]} would have 51 tags; AWS takes at most 50"
    )


def test_an_earlier_attempts_volumes_are_found_and_their_devices_are_free(aws: Ec2, attached: RestoreInputs) -> None:
    made = restore_set(aws, attached)
    plan = make_plan(aws, attached)
    assert plan.obstacle == ""
    assert {key: volume.volume_id for key, volume in plan.volumes.items()} == {
        record["snapshot_id"]: record["volume_id"] for record in made
    }


def test_what_was_used_since_is_set_aside_and_stands_in_the_way_where_it_is(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client, attached: RestoreInputs
) -> None:
    first, second = restore_set(aws, attached)
    client.detach_volume(VolumeId=first["volume_id"])
    plan = make_plan(aws, attached)
    assert plan.volumes == {}
    assert plan.set_aside == {record["snapshot_id"]: (record["volume_id"],) for record in (first, second)}
    assert f"are occupied: {SCRATCH} by {second['volume_id']}; detach what is there" in plan.obstacle
    client.detach_volume(VolumeId=second["volume_id"])
    again = restore_set(aws, attached)
    assert [record["device_name"] for record in again] == [DATA, SCRATCH]
    assert not {first["volume_id"], second["volume_id"]} & {record["volume_id"] for record in again}


def test_of_two_volumes_of_one_snapshot_it_is_always_the_oldest(aws: Ec2, in_zone: RestoreInputs) -> None:
    [source, *_] = make_plan(aws, in_zone).sources
    request = in_zone.request(source, zone=ZONE)
    made = [aws.create_volume(request, client_token=token) for token in ("one", "two", "three")]
    volumes = aws.describe_volumes(made)
    oldest = min(volumes, key=lambda volume: (volume.create_time, volume.volume_id))
    assert make_plan(aws, in_zone).volumes == {source.snapshot.snapshot_id: oldest}
