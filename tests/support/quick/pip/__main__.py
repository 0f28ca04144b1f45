"""Answer `pip list` as pip itself did in this environment, and leave everything else to pip.

The engine has pip list the installed packages in every run. Nothing is installed while the tests run, so one answer
holds for all of them: that takes a sixth off the time of each run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIST = ["list", "-v", "--format", "json"]


def run_pip(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run the real pip: the environment's own, without this folder on its path."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, "-m", "pip", *arguments], env=env, stdout=subprocess.PIPE, check=False)


def kept() -> Path:
    """Return where the answer is kept: as long as nothing is installed or removed, that is the same file."""
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    state = f"{packages} {packages.stat().st_mtime_ns}"
    return Path(tempfile.gettempdir()) / f"snapset-pip-list-{hashlib.sha256(state.encode()).hexdigest()[:16]}"


def main() -> int:
    """Answer from what is kept, or ask pip and keep its answer."""
    if sys.argv[1:] != LIST:
        asked = run_pip(sys.argv[1:])
        sys.stdout.buffer.write(asked.stdout)
        return asked.returncode
    answer = kept()
    if not answer.exists():
        asked = run_pip(LIST)
        if asked.returncode:
            return asked.returncode
        part = answer.with_name(f"{answer.name}.{os.getpid()}")
        part.write_bytes(asked.stdout)
        part.replace(answer)
    sys.stdout.buffer.write(answer.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
