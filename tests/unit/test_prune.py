"""`snapset.sets.prune`: which sets are too many, and what is deleted of them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot
from snapset.emulator.client import EmbeddedEC2
from snapset.sets import tags
from snapset.sets.claims import claim_set
from snapset.sets.deletion import delete_set, is_refusal
from snapset.sets.find import find_sets
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet, group
from snapset.sets.prune import Rule, choose, pin, prune
from snapset.sets.take import take_set

INSTANCES = ["i-0123456789abcdef0", "i-0fedcba9876543210", "i-00000000000000001"]
HOUR = 3600.0


# Everything here is claimed, or older than a rerun would look for, unless a test says otherwise.
def choose_now(sets: Sequence[SnapshotSet], *, adoption: float = HOUR, **rule: Any) -> list[SnapshotSet]:
    return choose(sets, Rule(**rule), adoption=adoption)


@dataclass(frozen=True)
class Made:
    """A set as a test wants it: `age` in hours."""

    instance: int = 0
    age: float = 24
    state: str = "completed"
    claimed: bool = True
    missing: bool = False
    own: bool = True
    archived: bool = False


def sets_of(made: Sequence[Made]) -> list[SnapshotSet]:
    return group(part for number, one in enumerate(made) for part in snapshots_of(one, number))


def snapshots_of(made: Made, number: int) -> list[Snapshot]:
    taken = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=made.age)
    marks = {tags.SET: set_id_of(number), tags.TOKEN: "t", tags.INSTANCE: INSTANCES[made.instance], tags.SNAPSHOT: ""}
    if made.claimed:
        marks |= {tags.CLAIM: "c"}
    marks |= {tags.COUNT: "3" if made.missing else "2"}
    return [
        Snapshot(
            snapshot_id=f"snap-{number:016x}{part}",
            volume_id=f"vol-{part:017x}",
            size_gib=8,
            encrypted=False,
            state=made.state if part else "completed",
            progress="100%",
            start_time=taken.isoformat(),
            owner_id="123456789012",
            is_archived=made.archived,
            tags=marks if made.own else {"Name": "somebody else's"},
        )
        for part in range(2)
    ]


def set_id_of(number: int) -> str:
    return f"set-{number:017x}"


def chosen(made: Sequence[Made], **rule: Any) -> list[int]:
    return [int(found.set_id.removeprefix("set-"), 16) for found in choose_now(sets_of(made), **rule)]


DAYS = [Made(age=24 * day) for day in range(1, 5)]


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ({"keep_last": 1}, [3, 2, 1]),
        ({"keep_last": 3}, [3]),
        ({"keep_last": 4}, []),
        ({"keep_last": 9}, []),
        ({"older_than": 60 * HOUR}, [3, 2]),
        ({"older_than": HOUR}, [3, 2, 1]),
        ({"older_than": 1000 * HOUR}, []),
    ],
)
def test_what_a_rule_leaves_no_room_for_goes_the_oldest_first(rule: dict[str, Any], numbers: list[int]) -> None:
    assert chosen(DAYS, **rule) == numbers


def test_every_instance_is_counted_by_itself() -> None:
    made = [Made(instance=0, age=1), Made(instance=1, age=90), Made(instance=1, age=99), Made(instance=2, age=500)]
    assert chosen(made, keep_last=1) == [2]
    assert chosen(made, older_than=HOUR) == [2]


@pytest.mark.parametrize("rule", [{"keep_last": 1}, {"older_than": 1.0}])
@pytest.mark.parametrize(
    ("newest", "numbers"),
    [
        # The one below it is the newest that has completed.
        (Made(age=2, state="pending"), [2]),
        (Made(age=2, missing=True), [2]),
        (Made(age=2, archived=True), [2]),
        (Made(age=2), [2, 1]),
    ],
)
def test_only_a_whole_completed_set_makes_older_ones_superfluous(
    rule: dict[str, Any], newest: Made, numbers: list[int]
) -> None:
    assert chosen([newest, Made(age=3), Made(age=4)], **rule) == numbers


@pytest.mark.parametrize("rule", [{"keep_last": 1}, {"older_than": 1.0}])
def test_a_pending_set_stays_however_old(rule: dict[str, Any]) -> None:
    assert chosen([Made(age=1), Made(age=99, state="pending"), Made(age=100)], **rule) == [2]


def test_a_set_in_the_archive_is_kept_by_a_rule_as_any_other() -> None:
    assert chosen([Made(age=1), Made(age=48, archived=True), Made(age=72)], keep_daily=2) == [2]


@pytest.mark.parametrize("rule", [{"keep_last": 1}, {"older_than": 1.0}])
def test_what_is_left_of_a_set_goes_once_a_newer_one_has_completed(rule: dict[str, Any]) -> None:
    assert chosen([Made(age=1), Made(age=2, missing=True)], **rule) == [1]
    assert chosen([Made(age=1, missing=True)], **rule) == []


def test_a_failed_set_goes_by_its_age_and_with_what_is_older_than_the_sets_that_are_kept() -> None:
    made = [Made(age=1, state="error"), Made(age=2), Made(age=3, state="error"), Made(age=4)]
    assert chosen(made, older_than=1.0) == [3, 2, 0]
    assert chosen(made, keep_last=1) == [3, 2]
    assert chosen(made, keep_last=2) == []
    assert chosen([Made(state="error")], older_than=1.0) == [0]


@pytest.mark.parametrize("rule", [{"keep_last": 1}, {"older_than": 1.0}])
def test_a_set_that_a_rerun_would_still_adopt_stays(rule: dict[str, Any]) -> None:
    made = [Made(age=0.1), Made(age=0.5, claimed=False), Made(age=2, claimed=False)]
    assert chosen(made, **rule) == [2]


MADE = st.lists(
    st.builds(
        Made,
        instance=st.integers(0, 2),
        age=st.integers(0, 6).map(float),
        state=st.sampled_from(["completed", "completed", "pending", "error"]),
        claimed=st.booleans(),
        missing=st.booleans(),
        own=st.booleans(),
    ),
    max_size=12,
)
RULES = st.one_of(
    st.fixed_dictionaries({"keep_last": st.integers(1, 4)}),
    st.fixed_dictionaries({"older_than": st.floats(0, 6 * HOUR)}),
)


@given(MADE, RULES)
def test_the_newest_completed_set_of_every_instance_is_never_chosen(made: list[Made], rule: dict[str, Any]) -> None:
    sets = sets_of(made)
    going = {found.set_id for found in choose_now(sets, **rule)}
    for instance_id in INSTANCES:
        completed = [found for found in sets if found.instance_id == instance_id and found.state == "completed"]
        assert not {found.set_id for found in completed[: rule.get("keep_last", 1)]} & going


@given(MADE, RULES)
def test_nothing_is_chosen_that_is_not_snapsets_or_is_pending_or_may_still_be_adopted(
    made: list[Made], rule: dict[str, Any]
) -> None:
    for number in chosen(made, **rule):
        one = made[number]
        assert one.own
        assert one.state != "pending"
        assert one.claimed or one.age >= 1


@given(MADE, RULES)
def test_a_second_pass_finds_nothing_more(made: list[Made], rule: dict[str, Any]) -> None:
    sets = sets_of(made)
    going = choose_now(sets, **rule)
    assert choose_now([found for found in sets if found not in going], **rule) == []


@pytest.fixture
def taken(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> list[SnapshotSet]:
    """Three claimed sets of one instance, the oldest first; one that nobody took with snapset beside them."""
    for number in range(3):
        made = take_set(aws, replace(inputs, triggers=number)).set
        claim_set(aws, made, claim=str(number))
        ec2.age(made.snapshot_ids, seconds=(9 - number) * HOUR)
    ec2.ec2().create_snapshots(InstanceSpecification={"InstanceId": inputs.instance_id})
    return find_sets(aws, {})[::-1]


def keep_one(sets: Sequence[SnapshotSet]) -> list[SnapshotSet]:
    return choose_now(sets, keep_last=1)


def left(aws: Ec2) -> list[str]:
    return [found.set_id for found in find_sets(aws, {})][::-1]


def test_the_chosen_are_deleted_and_no_other(aws: Ec2, ec2: EmbeddedEC2, taken: list[SnapshotSet]) -> None:
    done = list(prune(aws, keep_one(taken[::-1]), choice=keep_one))
    assert [(pruned.chosen.set_id, pruned.kept) for pruned in done] == [(found.set_id, {}) for found in taken[:2]]
    assert [sorted(pruned.deleted) for pruned in done] == [sorted(found.snapshot_ids) for found in taken[:2]]
    assert left(aws) == [taken[2].set_id]
    assert len(ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 6


def test_a_set_that_became_the_newest_meanwhile_stays(aws: Ec2, taken: list[SnapshotSet]) -> None:
    going = keep_one(taken[::-1])
    delete_set(aws, taken[2])
    first, second = prune(aws, going, choice=keep_one)
    assert (first.chosen.set_id, first.kept) == (taken[0].set_id, {})
    assert (second.deleted, set(second.kept)) == ((), set(taken[1].snapshot_ids))
    assert left(aws) == [taken[1].set_id]


def test_a_set_that_is_gone_by_now_counts_as_deleted(aws: Ec2, ec2: EmbeddedEC2, taken: list[SnapshotSet]) -> None:
    going = keep_one(taken[::-1])
    delete_set(aws, taken[0])
    ec2.clear_calls()
    assert [pruned.kept for pruned in prune(aws, going, choice=keep_one)] == [{}, {}]
    assert len(ec2.calls("DeleteSnapshot")) == 3


def test_a_refusal_is_told_from_a_failure_and_a_set_that_aws_keeps_does_not_keep_the_others(
    aws: Ec2, ec2: EmbeddedEC2, taken: list[SnapshotSet]
) -> None:
    denied, locked, _ = taken[0].snapshot_ids
    ec2.lock([locked])
    ec2.fault(action="DeleteSnapshot", kind="deny", match=denied)
    first, second = prune(aws, keep_one(taken[::-1]), choice=keep_one)
    assert {key: is_refusal(error) for key, error in first.kept.items()} == {denied: False, locked: True}
    assert second.kept == {}


GFS: list[tuple[dict[str, Any], list[int]]] = [
    # By age in hours, at noon: two today, one on each of the three days before.
    ({"keep_daily": 2}, [4, 3, 1]),
    ({"keep_daily": 9}, [1]),
    ({"keep_last": 2, "keep_daily": 2}, [4, 3]),
    ({"keep_weekly": 1}, [4, 3, 2, 1]),
    ({"keep_monthly": 9, "keep_last": 3}, [4, 3]),
    ({"keep_daily": 2, "older_than": 60 * HOUR}, [4]),
]


@pytest.mark.parametrize(("rule", "numbers"), GFS)
def test_of_each_day_week_and_month_the_newest_is_kept(
    rule: dict[str, Any], numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Friday in the middle of a month.
    noon = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)
    monkeypatch.setattr("snapset.aws.clock._here", lambda: noon)
    made = [Made(age=age) for age in (1, 5, 25, 49, 73)]
    sets = sets_of(made)
    shift = datetime.datetime.now(datetime.timezone.utc) - noon
    moved = [
        replace(snapshot, start_time=(datetime.datetime.fromisoformat(snapshot.start_time) - shift).isoformat())
        for found in sets
        for snapshot in found.snapshots
    ]
    assert [int(found.set_id.removeprefix("set-"), 16) for found in choose_now(group(moved), **rule)] == numbers


def test_a_pinned_set_is_never_chosen(aws: Ec2, inputs: SetInputs) -> None:
    taken = []
    for number in range(2):
        made = take_set(aws, replace(inputs, triggers=number)).set
        claim_set(aws, made, claim=tags.new_claim())
        taken.append(made.set_id)
    older = find_sets(aws, {})[-1].set_id

    def chosen_now() -> list[str]:
        return [found.set_id for found in choose_now(find_sets(aws, {}), keep_last=1)]

    assert chosen_now() == [older]
    pin(aws, [older], pinned=True)
    assert chosen_now() == []
    pin(aws, [older], pinned=False)
    assert chosen_now() == [older]
    with pytest.raises(errors.NotFoundError):
        pin(aws, [older, "set-00000000000000000"], pinned=True)
    assert chosen_now() == [older]
