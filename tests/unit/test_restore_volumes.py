"""`restore_set`: one volume a snapshot, attached where it was; and `delete_volumes`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws import clock
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Volume
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.restore.inputs import RestoreInputs
from snapset.restore.plan import make_plan
from snapset.restore.volumes import VolumeRecord, delete_volumes, restore_set
from snapset.retry import Retry
from snapset.sets.model import SnapshotSet

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ROOT, DATA, SCRATCH = "/dev/sda1", "/dev/sdf", "/dev/sdg"
ZONE = "us-east-1a"
RETRY = Retry(consistency=5, throttle=20, volume=10)


@pytest.fixture
def in_zone(claimed: SnapshotSet) -> RestoreInputs:
    """A restore of the set in a zone."""
    return RestoreInputs(
        set_id=claimed.set_id,
        scope="snapset restore",
        region="us-east-1",
        availability_zone=ZONE,
        tags={"app": "shop"},
    )


@pytest.fixture
def target(ec2: EmbeddedEC2) -> LaunchedInstance:
    """An instance with nothing but its root volume."""
    return ec2.launch(zone="us-east-1b")


@pytest.fixture
def attached(in_zone: RestoreInputs, target: LaunchedInstance) -> RestoreInputs:
    """A restore of the set's data volumes, attached to that instance."""
    return replace(in_zone, availability_zone=None, instance_id=target.instance_id, exclude_boot_volume=True)


def volumes_of(aws: Ec2, inputs: RestoreInputs) -> list[Volume]:
    """All volumes that were made for this restore's resource."""
    return aws.find_volumes({"tag:snapset:restored-for": [inputs.restored_for]})


def ids_of(records: list[VolumeRecord]) -> list[str]:
    return [record["volume_id"] for record in records]


def test_every_snapshot_becomes_a_volume_in_the_zone(aws: Ec2, claimed: SnapshotSet, in_zone: RestoreInputs) -> None:
    made = restore_set(aws, in_zone, retry=RETRY)
    assert [record["snapshot_id"] for record in made] == claimed.snapshot_ids
    assert [(record["device_name"], record["size_gib"]) for record in made] == [(ROOT, 8), (DATA, 20), (SCRATCH, 100)]
    assert {(record["availability_zone"], record["state"]) for record in made} == {(ZONE, "available")}
    volumes = {volume.snapshot_id: volume for volume in volumes_of(aws, in_zone)}
    assert {key: volume.volume_id for key, volume in volumes.items()} == dict(
        zip(claimed.snapshot_ids, ids_of(made), strict=True)
    )
    for source in make_plan(aws, in_zone, retry=RETRY).sources:
        theirs = dict(volumes[source.snapshot.snapshot_id].tags)
        assert clock.age_of(theirs.pop("snapset:restored-at")) < 60
        assert theirs == in_zone.tags_of(source)


def test_the_volumes_are_attached_where_they_were(
    aws: Ec2, in_zone: RestoreInputs, attached: RestoreInputs, target: LaunchedInstance
) -> None:
    made = restore_set(aws, attached, retry=RETRY)
    assert [(record["device_name"], record["state"]) for record in made] == [(DATA, "in-use"), (SCRATCH, "in-use")]
    devices = aws.describe_instance(target.instance_id).devices
    assert devices == {target.root_volume_id: ROOT, **dict(zip(ids_of(made), [DATA, SCRATCH], strict=True))}


def test_a_set_of_which_a_snapshot_is_gone_is_not_restored(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, in_zone: RestoreInputs
) -> None:
    client.delete_snapshot(SnapshotId=claimed.snapshot_ids[1])
    with pytest.raises(errors.InputError, match="2 of its 3 snapshots are left"):
        restore_set(aws, in_zone, retry=RETRY)
    assert volumes_of(aws, in_zone) == []


def test_a_copy_of_a_snapshot_is_not_restored_beside_it(
    aws: Ec2, client: EC2Client, claimed: SnapshotSet, attached: RestoreInputs
) -> None:
    for snapshot in claimed.snapshots:
        copied = client.copy_snapshot(SourceSnapshotId=snapshot.snapshot_id, SourceRegion="us-east-1")["SnapshotId"]
        client.create_tags(
            Resources=[copied], Tags=[{"Key": key, "Value": value} for key, value in snapshot.tags.items()]
        )
    made = restore_set(aws, attached, retry=RETRY)
    assert [record["snapshot_id"] for record in made] == claimed.snapshot_ids[1:]
    assert len(volumes_of(aws, attached)) == 2


def test_what_does_not_fit_is_refused_before_anything_is_created(
    aws: Ec2, ec2: EmbeddedEC2, attached: RestoreInputs
) -> None:
    with pytest.raises(errors.InputError, match=r"^restoring set-\w+: devices of i-\w+ are occupied: "):
        restore_set(aws, replace(attached, exclude_boot_volume=False), retry=RETRY)
    assert ec2.calls("CreateVolume") == []


