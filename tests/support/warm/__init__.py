"""A process that has imported what `snapset`, programs and providers need, and forks for each of them.

The engine starts Python two or three times in every run, and most of what each of them does is importing: two seconds
of CPU. `python3` beside this file is what the engine is told to start; `snapset` finds its provider there, too.
"""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
from pathlib import Path

PYTHON = Path(__file__).with_name("python3")


@functools.cache
def start() -> str:
    """Start the process, once; return where it listens. It ends with this one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.warm"],
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).resolve().parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is not for it.
        start_new_session=True,
    )
    assert process.stdout
    path = process.stdout.readline().strip()
    assert path, "the process that forks does not start"
    # It ends when its stdin is closed.
    atexit.register(process.communicate)
    return path
