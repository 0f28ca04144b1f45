"""An instance that is gone is brought back: its volumes go to another one, root to root, and nothing is lost."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from support.project import Run, mutating
from support.restores import DATA, SCRATCH, restored_in, take_set, without_engine
from support.rollbacks import Deployed, deploy, described, devices_of, safety_sets, tags_of

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
    from support.command_line import CommandLine


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return without_engine(ec2, tmp_path, SNAPSET_CONSISTENCY_SECONDS="2")


@pytest.fixture
def dead(ec2: EmbeddedEC2) -> Deployed:
    """An instance with a set that was terminated since."""
    deployed = deploy(ec2)
    ec2.ec2().terminate_instances(InstanceIds=[deployed.instance_id])
    return deployed


@pytest.fixture
def new(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch()


def last_line(run: Run, code: int) -> str:
    assert (run.code, "Traceback" in run.text) == (code, False), run.text
    return run.stderr.splitlines()[-1]


def assert_has_volumes_of(ec2: EmbeddedEC2, instance_id: str, set_id: str, *, root: str) -> None:
    """Check that the instance runs on one new volume of each snapshot of the set, and nothing else."""
    now = devices_of(ec2, instance_id)
    new = {volume.volume_id: volume for volume in restored_in(ec2)}
    assert set(now) == {root, DATA, SCRATCH}
    assert {new[volume_id].tags["snapset:restored-from"] for volume_id in now.values()} == {set_id}
    assert {device: new[volume_id].raw["Size"] for device, volume_id in now.items()} == {
        root: 8,
        DATA: 20,
        SCRATCH: 100,
    }
    assert described(ec2, instance_id)["State"]["Name"] == "running"
    assert "snapset:rollback" not in tags_of(described(ec2, instance_id))


def test_the_commands_that_are_shown_bring_it_back(snapset: CommandLine, ec2: EmbeddedEC2, dead: Deployed) -> None:
    ec2.clear_calls()
    run = snapset("rollback", dead.instance_id, "--change-id", "release-42", "--json").failed()
    assert last_line(run, 2).endswith(
        f"{dead.instance_id}: it is terminated. Launch another instance, and put the volumes of {dead.set_id} on it."
    )
    assert mutating(ec2.calls()) == []
    launch, back = json.loads(run.stdout)["way_back"]
    assert run.stderr.splitlines()[-3:-1] == [launch, back]
    # `aws` is not at hand here: what the first command asks for is asked of boto3.
    options = dict(re.findall(r"--([a-z-]+) (\S+)", launch))
    launched: Any = ec2.ec2().run_instances(
        ImageId=options["image-id"],
        InstanceType=options["instance-type"],
        SubnetId=options["subnet-id"],
        MinCount=1,
        MaxCount=1,
    )
    new = launched["Instances"][0]["InstanceId"]
    assert launched["Instances"][0]["SubnetId"] == options["subnet-id"]
    _, *arguments = shlex.split(back.replace('"$NEW"', new))
    snapset(*arguments, "--yes").ok()
    assert_has_volumes_of(ec2, new, dead.set_id, root=described(ec2, new)["RootDeviceName"])


def test_one_that_ec2_has_forgotten_is_brought_back_just_so(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    ec2.fault(action="DescribeInstances", kind="error", code="InvalidInstanceID.NotFound", times=None)
    run = snapset("rollback", deployed.instance_id).failed()
    assert f"{deployed.instance_id}: it is gone. Launch another instance" in last_line(run, 2)
    assert f"--of {deployed.instance_id} --set {deployed.set_id}" in run.stderr
    unknown = snapset("rollback", "i-0123456789abcdef0").failed()
    assert "looking for a set of i-0123456789abcdef0: there is none" in last_line(unknown, 2)


def test_a_set_of_another_instance_is_put_on_it_only_if_that_one_is_named(
    snapset: CommandLine, ec2: EmbeddedEC2, dead: Deployed, new: LaunchedInstance
) -> None:
    ec2.clear_calls()
    refused = last_line(snapset("rollback", new.instance_id, "--set", dead.set_id, "--yes").failed(), 2)
    command = f"snapset rollback {new.instance_id} --of {dead.instance_id} --set {dead.set_id}"
    said = f"{dead.set_id} was taken of {dead.instance_id}. To put its volumes on {new.instance_id}: {command}"
    assert refused.endswith(said)
    assert mutating(ec2.calls()) == []
    preview = snapset(*command.split()[1:], "--preview").ok().stdout
    assert f"would go back to {dead.set_id} of {dead.instance_id}" in preview
    assert "cloud-init runs the user data again, and the host keys change" in preview
    for _ in range(2):
        run = snapset("rollback", new.instance_id, "--of", dead.instance_id, "--yes", "--json").ok()
        assert json.loads(run.stdout)["rollback"]["set_id"] == dead.set_id
        assert_has_volumes_of(ec2, new.instance_id, dead.set_id, root="/dev/sda1")
    assert {new.root_volume_id} in safety_sets(ec2, dead).values()


def test_a_volume_of_the_set_that_hangs_at_another_device_is_not_put_beside_its_copy(
    snapset: CommandLine, ec2: EmbeddedEC2
) -> None:
    deployed, client = deploy(ec2), ec2.ec2()
    moved = deployed.before[DATA]
    client.detach_volume(VolumeId=moved)
    client.attach_volume(VolumeId=moved, InstanceId=deployed.instance_id, Device="/dev/sdh")
    ec2.clear_calls()
    rollback = ("rollback", deployed.instance_id, "--set", deployed.set_id, "--yes")
    refused = last_line(snapset(*rollback).failed(), 2)
    assert re.search(rf"{moved} is at /dev/sdh, and snap-\w+ of the set would be a copy of it at {DATA}: ", refused)
    assert mutating(ec2.calls()) == []
    snapset(*rollback, "--exclude-volume", moved).ok()
    assert devices_of(ec2, deployed.instance_id)["/dev/sdh"] == moved
    assert DATA not in devices_of(ec2, deployed.instance_id)
    # What an earlier rollback has made is a copy, too.
    again = devices_of(ec2, deployed.instance_id)[SCRATCH]
    client.detach_volume(VolumeId=again)
    client.attach_volume(VolumeId=again, InstanceId=deployed.instance_id, Device="/dev/sdi")
    assert f"{again} is at /dev/sdi" in last_line(snapset(*rollback, "--exclude-volume", moved).failed(), 2)


def test_two_volumes_that_have_changed_places_go_back_to_where_they_were(
    snapset: CommandLine, ec2: EmbeddedEC2
) -> None:
    deployed, client = deploy(ec2), ec2.ec2()
    for volume_id in (deployed.before[DATA], deployed.before[SCRATCH]):
        client.detach_volume(VolumeId=volume_id)
    for device, other in ((DATA, SCRATCH), (SCRATCH, DATA)):
        client.attach_volume(VolumeId=deployed.before[device], InstanceId=deployed.instance_id, Device=other)
    snapset("rollback", deployed.instance_id, "--yes").ok()
    assert_has_volumes_of(ec2, deployed.instance_id, deployed.set_id, root="/dev/sda1")


def test_a_journal_of_a_set_of_another_instance_is_gone_on_with(
    snapset: CommandLine, ec2: EmbeddedEC2, dead: Deployed, new: LaunchedInstance
) -> None:
    own = take_set(ec2, new, change_id="own", tags={})
    ec2.fault(action="AttachVolume", kind="error", code="InvalidParameterValue", skip=2, times=9)
    snapset("rollback", new.instance_id, "--of", dead.instance_id, "--yes").failed()
    ec2.clear_faults()
    # Without --of, it is the rollback that is under way; with one, the sets of that instance.
    shown = snapset("rollback", new.instance_id, "--preview").ok().stdout
    assert f"would go back to {dead.set_id}" in shown
    shown = snapset("rollback", new.instance_id, "--of", new.instance_id, "--preview").ok().stdout
    assert f"would go back to {own}" in shown
    run = snapset("rollback", new.instance_id, "--yes").ok()
    assert "going on with the rollback" in run.stderr
    assert_has_volumes_of(ec2, new.instance_id, dead.set_id, root="/dev/sda1")


LAYOUTS = [
    # The root, and two data volumes.
    ("/dev/sda1", "/dev/xvda", "/dev/sdf"),
    ("/dev/xvda", "/dev/sda1", "/dev/sdf"),
    ("xvda", "xvdf", "/dev/xvdg"),
    ("/dev/sda", "/dev/sda1", "/dev/xvda"),
    ("/dev/xvda1", "/dev/sda1", "/dev/sdb"),
]


@pytest.mark.parametrize("devices", LAYOUTS, ids=lambda devices: devices[0].replace("/", "_"))
@pytest.mark.parametrize("with_root", [True, False])
def test_the_root_is_the_one_that_was_recorded_whatever_the_devices_are_called(
    snapset: CommandLine, ec2: EmbeddedEC2, devices: tuple[str, str, str], with_root: bool
) -> None:
    root, *data = devices
    image = {"root_device_name": root}
    old = ec2.launch([(20, data[0], {}), (30, data[1], {})], image=image)
    for device, volume_id in old.volume_ids.items():
        ec2.write(volume_id, 4096, device.encode())
    set_id = take_set(ec2, old, tags={})
    options = () if with_root else ("--exclude-boot",)
    expected = sorted(devices if with_root else data)

    def contents(instance_id: str) -> dict[str, str]:
        now = devices_of(ec2, instance_id)
        return {device: ec2.read(now[device], 4096, len(device)).decode() for device in expected}

    shown = json.loads(snapset("show", set_id, "--json").ok().stdout)["sets"][0]
    assert [snapshot["device_name"] for snapshot in shown["snapshots"]] == [root, *sorted(data)]
    zone = ("--availability-zone", "us-east-1a")
    restored = json.loads(snapset("restore", set_id, *zone, *options, "--json").ok().stdout)["volumes"]
    assert sorted(volume["device_name"] for volume in restored) == expected
    for volume in restored:
        assert ec2.read(volume["volume_id"], 4096, len(volume["device_name"])).decode() == volume["device_name"]
    for volume_id in old.volume_ids.values():
        ec2.write(volume_id, 4096, b"later")
    snapset("rollback", old.instance_id, "--yes", *options).ok()
    assert contents(old.instance_id) == {device: device for device in expected}
    ec2.ec2().terminate_instances(InstanceIds=[old.instance_id])
    new = ec2.launch(image=image)
    snapset("rollback", new.instance_id, "--of", old.instance_id, "--yes", *options).ok()
    assert contents(new.instance_id) == {device: device for device in expected}
    stays = devices_of(ec2, new.instance_id)[root] == new.root_volume_id
    assert stays != with_root


@pytest.mark.parametrize(
    ("image", "set_is", "said"),
    [
        ({"root_device_name": "/dev/xvda"}, {}, ""),
        ({"architecture": "arm64"}, {}, "its architecture is arm64, and the root of the set is of x86_64"),
        ({"boot_mode": "uefi"}, {}, "its boot mode is uefi, and the root of the set is of legacy-bios"),
        ({}, {"snapset:was": ""}, "whether the root of the set fits its architecture is not known; --force tries it"),
        ({"root_device_name": DATA}, {}, f"would both be at {DATA}"),
    ],
)
def test_a_root_goes_to_the_root_of_an_instance_that_can_boot_from_it(
    snapset: CommandLine, ec2: EmbeddedEC2, dead: Deployed, image: dict[str, str], set_is: dict[str, str], said: str
) -> None:
    """The image may call it otherwise; what does not fit is refused before anything is touched."""
    new = ec2.launch(image=image)
    found = ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
    for key, value in set_is.items():
        ec2.ec2().create_tags(Resources=[one["SnapshotId"] for one in found], Tags=[{"Key": key, "Value": value}])
    ec2.clear_calls()
    back = ("rollback", new.instance_id, "--of", dead.instance_id, "--yes")
    if not said:
        snapset(*back).ok()
        assert_has_volumes_of(ec2, new.instance_id, dead.set_id, root=image["root_device_name"])
        return
    assert said in last_line(snapset(*back).failed(), 2)
    assert mutating(ec2.calls()) == []
    # The data volumes fit anywhere.
    if image.get("root_device_name") != DATA:
        snapset(*back, "--exclude-boot").ok()
