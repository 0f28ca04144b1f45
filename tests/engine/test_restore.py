"""`stacks/restore.py` on the real engine: the stack's own volumes, from a set that exists already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project, changes, mutating
from support.restores import DATA, SCRATCH, launch_source, restored_in, snapshots_of, take_set, terminate
from support.rollbacks import devices_of
from support.volume_kinds import KINDS, attributes_at, launch_kinds

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"


@pytest.fixture
def target(ec2: EmbeddedEC2) -> str:
    """An instance with only a root volume."""
    return ec2.launch().instance_id


@pytest.fixture
def stack(project: Project, ec2: EmbeddedEC2, target: str) -> Project:
    """A stack that restores the data volumes of an instance that is gone."""
    aws_plugin.install(project.env)
    source = launch_source(ec2)
    set_id = take_set(ec2, source, tags={}, copy_tags_from_source=None)
    terminate(ec2, source)
    project.config = {"program": "restore", "setId": set_id, "instanceId": target, "devices": [DATA, SCRATCH]}
    return project


def declared_in(ec2: EmbeddedEC2, instance_id: str) -> dict[str, dict[str, Any]]:
    """What the volumes are that a stack can declare, by device."""
    found = attributes_at(ec2, instance_id)
    return {
        device: {name: value for name, value in found[device].items() if name != "DeleteOnTermination"}
        for device in KINDS
    }


def test_the_stacks_volumes_are_as_the_originals_were(project: Project, ec2: EmbeddedEC2, target: str) -> None:
    aws_plugin.install(project.env)
    source = launch_kinds(ec2)
    was = declared_in(ec2, source.instance_id)
    set_id = take_set(ec2, source, tags={"by": "us"}, copy_tags_from_source=None)
    terminate(ec2, source)
    project.config = {"program": "restore", "setId": set_id, "instanceId": target, "devices": list(KINDS)}
    project.up().ok()
    assert declared_in(ec2, target) == was
    project.refresh().ok()
    ec2.clear_calls()
    assert changes(project.up().ok()).keys() == {"unchanged"}
    assert mutating(ec2.calls()) == []


def test_the_outputs_name_the_set_and_the_volumes_by_device(stack: Project, ec2: EmbeddedEC2, target: str) -> None:
    ec2.clear_calls()
    stack.preview().ok()
    assert mutating(ec2.calls()) == []
    stack.up().ok()
    outputs, devices = stack.outputs(), devices_of(ec2, target)
    assert outputs["setId"] == stack.config["setId"]
    assert outputs["volumeIds"] == {device: devices[device] for device in (DATA, SCRATCH)}
    snapshots = snapshots_of(ec2, outputs["setId"])
    made = {snapshots[volume.snapshot_id]["tags"]["snapset:device"]: volume.volume_id for volume in restored_in(ec2)}
    assert made == outputs["volumeIds"]


def test_latest_is_the_newest_set_of_the_instance_and_a_newer_one_replaces_the_volume_and_keeps_it(
    project: Project, ec2: EmbeddedEC2
) -> None:
    aws_plugin.install(project.env)
    source = launch_source(ec2)
    first = take_set(ec2, source, tags={})
    ec2.age(list(snapshots_of(ec2, first)), seconds=60)
    ec2.ec2().detach_volume(VolumeId=source.volume_ids[DATA])
    project.config = {"program": "restore", "setId": "latest", "instanceId": source.instance_id, "devices": [DATA]}
    project.up().ok()
    assert project.outputs()["setId"] == first
    old = project.outputs()["volumeIds"][DATA]
    second = take_set(ec2, source, tags={})
    assert "replace" in project.preview().ok().stdout
    project.up().ok()
    assert project.outputs()["setId"] == second
    new = devices_of(ec2, source.instance_id)[DATA]
    assert new == project.outputs()["volumeIds"][DATA] != old
    [kept] = ec2.ec2().describe_volumes(VolumeIds=[old])["Volumes"]
    assert kept["State"] == "available"


def test_destroy_detaches_the_volumes_and_keeps_them_and_the_set(
    stack: Project, ec2: EmbeddedEC2, target: str
) -> None:
    stack.up().ok()
    made = stack.outputs()["volumeIds"]
    stack.destroy().ok()
    assert {volume.volume_id: volume.attached_to for volume in restored_in(ec2)} == dict.fromkeys(made.values())
    assert devices_of(ec2, target).keys() == {"/dev/sda1"}
    assert len(snapshots_of(ec2, stack.config["setId"])) == 3


def test_for_an_instance_on_an_outpost_the_volumes_are_made_there(
    stack: Project, ec2: EmbeddedEC2, target: str
) -> None:
    ec2.place(target, outpost_arn=OUTPOST)
    stack.up().ok()
    assert {volume.raw["OutpostArn"] for volume in restored_in(ec2)} == {OUTPOST}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"setId": ""}, "reading snapset:setId: it is not set. Name a set, or latest."),
        ({"instanceId": ""}, "reading snapset:instanceId: it is not set. Name the instance"),
        ({"devices": []}, "reading snapset:devices: it is not set. Name at least one device of the set"),
        ({"devices": ["/dev/sdx"]}, "has no snapshot of /dev/sdx, but of /dev/sda1, /dev/sdf, /dev/sdg."),
        ({"setId": "set-00000000000000000"}, "no snapshot in us-east-1 has the tag snapset:set"),
        ({"setId": "newest"}, "'newest' is not the id of a set"),
    ],
)
def test_bad_config_is_one_line_at_preview(stack: Project, config: dict[str, Any], expected: str) -> None:
    stack.config |= config
    failed = stack.preview().failed()
    assert expected in failed.text
    assert "Traceback" not in failed.text
