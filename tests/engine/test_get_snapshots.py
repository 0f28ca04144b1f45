"""`get_snapshots`: a set that exists already, in a program that makes volumes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pytest
import snapset
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from support import aws_plugin
from support.command_line import CommandLine
from support.project import Project, changes
from support.restores import DATA, forget_instance, launch_source, snapshots_of, take_set, terminate
from support.rollbacks import devices_of, tags_of
from support.volume_kinds import attributes_at

pytestmark = pytest.mark.long

MakeProject = Callable[[str], Project]

PROGRAM = """
import pulumi
from snapset import get_snapshots, get_snapshots_output

config = pulumi.Config()
by_id = get_snapshots(set_id=config.require("setId"))
by_change = get_snapshots(change_id="release-42")
instance = pulumi.Output.from_input(by_id.instance_id)
newest = get_snapshots_output(instance=instance, latest=True)
pulumi.export("byId", by_id.by_device)
pulumi.export("byChange", by_change.set_id)
pulumi.export("newest", newest.set_id)
pulumi.export("data", newest.by_device["/dev/sdf"])
pulumi.export("volume", newest.apply(lambda newest: newest.volume("/dev/sdf")))
pulumi.export("changeId", newest.change_id)
pulumi.export("sizes", [snapshot["size_gib"] for snapshot in by_id.snapshots])
"""


@pytest.fixture
def in_process(ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this process lead to the embedded EC2: what a program calls needs no engine to fail."""
    for name, value in ec2.environment().items():
        monkeypatch.setenv(name, value)


def test_a_set_is_found_by_its_id_its_change_or_its_instance(program: MakeProject, ec2: EmbeddedEC2) -> None:
    source = launch_source(ec2)
    first = take_set(ec2, source, change_id="release-41", tags={})
    old = list(snapshots_of(ec2, first))
    second = take_set(ec2, source, change_id="release-42", tags={})
    ec2.age(old, seconds=60)
    project = program(PROGRAM)
    project.config["setId"] = first
    project.up().ok()
    found = project.outputs()
    assert found["byId"] == {item["tags"]["snapset:device"]: key for key, item in snapshots_of(ec2, first).items()}
    assert (found["byChange"], found["newest"], found["changeId"]) == (second, second, "release-42")
    assert snapshots_of(ec2, second)[found["data"]]["tags"]["snapset:device"] == DATA
    assert found["sizes"] == [8, 20, 100]
    assert found["volume"] == {"snapshot_id": found["data"], "type": "gp2", "size": 20, "tags": {"Name": "data"}}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            "get_snapshots()",
            "InputError: reading get_snapshots: give set_id, or instance with latest=True, or change_id.",
        ),
        ("get_snapshots(set_id='set-1')", "'set-1' is not the id of a set"),
        ("get_snapshots(instance='i-0123456789abcdef0')", "there may be many sets. Give change_id, or latest=True."),
        ("get_snapshots(set_id='set-0123456789abcdef0')", "NotFoundError: looking for set-0123456789abcdef0: "),
        (
            "get_snapshots(set_id='{set}').by_device['/dev/sdx']",
            "InputError: reading get_snapshots: {set} has no snapshot of /dev/sdx, but of /dev/sda1. "
            "Choose another set.",
        ),
        (
            "get_snapshots(set_id='{set}').volume('/dev/sdx')",
            "InputError: reading get_snapshots: {set} has no snapshot of /dev/sdx, but of /dev/sda1. "
            "Choose another set.",
        ),
    ],
)
def test_what_is_wrong_is_named(in_process: None, ec2: EmbeddedEC2, call: str, said: str) -> None:
    set_id = take_set(ec2, ec2.launch()) if "{set}" in call else ""
    with pytest.raises(pulumi.RunError) as caught:
        eval(call.replace("{set}", set_id), {"get_snapshots": snapset.get_snapshots})
    assert said.replace("{set}", set_id) in str(caught.value)


