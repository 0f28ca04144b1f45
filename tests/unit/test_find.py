"""`find_sets` and `find_set`: sets are found by the tags of their snapshots alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits
from snapset.sets.claims import claim_set
from snapset.sets.find import find_latest, find_set, find_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.take import take_set

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

NONE = "set-00000000000000000"


@pytest.fixture
def sets(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> list[SnapshotSet]:
    """Three claimed sets of one instance, the newest first."""
    made = []
    for number in range(3):
        taken = take_set(aws, replace(inputs, change_id=str(number))).set
        claim_set(aws, taken, claim=str(number))
        ec2.age(taken.snapshot_ids, seconds=3600 * (9 - number))
        made.append(taken)
    return made[::-1]


def ids_of(sets: list[SnapshotSet]) -> list[str]:
    return [found.set_id for found in sets]


def test_sets_are_found_newest_first(aws: Ec2, sets: list[SnapshotSet]) -> None:
    found = find_sets(aws, {})
    assert ids_of(found) == ids_of(sets)
    assert [sorted(snapshot_set.snapshot_ids) for snapshot_set in found] == [
        sorted(snapshot_set.snapshot_ids) for snapshot_set in sets
    ]


def test_sets_are_found_by_filters(aws: Ec2, inputs: SetInputs, sets: list[SnapshotSet]) -> None:
    assert ids_of(find_sets(aws, {"tag:snapset:change": ["1"]})) == [sets[1].set_id]
    assert ids_of(find_sets(aws, {"tag:snapset:instance": [inputs.instance_id]})) == ids_of(sets)
    assert find_sets(aws, {"tag:snapset:instance": ["i-0123456789abcdef0"]}) == []


def test_an_incomplete_set_is_the_latest_only_if_that_is_allowed(
    aws: Ec2, client: EC2Client, inputs: SetInputs, sets: list[SnapshotSet]
) -> None:
    newest = sets[0]
    client.delete_snapshot(SnapshotId=newest.snapshot_ids[0])
    instance_id = inputs.instance_id
    assert find_latest(aws, instance_id=instance_id).set_id == sets[1].set_id
    allowed = find_latest(aws, instance_id=instance_id, allow_incomplete=True)
    assert allowed.set_id == newest.set_id


def test_a_set_in_the_archive_is_not_the_latest(aws: Ec2, client: EC2Client, sets: list[SnapshotSet]) -> None:
    client.modify_snapshot_tier(SnapshotId=sets[0].snapshot_ids[1], StorageTier="archive")
    instance_id = sets[0].instance_id
    assert find_latest(aws, instance_id=instance_id).set_id == sets[1].set_id
    with pytest.raises(errors.NotFoundError, match=f"none is whole and completed: {sets[0].set_id} is archived"):
        find_latest(aws, instance_id=instance_id, change_id="2")


def test_of_several_sets_for_a_change_none_is_chosen_but_the_one_to_which_a_rollback_is_under_way(
    aws: Ec2, inputs: SetInputs, sets: list[SnapshotSet]
) -> None:
    again = take_set(aws, replace(inputs, change_id="1", scope="another"))
    listed = (
        rf"there are 2: {again.set.set_id} \(taken \S+Z\), {sets[1].set_id} \(taken \S+Z\)\. Choose one by its id"
    )
    with pytest.raises(errors.InputError, match=listed):
        find_latest(aws, change_id="1")
    assert find_latest(aws, change_id="1", under_way=sets[1].set_id).set_id == sets[1].set_id


def test_a_set_is_found_by_its_id(aws: Ec2, inputs: SetInputs, sets: list[SnapshotSet]) -> None:
    found = find_set(aws, sets[1].set_id)
    assert (found.set_id, found.instance_id, found.count) == (sets[1].set_id, inputs.instance_id, 3)
    assert sorted(found.snapshot_ids) == sorted(sets[1].snapshot_ids)


def test_a_set_that_does_not_exist_is_not_found(aws: Ec2, sets: list[SnapshotSet]) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        find_set(aws, NONE)
    assert str(caught.value) == (
        f"looking for {NONE}: no snapshot in us-east-1 has the tag snapset:set with this value. "
        "Check the id, the Region and the account."
    )


def test_a_copy_of_a_snapshot_is_no_part_of_the_set_even_with_all_its_tags(
    aws: Ec2, client: EC2Client, sets: list[SnapshotSet]
) -> None:
    whole = find_set(aws, sets[0].set_id)
    copy_all(client, whole)
    there = aws.find_snapshots({"tag:snapset:set": [sets[0].set_id]})
    assert len(there) == 6
    assert {snapshot.volume_id for snapshot in there} - whole.volume_ids == {"vol-ffffffff"}
    assert find_set(aws, sets[0].set_id) == whole


def copy_all(client: EC2Client, taken: SnapshotSet) -> None:
    for snapshot in taken.snapshots:
        copied = client.copy_snapshot(SourceSnapshotId=snapshot.snapshot_id, SourceRegion="us-east-1")
        client.create_tags(
            Resources=[copied["SnapshotId"]],
            Tags=[{"Key": key, "Value": value} for key, value in snapshot.tags.items()],
        )


def test_a_young_set_that_is_not_visible_yet_is_waited_for(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> None:
    ec2.settings(visibility_seconds=1)
    taken = take_set(aws, inputs).set
    with pytest.raises(errors.NotFoundError):
        find_set(aws, taken.set_id)
    assert len(find_set(Ec2(aws.settings, Limits(consistency=4)), taken.set_id, wait=20).snapshots) == 3


def test_a_set_is_waited_for_no_longer_than_a_snapshot_may_be_invisible(
    aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs
) -> None:
    ec2.settings(visibility_seconds=600)
    taken = take_set(aws, inputs).set
    with pytest.raises(errors.NotFoundError):
        find_set(Ec2(aws.settings, Limits(consistency=0.1)), taken.set_id, wait=600)


def test_a_throttled_search_is_repeated_and_said(aws: Ec2, ec2: EmbeddedEC2, sets: list[SnapshotSet]) -> None:
    # boto3 itself tries three times.
    ec2.fault(action="DescribeSnapshots", kind="error", code="RequestLimitExceeded", times=4)
    said: list[str] = []
    assert ids_of(find_sets(aws.saying(said.append), {})) == ids_of(sets)
    [text] = said
    assert text.startswith("describing snapshots in us-east-1: RequestLimitExceeded: trying again in ")
