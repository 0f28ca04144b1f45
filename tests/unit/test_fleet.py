"""Sets of many instances: how many calls they take, who gets one, and how fast AWS is asked."""

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws import ec2 as aws_ec2
from snapset.aws import errors as aws_errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Volume
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits
from snapset.pace import Pace
from snapset.sets import find, take
from snapset.sets.claims import claim_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.take import take_sets

LIMITS = Limits(consistency=2, throttle=30, late=2)
NOT_THERE = "i-0123456789abcdef0"


@pytest.fixture
def aws(settings: AwsSettings) -> Ec2:
    return Ec2(settings, LIMITS)


@pytest.fixture
def wanted(ec2: EmbeddedEC2, inputs: SetInputs) -> list[SetInputs]:
    return [replace(inputs, instance_id=ec2.launch().instance_id, change_id="c") for _ in range(5)]


def actions(ec2: EmbeddedEC2) -> list[str]:
    return [call["action"] for call in ec2.calls()]


def test_as_few_calls_are_made_as_there_can_be(
    aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_ec2, "FILTER_VALUES", 4)
    monkeypatch.setattr(find, "FILTER_VALUES", 3)
    ec2.clear_calls()
    taken = take_sets(aws, wanted)
    made = actions(ec2)
    assert {name: made.count(name) for name in set(made)} == {
        "DescribeInstances": 1,
        "DescribeVolumes": 2,
        "DescribeSnapshots": 2,
        "CreateSnapshots": 5,
    }
    assert taken.taken.keys() == {inputs.instance_id for inputs in wanted}
    ec2.clear_calls()
    sets = [found.set for found in taken.taken.values()]
    assert claim_sets(aws, sets, claim="c", attributes=taken.attributes) == {}
    assert actions(ec2) == ["CreateTags"]


@pytest.mark.parametrize(
    "given",
    [{"exclude_boot_volume": True}, {"copy_tags_from_instance": True}, {"exclude_data_volume_tags": {"a": "b"}}],
)
def test_an_instance_is_looked_at_if_its_volumes_do_not_tell_enough(
    aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs], given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_ec2, "_INSTANCES_A_CALL", 3)
    ec2.clear_calls()
    asked = [replace(inputs, **given) for inputs in wanted]
    taken = take_sets(aws, asked)
    assert actions(ec2).count("DescribeInstances") == 2
    only_root = "exclude_boot_volume" in given
    assert len(taken.failures) == (5 if only_root else 0)
    assert all("nothing is left to snapshot" in str(error) for error in taken.failures.values())


# The embedded EC2 attaches a volume once, and to instances only.
MANAGED = {"State": "attached", "DeleteOnTermination": True, "AssociatedResource": "arn:aws:ecs:us-east-1:1:task/x"}
SHARED = {"InstanceId": "i-1", "Device": "/dev/sdf", "State": "attached"}


@pytest.mark.parametrize(
    ("attachments", "at", "seen"),
    [
        ([], "i-2", ("", "", "", False)),
        ([SHARED], "i-1", ("i-1", "/dev/sdf", "attached", False)),
        ([SHARED], "i-2", ("i-1", "/dev/sdf", "attached", False)),
        (
            [SHARED, {**SHARED, "InstanceId": "i-2", "DeleteOnTermination": True}],
            "i-2",
            ("i-2", "/dev/sdf", "attached", True),
        ),
        ([MANAGED], "i-2", (MANAGED["AssociatedResource"], "", "attached", True)),
        ([MANAGED, SHARED], "i-1", ("i-1", "/dev/sdf", "attached", False)),
        ([{}], "i-2", ("managed", "", "", False)),
    ],
)
def test_a_volume_is_seen_as_the_instance_has_it_attached(
    attachments: list[dict[str, Any]], at: str, seen: tuple[str, str, str, bool]
) -> None:
    item = {"VolumeId": "vol-1", "Size": 4, "AvailabilityZone": "us-east-1a", "State": "in-use"}
    now = datetime.datetime.now(datetime.timezone.utc)
    volume = Volume.parse({**item, "CreateTime": now, "Attachments": attachments}).at(at)
    assert (volume.instance_id, volume.device_name, volume.attachment, volume.deleted_with_instance) == seen


