"""What a user would run instead of snapset. `python contenders.py NAME ARGUMENT...` runs one contender."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


def boto3_loop(*instance_ids: str) -> None:
    """Call CreateSnapshots for one instance after the other, then boto3's own waiter for all snapshots."""
    import boto3

    _take_all(boto3.client("ec2"), instance_ids)


def patient_boto3_loop(*instance_ids: str) -> None:
    """Do the same with boto3's adaptive retries, which slow down to what AWS allows."""
    import boto3
    from botocore.config import Config

    _take_all(
        boto3.client("ec2", config=Config(retries={"mode": "adaptive", "total_max_attempts": 50})), instance_ids
    )


def _take_all(ec2: EC2Client, instance_ids: Sequence[str]) -> None:
    taken: list[str] = []
    for instance_id in instance_ids:
        answer = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})
        taken += [snapshot["SnapshotId"] for snapshot in answer["Snapshots"]]
    waiter = ec2.get_waiter("snapshot_completed")
    for start in range(0, len(taken), 200):
        waiter.wait(Filters=[{"Name": "snapshot-id", "Values": taken[start : start + 200]}])


def empty_program() -> None:
    """Run an inline program that declares nothing, the way the Automation API's documentation shows."""
    _up(lambda: None)


def _up(program: Callable[[], None]) -> None:
    from pulumi import automation

    stack = automation.create_or_select_stack(
        stack_name=f"floor-{uuid.uuid4().hex[:12]}", project_name="floor", program=program
    )
    stack.up()


if __name__ == "__main__":
    {function.__name__: function for function in (boto3_loop, patient_boto3_loop, empty_program)}[sys.argv[1]](
        *sys.argv[2:]
    )
