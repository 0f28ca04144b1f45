"""End this process at once."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def end_now(code: int) -> NoReturn:
    """Flush the output and end, without the interpreter's shutdown: with gRPC and boto3 loaded, that takes 250 ms."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
