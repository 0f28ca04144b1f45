"""Look in EC2 for sets that serve a change already, while Pulumi is imported. Imports no Pulumi."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from snapset.aws.ec2 import connect
from snapset.pipeline.request import BackupRequest
from snapset.retry import Say
from snapset.sets import attempts
from snapset.sets.model import SnapshotSet
from snapset.sets.preflight import Inspection
from snapset.sets.served import find_served

_T = TypeVar("_T")
Look = Future[tuple[dict[str, SnapshotSet], Inspection]]


def start_looking(request: BackupRequest, *, say: Say) -> Look:
    """Begin to look for the set that serves each instance; see `snapset.sets.served.find_served`."""

    def look() -> tuple[dict[str, SnapshotSet], Inspection]:
        ec2, cut_off = connect(request.settings, say=say), attempts.cut_off_elsewhere()
        return find_served(ec2, request.wanted, within=request.served_within, cut_off=cut_off)

    return start_thread(look)


def start_thread(call: Callable[[], _T]) -> Future[_T]:
    """Make a call in a thread that does not keep the process from ending, as a pool's would."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised again where the result is awaited
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
