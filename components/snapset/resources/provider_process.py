"""The process of the dynamic providers, as `snapset backup` has the engine start it: it ends soon after its engine.

An engine that is killed before it has told the process what to do would leave it behind: nothing of snapset's would
have been loaded there that could notice.
"""

from __future__ import annotations

import io
import os
import runpy
import sys
import threading
from pathlib import Path

from snapset.end import collect_rarely
from snapset.resources.engine_watch import end_with_engine


def find_starter() -> str:
    """Return the command that starts this process; Python's own where snapset was installed without commands.

    Pulumi calls it with `-u -m pulumi.dynamic ADDRESS`.
    """
    starter = Path(sys.executable).with_name("snapset-provider")
    return os.fspath(starter) if os.access(starter, os.X_OK) else sys.executable


def start() -> None:
    """Serve in the place of `python -u -m pulumi.dynamic ADDRESS`, without a second start of Python."""
    address = sys.argv[-1]
    sys.argv[1:] = [address]
    # As -u has it: the engine reads the port from the first line.
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    collect_rarely()
    threading.Thread(target=end_with_engine, args=(address,), daemon=True).start()
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)
