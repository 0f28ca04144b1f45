"""`create_set`: exactly one set for one intent, whatever AWS answers, or does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.retry import Retry
from snapset.sets.create import create_set
from snapset.sets.inputs import SetInputs

SHORT = Retry(consistency=0.4, throttle=20)

SetsIn = Callable[[], dict[str, list[Any]]]


@pytest.fixture
def volumes(instance: LaunchedInstance) -> dict[str, str]:
    """The devices of the instance's volumes by volume id."""
    return {volume_id: device for device, volume_id in instance.volume_ids.items()}


def carried_out(ec2: EmbeddedEC2) -> list[bool]:
    return [call["carried_out"] for call in ec2.calls("CreateSnapshots")]


def test_a_set_is_taken_whole_and_carries_its_marks(
    aws: Ec2, inputs: SetInputs, volumes: dict[str, str], sets_in: SetsIn
) -> None:
    inputs = replace(inputs, tags={"app": "shop"}, change_id="42")
    taken = create_set(aws, inputs, volumes=volumes, retry=SHORT)
    assert taken.outcome == "created"
    assert taken.set.volume_ids == volumes.keys()
    assert (taken.set.instance_id, taken.set.count, taken.set.is_whole) == (inputs.instance_id, 3, True)
    there = sets_in()[taken.set.set_id]
    assert {snapshot["SnapshotId"] for snapshot in there} == set(taken.set.snapshot_ids)
    for snapshot in there:
        assert {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} == {
            "app": "shop",
            "snapset:set": taken.set.set_id,
            "snapset:token": inputs.token,
            "snapset:instance": inputs.instance_id,
            "snapset:change": "42",
            "snapset:count": "3",
            "snapset:on-delete": "retain",
        }


@pytest.mark.parametrize("kind", ["close_after", "error_after"])
@pytest.mark.parametrize("visibility_seconds", [0, 0.5])
def test_after_a_lost_answer_the_own_set_is_found_and_no_second_one_is_taken(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    volumes: dict[str, str],
    sets_in: SetsIn,
    kind: str,
    visibility_seconds: float,
) -> None:
    ec2.settings(visibility_seconds=visibility_seconds)
    ec2.fault(action="CreateSnapshots", kind=kind)
    said: list[str] = []
    taken = create_set(aws, inputs, volumes=volumes, retry=replace(SHORT, consistency=10, say=said.append))
    assert taken.outcome == "created"
    assert carried_out(ec2) == [True]
    assert list(sets_in()) == [taken.set.set_id]
    assert said == [
        f"creating snapshots of {inputs.instance_id}: no answer from AWS: looking whether the set was taken"
    ]


@pytest.mark.parametrize(("consistency", "visibility"), [(1, 0.8), (2, 1.8), (3, 2.8)])
def test_what_becomes_visible_just_before_the_time_is_up_is_not_taken_twice(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    volumes: dict[str, str],
    consistency: float,
    visibility: float,
) -> None:
    ec2.settings(visibility_seconds=visibility)
    ec2.fault(action="CreateSnapshots", kind="close_after")
    create_set(aws, inputs, volumes=volumes, retry=replace(SHORT, consistency=consistency))
    assert carried_out(ec2) == [True]


@pytest.mark.parametrize("kind", ["error", "error_after", "close_before", "close_after"])
@pytest.mark.parametrize("times", [1, 2, None])
def test_whatever_fails_there_is_at_most_one_set_and_it_is_the_one_that_is_returned(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    volumes: dict[str, str],
    sets_in: SetsIn,
    kind: str,
    times: int | None,
) -> None:
    ec2.fault(action="CreateSnapshots", kind=kind, times=times)
    returned: list[str] = []
    advised = False
    try:
        returned += [create_set(aws, inputs, volumes=volumes, retry=SHORT).set.set_id]
    except errors.NoAnswerError as error:
        advised = "Run it again" in str(error)
    assert list(sets_in()) == returned
    assert sum(carried_out(ec2)) == len(returned)
    assert advised == (not returned)


