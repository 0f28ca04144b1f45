"""What a program runs in: a stack or a user's unit test; the names of its resources; and how Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor

from snapset.process import end_now
from snapset.retry import Say


def is_mocked() -> bool:
    """Tell whether `pulumi.runtime.set_mocks` is in force: a user's unit test, without an engine.

    https://www.pulumi.com/docs/iac/guides/testing/unit/
    """
    return isinstance(get_monitor(), MockMonitor)


def say_in_program(resource: pulumi.Resource | None = None, *, ephemeral: bool = False) -> Say:
    """Return what shows one line of the running program, on the resource's own row if one is given.

    Safe in any thread: Pulumi's log is not.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()

    def say(text: str) -> None:
        show = partial(pulumi.log.info, text, resource, ephemeral=ephemeral)
        # Nobody sees what is said after the program's end.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(show, context=context)

    return say


async def scope_of(name: str, type_: str, opts: pulumi.ResourceOptions | None) -> str:
    """Return whom a set, or its volumes, are for: the organization and the URN of the resource, parents included."""
    urn = pulumi.create_urn(name, type_, parent=opts.parent if opts else None)
    # Not the output itself: the resource would depend on its parent, which waits for it.
    return f"{pulumi.get_organization()}/{await urn.future()}"


def refuse_unknown(given: Mapping[str, Any], args: type, *, of: str) -> None:
    """Raise a `RunError`, which Pulumi shows in one line, if an input is not among those of the TypedDict `args`."""
    known = args.__annotations__
    if unknown := ", ".join(sorted(given.keys() - known.keys())):
        raise pulumi.RunError(
            f"InputError: reading {of}: there is no input {unknown}. Use {', '.join(sorted(known))}."
        )


def end_quietly_on_interrupt() -> None:
    """From here on, let an interrupt end this program quietly, where Python would end it with a traceback.

    Ctrl-C reaches the engine, too, which ends in order. The engine itself interrupts the program once a step has
    failed, and has said why. A handler that the user set stays; a program that runs in a thread, as an inline program
    does, has no say in signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def waiting() -> Iterator[None]:
    """Say, if the program is interrupted inside, what becomes of the sets that it waits for."""
    _waits.append(None)
    try:
        yield
    finally:
        _waits.pop()


_waits: list[None] = []


def _end(*_: object) -> None:
    if _waits:
        sys.stderr.write("interrupted: a set that was taken stays, and the next run waits for it again\n")
    # Not sys.exit(): Pulumi would show a traceback, and wait for its threads.
    end_now(1)
