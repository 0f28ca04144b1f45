"""The running Pulumi program: what it shows, whether it is a unit test, and how Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pulumi
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor

from snapset.end import end_now
from snapset.retry import Say
from snapset.text import clean

_WARNING = "warning: "


def is_mocked() -> bool:
    """Tell whether `pulumi.runtime.set_mocks` is in force: a user's unit test, without an engine.

    https://www.pulumi.com/docs/iac/guides/testing/unit/
    """
    return isinstance(get_monitor(), MockMonitor)


def say_in_program(resource: pulumi.Resource | None = None, *, ephemeral: bool = False) -> Say:
    """Return what shows one line of the running program, on the resource's own row if one is given.

    A line that begins with `warning: ` is shown as one, and stays. Safe in any thread: Pulumi's log is not.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()

    def say(text: str) -> None:
        if text.startswith(_WARNING):
            show = partial(pulumi.log.warn, clean(text.removeprefix(_WARNING)), resource)
        else:
            show = partial(pulumi.log.info, clean(text), resource, ephemeral=ephemeral)
        # Nobody sees a line after the program's end.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(show, context=context)

    return say


def end_quietly_on_interrupt() -> None:
    """From here on, end this program without a traceback when it is interrupted.

    Ctrl-C reaches the engine, too, which ends in order. The engine itself interrupts the program once a step has
    failed, and has said why. A handler that the user set stays; a program that runs in a thread, as an inline program
    does, has no say in signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        # In the interpreter's shutdown, Python would answer the engine's interrupt with a traceback of its own.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


@contextmanager
def waiting() -> Iterator[None]:
    """If the program is interrupted inside, tell what becomes of the sets that it waits for."""
    _waits.append(None)
    try:
        yield
    finally:
        _waits.pop()


_waits: list[None] = []


def _end(*_: object) -> None:
    if _waits:
        sys.stderr.write("the run ends here: a set that was taken stays, and the next run waits for it again\n")
    # Not sys.exit(): Pulumi would show a traceback, and wait for its threads.
    end_now(1)