def test_a_set_that_shows_up_too_late_is_adopted_by_the_next_run(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str], sets_in: SetsIn
) -> None:
    ec2.settings(visibility_seconds=600)
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="CreateSnapshots", kind="close_before", times=None)
    with pytest.raises(errors.NoAnswerError, match="a set that shows up later is adopted, not taken twice"):
        create_set(aws, inputs, volumes=volumes, retry=SHORT)
    ec2.settings(visibility_seconds=0)
    ec2.clear_faults()
    found = create_set(aws, inputs, volumes=volumes, retry=SHORT)
    assert found.outcome == "adopted"
    assert list(sets_in()) == [found.set.set_id]


def test_a_lost_answer_is_not_forgotten_when_the_look_for_the_set_fails_too(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str]
) -> None:
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", skip=1, times=None)
    with pytest.raises(errors.NoAnswerError):
        create_set(aws, inputs, volumes=volumes, retry=SHORT)


def test_after_two_lost_answers_the_set_of_the_first_call_is_this_runs_own(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str], sets_in: SetsIn
) -> None:
    # The first call is carried out, but its set is not visible until the second has failed.
    ec2.settings(visibility_seconds=600)
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="CreateSnapshots", kind="close_before")

    def say(text: str) -> None:
        if len(carried_out(ec2)) == 2:
            ec2.settings(visibility_seconds=0)

    taken = create_set(aws, inputs, volumes=volumes, retry=replace(SHORT, say=say))
    assert taken.outcome == "created"
    assert list(sets_in()) == [taken.set.set_id]
    assert carried_out(ec2) == [True, False]


def test_the_snapshots_are_in_the_order_of_their_devices_the_roots_first(
    aws: Ec2, inputs: SetInputs, volumes: dict[str, str]
) -> None:
    taken = create_set(aws, inputs, volumes=volumes, retry=SHORT).set
    assert [taken.devices[snapshot_id] for snapshot_id in taken.snapshot_ids] == ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    assert {snapshot.volume_id: taken.devices[snapshot.snapshot_id] for snapshot in taken.snapshots} == volumes


def test_a_set_whose_volumes_are_not_known_is_taken_without_devices(aws: Ec2, inputs: SetInputs) -> None:
    taken = create_set(aws, inputs, volumes=None, retry=SHORT).set
    assert (taken.count, set(taken.devices.values())) == (3, {""})


def test_a_throttled_call_is_repeated_and_said(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str], sets_in: SetsIn
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    said: list[str] = []
    taken = create_set(aws, inputs, volumes=volumes, retry=SHORT.saying(said.append))
    assert carried_out(ec2) == [False, True]
    assert list(sets_in()) == [taken.set.set_id]
    [text] = said
    assert text.startswith(f"creating snapshots of {inputs.instance_id}: RequestLimitExceeded: trying again in ")


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "SnapshotCreationPerVolumeRateExceeded"])
def test_a_call_that_stays_throttled_fails_with_the_code_of_aws_and_takes_nothing(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str], sets_in: SetsIn, code: str
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code=code, times=None)
    with pytest.raises(errors.ThrottledError, match=code):
        create_set(aws, inputs, volumes=volumes, retry=replace(SHORT, throttle=0))
    assert sets_in() == {}


def test_no_further_attempt_is_made_once_nobody_is_there_to_record_the_set(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str], sets_in: SetsIn
) -> None:
    ec2.fault(action="CreateSnapshots", kind="close_before")
    with pytest.raises(errors.SnapsetError, match="the Pulumi engine is gone"):
        create_set(aws, inputs, volumes=volumes, retry=SHORT, still_wanted=lambda: not carried_out(ec2))
    assert carried_out(ec2) == [False]
    assert sets_in() == {}


def test_an_answer_that_says_no_is_not_repeated(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: dict[str, str]
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="SnapshotLimitExceeded", times=None)
    with pytest.raises(errors.SnapsetError, match="SnapshotLimitExceeded"):
        create_set(aws, inputs, volumes=volumes, retry=SHORT)
    assert carried_out(ec2) == [False]
