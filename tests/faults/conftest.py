"""Fixtures of the fault tests. Every process that a test leaves behind is killed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.command_line import CommandLine
from support.crash import KNOBS, Scene
from support.processes import Processes
from support.project import STACK, Project, run_environment

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

DEVICE = "/dev/sdf"


@pytest.fixture
def instance(ec2: EmbeddedEC2) -> LaunchedInstance:
    return ec2.launch([(20, DEVICE, {})])


@pytest.fixture(autouse=True)
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The processes that the test has started. All are killed after the test."""
    started = Processes(run_environment(tmp_path, {}))
    yield started
    started.kill_all()


@pytest.fixture
def stack(project: Project, instance: LaunchedInstance) -> Project:
    """This repository's stack program, which takes a set of the instance and does not wait for it."""
    project.config = {"instanceId": instance.instance_id, "wait": False}
    project.env |= KNOBS
    return project


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return CommandLine(run_environment(tmp_path, {**ec2.environment(), **KNOBS}), tmp_path)


@pytest.fixture
def scene_of(ec2: EmbeddedEC2, instance: LaunchedInstance, stack: Project) -> Callable[..., Scene]:
    """Make a scene whose runs call `pulumi` with these arguments on the stack."""

    def make(*arguments: str) -> Scene:
        start = partial(stack.start, *arguments, "--yes", "--skip-preview")
        name = f"{stack.namespace}/{STACK}"
        return Scene(ec2=ec2, instance=instance, env=stack.env, folder=stack.folder, start=start, stack=name)

    return make


@pytest.fixture
def scene_of_command(ec2: EmbeddedEC2, instance: LaunchedInstance, snapset: CommandLine) -> Callable[..., Scene]:
    """Make a scene whose runs call `snapset` with these arguments, for the change `c`."""

    def make(command: str, *options: str) -> Scene:
        start = partial(snapset.start, command, instance.instance_id, *options)
        name = f"snapset/c.{ec2.region}"
        return Scene(ec2=ec2, instance=instance, env=snapset.env, folder=snapset.folder, start=start, stack=name)

    return make
