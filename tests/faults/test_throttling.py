"""When AWS throttles: wait, retry until SNAPSET_THROTTLE_SECONDS have passed, and report each wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.crash import Scene
from support.project import Project, changes

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
    from support.command_line import CommandLine

pytestmark = pytest.mark.long

MANY = """
import pulumi
from snapset import InstanceSnapshots

for instance_id in pulumi.Config().require_object("instances"):
    InstanceSnapshots(instance_id, instance=instance_id, wait=False)
"""


def test_a_hundred_sets_at_five_calls_a_second_are_each_taken_exactly_once(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    launched = ec2.ec2().run_instances(ImageId="ami-12345678", MinCount=100, MaxCount=100)["Instances"]
    project = program(MANY)
    project.config = {"instances": [instance["InstanceId"] for instance in launched]}
    ec2.fault(action="CreateSnapshots", kind="rate", bucket=5, refill_per_second=5)
    assert changes(project.up().ok())["created"] == 201
    calls = [call for call in ec2.calls("CreateSnapshots") if not call["dry_run"]]
    taken = [call["params"] for call in calls if call["carried_out"]]
    assert any(call["code"] == "RequestLimitExceeded" for call in calls)
    assert len(taken) == 100
    assert len({tag_in(params, "snapset:token") for params in taken}) == 100
    assert {resource["id"] for resource in project.sets()} == {tag_in(params, "snapset:set") for params in taken}


def tag_in(params: dict[str, str], key: str) -> str:
    [name] = [name for name, value in params.items() if value == key]
    return params[name.replace(".Key", ".Value")]


def test_a_throttled_call_is_retried_and_the_wait_is_reported(
    scene_of: Callable[..., Scene], ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    scene = scene_of("up")
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    run = scene.run().ok()
    assert f"creating snapshots of {instance.instance_id}: RequestLimitExceeded: trying again in" in run.text
    scene.assert_exactly_one_set()


def test_the_command_reports_the_wait_on_stderr(
    snapset: CommandLine, ec2: EmbeddedEC2, instance: LaunchedInstance
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    run = snapset("backup", instance.instance_id, "--no-wait", "--json").ok()
    assert f"creating snapshots of {instance.instance_id}: RequestLimitExceeded: trying again in" in run.stderr


@pytest.mark.parametrize(
    "code",
    [
        "RequestLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
    ],
)
def test_after_the_last_retry_the_error_names_the_code_and_no_set_was_taken(
    scene_of: Callable[..., Scene], ec2: EmbeddedEC2, instance: LaunchedInstance, code: str
) -> None:
    scene = scene_of("up")
    scene.env["SNAPSET_THROTTLE_SECONDS"] = "1"
    ec2.fault(action="CreateSnapshots", kind="error", code=code, status=503, times=None)
    run = scene.run().failed()
    assert f"ThrottledError: creating snapshots of {instance.instance_id}: {code}: " in run.text
    assert scene.taken() == {}
    ec2.clear_faults()
    scene.run().ok()
    scene.assert_exactly_one_set()


def test_a_throttled_look_at_the_volumes_does_not_stop_the_backup(
    scene_of: Callable[..., Scene], ec2: EmbeddedEC2
) -> None:
    scene = scene_of("up")
    ec2.fault(action="DescribeVolumes", kind="error", code="RequestLimitExceeded", times=3)
    scene.run().ok()
    assert ec2.faults_left() == []
    scene.assert_exactly_one_set()


@pytest.mark.parametrize("wait", [True, False])
def test_throttling_the_first_look_does_not_fail_a_run_that_has_taken_its_set(
    scene_of: Callable[..., Scene], stack: Project, ec2: EmbeddedEC2, wait: bool
) -> None:
    stack.config["wait"] = wait
    scene = scene_of("up")
    # The SDK's own retries take seconds, and the set must still count as not visible yet after them.
    scene.env["SNAPSET_CONSISTENCY_SECONDS"] = "20"
    look = {"SnapshotId.1": "snap-"}
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", match=look, times=3)
    scene.run().ok()
    assert ec2.faults_left() == []
    scene.assert_exactly_one_set()
