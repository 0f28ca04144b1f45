"""`snapset` as a pipeline runs it, in a separate process; and in this one, for commands that need no engine."""

from __future__ import annotations

import functools
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from snapset import cli
from snapset.aws import ec2, session
from snapset.cli import output

from support import warm
from support.project import Run

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class CommandLine:
    env: dict[str, str]
    folder: Path

    def __call__(self, *arguments: str) -> Run:
        with self.fork(*arguments) as process:
            stdout, stderr = process.communicate(timeout=120)
        return Run(process.returncode, stdout, stderr)

    def fork(self, *arguments: str, **streams: int) -> subprocess.Popen[str]:
        """Start it as a fork of the process that has imported all."""
        return self._start([sys.executable, "-IS", os.fspath(warm.CLIENT)], arguments, **streams)

    def start(self, *arguments: str, **streams: int) -> subprocess.Popen[str]:
        """Start it by itself, not as a fork, so that its process group is its own."""
        return self._start([sys.executable], arguments, **streams)

    def _start(
        self,
        python: list[str],
        arguments: tuple[str, ...],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*python, "-c", "from snapset.cli import main; main()", *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )


# What snapset remembers of AWS while a process lasts.
_MEMORY = ((session, "_session"), (session, "_check_account"), (ec2, "_clients_for"))


class InProcess(CommandLine):
    """`snapset` in this process, for runs that start no engine and get no signal: a sixth of the time."""

    _made_for: Any = None

    def __call__(self, *arguments: str) -> Run:
        # A client takes longer to make than a run: keep it while the environment stays as it is.
        made_for = ({**self.env}, "--verbose" in arguments)
        if made_for != self._made_for:
            self._made_for = made_for
            self._memory = [functools.lru_cache(getattr(module, name).__wrapped__) for module, name in _MEMORY]
        output._printed.clear()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        stdout, stderr = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, self.env, clear=True), pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["snapset", *arguments])
            for name, stream in (("stdin", io.StringIO()), ("stdout", stdout), ("stderr", stderr)):
                patch.setattr(sys, name, stream)
            for (module, name), remembered in zip(_MEMORY, self._memory, strict=True):
                patch.setattr(module, name, remembered)
            try:
                code = cli._run()
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return Run(code, stdout.getvalue(), stderr.getvalue())
