"""Wherever a rollback is cut off: run again, it ends with one volume a snapshot in place, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, _Clients
from snapset.aws.settings import AwsSettings
from snapset.restore.rollback import roll_back
from snapset.restore.rollback_plan import RollbackInputs, plan_rollback
from support.calls import Place, places_in
from support.command_line import CommandLine
from support.crash import ATTEMPTS
from support.project import READ_ONLY, mutating, until
from support.restores import DATA
from support.rollbacks import LIMITS, Deployed, assert_rolled_back, connect, deploy, described, devices_of
from support.sets import wait_for_calls

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from snapset.emulator.client import EmbeddedEC2

# The calls of a rollback of an instance with three volumes, without those that only look before it begins. Lines with
# `running` are those of a running instance.
TABLE = """
always  DescribeInstances CreateTags CreateVolume CreateVolume CreateVolume DescribeVolumes DescribeVolumes
always  DescribeSnapshots DescribeVolumes DescribeSnapshots CreateSnapshots DescribeVolumes
always  CreateTags CreateTags CreateTags
always  DescribeInstances
running StopInstances DescribeInstances
always  DescribeInstances CreateTags DetachVolume DescribeVolumes AttachVolume DescribeVolumes
always  DescribeInstances CreateTags DetachVolume DescribeVolumes AttachVolume DescribeVolumes
always  DescribeInstances CreateTags DetachVolume DescribeVolumes AttachVolume DescribeVolumes
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


def roll_back_with(ec2: Ec2, deployed: Deployed, *, begin: Callable[[], object] = lambda: None) -> None:
    inputs = RollbackInputs(instance_id=deployed.instance_id, change_id="release-42", timeout=20)
    plan = plan_rollback(ec2, inputs)
    begin()
    roll_back(ec2, plan)


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


@pytest.mark.long
@each(PLACES)
def test_a_rerun_ends_what_was_cut_off_after_any_call(aws: Ec2, ec2: EmbeddedEC2, place: Place) -> None:
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
def test_lost_answers_at_any_call_that_changes_something_cost_at_most_a_rerun(
    aws: Ec2, ec2: EmbeddedEC2, place: Place
) -> None:
    deployed = deploy(ec2)
    without_retries = place.action in ("CreateVolume", "CreateSnapshots")

    def lose() -> None:
        ec2.clear_calls()
        ec2.fault(kind="close_after", **place.fault, times=1 if without_retries else ATTEMPTS)

    failed: errors.SnapsetError | None = None
    try:
        roll_back_with(aws, deployed, begin=lose)
    except errors.SnapsetError as error:
        failed = error
    if failed:
        assert "Run the same command again: it goes on from there." in str(failed)
        assert failed.exit_code in (1, 4)
        roll_back_with(aws, deployed)
    assert ec2.faults_left() == []
    assert_rolled_back(ec2, deployed)


@pytest.mark.long
@each(place for place in PLACES if place.looks)
def test_a_look_that_aws_throttles_does_not_end_a_rollback(
    aws: Ec2, ec2: EmbeddedEC2, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapset.retry.throttle_pause", lambda asked_for, attempt: 0.01)
    deployed = deploy(ec2)

    def throttle() -> None:
        ec2.clear_calls()
        # Once more than botocore itself tries.
        ec2.fault(kind="error", code="RequestLimitExceeded", **place.fault, times=ATTEMPTS + 1)

    roll_back_with(aws, deployed, begin=throttle)
    assert ec2.faults_left() == []
    assert_rolled_back(ec2, deployed)


def test_what_the_volumes_attachments_said_is_not_lost_with_an_answer(aws: Ec2, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    ec2.fault(action="ModifyInstanceAttribute", kind="close_before", times=ATTEMPTS)
    with pytest.raises(errors.NoAnswerError, match="Run the same command again"):
        roll_back_with(aws, deployed)
    roll_back_with(aws, deployed)
    assert_rolled_back(ec2, deployed)


def test_what_has_changed_since_the_plan_was_made_ends_it_before_anything_is_touched(
    aws: Ec2, ec2: EmbeddedEC2
) -> None:
    deployed = deploy(ec2)
    changed = devices_of(ec2, deployed.instance_id)

    def detach() -> None:
        ec2.ec2().detach_volume(VolumeId=changed.pop(DATA))
        ec2.clear_calls()

    with pytest.raises(errors.SnapsetError, match="its volumes have changed since the plan was made"):
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
        ("ModifyInstanceAttribute", 0),
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