def test_a_set_that_is_not_whole_is_refused(in_process: None, ec2: EmbeddedEC2) -> None:
    set_id = take_set(ec2, launch_source(ec2))
    ec2.ec2().delete_snapshot(SnapshotId=next(iter(snapshots_of(ec2, set_id))))
    with pytest.raises(pulumi.RunError, match=f"InputError: looking for {set_id}: it is incomplete. "):
        snapset.get_snapshots(set_id=set_id)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("get_snapshots_output(instance='i-1', latest=True)", "'i-1' is not an instance id"),
        (
            "get_snapshots_output(set_id='{set}').apply(lambda before: before.volume('/dev/sdx'))",
            "InputError: reading get_snapshots: {set} has no snapshot of /dev/sdx, but of /dev/sda1. "
            "Choose another set.",
        ),
    ],
)
def test_what_is_wrong_is_one_line_of_the_engine(
    program: MakeProject, ec2: EmbeddedEC2, call: str, said: str
) -> None:
    set_id = take_set(ec2, ec2.launch()) if "{set}" in call else ""
    run = program(f"import snapset\nfound = snapset.{call.replace('{set}', set_id)}\n").preview().failed()
    assert said.replace("{set}", set_id) in run.text


def test_the_data_of_a_set_comes_back_into_a_stack_and_stays(project: Project, ec2: EmbeddedEC2) -> None:
    aws_plugin.install(project.env)
    project.config = {"program": "app_server"}
    project.up().ok()
    outputs = project.outputs()
    client, set_id, instance_id = ec2.ec2(), outputs["setId"], outputs["instanceId"]

    def at_data() -> str:
        described = client.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        devices = {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in described["BlockDeviceMappings"]}
        return devices[DATA]

    before = at_data()
    # The failed deploy.
    project.config["instanceType"] = "t3.large"
    project.up().ok()
    project.config |= {"restoreSet": set_id, "restoreRoot": False, "triggers": "after the restore"}
    planned = project.preview().ok()
    assert "snapshotId" in planned.stdout
    assert f"{set_id} of {instance_id} stays in AWS" in project.up().ok().text
    assert project.outputs()["setId"] != set_id
    restored = at_data()
    assert restored != before
    [volume] = client.describe_volumes(VolumeIds=[restored])["Volumes"]
    assert snapshots_of(ec2, set_id)[volume["SnapshotId"]]["tags"]["snapset:device"] == DATA
    # What was written since is not lost.
    [old] = client.describe_volumes(VolumeIds=[before])["Volumes"]
    assert old["State"] == "available"
    del project.config["restoreSet"]
    project.up().ok()
    assert at_data() == restored
    assert project.outputs()["instanceId"] == instance_id


IMAGE = """
import pulumi
import pulumi_aws as aws
from snapset import get_snapshots

config = pulumi.Config()
before = get_snapshots(set_id=config.require("setId"))
image = aws.ec2.Ami("before", **before.image(exclude_data=config.get_bool("excludeData") or False))
server = aws.ec2.Instance("server", ami=image.id, instance_type="t3.micro")
pulumi.export("imageId", image.id)
pulumi.export("instanceId", server.id)
"""


