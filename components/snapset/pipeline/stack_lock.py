"""The engine's lock of a stack: who holds it, waiting for it, and clearing it.

https://www.pulumi.com/docs/iac/concepts/state-and-backends/
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from pulumi import automation

from snapset import errors
from snapset.pipeline.engine import PROJECT
from snapset.pipeline.state import find_backend
from snapset.retry import Say

_T = TypeVar("_T")
# How many ties in a row are tried again.
_TIES = 8

_LOCK = re.compile(r"created by (.+) \(pid (\d+)\) at (\S+)")
# The engine's words for a lock that is half written: a run was killed, or the disk was full.
_UNREADABLE = re.compile(r"JSON|invalid character|lockContent|nil pointer|parsing time")
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock of a stack: who made it, when (ISO 8601), and, unless Pulumi Cloud keeps it, with which process.

    If it can't be read, holder and time are empty.
    """

    holder: str
    since: str
    pid: int | None = None

    def __str__(self) -> str:
        if not self.since:
            return "a lock that can't be read holds it"
        process = f" (pid {self.pid})" if self.pid is not None else ""
        return f"{self.holder}{process} holds it since {self.since}, {_ago(self.since)}"


def locks_in(text: str) -> list[Lock]:
    """Return the locks that the engine names when it refuses a locked stack. Pulumi Cloud names nobody."""
    return [Lock(holder=who, pid=int(pid), since=since) for who, pid, since in _LOCK.findall(text)]


def describe_locks(locks: Iterable[Lock]) -> str:
    """Return who holds the stack, as far as the locks tell."""
    return "; ".join(map(str, locks)) or "another run holds it"


def is_unreadable(text: str) -> bool:
    """Tell whether this, from the engine, is about a lock that can't be read."""
    return bool(_UNREADABLE.search(text)) and "checkpoint" not in text


def wait_for_lock(attempt: Callable[[], _T], *, timeout: float, interrupted: Event, say: Say) -> _T:
    """Make an attempt at a stack, and repeat it while another run holds the stack, for `timeout` seconds.

    With files and buckets, each of two runs that start at once sees the other's lock and withdraws its own, so both
    would fail: such a tie is tried again whatever the time-out. A lock that is seen twice belongs to a run that is at
    work, or was killed.

    Raises:
        ConcurrentUpdateError: the time is up, or the wait was interrupted.
    """
    deadline = time.monotonic() + timeout
    seen: set[Lock] = set()
    shown: set[Lock] | None = None
    for attempts in itertools.count(1):
        try:
            return attempt()
        except automation.ConcurrentUpdateError as error:
            locks = set(locks_in(str(error)))
            is_tie = bool(locks) and not locks & seen and attempts <= _TIES
            if not is_tie and time.monotonic() >= deadline:
                raise
            if not is_tie and locks != shown:
                say(f"waiting for the stack's lock: {describe_locks(locks)}")
                shown = locks
            seen |= locks
            if interrupted.wait(random.uniform(0.1, 1.5)):
                raise
    raise AssertionError


def find_locks(state: automation.LocalWorkspace, stack: str) -> list[Lock]:
    """Return who holds the stack. Changes nothing.

    Raises:
        NotFoundError: there is no such stack.
    """
    try:
        state.select_stack(stack)
    except automation.StackNotFoundError as error:
        # The engine clears locks only of a stack that exists.
        raise errors.NotFoundError(
            f"looking for stack {stack}: there is none in {find_backend(state)}. If a run was killed while it made "
            f"one, delete the lock that it left there: .pulumi/locks/organization/{PROJECT}/{stack}/*.json"
        ) from error
    if find_backend(state).startswith("http"):
        shown = state.pulumi_command.run(
            ["stack", "get", "--output", "json", "--stack", stack], state.work_dir, state.env_vars
        )
        return _locks_of_cloud(shown.stdout)
    # The engine has no command that shows locks. This one looks for a lock before it finds that the stack exists.
    try:
        state.create_stack(stack)
    except automation.StackAlreadyExistsError:
        return []
    except automation.CommandError as error:
        locks = locks_in(str(error))
        if not locks and not isinstance(error, automation.ConcurrentUpdateError) and not is_unreadable(str(error)):
            raise
        return locks or [Lock(holder="", since="")]
    return []


def clear_locks(state: automation.LocalWorkspace, stack: str) -> None:
    """Clear every lock of the stack. A run that holds one goes on, but no longer keeps others out."""
    automation.Stack.select(stack, state).cancel()


def _locks_of_cloud(stack: str) -> list[Lock]:
    operation = json.loads(stack).get("currentOperation")
    return [Lock(holder=operation["author"], since=operation["started"])] if operation else []


def _ago(since: str) -> str:
    then = datetime.datetime.fromisoformat(since.replace("Z", "+00:00"))
    # The engine has noted a machine's time, not AWS's, and another machine's clock may be ahead of this one's.
    whole = max(0, round((datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()))
    unit, size = next(((unit, size) for unit, size in _UNITS if whole >= 2 * size), _UNITS[-1])
    return f"{whole // size} {unit} ago"
