"""`snapset image`: what is launched from the image of a set is as the instance was, and there is one image a set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.restores import DATA, SCRATCH, launch_source, take_set, without_engine
from support.rollbacks import contents_of, described, tags_of

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
    from support.command_line import CommandLine
    from support.project import Run

ATTEMPTS = 3
DEREGISTER = "aws ec2 deregister-image --image-id"


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return without_engine(ec2, tmp_path, SNAPSET_CONSISTENCY_SECONDS="1")


@pytest.fixture
def source(ec2: EmbeddedEC2) -> LaunchedInstance:
    return launch_source(ec2)


@pytest.fixture
def set_id(ec2: EmbeddedEC2, source: LaunchedInstance) -> str:
    return take_set(ec2, source, tags={})


def image_in(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.stdout)["image"]
    return found


def shown(snapset: CommandLine, set_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(snapset("show", set_id, "--json").ok().stdout)["sets"][0]
    return found


def images(ec2: EmbeddedEC2) -> list[Any]:
    return ec2.ec2().describe_images(Owners=["self"])["Images"]


@pytest.mark.parametrize("options", [(), ("--exclude-data",)])
@pytest.mark.parametrize("root", ["/dev/sda1", "/dev/xvda", "xvda"])
def test_an_instance_of_the_image_has_the_volumes_of_the_set(
    snapset: CommandLine, ec2: EmbeddedEC2, root: str, options: tuple[str, ...]
) -> None:
    described_as = {"root_device_name": root, "architecture": "arm64", "boot_mode": "uefi", "tpm_support": "v2.0"}
    source = ec2.launch([(20, DATA, {}), (30, SCRATCH, {})], image=described_as)
    for device, volume_id in source.volume_ids.items():
        ec2.write(volume_id, 0, device.encode())
    mapping: Any = {"DeviceName": SCRATCH, "Ebs": {"DeleteOnTermination": True}}
    ec2.ec2().modify_instance_attribute(InstanceId=source.instance_id, BlockDeviceMappings=[mapping])
    set_id = take_set(ec2, source, tags={})
    digests = {device: ec2.digest(volume_id) for device, volume_id in source.volume_ids.items()}
    for volume_id in source.volume_ids.values():
        ec2.write(volume_id, 0, b"later")
    ec2.ec2().terminate_instances(InstanceIds=[source.instance_id])
    made = image_in(snapset("image", set_id, *options, "--tag", "app=shop", "--json").ok())
    launched = ec2.ec2().run_instances(ImageId=made["image_id"], MinCount=1, MaxCount=1)["Instances"][0]
    instance_id = launched["InstanceId"]
    now = described(ec2, instance_id)
    expected = {root} if options else {root, DATA, SCRATCH}
    assert contents_of(ec2, instance_id) == {device: digests[device] for device in expected}
    assert (now["RootDeviceName"], now["Architecture"], now["BootMode"], now["TpmSupport"]) == (
        *(root, "arm64", "uefi", "v2.0"),
    )
    goes_with_it = {one["DeviceName"]: one["Ebs"]["DeleteOnTermination"] for one in now["BlockDeviceMappings"]}
    assert goes_with_it == {device: device in (root, SCRATCH) for device in expected}
    [image] = images(ec2)
    assert (image["VirtualizationType"], image["EnaSupport"]) == ("hvm", True)
    assert tags_of(image) == {"app": "shop", "snapset:image-of": set_id}


@pytest.mark.parametrize(
    ("kind", "times", "code"),
    [
        *(("close_after", 1, 0), ("close_after", ATTEMPTS, 1), ("close_before", 1, 0), ("close_before", ATTEMPTS, 1)),
        *(("error_after", 1, 0), ("error_after", ATTEMPTS, 1), ("throttle", 2, 0), ("deny", 1, 3)),
    ],
)
def test_there_is_one_image_whatever_becomes_of_the_call(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, kind: str, times: int, code: int
) -> None:
    fault = {"kind": "error", "code": "RequestLimitExceeded"} if kind == "throttle" else {"kind": kind}
    ec2.fault(action="RegisterImage", times=times, **fault)
    first = snapset("image", set_id, "--json")
    assert (first.code, "Traceback" in first.text) == (code, False), first.text
    assert ec2.faults_left() == []
    again = image_in(snapset("image", set_id, "--json").ok())
    assert [image["ImageId"] for image in images(ec2)] == [again["image_id"]]
    root = image_in(snapset("image", set_id, "--exclude-data", "--json").ok())
    assert len(root["snapshot_ids"]) == 1
    assert len(images(ec2)) == 2


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (
            {"usage_operation": "RunInstances:0002"},
            "AWS bills the instance as RunInstances:0002, and what is launched",
        ),
        ({"usage_operation": "RunInstances:0010"}, "AWS bills the instance as RunInstances:0010"),
        ({"product_codes": ["8ed65ofpnssmw49m8yqrcwiju"]}, "the instance is of AWS Marketplace (8ed65ofpnssmw49m"),
    ],
)
def test_what_would_not_start_is_refused_with_the_other_way(
    snapset: CommandLine, ec2: EmbeddedEC2, image: dict[str, Any], said: str
) -> None:
    source = ec2.launch(image=image)
    set_id = take_set(ec2, source, tags={})
    refused = snapset("image", set_id).failed()
    assert refused.code == 2
    assert said in refused.stderr
    way = f"snapset rollback NEW --of {source.instance_id} --set {set_id}"
    assert refused.stderr.splitlines()[-1].endswith(f"Launch an instance of the same image as that one, then: {way}")
    assert images(ec2) == []


def test_a_set_that_is_not_whole_or_has_no_root_gets_no_image(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, set_id: str
) -> None:
    without_root = take_set(ec2, source, tags={}, exclude_boot_volume=True)
    assert "has no snapshot of the root device /dev/sda1" in snapset("image", without_root).failed().stderr
    [first, *_] = image_in(snapset("image", set_id, "--json").ok())["snapshot_ids"]
    ec2.ec2().deregister_image(ImageId=images(ec2)[0]["ImageId"])
    ec2.ec2().delete_snapshot(SnapshotId=first)
    refused = snapset("image", set_id).failed()
    assert (refused.code, "2 of its 3 snapshots are left" in refused.stderr) == (2, True)
    assert images(ec2) == []


def test_its_set_is_deleted_once_the_image_is_deregistered_as_the_refusal_says(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str
) -> None:
    made = image_in(snapset("image", set_id, "--json").ok())
    refused = snapset("delete", set_id, "--yes").failed()
    assert f"Keep the snapshot, or deregister the image: {DEREGISTER} {made['image_id']}.\n" in refused.stderr
    assert len(ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 3
    ec2.ec2().deregister_image(ImageId=made["image_id"])
    snapset("delete", set_id, "--yes").ok()
    assert ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_show_names_the_images_that_use_the_set(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, set_id: str
) -> None:
    other = take_set(ec2, source, tags={}, triggers="other")
    snapset("image", other).ok()
    assert shown(snapset, set_id)["image_ids"] == []
    assert "images" not in snapset("show", set_id).ok().text
    made = sorted(
        image_in(snapset("image", set_id, *options, "--json").ok())["image_id"]
        for options in ((), ("--exclude-data",))
    )
    assert shown(snapset, set_id)["image_ids"] == made
    assert f"images that use it: {', '.join(made)}\n" in snapset("show", set_id).ok().stdout


def test_without_the_permission_show_warns_and_shows_the_rest(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str
) -> None:
    ec2.fault(action="DescribeImages", kind="deny", times=2)
    run = snapset("show", set_id).ok()
    assert (
        f"warning: whether an image uses {set_id} is not known: looking for images in us-east-1: Unauth" in run.stderr
    )
    assert "Allow ec2:DescribeImages." in run.stderr
    assert (f"{set_id} of" in run.stdout, "images" in run.stdout) == (True, False)
    assert "image_ids" not in shown(snapset, set_id)
    assert ec2.faults_left() == []
