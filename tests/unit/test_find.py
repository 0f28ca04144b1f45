"""`find_sets` and `find_set`: sets are found by the tags of their snapshots alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import EmbeddedEC2
from snapset.retry import Retry
from snapset.sets.claim import claim_set
from snapset.sets.create import create_set
from snapset.sets.find import find_latest, find_set, find_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

NONE = "set-00000000000000000"
RETRY = Retry(throttle=20)


@pytest.fixture
def sets(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> list[SnapshotSet]:
    """Three claimed sets of one instance, the newest first."""
    made = []
    for number in range(3):
        taken = create_set(aws, replace(inputs, change_id=str(number)), volumes=None, retry=RETRY).set
        claim_set(aws, taken, claim=str(number), retry=RETRY)
        ec2.age(taken.snapshot_ids, seconds=3600 * (9 - number))
        made.append(taken)
    return made[::-1]


def ids_of(sets: list[SnapshotSet]) -> list[str]:
    return [found.set_id for found in sets]


def test_sets_are_found_newest_first(aws: Ec2, sets: list[SnapshotSet]) -> None:
    found = find_sets(aws, {}, retry=RETRY)
    assert ids_of(found) == ids_of(sets)
    assert [sorted(snapshot_set.snapshot_ids) for snapshot_set in found] == [
        sorted(snapshot_set.snapshot_ids) for snapshot_set in sets
    ]


def test_sets_are_found_by_filters(aws: Ec2, inputs: SetInputs, sets: list[SnapshotSet]) -> None:
    assert ids_of(find_sets(aws, {"tag:snapset:change": ["1"]}, retry=RETRY)) == [sets[1].set_id]
    assert ids_of(find_sets(aws, {"tag:snapset:instance": [inputs.instance_id]}, retry=RETRY)) == ids_of(sets)
    assert find_sets(aws, {"tag:snapset:instance": ["i-0123456789abcdef0"]}, retry=RETRY) == []


def test_an_incomplete_set_is_the_latest_only_if_that_is_allowed(
    aws: Ec2, client: EC2Client, inputs: SetInputs, sets: list[SnapshotSet]
) -> None:
    newest = sets[0]
    client.delete_snapshot(SnapshotId=newest.snapshot_ids[0])
    instance_id = inputs.instance_id
    assert find_latest(aws, instance_id=instance_id, retry=RETRY).set_id == sets[1].set_id
    allowed = find_latest(aws, instance_id=instance_id, allow_incomplete=True, retry=RETRY)
    assert allowed.set_id == newest.set_id


def test_what_snapset_did_not_take_is_not_found(aws: Ec2, inputs: SetInputs, client: EC2Client) -> None:
    client.create_snapshots(InstanceSpecification={"InstanceId": inputs.instance_id})
    assert find_sets(aws, {}, retry=RETRY) == []


def test_a_set_is_found_by_its_id(aws: Ec2, inputs: SetInputs, sets: list[SnapshotSet]) -> None:
    found = find_set(aws, sets[1].set_id, retry=RETRY)
    assert (found.set_id, found.instance_id, found.count) == (sets[1].set_id, inputs.instance_id, 3)
    assert sorted(found.snapshot_ids) == sorted(sets[1].snapshot_ids)


def test_a_set_that_does_not_exist_is_not_found(aws: Ec2, sets: list[SnapshotSet]) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        find_set(aws, NONE, retry=RETRY)
    assert str(caught.value) == (
        f"looking for {NONE}: no snapshot in us-east-1 has the tag snapset:set with this value. "
        "Check the id, the Region and the account."
    )


def test_a_set_of_which_a_snapshot_is_gone_is_found_and_not_whole(
    aws: Ec2, client: EC2Client, sets: list[SnapshotSet]
) -> None:
    client.delete_snapshot(SnapshotId=sets[0].snapshot_ids[1])
    found = find_set(aws, sets[0].set_id, retry=RETRY)
    assert (len(found.snapshots), found.count, found.state) == (2, 3, "incomplete")


def test_a_copy_of_a_snapshot_is_no_part_of_the_set_even_with_all_its_tags(
    aws: Ec2, client: EC2Client, sets: list[SnapshotSet]
) -> None:
    whole = find_set(aws, sets[0].set_id, retry=RETRY)
    copy_all(client, whole)
    there = aws.find_snapshots({"tag:snapset:set": [sets[0].set_id]})
    assert len(there) == 6
    assert {snapshot.volume_id for snapshot in there} - whole.volume_ids == {"vol-ffffffff"}
    assert find_set(aws, sets[0].set_id, retry=RETRY) == whole


def copy_all(client: EC2Client, taken: SnapshotSet) -> None:
    for snapshot in taken.snapshots:
        copied = client.copy_snapshot(SourceSnapshotId=snapshot.snapshot_id, SourceRegion="us-east-1")
        client.create_tags(
            Resources=[copied["SnapshotId"]],
            Tags=[{"Key": key, "Value": value} for key, value in snapshot.tags.items()],
        )


def test_a_young_set_that_is_not_visible_yet_is_waited_for(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    ec2.settings(visibility_seconds=1)
    taken = create_set(aws, inputs, volumes=None, retry=RETRY).set
    with pytest.raises(errors.NotFoundError):
        find_set(aws, taken.set_id, retry=RETRY)
    assert len(find_set(aws, taken.set_id, retry=replace(RETRY, consistency=4), wait=20).snapshots) == 3


def test_a_set_is_waited_for_no_longer_than_a_snapshot_may_be_invisible(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    ec2.settings(visibility_seconds=600)
    taken = create_set(aws, inputs, volumes=None, retry=RETRY).set
    with pytest.raises(errors.NotFoundError):
        find_set(aws, taken.set_id, retry=replace(RETRY, consistency=0.1), wait=600)


def test_a_throttled_look_is_repeated_and_said(aws: Ec2, ec2: EmbeddedEC2, sets: list[SnapshotSet]) -> None:
    # boto3 itself tries three times.
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", times=4)
    said: list[str] = []
    assert ids_of(find_sets(aws, {}, retry=RETRY.saying(said.append))) == ids_of(sets)
    [text] = said
    assert text.startswith("describing snapshots in us-east-1: RequestLimitExceeded: trying again in ")
