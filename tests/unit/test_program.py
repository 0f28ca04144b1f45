"""The running Pulumi program's own end."""

import subprocess
import sys

PROGRAM = """
import atexit, os, signal
from snapset.resources.program import end_quietly_on_interrupt
atexit.register(os.kill, os.getpid(), signal.SIGINT)  # The first to be registered is the last to be called.
end_quietly_on_interrupt()
"""


def test_an_interrupt_in_the_interpreters_shutdown_says_nothing_and_changes_no_exit_code() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
