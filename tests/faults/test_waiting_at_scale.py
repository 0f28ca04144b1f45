"""A program that waits for many sets polls all of them with one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.project import Project, until

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

pytestmark = pytest.mark.long

WAITING = """
import pulumi
from snapset import InstanceSnapshots

for instance_id in pulumi.Config().require_object("instances"):
    InstanceSnapshots(instance_id, instance=instance_id)
"""
TICKS = 2


@pytest.mark.parametrize("count", [1, 50])
def test_each_poll_is_one_request_for_all_sets(
    program: Callable[[str], Project], ec2: EmbeddedEC2, count: int
) -> None:
    def looks() -> list[set[str]]:
        asked = ([item for item in call["params"].items() if "SnapshotId." in item[0]] for call in ec2.calls())
        return [{value for _, value in ids} for ids in asked]

    launched = ec2.ec2().run_instances(ImageId="ami-12345678", MinCount=count, MaxCount=count)["Instances"]
    project = program(WAITING)
    project.config = {"instances": [instance["InstanceId"] for instance in launched]}
    ec2.settings(snapshot_seconds=float("inf"))
    with project.start("up", "--yes", "--skip-preview") as process:
        until(lambda: len(ec2.calls("CreateTags")) == count, seconds=60)
        everything = {
            snapshot["SnapshotId"] for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
        }
        ec2.clear_calls()
        until(lambda: everything in looks())
        ec2.clear_calls()
        until(lambda: len(ec2.calls()) >= TICKS)
        assert looks() == [everything] * TICKS
        ec2.complete()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stdout + stderr
    assert len(everything) == count
