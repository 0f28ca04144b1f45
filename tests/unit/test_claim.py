"""Claiming, finding and deleting a set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, Snapshot
from snapset.emulator.client import EmbeddedEC2
from snapset.sets import create as lifecycle
from snapset.sets.inputs import SetInputs

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

GONE = "snap-0123456789abcdef0"
DATA, SCRATCH = "/dev/sdf", "/dev/sdg"


@pytest.fixture
def taken(aws: Ec2, inputs: SetInputs) -> list[str]:
    """The snapshots of a set that nobody has claimed."""
    marks = lifecycle.tags_of(inputs, set_id="set-1")
    return [each.snapshot_id for each in aws.create_snapshots(inputs, marks)]


@pytest.fixture
def look(aws: Ec2, taken: list[str]) -> Callable[[], dict[str, Snapshot]]:
    return lambda: {each.snapshot_id: each for each in aws.describe_snapshots(taken)}


@pytest.fixture
def use_in_image(client: EC2Client) -> Callable[[str], str]:
    """Register an image that uses the snapshot; returns the image's id."""

    def register(snapshot_id: str) -> str:
        mapping: Any = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id}}
        return client.register_image(
            Name=f"of {snapshot_id}", RootDeviceName="/dev/sda1", BlockDeviceMappings=[mapping]
        )["ImageId"]

    return register


def test_a_claim_marks_each_snapshot_with_its_device_and_keeps_the_other_tags(
    aws: Ec2, inputs: SetInputs, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    before = look()
    devices = dict(zip(taken, [DATA, SCRATCH, ""], strict=True))
    lifecycle.claim_set(aws, claim="mine", devices=devices)
    for snapshot_id, snapshot in look().items():
        device = {"snapset:device": devices[snapshot_id]} if devices[snapshot_id] else {}
        assert snapshot.tags == {**before[snapshot_id].tags, "snapset:claim": "mine", "snapset:count": "3", **device}


def test_a_claim_can_be_repeated(aws: Ec2, taken: list[str], look: Callable[[], dict[str, Snapshot]]) -> None:
    for _ in range(2):
        lifecycle.claim_set(aws, claim="mine", devices=dict.fromkeys(taken, DATA))
    assert {each.tags["snapset:claim"] for each in look().values()} == {"mine"}


def test_a_claim_waits_for_a_snapshot_that_not_all_of_ec2_knows_yet(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    ec2.fault(action="CreateTags", kind="error", code="InvalidSnapshot.NotFound")
    lifecycle.claim_set(aws, claim="mine", devices={taken[0]: DATA})
    assert look()[taken[0]].tags["snapset:claim"] == "mine"


def test_a_claim_of_a_snapshot_that_stays_unknown_fails(aws: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSET_CONSISTENCY_SECONDS", "0")
    with pytest.raises(errors.NotFoundError, match=GONE):
        lifecycle.claim_set(aws, claim="mine", devices={GONE: DATA})


def test_a_set_is_found_in_the_order_that_is_asked_for_without_what_is_gone(aws: Ec2, taken: list[str]) -> None:
    asked = [taken[2], GONE, taken[0], taken[1]]
    assert [each.snapshot_id for each in lifecycle.find_set(aws, asked)] == [taken[2], taken[0], taken[1]]
    assert lifecycle.find_set(aws, [GONE]) == ()


def test_deleting_a_set_deletes_every_snapshot_and_no_other(
    aws: Ec2, inputs: SetInputs, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    others = [each.snapshot_id for each in aws.create_snapshots(inputs, {"a": "b"})]
    assert lifecycle.delete_set(aws, taken, set_id="set-1", claim="mine") == []
    assert look() == {}
    assert len(aws.describe_snapshots(others)) == 3


def test_what_is_gone_already_counts_as_deleted(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    client.delete_snapshot(SnapshotId=taken[0])
    # The next one goes between the look at the set and its own turn.
    ec2.fault(action="DeleteSnapshot", kind="error", code="InvalidSnapshot.NotFound", match=taken[1])
    lifecycle.delete_set(aws, [*taken, GONE], set_id="set-1", claim="mine")
    assert set(look()) == {taken[1]}


def test_a_lost_answer_of_a_deletion_is_asked_for_again(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    ec2.fault(action="DeleteSnapshot", kind="close_after")
    lifecycle.delete_set(aws, taken, set_id="set-1", claim="mine")
    assert look() == {}


def test_a_snapshot_in_use_is_named_with_its_image_and_the_rest_is_deleted(
    aws: Ec2, taken: list[str], look: Callable[[], dict[str, Snapshot]], use_in_image: Callable[[str], str]
) -> None:
    image = use_in_image(taken[0])
    with pytest.raises(errors.SnapsetError) as caught:
        lifecycle.delete_set(aws, taken, set_id="set-1", claim="mine")
    text = str(caught.value)
    assert text.startswith(f"deleting set-1: 1 of 3 snapshots stay: deleting {taken[0]}: InvalidSnapshot.InUse: ")
    assert image in text
    assert "\n" not in text
    assert not [each for each in taken[1:] if each in text]
    assert set(look()) == {taken[0]}


def test_all_that_stay_are_named_together(
    aws: Ec2,
    ec2: EmbeddedEC2,
    taken: list[str],
    look: Callable[[], dict[str, Snapshot]],
    use_in_image: Callable[[str], str],
) -> None:
    used, _, locked = taken
    use_in_image(used)
    ec2.lock([locked])
    with pytest.raises(errors.SnapsetError, match="2 of 3 snapshots stay") as caught:
        lifecycle.delete_set(aws, taken, set_id="set-1", claim="mine")
    assert all(f"deleting {each}: " in str(caught.value) for each in (used, locked))
    assert set(look()) == {used, locked}
    ec2.unlock([locked])
    with pytest.raises(errors.SnapsetError, match="1 of 3 snapshots stay"):
        lifecycle.delete_set(aws, taken, set_id="set-1", claim="mine")
    assert set(look()) == {used}


def test_without_the_permission_to_delete_the_error_says_so(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    ec2.fault(action="DeleteSnapshot", kind="deny")
    with pytest.raises(errors.NotPermittedError, match=r"Allow ec2:DeleteSnapshot\."):
        lifecycle.delete_set(aws, taken, set_id="set-1", claim="mine")
    assert len(look()) == 3
    assert len(ec2.calls("DeleteSnapshot")) == 3


def test_what_another_resource_has_claimed_stays(
    aws: Ec2, taken: list[str], look: Callable[[], dict[str, Snapshot]]
) -> None:
    theirs, own, unclaimed = taken
    lifecycle.claim_set(aws, claim="theirs", devices={theirs: DATA})
    lifecycle.claim_set(aws, claim="mine", devices={own: DATA})
    assert lifecycle.delete_set(aws, [theirs, own, unclaimed], set_id="set-1", claim="mine") == [theirs]
    assert set(look()) == {theirs}
