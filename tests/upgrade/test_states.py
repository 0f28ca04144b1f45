"""Later versions understand what earlier ones wrote into users' states: each state of `states/` is used once more."""

from __future__ import annotations

import base64
import importlib.metadata
import pickletools
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pulumi.dynamic import ResourceProvider
from support.project import Project, changes, mutating
from support.recorded import RecordedState, find_recorded, ids_by_device, open_project

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2

# A promise: users' states name these classes.
PROVIDERS = {
    "SnapshotSet": "snapset.resources.snapshot_set.SnapshotSetProvider",
    "FleetSet": "snapset.resources.fleet_set.FleetSetProvider",
}

STATES = find_recorded()


@dataclass(frozen=True)
class Stack:
    """A stack whose state was recorded; `ids` are those in EC2, by placeholder."""

    project: Project
    ec2: EmbeddedEC2
    ids: dict[str, str]

    @property
    def snapshot_ids(self) -> set[str]:
        return set(ids_by_device("SNAPSHOT", self.ids).values())

    def taken(self) -> list[dict[str, Any]]:
        """The outputs of each set that the state has now."""
        return [resource["outputs"] for resource in self.project.sets()]

    def find_snapshots(self) -> set[str]:
        found = self.ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {snapshot["SnapshotId"] for snapshot in found}


@pytest.fixture
def stack(request: pytest.FixtureRequest, ec2: EmbeddedEC2, tmp_path: Path) -> Stack:
    project, ids = open_project(request.param, ec2, tmp_path)
    ec2.clear_calls()
    return Stack(project, ec2, ids)


on_each_state = pytest.mark.parametrize("stack", STATES, ids=str, indirect=True)


def test_the_states_of_this_version_are_recorded() -> None:
    assert importlib.metadata.version("snapset") in {state.version for state in STATES}


@pytest.mark.parametrize("promised", PROVIDERS.values())
def test_a_promised_class_is_where_it_was_promised_and_is_pickled_by_that_name(promised: str) -> None:
    provider = pkgutil.resolve_name(promised)
    assert issubclass(provider, ResourceProvider)
    assert f"{provider.__module__}.{provider.__qualname__}" == promised


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_state_names_the_promised_classes_and_no_others(state: RecordedState) -> None:
    dynamic = [resource for resource in state.resources if "__provider" in resource.get("inputs", {})]
    assert dynamic
    for resource in dynamic:
        promised = PROVIDERS[resource["type"].rpartition(":")[2]]
        assert named_in(resource["inputs"]["__provider"]) == {promised}
        assert named_in(resource["outputs"]["__provider"]) == {promised}


@on_each_state
def test_sets_are_left_alone_by_a_preview_a_refresh_and_another_default_tag(stack: Stack) -> None:
    stack.project.preview("--expect-no-changes").ok()
    stack.project.config["aws:defaultTags"] = {"tags": {"team": "shop"}}
    updated = stack.project.up("--refresh").ok()
    assert changes(updated).keys() == {"unchanged"}
    assert mutating(stack.ec2.calls()) == []
    [taken] = stack.taken()
    assert set(taken["snapshot_ids"]) == stack.snapshot_ids
    assert {snapshot["state"] for snapshot in taken["snapshots"]} == {"completed"}


@on_each_state
def test_a_new_trigger_takes_one_new_set_and_neither_that_nor_a_destroy_deletes_a_snapshot(stack: Stack) -> None:
    stack.project.config["trigger"] = "release-43"
    replaced = stack.project.up().ok()
    assert changes(replaced)["replaced"] == 1
    assert mutating(stack.ec2.calls()).count("CreateSnapshots") == 1
    [taken] = stack.taken()
    new = set(taken["snapshot_ids"])
    assert len(new) == len(stack.snapshot_ids)
    assert not new & stack.snapshot_ids
    destroyed = stack.project.destroy().ok()
    assert f"snapset delete {taken['set_id']} --region {stack.ec2.region}" in destroyed.text
    assert stack.taken() == []
    assert stack.find_snapshots() == new | stack.snapshot_ids
    assert "DeleteSnapshot" not in mutating(stack.ec2.calls())


@on_each_state
def test_a_refresh_drops_a_set_whose_snapshots_are_gone(stack: Stack) -> None:
    for snapshot_id in stack.snapshot_ids:
        stack.ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    stack.project.refresh().ok()
    assert stack.taken() == []


def named_in(provider: str) -> set[str]:
    """What a pickle imports, read without importing it."""
    names, strings = set(), list[str]()
    for opcode, argument, _ in pickletools.genops(base64.b64decode(provider)):
        if opcode.name == "STACK_GLOBAL":
            names.add(".".join(strings[-2:]))
        elif opcode.name == "GLOBAL":
            names.add(str(argument).replace(" ", "."))
        elif isinstance(argument, str):
            strings.append(argument)
    return names
