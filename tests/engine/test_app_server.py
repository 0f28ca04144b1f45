"""`stacks/app_server.py`: a backup declared beside an instance follows the instance's changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import aws_plugin
from support.project import Project, changes, mutating
from support.sets import find_sets, find_taken

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2


def devices_of(outputs: dict[str, Any]) -> dict[str, int]:
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
    assert devices_of(first) == {"/dev/sda1": 8, "/dev/sdf": 20}
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
    assert devices_of(second) == devices_of(first)
    assert set(find_sets(ec2)) == {first["setId"], second["setId"]}

    destroyed = stack.destroy().ok()
    assert f"{second['setId']} of {second['instanceId']} stays in AWS" in destroyed.text
    assert set(find_sets(ec2)) == {first["setId"], second["setId"]}
    assert ec2.calls("DeleteSnapshot") == []
