"""Wherever a rollback is cut off: run again, it ends with one volume a snapshot in place, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, _Clients
from snapset.aws.records import Instance
from snapset.aws.settings import AwsSettings
from snapset.restore.rollback import roll_back
from snapset.restore.rollback_plan import RollbackInputs, RollbackRecord, plan_rollback
from support.calls import Place, places_in
from support.command_line import CommandLine
from support.crash import ATTEMPTS
from support.project import READ_ONLY, mutating, until
from support.restores import DATA
from support.rollbacks import (
    LIMITS,
    Deployed,
    assert_rolled_back,
    connect,
    deploy,
    deploy_in_place_of_another,
    described,
    devices_of,
)
from support.sets import wait_for_calls

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from snapset.emulator.client import EmbeddedEC2

# The calls of a rollback of an instance with three volumes, without those that only look before it begins. Lines with
# `running` are those of a running instance.
TABLE = """
always  DescribeInstances CreateTags CreateVolume CreateVolume CreateVolume DescribeVolumes
always  DescribeSnapshots DescribeInstances DescribeVolumes DescribeSnapshots CreateSnapshots DescribeVolumes
always  CreateTags CreateTags CreateTags
always  DescribeInstances
running StopInstances DescribeInstances
always  DescribeInstances CreateTags DetachVolume DescribeVolumes CreateTags AttachVolume DescribeVolumes
always  DescribeInstances CreateTags DetachVolume DescribeVolumes CreateTags AttachVolume DescribeVolumes
always  DescribeInstances CreateTags DetachVolume DescribeVolumes CreateTags AttachVolume DescribeVolumes
always  DescribeVolumes ModifyInstanceAttribute
running DescribeInstances StartInstances DescribeInstances
always  DescribeInstances DeleteTags
"""
LINES = [line.split() for line in TABLE.strip().splitlines()]
CALLS = [action for _, *actions in LINES for action in actions]
STOPPED = [action for when, *actions in LINES for action in actions if when == "always"]
PLACES = places_in(CALLS)


def each(places: Iterable[Place]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", [pytest.param(place, id=str(place)) for place in places])


Deploy = Callable[["EmbeddedEC2"], Deployed]
# The set is the instance's own, or one of another instance that is gone.
of_any = pytest.mark.parametrize("deploy", [deploy, deploy_in_place_of_another], ids=["own", "other"])


class CutOffError(BaseException):
    """Stands for the end of the process: nothing catches it."""


class CutEc2(Ec2):
    """An EC2 whose caller is gone once the call at a place is carried out; at None, before the first one."""

    def __init__(self, settings: AwsSettings, *, place: Place | None) -> None:
        super().__init__(settings, LIMITS)
        # Its own: what is registered below must not reach the other tests.
        self._clients = _Clients(settings)
        self.place = place
        self.counts = self.gone = False
        self.done: list[str] = []
        for client in (self._clients.with_retries, self._clients.without_retries):
            client.meta.events.register("before-call.ec2.*", self._before)
            client.meta.events.register("after-call.ec2.*", self._after)

    def begin(self) -> None:
        """Count from here."""
        self.counts, self.gone = True, self.place is None

    def _before(self, **_: object) -> None:
        if self.gone:
            raise CutOffError

    def _after(self, *, model: OperationModel, **_: object) -> None:
        if self.counts:
            self.done.append(model.name)
            self.gone = places_in(self.done)[-1] == self.place
        if self.gone:
            raise CutOffError


@pytest.fixture
def aws(ec2: EmbeddedEC2) -> Ec2:
    return connect(ec2)


def roll_back_with(
    ec2: Ec2, deployed: Deployed, *, begin: Callable[[], object] = lambda: None, timeout: float = 20
) -> RollbackRecord:
    inputs = RollbackInputs(instance_id=deployed.instance_id, of=deployed.of, change_id="release-42", timeout=timeout)
    plan = plan_rollback(ec2, inputs)
    begin()
    return roll_back(ec2, plan)


def cut_off(aws: Ec2, deployed: Deployed, *, place: Place | None) -> None:
    ec2 = CutEc2(aws.settings, place=place)
    with pytest.raises(CutOffError):
        roll_back_with(ec2, deployed, begin=ec2.begin)


@pytest.mark.parametrize("running", [True, False])
def test_the_table_has_every_call(aws: Ec2, ec2: EmbeddedEC2, running: bool) -> None:
    deployed = deploy(ec2, running=running)
    roll_back_with(aws, deployed, begin=ec2.clear_calls)
    made = [call["action"] for call in ec2.calls()]
    assert looks_sorted(made) == looks_sorted(CALLS if running else STOPPED)


def looks_sorted(actions: list[str]) -> list[str]:
    """Return the calls, the looks between two changes in alphabetical order: some are made at the same time."""
    ordered: list[str] = []
    looks: list[str] = []
    for action in actions:
        if action.startswith(READ_ONLY):
            looks.append(action)
        else:
            ordered += [*sorted(looks), action]
            looks = []
    return ordered + sorted(looks)


def test_one_more_look_shifts_no_other_call() -> None:
    for at in range(len(CALLS) + 1):
        assert set(PLACES) < set(places_in([*CALLS[:at], "DescribeVolumes", *CALLS[at:]]))


def test_a_rollback_that_was_cut_off_before_it_began_has_changed_nothing(aws: Ec2, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    cut_off(aws, deployed, place=None)
    assert devices_of(ec2, deployed.instance_id) == deployed.before
    assert described(ec2, deployed.instance_id).get("Tags", []) == []


def test_an_instance_that_is_just_starting_is_waited_for(aws: Ec2, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2, running=False)
    ec2.settings(instance_seconds=1)
    ec2.ec2().start_instances(InstanceIds=[deployed.instance_id])
    # The first time somebody else has started it, the second time the run that was cut off.
    cut_off(aws, deployed, place=Place("StartInstances", 1))
    assert described(ec2, deployed.instance_id)["State"]["Name"] == "pending"
    roll_back_with(aws, deployed)
    assert_rolled_back(ec2, deployed)


@pytest.mark.long
@each(PLACES)
@of_any
def test_a_rerun_ends_what_was_cut_off_after_any_call(
    aws: Ec2, ec2: EmbeddedEC2, deploy: Deploy, place: Place
) -> None:
    deployed = deploy(ec2)
    cut_off(aws, deployed, place=place)
    roll_back_with(aws, deployed)
    assert_rolled_back(ec2, deployed)


@pytest.mark.long
@each(places_in(STOPPED)[::3])
def test_a_stopped_instance_stays_stopped_wherever_its_rollback_was_cut_off(
    aws: Ec2, ec2: EmbeddedEC2, place: Place
) -> None:
    deployed = deploy(ec2, running=False)
    cut_off(aws, deployed, place=place)
    roll_back_with(aws, deployed)
    assert_rolled_back(ec2, deployed, state="stopped")


@pytest.mark.long
@each(place for place in PLACES if not place.looks)
@of_any
@pytest.mark.usefixtures("short_pauses")
def test_lost_answers_at_any_call_that_changes_something_do_not_end_a_rollback(
    aws: Ec2, ec2: EmbeddedEC2, deploy: Deploy, place: Place
) -> None:
    deployed = deploy(ec2)
    without_retries = place.action in ("CreateVolume", "CreateSnapshots")

    def lose() -> None:
        ec2.clear_calls()
        ec2.fault(kind="close_after", **place.fault, times=1 if without_retries else ATTEMPTS)

    roll_back_with(aws, deployed, begin=lose)
    assert ec2.faults_left() == []
    assert_rolled_back(ec2, deployed)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapset.retry.throttle_pause", lambda asked_for, attempt: 0.01)


@pytest.mark.long
@pytest.mark.usefixtures("short_pauses")
@each(place for place in PLACES if place.looks)
def test_a_look_that_aws_throttles_or_does_not_answer_does_not_end_a_rollback(
    aws: Ec2, ec2: EmbeddedEC2, place: Place
) -> None:
    deployed = deploy(ec2)

    def refuse() -> None:
        ec2.clear_calls()
        # botocore itself tries three times: the last answer is throttling first, and then a 503.
        ec2.fault(kind="error", code="RequestLimitExceeded", **place.fault, times=ATTEMPTS + 1)
        ec2.fault(kind="error", code="ServiceUnavailable", **place.fault, times=ATTEMPTS - 1)

    roll_back_with(aws, deployed, begin=refuse)
    assert ec2.faults_left() == []
    assert_rolled_back(ec2, deployed)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("action", "code", "message"),
    [
        ("CreateVolume", "ServiceUnavailable", ""),
        ("CreateVolume", "InsufficientVolumeCapacity", ""),
        ("CreateSnapshots", "ServiceUnavailable", ""),
        ("StopInstances", "ServiceUnavailable", ""),
        ("StopInstances", "IncorrectInstanceState", ""),
        ("DetachVolume", "IncorrectState", ""),
        ("AttachVolume", "VolumeInUse", ""),
        ("AttachVolume", "InvalidParameterValue", "Attachment point /dev/sdf is already in use"),
        ("ModifyInstanceAttribute", "InternalError", ""),
        ("StartInstances", "InsufficientInstanceCapacity", ""),
        ("StartInstances", "IncorrectInstanceState", ""),
    ],
)
def test_an_answer_that_passes_does_not_end_a_rollback(
    aws: Ec2, ec2: EmbeddedEC2, action: str, code: str, message: str
) -> None:
    deployed = deploy(ec2)
    quick = Ec2(aws.settings, replace(LIMITS, consistency=0.1))
    answer = {"code": code, "message": message, "times": ATTEMPTS + 1}
    roll_back_with(quick, deployed, begin=lambda: ec2.fault(action=action, kind="error", **answer))
    assert ec2.faults_left() == []
    assert_rolled_back(ec2, deployed)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("action", "code", "timeout", "kind", "state", "swapped"),
    [
        ("StartInstances", "InsufficientInstanceCapacity", 1, errors.WaitTimeoutError, "stopped", 3),
        ("AttachVolume", "ServiceUnavailable", 1, errors.WaitTimeoutError, "stopped", 0),
        ("AttachVolume", "VolumeInUse", 1, errors.WaitTimeoutError, "stopped", 0),
        # These do not pass.
        ("AttachVolume", "UnauthorizedOperation", 60, errors.NotPermittedError, "stopped", 0),
        ("DetachVolume", "InvalidVolume.NotFound", 60, errors.SnapsetError, "stopped", 0),
        ("StopInstances", "OperationNotPermitted", 60, errors.SnapsetError, "running", 0),
    ],
)
def test_an_answer_that_does_not_pass_ends_it_with_how_the_instance_is_and_a_rerun_goes_on(
    aws: Ec2,
    ec2: EmbeddedEC2,
    action: str,
    code: str,
    timeout: float,
    kind: type[errors.SnapsetError],
    state: str,
    swapped: int,
) -> None:
    deployed = deploy(ec2)
    refuse = partial(ec2.fault, action=action, kind="error", code=code, times=None)
    began = time.monotonic()
    with pytest.raises(kind, match=f"{code}: ") as raised:
        roll_back_with(Ec2(aws.settings, replace(LIMITS, volume=1)), deployed, begin=refuse, timeout=timeout)
    assert time.monotonic() - began < 10
    assert described(ec2, deployed.instance_id)["State"]["Name"] == state
    how_far = f"was last seen {state}, with {swapped} of 3 volumes swapped"
    assert f"{deployed.instance_id} {how_far}. Run the same command again: it goes on" in str(raised.value)
    ec2.clear_faults()
    roll_back_with(aws, deployed)
    assert_rolled_back(ec2, deployed)


class StaleEc2(Ec2):
    """An EC2 whose nth answer about an instance is that of two before."""

    def __init__(self, settings: AwsSettings, *, nth: int) -> None:
        super().__init__(settings, LIMITS)
        self.nth = nth
        self.answers: list[Instance] = []

    def describe_instance(self, instance_id: str) -> Instance:
        self.answers.append(super().describe_instance(instance_id))
        return self.answers[-3 if len(self.answers) == self.nth else -1]


@pytest.mark.parametrize("nth", range(3, 11))
def test_one_stale_answer_about_the_instance_neither_ends_a_rollback_nor_is_its_result(
    aws: Ec2, ec2: EmbeddedEC2, nth: int
) -> None:
    deployed = deploy(ec2)
    stale = StaleEc2(aws.settings, nth=nth)
    assert roll_back_with(stale, deployed)["state"] == "running"
    assert len(stale.answers) >= nth
    assert_rolled_back(ec2, deployed)


def test_one_stale_answer_does_not_keep_a_rerun_from_going_on(aws: Ec2, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    stale = StaleEc2(aws.settings, nth=3)
    stale.describe_instance(deployed.instance_id)
    cut_off(aws, deployed, place=Place("DetachVolume", 1))
    # The first answer after the plan is that of before the first run.
    roll_back_with(stale, deployed)
    assert_rolled_back(ec2, deployed)


class FullEc2(Ec2):
    """An EC2 that has no room for the instance at first: it accepts to start it, and it is stopped again."""

    refused = 0

    def start_instance(self, instance_id: str) -> None:
        self.refused += 1
        if self.refused > 2:
            super().start_instance(instance_id)

    def describe_instance(self, instance_id: str) -> Instance:
        found = super().describe_instance(instance_id)
        if found.state == "running" or not self.refused:
            return found
        reason = "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request"
        return replace(found, launch_time=f"2999-01-01T00:00:0{self.refused}.000Z", state_reason=reason)


def test_a_zone_without_room_for_the_instance_is_borne(
    aws: Ec2, ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapset.restore.rollback._TURNS", 1)
    deployed = deploy(ec2)
    roll_back_with(FullEc2(aws.settings, LIMITS), deployed)
    assert_rolled_back(ec2, deployed)


def test_what_has_changed_since_the_plan_was_made_ends_it_before_anything_is_touched(
    aws: Ec2, ec2: EmbeddedEC2
) -> None:
    deployed = deploy(ec2)
    changed = devices_of(ec2, deployed.instance_id)

    def detach() -> None:
        ec2.ec2().detach_volume(VolumeId=changed.pop(DATA))
        ec2.clear_calls()

    with pytest.raises(errors.SnapsetError, match="since the plan was made its volumes have changed"):
        roll_back_with(aws, deployed, begin=detach)
    assert devices_of(ec2, deployed.instance_id) == changed
    assert mutating(ec2.calls()) == []


@pytest.mark.race
def test_of_two_rollbacks_at_once_one_ends_and_nothing_is_lost(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    arguments = ("rollback", deployed.instance_id, "--change-id", "release-42", "--yes")
    with snapset.start(*arguments) as one, snapset.start(*arguments) as other:
        ends = [process.communicate(timeout=60) for process in (one, other)]
    assert 0 in (one.returncode, other.returncode), ends
    snapset(*arguments).ok()
    there = {volume["VolumeId"] for volume in ec2.ec2().describe_volumes()["Volumes"]}
    assert set(deployed.before.values()) <= there
    instance = described(ec2, deployed.instance_id)
    assert instance["State"]["Name"] == "running"
    assert instance.get("Tags", []) == []


def test_a_run_that_is_behind_another_one_neither_stops_nor_swaps_again(aws: Ec2, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)

    def let_the_other_one_end(line: str) -> None:
        if line.startswith("taking a safety set"):
            roll_back_with(aws, deployed)
            ec2.clear_calls()

    roll_back_with(aws.saying(let_the_other_one_end), deployed)
    assert set(mutating(ec2.calls())) & {"StopInstances", "StartInstances", "AttachVolume", "DetachVolume"} == set()
    assert_rolled_back(ec2, deployed)


class RestlessEc2(Ec2):
    """An EC2 where somebody undoes each start, or each stop."""

    def __init__(self, settings: AwsSettings, *, undone: str) -> None:
        super().__init__(settings, LIMITS)
        self.undone = undone

    def start_instance(self, instance_id: str) -> None:
        super().start_instance(instance_id)
        if self.undone == "start":
            super().stop_instance(instance_id)

    def stop_instance(self, instance_id: str) -> None:
        super().stop_instance(instance_id)
        if self.undone == "stop":
            super().start_instance(instance_id)


@pytest.mark.parametrize(
    ("undone", "said"),
    [
        ("stop", "stopping %s: each time it is running again"),
        ("start", "starting %s: each time it is stopped again"),
    ],
    ids=["stop", "start"],
)
def test_it_does_not_go_on_for_ever_where_somebody_undoes_each_stop_or_start(
    aws: Ec2, ec2: EmbeddedEC2, undone: str, said: str
) -> None:
    deployed = deploy(ec2)
    ec2.clear_calls()
    with pytest.raises(errors.SnapsetError, match=said % deployed.instance_id):
        roll_back_with(RestlessEc2(aws.settings, undone=undone), deployed)
    assert 3 <= len(ec2.calls(f"{undone.capitalize()}Instances")) < 10
    roll_back_with(aws, deployed)
    assert not set(devices_of(ec2, deployed.instance_id).values()) & set(deployed.before.values())
    assert set(deployed.before.values()) <= {volume["VolumeId"] for volume in ec2.ec2().describe_volumes()["Volumes"]}
    assert described(ec2, deployed.instance_id)["State"]["Name"] == "running"


# The first call of most of these actions is a dry run.
@pytest.mark.parametrize(
    ("action", "skip"),
    [
        ("CreateTags", 1),
        ("CreateVolume", 2),
        ("CreateSnapshots", 1),
        ("StopInstances", 1),
        ("DetachVolume", 2),
        ("AttachVolume", 3),
        ("ModifyInstanceAttribute", 1),
        ("StartInstances", 1),
        ("DeleteTags", 1),
    ],
)
def test_a_command_that_is_killed_during_a_call_is_ended_by_the_next_one(
    snapset: CommandLine, ec2: EmbeddedEC2, action: str, skip: int
) -> None:
    deployed = deploy(ec2)
    ec2.clear_calls()
    ec2.fault(action=action, kind="delay_after", seconds=2, skip=skip)
    with snapset.start("rollback", deployed.instance_id, "--change-id", "release-42", "--yes") as process:
        until(lambda: any(call["fault"] == "delay_after" and call["carried_out"] for call in ec2.calls(action)))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    wait_for_calls(ec2)
    snapset("rollback", deployed.instance_id, "--yes").ok()
    assert_rolled_back(ec2, deployed)
