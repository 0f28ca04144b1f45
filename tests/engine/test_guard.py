"""`backup_before_change`: exactly one set of the old instance precedes a change, or the change does not happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapset.demo.ec2.client import EmbeddedEC2

ALONE = """
import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
guard = backup_before_change(on_failure=config.get("onFailure") or "block", wait=config.get_bool("wait") or False)
server = aws.ec2.Instance(
    "server", ami=config.get("ami") or "ami-12345678", instance_type=config.get("instanceType") or "t3.micro",
    availability_zone="us-east-1a", opts=guard,
)
pulumi.export("instanceId", server.id)
"""


@pytest.fixture
def stack(project: Project) -> Project:
    """`stacks/guarded_server.py`, which is up."""
    aws_plugin.install(project.env)
    project.config = {"program": "guarded_server"}
    project.up().ok()
    return project


@pytest.fixture
def alone(program: Callable[[str], Project]) -> Project:
    """A guarded instance without data volumes, which is up."""
    project = program(ALONE)
    aws_plugin.install(project.env)
    project.up().ok()
    return project


def sets_in(ec2: EmbeddedEC2) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        found.setdefault(tags["snapset:set"], []).append({**snapshot, "tags": tags})
    return found


def actions(ec2: EmbeddedEC2) -> list[str]:
    return [each["action"] for each in ec2.calls() if each["carried_out"] and not each["dry_run"]]


def test_creating_a_guarded_instance_takes_no_set(stack: Project, ec2: EmbeddedEC2) -> None:
    assert sets_in(ec2) == {}


def test_an_update_is_preceded_by_one_whole_set_of_the_instance(stack: Project, ec2: EmbeddedEC2) -> None:
    instance_id = stack.outputs()["instanceId"]
    stack.config["instanceType"] = "t3.large"
    ec2.clear_calls()
    stack.up().ok()
    [snapshots] = sets_in(ec2).values()
    assert sorted(each["VolumeSize"] for each in snapshots) == [8, 20, 100]
    assert {each["tags"]["snapset:instance"] for each in snapshots} == {instance_id}
    assert {each["tags"]["snapset:change"] for each in snapshots} == {"update of server"}
    assert sorted(each["tags"]["snapset:device"] for each in snapshots) == ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    assert {each["tags"]["app"] for each in snapshots} == {"shop"}
    done = actions(ec2)
    assert done.index("CreateSnapshots") < done.index("ModifyInstanceAttribute")


def test_the_same_update_another_time_takes_a_set_of_its_own(stack: Project, ec2: EmbeddedEC2) -> None:
    for instance_type in ("t3.large", "t3.micro", "t3.large"):
        stack.config["instanceType"] = instance_type
        stack.up().ok()
    assert len(sets_in(ec2)) == 3


def test_a_replacement_is_preceded_by_one_whole_set_of_the_old_instance(stack: Project, ec2: EmbeddedEC2) -> None:
    old = stack.outputs()["instanceId"]
    stack.config["ami"] = "ami-87654321"
    ec2.clear_calls()
    stack.up().ok()
    assert stack.outputs()["instanceId"] != old
    [snapshots] = sets_in(ec2).values()
    assert sorted(each["VolumeSize"] for each in snapshots) == [8, 20, 100]
    assert {each["tags"]["snapset:instance"] for each in snapshots} == {old}
    done = actions(ec2)
    assert done.index("CreateSnapshots") < done.index("DetachVolume") < done.index("TerminateInstances")


def test_a_replacement_that_creates_first_takes_the_set_before_the_old_instance_goes(
    alone: Project, ec2: EmbeddedEC2
) -> None:
    old = alone.outputs()["instanceId"]
    alone.config["ami"] = "ami-87654321"
    ec2.clear_calls()
    alone.up().ok()
    [snapshots] = sets_in(ec2).values()
    assert {each["tags"]["snapset:instance"] for each in snapshots} == {old}
    done = actions(ec2)
    assert done.index("RunInstances") < done.index("CreateSnapshots") < done.index("TerminateInstances")


def test_a_destroy_that_runs_the_program_is_preceded_by_one_whole_set(stack: Project, ec2: EmbeddedEC2) -> None:
    ec2.clear_calls()
    stack.pulumi("destroy", "--yes", "--skip-preview", "--run-program").ok()
    [snapshots] = sets_in(ec2).values()
    assert sorted(each["VolumeSize"] for each in snapshots) == [8, 20, 100]
    done = actions(ec2)
    assert done.index("CreateSnapshots") < done.index("DetachVolume") < done.index("TerminateInstances")


def test_a_preview_says_that_a_set_would_be_taken_and_takes_none(stack: Project, ec2: EmbeddedEC2) -> None:
    instance_id = stack.outputs()["instanceId"]
    stack.config["instanceType"] = "t3.large"
    assert f"would take a snapshot set of {instance_id} before the update of server" in stack.preview().ok().text
    assert sets_in(ec2) == {}


def test_where_ec2_refuses_the_set_the_instance_is_untouched_and_one_line_says_so(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    instance_id = stack.outputs()["instanceId"]
    ec2.fault(action="CreateSnapshots", kind="deny")
    stack.config["instanceType"] = "t3.large"
    ec2.clear_calls()
    failed = stack.up().failed()
    assert f"{instance_id} is not changed: NotPermittedError: creating snapshots of {instance_id}" in failed.text
    assert not {"ModifyInstanceAttribute", "StopInstances"} & set(actions(ec2))


def test_with_warn_the_change_goes_ahead_without_a_set(alone: Project, ec2: EmbeddedEC2) -> None:
    instance_id = alone.outputs()["instanceId"]
    ec2.fault(action="CreateSnapshots", kind="deny")
    alone.config |= {"instanceType": "t3.large", "onFailure": "warn"}
    changed = alone.up().ok()
    assert f"{instance_id} is changed without a backup" in changed.text
    assert sets_in(ec2) == {}


def test_with_wait_the_change_comes_after_the_set_has_completed(alone: Project, ec2: EmbeddedEC2) -> None:
    ec2.settings(snapshot_seconds=2)
    alone.config |= {"instanceType": "t3.large", "wait": True}
    ec2.clear_calls()
    alone.up().ok()
    done = actions(ec2)
    assert "DescribeSnapshots" in done[done.index("CreateSnapshots") : done.index("ModifyInstanceAttribute")]


def test_a_change_that_failed_after_its_set_was_taken_takes_that_set_up_when_it_is_repeated(
    alone: Project, ec2: EmbeddedEC2
) -> None:
    ec2.fault(action="ModifyInstanceAttribute", kind="error", code="InvalidInstanceAttributeValue", status=400)
    alone.config["instanceType"] = "t3.large"
    alone.up().failed()
    [first] = sets_in(ec2)
    ec2.clear_faults()
    alone.up().ok()
    assert list(sets_in(ec2)) == [first]
