"""Run README's Python examples unchanged: one case per example, by the heading above it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.mocked import NOTHING_LEFT, run_unit_test
from support.project import REPOSITORY, Project
from support.restores import launch_source, restored_in, take_set
from support.sets import find_sets

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

MakeProject = Callable[[str], Project]


def find_examples() -> dict[str, str]:
    """The Python blocks by heading. The second block under a heading is `HEADING 2`, and so on."""
    found: dict[str, str] = {}
    heading, nth = "", 0
    readme = (REPOSITORY / "README.md").read_text()
    pieces = r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$"
    for title, language, block in re.findall(pieces, readme, re.MULTILINE | re.DOTALL):
        if title:
            heading, nth = title, 0
        elif language == "python":
            nth += 1
            found[heading if nth == 1 else f"{heading} {nth}"] = block
    return found


def check_in_a_stack(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
    ec2.launch([(20, "/dev/sdf", {})], tags={"Name": "shop-1"})
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


def check_back_again(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
    set_id, target = take_set(ec2, launch_source(ec2)), ec2.launch().instance_id
    project = make_project(example)
    project.config = {"setId": set_id, "instanceId": target}
    project.up().ok()
    attached = {volume["device_name"] for volume in project.outputs()["volumes"]}
    assert attached == {"/dev/sdf", "/dev/sdg"}
    assert {volume.attached_to for volume in restored_in(ec2)} == {(target, device) for device in attached}


def check_my_deploy_failed(example: str, make_project: MakeProject, ec2: EmbeddedEC2, _folder: Path) -> None:
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


def check_testing_your_stack(example: str, _make_project: MakeProject, _ec2: EmbeddedEC2, folder: Path) -> None:
    ran = run_unit_test(folder, example).ok()
    assert "1 passed" in ran.stdout
    assert NOTHING_LEFT in ran.stdout


CASES = {
    "In a stack": check_in_a_stack,
    "As a guard": check_as_a_guard,
    "Back again": check_back_again,
    "My deploy failed": check_my_deploy_failed,
    "Testing your stack": check_testing_your_stack,
}

# Tested in test_before_change.py.
ELSEWHERE = {"Before a change in the same program"}


@pytest.mark.parametrize(
    ("heading", "example"), [example for example in find_examples().items() if example[0] not in ELSEWHERE]
)
def test_an_example_works_as_the_readme_says(
    program: MakeProject, ec2: EmbeddedEC2, tmp_path: Path, heading: str, example: str
) -> None:
    def make_project(source: str) -> Project:
        project = program(source)
        aws_plugin.install(project.env)
        return project

    assert heading in CASES, f"README's example under {heading!r} has no case here"
    CASES[heading](example, make_project, ec2, tmp_path)


def test_every_example_has_a_case_and_every_case_an_example() -> None:
    assert CASES.keys() | ELSEWHERE == find_examples().keys()