@pytest.mark.parametrize("exclude_data", [False, True])
@pytest.mark.parametrize("root", ["/dev/xvda", "xvda"])
def test_an_instance_of_the_image_in_a_stack_has_the_volumes_of_the_set(
    program: MakeProject, ec2: EmbeddedEC2, root: str, exclude_data: bool
) -> None:
    client = ec2.ec2()
    described_as = {"root_device_name": root, "architecture": "arm64", "boot_mode": "uefi", "tpm_support": "v2.0"}
    source = ec2.launch([(20, DATA, {}), (30, "/dev/sdg", {})], image=described_as)
    for device, volume_id in source.volume_ids.items():
        ec2.write(volume_id, 0, device.encode())
    client.modify_volume(VolumeId=source.volume_ids[DATA], VolumeType="gp3", Iops=4000, Throughput=250)
    set_id = take_set(ec2, source)
    kept = {root} if exclude_data else {root, DATA, "/dev/sdg"}
    was = {device: attributes_at(ec2, source.instance_id)[device] for device in kept}
    digests = {device: ec2.digest(source.volume_ids[device]) for device in kept}
    ec2.write(source.root_volume_id, 0, b"later")
    terminate(ec2, source)
    project = program(IMAGE)
    aws_plugin.install(project.env)
    project.config = {"setId": set_id, "excludeData": exclude_data}
    project.up().ok()
    outputs = project.outputs()
    restored = devices_of(ec2, outputs["instanceId"])
    assert {device: ec2.digest(volume_id) for device, volume_id in restored.items()} == digests
    names = ("VolumeType", "Iops", "Throughput", "Size", "DeleteOnTermination")
    now = attributes_at(ec2, outputs["instanceId"])
    assert {device: [one.get(name) for name in names] for device, one in now.items()} == {
        device: [one.get(name) for name in names] for device, one in was.items()
    }
    (image,) = client.describe_images(ImageIds=[outputs["imageId"]])["Images"]
    assert (image["RootDeviceName"], image["Architecture"], image["BootMode"]) == (root, "arm64", "uefi")
    assert (image["TpmSupport"], image["VirtualizationType"], image["EnaSupport"]) == ("v2.0", "hvm", True)
    assert tags_of(image) == {"snapset:image-of": set_id}
    assert changes(project.up("--refresh").ok()) == {"unchanged": 3}


@pytest.mark.parametrize(
    ("image", "inputs", "said"),
    [
        ({"usage_operation": "RunInstances:0002"}, {}, "AWS bills the instance as RunInstances:0002"),
        ({"product_codes": ["8ed65ofpnssmw49m8yqrcwiju"]}, {}, "the instance is of AWS Marketplace"),
        ({}, {"exclude_boot_volume": True}, "the set has no snapshot of the root device /dev/sda1"),
        (None, {}, "what the instance was is not recorded with the set"),
    ],
)
def test_what_would_not_boot_is_refused_with_the_other_way_and_its_volumes_are_there(
    in_process: None, ec2: EmbeddedEC2, image: dict[str, Any] | None, inputs: dict[str, Any], said: str
) -> None:
    source = ec2.launch([(20, DATA, {})], image=image)
    set_id = take_set(ec2, source, **inputs)
    if image is None:
        forget_instance(ec2, set_id)
    found = snapset.get_snapshots(set_id=set_id)
    with pytest.raises(pulumi.RunError) as caught:
        found.image()
    assert f"making an image of {set_id}: {said}" in str(caught.value)
    assert f"snapset rollback NEW --of {source.instance_id} --set {set_id}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert found.volume(DATA)["snapshot_id"] == found.by_device[DATA]


ROLLED_BACK = """
import pulumi
import pulumi_aws as aws

server = aws.ec2.Instance("server", ami="ami-12345678", instance_type="t3.micro", availability_zone="us-east-1a")
data = aws.ebs.Volume("data", availability_zone="us-east-1a", size=20)
attachment = aws.ec2.VolumeAttachment(
    "data", device_name="/dev/sdf", instance_id=server.id, volume_id=data.id,
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
pulumi.export("instanceId", server.id)
"""


def test_after_a_rollback_a_refresh_reports_that_the_attachment_is_gone(
    program: MakeProject, ec2: EmbeddedEC2
) -> None:
    project = program(ROLLED_BACK)
    aws_plugin.install(project.env)
    project.up().ok()
    instance_id = project.outputs()["instanceId"]
    devices = devices_of(ec2, instance_id)
    take_set(ec2, LaunchedInstance(instance_id, devices["/dev/sda1"], devices), tags={})
    CommandLine(project.env, project.folder)("rollback", instance_id, "--yes").ok()
    refreshed = project.refresh().ok()
    assert "VolumeAttachment data" in refreshed.stdout.replace("  ", " ")
    types = [resource["type"] for resource in project.state()["deployment"]["resources"]]
    assert [kind for kind in types if kind.endswith(":VolumeAttachment")] == []
