"""Run other programs for install.py, with a time limit and progress messages, and leave no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ANSWER_SECONDS = 30.0
TICK_SECONDS = 20.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class UnavailableError(Exception):
    """A source does not have the engine; the message is the reason."""


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def last_lines(text: str, *, count: int = 4) -> str:
    """Return the last lines that are not empty, without colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]
    return "\n      ".join(lines[-count:]) or "it said nothing"


def ask(*command: str, cwd: Path | None = None, environment: Mapping[str, str]) -> str:
    """Run a short command, and return its stdout."""
    answer = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ANSWER_SECONDS,
        check=False,
    )
    if answer.returncode:
        said = last_lines(answer.stderr or answer.stdout)
        raise UnavailableError(f"`{command[0]} {command[1]}` failed: {said}")
    return answer.stdout.strip()


def stop_on_signals() -> None:
    """Raise KeyboardInterrupt on each signal that would end this process. Ignored signals stay ignored."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(*_: object) -> None:
    """End the run, and ignore further signals so that they can't interrupt the clean-up."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def hold_signals() -> Iterator[None]:
    """Hold back signals until the block ends, so that none comes between starting a process and storing its id."""
    held: list[int] = []
    handlers = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    scratch: Path,
    seconds: float,
    cwd: Path,
    environment: Mapping[str, str],
) -> None:
    """Run a long command, print now and then that it is still running, and leave no process of it behind."""
    start = time.monotonic()
    log = scratch / "log"
    process = None
    try:
        with hold_signals(), log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, "TMPDIR": str(scratch), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a separate process group, so that its children can be killed with it
            )
        while process.poll() is None:
            elapsed = time.monotonic() - start
            if elapsed >= seconds:
                raise UnavailableError(f"{what} took longer than {seconds / 60:.0f} minutes")
            try:
                process.wait(timeout=min(TICK_SECONDS, seconds - elapsed))
            except subprocess.TimeoutExpired:
                say(f"  {what}: {time.monotonic() - start:.0f} s so far")
    finally:
        with hold_signals():
            if process and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode:
        raise UnavailableError(last_lines(log.read_text(errors="replace")))
