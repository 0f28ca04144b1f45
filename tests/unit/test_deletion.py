"""`snapset.sets.deletion`: what a person names is deleted, and what something needs stays whole and is named."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits
from snapset.sets import tags
from snapset.sets.deletion import Deleted, NeededError, delete_named, delete_set, is_refusal
from snapset.sets.find import find_set, find_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.take import take_set

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def aws(settings: AwsSettings) -> Ec2:
    return Ec2(settings, Limits(throttle=20))


@pytest.fixture
def pair(aws: Ec2, inputs: SetInputs) -> list[SnapshotSet]:
    """The set that a test is about, and another one of the same instance."""
    return [find_set(aws, take_set(aws, replace(inputs, change_id=change)).set.set_id) for change in "ab"]


@pytest.fixture
def use_in_image(client: EC2Client) -> Callable[[str], str]:
    """Register an image that uses the snapshot; returns the image's id."""

    def register(snapshot_id: str) -> str:
        mapping: Any = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id}}
        return client.register_image(
            Name=f"of {snapshot_id}", RootDeviceName="/dev/sda1", BlockDeviceMappings=[mapping]
        )["ImageId"]

    return register


def left(aws: Ec2) -> dict[str, int]:
    """How many snapshots of each set are left."""
    return {found.set_id: len(found.snapshots) for found in find_sets(aws, {})}


def in_hours(hours: float) -> str:
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def delete(aws: Ec2, named: list[SnapshotSet], *, in_use: AbstractSet[str] = NOTHING) -> Iterator[Deleted]:
    """Delete them as they are by now."""
    return delete_named(aws, [find_set(aws, found.set_id) for found in named], in_use=in_use)


