"""Claiming sets: what is marked, whose claim it is, and that one bad snapshot keeps no other from its marks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot, Volume
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits
from snapset.sets.claims import claim_set, claim_sets, find_other_claims
from snapset.sets.finish import SetStatus, finish_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.preflight import inspect_instances
from snapset.sets.volume_tag import VolumeAttributes

GONE = "snap-0123456789abcdef0"
DATA, SCRATCH = "/dev/sdf", "/dev/sdg"
SET = "set-0123456789abcdef0"

SHORT = Limits(consistency=10, throttle=20)

Look = Callable[[], dict[str, Snapshot]]


@pytest.fixture
def aws(settings: AwsSettings) -> Ec2:
    return Ec2(settings, SHORT)


@pytest.fixture
def unclaimed(aws: Ec2, inputs: SetInputs) -> SnapshotSet:
    """A set that nobody has claimed, with the device of no volume."""
    made = aws.create_snapshots(inputs.request(set_id=SET))
    return SnapshotSet.of(made, set_id=SET, instance_id=inputs.instance_id, count=len(made))


@pytest.fixture
def taken(unclaimed: SnapshotSet) -> list[str]:
    """The ids of its snapshots."""
    return unclaimed.snapshot_ids


@pytest.fixture
def look(aws: Ec2, taken: list[str]) -> Look:
    return lambda: {snapshot.snapshot_id: snapshot for snapshot in aws.describe_snapshots(taken)}


def part_of(taken: SnapshotSet, *snapshot_ids: str) -> SnapshotSet:
    """The set with these of its snapshots only."""
    kept = tuple(snapshot for snapshot in taken.snapshots if snapshot.snapshot_id in snapshot_ids)
    return replace(taken, snapshots=kept)


def claims_in(seen: dict[str, Snapshot]) -> list[str | None]:
    return [snapshot.tags.get("snapset:claim") for snapshot in seen.values()]


def test_a_claim_marks_every_snapshot_with_all_that_a_restore_has_to_know_and_keeps_the_other_tags(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    before = look()
    devices = dict(zip(taken, [DATA, SCRATCH, ""], strict=True))
    volumes = {
        volume.volume_id: VolumeAttributes.of(volume).text()
        for volume in aws.describe_volumes(list(unclaimed.volume_ids))
    }
    # It can be repeated.
    for _ in range(2):
        claim_set(aws, replace(unclaimed, devices=devices), claim="mine")
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


def test_a_volume_that_another_instance_has_too_is_marked_as_it_is_at_the_sets_own(
    aws: Ec2, inputs: SetInputs, taken: list[str], unclaimed: SnapshotSet, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_set(aws, unclaimed, claim="mine")
    alone = look()
    describe = aws.find_volumes

    def share(filters: Any) -> list[Volume]:
        theirs = {"i-other": {"Device": DATA, "DeleteOnTermination": True}}
        return [replace(one, attachments={**theirs, **one.attachments}).at("i-other") for one in describe(filters)]

    monkeypatch.setattr(aws, "find_volumes", share)
    assert inspect_instances(aws, [inputs]).attributes == {}
    claim_set(aws, unclaimed, claim="mine")
    assert look() == alone


def test_the_count_is_that_of_the_whole_set_whatever_part_of_it_is_claimed(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    claim_set(aws, part_of(unclaimed, taken[1]), claim="mine")
    assert {key: snapshot.tags.get("snapset:count") for key, snapshot in look().items()} == {
        taken[0]: None,
        taken[1]: "3",
        taken[2]: None,
    }


def test_a_claim_waits_for_a_snapshot_that_not_all_of_ec2_knows_yet(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    ec2.fault(action="CreateTags", kind="error", code="InvalidSnapshot.NotFound")
    claim_set(aws, part_of(unclaimed, taken[0]), claim="mine")
    assert look()[taken[0]].tags["snapset:claim"] == "mine"


def test_a_claim_of_a_snapshot_that_stays_unknown_fails(aws: Ec2, unclaimed: SnapshotSet) -> None:
    gone = replace(unclaimed.snapshots[0], snapshot_id=GONE)
    unknown = SnapshotSet.of([gone], set_id=SET, instance_id=unclaimed.instance_id, count=1)
    with pytest.raises(errors.NotFoundError, match=GONE):
        claim_set(Ec2(aws.settings, replace(SHORT, consistency=0)), unknown, claim="mine")


def test_a_throttled_claim_is_repeated(aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, look: Look) -> None:
    ec2.fault(action="CreateTags", kind="error", code="RequestLimitExceeded", times=4)
    claim_set(aws, unclaimed, claim="mine")
    assert claims_in(look()) == ["mine"] * 3


def test_only_the_snapshots_that_are_to_blame_are_not_claimed_and_their_set_is_named(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    ec2.fault(action="CreateTags", kind="deny", match=taken[1])
    # They have the same marks, so they share a call.
    alike = dict.fromkeys(unclaimed.volume_ids, '{"type":"gp3"}')
    failures = claim_sets(aws, [unclaimed], claim="mine", attributes=alike)
    assert {set_id: error.code for set_id, error in failures.items()} == {SET: "UnauthorizedOperation"}
    assert [key for key, snapshot in look().items() if "snapset:claim" not in snapshot.tags] == [taken[1]]


def test_where_the_volumes_can_not_be_described_the_rest_is_marked_and_that_is_said(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, look: Look
) -> None:
    ec2.fault(action="DescribeVolumes", kind="deny")
    said: list[str] = []
    claim_set(aws.saying(said.append), unclaimed, claim="mine")
    assert claims_in(look()) == ["mine"] * 3
    assert not any("snapset:volume" in snapshot.tags for snapshot in look().values())
    [text] = said
    assert text.startswith(f"warning: {SET}: the types of the volumes are not recorded: describing volumes in ")


def test_the_claims_of_others_are_told_from_the_own_and_from_none(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str]
) -> None:
    theirs, own, _ = taken
    claim_set(aws, part_of(unclaimed, theirs), claim="theirs")
    claim_set(aws, part_of(unclaimed, own), claim="mine")
    assert find_other_claims(aws, [*taken, GONE], claim="mine") == [theirs]


def finish(
    ec2: Ec2, taken: SnapshotSet, *, outcome: str, serves_anyone: bool = False, told: list[str] | None = None
) -> SetStatus:
    """Finish a set that the state of `mine` holds."""
    status = SetStatus(set=taken, outcome=outcome)
    tell = (told if told is not None else []).append
    finishing = finish_sets(
        ec2, [status], claim="mine", until="completed", timeout=30, serves_anyone=serves_anyone, tell=tell
    )
    [finished] = asyncio.run(finishing)
    return finished


@pytest.mark.parametrize("outcome", ["created", "adopted"])
def test_a_set_that_the_state_holds_is_claimed_once_and_waited_for(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, look: Look, outcome: str
) -> None:
    told: list[str] = []
    finished = finish(aws, unclaimed, outcome=outcome, told=told)
    assert (finished.outcome, finished.completed, finished.failure) == (outcome, True, None)
    assert claims_in(look()) == ["mine"] * 3
    assert [text.split(":")[0] for text in told] == ([f"adopted {SET}"] if outcome == "adopted" else [])
    ec2.clear_calls()
    again = finish(aws, unclaimed, outcome=outcome)
    assert (again.outcome, again.completed) == ("unchanged", True)
    assert ec2.calls("CreateTags") == []


def test_an_adopted_set_that_another_resource_claims_meanwhile_is_left_to_it(
    aws: Ec2, unclaimed: SnapshotSet, taken: list[str], look: Look
) -> None:
    claim_set(aws, part_of(unclaimed, taken[0]), claim="theirs")
    finished = finish(aws, unclaimed, outcome="adopted")
    assert str(finished.failure) == (
        f"adopting {SET}: another resource has claimed it meanwhile. "
        f"Run it again: then a set of its own is taken of {unclaimed.instance_id}."
    )
    # A change is served by whoever holds the set.
    assert finish(aws, unclaimed, outcome="adopted", serves_anyone=True).outcome == "unchanged"
    assert claims_in(look()).count("mine") == 0


@pytest.mark.parametrize("outcome", ["created", "adopted"])
def test_an_adopted_set_that_can_not_be_claimed_is_no_backup_and_an_own_one_is(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, outcome: str
) -> None:
    ec2.fault(action="CreateTags", kind="deny")
    told: list[str] = []
    finished = finish(aws, unclaimed, outcome=outcome, told=told)
    assert finished.completed == (outcome == "created")
    assert isinstance(finished.failure, errors.NotPermittedError) == (outcome == "adopted")
    assert (outcome == "created") == told[0].startswith(f"warning: {SET} is taken, but its snapshots could not be ")


def test_a_set_in_error_or_gone_is_no_backup(
    aws: Ec2, ec2: EmbeddedEC2, unclaimed: SnapshotSet, taken: list[str]
) -> None:
    impatient = Ec2(aws.settings, replace(SHORT, consistency=0))
    aws.delete_snapshot(taken[0])
    gone = finish(impatient, unclaimed, outcome="created")
    assert isinstance(gone.failure, errors.SetFailedError)
    ec2.fail(taken[1:2])
    failed = finish(impatient, unclaimed, outcome="created")
    assert (failed.completed, type(failed.failure)) == (False, errors.SetFailedError)
