"""Which sets a run adopts and which it does not. Deleting an old resource never deletes an adopted set."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.calls import Place
from support.crash import Case, Scene
from support.project import Project

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

KILLED = {part: Case("create", Place("CreateSnapshots", 1), part, "after") for part in ("engine", "command")}


def urn_of(stack: Project) -> str:
    [recorded] = stack.sets()
    return str(recorded["urn"])


def test_the_set_of_a_killed_engine_is_adopted_and_reported(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of("up")
    scene.run_with(KILLED["engine"])
    [orphan] = {tags["snapset:set"] for tags in scene.taken().values()}
    again = scene.run_again().ok()
    assert scene.assert_exactly_one_set()["id"] == orphan
    assert f"adopted {orphan}" in again.stdout


def test_the_set_of_a_killed_command_is_adopted_and_reported(
    scene_of_command: Callable[..., Scene],
) -> None:
    scene = scene_of_command("backup", "--change-id", "c", "--no-wait", "--json")
    scene.run_with(KILLED["command"])
    [orphan] = {tags["snapset:set"] for tags in scene.taken().values()}
    again = scene.run_again().ok()
    [taken] = json.loads(again.stdout)["sets"]
    assert (taken["set_id"], taken["outcome"]) == (orphan, "adopted")
    assert f"adopted {orphan}" in again.stderr
    scene.assert_exactly_one_set()


def test_an_unclaimed_set_that_is_too_old_is_not_adopted(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of("up")
    scene.run_with(KILLED["engine"])
    orphan = scene.taken()
    scene.env["SNAPSET_ADOPTION_SECONDS"] = "0"
    assert "adopted" not in scene.run_again().ok().text
    [recorded] = scene.recorded()
    assert set(scene.taken()) == {*orphan, *recorded["outputs"]["snapshot_ids"]}
    assert not orphan.keys() & set(recorded["outputs"]["snapshot_ids"])


@pytest.mark.parametrize("policy", ["retain", "delete"])
def test_a_forced_replacement_takes_a_new_set_and_deletes_the_old_one_only_under_delete(
    scene_of: Callable[..., Scene], stack: Project, policy: str
) -> None:
    stack.config["onDelete"] = policy
    scene = scene_of("up")
    scene.run().ok()
    old = scene.assert_exactly_one_set()
    replaced = stack.up("--replace", urn_of(stack)).ok()
    [new] = scene.recorded()
    assert new["id"] != old["id"]
    assert "adopted" not in replaced.text
    stays = old["outputs"]["snapshot_ids"] if policy == "retain" else []
    assert set(scene.taken()) == {*new["outputs"]["snapshot_ids"], *stays}


def test_a_claimed_set_that_its_state_has_lost_is_not_adopted(scene_of: Callable[..., Scene], stack: Project) -> None:
    scene = scene_of("up")
    scene.run().ok()
    lost = scene.assert_exactly_one_set()
    stack.pulumi("state", "delete", lost["urn"], "--yes").ok()
    assert "adopted" not in scene.run().ok().text
    [recorded] = scene.recorded()
    assert recorded["id"] != lost["id"]
    assert set(scene.taken()) == {*lost["outputs"]["snapshot_ids"], *recorded["outputs"]["snapshot_ids"]}


@pytest.mark.parametrize("tagging", ["allowed again", "still denied"])
def test_deleting_the_old_resource_does_not_delete_a_set_that_the_new_one_adopted(
    scene_of: Callable[..., Scene], stack: Project, ec2: EmbeddedEC2, tagging: str
) -> None:
    """Without a claim, a forced replacement can't know that the set is already in the state, and adopts it."""
    stack.config["onDelete"] = "delete"
    scene = scene_of("up")
    ec2.fault(action="CreateTags", kind="deny")
    assert "could not be tagged" in scene.run().ok().text
    [old] = scene.recorded()
    if tagging == "allowed again":
        ec2.clear_faults()
    replaced = stack.up("--replace", urn_of(stack))
    if tagging == "allowed again":
        replaced.ok()
    else:
        # The adoption can't be announced by a tag, so the set is not recorded twice: it stays with the old resource.
        assert "UnauthorizedOperation" in replaced.failed().text
        assert [resource["id"] for resource in scene.recorded()] == [old["id"]]
        stack.up().ok()
    new = scene.recorded()[-1]
    assert set(new["outputs"]["snapshot_ids"]) <= set(scene.taken())
    if tagging == "allowed again":
        assert new["id"] == old["id"]
        assert scene.assert_exactly_one_set()["outputs"]["claim"] != old["outputs"]["claim"]
