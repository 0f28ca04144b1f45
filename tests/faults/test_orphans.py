"""A provider that outlives its engine ends soon, and takes no set, because no state would hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.crash import Scene
from support.project import until

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2
    from support.processes import Processes

pytestmark = pytest.mark.long

# Longer than the provider outlives its engine.
LOOK_SECONDS = 15.0


def attempts_in(ec2: EmbeddedEC2) -> list[int]:
    """The numbers of the calls that tried to take a set."""
    return [call["n"] for call in ec2.calls("CreateSnapshots") if not call["dry_run"]]


def test_a_provider_whose_engine_was_killed_during_its_look_up_takes_no_second_set(
    scene_of: Callable[..., Scene], ec2: EmbeddedEC2, processes: Processes
) -> None:
    scene = scene_of("up")
    ec2.clear_calls()
    ec2.fault(action="DescribeSnapshots", kind="delay", seconds=LOOK_SECONDS)
    with scene.start() as process:
        until(lambda: not ec2.faults_left())
        [held] = ec2.calls("DescribeSnapshots")
        processes.kill("engine")
        process.communicate(timeout=60)
    [orphan] = processes.running("provider")
    until(lambda: orphan not in processes.running("provider"), seconds=10)
    assert not next(call for call in ec2.calls() if call["n"] == held["n"])["carried_out"]
    scene.run_again().ok()
    scene.assert_exactly_one_set()
    [before] = attempts_in(ec2)
    until(lambda: next(call for call in ec2.calls() if call["n"] == held["n"])["carried_out"])
    assert_no_attempt_within_two_seconds(ec2, known=[before])
    scene.assert_exactly_one_set()


def test_a_provider_whose_engine_was_killed_while_it_waited_to_retry_does_not_retry(
    scene_of: Callable[..., Scene], ec2: EmbeddedEC2, processes: Processes
) -> None:
    scene = scene_of("up")
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    with scene.start() as process:
        until(lambda: not ec2.faults_left())
        processes.kill("engine")
        process.communicate(timeout=60)
    known = attempts_in(ec2)
    assert_no_attempt_within_two_seconds(ec2, known=known)
    scene.run_again().ok()
    scene.assert_exactly_one_set()


def assert_no_attempt_within_two_seconds(ec2: EmbeddedEC2, *, known: list[int]) -> None:
    """An attempt would follow the look-up within milliseconds, or the throttling within its first pause of 2 s."""
    try:
        until(lambda: attempts_in(ec2) != known, seconds=2.5)
    except AssertionError:
        return
    raise AssertionError("the orphaned provider tried to take a set")
