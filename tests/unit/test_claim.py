"""Claiming and deleting a set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot
from snapset.emulator.client import EmbeddedEC2
from snapset.retry import Retry
from snapset.sets import tags
from snapset.sets.claim import announce_claim, claim_set, delete_set, delete_snapshots, find_other_claims
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.volume_tag import VolumeAttributes

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

GONE = "snap-0123456789abcdef0"
DATA, SCRATCH = "/dev/sdf", "/dev/sdg"
SET, OTHER_SET = "set-0123456789abcdef0", "set-0fedcba9876543210"

SHORT = Retry(consistency=10, throttle=20)

Look = Callable[[], dict[str, Snapshot]]


@pytest.fixture
def unclaimed(aws: Ec2, inputs: SetInputs) -> SnapshotSet:
    """A set that nobody has claimed, with the device of no volume."""
    made = aws.create_snapshots(inputs.request(set_id=SET))
    return SnapshotSet.of(made, set_id=SET, instance_id=inputs.instance_id, count=len(made))


@pytest.fixture
def taken(unclaimed: SnapshotSet) -> list[str]:
    """The ids of its snapshots."""
    return unclaimed.snapshot_ids


def part_of(taken: SnapshotSet, *snapshot_ids: str) -> SnapshotSet:
    """The set with these of its snapshots only."""
    kept = tuple(snapshot for snapshot in taken.snapshots if snapshot.snapshot_id in snapshot_ids)
    return replace(taken, snapshots=kept)


@pytest.fixture
def look(aws: Ec2, taken: list[str]) -> Look:
    return lambda: {snapshot.snapshot_id: snapshot for snapshot in aws.describe_snapshots(taken)}


@pytest.fixture
def use_in_image(client: EC2Client) -> Callable[[str], str]:
    """Register an image that uses the snapshot; returns the image's id."""

    def register(snapshot_id: str) -> str:
        mapping: Any = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id}}
        return client.register_image(
            Name=f"of {snapshot_id}", RootDeviceName="/dev/sda1", BlockDeviceMappings=[mapping]
        )["ImageId"]

    return register


