"""Run the embedded EC2 as a child process."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

_END_TIMEOUT_SECONDS = 10
# `-m` would take files of the current folder for modules, and `-P`, which prevents that, came with Python 3.11.
_RUN = (
    "import sys; sys.path = [path for path in sys.path if path]; import runpy; "
    "runpy.run_module('snapset.emulator', run_name='__main__', alter_sys=True)"
)


class EmbeddedEC2Error(Exception):
    """The embedded EC2 did not start, or refused a request."""


class ServerProcess:
    """A server process. It exits when the process that started it exits, even after a kill."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._process: subprocess.Popen[str] | None = None
        self._endpoint: str | None = None

    def start(self) -> None:
        """Start it and wait until it is ready; raises EmbeddedEC2Error with its stderr if it exits instead."""
        command = [sys.executable, "-c", _RUN, "--with-parent", str(os.getpid())]
        command += [word for option in self._options.items() for word in option]
        # A file, because a pipe that nobody reads would block a server that writes much to stderr.
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C must reach only the caller, who may still need EC2 to clean up.
                start_new_session=True,
            )
            line = _read_line(process)
            if not line:
                _close(process)
                log.seek(0)
                raise EmbeddedEC2Error(f"the embedded EC2 did not start:\n{log.read()}")
        self._process, self._endpoint = process, json.loads(line)["endpoint"]

    def stop(self) -> None:
        """Stop it, if it is running."""
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
