"""The process of the dynamic providers, as `snapset backup` has the engine start it: it ends soon after its engine.

An engine that is killed before it has told the process what to do would leave it behind: nothing of snapset's would
have been loaded there that could notice.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path
from typing import NoReturn

from snapset.resources.engine_watch import end_with_engine


def find_starter() -> str:
    """Return the command that starts this process; Python's own where snapset was installed without commands.

    Pulumi calls it with `-u -m pulumi.dynamic ADDRESS`.
    """
    starter = Path(sys.executable).with_name("snapset-provider")
    return os.fspath(starter) if os.access(starter, os.X_OK) else sys.executable


def start() -> NoReturn:
    """Become the provider's process, with its output unbuffered, as Pulumi wants it."""
    os.execv(sys.executable, [sys.executable, "-u", "-m", __name__, sys.argv[-1]])  # noqa: S606 - ourselves


def _serve() -> None:
    threading.Thread(target=end_with_engine, args=(sys.argv[-1],), daemon=True).start()
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