def test_a_claim_marks_every_snapshot_with_its_device_its_own_id_and_the_count_and_keeps_the_other_tags(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    before = look()
    devices = dict(zip(taken, [DATA, SCRATCH, ""], strict=True))
    claim_set(aws, replace(unclaimed, devices=devices), claim="mine", retry=SHORT)
    volumes = {
        volume.volume_id: VolumeAttributes.of(volume).text()
        for volume in aws.describe_volumes(list(unclaimed.volume_ids))
    }
    for snapshot_id, snapshot in look().items():
        assert snapshot.tags == {
            **before[snapshot_id].tags,
            "snapset:claim": "mine",
            "snapset:count": "3",
            "snapset:device": devices[snapshot_id],
            "snapset:devices": "sdf,sdg",
            "snapset:volume": volumes[snapshot.volume_id],
            "snapset:snapshot": snapshot_id,
        }


def test_the_count_is_that_of_the_whole_set_whatever_part_of_it_is_claimed(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    claim_set(aws, part_of(unclaimed, taken[1]), claim="mine", retry=SHORT)
    assert [snapshot.tags.get("snapset:count") for snapshot in look().values()].count("3") == 1
    assert look()[taken[1]].tags["snapset:count"] == "3"


def test_a_claim_can_be_repeated(aws: Ec2, unclaimed: SnapshotSet, look: Look) -> None:
    for _ in range(2):
        claim_set(aws, unclaimed, claim="mine", retry=SHORT)
    assert {snapshot.tags["snapset:claim"] for snapshot in look().values()} == {"mine"}


def test_a_claim_waits_for_a_snapshot_that_not_all_of_ec2_knows_yet(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    ec2.fault(action="CreateTags", kind="error", code="InvalidSnapshot.NotFound")
    claim_set(aws, part_of(unclaimed, taken[0]), claim="mine", retry=SHORT)
    assert look()[taken[0]].tags["snapset:claim"] == "mine"


def test_a_claim_of_a_snapshot_that_stays_unknown_fails(aws: Ec2, unclaimed: SnapshotSet) -> None:
    gone = replace(unclaimed.snapshots[0], snapshot_id=GONE)
    unknown = SnapshotSet.of([gone], set_id=SET, instance_id=unclaimed.instance_id, count=1)
    with pytest.raises(errors.NotFoundError, match=GONE):
        claim_set(aws, unknown, claim="mine", retry=replace(SHORT, consistency=0))


def test_an_announced_claim_is_no_claim_yet_but_names_the_resource_that_is_about_to_hold_the_set(
    aws: Ec2, unclaimed: SnapshotSet, look: Look
) -> None:
    announce_claim(aws, [unclaimed], claim="mine", retry=SHORT)
    assert [tags.claims_of(snapshot.tags) for snapshot in look().values()] == [set()] * 3
    assert [tags.claimants_of(snapshot.tags) for snapshot in look().values()] == [{"mine"}] * 3
    claim_set(aws, unclaimed, claim="mine", retry=SHORT, adopted=True)
    assert [tags.claims_of(snapshot.tags) for snapshot in look().values()] == [{"mine"}] * 3


def test_the_claims_of_two_resources_do_not_overwrite_each_other(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    announce_claim(aws, [unclaimed], claim="adopter", retry=SHORT)
    claim_set(aws, unclaimed, claim="taker", retry=SHORT)
    claim_set(aws, unclaimed, claim="adopter", retry=SHORT, adopted=True)
    assert [tags.claims_of(snapshot.tags) for snapshot in look().values()] == [{"taker", "adopter"}] * 3
    assert set(find_other_claims(aws, taken, claim="adopter")) == set(taken)
    for claim in ("taker", "adopter"):
        assert set(delete_set(aws, taken, set_id=SET, claim=claim, retry=SHORT)) == set(taken)
    assert len(look()) == 3


def test_a_throttled_claim_is_repeated(aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, look: Look) -> None:
    ec2.fault(action="CreateTags", kind="error", code="RequestLimitExceeded", times=4)
    claim_set(aws, unclaimed, claim="mine", retry=SHORT)
    assert [tags.claims_of(snapshot.tags) for snapshot in look().values()] == [{"mine"}] * 3


def test_what_another_resource_is_about_to_hold_stays(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    announce_claim(aws, [unclaimed], claim="theirs", retry=SHORT)
    assert set(delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT)) == set(taken)
    assert len(look()) == 3


def test_deleting_a_set_deletes_every_snapshot_and_no_other(
    aws: Ec2, inputs: SetInputs, taken: list[str], look: Look
) -> None:
    made = aws.create_snapshots(inputs.request(set_id=OTHER_SET))
    others = [snapshot.snapshot_id for snapshot in made]
    assert delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT) == []
    assert look() == {}
    assert len(aws.describe_snapshots(others)) == 3


def test_what_is_gone_already_counts_as_deleted(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client, taken: list[str], look: Look
) -> None:
    client.delete_snapshot(SnapshotId=taken[0])
    # The next one goes between the look at the set and its own turn.
    ec2.fault(action="DeleteSnapshot", kind="error", code="InvalidSnapshot.NotFound", match=taken[1])
    delete_set(aws, [*taken, GONE], set_id=SET, claim="mine", retry=SHORT)
    assert set(look()) == {taken[1]}


def test_a_lost_answer_of_a_deletion_is_asked_for_again(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Look
) -> None:
    ec2.fault(action="DeleteSnapshot", kind="close_after")
    delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT)
    assert look() == {}


def test_a_snapshot_in_use_is_named_with_its_image_and_the_rest_is_deleted(
    aws: Ec2, taken: list[str], look: Look, use_in_image: Callable[[str], str]
) -> None:
    image = use_in_image(taken[0])
    with pytest.raises(errors.SnapsetError) as caught:
        delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT)
    text = str(caught.value)
    assert text.startswith(f"deleting {SET}: 1 of 3 snapshots stay: deleting {taken[0]}: InvalidSnapshot.InUse: ")
    assert image in text
    assert "\n" not in text
    assert not [snapshot_id for snapshot_id in taken[1:] if snapshot_id in text]
    assert set(look()) == {taken[0]}


def test_all_that_stay_are_named_together(
    aws: Ec2,
    ec2: EmbeddedEC2,
    taken: list[str],
    look: Look,
    use_in_image: Callable[[str], str],
) -> None:
    used, _, locked = taken
    use_in_image(used)
    ec2.lock([locked])
    with pytest.raises(errors.SnapsetError, match="2 of 3 snapshots stay") as caught:
        delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT)
    assert all(f"deleting {snapshot_id}: " in str(caught.value) for snapshot_id in (used, locked))
    assert set(look()) == {used, locked}
    ec2.unlock([locked])
    with pytest.raises(errors.SnapsetError, match="1 of 3 snapshots stay"):
        delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT)
    assert set(look()) == {used}


def test_without_the_permission_to_delete_the_error_says_so(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Look
) -> None:
    ec2.fault(action="DeleteSnapshot", kind="deny")
    with pytest.raises(errors.NotPermittedError, match=r"Allow ec2:DeleteSnapshot\."):
        delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT)
    assert len(look()) == 3
    assert len(ec2.calls("DeleteSnapshot")) == 3


def test_of_a_set_that_another_resource_has_claimed_in_part_nothing_is_deleted(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    theirs, own, _ = taken
    claim_set(aws, part_of(unclaimed, theirs), claim="theirs", retry=SHORT)
    claim_set(aws, part_of(unclaimed, own), claim="mine", retry=SHORT)
    assert delete_set(aws, taken, set_id=SET, claim="mine", retry=SHORT) == [theirs]
    assert set(look()) == set(taken)


def test_a_throttled_deletion_is_tried_again_and_said(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Look
) -> None:
    ec2.fault(action="DeleteSnapshot", kind="error", code="RequestLimitExceeded", times=4, match=taken[1])
    said: list[str] = []
    assert delete_snapshots(aws, taken, retry=SHORT.saying(said.append)) == {}
    assert look() == {}
    assert said
    assert all(text.startswith(f"deleting {taken[1]}: RequestLimitExceeded: trying again in ") for text in said)


def test_why_snapshots_stay_is_told_of_each(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[str], look: Look, use_in_image: Callable[[str], str]
) -> None:
    used, denied, free = taken
    use_in_image(used)
    ec2.fault(action="DeleteSnapshot", kind="deny", match=denied)
    kept = delete_snapshots(aws, [*taken, GONE], retry=SHORT)
    assert {snapshot_id: error.code for snapshot_id, error in kept.items()} == {
        used: "InvalidSnapshot.InUse",
        denied: "UnauthorizedOperation",
    }
    assert set(look()) == {used, denied}
    assert free not in look()
