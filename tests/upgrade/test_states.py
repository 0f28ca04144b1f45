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
FLEETS = [state for state in STATES if state.holds("FleetSet")]
SETS = [state for state in STATES if state not in FLEETS]


@dataclass(frozen=True)
class Stack:
    """A stack whose state was recorded; `ids` are those in EC2, by placeholder."""

    project: Project
    ec2: EmbeddedEC2
    ids: dict[str, str]

    @property
    def snapshot_ids(self) -> set[str]:
        return set(ids_by_device("SNAPSHOT", self.ids).values())

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """The resources of a class that the state has now."""
        resources = self.project.state()["deployment"].get("resources", [])
        return [resource for resource in resources if resource["type"].endswith(f":{kind}")]

    def find_snapshots(self) -> set[str]:
        found = self.ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {snapshot["SnapshotId"] for snapshot in found}


@pytest.fixture
def stack(request: pytest.FixtureRequest, ec2: EmbeddedEC2, tmp_path: Path) -> Stack:
    project, ids = open_project(request.param, ec2, tmp_path)
    ec2.clear_calls()
    return Stack(project, ec2, ids)


def on(states: list[RecordedState]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stack", states, ids=str, indirect=True)


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


@on(SETS)
def test_a_set_is_left_alone_by_a_preview_a_refresh_and_an_update_of_what_does_not_shape_it(stack: Stack) -> None:
    stack.project.preview("--expect-no-changes").ok()
    other = {"retain": "delete", "delete": "retain"}[stack.project.config["onDelete"]]
    stack.project.config["onDelete"] = other
    updated = stack.project.up("--refresh").ok()
    assert changes(updated)["updated"] == 1
    assert mutating(stack.ec2.calls()) == []
    [taken] = stack.recorded("SnapshotSet")
    assert taken["outputs"]["on_delete"] == other
    assert set(taken["outputs"]["snapshot_ids"]) == stack.snapshot_ids
    assert {snapshot["state"] for snapshot in taken["outputs"]["snapshots"]} == {"completed"}


@on(SETS)
def test_a_new_trigger_takes_one_new_set_and_retains_the_old_one(stack: Stack) -> None:
    stack.project.config |= {"trigger": "release-43", "onDelete": "retain"}
    replaced = stack.project.up().ok()
    assert changes(replaced)["replaced"] == 1
    assert mutating(stack.ec2.calls()).count("CreateSnapshots") == 1
    [taken] = stack.recorded("SnapshotSet")
    new = set(taken["outputs"]["snapshot_ids"])
    assert len(new) == len(stack.snapshot_ids)
    assert not new & stack.snapshot_ids
    assert stack.find_snapshots() == new | stack.snapshot_ids


@on(SETS)
def test_destroy_deletes_the_recorded_snapshots_and_no_others_if_on_delete_says_so(stack: Stack) -> None:
    stack.ec2.ec2().create_snapshots(InstanceSpecification={"InstanceId": stack.ids["@INSTANCE@"]})
    before = stack.find_snapshots()
    deleted = stack.snapshot_ids if stack.project.config["onDelete"] == "delete" else set()
    stack.project.destroy().ok()
    assert stack.find_snapshots() == before - deleted
    assert stack.recorded("SnapshotSet") == []


@on(SETS)
def test_a_refresh_drops_a_set_whose_snapshots_are_gone(stack: Stack) -> None:
    for snapshot_id in stack.snapshot_ids:
        stack.ec2.ec2().delete_snapshot(SnapshotId=snapshot_id)
    stack.project.refresh().ok()
    assert stack.recorded("SnapshotSet") == []


@on(FLEETS)
def test_a_fleets_sets_are_left_alone_and_a_new_trigger_replaces_them_all(stack: Stack) -> None:
    stack.project.preview("--expect-no-changes").ok()
    stack.project.refresh().ok()
    assert changes(stack.project.up().ok()).keys() == {"unchanged"}
    assert mutating(stack.ec2.calls()) == []
    stack.project.config["trigger"] = "release-43"
    stack.project.up().ok()
    [taken] = stack.recorded("FleetSet")
    [record] = taken["outputs"]["sets"].values()
    assert stack.find_snapshots() == set(record["snapshot_ids"])
    assert not stack.find_snapshots() & stack.snapshot_ids
    stack.project.destroy().ok()
    assert stack.find_snapshots() == set()


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