def test_what_an_earlier_run_took_is_adopted(aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs]) -> None:
    first = take_sets(aws, wanted[:3])
    ec2.clear_calls()
    again = take_sets(aws, wanted)
    assert len(ec2.calls("CreateSnapshots")) == 2
    assert {key: taken.outcome for key, taken in again.taken.items()} == {
        inputs.instance_id: "adopted" if inputs in wanted[:3] else "created" for inputs in wanted
    }
    for key, taken in first.taken.items():
        assert again.taken[key].set.set_id == taken.set.set_id


def test_an_instance_that_can_not_be_snapshotted_is_named_and_the_others_get_their_sets(
    aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs], inputs: SetInputs
) -> None:
    gone = wanted[0].instance_id
    ec2.ec2().terminate_instances(InstanceIds=[gone])
    ec2.fault(action="CreateSnapshots", kind="deny", match=wanted[1].instance_id)
    made = take_sets(aws, [*wanted, replace(inputs, instance_id=NOT_THERE)])
    assert made.taken.keys() == {asked.instance_id for asked in wanted[2:]}
    kinds = {key: type(error) for key, error in made.failures.items()}
    assert kinds == {
        gone: errors.InputError,
        wanted[1].instance_id: errors.NotPermittedError,
        NOT_THERE: errors.NotFoundError,
    }


def test_nothing_is_taken_if_it_depends_on_instances_that_can_not_be_described(
    aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs]
) -> None:
    ec2.fault(action="DescribeInstances", kind="deny")
    with pytest.raises(errors.NotPermittedError):
        take_sets(aws, [replace(inputs, copy_tags_from_instance=True) for inputs in wanted])
    assert ec2.calls("CreateSnapshots") == []


def test_calls_slow_down_together_once_aws_says_not_now() -> None:
    bucket, refused, made = [10.0, time.monotonic()], [], []

    def call() -> None:
        now = time.monotonic()
        bucket[0], bucket[1] = min(10.0, bucket[0] + (now - bucket[1]) * 20), now
        if bucket[0] < 1:
            refused.append(now)
            raise errors.ThrottledError("not now", code="RequestLimitExceeded")
        bucket[0] -= 1
        made.append(now)

    pace = Pace()
    while len(made) < 30:
        try:
            pace.make(call)
        except errors.ThrottledError:
            continue
    assert made[9] - made[0] < 0.2
    assert len(refused) <= 6


def test_too_many_pending_snapshots_are_waited_for_as_long_as_those_of_the_run_make_progress(
    aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setitem(aws_errors.THROTTLE_CODES, "PendingSnapshotLimitExceeded", 0.1)
    monkeypatch.setattr(take._OwnSnapshots, "_POLL_SECONDS", 0.0)
    ec2.settings(snapshot_seconds=8)
    # Two are taken, and the others are refused while these two go on.
    ec2.fault(action="CreateSnapshots", kind="error", code="PendingSnapshotLimitExceeded", skip=2, times=24)
    made = take_sets(Ec2(aws.settings, replace(LIMITS, throttle=0.5), said.append), wanted)
    assert made.failures == {}
    assert any(line.endswith("the snapshots of this run make progress: waiting for as long again") for line in said)


def test_without_progress_too_many_pending_snapshots_end_the_wait(
    aws: Ec2, ec2: EmbeddedEC2, wanted: list[SetInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(aws_errors.THROTTLE_CODES, "PendingSnapshotLimitExceeded", 0.1)
    monkeypatch.setattr(take._OwnSnapshots, "_POLL_SECONDS", 0.0)
    ec2.settings(snapshot_seconds=float("inf"))
    ec2.fault(action="CreateSnapshots", kind="error", code="PendingSnapshotLimitExceeded", skip=2, times=None)
    made = take_sets(Ec2(aws.settings, replace(LIMITS, throttle=0.3)), wanted)
    assert len(made.taken) == 2
    assert {error.code for error in made.failures.values()} == {"PendingSnapshotLimitExceeded"}
