"""`stacks/fleet.py` on the real engine: one set of each instance with the tags, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import Project, changes, mutating
from support.sets import find_sets, find_taken

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

WEB = {"app": "web"}


@pytest.fixture
def stack(project: Project) -> Project:
    aws_plugin.install(project.env)
    project.config = {"program": "fleet", "filterTags": WEB}
    return project


def test_each_matching_instance_gets_one_set_when_it_joins_and_keeps_it_when_it_leaves(
    stack: Project, ec2: EmbeddedEC2
) -> None:
    first, second = ec2.launch([(20, "/dev/sdf", {})], tags=WEB), ec2.launch(tags={**WEB, "tier": "1"})
    ec2.ec2().stop_instances(InstanceIds=[second.instance_id])
    ec2.launch(tags={"app": "database"})
    ec2.clear_calls()
    stack.preview().ok()
    assert mutating(ec2.calls()) == []

    shown = stack.up().ok().stdout
    sets = stack.outputs()["sets"]
    assert {instance_id: len(row["snapshotIds"]) for instance_id, row in sets.items()} == {
        first.instance_id: 2,
        second.instance_id: 1,
    }
    assert {row["setId"]: set(row["snapshotIds"]) for row in sets.values()} == {
        set_id: found.ids for set_id, found in find_sets(ec2).items()
    }
    assert all(row["completed"] is True for row in sets.values())
    assert "sets of app=web" in shown
    for instance_id, row in sets.items():
        [line] = [line for line in shown.splitlines() if row["setId"] in line and instance_id in line]
        assert line.replace("│", " ").split() == [instance_id, row["setId"], str(len(row["snapshotIds"])), "yes"]

    ec2.clear_calls()
    again = stack.up().ok()
    assert changes(again).keys() == {"unchanged"}
    stack.refresh().ok()
    assert mutating(ec2.calls()) == []

    joined = ec2.launch(tags=WEB)
    ec2.ec2().terminate_instances(InstanceIds=[first.instance_id])
    ec2.clear_calls()
    stack.up().ok()
    now = stack.outputs()["sets"]
    assert now.keys() == {second.instance_id, joined.instance_id}
    assert now[second.instance_id] == sets[second.instance_id]
    assert find_taken(ec2) == [now[joined.instance_id]["setId"]]
    assert ec2.calls("DeleteSnapshot") == []
    assert len(find_sets(ec2)) == 3

    stack.config["triggers"] = "release 43"
    stack.up().ok()
    assert len(find_sets(ec2)) == 5
    stack.destroy().ok()
    assert len(find_sets(ec2)) == 5


def test_a_fleet_without_instances_is_reported_in_one_line(stack: Project, ec2: EmbeddedEC2) -> None:
    ec2.launch(tags={"app": "database"})
    output = stack.up().ok().text
    assert "warning: no instance in us-east-1 matches app=web: no set is taken\n" in output
    assert stack.outputs() == {"sets": {}}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"filterTags": {}}, "filterTags: it is empty, or a value is not a string"),
        ({"filterTags": {"version": 2}}, "filterTags: it is empty, or a value is not a string"),
    ],
)
def test_a_fleet_without_tags_is_refused(
    stack: Project, ec2: EmbeddedEC2, wrong: dict[str, object], expected: str
) -> None:
    ec2.launch(tags=WEB)
    stack.config |= wrong
    ec2.clear_calls()
    assert f"reading snapset:{expected}" in stack.preview().failed().text
    assert mutating(ec2.calls()) == []
