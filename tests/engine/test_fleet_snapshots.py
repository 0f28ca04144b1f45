"""`FleetSnapshots` on the real engine: one set of each instance, whatever becomes of the others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.project import Project, changes, mutating, until
from support.sets import find_sets, find_taken, wait_for_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapset.emulator.client import EmbeddedEC2

PROGRAM = """
import pulumi
from snapset import FleetSnapshots

config = pulumi.Config()
fleet = FleetSnapshots(
    "fleet", instances=config.require_object("instances"), triggers=config.get("triggers"),
    change_id=config.get("change"), tags={"app": "web"}, wait=config.get_bool("wait"),
)
fleet.change_id.apply(lambda change: pulumi.log.info(f"goes on with {change}"))
pulumi.export("sets", fleet.sets.apply(lambda sets: {key: record["set_id"] for key, record in sets.items()}))
"""
NOT_THERE = "i-0123456789abcdef0"


@pytest.fixture
def fleet(program: Callable[[str], Project]) -> Project:
    return program(PROGRAM)


def recorded(project: Project) -> dict[str, Any]:
    [found] = [item for item in project.state()["deployment"]["resources"] if item["type"].endswith(":FleetSet")]
    outputs: dict[str, Any] = found["outputs"]
    return outputs


def launch(ec2: EmbeddedEC2, number: int) -> list[str]:
    return [ec2.launch().instance_id for _ in range(number)]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_preview_fails_where_no_instance_would_get_a_set(fleet: Project, ec2: EmbeddedEC2, is_new: bool) -> None:
    fleet.config["instances"] = launch(ec2, 2)
    if not is_new:
        fleet.up().ok()
        fleet.config["triggers"] = "b"
    ec2.fault(action="CreateSnapshots", kind="deny")
    refused = fleet.preview().failed()
    assert "UnauthorizedOperation" in refused.text
    assert "Allow ec2:CreateSnapshots and ec2:CreateTags." in refused.text


def test_what_is_made_of_the_change_waits_for_every_set(fleet: Project, ec2: EmbeddedEC2) -> None:
    fleet.config = {"instances": [*launch(ec2, 1), NOT_THERE], "change": "42"}
    assert "goes on with" not in fleet.up().failed().text
    fleet.config["instances"].remove(NOT_THERE)
    assert "goes on with 42" in fleet.up().ok().text
    # A run that leaves the fleet out has the change of the last one.
    fleet.config["change"] = "43"
    assert "goes on with 42" in fleet.up("--exclude=**FleetSet::fleet").ok().text


def test_an_instance_that_joins_gets_a_set_and_one_that_leaves_loses_none(fleet: Project, ec2: EmbeddedEC2) -> None:
    first, second, third = launch(ec2, 3)
    fleet.config["instances"] = [first, second]
    ec2.clear_calls()
    fleet.preview().ok()
    assert mutating(ec2.calls()) == []
    fleet.up().ok()
    sets = fleet.outputs()["sets"]
    assert set(find_sets(ec2)) == set(sets.values())
    assert [found.claims for found in find_sets(ec2).values()] == [{recorded(fleet)["claim"]}] * 2
    ec2.clear_calls()
    assert changes(fleet.up().ok()).keys() == {"unchanged"}
    fleet.refresh().ok()
    assert mutating(ec2.calls()) == []

    fleet.config["instances"] = [second, third]
    fleet.up().ok()
    now = fleet.outputs()["sets"]
    assert now.keys() == {second, third}
    assert now[second] == sets[second]
    assert len(find_sets(ec2)) == 3
    # One that comes back has its set already.
    fleet.config["instances"] = [first, second, third]
    fleet.up().ok()
    assert fleet.outputs()["sets"] == {**sets, **now}


def test_one_bad_instance_of_fifty_keeps_none_of_the_others_from_its_set_and_one_command_deletes_all(
    fleet: Project, ec2: EmbeddedEC2
) -> None:
    good = launch(ec2, 49)
    fleet.config |= {"instances": [*good, NOT_THERE], "wait": False}
    assert (
        f"warning: creating snapshots of {NOT_THERE}: InvalidInstanceID.NotFound: there is no"
        in fleet.preview().ok().text
    )
    ec2.clear_calls()
    failed = fleet.up().failed()
    assert "backing up the fleet: 1 of 50 instances have no backup" in failed.text
    assert f"{NOT_THERE}: NotFoundError: creating snapshots of {NOT_THERE}: Inval" in failed.text
    assert len(find_sets(ec2)) == 49
    assert recorded(fleet)["current"].keys() == set(good)
    # Once more without the one that does not exist.
    assert len(ec2.calls("DescribeInstances")) == 2
    assert len(ec2.calls("DescribeVolumes")) == 1
    assert len(ec2.calls("CreateSnapshots")) == 49
    fleet.config["instances"] = [*good, *launch(ec2, 1)]
    ec2.clear_calls()
    fleet.up().ok()
    assert len(find_taken(ec2)) == 1
    assert len(find_sets(ec2)) == 50
    destroyed = fleet.destroy().ok()
    assert len(find_sets(ec2)) == 50
    found = re.search(r"50 sets stay in AWS. To delete: (snapset delete .*)", destroyed.text)
    assert found
    subprocess.run(["bash", "-c", f"{found[1]} --yes"], env=fleet.env, check=True, capture_output=True)
    assert find_sets(ec2) == {}


KILLS = [("CreateSnapshots", 1), ("CreateSnapshots", 9), ("CreateSnapshots", 20), ("CreateTags", 1)]


@pytest.mark.long
@pytest.mark.parametrize(("action", "number"), KILLS, ids=[f"{action}#{number}" for action, number in KILLS])
def test_a_kill_in_the_middle_of_twenty_loses_nothing_and_takes_nothing_twice(
    fleet: Project, ec2: EmbeddedEC2, action: str, number: int
) -> None:
    fleet.config |= {"instances": launch(ec2, 20), "wait": False}
    ec2.fault(action=action, kind="delay_after", seconds=3, skip=number - 1, times=30)
    ec2.clear_calls()
    with fleet.start("up", "--yes", "--skip-preview") as up:
        until(lambda: len([call for call in ec2.calls(action) if call["carried_out"]]) >= number)
        os.killpg(up.pid, signal.SIGKILL)
        up.communicate(timeout=30)
    wait_for_calls(ec2)
    ec2.clear_faults()
    before = set(find_sets(ec2))
    assert len(before) >= (number if action == "CreateSnapshots" else 20)
    fleet.pulumi("cancel", "--yes").ok()
    fleet.up().ok()
    assert before <= set(fleet.outputs()["sets"].values())
    assert len(find_sets(ec2)) == 20
    assert {claim for found in find_sets(ec2).values() for claim in found.claims} == {recorded(fleet)["claim"]}
