"""What is on volumes, and where it goes: snapshots, copies, volumes and instances of them."""

from __future__ import annotations

from typing import Any

import pytest
from snapset.emulator.client import EmbeddedEC2, EmbeddedEC2Error, LaunchedInstance

BLOCK = 512 * 1024
ZONE = "us-east-1a"


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    """An instance with different content on its volumes."""
    launched = ec2_server.launch([(1, "/dev/sdf", {})])
    for device, volume_id in launched.volume_ids.items():
        ec2_server.write(volume_id, 3 * BLOCK - 2, device.encode())
    return launched


def take(ec2: Any, instance: LaunchedInstance) -> dict[str, str]:
    """Take a set: snapshots by volume."""
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance.instance_id})["Snapshots"]
    return {snapshot["VolumeId"]: snapshot["SnapshotId"] for snapshot in made}


@pytest.mark.parametrize("offset", [0, 1, BLOCK - 3, BLOCK, 5 * BLOCK + 7])
@pytest.mark.parametrize("length", [1, 5, BLOCK, 2 * BLOCK + 1])
def test_what_is_written_is_read_and_around_it_are_zeros(ec2_server: EmbeddedEC2, offset: int, length: int) -> None:
    volume_id = ec2_server.launch().root_volume_id
    data = bytes(1 + number % 251 for number in range(length))
    ec2_server.write(volume_id, offset, data)
    before = min(offset, 9)
    assert ec2_server.read(volume_id, offset - before, before + length + 9) == bytes(before) + data + bytes(9)
    ec2_server.write(volume_id, offset, b"x")
    assert ec2_server.read(volume_id, offset, length) == b"x" + data[1:]


def test_a_digest_tells_contents_apart(ec2_server: EmbeddedEC2, instance: LaunchedInstance) -> None:
    root, data = instance.volume_ids.values()
    empty = ec2_server.digest(ec2_server.launch().root_volume_id)
    assert len({ec2_server.digest(root), ec2_server.digest(data), empty}) == 3
    ec2_server.write(data, 3 * BLOCK - 2, bytes(len("/dev/sdf")))
    assert ec2_server.digest(data) == empty


@pytest.mark.parametrize("offset", [-1, 2**30 - 2])
def test_nothing_is_written_beyond_the_ends(ec2_server: EmbeddedEC2, instance: LaunchedInstance, offset: int) -> None:
    with pytest.raises(EmbeddedEC2Error, match="3 bytes"):
        ec2_server.write(instance.volume_ids["/dev/sdf"], offset, b"abc")


def test_a_snapshot_has_the_content_of_its_instant_and_takes_it_everywhere(
    ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    digests = {volume_id: ec2_server.digest(volume_id) for volume_id in instance.volume_ids.values()}
    taken = take(ec2, instance)
    single = ec2.create_snapshot(VolumeId=instance.root_volume_id)["SnapshotId"]
    for volume_id in digests:
        ec2_server.write(volume_id, 0, b"later")
    assert {volume_id: ec2_server.digest(snapshot_id) for volume_id, snapshot_id in taken.items()} == digests
    far = ec2_server.ec2(region="eu-west-1")
    copy = far.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=single)["SnapshotId"]
    volumes = [
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=single)["VolumeId"],
        far.create_volume(AvailabilityZone="eu-west-1a", SnapshotId=copy)["VolumeId"],
    ]
    assert {ec2_server.digest(found) for found in [single, copy, *volumes]} == {digests[instance.root_volume_id]}
    ec2_server.write(volumes[0], 0, b"on a copy")
    assert ec2_server.digest(single) == digests[instance.root_volume_id]


def test_an_instance_of_an_image_has_the_content_of_its_snapshots(
    ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    taken = take(ec2, instance)
    mappings = [
        {"DeviceName": device, "Ebs": {"SnapshotId": taken[volume_id]}}
        for device, volume_id in instance.volume_ids.items()
    ]
    image_id = ec2.register_image(Name="golden", BlockDeviceMappings=mappings)["ImageId"]
    made = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    described = ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
    for mapping in described["BlockDeviceMappings"]:
        there = mapping["Ebs"]["VolumeId"]
        assert ec2_server.digest(there) == ec2_server.digest(instance.volume_ids[mapping["DeviceName"]])
