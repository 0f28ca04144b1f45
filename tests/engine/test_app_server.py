"""`stacks/app_server.py`: a backup declared beside an instance follows the instance's changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project, changes, mutating
from support.restores import DATA, ROOT, SCRATCH, forget_instance, snapshots_of
from support.rollbacks import described, devices_of
from support.sets import find_sets, find_taken

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2


def sizes_in(outputs: dict[str, Any]) -> dict[str, int]:
    return {snapshot["device_name"]: snapshot["size_gib"] for snapshot in outputs["snapshots"]}


def test_a_backup_waits_for_the_attachments_follows_its_instance_and_keeps_every_set(
    project: Project, ec2: EmbeddedEC2
) -> None:
    stack = project
    aws_plugin.install(stack.env)
    stack.config = {"program": "app_server"}
    assert "+ 8 to create" in stack.preview().ok().stdout
    assert mutating(ec2.calls()) == []
    stack.up().ok()
    done = mutating(ec2.calls())
    assert done.index("CreateSnapshots") > max(at for at, action in enumerate(done) if action == "AttachVolume")
    first = stack.outputs()
    assert sizes_in(first) == {"/dev/sda1": 8, "/dev/sdf": 20}
    [taken] = find_sets(ec2).values()
    assert {snapshot.tags["app"] for snapshot in taken.snapshots.values()} == {"shop"}

    ec2.clear_calls()
    assert changes(stack.up().ok()) == {"unchanged": 8}
    assert changes(stack.refresh().ok())["unchanged"] >= 7
    stack.config["instanceType"] = "t3.large"
    assert changes(stack.up().ok()) == {"updated": 1, "unchanged": 7}
    assert find_taken(ec2) == []

    stack.config["ami"] = "ami-87654321"
    planned = stack.preview().ok()
    assert mutating(ec2.calls()) == ["StopInstances", "ModifyInstanceAttribute", "StartInstances"]
    assert "SnapshotSet server" in planned.stdout
    replaced = stack.up().ok()
    second = stack.outputs()
    assert f"{first['setId']} of {first['instanceId']} stays in AWS" in replaced.text
    assert find_taken(ec2) == [second["setId"]] != [first["setId"]]
    assert second["instanceId"] != first["instanceId"]
    assert sizes_in(second) == sizes_in(first)
    assert set(find_sets(ec2)) == {first["setId"], second["setId"]}

    destroyed = stack.destroy().ok()
    assert f"{second['setId']} of {second['instanceId']} stays in AWS" in destroyed.text
    assert set(find_sets(ec2)) == {first["setId"], second["setId"]}
    assert ec2.calls("DeleteSnapshot") == []


@pytest.fixture
def stack(project: Project) -> Project:
    aws_plugin.install(project.env)
    project.config = {"program": "app_server"}
    return project


@pytest.fixture
def before(stack: Project, ec2: EmbeddedEC2) -> dict[str, Any]:
    """The outputs of the stack whose set has the content of each device, which is overwritten since."""
    stack.up().ok()
    volumes = devices_of(ec2, stack.outputs()["instanceId"])
    for device, volume_id in volumes.items():
        ec2.write(volume_id, 0, device.encode())
    stack.config["triggers"] = "written"
    stack.up().ok()
    for volume_id in volumes.values():
        ec2.write(volume_id, 0, b"the failed deploy")
    return stack.outputs()


def starts_of(ec2: EmbeddedEC2, instance_id: str) -> dict[str, bytes]:
    """How the content of each attached volume begins, by device."""
    return {device: ec2.read(volume_id, 0, 8) for device, volume_id in devices_of(ec2, instance_id).items()}


def digests_of(ec2: EmbeddedEC2, outputs: dict[str, Any]) -> dict[str, str]:
    """The content of the volumes at the devices of the set, by device."""
    volumes = devices_of(ec2, outputs["instanceId"])
    return {device: ec2.digest(volumes[device]) for device in (ROOT, DATA)}


def digests_in(ec2: EmbeddedEC2, set_id: str) -> dict[str, str]:
    return {one["tags"]["snapset:device"]: ec2.digest(key) for key, one in snapshots_of(ec2, set_id).items()}


def images(ec2: EmbeddedEC2) -> list[str]:
    return [image["ImageId"] for image in ec2.ec2().describe_images(Owners=["self"])["Images"]]


@pytest.mark.parametrize("is_gone", [False, True])
def test_root_and_data_come_back_from_a_set_and_stay(
    stack: Project, ec2: EmbeddedEC2, before: dict[str, Any], is_gone: bool
) -> None:
    client, set_id = ec2.ec2(), before["setId"]
    data = devices_of(ec2, before["instanceId"])[DATA]
    if is_gone:
        client.terminate_instances(InstanceIds=[before["instanceId"]])
        stack.refresh().ok()
    stack.config["restoreSet"] = set_id
    assert "aws:ec2:Ami" in stack.preview().ok().stdout
    assert images(ec2) == []
    stack.up().ok()
    restored = stack.outputs()
    assert restored["instanceId"] != before["instanceId"]
    assert digests_of(ec2, restored) == digests_in(ec2, set_id)
    assert starts_of(ec2, restored["instanceId"])[ROOT] == ROOT.encode()[:8]
    assert [described(ec2, restored["instanceId"])["ImageId"]] == images(ec2) == [restored["ami"]]
    # What was written since is not lost.
    [old] = client.describe_volumes(VolumeIds=[data])["Volumes"]
    assert (old["State"], ec2.read(data, 0, 17)) == ("available", b"the failed deploy")
    # The instance that is there now has a set of its own.
    assert restored["setId"] != set_id
    assert digests_in(ec2, restored["setId"]) == digests_of(ec2, restored)

    ec2.clear_calls()
    assert changes(stack.up().ok()) == {"unchanged": 9}
    assert changes(stack.up("--refresh").ok()) == {"unchanged": 9}
    assert stack.outputs() == restored
    assert mutating(ec2.calls()) == []


def test_the_image_goes_and_the_instance_stays_once_the_key_is_taken_out_as_the_page_says(
    stack: Project, ec2: EmbeddedEC2, before: dict[str, Any]
) -> None:
    set_id, scratch = before["setId"], devices_of(ec2, before["instanceId"])[SCRATCH]
    stack.config["restoreSet"] = set_id
    stack.up().ok()
    restored = stack.outputs()
    digests, volumes = digests_of(ec2, restored), devices_of(ec2, restored["instanceId"])
    assert volumes[SCRATCH] == scratch
    stack.config["ami"] = restored["ami"]
    del stack.config["restoreSet"]
    assert changes(stack.up().ok()) == {"deleted": 1, "unchanged": 8}
    assert stack.outputs() == restored
    assert (digests_of(ec2, restored), devices_of(ec2, restored["instanceId"])) == (digests, volumes)
    assert images(ec2) == []
    for snapshot_id in snapshots_of(ec2, set_id):
        ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    assert changes(stack.up("--refresh").ok()) == {"unchanged": 8}


def test_another_set_gets_another_image(stack: Project, ec2: EmbeddedEC2, before: dict[str, Any]) -> None:
    stack.config |= {"triggers": "the deploy", "restoreSet": before["setId"], "restoreRoot": False}
    stack.up().ok()
    later = stack.outputs()["setId"]
    stack.config |= {"restoreSet": before["setId"], "restoreRoot": True}
    stack.up().ok()
    [first] = images(ec2)
    stack.config["restoreSet"] = later
    stack.up().ok()
    [second] = images(ec2)
    assert first != second
    assert digests_of(ec2, stack.outputs()) == digests_in(ec2, later) != digests_in(ec2, before["setId"])


def add_encrypted_image(ec2: EmbeddedEC2) -> str:
    client = ec2.ec2()
    volume = client.create_volume(AvailabilityZone="us-east-1a", Size=8, Encrypted=True)
    snapshot = client.create_snapshot(VolumeId=volume["VolumeId"])
    mapping: Any = {"DeviceName": ROOT, "Ebs": {"SnapshotId": snapshot["SnapshotId"], "VolumeType": "gp3"}}
    return client.register_image(
        Name="encrypted",
        Architecture="x86_64",
        RootDeviceName=ROOT,
        VirtualizationType="hvm",
        BlockDeviceMappings=[mapping],
    )["ImageId"]


def test_an_encrypted_root_comes_back_and_is_not_replaced_again(stack: Project, ec2: EmbeddedEC2) -> None:
    stack.config["ami"] = add_encrypted_image(ec2)
    stack.up().ok()
    set_id = stack.outputs()["setId"]
    stack.config["restoreSet"] = set_id
    stack.up().ok()
    restored = stack.outputs()
    [root] = ec2.ec2().describe_volumes(VolumeIds=[devices_of(ec2, restored["instanceId"])[ROOT]])["Volumes"]
    assert (root["Encrypted"], root["VolumeType"]) == (True, "gp3")
    assert changes(stack.up().ok()) == {"unchanged": 9}
    assert changes(stack.up("--refresh").ok()) == {"unchanged": 9}
    assert stack.outputs() == restored


@pytest.mark.parametrize("product_codes", [[], ["8ed65ofpnssmw49m8yqrcwiju"]])
def test_a_set_without_an_image_is_refused_before_anything_changes_and_its_data_comes_back_alone(
    stack: Project, ec2: EmbeddedEC2, product_codes: list[str]
) -> None:
    stack.config["ami"] = ec2.add_image(product_codes=product_codes)
    stack.up().ok()
    before = stack.outputs()
    set_id, volumes = before["setId"], devices_of(ec2, before["instanceId"])
    reason = "the instance is of AWS Marketplace (8ed65ofpnssmw49m8yqrcwiju)"
    if not product_codes:
        forget_instance(ec2, set_id)
        reason = "what the instance was is not recorded with the set"
    ec2.write(volumes[DATA], 0, b"the failed deploy")
    stack.config["restoreSet"] = set_id
    ec2.clear_calls()
    refused = stack.up().failed()
    way = f"snapset rollback NEW --of {before['instanceId']} --set {set_id}"
    assert f"making an image of {set_id}: {reason}. " in refused.text
    assert way in refused.text
    assert mutating(ec2.calls()) == []
    stack.config["restoreRoot"] = False
    stack.up().ok()
    after = stack.outputs()
    now = devices_of(ec2, after["instanceId"])
    assert (after["instanceId"], now[ROOT]) == (before["instanceId"], volumes[ROOT])
    assert ec2.digest(now[DATA]) == digests_in(ec2, set_id)[DATA]
    assert images(ec2) == []
