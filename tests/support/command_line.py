"""`snapset` as a pipeline runs it: in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support import warm
from support.project import Run

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class CommandLine:
    env: dict[str, str]
    folder: Path

    def __call__(self, *arguments: str) -> Run:
        with self._start([sys.executable, "-IS", os.fspath(warm.PYTHON)], arguments) as process:
            stdout, stderr = process.communicate(timeout=120)
        return Run(process.returncode, stdout, stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it by itself, not as a fork, so that its process group is its own."""
        return self._start([sys.executable], arguments)

    def _start(self, python: list[str], arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*python, "-c", "from snapset.cli import main; main()", *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
