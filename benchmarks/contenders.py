"""What a user would run: each contender is one process; `python contenders.py NAME ARGUMENT...` runs it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable


def boto3_loop(*instance_ids: str) -> None:
    """CreateSnapshots of each instance in turn, then boto3's own waiter on all of them."""
    import boto3

    ec2 = boto3.client("ec2")
    taken: list[str] = []
    for instance_id in instance_ids:
        answer = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})
        taken += [each["SnapshotId"] for each in answer["Snapshots"]]
    waiter = ec2.get_waiter("snapshot_completed")
    for start in range(0, len(taken), 200):
        waiter.wait(Filters=[{"Name": "snapshot-id", "Values": taken[start : start + 200]}])


def empty_program() -> None:
    """Run an inline program that declares nothing, as the Automation API's own documentation does."""
    _up(lambda: None)


def do_nothing(count: str) -> None:
    """Declare as many dynamic resources that do nothing."""
    from nothing import Nothing

    def program() -> None:
        for number in range(int(count)):
            Nothing(f"nothing-{number}")

    _up(program)


def _up(program: Callable[[], None]) -> None:
    from pulumi import automation

    stack = automation.create_or_select_stack(
        stack_name=f"floor-{uuid.uuid4().hex[:12]}", project_name="floor", program=program
    )
    stack.up()


if __name__ == "__main__":
    {each.__name__: each for each in (boto3_loop, empty_program, do_nothing)}[sys.argv[1]](*sys.argv[2:])
