"""What a program runs in: a stack or a user's unit test; the names of its resources; and how Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import contextvars
import difflib
import functools
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor

from snapset.end import end_now
from snapset.retry import Say
from snapset.text import clean

_P = ParamSpec("_P")
_T = TypeVar("_T")


def is_mocked() -> bool:
    """Tell whether `pulumi.runtime.set_mocks` is in force: a user's unit test, without an engine.

    https://www.pulumi.com/docs/iac/guides/testing/unit/
    """
    return isinstance(get_monitor(), MockMonitor)


# The sets that a program restores from. Each program has a monitor of its own.
_in_use: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def note_use(set_id: str) -> None:
    """Note that the program restores from the set, so that no replacement deletes it."""
    _in_use.setdefault(get_monitor(), set()).add(set_id)


async def sets_in_use() -> list[str]:
    """Return the sets that were noted: as an input, by the end of the program, wherever in it they were."""
    return sorted(_in_use.get(get_monitor(), ()))


def say_in_program(resource: pulumi.Resource | None = None, *, ephemeral: bool = False) -> Say:
    """Return what shows one line of the running program, on the resource's own row if one is given.

    Safe in any thread: Pulumi's log is not.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()

    def say(text: str) -> None:
        show = partial(pulumi.log.info, clean(text), resource, ephemeral=ephemeral)
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
    known = sorted(args.__annotations__)
    for name in sorted(given.keys() - set(known)):
        near = [*difflib.get_close_matches(name, known, n=1), *(each for each in known if name.startswith(each))]
        hint = f"Did you mean {near[0]}?" if near else f"Use {', '.join(known)}."
        raise pulumi.RunError(f"InputError: reading {of}: there is no input {name}. {hint}")


def in_one_line(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Have Pulumi show in one line that a function, or a class, was called with arguments that it does not take."""
    signature = inspect.signature(function)
    called = function.__qualname__.removesuffix(".__init__")
    takes = ", ".join(name for name in signature.parameters if name != "self")

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise pulumi.RunError(f"InputError: calling {called}: {error}. It takes {takes}.") from None
        return function(*args, **kwargs)

    return call


def gather_inputs(
    args: Mapping[str, Any] | None, inputs: Mapping[str, Any], kind: type, *, of: str, needs: str
) -> dict[str, Any]:
    """Return the inputs of a component, given as one value, as keywords, or both; a keyword wins.

    Args:
        args: the one value.
        inputs: the keywords.
        kind: the TypedDict that has all of them.
        of: the component's class, for messages.
        needs: the input that must be there.

    Raises:
        RunError: `args` is no mapping, an input is not known, or the needed one is missing. Shown in one line.
    """
    if args is not None and not isinstance(args, Mapping):
        raise pulumi.RunError(f"InputError: reading {of}: the inputs are keywords. Write {of}(name, {needs}=...).")
    given = {**(args or {}), **inputs}
    refuse_unknown(given, kind, of=of)
    if given.get(needs) is None:
        raise pulumi.RunError(f"InputError: reading {of}: {needs} is missing. Write {of}(name, {needs}=...).")
    if not isinstance(given[needs], (pulumi.Resource, pulumi.Output)) and hasattr(given[needs], "id"):
        kind_of_it = type(given[needs]).__name__
        raise pulumi.RunError(f"InputError: reading {of}: {needs} is of type {kind_of_it}. Give the id in it.")
    return given


def ignored_of(opts: pulumi.ResourceOptions | None, **renamed: str) -> list[str] | None:
    """Return what `ignore_changes` of a component means for the resource inside: Pulumi does not hand it down.

    Args:
        opts: the component's.
        renamed: what an input of the component is called inside, where it differs.
    """
    return [renamed.get(name, name) for name in (opts and opts.ignore_changes) or []] or None


def plain(value: Any, *, name: str) -> Any:
    """Return the value of an input, checked as far as it is known by now, and later as a whole.

    Raises:
        RunError: it, or something in it, can't be a part of the state, or could not be read from there again.
    """
    check = partial(plain, name=name)
    if isinstance(value, pulumi.Output):
        return value.apply(check)
    if isinstance(value, Mapping):
        return {key: check(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [check(item) for item in value]
    if isinstance(value, (pulumi.Asset, pulumi.Archive)):
        advice = "Give a hash of the content, such as hashlib.sha256(data).hexdigest()."
        raise pulumi.RunError(f"InputError: reading {name}: a Pulumi asset can't be kept in the state. {advice}")
    if value is None or isinstance(value, (str, bool, int, float, pulumi.Resource)) or inspect.isawaitable(value):
        return value
    kind = type(value).__name__
    raise pulumi.RunError(f"InputError: reading {name}: a value of type {kind} can't be kept. Give a string.")


async def secrets_among(given: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs that are secret, so that no message shows their values."""
    return [name for name, value in given.items() if await _is_secret(value)]


async def _is_secret(value: Any) -> bool:
    if isinstance(value, pulumi.Output):
        return await value.is_secret()
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any([await _is_secret(item) for item in value])
    return False


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
