"""End this process at once."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def end_now(code: int) -> NoReturn:
    """Flush the output and end, without the interpreter's shutdown: with gRPC and boto3 loaded, that takes 250 ms."""
    for stream in (sys.stdout, sys.stderr):
        # Nobody may be reading any more.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
