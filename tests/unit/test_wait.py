"""`wait_for_set`: what it waits for, what it says meanwhile, what it survives and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2
from snapset.aws.records import Snapshot
from snapset.emulator.client import EmbeddedEC2
from snapset.limits import Limits
from snapset.sets import wait as waiting
from snapset.sets.inputs import SetInputs
from snapset.sets.model import SnapshotSet

FOREVER = float("inf")
SET = "set-0123456789abcdef0"

Wait = Callable[..., SnapshotSet]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(waiting, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def taken(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> SnapshotSet:
    """A set that does not complete by itself."""
    ec2.settings(snapshot_seconds=FOREVER)
    made = aws.create_snapshots(inputs.request(set_id=SET))
    return SnapshotSet.of(made, set_id=SET, instance_id=inputs.instance_id, count=len(made))


@pytest.fixture
def ids(taken: SnapshotSet) -> list[str]:
    return taken.snapshot_ids


@pytest.fixture
def wait(aws: Ec2, taken: SnapshotSet) -> Wait:
    """Wait for the set; `say` is told every line."""

    def run(
        say: Callable[[str], None],
        *,
        taken: SnapshotSet = taken,
        seen: SnapshotSet | None = None,
        timeout: float = 30,
        consistency: float = 20,
        throttle: float = 20,
        until: Literal["seen", "completed"] = "completed",
    ) -> SnapshotSet:
        ec2 = Ec2(aws.settings, Limits(consistency=consistency, throttle=throttle), say)

        async def poll_and_wait() -> SnapshotSet:
            first = seen or await waiting.poll_set(ec2, taken)
            return await waiting.wait_for_set(ec2, taken, timeout=timeout, until=until, seen=first)

        return asyncio.run(poll_and_wait())

    return run


def after(line: int, act: Callable[[], Any]) -> tuple[list[str], Callable[[str], None]]:
    """A `say` that acts when it is told its n-th line, and the lines that it was told."""
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        if len(lines) == line:
            act()

    return lines, say


def test_it_waits_until_all_have_completed(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    lines, say = after(1, ec2.complete)
    seen = wait(say)
    assert seen.snapshot_ids == ids
    assert {snapshot.state for snapshot in seen.snapshots} == {"completed"}
    assert seen.state == "completed"
    assert lines == [
        f"{SET}: 0 of 3 snapshots completed, 0%",
        f"{SET}: 3 of 3 snapshots completed, 100%",
    ]


def test_it_reports_each_change_once(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    polls_before: list[int] = []
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        polls_before.append(len(ec2.calls("DescribeSnapshots")))
        ec2.complete(ids[len(lines) - 1 : len(lines)])

    wait(say)
    assert [line.split()[1] for line in lines] == ["0", "1", "2", "3"]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["0%", "33%", "66%", "100%"]
    assert polls_before == sorted(set(polls_before))


def test_without_a_change_nothing_is_said_again(wait: Wait, ec2: EmbeddedEC2) -> None:
    lines: list[str] = []
    with pytest.raises(errors.WaitTimeoutError):
        wait(lines.append, timeout=1)
    assert len(ec2.calls("DescribeSnapshots")) > 2
    assert len(lines) == 1


def test_a_set_that_is_complete_at_the_first_poll_is_not_waited_for(wait: Wait, ec2: EmbeddedEC2) -> None:
    ec2.complete()
    lines: list[str] = []
    assert wait(lines.append).state == "completed"
    assert lines == []
    assert len(ec2.calls("DescribeSnapshots")) == 1


def test_a_set_in_error_fails_with_the_reason_of_aws(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    _, say = after(1, lambda: ec2.fail(ids[:1], message="Given key ID is not accessible."))
    with pytest.raises(errors.SetFailedError) as caught:
        wait(say)
    text = str(caught.value)
    assert text.startswith(f"waiting for {SET}: snap-")
    assert "is in error: Given key ID is not accessible. There is no backup: " in text
    assert caught.value.exit_code == 4


def test_an_error_without_a_reason_says_so(wait: Wait, taken: SnapshotSet) -> None:
    failed = taken.as_seen([replace(snapshot, state="error") for snapshot in taken.snapshots])
    with pytest.raises(errors.SetFailedError, match="is in error: AWS gives no reason"):
        wait(print, seen=failed)


def test_a_set_with_a_snapshot_in_the_recycle_bin_is_no_backup(wait: Wait, taken: SnapshotSet) -> None:
    [first, *rest] = taken.snapshots
    with pytest.raises(
        errors.SetFailedError, match=r"is in the Recycle Bin\. There is no backup: .* To bring it back: aws"
    ):
        wait(print, seen=taken.as_seen([replace(first, state="recoverable"), *rest]))


def test_a_snapshot_that_comes_back_from_the_recycle_bin_is_waited_for_and_named(
    wait: Wait, ec2: EmbeddedEC2, taken: SnapshotSet
) -> None:
    lines, say = after(1, ec2.complete)
    [first, *rest] = taken.snapshots
    wait(say, seen=taken.as_seen([replace(first, state="recovering"), *rest]))
    assert lines[0] == f"{SET}: 0 of 3 snapshots completed, 0%, {first.snapshot_id} is recovering"


def test_a_set_in_the_archive_has_completed(wait: Wait, taken: SnapshotSet) -> None:
    done = taken.as_seen([replace(one, state="completed", is_archived=True) for one in taken.snapshots])
    assert wait(print, seen=done) == done


def test_when_the_time_is_up_it_says_how_far_the_set_is_and_that_it_goes_on(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str]
) -> None:
    ec2.complete(ids[:1])
    with pytest.raises(errors.WaitTimeoutError) as caught:
        wait(print, timeout=0)
    assert str(caught.value) == (
        f"waiting for {SET}: 1 of 3 snapshots completed, 33% when the 0 s were up. The snapshots go on: "
        f"`snapset show {SET}` looks at them, and `snapset wait {SET}` or the next run waits for them again."
    )
    assert caught.value.exit_code == 4


def test_a_set_of_which_a_snapshot_is_not_seen_for_too_long_is_no_backup(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str]
) -> None:
    ec2.complete()
    ec2.ec2().delete_snapshot(SnapshotId=ids[0])
    with pytest.raises(errors.SetFailedError, match=f"^waiting for {SET}: {ids[0]} no longer exists. There is no "):
        wait(print, consistency=0.2)
    for snapshot_id in ids[1:]:
        ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    with pytest.raises(errors.SetFailedError, match=f"{', '.join(ids)} no longer exist"):
        wait(print, consistency=0.2)


def test_a_set_that_was_found_in_part_is_no_backup(wait: Wait, ec2: EmbeddedEC2, taken: SnapshotSet) -> None:
    ec2.complete()
    part = replace(taken, snapshots=taken.snapshots[1:])
    with pytest.raises(errors.SetFailedError, match="2 of 3 snapshots are left"):
        wait(print, taken=part, consistency=0.2)
    with pytest.raises(errors.SetFailedError, match="3 of an unknown number of snapshots are left"):
        wait(print, taken=replace(taken, count=None), consistency=0.2)


def test_without_an_answer_it_gives_up_in_the_end_and_never_calls_the_set_gone(wait: Wait, ec2: EmbeddedEC2) -> None:
    _, say = after(1, lambda: ec2.fault(action="DescribeSnapshots", kind="error", code="InternalError", times=None))
    with pytest.raises(errors.NoAnswerError):
        wait(say, consistency=0, throttle=0.5)


def test_until_seen_it_waits_for_no_completion(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    ec2.settings(visibility_seconds=600)
    _, say = after(1, lambda: ec2.settings(visibility_seconds=0))
    seen = wait(say, until="seen")
    assert (seen.snapshot_ids, seen.state) == (ids, "pending")
    ec2.fail(ids[:1])
    with pytest.raises(errors.SetFailedError, match="is in error"):
        wait(print, until="seen")


def test_young_snapshots_that_are_missing_may_only_not_be_visible_yet(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str]
) -> None:
    ec2.complete()
    ec2.settings(visibility_seconds=600)
    lines, say = after(1, lambda: ec2.settings(visibility_seconds=0))
    assert wait(say).snapshot_ids == ids
    assert lines[0] == f"{SET}: 0 of 3 snapshots completed, 0%"


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "error", "code": "InternalError"},
        {"kind": "error", "code": "RequestLimitExceeded"},
        {"kind": "close_before"},
    ],
)
def test_trouble_on_the_way_is_reported_and_survived(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str], trouble: dict[str, Any]
) -> None:
    lines, say = after(1, lambda: ec2.fault(action="DescribeSnapshots", times=3, **trouble))

    def complete_later(text: str) -> None:
        say(text)
        if len(lines) == 2:
            ec2.complete()

    assert wait(complete_later).snapshot_ids == ids
    assert lines[1].startswith(f"{SET}: 0 of 3 snapshots completed, 0% (describing snapshots in us-east-1: ")
    assert lines[-1] == f"{SET}: 3 of 3 snapshots completed, 100%"


def test_what_was_seen_before_the_trouble_is_not_the_whole_set(
    wait: Wait, taken: SnapshotSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [replace(snapshot, state="completed", progress="100%") for snapshot in taken.snapshots]
    polled: list[Sequence[str]] = []

    async def poll(_poller: waiting.Poller, snapshot_ids: Sequence[str]) -> list[Snapshot]:
        polled.append(snapshot_ids)
        if len(polled) == 1:
            # So long that what is missing would count as gone.
            await asyncio.sleep(0.2)
            raise errors.NoAnswerError("no answer")
        return done

    monkeypatch.setattr(waiting.Poller, "poll", poll)
    assert wait(print, seen=taken.as_seen(done[:1]), consistency=0.1).snapshots == tuple(done)
    assert polled == [taken.snapshot_ids] * 2


def test_each_answer_is_reported(aws: Ec2, ec2: EmbeddedEC2, taken: SnapshotSet) -> None:
    reported: list[SnapshotSet] = []

    def report(seen: SnapshotSet) -> None:
        reported.append(seen)
        ec2.complete()

    seen = asyncio.run(waiting.wait_for_set(aws, taken, timeout=30, report=report))
    assert [found.state for found in reported] == ["pending", "completed"]
    assert reported[-1] == seen


def test_a_refused_permission_is_not_waited_for(wait: Wait, ec2: EmbeddedEC2) -> None:
    _, say = after(1, lambda: ec2.fault(action="DescribeSnapshots", kind="deny"))
    with pytest.raises(errors.NotPermittedError, match=r"Allow ec2:DescribeSnapshots\."):
        wait(say)
