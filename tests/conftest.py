"""What all tests share: one embedded EC2 per test worker, and Pulumi projects on the real engine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from snapset.emulator.client import EmbeddedEC2
from snapset.end import collect_rarely

sys.path.insert(0, str(Path(__file__).parent))

from support.project import Project

# A shell's background jobs ignore Ctrl-C, nohup's a hang-up; every process that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Each search for garbage goes through all that the tests have imported.
collect_rarely()

# With it, snapset prints errors as GitHub annotations, also when these tests run on GitHub.
os.environ.pop("GITHUB_ACTIONS", None)

# In these files coverage measures the processes that the tests start, too. They run every command, and take little
# time: a process that is measured takes three quarters longer.
MEASURED = {
    "test_doctor.py",
    "test_locks.py",
    "test_mocked_stacks.py",
    "test_schema.py",
    "test_unlock.py",
}


@pytest.fixture(scope="module", autouse=True)
def measure_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let coverage into the processes that the tests of this file start, or keep it out."""
    with pytest.MonkeyPatch.context() as environment:
        if request.path.name not in MEASURED:
            environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(autouse=True)
def own_state_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the notes of unanswered calls out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))


@pytest.fixture(scope="session")
def embedded_ec2() -> Iterator[EmbeddedEC2]:
    with EmbeddedEC2() as server:
        yield server


@pytest.fixture
def ec2(embedded_ec2: EmbeddedEC2) -> EmbeddedEC2:
    """A freshly reset EC2."""
    embedded_ec2.reset()
    return embedded_ec2


@pytest.fixture
def project(ec2: EmbeddedEC2, tmp_path: Path) -> Project:
    """This repository's project, with a stack without config."""
    return Project(tmp_path, environment=ec2.environment())


@pytest.fixture
def program(ec2: EmbeddedEC2, tmp_path: Path) -> Callable[[str], Project]:
    """A user's own project, whose program is the given source."""

    def make(source: str) -> Project:
        return Project(tmp_path, environment=ec2.environment(), program=source)

    return make
