"""A process that has imported what `snapset`, programs and providers need, and forks for each of them.

The engine starts Python two or three times in every run, and most of what each of them does is importing: two seconds
of CPU. `python3` beside this file is what the engine is told to start; `snapset` finds its provider there, too.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = Path(__file__).with_name("python3")
# What `python3` becomes where it does not know the answer.
CLIENT = PYTHON.with_name("client.py")


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
    folder = Path(path).parent
    (folder / "version").write_text(f"Python {platform.python_version()}\n")
    (folder / "packages").write_bytes(_list_packages())
    # It ends when its stdin is closed.
    atexit.register(process.communicate)
    return path


def _list_packages() -> bytes:
    """Return what pip lists. As long as nothing is installed or removed, one answer holds for all test workers."""
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    state = f"{packages} {packages.stat().st_mtime_ns}"
    answer = Path(tempfile.gettempdir()) / f"snapset-pip-list-{hashlib.sha256(state.encode()).hexdigest()[:16]}"
    if not answer.exists():
        part = answer.with_name(f"{answer.name}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "list", "-v", "--format", "json"]
        part.write_bytes(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        part.replace(answer)
    return answer.read_bytes()
