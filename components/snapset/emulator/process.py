"""The embedded EC2 as a child process: started, known by its endpoint, ended with the block that needs it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

_END_TIMEOUT_SECONDS = 10


class EmbeddedEC2Error(Exception):
    """The embedded EC2 did not start, or refused what it was asked to do."""


class ServerProcess:
    """A server process; it ends with the process that started it, however that ends."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._process: subprocess.Popen[str] | None = None
        self._endpoint: str | None = None

    def start(self) -> None:
        """Start it and wait until it is ready; raises EmbeddedEC2Error with what it said if it ends instead."""
        command = [sys.executable, "-m", "snapset.emulator", "--with-parent", str(os.getpid())]
        command += [text for option in self._options.items() for text in option]
        # A file, because a pipe that nobody reads would block a server that has much to complain about.
        with tempfile.TemporaryFile("w+") as complaints:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                # Ctrl-C is for the caller, who may still need EC2 to wind up.
                start_new_session=True,
            )
            line = _read_line(process)
            if not line:
                _close(process)
                complaints.seek(0)
                raise EmbeddedEC2Error(f"the embedded EC2 did not start:\n{complaints.read()}")
        self._process, self._endpoint = process, json.loads(line)["endpoint"]

    def stop(self) -> None:
        """End it; nothing happens if it is not running."""
        process, self._process, self._endpoint = self._process, None, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        _close(process)

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`."""
        if self._endpoint is None:
            raise EmbeddedEC2Error("the embedded EC2 is not running: use it in a `with` block")
        return self._endpoint

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise EmbeddedEC2Error("the embedded EC2 is not running: use it in a `with` block")
        return self._process.pid


def _read_line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline() if process.stdout else ""


def _close(process: "subprocess.Popen[str]") -> None:
    process.wait()
    if process.stdout:
        process.stdout.close()
