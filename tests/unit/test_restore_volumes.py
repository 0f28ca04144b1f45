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
from snapset.sets.model import SnapshotSet

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ROOT, DATA, SCRATCH = "/dev/sda1", "/dev/sdf", "/dev/sdg"
ZONE = "us-east-1a"


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
    """All volumes that were made for this restore."""
    return aws.find_volumes({"tag:snapset:restored-for": [inputs.restored_for]})


def ids_of(records: list[VolumeRecord]) -> list[str]:
    return [record["volume_id"] for record in records]


def test_every_snapshot_becomes_a_volume_in_the_zone(aws: Ec2, claimed: SnapshotSet, in_zone: RestoreInputs) -> None:
    made = restore_set(aws, in_zone)
    assert [record["snapshot_id"] for record in made] == claimed.snapshot_ids
    assert [(record["device_name"], record["size_gib"]) for record in made] == [(ROOT, 8), (DATA, 20), (SCRATCH, 100)]
    assert {(record["availability_zone"], record["state"]) for record in made} == {(ZONE, "available")}
    volumes = {volume.snapshot_id: volume for volume in volumes_of(aws, in_zone)}
    assert {key: volume.volume_id for key, volume in volumes.items()} == dict(
        zip(claimed.snapshot_ids, ids_of(made), strict=True)
    )
    for source in make_plan(aws, in_zone).sources:
        theirs = dict(volumes[source.snapshot.snapshot_id].tags)
        assert clock.age_of(theirs.pop("snapset:restored-at")) < 60
        assert theirs == in_zone.tags_of(source)


def test_what_does_not_fit_is_refused_before_anything_is_created(
    aws: Ec2, ec2: EmbeddedEC2, attached: RestoreInputs
) -> None:
    with pytest.raises(errors.InputError, match=r"^restoring set-\w+: devices of i-\w+ are occupied: "):
        restore_set(aws, replace(attached, exclude_boot_volume=False))
    assert ec2.calls("CreateVolume") == []


def test_a_restore_that_was_interrupted_makes_what_is_missing_and_attaches_what_is_not(
    aws: Ec2, client: EC2Client, attached: RestoreInputs
) -> None:
    first, second = restore_set(aws, attached)
    for volume_id in (first["volume_id"], second["volume_id"]):
        client.detach_volume(VolumeId=volume_id)
        client.delete_tags(Resources=[volume_id], Tags=[{"Key": "snapset:restored-at"}])
    client.delete_volume(VolumeId=second["volume_id"])
    again = restore_set(aws, attached)
    assert ids_of(again)[0] == first["volume_id"]
    assert ids_of(again)[1] != second["volume_id"]
    assert {record["state"] for record in again} == {"in-use"}
    assert sorted(ids_of(again)) == sorted(volume.volume_id for volume in volumes_of(aws, attached))


def test_volumes_of_an_earlier_run_get_the_tags_that_are_asked_for_now(aws: Ec2, in_zone: RestoreInputs) -> None:
    made = restore_set(aws, in_zone)
    again = restore_set(aws, replace(in_zone, tags={"app": "till", "team": "ops"}))
    assert ids_of(again) == ids_of(made)
    for volume in volumes_of(aws, in_zone):
        assert (volume.tags["app"], volume.tags["team"]) == ("till", "ops")


def test_a_throttled_look_at_the_set_is_repeated_in_one_place(
    aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs
) -> None:
    # boto3 itself tries three times.
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", times=4)
    said: list[str] = []
    assert len(restore_set(aws.saying(said.append), in_zone)) == 3
    [text] = said
    assert text.startswith("describing snapshots in us-east-1: RequestLimitExceeded: trying again in ")


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
    assert text.startswith(f"deleting the replaced volumes: 1 of 2 stay: deleting {first}: VolumeInUse: ")
    assert caught.value.code == "VolumeInUse"
    assert "\n" not in text
    assert [volume.volume_id for volume in volumes_of(aws, attached)] == [first]


def test_a_volume_that_goes_meanwhile_counts_as_deleted(aws: Ec2, ec2: EmbeddedEC2, in_zone: RestoreInputs) -> None:
    made = ids_of(restore_set(aws, in_zone))
    ec2.fault(action="DeleteVolume", kind="error", code="InvalidVolume.NotFound", match=made[0])
    delete_volumes(aws, made)
    assert [volume.volume_id for volume in volumes_of(aws, in_zone)] == made[:1]
