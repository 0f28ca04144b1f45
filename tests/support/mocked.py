"""A user's unit test with Pulumi's mocks, in a process of its own: mocks are in force for a whole process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from support.project import Run, run_environment

if TYPE_CHECKING:
    from pathlib import Path

# Looks when the tests are over, from outside of them; Pulumi's own event loop keeps its idle workers.
_CONFTEST = """
import sys, threading

def pytest_sessionfinish():
    left = [thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    print("left:", left, sorted({"boto3", "botocore"} & sys.modules.keys()))
"""

NOTHING_LEFT = "left: ['MainThread'] []"
"""What it says where no thread is left, and the SDK of AWS was not even imported."""


def run_unit_test(folder: Path, text: str) -> Run:
    """Run it with warnings as errors, but for those of deprecated parts of `pulumi_aws`."""
    (folder / "test_theirs.py").write_text(text)
    (folder / "conftest.py").write_text(_CONFTEST)
    options = ["-q", "-s", "-W", "error", "-W", "ignore::DeprecationWarning", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_theirs.py"],
        cwd=folder,
        env=run_environment(folder, {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Run(ran.returncode, ran.stdout, ran.stderr)
