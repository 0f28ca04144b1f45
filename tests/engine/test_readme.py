"""Run the Python examples of README.md and docs/ unchanged: one case per example, by its page and heading."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.command_line import CommandLine
from support.mocked import NOTHING_LEFT, run_unit_test
from support.pages import README, find_all, find_blocks
from support.project import Project, Run, run_environment
from support.restores import launch_source, restored_in, take_set
from support.sets import find_sets

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

MakeProject = Callable[[str], Project]


def find_examples() -> dict[str, str]:
    """The Python blocks by page and heading. The second block under a heading is `HEADING 2`, and so on."""
    found: dict[str, str] = {}
    for block in find_all("python"):
        nth = sum(name.startswith(block.name) for name in found) + 1
        found[block.name if nth == 1 else f"{block.name} {nth}"] = block.text
    return found


def check_in_a_stack(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
    ec2.launch([(20, "/dev/sdf", {})], tags={"Name": "web-1"})
    project = make_project(example)
    project.config["release"] = "42"
    project.up().ok()
    [taken] = find_sets(ec2).values()
    assert set(project.outputs()["snapshotIds"]) == taken.ids
    assert {snapshot.tags["app"] for snapshot in taken.snapshots.values()} == {"shop"}
    project.config["release"] = "43"
    project.up().ok()
    assert len(find_sets(ec2)) == 2


def check_as_a_guard(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
    project = make_project(example)
    project.up().ok()
    assert find_sets(ec2) == {}
    project.pulumi("destroy", "--yes", "--skip-preview", "--run-program").ok()
    assert len(find_sets(ec2)) == 1


def check_a_fleet(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
    launched = [ec2.launch().instance_id for _ in range(2)]
    project = make_project(example)
    project.config = {"instances": launched, "release": "1"}
    project.up().ok()
    assert project.outputs()["sets"].keys() == set(launched)
    assert set(find_sets(ec2)) == set(project.outputs()["sets"].values())


def check_the_stacks_way(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
    set_id = take_set(ec2, launch_source(ec2))
    project = make_project(example)
    project.up().ok()
    empty = project.outputs()["volumeId"]
    project.config["restoreSet"] = set_id
    project.up().ok()
    [restored] = [volume.volume_id for volume in restored_in(ec2)]
    assert project.outputs()["volumeId"] == restored
    del project.config["restoreSet"]
    project.up().ok()
    assert project.outputs()["volumeId"] == restored
    there = {volume["VolumeId"] for volume in ec2.ec2().describe_volumes()["Volumes"]}
    assert {empty, restored} <= there


def check_unit_tests(example: str, _make_project: MakeProject, _ec2: EmbeddedEC2, folder: Path) -> None:
    ran = run_unit_test(folder, example).ok()
    assert "1 passed" in ran.stdout
    assert NOTHING_LEFT in ran.stdout


def check_embedded_ec2(example: str, _make_project: MakeProject, _ec2: EmbeddedEC2, folder: Path) -> None:
    # The client of the embedded EC2 leaves a boto3, and no thread.
    assert "1 passed" in run_unit_test(folder, example).ok().stdout


CASES = {
    "README.md: In a stack": check_in_a_stack,
    "README.md: As a guard": check_as_a_guard,
    "docs/embedded-ec2.md: In a test of your own": check_embedded_ec2,
    "docs/fleets.md: Fleets": check_a_fleet,
    "docs/guard.md: Guard": check_as_a_guard,
    "docs/restore.md: The stack's way": check_the_stacks_way,
    "docs/unit-tests.md: Testing your stack": check_unit_tests,
}

# Tested in test_before_change.py.
ELSEWHERE = {"docs/guard.md: Before a change in the same program"}


@pytest.mark.parametrize(
    ("name", "example"), [example for example in find_examples().items() if example[0] not in ELSEWHERE]
)
def test_an_example_works_as_its_page_says(
    program: MakeProject, ec2: EmbeddedEC2, tmp_path: Path, name: str, example: str
) -> None:
    def make_project(source: str) -> Project:
        project = program(source)
        aws_plugin.install(project.env)
        return project

    assert name in CASES, f"the example in {name!r} has no case here"
    CASES[name](example, make_project, ec2, tmp_path)


def test_every_example_has_a_case_and_every_case_an_example() -> None:
    assert CASES.keys() | ELSEWHERE == find_examples().keys()


def test_the_fault_that_is_printed_is_one_that_the_embedded_ec2_takes(ec2: EmbeddedEC2) -> None:
    [fault] = [re.search(r"curl .* -d '(.*)'", block.text) for block in find_all("sh") if "/faults" in block.text]
    assert fault
    ec2.fault(**json.loads(fault[1]))
    [scripted] = ec2.faults_left()
    assert (scripted["kind"], scripted["remaining"]) == ("close_after", 1)


def test_the_first_backup_and_its_rollback_work_as_the_readme_prints_them(tmp_path: Path) -> None:
    blocks = [block.text for block in find_blocks(README) if block.heading in ("First backup", "My deploy failed")]
    server, by_hand, back = blocks
    snapset = CommandLine(run_environment(tmp_path, {}), tmp_path)
    with snapset.start(*server.split()[1:], "--port", "0", "--snapshot-seconds", "0") as process:
        assert process.stdout
        printed = ""
        while "snapset backup" not in printed:
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            printed += line
        [instance_id] = set(re.findall(r"i-[0-9a-f]{17}", printed))
        by_hand = by_hand.replace("i-0123456789abcdef0", instance_id)
        script = f"set -eu\n{printed}\n{by_hand}\n{back.strip()} --yes\n"
        ran = subprocess.run(
            ["bash", "-c", script], env=snapset.env, capture_output=True, text=True, timeout=120, check=False
        )
        process.terminate()
    said = Run(ran.returncode, ran.stdout, ran.stderr).ok().stdout
    assert "completed, created" in said
    assert "completed, unchanged" in said
    assert f"{instance_id} is running, on the volumes of set-" in said
