"""A provider that outlives its engine takes nothing that no state will hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from support.crash import Scene
from support.project import until

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2
    from support.processes import Processes

# Longer than it takes to run again, on a busy machine too.
LOOK_SECONDS = 30.0


def taken_by(ec2: EmbeddedEC2) -> list[int]:
    """The numbers of the calls, or attempts, that were to take a set."""
    return [call["n"] for call in ec2.calls("CreateSnapshots") if not call["dry_run"]]


def test_a_provider_that_was_looking_when_its_engine_was_killed_takes_no_set_beside_that_of_the_rerun(
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
    scene.run_again().ok()
    scene.assert_exactly_one_set()
    [before] = taken_by(ec2)
    assert orphan in processes.running("provider")
    assert not next(call for call in ec2.calls() if call["n"] == held["n"])["carried_out"]
    until(lambda: next(call for call in ec2.calls() if call["n"] == held["n"])["carried_out"])
    assert_nothing_comes_within_two_seconds(ec2, known=[before])
    scene.assert_exactly_one_set()


def test_a_provider_that_was_waiting_to_try_again_when_its_engine_was_killed_does_not_try_again(
    scene_of: Callable[..., Scene], ec2: EmbeddedEC2, processes: Processes
) -> None:
    scene = scene_of("up")
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    with scene.start() as process:
        until(lambda: not ec2.faults_left())
        processes.kill("engine")
        process.communicate(timeout=60)
    known = taken_by(ec2)
    assert_nothing_comes_within_two_seconds(ec2, known=known)
    scene.run_again().ok()
    scene.assert_exactly_one_set()


def assert_nothing_comes_within_two_seconds(ec2: EmbeddedEC2, *, known: list[int]) -> None:
    """An attempt would come within milliseconds of the look, or within the first throttle's pause of two seconds."""
    try:
        until(lambda: taken_by(ec2) != known, seconds=2.5)
    except AssertionError:
        return
    raise AssertionError("the orphan went on to take a set")
