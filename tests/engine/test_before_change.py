"""docs/guard.md's "Before a change in the same program": the change waits until the set has completed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import REPOSITORY, Project, changes, mutating
from support.sets import find_sets, find_taken

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

PAGE = (REPOSITORY / "docs/guard.md").read_text()


def example() -> str:
    _, section = PAGE.split("## Before a change in the same program\n")
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_change_waits_for_the_set_and_does_not_happen_if_the_set_fails(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    running = ec2.launch([(20, "/dev/sdf", {})])
    project = program(example())
    aws_plugin.install(project.env)
    project.config = {"instanceId": running.instance_id, "release": "42"}
    ec2.settings(snapshot_seconds=60)
    ec2.clear_calls()
    ec2.fail(message="Given key ID is not accessible")
    assert "is in error: Given key ID is not accessible" in project.up().failed().text
    assert ec2.calls("RunInstances") == []

    ec2.settings(snapshot_seconds=1)
    project.refresh().ok()
    ec2.clear_calls()
    project.up().ok()
    [first] = find_taken(ec2)
    done = [call["action"] for call in ec2.calls() if not call["dry_run"]]
    assert "DescribeSnapshots" in done[done.index("CreateSnapshots") : done.index("RunInstances")]
    assert not find_sets(ec2)[first].failed

    ec2.clear_calls()
    assert changes(project.up().ok()) == {"unchanged": 4}
    assert mutating(ec2.calls()) == []
    project.config["release"] = "43"
    project.up().ok()
    [second] = find_taken(ec2)
    done = mutating(ec2.calls())
    assert done.index("CreateSnapshots") < done.index("RunInstances") < done.index("TerminateInstances")
    assert {first, second} <= set(find_sets(ec2))
    assert {snapshot.tags["snapset:instance"] for snapshot in find_sets(ec2)[second].snapshots.values()} == {
        running.instance_id
    }


@pytest.mark.parametrize("option", ["--target=**Instance::server", "--exclude=**Set::before-release"])
def test_a_run_that_leaves_the_set_out_does_not_bring_the_change(
    program: Callable[[str], Project], ec2: EmbeddedEC2, option: str
) -> None:
    project = program(example())
    aws_plugin.install(project.env)
    project.config = {"instanceId": ec2.launch([]).instance_id, "release": "42"}
    project.up().ok()
    ec2.clear_calls()
    project.config["release"] = "43"
    project.up(option).ok()
    assert mutating(ec2.calls()) == []
    project.up().ok()
    done = mutating(ec2.calls())
    assert done.index("CreateSnapshots") < done.index("RunInstances") < done.index("TerminateInstances")