def test_a_restore_that_is_done_again_takes_up_its_volumes_and_says_so(
    aws: Ec2, ec2: EmbeddedEC2, attached: RestoreInputs
) -> None:
    made = restore_set(aws, attached, retry=RETRY)
    ec2.clear_calls()
    said: list[str] = []
    assert restore_set(aws, attached, retry=RETRY.saying(said.append)) == made
    [text] = said
    assert text.startswith(f"{attached.set_id}: restored at 2")
    assert text.endswith(", which an earlier run made")
    assert all(volume_id in text for volume_id in ids_of(made))
    assert [ec2.calls(action) for action in ("CreateVolume", "AttachVolume", "CreateTags")] == [[], [], []]


def test_a_restore_that_was_interrupted_makes_what_is_missing_and_attaches_what_is_not(
    aws: Ec2, client: EC2Client, attached: RestoreInputs
) -> None:
    first, second = restore_set(aws, attached, retry=RETRY)
    for volume_id in (first["volume_id"], second["volume_id"]):
        client.detach_volume(VolumeId=volume_id)
        client.delete_tags(Resources=[volume_id], Tags=[{"Key": "snapset:restored-at"}])
    client.delete_volume(VolumeId=second["volume_id"])
    again = restore_set(aws, attached, retry=RETRY)
    assert ids_of(again)[0] == first["volume_id"]
    assert ids_of(again)[1] != second["volume_id"]
    assert {record["state"] for record in again} == {"in-use"}
    assert sorted(ids_of(again)) == sorted(volume.volume_id for volume in volumes_of(aws, attached))


def test_volumes_of_an_earlier_run_get_the_tags_that_are_asked_for_now(aws: Ec2, in_zone: RestoreInputs) -> None:
    made = restore_set(aws, in_zone, retry=RETRY)
    again = restore_set(aws, replace(in_zone, tags={"app": "till", "team": "ops"}), retry=RETRY)
    assert ids_of(again) == ids_of(made)
    for volume in volumes_of(aws, in_zone):
        assert (volume.tags["app"], volume.tags["team"]) == ("till", "ops")


@pytest.mark.parametrize("kind", ["error", "error_after", "close_before", "close_after"])
def test_an_answer_of_create_volume_that_is_lost_makes_no_second_volume(
    aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs, kind: str
) -> None:
    ec2.fault(action="CreateVolume", kind=kind)
    said: list[str] = []
    made = restore_set(aws, in_zone, retry=RETRY.saying(said.append))
    assert sorted(ids_of(made)) == sorted(volume.volume_id for volume in volumes_of(aws, in_zone))
    assert len(made) == 3
    [text] = said
    assert text.endswith("no answer from AWS: looking whether it was made")


def test_a_throttled_call_is_tried_again_and_said(aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs) -> None:
    ec2.fault(action="CreateVolume", kind="error", code="RequestLimitExceeded")
    said: list[str] = []
    assert len(restore_set(aws, in_zone, retry=RETRY.saying(said.append))) == 3
    [text] = said
    assert text.startswith("creating the volume of snap-")
    assert "RequestLimitExceeded: trying again in " in text


def test_a_throttled_look_at_the_set_is_repeated_in_one_place(
    aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs
) -> None:
    # boto3 itself tries three times.
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", times=4)
    said: list[str] = []
    assert len(restore_set(aws, in_zone, retry=RETRY.saying(said.append))) == 3
    [text] = said
    assert text.startswith(f"restoring {in_zone.set_id}: RequestLimitExceeded: trying again in ")


def test_deleting_deletes_the_volumes_and_no_other(aws: Ec2, in_zone: RestoreInputs) -> None:
    first, *rest = ids_of(restore_set(aws, in_zone, retry=RETRY))
    for _ in range(2):
        delete_volumes(aws, rest, retry=RETRY)
    assert [volume.volume_id for volume in volumes_of(aws, in_zone)] == [first]


def test_a_volume_that_is_attached_stays_and_the_rest_is_deleted(
    aws: Ec2, client: EC2Client, attached: RestoreInputs
) -> None:
    first, second = ids_of(restore_set(aws, attached, retry=RETRY))
    client.detach_volume(VolumeId=second)
    with pytest.raises(errors.SnapsetError) as caught:
        delete_volumes(aws, [first, second], retry=RETRY)
    text = str(caught.value)
    assert text.startswith(f"deleting the replaced volumes: 1 of 2 stay: deleting {first}: VolumeInUse: ")
    assert caught.value.code == "VolumeInUse"
    assert "\n" not in text
    assert [volume.volume_id for volume in volumes_of(aws, attached)] == [first]


def test_a_volume_that_goes_meanwhile_counts_as_deleted(aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs) -> None:
    made = ids_of(restore_set(aws, in_zone, retry=RETRY))
    ec2.fault(action="DeleteVolume", kind="error", code="InvalidVolume.NotFound", match=made[0])
    delete_volumes(aws, made, retry=RETRY)
    assert [volume.volume_id for volume in volumes_of(aws, in_zone)] == made[:1]
