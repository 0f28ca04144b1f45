"""`take_set`: exactly one set for one intent, whatever AWS answers, or does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.limits import Limits
from snapset.sets.inputs import SetInputs
from snapset.sets.instance_tag import tags_of
from snapset.sets.take import take_set, take_sets

SHORT = Limits(consistency=0.4, throttle=20, late=0.4)

SetsIn = Callable[[], dict[str, list[Any]]]


@pytest.fixture
def aws(settings: AwsSettings) -> Ec2:
    return Ec2(settings, SHORT)


def carried_out(ec2: EmbeddedEC2) -> list[bool]:
    return [call["carried_out"] for call in ec2.calls("CreateSnapshots")]


def test_a_set_is_taken_whole_in_the_order_of_its_devices_and_carries_its_marks(
    aws: Ec2, inputs: SetInputs, instance: LaunchedInstance, sets_in: SetsIn
) -> None:
    scratch = instance.volume_ids["/dev/sdg"]
    inputs = replace(inputs, tags={"app": "shop"}, change_id="42", exclude_data_volume_ids=(scratch,))
    taken = take_set(aws, inputs)
    assert (taken.outcome, taken.is_confirmed) == ("created", True)
    assert (taken.set.instance_id, taken.set.count, taken.set.is_whole) == (inputs.instance_id, 2, True)
    assert [(snapshot.volume_id, taken.set.devices[snapshot.snapshot_id]) for snapshot in taken.set.snapshots] == [
        (instance.root_volume_id, "/dev/sda1"),
        (instance.volume_ids["/dev/sdf"], "/dev/sdf"),
    ]
    there = sets_in()[taken.set.set_id]
    assert {snapshot["SnapshotId"] for snapshot in there} == set(taken.set.snapshot_ids)
    for snapshot in there:
        assert {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} == {
            "app": "shop",
            "snapset:set": taken.set.set_id,
            "snapset:token": inputs.token,
            "snapset:resource": inputs.resource,
            "snapset:instance": inputs.instance_id,
            "snapset:change": "42",
            "snapset:count": "2",
            "snapset:excluded": scratch.removeprefix("vol-"),
            **tags_of(aws.describe_instance(inputs.instance_id).facts),
        }


@pytest.mark.parametrize("kind", ["close_after", "error_after"])
@pytest.mark.parametrize("visibility_seconds", [0, 0.5])
def test_after_a_lost_answer_the_own_set_is_found_and_no_second_one_is_taken(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn, kind: str, visibility_seconds: float
) -> None:
    ec2.settings(visibility_seconds=visibility_seconds)
    ec2.fault(action="CreateSnapshots", kind=kind)
    said: list[str] = []
    taken = take_set(Ec2(aws.settings, replace(SHORT, consistency=10), said.append), inputs)
    assert taken.outcome == "created"
    assert carried_out(ec2) == [True]
    assert list(sets_in()) == [taken.set.set_id]
    assert said == [
        f"creating snapshots of {inputs.instance_id}: no answer from AWS: looking whether the set was taken"
    ]


@pytest.mark.parametrize(("consistency", "visibility"), [(1, 0.8), (2, 1.8), (3, 2.8)])
def test_what_becomes_visible_just_before_the_time_is_up_is_not_taken_twice(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, consistency: float, visibility: float
) -> None:
    ec2.settings(visibility_seconds=visibility)
    ec2.fault(action="CreateSnapshots", kind="close_after")
    take_set(Ec2(aws.settings, replace(SHORT, consistency=consistency)), inputs)
    assert carried_out(ec2) == [True]


@pytest.mark.parametrize("kind", ["error", "error_after", "close_before", "close_after"])
@pytest.mark.parametrize("times", [1, 2, None])
def test_whatever_fails_there_is_at_most_one_set_and_it_is_the_one_that_is_returned(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn, kind: str, times: int | None
) -> None:
    ec2.fault(action="CreateSnapshots", kind=kind, times=times)
    returned: list[str] = []
    advised = False
    try:
        returned += [take_set(aws, inputs).set.set_id]
    except errors.NoAnswerError as error:
        advised = "Run it again" in str(error)
    assert list(sets_in()) == returned
    assert sum(carried_out(ec2)) == len(returned)
    assert advised == (not returned)


def test_a_set_that_shows_up_too_late_is_adopted_by_the_next_run(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn
) -> None:
    ec2.settings(visibility_seconds=600)
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="CreateSnapshots", kind="close_before", times=None)
    with pytest.raises(errors.NoAnswerError, match="a set that shows up later is adopted, not taken twice"):
        take_set(aws, inputs)
    ec2.settings(visibility_seconds=0)
    ec2.clear_faults()
    found = take_set(aws, inputs)
    assert found.outcome == "adopted"
    assert list(sets_in()) == [found.set.set_id]


def test_a_call_whose_answer_is_late_is_not_repeated_and_the_next_run_waits_for_its_set(
    settings: AwsSettings,
    no_memory: None,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    sets_in: SetsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SNAPSET_READ_SECONDS", "1")
    said: list[str] = []
    patient = Ec2(settings, replace(SHORT, late=60), said.append)
    # The call happens after the run has given up.
    ec2.fault(action="CreateSnapshots", kind="delay", seconds=3)
    with pytest.raises(errors.LateAnswerError, match="is adopted, not taken twice"):
        take_set(patient, inputs)
    found = take_set(patient, inputs)
    assert found.outcome == "adopted"
    assert list(sets_in()) == [found.set.set_id]
    assert carried_out(ec2) == [True]
    assert any("an earlier run may have taken what is not visible yet: looking for it" in text for text in said)


@pytest.mark.parametrize("kind", ["close_before", "close_after"])
def test_a_call_is_repeated_only_where_ec2_itself_says_that_it_is_over(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, kind: str
) -> None:
    ec2.settings(visibility_seconds=600)
    ec2.fault(action="CreateSnapshots", kind=kind)
    with pytest.raises(errors.LateAnswerError, match="is adopted, not taken twice"):
        take_set(aws, inputs)
    assert len(carried_out(ec2)) == 1


@pytest.mark.parametrize("named", [0, 2])
def test_an_answer_that_lacks_a_snapshot_is_not_believed_and_the_set_is_looked_for(
    aws: Ec2, inputs: SetInputs, sets_in: SetsIn, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = aws.create_snapshots
    monkeypatch.setattr(aws, "create_snapshots", lambda request: create(request)[:named])
    taken = take_set(aws, inputs)
    assert (taken.outcome, taken.set.is_whole, len(taken.set.snapshots)) == ("created", True, 3)
    assert list(sets_in()) == [taken.set.set_id]


def test_a_volume_that_is_detached_just_before_the_call_makes_the_run_fail_and_the_next_one_adopts_its_set(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, instance: LaunchedInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, volume_id = aws.create_snapshots, instance.volume_ids["/dev/sdg"]

    def detach_first(request: Any) -> Any:
        ec2.ec2().detach_volume(VolumeId=volume_id)
        return create(request)

    monkeypatch.setattr(aws, "create_snapshots", detach_first)
    with pytest.raises(errors.NoAnswerError, match=f"a snapshot of {volume_id}. Was the volume detached"):
        take_set(aws, inputs)
    monkeypatch.undo()
    again = take_set(aws, inputs)
    assert (again.outcome, again.set.is_whole, len(again.set.snapshots)) == ("adopted", True, 2)


@pytest.mark.parametrize("cut_off_elsewhere", [False, True])
def test_what_a_run_that_was_cut_off_has_taken_is_waited_for_while_it_may_be_invisible(
    aws: Ec2,
    ec2: EmbeddedEC2,
    inputs: SetInputs,
    sets_in: SetsIn,
    cut_off_elsewhere: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    patient = Ec2(aws.settings, replace(SHORT, consistency=10))
    ec2.settings(visibility_seconds=1.5)
    first = take_set(patient, inputs).set
    if cut_off_elsewhere:
        # No note of it is on this machine, but the engine's state tells.
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-machine"))
    outcome = take_sets(patient, [inputs], cut_off=cut_off_elsewhere)
    assert outcome.taken[inputs.instance_id].set.set_id == first.set_id
    assert outcome.taken[inputs.instance_id].outcome == "adopted"
    assert list(sets_in()) == [first.set_id]


def test_a_lost_answer_is_not_forgotten_when_the_search_for_the_set_fails_too(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    ec2.fault(action="CreateSnapshots", kind="close_after")
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", skip=1, times=None)
    with pytest.raises(errors.NoAnswerError, match="Whether the set was taken could not be seen"):
        take_set(Ec2(aws.settings, replace(SHORT, throttle=0)), inputs)


def test_after_two_lost_answers_the_set_of_the_first_call_is_this_runs_own(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn
) -> None:
    # The first call is carried out, but its set is not visible until the second has failed.
    ec2.settings(visibility_seconds=600)
    ec2.fault(action="CreateSnapshots", kind="error_after", code="InternalError")
    ec2.fault(action="CreateSnapshots", kind="error", code="InternalError")

    def say(_text: str) -> None:
        if len(carried_out(ec2)) == 2:
            ec2.settings(visibility_seconds=0)

    taken = take_set(aws.saying(say), inputs)
    assert taken.outcome == "created"
    assert list(sets_in()) == [taken.set.set_id]
    assert carried_out(ec2) == [True, False]


def test_a_set_whose_volumes_are_not_known_is_taken_without_devices(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    ec2.fault(action="DescribeVolumes", kind="deny")
    ec2.fault(action="DescribeInstances", kind="deny")
    said: list[str] = []
    taken = take_set(aws.saying(said.append), inputs)
    assert (taken.set.count, set(taken.set.devices.values()), taken.is_confirmed) == (3, {""}, False)
    [text] = said
    assert text.startswith(f"warning: {inputs.instance_id}: the snapshots' devices are not recorded: describing ")
    # Where they are not known, the token decides.
    assert take_set(aws, inputs).set.set_id == taken.set.set_id


def test_a_throttled_call_is_repeated_and_said(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="RequestLimitExceeded")
    said: list[str] = []
    taken = take_set(aws.saying(said.append), inputs)
    assert carried_out(ec2) == [False, True]
    assert list(sets_in()) == [taken.set.set_id]
    [text] = said
    assert text.startswith(f"creating snapshots of {inputs.instance_id}: RequestLimitExceeded: trying again in ")


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "SnapshotCreationPerVolumeRateExceeded"])
def test_a_call_that_stays_throttled_fails_with_the_code_of_aws_and_takes_nothing(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn, code: str
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code=code, times=None)
    with pytest.raises(errors.ThrottledError, match=code):
        take_set(Ec2(aws.settings, replace(SHORT, throttle=0)), inputs)
    assert sets_in() == {}


def test_no_further_attempt_is_made_once_nobody_is_there_to_record_the_set(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, sets_in: SetsIn
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="InternalError")
    with pytest.raises(errors.SnapsetError, match="the Pulumi engine is gone"):
        take_set(aws, inputs, still_wanted=lambda: not carried_out(ec2))
    assert carried_out(ec2) == [False]
    assert sets_in() == {}


def test_an_answer_that_says_no_is_not_repeated_and_the_next_run_does_not_wait(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    ec2.fault(action="CreateSnapshots", kind="error", code="SnapshotLimitExceeded")
    with pytest.raises(errors.SnapsetError, match="SnapshotLimitExceeded"):
        take_set(aws, inputs)
    assert carried_out(ec2) == [False]
    said: list[str] = []
    assert take_set(Ec2(aws.settings, Limits(), said.append), inputs).outcome == "created"
    assert said == []
