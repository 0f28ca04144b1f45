"""Threads: the same done to many, four at the same time; and one call beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")

# AWS answers within a few hundred milliseconds, and takes five CreateSnapshots calls a second in the long run. More
# calls at the same time would only compete for the processor.
_AT_ONCE = 4
_SAY_EVERY = 100


def for_each(
    act: Callable[[_T], None],
    items: Sequence[_T],
    *,
    abreast: bool = True,
    say: Callable[[str], None] | None = None,
) -> None:
    """Act on each item.

    Args:
        act: what is done.
        items: to what.
        abreast: with several at the same time; else in order.
        say: told now and then how many are done, such as `200 of 400`.
    """
    if not abreast or len(items) == 1:
        for item in items:
            act(item)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number, _ in enumerate(pool.map(act, items), start=1):
            if say and number % _SAY_EVERY == 0 and number < len(items):
                say(f"{number} of {len(items)}")


async def run_in_thread(call: Callable[[], _T]) -> _T:
    """Run a blocking call beside the event loop, in a thread that an interrupted process does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # raised again where the call is awaited
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The program has ended meanwhile, and nobody awaits the call any more.
            return

    threading.Thread(target=run, daemon=True).start()
    return await future
