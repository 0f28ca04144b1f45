"""What all tests share: one embedded EC2 per test worker, and Pulumi projects on the real engine."""

from __future__ import annotations

import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from snapset.emulator.client import EmbeddedEC2
from snapset.end import collect_rarely
from snapset.text import _Hidden

sys.path.insert(0, str(Path(__file__).parent))

from support.project import Project
from support.sample import SOAK, sample_of

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
    "test_mocked_stacks.py",
}


ROUNDS = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat the races of a soak."""
    if SOAK and metafunc.definition.get_closest_marker("race"):
        metafunc.fixturenames.append("round_of_soak")
        metafunc.parametrize("round_of_soak", range(ROUNDS))


# Last, so that a case that is asked for by its name, with -k too, is run.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases of long tests that are not in the sample."""
    if SOAK:
        return
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("long"):
            test, bracket, _ = item.nodeid.partition("[")
            # The cases of a test, or the tests of a file.
            cases[test if bracket else os.fspath(item.path)].append(item.nodeid)
    left_out = {name for names in cases.values() for name in set(names) - sample_of(names)}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]


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


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide in a test only what that test has met."""
    monkeypatch.setattr(_Hidden, "values", frozenset())


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
