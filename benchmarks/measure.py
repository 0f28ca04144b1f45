"""`measure.py FILE COMMAND ...` runs a command, and writes its time and memory to the file.

This is a separate, small process because the system counts a parent's memory as the start of its child's peak.
"""

import json
import os
import subprocess
import sys
import time

with open(f"{sys.argv[1]}.log", "wb") as log:
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
figures = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024}
with open(sys.argv[1], "w") as file:
    json.dump({"code": os.waitstatus_to_exitcode(status), "figures": figures}, file)
