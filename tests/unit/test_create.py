"""`create_set`: exactly one set for one intent, whatever AWS answers, or does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.retry import Patience
from snapset.sets import create as lifecycle
from snapset.sets.inputs import SetInputs

SHORT = Patience(consistency=0.4, throttle=20)

SetsIn = Callable[[], dict[str, list[Any]]]


@pytest.fixture
def volumes(instance: LaunchedInstance) -> set[str]:
    return set(instance.volume_ids.values())


def carried_out(ec2: EmbeddedEC2) -> list[bool]:
    return [call["carried_out"] for call in ec2.calls("CreateSnapshots")]


def test_a_set_is_taken_whole_and_carries_its_marks(
    aws: Ec2, inputs: SetInputs, volumes: set[str], sets_in: SetsIn
) -> None:
    inputs = replace(inputs, tags={"app": "shop"}, change_id="42")
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert not taken.adopted
    assert {each.volume_id for each in taken.snapshots} == volumes
    there = sets_in()[taken.set_id]
    assert {each["SnapshotId"] for each in there} == {each.snapshot_id for each in taken.snapshots}
    for snapshot in there:
        assert {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} == {
            "app": "shop",
            "snapset:set": taken.set_id,
            "snapset:token": inputs.token,
            "snapset:instance": inputs.instance_id,
            "snapset:change": "42",
        }


@pytest.mark.parametrize("kind", ["close_after", "error_after"])
@pytest.mark.parametrize("visibility_seconds", [0, 0.5])
def test_after_a_lost_answer_the_own_set_is_found_and_no_second_one_is_taken(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    volumes: set[str],
    sets_in: SetsIn,
    kind: str,
    visibility_seconds: float,
) -> None:
    ec2.settings(visibility_seconds=visibility_seconds)
    ec2.fault(action="CreateSnapshots", kind=kind)
    said: list[str] = []
    taken = lifecycle.create_set(
        aws, inputs, volume_ids=volumes, patience=replace(SHORT, consistency=10), say=said.append
    )
    assert not taken.adopted
    assert carried_out(ec2) == [True]
    assert list(sets_in()) == [taken.set_id]
    assert said == [
        f"creating snapshots of {inputs.instance_id}: no answer from AWS: looking whether the set was taken"
    ]


@pytest.mark.parametrize("kind", ["error", "error_after", "close_before", "close_after"])
@pytest.mark.parametrize("times", [1, 2, None])
def test_whatever_fails_there_is_at_most_one_set_and_it_is_the_one_that_is_returned(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], sets_in: SetsIn, kind: str, times: int | None
) -> None:
    ec2.fault(action="CreateSnapshots", kind=kind, times=times)
    returned: list[str] = []
    advised = False
    try:
        returned += [lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT).set_id]
    except errors.NoAnswerError as error:
        advised = "Run it again" in str(error)
    assert list(sets_in()) == returned
    assert sum(carried_out(ec2)) == len(returned)
    assert advised == (not returned)


def test_a_set_that_shows_up_too_late_is_adopted_by_the_next_run(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], sets_in: SetsIn
) -> None:
    ec2.settings(visibility_seconds=600)
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="CreateSnapshots", kind="close_before", times=None)
    with pytest.raises(errors.NoAnswerError, match="a set that shows up later is adopted, not taken twice"):
        lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    ec2.settings(visibility_seconds=0)
    ec2.clear_faults()
    found = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert found.adopted
    assert list(sets_in()) == [found.set_id]


def test_a_lost_answer_is_not_forgotten_when_the_look_for_the_set_fails_too(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str]
) -> None:
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", skip=1, times=None)
    with pytest.raises(errors.NoAnswerError):
        lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)


def test_a_throttled_call_is_repeated_and_said(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], sets_in: SetsIn
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    said: list[str] = []
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT, say=said.append)
    assert carried_out(ec2) == [False, True]
    assert list(sets_in()) == [taken.set_id]
    [text] = said
    assert text.startswith(f"creating snapshots of {inputs.instance_id}: RequestLimitExceeded: trying again in ")


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "SnapshotCreationPerVolumeRateExceeded"])
def test_a_call_that_stays_throttled_fails_with_the_code_of_aws_and_takes_nothing(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], sets_in: SetsIn, code: str
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code=code, times=None)
    with pytest.raises(errors.ThrottledError, match=code):
        lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=replace(SHORT, throttle=0))
    assert sets_in() == {}


def test_no_further_attempt_is_made_once_nobody_is_there_to_record_the_set(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], sets_in: SetsIn
) -> None:
    ec2.fault(action="CreateSnapshots", kind="close_before")
    with pytest.raises(errors.SnapsetError, match="the Pulumi engine is gone"):
        lifecycle.create_set(
            aws, inputs, volume_ids=volumes, patience=SHORT, still_wanted=lambda: not carried_out(ec2)
        )
    assert carried_out(ec2) == [False]
    assert sets_in() == {}


def test_an_answer_that_says_no_is_not_repeated(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str]
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="SnapshotLimitExceeded", times=None)
    with pytest.raises(errors.SnapsetError, match="SnapshotLimitExceeded"):
        lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert carried_out(ec2) == [False]
