"""`snapset.sets.served`: which set serves a change that was backed up before, by whichever run."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot, Volume
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import ROOT_DEVICE, EmbeddedEC2, LaunchedInstance
from snapset.limits import Limits
from snapset.sets import tags
from snapset.sets.claims import claim_set
from snapset.sets.find import find_set
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet
from snapset.sets.served import choose_fitting, choose_served, find_served
from snapset.sets.take import take_sets

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

DAY = 86400.0
INSTANCE = "i-0123456789abcdef0"
ROOT, DATA, SCRATCH, DETACHED = (f"vol-{number:05x}{'0' * 7}{number:05x}" for number in range(1, 5))
MANY = tuple(f"vol-{number:05x}{'0' * 7}{number:05x}" for number in range(20, 40))
ATTACHED = (ROOT, DATA, SCRATCH, *MANY)
LONG = "c" * 300


def hours_ago(hours: float) -> str:
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=hours)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


@dataclass(frozen=True)
class Past:
    """A set that was taken so many hours ago, of two volumes, for the change `now` unless it says otherwise."""

    name: str = "a"
    hours: float = 2
    change: str = "now"
    state: str = "completed"
    claim: str = "somebody's"
    left_out: Sequence[str] = ()
    root_left_out: bool = False
    seen: int = 2

    def as_set(self) -> SnapshotSet:
        marks = {
            tags.CHANGE: tags.fit(self.change),
            tags.COUNT: "2",
            tags.CLAIM: self.claim,
            tags.EXCLUDED: tags.excluded_text(self.left_out, root=self.root_left_out),
        }
        snapshots = [
            Snapshot(
                snapshot_id=f"snap-{self.name}{number}",
                volume_id=f"vol-{number}",
                size_gib=8,
                encrypted=False,
                state=self.state,
                progress="100%",
                start_time=hours_ago(self.hours),
                owner_id="123456789012",
                tags=marks,
            )
            for number in range(self.seen)
        ]
        return SnapshotSet.of(snapshots, set_id=self.name, instance_id=INSTANCE)


@dataclass(frozen=True)
class Case:
    """What was taken for the change, what else has happened, what is asked for now; and what serves."""

    taken: Sequence[Past] = (Past(),)
    others: Sequence[Past] = ()
    restored: tuple[str, float] | None = None
    attached: Sequence[str] = ATTACHED
    asked: dict[str, Any] = field(default_factory=dict)
    fits: str = "a"
    # None: it is the first that fits.
    serves: str | None = None


CASES = {
    "the same change": Case(),
    "a change whose id is too long for a tag": Case(taken=[Past(change=LONG)], asked={"change_id": LONG}),
    "another change's set since": Case(others=[Past("b", hours=1, change="then")], fits=""),
    "another change's set before": Case(others=[Past("b", hours=3, change="then")]),
    "a set without a change since": Case(others=[Past("b", hours=1, change="")]),
    "a safety set since": Case(others=[Past("b", hours=1, change=f"{tags.SAFETY_CHANGE}set-1")], fits=""),
    "a rollback's volume attached since": Case(restored=(f"{tags.ROLLBACK_SCOPE}1", 1), fits=""),
    "a rollback's volume attached before": Case(restored=(f"{tags.ROLLBACK_SCOPE}1", 3)),
    "a restored volume attached since": Case(restored=(INSTANCE, 1)),
    "older than a day": Case(taken=[Past(hours=25)], fits=""),
    "nearly a day old": Case(taken=[Past(hours=23)]),
    "in error": Case(taken=[Past(state="error")], fits=""),
    "pending": Case(taken=[Past(state="pending")]),
    "not whole": Case(taken=[Past(seen=1)], serves=""),
    "not claimed": Case(taken=[Past(claim="")], serves=""),
    "leaves out more than is asked now": Case(taken=[Past(left_out=[DATA])], fits=""),
    "leaves out the root, which is asked now": Case(taken=[Past(root_left_out=True)], fits=""),
    "leaves out another one than now": Case(
        taken=[Past(left_out=[DATA])], asked={"exclude_data_volume_ids": (SCRATCH,)}, fits=""
    ),
    "leaves out the same": Case(
        taken=[Past(left_out=[DATA], root_left_out=True)],
        asked={"exclude_data_volume_ids": (DATA,), "exclude_boot_volume": True},
    ),
    "leaves out what tags leave out now": Case(taken=[Past(left_out=[DATA])], asked={"tagged_volume_ids": (DATA,)}),
    "leaves out less": Case(
        taken=[Past(left_out=[DATA])], asked={"exclude_data_volume_ids": (DATA, SCRATCH), "exclude_boot_volume": True}
    ),
    "leaves out what is detached by now": Case(taken=[Past(left_out=[DETACHED])]),
    "leaves out what may be detached": Case(taken=[Past(left_out=[DETACHED])], attached=(), fits=""),
    "leaves out many": Case(taken=[Past(left_out=MANY)], asked={"exclude_data_volume_ids": MANY}),
    "leaves out many, one of which is asked now": Case(
        taken=[Past(left_out=MANY)], asked={"exclude_data_volume_ids": MANY[1:]}, fits=""
    ),
    "several: the oldest": Case(taken=[Past("b", hours=1), Past("a", hours=2), Past("c", hours=0)], fits="abc"),
    "several: the oldest is not whole": Case(
        taken=[Past("a", hours=2, seen=1), Past("b", hours=1)], fits="ab", serves="b"
    ),
    "several: one is after the other change": Case(
        taken=[Past("a", hours=3), Past("b", hours=1)], others=[Past("x", hours=2, change="then")], fits="b"
    ),
    "none": Case(taken=[], fits=""),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_serves_a_change(case: Case) -> None:
    asked = SetInputs(
        **{"instance_id": INSTANCE, "scope": "", "region": "us-east-1", "change_id": "now", **case.asked}
    )
    attached = [volume(volume_id) for volume_id in case.attached]
    if case.restored:
        whom, hours = case.restored
        attached.append(replace(volume("vol-5"), create_time=hours_ago(hours), tags={tags.RESTORED_FOR: whom}))
    taken = [past.as_set() for past in case.taken]
    history = [*taken, *(past.as_set() for past in case.others)]
    fitting = choose_fitting(asked, taken, history=history, attached=attached, within=DAY)
    assert "".join(found.set_id for found in fitting) == case.fits
    served = choose_served(fitting)
    assert (served.set_id if served else "") == (case.fits[:1] if case.serves is None else case.serves)


def volume(volume_id: str) -> Volume:
    return Volume(
        volume_id=volume_id,
        snapshot_id="",
        size_gib=8,
        availability_zone="us-east-1a",
        state="in-use",
        create_time=hours_ago(1000),
    )


# On the embedded EC2.


@pytest.fixture
def change(inputs: SetInputs) -> SetInputs:
    """What `snapset backup --change-id a` asks for."""
    return replace(inputs, scope="", change_id="a")


@pytest.fixture
def theirs(settings: AwsSettings) -> Ec2:
    """The EC2 of another machine than `aws`."""
    return Ec2(settings, Limits())


def take(ec2: Ec2, asked: SetInputs) -> tuple[str, SnapshotSet]:
    """Run the command; returns the outcome and the set."""
    outcome = take_sets(ec2, [asked], served_within=DAY)
    assert outcome.failures == {}
    taken = outcome.taken[asked.instance_id]
    return taken.outcome, taken.set


@pytest.fixture
def their_set(theirs: Ec2, change: SetInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SnapshotSet:
    """A set that another machine has taken for the change, and not claimed yet."""
    with monkeypatch.context() as their_machine:
        their_machine.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
        outcome, taken = take(theirs, change)
    assert outcome == "created"
    return taken


def served(ec2: Ec2, asked: SetInputs) -> list[str]:
    found, _ = find_served(ec2, [asked], within=DAY)
    return [found_set.set_id for found_set in found.values()]


def test_a_claimed_set_of_another_machine_serves_and_is_left_as_it_is(
    aws: Ec2, theirs: Ec2, ec2: EmbeddedEC2, change: SetInputs, their_set: SnapshotSet
) -> None:
    claim_set(theirs, their_set, claim="theirs")
    before = find_set(theirs, their_set.set_id)
    ec2.clear_calls()
    assert served(aws, change) == [their_set.set_id]
    outcome, taken = take(aws, change)
    assert (outcome, taken) == ("unchanged", before)
    assert {call["action"] for call in ec2.calls()} == {"DescribeInstances", "DescribeVolumes", "DescribeSnapshots"}
    assert find_set(theirs, their_set.set_id) == before


def test_an_unclaimed_set_of_another_machine_does_not_serve_as_it_is_and_is_adopted(
    aws: Ec2, ec2: EmbeddedEC2, change: SetInputs, their_set: SnapshotSet
) -> None:
    # Older than what a resource in a stack would adopt.
    ec2.age(their_set.snapshot_ids, seconds=7200)
    assert served(aws, change) == []
    outcome, taken = take(aws, change)
    assert (outcome, taken.set_id) == ("adopted", their_set.set_id)
    assert len(ec2.calls("CreateSnapshots")) == 1


def test_what_another_machine_takes_at_this_moment_is_adopted_after_a_lost_answer(
    aws: Ec2, ec2: EmbeddedEC2, change: SetInputs
) -> None:
    ec2.fault(action="CreateSnapshots", kind="close_before")

    def take_theirs(_text: str) -> None:
        if len(ec2.calls("CreateSnapshots")) == 1:
            ec2.ec2().create_snapshots(**change.request(set_id="set-0123456789abcdef0", count=3))

    outcome, taken = take(aws.saying(take_theirs), change)
    assert (outcome, taken.set_id) == ("adopted", "set-0123456789abcdef0")


def test_of_an_instance_that_is_terminated_by_now_the_set_is_still_found(
    aws: Ec2, theirs: Ec2, client: EC2Client, change: SetInputs, their_set: SnapshotSet
) -> None:
    claim_set(theirs, their_set, claim="theirs")
    client.terminate_instances(InstanceIds=[change.instance_id])
    found, inspection = find_served(aws, [change], within=DAY)
    assert found[change.instance_id].set_id == their_set.set_id
    [problem] = inspection.problems[change.instance_id]
    assert "is terminated" in problem.reason


def test_a_change_that_comes_again_after_another_one_gets_a_new_set(
    aws: Ec2, ec2: EmbeddedEC2, change: SetInputs
) -> None:
    first, other, again, retried = [
        take(aws, replace(change, change_id=change_id)) for change_id in ("a", "b", "a", "a")
    ]
    assert [outcome for outcome, _ in (first, other, again, retried)] == ["created", "created", "created", "adopted"]
    assert retried[1].set_id == again[1].set_id != first[1].set_id


def test_a_set_in_error_gets_a_new_one_in_the_same_run(
    aws: Ec2, ec2: EmbeddedEC2, change: SetInputs, their_set: SnapshotSet
) -> None:
    claim_set(aws, their_set, claim="theirs")
    ec2.fail(their_set.snapshot_ids[:1])
    assert served(aws, change) == []
    assert take(aws, change)[0] == "created"


def test_what_the_set_leaves_out_is_told_by_its_tags(
    aws: Ec2, instance: LaunchedInstance, client: EC2Client, change: SetInputs
) -> None:
    data = instance.volume_ids["/dev/sdf"]
    without_data = replace(change, exclude_data_volume_ids=(data,))
    _, first = take(aws, without_data)
    claim_set(aws, first, claim="mine")
    assert served(aws, without_data) == [first.set_id]
    assert served(aws, change) == []
    client.detach_volume(VolumeId=data)
    assert served(aws, change) == [first.set_id]


def test_a_resource_in_a_stack_is_not_served_by_what_another_one_holds(
    aws: Ec2, change: SetInputs, their_set: SnapshotSet
) -> None:
    claim_set(aws, their_set, claim="theirs")
    outcome = take_sets(aws, [change])
    assert outcome.taken[change.instance_id].outcome == "created"


def test_two_hundred_instances_are_found_with_four_calls(
    aws: Ec2, ec2: EmbeddedEC2, client: EC2Client, change: SetInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = client.run_instances(
        ImageId="ami-12345678",
        MinCount=9,
        MaxCount=9,
        BlockDeviceMappings=[{"DeviceName": ROOT_DEVICE, "Ebs": {"VolumeSize": 1}}],
    )["Instances"]
    wanted = [replace(change, instance_id=one["InstanceId"]) for one in launched]
    taken = take_sets(aws, wanted, served_within=DAY).taken
    everything = [snapshot_id for one in taken.values() for snapshot_id in one.set.snapshot_ids]
    client.create_tags(Resources=everything, Tags=[{"Key": tags.CLAIM, "Value": "theirs"}])
    ec2.clear_calls()
    # As if nine were 450.
    for module in ("aws.ec2", "sets.find"):
        monkeypatch.setattr(f"snapset.{module}.FILTER_VALUES", 4)
    found, _ = find_served(aws, wanted, within=DAY)
    assert {key: one.set_id for key, one in found.items()} == {key: one.set.set_id for key, one in taken.items()}
    made = [call["action"] for call in ec2.calls()]
    # The instances, their volumes, the sets of the change, and all their sets.
    counts = {"DescribeInstances": 1, "DescribeVolumes": 3, "DescribeSnapshots": 6}
    assert {action: made.count(action) for action in made} == counts
