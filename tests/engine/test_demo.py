"""`make demo` runs all steps of the main job, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.project import REPOSITORY, run_environment, until

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = [sys.executable, str(REPOSITORY / "demo/story.py")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**run_environment(tmp_path, {}), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}


def is_listening(endpoint: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(endpoint.rpartition(":")[2]))) == 0


def processes_of_session(session: int) -> Iterator[str]:
    listed = subprocess.run(["ps", "-eo", "sess=,args="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        number, _, command = line.strip().partition(" ")
        if int(number) == session:
            yield command


def test_the_demo_shows_sets_a_guard_and_a_rollback_and_how_to_go_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    demo = subprocess.run(DEMO, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "3 unchanged" in demo.stdout
    assert "Calls that changed anything in EC2: 0" in demo.stdout
    assert "snapshots completed" in demo.stdout
    first, second = dict.fromkeys(re.findall(r"│ (set-[0-9a-f]{17}) │", demo.stdout))
    assert f"To delete it: snapset delete {first} --region us-east-1" in demo.stdout
    assert first != second
    # A guard keeps a change from an instance that can't be backed up.
    refused, rolled_back = demo.stdout.split("8. A change without a backup")[1].split("10. The deploy fails,")
    assert "is not changed: NotPermittedError: creating snapshots of i-" in refused
    assert " is running, on the volumes of set-" in rolled_back
    assert 'export PATH="$PWD/.venv/bin:$(cat .venv/engine-path):$PATH"\n  snapset ec2 --seed ' in demo.stdout
    assert list(tmp_path.glob("snapset-demo-*")) == []


def test_an_interrupted_demo_leaves_no_process_and_no_file(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    # Appended to, and read by its name: with one file for both, reading would move where the demo writes.
    with log.open("a") as output:
        demo = subprocess.Popen(DEMO, env=environment, stdout=output, stderr=output, start_new_session=True)
    until(lambda: "snapshots completed" in log.read_text(), seconds=60)
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(timeout=20) == 130
    endpoint = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
    assert endpoint
    until(lambda: not is_listening(endpoint[0]))
    until(lambda: list(processes_of_session(demo.pid)) == [])
    assert "Traceback" not in log.read_text()
    assert list(tmp_path.glob("snapset-demo-*")) == []
