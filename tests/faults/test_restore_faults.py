"""Whatever fails in a restore: after at most one rerun, each snapshot has exactly one volume, in the right place."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine
from support.project import until
from support.restores import (
    DATA,
    SCRATCH,
    assert_matches,
    launch_empty,
    launch_source,
    restored_in,
    take_set,
    terminate,
)
from support.sets import wait_for_calls

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

ZONE = "us-east-1a"
NO_ANSWERS = ["error", "error_after", "close_before", "close_after"]


@pytest.fixture
def set_id(ec2: EmbeddedEC2) -> str:
    """A set whose instance and volumes no longer exist."""
    source = launch_source(ec2)
    taken = take_set(ec2, source)
    terminate(ec2, source)
    return taken


@pytest.fixture
def target(ec2: EmbeddedEC2) -> str:
    return ec2.launch().instance_id


def carried_out(ec2: EmbeddedEC2, action: str) -> list[dict[str, Any]]:
    return [call for call in ec2.calls(action) if call["carried_out"] and not call["dry_run"]]


def assert_attached(ec2: EmbeddedEC2, target: str) -> None:
    assert sorted(volume.attached_to or () for volume in restored_in(ec2)) == [(target, DATA), (target, SCRATCH)]


@pytest.mark.long
@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_a_lost_answer_of_create_volume_makes_no_second_volume(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, kind: str, nth: int
) -> None:
    ec2.fault(action="CreateVolume", kind=kind, skip=nth)
    run = snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok()
    assert "no answer from AWS: looking whether it was made" in run.stderr
    assert_matches(ec2, set_id, instance_id=None)
    assert {volume["volume_id"] for volume in json.loads(run.stdout)["volumes"]} == {
        volume.volume_id for volume in restored_in(ec2)
    }


@pytest.mark.long
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_the_client_token_alone_prevents_a_second_volume(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, kind: str
) -> None:
    ec2.fault(action="CreateVolume", kind=kind, times=2)
    # The plan looks before; the looks after a lost answer are denied.
    ec2.fault(action="DescribeVolumes", kind="deny", after="CreateVolume 1")
    run = snapset("restore", set_id, "--availability-zone", ZONE).failed()
    assert run.code == 3
    ec2.clear_faults()
    snapset("restore", set_id, "--availability-zone", ZONE).ok()
    assert_matches(ec2, set_id, instance_id=None)


@pytest.mark.long
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_without_any_answer_the_run_fails_and_a_rerun_completes_it(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, kind: str
) -> None:
    ec2.fault(action="CreateVolume", kind=kind, skip=1, times=None)
    snapset.env["SNAPSET_VOLUME_SECONDS"] = "1"
    failed = snapset("restore", set_id, "--availability-zone", ZONE)
    del snapset.env["SNAPSET_VOLUME_SECONDS"]
    # DescribeVolumes finds volumes that were made without an answer, so only calls that never happen fail the run.
    assert (failed.code == 0) == (kind in ("error_after", "close_after"))
    ec2.clear_faults()
    snapset("restore", set_id, "--availability-zone", ZONE).ok()
    assert_matches(ec2, set_id, instance_id=None)


@pytest.mark.long
@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_a_lost_answer_of_attach_volume_does_not_fail_the_run(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str, kind: str, nth: int
) -> None:
    ec2.fault(action="AttachVolume", kind=kind, skip=nth)
    snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    assert_attached(ec2, target)


@pytest.mark.parametrize("spent", [1, 5])
def test_a_client_token_whose_volume_is_gone_is_not_waited_for(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, spent: int
) -> None:
    ec2.fault(action="CreateVolume", kind="error", code="IdempotentParameterMismatch", skip=1, times=spent)
    snapset("restore", set_id, "--availability-zone", ZONE).ok()
    assert ec2.faults_left() == []
    assert_matches(ec2, set_id, instance_id=None)
    tokens = [call["params"]["ClientToken"] for call in ec2.calls("CreateVolume")]
    assert len(tokens) == len(set(tokens)) == 3 + spent


@pytest.mark.parametrize("kind", ["error", "close_after"])
def test_an_attachment_that_never_succeeds_fails_the_run_and_a_rerun_completes_it(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str, kind: str
) -> None:
    ec2.fault(action="AttachVolume", kind=kind, times=None)
    first = snapset("restore", set_id, "--to", target, "--exclude-boot")
    assert (first.code == 0) == (kind == "close_after")
    ec2.clear_faults()
    snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    assert_attached(ec2, target)
    assert len(carried_out(ec2, "CreateVolume")) == 2


@pytest.mark.parametrize("action", ["DescribeSnapshots", "DescribeInstances", "DescribeVolumes"])
def test_describe_calls_that_fail_at_first_do_not_fail_the_run(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str, action: str
) -> None:
    for kind in ("error", "close_before"):
        ec2.fault(action=action, kind=kind)
    snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    assert_attached(ec2, target)


@pytest.mark.parametrize(
    "action", ["DescribeSnapshots", "DescribeVolumes", "CreateVolume", "AttachVolume", "CreateTags"]
)
def test_throttled_calls_are_retried(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str, action: str
) -> None:
    ec2.fault(action=action, kind="error", code="RequestLimitExceeded", times=4)
    run = snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    assert "RequestLimitExceeded: trying again in" in run.stderr
    assert_attached(ec2, target)


@pytest.mark.long
@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("action", ["CreateVolume", "AttachVolume"])
def test_a_rerun_completes_a_run_that_was_killed_during_a_call(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, action: str, nth: int
) -> None:
    target = launch_empty(ec2)
    ec2.fault(action=action, kind="delay_after", seconds=2, skip=nth)
    with snapset.start("restore", set_id, "--to", target) as process:
        until(lambda: len(carried_out(ec2, action)) > nth)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    again = snapset("restore", set_id, "--to", target).ok()
    wait_for_calls(ec2)
    assert "which an earlier run made" in again.stderr
    assert_matches(ec2, set_id, instance_id=target)


@pytest.mark.race
def test_two_restores_at_once_make_one_volume_per_snapshot(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str
) -> None:
    ec2.fault(action="CreateVolume", kind="delay", seconds=0.5, times=2)
    arguments = ("restore", set_id, "--to", target, "--exclude-boot", "--json")
    with snapset.start(*arguments) as one, snapset.start(*arguments) as other:
        ends = [json.loads(process.communicate(timeout=60)[0]) for process in (one, other)]
    assert ends[0] == ends[1]
    assert_attached(ec2, target)
