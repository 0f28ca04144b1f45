"""`create_set`: it adopts the set that an earlier run took and could not record, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.retry import Patience
from snapset.sets import create as lifecycle
from snapset.sets.inputs import SetInputs

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

SHORT = Patience(consistency=0.4)
OLD_SET = "set-0123456789abcdef0"

LeaveBehind = Callable[..., list[str]]


@pytest.fixture
def volumes(instance: LaunchedInstance) -> set[str]:
    return set(instance.volume_ids.values())


@pytest.fixture
def leave_behind(client: EC2Client, inputs: SetInputs) -> LeaveBehind:
    """Take a set as an earlier run did that could not record it; returns the ids of its snapshots."""

    def take(*, token: str = inputs.token, exclude_boot: bool = False) -> list[str]:
        tags = {"snapset:set": OLD_SET, "snapset:token": token, "snapset:instance": inputs.instance_id}
        answer = client.create_snapshots(
            InstanceSpecification={"InstanceId": inputs.instance_id, "ExcludeBootVolume": exclude_boot},
            TagSpecifications=[
                {"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
            ],
        )
        return [each["SnapshotId"] for each in answer["Snapshots"]]

    return take


def test_an_unclaimed_healthy_recent_set_of_the_same_intent_is_adopted(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    left = leave_behind()
    ec2.clear_calls()
    found = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert found.adopted
    assert found.set_id == OLD_SET
    assert {each.snapshot_id for each in found.snapshots} == set(left)
    assert ec2.calls("CreateSnapshots") == []


def test_of_a_set_whose_volumes_are_not_known_the_token_decides(
    aws: Ec2, inputs: SetInputs, leave_behind: LeaveBehind
) -> None:
    leave_behind()
    assert lifecycle.create_set(aws, inputs, volume_ids=None, patience=SHORT).set_id == OLD_SET


def test_a_set_of_another_intent_is_not_adopted(
    aws: Ec2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind
) -> None:
    leave_behind(token=replace(inputs, triggers="another").token)
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert (taken.adopted, taken.set_id != OLD_SET) == (False, True)


def test_a_set_of_which_one_snapshot_is_claimed_is_not_adopted(
    aws: Ec2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind, client: EC2Client
) -> None:
    *_, last = leave_behind()
    client.create_tags(Resources=[last], Tags=[{"Key": "snapset:claim", "Value": "another"}])
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert (taken.adopted, taken.set_id != OLD_SET) == (False, True)


def test_a_set_in_error_is_not_adopted(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind
) -> None:
    ec2.fail(leave_behind())
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert (taken.adopted, taken.set_id != OLD_SET) == (False, True)


def test_a_set_is_adopted_up_to_an_age_and_not_beyond(
    aws: Ec2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind
) -> None:
    leave_behind()
    assert lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=replace(SHORT, adoption=600)).adopted
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=replace(SHORT, adoption=0))
    assert (taken.adopted, taken.set_id != OLD_SET) == (False, True)


def test_a_set_of_fewer_volumes_is_not_adopted(
    aws: Ec2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind
) -> None:
    leave_behind(exclude_boot=True)
    taken = lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT)
    assert not taken.adopted
    assert {each.volume_id for each in taken.snapshots} == volumes


def test_a_set_of_more_volumes_is_not_adopted(
    aws: Ec2, inputs: SetInputs, instance: LaunchedInstance, volumes: set[str], leave_behind: LeaveBehind
) -> None:
    inputs = replace(inputs, exclude_boot_volume=True)
    # Of the same intent, but of what the instance had attached by then.
    leave_behind(token=inputs.token)
    without_root = volumes - {instance.root_volume_id}
    taken = lifecycle.create_set(aws, inputs, volume_ids=without_root, patience=SHORT)
    assert not taken.adopted
    assert {each.volume_id for each in taken.snapshots} == without_root


def test_a_snapshot_that_has_lost_its_mark_of_the_set_does_not_stand_in_the_way(
    aws: Ec2, inputs: SetInputs, volumes: set[str], leave_behind: LeaveBehind, client: EC2Client
) -> None:
    first, *_ = leave_behind()
    client.delete_tags(Resources=[first], Tags=[{"Key": "snapset:set"}])
    assert not lifecycle.create_set(aws, inputs, volume_ids=volumes, patience=SHORT).adopted