def test_all_snapshots_of_what_is_named_are_deleted_and_no_other(
    aws: Ec2, client: EC2Client, inputs: SetInputs, pair: list[SnapshotSet]
) -> None:
    client.create_snapshots(InstanceSpecification={"InstanceId": inputs.instance_id})
    said: list[str] = []
    [done] = delete(aws.saying(said.append), pair[:1])
    assert (done.chosen.set_id, list(done.deleted), done.kept) == (pair[0].set_id, pair[0].snapshot_ids, {})
    assert left(aws) == {pair[1].set_id: 3}
    assert len(client.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 6
    assert said == [f"deleting {pair[0].set_id} of {inputs.instance_id}"]


# The tags of the set, whether a rollback to it or to the other one goes on, and why it stays.
NEEDED: dict[str, tuple[dict[str, str], int | None, str]] = {
    "pinned": ({tags.PINNED: "pinned"}, None, "it is pinned. Unpin it first: snapset prune --unpin set-"),
    "in use": ({tags.IN_USE_UNTIL: in_hours(1)}, None, "something else needs it until 20"),
    "being rolled back to": ({}, 0, "an instance is being rolled back to it. End that rollback first"),
    "safety set": ({tags.CHANGE: f"{tags.SAFETY_CHANGE}{{other}}"}, 1, "it is the safety set of a rollback that"),
}
FREE: dict[str, tuple[dict[str, str], int | None]] = {
    "unpinned": ({tags.PINNED: ""}, None),
    "no longer in use": ({tags.IN_USE_UNTIL: in_hours(-1)}, None),
    "another is being rolled back to": ({}, 1),
    "safety set of a rollback that has ended": ({tags.CHANGE: f"{tags.SAFETY_CHANGE}{{other}}"}, None),
    "claimed": ({tags.CLAIM: "somebody"}, None),
}


def mark(aws: Ec2, pair: list[SnapshotSet], marks: dict[str, str]) -> None:
    if marks:
        aws.add_tags(pair[0].snapshot_ids, {key: text.format(other=pair[1].set_id) for key, text in marks.items()})


@pytest.mark.parametrize("case", NEEDED)
def test_a_set_that_something_needs_stays_and_is_named_and_the_rest_goes(
    aws: Ec2, inputs: SetInputs, pair: list[SnapshotSet], case: str
) -> None:
    marks, rolled_back_to, reason = NEEDED[case]
    mark(aws, pair, marks)
    third = take_set(aws, replace(inputs, change_id="c")).set
    in_use = {pair[rolled_back_to].set_id} if rolled_back_to is not None else NOTHING
    kept, gone = delete(aws, [pair[0], third], in_use=in_use)
    assert (kept.deleted, list(kept.kept)) == ((), pair[0].snapshot_ids)
    for error in kept.kept.values():
        assert isinstance(error, NeededError)
        assert str(error).startswith(f"keeping {pair[0].set_id}: {reason}")
        assert is_refusal(error)
    assert (len(gone.deleted), gone.kept) == (3, {})
    assert left(aws) == {found.set_id: 3 for found in pair}


@pytest.mark.parametrize("case", FREE)
def test_a_set_that_nothing_needs_any_longer_goes(aws: Ec2, pair: list[SnapshotSet], case: str) -> None:
    marks, rolled_back_to = FREE[case]
    mark(aws, pair, marks)
    in_use = {pair[rolled_back_to].set_id} if rolled_back_to is not None else NOTHING
    [done] = delete(aws, pair[:1], in_use=in_use)
    assert done.kept == {}
    assert left(aws) == {pair[1].set_id: 3}


def test_a_set_of_which_an_image_uses_the_roots_snapshot_stays_whole_and_the_rest_goes(
    aws: Ec2, ec2: EmbeddedEC2, pair: list[SnapshotSet], use_in_image: Callable[[str], str]
) -> None:
    image = use_in_image(pair[0].snapshot_ids[0])
    ec2.clear_calls()
    kept, gone = delete(aws, pair)
    assert (kept.deleted, list(kept.kept)) == ((), pair[0].snapshot_ids)
    for error in kept.kept.values():
        assert error.code == "InvalidSnapshot.InUse"
        assert image in str(error)
        assert is_refusal(error)
    assert gone.kept == {}
    assert left(aws) == {pair[0].set_id: 3}
    # It was not tried for the others of the set.
    assert len(ec2.calls("DeleteSnapshot")) == 1 + 3


@pytest.mark.parametrize(("locked", "stay"), [(0, 3), (2, 1)])
def test_what_a_lock_keeps_stays_until_it_is_unlocked(
    aws: Ec2, ec2: EmbeddedEC2, pair: list[SnapshotSet], locked: int, stay: int
) -> None:
    ec2.lock([pair[0].snapshot_ids[locked]])
    kept, gone = delete(aws, pair)
    assert (len(kept.deleted), len(kept.kept)) == (3 - stay, stay)
    assert all(is_refusal(error) for error in kept.kept.values())
    assert gone.kept == {}
    assert left(aws) == {pair[0].set_id: stay}
    ec2.unlock([pair[0].snapshot_ids[locked]])
    assert [done.kept for done in delete(aws, pair[:1])] == [{}]
    assert left(aws) == {}


def test_it_can_be_repeated_and_what_is_gone_counts_as_deleted(
    aws: Ec2, ec2: EmbeddedEC2, pair: list[SnapshotSet]
) -> None:
    aws.delete_snapshot(pair[0].snapshot_ids[1])
    ec2.fault(action="DeleteSnapshot", kind="close_after", match=pair[0].snapshot_ids[2])
    for _ in range(2):
        [done] = delete_named(aws, pair[:1], in_use=NOTHING)
        assert (list(done.deleted), done.kept) == (pair[0].snapshot_ids, {})
        assert left(aws) == {pair[1].set_id: 3}


def test_a_missing_permission_is_no_refusal_and_every_snapshot_is_tried(
    aws: Ec2, ec2: EmbeddedEC2, pair: list[SnapshotSet]
) -> None:
    first, *others = pair[0].snapshot_ids
    ec2.fault(action="DeleteSnapshot", kind="deny", match=first)
    done = delete_set(aws, pair[0])
    assert list(done.deleted) == others
    assert {key: str(error).endswith("Allow ec2:DeleteSnapshot.") for key, error in done.kept.items()} == {
        first: True
    }
    assert not is_refusal(done.kept[first])


def test_a_throttled_deletion_is_tried_again_and_said(aws: Ec2, ec2: EmbeddedEC2, pair: list[SnapshotSet]) -> None:
    second = pair[0].snapshot_ids[1]
    # boto3 itself tries three times.
    ec2.fault(action="DeleteSnapshot", kind="error", code="RequestLimitExceeded", times=4, match=second)
    said: list[str] = []
    assert delete_set(aws.saying(said.append), pair[0]).kept == {}
    assert said[1].startswith(f"deleting {second}: RequestLimitExceeded: trying again in ")


@pytest.mark.parametrize(
    "error",
    [
        errors.NoAnswerError("", code="InternalError"),
        errors.UnreachableError(""),
        errors.ThrottledError("", code="RequestLimitExceeded"),
        errors.NotPermittedError("", code="UnauthorizedOperation"),
    ],
)
def test_what_is_about_the_caller_or_the_moment_is_no_refusal(error: errors.SnapsetError) -> None:
    assert not is_refusal(error)
