"""The Python that tests start: for a program, a provider or `snapset`, a fork of the process of `support.warm`.

Else, or where that process is not, it becomes the real one. It lives as long as the fork, hands signals on to it, and
ends as it does.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Only the folder that each of these tests' processes has; with another one, or measured, a process starts by itself.
PYTHONPATH = os.fspath(HERE.parent / "quick")
KNOWN = ("pulumi.dynamic", "pulumi-language-python-exec", "standin")
KNOWN_CODE = "from snapset."


def is_warm(arguments: list[str]) -> bool:
    target = next((argument for argument in arguments if argument not in ("-u", "-m", "-c")), "")
    is_known = os.path.basename(target) in KNOWN or target.startswith(KNOWN_CODE)
    is_plain = os.environ.get("PYTHONPATH") == PYTHONPATH and "COVERAGE_PROCESS_CONFIG" not in os.environ
    return is_plain and is_known and "SNAPSET_TEST_WARM" in os.environ


def hand_on(fork: int, number: int, _: object) -> None:
    # It may just have ended.
    with suppress(ProcessLookupError):
        os.kill(fork, number)


def live_in_fork(arguments: list[str]) -> int:
    """Have a fork do it, and return how it ended, as `os.waitstatus_to_exitcode` does."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["SNAPSET_TEST_WARM"])
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        wanted = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        server.sendall(json.dumps(wanted).encode() + b"\n")
        answers = server.makefile()
        fork = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, partial(hand_on, fork))
        return int(answers.readline() or -signal.SIGKILL)


if is_warm(sys.argv[1:]):
    ended = live_in_fork(sys.argv[1:])
    if ended < 0:
        signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    os._exit(ended)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
