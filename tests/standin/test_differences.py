"""Which differences the stand-in finds, and whether they replace the resource. Needs no engine."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN

from standin.images import Ami
from standin.instances import Instance
from standin.resource import Resource, differences, seen
from standin.volumes import Volume, VolumeAttachment

ROOT = {"deviceName": "/dev/sda1", "encrypted": False, "tags": {}, "volumeId": "vol-1", "volumeSize": 8}
DATA = {"deviceName": "/dev/sdf", "encrypted": False, "tags": {}, "volumeId": "vol-2", "volumeSize": 20}
SERVER = {
    "ami": "ami-1",
    "availabilityZone": "us-east-1a",
    "ebsBlockDevices": [DATA],
    "instanceType": "t3.micro",
    "outpostArn": "",
    "region": "us-east-1",
    "rootBlockDevice": ROOT,
    "tags": {"Name": "web"},
    "tagsAll": {"Name": "web"},
    "userData": "echo 1",
}
WANTED = {name: SERVER[name] for name in ("ami", "instanceType", "region", "tags", "tagsAll", "userData")}
BLOCK = {"deviceName": "/dev/sda1", "snapshotId": "snap-1"}
IMAGE = {
    "ebsBlockDevices": [{**BLOCK, "encrypted": False, "volumeSize": 8}],
    "enaSupport": False,
    "name": "golden-1234567",
    "region": "us-east-1",
}
LOST = ["ebsBlockDevices update"]
VOLUME = {"availabilityZone": "us-east-1a", "outpostArn": "", "region": "us-east-1", "size": 20, "type": "gp2"}
ATTACHMENT = {"deviceName": "/dev/sdf", "instanceId": "i-1", "region": "us-east-1", "volumeId": "vol-1"}


@pytest.mark.parametrize(
    ("kind", "there", "changed", "in_place", "replacing"),
    [
        (Instance, SERVER, {}, [], []),
        (Instance, SERVER, {"tags": {"Name": "web", "a:b": "c"}}, ["tags.a:b add"], []),
        (Instance, SERVER, {"tags": None}, ["tags.Name delete"], []),
        (Instance, SERVER, {"instanceType": "t3.small"}, ["instanceType update"], []),
        (Instance, SERVER, {"userData": None}, ["userData delete"], []),
        (Instance, SERVER, {"userData": "2", "userDataReplaceOnChange": False}, ["userData update"], []),
        (
            Instance,
            SERVER,
            {"userData": "2", "userDataReplaceOnChange": True},
            ["userDataReplaceOnChange add"],
            ["userData update"],
        ),
        (Instance, SERVER, {"ami": "ami-2"}, [], ["ami update"]),
        (Instance, SERVER, {"ami": UNKNOWN}, [], ["ami update"]),
        (Instance, SERVER, {"region": "eu-west-1"}, [], ["region update"]),
        (Instance, SERVER, {"rootBlockDevice": {"volumeSize": 8}}, [], []),
        (Instance, SERVER, {"rootBlockDevice": {"volumeSize": 9}}, ["rootBlockDevice.volumeSize update"], []),
        (Instance, SERVER, {"rootBlockDevice": {"encrypted": True}}, [], ["rootBlockDevice.encrypted update"]),
        (Instance, SERVER, {"ebsBlockDevices": [{"deviceName": "/dev/sdf", "volumeSize": 20}]}, [], []),
        (
            Instance,
            SERVER,
            {"ebsBlockDevices": [{"deviceName": "/dev/sdg", "volumeSize": 20}]},
            [],
            ["ebsBlockDevices update"],
        ),
        (Ami, IMAGE, {}, [], []),
        (Ami, IMAGE, {"description": "golden"}, ["description add"], []),
        (Ami, IMAGE, {"enaSupport": True}, [], ["enaSupport update"]),
        (Ami, {**IMAGE, "ebsBlockDevices": [{**BLOCK, "encrypted": True}]}, {"ebsBlockDevices": [BLOCK]}, [], LOST),
        (Ami, {**IMAGE, "ebsBlockDevices": [{**BLOCK, "iops": 3000}]}, {"ebsBlockDevices": [BLOCK]}, [], LOST),
        (Volume, VOLUME, {}, [], []),
        (Volume, VOLUME, {"size": 21, "type": "gp3"}, ["size update", "type update"], []),
        (Volume, VOLUME, {"size": None, "type": None}, [], []),
        (Volume, VOLUME, {"availabilityZone": "us-east-1b"}, [], ["availabilityZone update"]),
        (Volume, VOLUME, {"snapshotId": "snap-1"}, [], ["snapshotId add"]),
        (VolumeAttachment, ATTACHMENT, {"forceDetach": True}, ["forceDetach add"], []),
        (VolumeAttachment, ATTACHMENT, {"instanceId": "i-2"}, [], ["instanceId update"]),
        (VolumeAttachment, ATTACHMENT, {"deviceName": "/dev/sdg"}, [], ["deviceName update"]),
    ],
)
def test_a_difference_is_updated_in_place_or_replaces_the_resource(
    kind: type[Resource], there: dict[str, Any], changed: dict[str, Any], in_place: list[str], replacing: list[str]
) -> None:
    wanted = {**(WANTED if there is SERVER else there), **changed}
    found = differences(kind, there, {name: value for name, value in wanted.items() if value is not None})
    changes: dict[bool, list[str]] = {False: [], True: []}
    for path, change in found.items():
        changes[kind.replaces(path, wanted)].append(f"{'.'.join(path)} {change}")
    assert changes == {False: in_place, True: replacing}


def test_a_volume_that_was_attached_later_differs_from_the_declared_volumes() -> None:
    there = {**SERVER, "ebsBlockDevices": [DATA, {**DATA, "deviceName": "/dev/sdg"}]}
    found = differences(Instance, there, {**WANTED, "ebsBlockDevices": [{"deviceName": "/dev/sdf"}]})
    assert found == {("ebsBlockDevices",): "update"}


def test_a_refresh_reads_only_the_properties_of_a_block_that_the_program_sets() -> None:
    assert seen({"volumeSize": 7}, ROOT) == {"volumeSize": 8}
    assert seen([{"deviceName": "/dev/sdf"}], [DATA]) == [{"deviceName": "/dev/sdf"}]
    assert seen({"Name": "web"}, {"Name": "by hand", "more": "1"}) == {"Name": "by hand", "more": "1"}


def test_in_a_preview_everything_that_ec2_chooses_is_unknown() -> None:
    planned = Instance.planned({**WANTED, "rootBlockDevice": {"volumeSize": 9}})
    assert planned["ami"] == "ami-1"
    assert planned["privateIp"] == planned["availabilityZone"] == planned["arn"] == UNKNOWN
    assert planned["rootBlockDevice"] == {"deviceName": UNKNOWN, "volumeId": UNKNOWN, "volumeSize": 9}
    assert "userDataReplaceOnChange" not in planned


def test_an_unknown_input_and_a_missing_input_fail_the_check() -> None:
    volume = {"availabilityZone": "us-east-1a", "finalSnapshot": True}
    problems = dict(Volume.problems(volume))
    assert problems.keys() == {"finalSnapshot", "size"}
    assert problems["size"] == "one of `size,snapshotId` must be specified"
