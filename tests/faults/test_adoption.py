"""Which sets a run adopts and which it does not. All of them stay in AWS."""

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

pytestmark = pytest.mark.long

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


def test_a_forced_replacement_takes_a_new_set_and_the_old_one_stays(
    scene_of: Callable[..., Scene], stack: Project
) -> None:
    scene = scene_of("up")
    scene.run().ok()
    old = scene.assert_exactly_one_set()
    replaced = stack.up("--replace", urn_of(stack)).ok()
    [new] = scene.recorded()
    assert new["id"] != old["id"]
    assert "adopted" not in replaced.text
    assert f"{old['id']} of {scene.instance.instance_id} stays in AWS" in replaced.text
    assert set(scene.taken()) == {*new["outputs"]["snapshot_ids"], *old["outputs"]["snapshot_ids"]}


def test_a_claimed_set_that_its_state_has_lost_is_not_adopted(scene_of: Callable[..., Scene], stack: Project) -> None:
    scene = scene_of("up")
    scene.run().ok()
    lost = scene.assert_exactly_one_set()
    stack.pulumi("state", "delete", lost["urn"], "--yes").ok()
    assert "adopted" not in scene.run().ok().text
    [recorded] = scene.recorded()
    assert recorded["id"] != lost["id"]
    assert set(scene.taken()) == {*lost["outputs"]["snapshot_ids"], *recorded["outputs"]["snapshot_ids"]}


def test_a_set_that_nobody_could_claim_is_adopted_by_a_forced_replacement_once_it_can_be_claimed(
    scene_of: Callable[..., Scene], stack: Project, ec2: EmbeddedEC2
) -> None:
    """Without a claim, a forced replacement can't know that the state holds the set already."""
    scene = scene_of("up")
    ec2.fault(action="CreateTags", kind="deny", times=None)
    assert "could not be tagged" in scene.run().ok().text
    [old] = scene.recorded()
    # Unclaimed, any other resource might adopt the set, too: it is not served as a backup.
    assert "UnauthorizedOperation" in stack.up("--replace", urn_of(stack)).failed().text
    assert {resource["id"] for resource in scene.recorded()} == {old["id"]}
    assert set(scene.taken()) == set(old["outputs"]["snapshot_ids"])
    ec2.clear_faults()
    scene.run().ok()
    new = scene.assert_exactly_one_set()
    assert new["id"] == old["id"]
    assert new["outputs"]["claim"] != old["outputs"]["claim"]
