"""`take_set`: it adopts the set that an earlier run took and could not record, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset.aws.ec2 import Ec2
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.limits import Limits
from snapset.sets.create import Taken
from snapset.sets.inputs import SetInputs
from snapset.sets.tags import own_tags
from snapset.sets.take import take_set

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

SHORT = Limits(consistency=0.4)
OLD_SET = "set-0123456789abcdef0"

LeaveBehind = Callable[..., list[str]]


def assert_new(taken: Taken) -> None:
    assert taken.outcome == "created"
    assert taken.set.set_id != OLD_SET


@pytest.fixture
def aws(settings: AwsSettings) -> Ec2:
    return Ec2(settings, SHORT)


@pytest.fixture
def leave_behind(client: EC2Client, inputs: SetInputs) -> LeaveBehind:
    """Take a set as an earlier run did that could not record it; returns the ids of its snapshots."""

    def take(*, token: str = inputs.token, exclude_boot: bool = False) -> list[str]:
        tags = own_tags(
            set_id=OLD_SET,
            token=token,
            resource=inputs.resource,
            instance_id=inputs.instance_id,
            change_id=inputs.change_id,
            count=None,
            was={},
            excluded="",
            volumes_copied=False,
        )
        answer = client.create_snapshots(
            InstanceSpecification={"InstanceId": inputs.instance_id, "ExcludeBootVolume": exclude_boot},
            TagSpecifications=[
                {"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
            ],
        )
        return [snapshot["SnapshotId"] for snapshot in answer["Snapshots"]]

    return take


def test_an_unclaimed_healthy_recent_set_of_the_same_intent_is_adopted(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, instance: LaunchedInstance, leave_behind: LeaveBehind
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    left = leave_behind()
    ec2.clear_calls()
    found = take_set(aws, inputs)
    assert found.outcome == "adopted"
    assert found.set.set_id == OLD_SET
    assert set(found.set.snapshot_ids) == set(left)
    devices = {found.set.devices[snapshot.snapshot_id]: snapshot.volume_id for snapshot in found.set.snapshots}
    assert devices == instance.volume_ids
    assert ec2.calls("CreateSnapshots") == []


def test_a_set_of_another_intent_is_not_adopted(aws: Ec2, inputs: SetInputs, leave_behind: LeaveBehind) -> None:
    leave_behind(token=replace(inputs, triggers="another").token)
    assert_new(take_set(aws, inputs))


def test_a_set_of_which_one_snapshot_is_claimed_is_not_adopted(
    aws: Ec2, inputs: SetInputs, leave_behind: LeaveBehind, client: EC2Client
) -> None:
    *_, last = leave_behind()
    client.create_tags(Resources=[last], Tags=[{"Key": "snapset:claim", "Value": "another"}])
    assert_new(take_set(aws, inputs))


def test_a_set_in_error_is_not_adopted(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs, leave_behind: LeaveBehind
) -> None:
    ec2.fail(leave_behind())
    assert_new(take_set(aws, inputs))


def test_a_set_is_adopted_up_to_an_age_and_not_beyond(aws: Ec2, inputs: SetInputs, leave_behind: LeaveBehind) -> None:
    leave_behind()
    assert take_set(Ec2(aws.settings, replace(SHORT, adoption=600)), inputs).outcome == "adopted"
    assert_new(take_set(Ec2(aws.settings, replace(SHORT, adoption=0)), inputs))


def test_a_set_of_fewer_volumes_is_not_adopted(
    aws: Ec2, inputs: SetInputs, instance: LaunchedInstance, leave_behind: LeaveBehind
) -> None:
    leave_behind(exclude_boot=True)
    taken = take_set(aws, inputs)
    assert_new(taken)
    assert taken.set.volume_ids == set(instance.volume_ids.values())


def test_a_set_of_more_volumes_is_not_adopted(
    aws: Ec2, inputs: SetInputs, instance: LaunchedInstance, leave_behind: LeaveBehind
) -> None:
    inputs = replace(inputs, exclude_boot_volume=True)
    # Of the same intent, but of what the instance had attached by then.
    leave_behind(token=inputs.token)
    taken = take_set(aws, inputs)
    assert_new(taken)
    assert taken.set.volume_ids == set(instance.volume_ids.values()) - {instance.root_volume_id}


def test_a_snapshot_that_has_lost_its_tag_of_the_set_does_not_stand_in_the_way(
    aws: Ec2, inputs: SetInputs, leave_behind: LeaveBehind, client: EC2Client
) -> None:
    first, *_ = leave_behind()
    client.delete_tags(Resources=[first], Tags=[{"Key": "snapset:set"}])
    assert_new(take_set(aws, inputs))
