"""`wait_for_set`: what it waits for, what it says meanwhile, what it survives and what it does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from snapset import errors
from snapset.aws.ec2 import Ec2, Snapshot
from snapset.emulator.client import EmbeddedEC2
from snapset.sets import wait as waiting
from snapset.sets.inputs import SetInputs

LONG_AGO = "2020-01-01T00:00:00.000Z"
FOREVER = float("inf")
SOON = "SNAPSET_CONSISTENCY_SECONDS"

Wait = Callable[..., Mapping[str, Snapshot]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(waiting, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def taken(aws: Ec2, ec2: EmbeddedEC2, inputs: SetInputs) -> list[Snapshot]:
    """A set that does not complete by itself."""
    ec2.settings(snapshot_seconds=FOREVER)
    return aws.create_snapshots(inputs, {"snapset:set": "set-1"})


@pytest.fixture
def ids(taken: list[Snapshot]) -> list[str]:
    return [each.snapshot_id for each in taken]


@pytest.fixture
def wait(aws: Ec2, taken: list[Snapshot], ids: list[str]) -> Wait:
    """Wait for the set; each line of the report is handed to `report`."""

    def run(report: Callable[[str], None], **changed: Any) -> Mapping[str, Snapshot]:
        async def look_and_wait() -> Mapping[str, Snapshot]:
            poller = waiting.Poller(aws)
            seen = changed.pop("seen", None)
            arguments: dict[str, Any] = {
                "set_id": "set-1",
                "snapshot_ids": ids,
                "start_time": taken[0].start_time,
                "seen": await poller.look(ids) if seen is None else seen,
                "timeout": 30,
                "report": report,
                **changed,
            }
            return await waiting.wait_for_set(poller.look, **arguments)

        return asyncio.run(look_and_wait())

    return run


def after(line: int, act: Callable[[], Any]) -> tuple[list[str], Callable[[str], None]]:
    """A report that acts when it is told its n-th line, and the lines that it was told."""
    lines: list[str] = []

    def report(text: str) -> None:
        lines.append(text)
        if len(lines) == line:
            act()

    return lines, report


def test_it_waits_until_all_have_completed(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    lines, report = after(1, ec2.complete)
    seen = wait(report)
    assert list(seen) == ids
    assert {each.state for each in seen.values()} == {"completed"}
    assert lines == [
        "set-1: 0 of 3 snapshots completed, 0%",
        "set-1: 3 of 3 snapshots completed, 100%",
    ]


def test_it_reports_each_change_once(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    looks_before: list[int] = []
    lines: list[str] = []

    def report(text: str) -> None:
        lines.append(text)
        looks_before.append(len(ec2.calls("DescribeSnapshots")))
        ec2.complete(ids[len(lines) - 1 : len(lines)])

    wait(report)
    assert [line.split()[1] for line in lines] == ["0", "1", "2", "3"]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["0%", "33%", "66%", "100%"]
    assert looks_before == sorted(set(looks_before))


def test_without_a_change_nothing_is_said_again(wait: Wait, ec2: EmbeddedEC2) -> None:
    lines: list[str] = []
    with pytest.raises(errors.WaitTimeoutError):
        wait(lines.append, timeout=0.5)
    assert len(ec2.calls("DescribeSnapshots")) > 4
    assert len(lines) == 1


def test_a_set_that_is_complete_at_the_first_look_is_not_waited_for(wait: Wait, ec2: EmbeddedEC2) -> None:
    ec2.complete()
    lines: list[str] = []
    assert len(wait(lines.append)) == 3
    assert lines == []
    assert len(ec2.calls("DescribeSnapshots")) == 1


def test_a_set_in_error_fails_with_the_reason_of_aws(wait: Wait, ec2: EmbeddedEC2, ids: list[str]) -> None:
    _, report = after(1, lambda: ec2.fail(ids[:1], message="Given key ID is not accessible."))
    with pytest.raises(errors.SetFailedError) as caught:
        wait(report)
    text = str(caught.value)
    assert text.startswith("waiting for set-1: snap-")
    assert "is in error: Given key ID is not accessible. There is no backup: " in text
    assert caught.value.exit_code == 4


def test_an_error_without_a_reason_says_so(wait: Wait, taken: list[Snapshot]) -> None:
    failed = {each.snapshot_id: replace(each, state="error") for each in taken}
    with pytest.raises(errors.SetFailedError, match="is in error: AWS gives no reason"):
        wait(print, seen=failed)


def test_when_the_time_is_up_it_says_how_far_the_set_is_and_that_it_goes_on(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str]
) -> None:
    ec2.complete(ids[:1])
    with pytest.raises(errors.WaitTimeoutError) as caught:
        wait(print, timeout=0)
    assert str(caught.value) == (
        "waiting for set-1: 1 of 3 snapshots completed, 33% when the 0 s were up. The snapshots go on: "
        "`snapset show set-1` looks at them, and `snapset wait set-1` or the next run waits for them again."
    )
    assert caught.value.exit_code == 4


def test_old_snapshots_that_are_missing_are_gone_and_not_waited_for(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str]
) -> None:
    ec2.complete()
    ec2.ec2().delete_snapshot(SnapshotId=ids[0])
    assert list(wait(print, start_time=LONG_AGO)) == ids[1:]
    for snapshot_id in ids[1:]:
        ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    assert wait(print, start_time=LONG_AGO) == {}


def test_young_snapshots_that_are_missing_may_only_not_be_visible_yet(
    wait: Wait, ec2: EmbeddedEC2, ids: list[str]
) -> None:
    ec2.complete()
    ec2.settings(visibility_seconds=600)
    lines, report = after(1, lambda: ec2.settings(visibility_seconds=0))
    assert list(wait(report)) == ids
    assert lines[0] == "set-1: 0 of 3 snapshots completed, 0%"


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
    lines, report = after(1, lambda: ec2.fault(action="DescribeSnapshots", times=3, **trouble))

    def complete_later(text: str) -> None:
        report(text)
        if len(lines) == 2:
            ec2.complete()

    assert list(wait(complete_later)) == ids
    assert lines[1].startswith("set-1: 0 of 3 snapshots completed, 0% (describing snapshots in us-east-1: ")
    assert lines[-1] == "set-1: 3 of 3 snapshots completed, 100%"


def test_what_was_seen_before_the_trouble_is_not_the_whole_set(
    ec2: EmbeddedEC2, taken: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {each.snapshot_id: replace(each, state="completed", progress="100%") for each in taken}
    first, *_ = done

    async def look(snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        if SOON not in os.environ:
            # So long that what is missing can't be young any more.
            monkeypatch.setenv(SOON, "0")
            raise errors.NoAnswerError("no answer")
        return done

    monkeypatch.delenv(SOON, raising=False)
    seen = asyncio.run(
        waiting.wait_for_set(
            look,
            set_id="set-1",
            snapshot_ids=list(done),
            start_time=taken[0].start_time,
            seen={first: done[first]},
            timeout=30,
            report=print,
        )
    )
    assert seen == done


def test_a_refused_permission_is_not_waited_for(wait: Wait, ec2: EmbeddedEC2) -> None:
    _, report = after(1, lambda: ec2.fault(action="DescribeSnapshots", kind="deny"))
    with pytest.raises(errors.NotPermittedError, match=r"Allow ec2:DescribeSnapshots\."):
        wait(report)
