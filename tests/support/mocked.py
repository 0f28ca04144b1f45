"""A user's unit test with Pulumi's mocks. It runs in a separate process, because mocks apply to a whole process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from support.project import Run, run_environment

if TYPE_CHECKING:
    from pathlib import Path

# This looks after all tests have ended. Pulumi's own event loop keeps idle threads, which are left out.
_CONFTEST = """
import sys, threading

def pytest_sessionfinish():
    left = [thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    print("left:", left, sorted({"boto3", "botocore"} & sys.modules.keys()))
"""

NOTHING_LEFT = "left: ['MainThread'] []"
"""The report if no thread is left and boto3 was never imported."""


def run_unit_test(folder: Path, source: str) -> Run:
    """Run the test with warnings as errors, except deprecation warnings, which `pulumi_aws` itself causes."""
    (folder / "test_theirs.py").write_text(source)
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
