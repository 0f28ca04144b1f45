"""What a user's unit test with Pulumi's mocks sees of snapset, whose resources the mocks know nothing of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.mocked import NOTHING_LEFT, run_unit_test

if TYPE_CHECKING:
    from pathlib import Path

THEIRS = """
import pulumi
import pulumi_aws as aws
import pytest
from snapset import FleetSnapshots, InstanceSnapshots, SnapshotSet, backup_before_change
from snapset import get_snapshots, get_snapshots_output

IMAGE = {"image_arguments": {"architecture": "arm64"}}


class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        return f"{args.name}-id", args.inputs

    def call(self, args):
        return {"by_device": {"/dev/sdf": "snap-1"}, **IMAGE} if args.token == "snapset:index:getSnapshots" else {}


@pytest.mark.parametrize("preview", [False, True])
def test_a_stack(preview):
    seen = []
    pulumi.runtime.set_mocks(Mocks(), preview=preview)

    @pulumi.runtime.test
    def declare():
        server = aws.ec2.Instance("shop", ami="ami-12345678", instance_type="t3.micro", opts=backup_before_change())
        backup = InstanceSnapshots("backup", instance=server)
        SnapshotSet("plain", instance_id=server.id)
        fleet = FleetSnapshots("fleet", instances=[server])
        before = get_snapshots_output(set_id="set-0123456789abcdef0")
        data = before.apply(lambda before: before.volume("/dev/sdf"))
        image = aws.ec2.Ami("before", **get_snapshots(set_id="set-0123456789abcdef0").image(exclude_data=True))
        outputs = (backup.completed, backup.snapshots, data, fleet.sets, fleet.failures, image.architecture)
        return pulumi.Output.all(*outputs).apply(seen.append)

    declare()
    assert seen == ([] if preview else [[True, [], {"snapshot_id": "snap-1"}, {}, {}, "arm64"]])
"""


def test_a_stack_whose_mocks_know_nothing_of_snapset_can_be_tested(tmp_path: Path) -> None:
    ran = run_unit_test(tmp_path, THEIRS).ok()
    assert "2 passed" in ran.stdout
    assert NOTHING_LEFT in ran.stdout
