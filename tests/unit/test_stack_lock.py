"""Locks as the engine words them, and two runs that keep each other out."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from threading import Event

import pytest
from pulumi import automation
from pulumi.automation.errors import create_command_error
from snapset.pipeline.stack_lock import Lock, _locks_of_cloud, locks_in, wait_for_lock

MINE = "s3://state/.pulumi/locks/organization/snapset/c/6f0.json?region=us-east-1: created by ci@runner-7 (pid 7) at "
SINCE = "2026-01-02T03:04:05Z"


class Unhurried(Event):
    """An event that is not waited for."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def conflict(text: str) -> automation.CommandError:
    return create_command_error(automation.CommandResult("", f"error: {text}", 255))


def locked_by(*pids: int) -> automation.CommandError:
    held = [f"\n  file:///s/{pid}.json: created by ci@runner-7 (pid {pid}) at {SINCE}" for pid in pids]
    return conflict(f"the stack is currently locked by {len(pids)} lock(s). Either wait.{''.join(held)}")


def attempt_that_meets(*failures: automation.CommandError) -> tuple[Callable[[], str], list[int]]:
    """An attempt that fails so often, then succeeds; and the list that grows with each."""
    attempts: list[int] = []

    def attempt() -> str:
        attempts.append(len(attempts))
        if len(attempts) <= len(failures):
            raise failures[len(attempts) - 1]
        return "done"

    return attempt, attempts


@pytest.mark.parametrize("who", ["ci@runner-7", "build agent@runner-7", r"CORP\jane.doe@host.example"])
def test_a_lock_is_read_whoever_made_it_and_wherever_it_lies(who: str) -> None:
    text = f"locked by 1 lock(s).\n  {MINE.replace('ci@runner-7', who)}2026-01-02T03:04:05+01:00"
    assert locks_in(text) == [Lock(holder=who, pid=7, since="2026-01-02T03:04:05+01:00")]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-90, "0 s"), (1, "1 s"), (119, "119 s"), (121, "2 min"), (7_300, "2 h"), (200_000, "2 d")],
)
def test_the_age_of_a_lock_is_said_in_a_unit_that_fits_however_its_zone_is_written(seconds: int, said: str) -> None:
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    for written in (since.isoformat(), since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")):
        assert str(Lock(holder="ci", since=written)).endswith(f", {said} ago")


def test_pulumi_cloud_says_who_is_at_work() -> None:
    # As the engine's `stack get --output json` has it; the real one can't be had here.
    operation = '{"kind": "update", "author": "jane", "started": "2026-01-02T03:04:05.000Z"}'
    assert _locks_of_cloud(f'{{"stack": "c", "currentOperation": {operation}}}') == [
        Lock(holder="jane", since="2026-01-02T03:04:05.000Z")
    ]
    assert _locks_of_cloud('{"stack": "c"}') == []


def test_who_meets_a_lock_that_is_gone_the_next_time_gets_through() -> None:
    attempt, attempts = attempt_that_meets(locked_by(1), locked_by(2), locked_by(3, 4))
    assert wait_for_lock(attempt, timeout=0, interrupted=Unhurried(), say=print) == "done"
    assert len(attempts) == 4


@pytest.mark.parametrize(
    ("failures", "tried"),
    [
        ([locked_by(1), locked_by(1)], 2),
        ([locked_by(1), locked_by(2), locked_by(3, 1)], 3),
        ([conflict("[409] Conflict: Another update is currently in progress.")], 1),
    ],
)
def test_who_meets_the_lock_of_a_run_at_work_is_kept_out(failures: list[automation.CommandError], tried: int) -> None:
    attempt, attempts = attempt_that_meets(*failures)
    with pytest.raises(automation.ConcurrentUpdateError):
        wait_for_lock(attempt, timeout=0, interrupted=Unhurried(), say=print)
    assert len(attempts) == tried


def test_with_time_the_end_of_the_other_run_is_waited_for_and_its_holder_is_said_once() -> None:
    attempt, attempts = attempt_that_meets(*[locked_by(1)] * 5, locked_by(2))
    said: list[str] = []
    assert wait_for_lock(attempt, timeout=60, interrupted=Unhurried(), say=said.append) == "done"
    assert len(attempts) == 7
    [text] = said
    assert text.startswith("waiting for the stack's lock: ci@runner-7 (pid 1) holds it since ")


def test_an_interrupted_run_does_not_try_again() -> None:
    attempt, attempts = attempt_that_meets(locked_by(1))
    interrupted = Event()
    interrupted.set()
    with pytest.raises(automation.ConcurrentUpdateError):
        wait_for_lock(attempt, timeout=60, interrupted=interrupted, say=print)
    assert len(attempts) == 1
