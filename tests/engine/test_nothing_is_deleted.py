"""Nothing that Pulumi does deletes a snapshot: every order of the engine, for one set and for a fleet side by side.

Each order is a table, a step a row. After each step every snapshot that ever was is still there, EC2 was not asked to
delete any, and where a resource has gone, the command that deletes its sets was shown.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import DELETE_FIRST, Project, Run, changes, until
from support.sets import find_sets, find_taken, wait_for_calls

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

PROGRAM = (
    DELETE_FIRST
    + """
from snapset import FleetSnapshots, InstanceSnapshots

config = pulumi.Config()


class Shop(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("my:index:Shop", name)


options = pulumi.ResourceOptions(
    transformations=[delete_first] if config.get_bool("deleteFirst") else None,
    aliases=[pulumi.Alias(name=config.get("alias"))] if config.get("alias") else None,
    parent=Shop(config.get("parent")) if config.get("parent") else None,
)
if not config.get_bool("removed"):
    name, shared = config.get("name") or "old", {"triggers": config.get("triggers"), "wait": False, "opts": options}
    InstanceSnapshots(name, instance=config.require("instance"), **shared)
    FleetSnapshots(name, instances=config.require_object("instances"), **shared)
"""
)

# A replacement of the instance deletes what depends on it, before it and first.
WITH_ITS_INSTANCE = """
import pulumi
import pulumi_aws as aws
from snapset import FleetSnapshots, InstanceSnapshots

server = aws.ec2.Instance(
    "server", ami=pulumi.Config().get("ami") or "ami-12345678", instance_type="t3.micro",
    availability_zone="us-east-1a", opts=pulumi.ResourceOptions(delete_before_replace=True),
)
InstanceSnapshots("one", instance=server, wait=False)
FleetSnapshots("fleet", instances=[server], wait=False)
"""


@dataclass
class Order:
    """A project, what it has in EC2, and the sets that each of its resources has had."""

    project: Project
    ec2: EmbeddedEC2
    monkeypatch: pytest.MonkeyPatch
    ever: set[str] = field(default_factory=set)

    def recorded(self) -> set[str]:
        """The ids of the sets in the state, with those that are to be deleted."""
        return {record["id"] for record in self.project.sets()}

    def urns(self) -> list[str]:
        return sorted({record["urn"] for record in self.project.sets()})

    def switch_to(self, stack: str) -> None:
        """Go on with another stack of the project."""
        self.monkeypatch.setattr("support.project.STACK", stack)
        self.project.config_file = self.project.cwd / f"Pulumi.{stack}.yaml"
        self.project.state_file = self.project.state_file.with_name(f"{stack}.json")

    def do(self, run: Callable[[Order], Run], **changed: Any) -> None:
        """Change the program's config, run something, and check what must be true then.

        Nothing is lost, and of what has left the state it was said how to delete it.
        """
        before = self.recorded()
        config = {**self.project.config, **changed}
        self.project.config = {key: value for key, value in config.items() if value is not None}
        ran = run(self)
        there = find_sets(self.ec2)
        assert self.ever <= {key for found in there.values() for key in found.ids}
        self.ever = {key for found in there.values() for key in found.ids}
        assert self.ec2.calls("DeleteSnapshot") == []
        # The engine shows each line twice: at once, and in its summary.
        said = ran.stdout.partition("Diagnostics:")[2]
        named = re.findall(r"stays? in AWS. To delete(?: it)?: snapset delete ((?:set-\w+ )+)--region", said)
        told = [set_id for text in named for set_id in text.split()]
        # Each set that has left the state is named once, and no other.
        assert sorted(told) == sorted(before - self.recorded()), ran.text


@pytest.fixture
def order(program: Callable[[str], Project], ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch) -> Order:
    project = program(PROGRAM)
    one, *fleet = (ec2.launch().instance_id for _ in range(3))
    project.config = {"instance": one, "instances": fleet, "triggers": "0"}
    return Order(project, ec2, monkeypatch)


def up(order: Order) -> Run:
    return order.project.up().ok()


def force(order: Order) -> Run:
    return order.project.up(*(word for urn in order.urns() for word in ("--replace", urn))).ok()


def refused(order: Order) -> Run:
    """One of the new sets is not taken: the run fails, and what was replaced stays in the state."""
    order.ec2.fault(action="CreateSnapshots", kind="deny", times=1)
    return order.project.up().failed()


def killed(order: Order) -> Run:
    """The run is killed once new sets are taken, and before any is claimed."""
    order.ec2.clear_calls()
    order.ec2.fault(action="CreateTags", kind="delay", seconds=3)
    with order.project.start("up", "--yes", "--skip-preview") as process:
        until(lambda: order.ec2.calls("CreateTags"))
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=30)
    wait_for_calls(order.ec2)
    order.ec2.clear_faults()
    assert find_taken(order.ec2)
    order.project.pulumi("cancel", "--yes").ok()
    return Run(process.returncode, stdout, stderr)


def rename_the_stack(order: Order) -> Run:
    renamed = order.project.pulumi("stack", "rename", "other", "--stack", "test").ok()
    order.switch_to("other")
    return renamed


def destroy(order: Order) -> Run:
    return order.project.destroy().ok()


def destroy_with_the_program(order: Order) -> Run:
    return order.project.pulumi("destroy", "--yes", "--skip-preview", "--run-program").ok()


# Each step: what it is, what changes in the program, and what is run; all on one stack, one after the other.
Step = tuple[str, dict[str, Any], Callable[[Order], Run]]
REPLACED: list[Step] = [
    ("created before it is deleted", {"triggers": "1"}, up),
    ("deleted before it is replaced", {"triggers": "2", "deleteFirst": True}, up),
    ("forced, and deleted first", {}, force),
    ("forced", {"deleteFirst": False}, force),
    ("removed from the program", {"removed": True}, up),
]
RENAMED: list[Step] = [
    ("renamed with an alias", {"name": "new", "alias": "old"}, up),
    ("renamed without an alias", {"name": "newer", "alias": None}, up),
    ("given another parent", {"parent": "shop"}, up),
    ("in a stack that is renamed", {}, rename_the_stack),
    ("destroyed", {}, destroy),
]
CUT_OFF: list[Step] = [
    ("a killed replacement", {"triggers": "1"}, killed),
    ("a refused replacement", {"triggers": "2"}, refused),
    ("destroyed", {}, destroy),
]
ORDERS = {"replaced": REPLACED, "renamed": RENAMED, "cut off": CUT_OFF}


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS)
def test_every_snapshot_stays_in_every_order(order: Order, steps: list[Step]) -> None:
    order.do(up)
    assert len(order.ever) == 3
    for what, changed, run in steps:
        # pytest shows it if the step fails.
        print("step:", what)
        order.do(run, **changed)


def test_every_snapshot_stays_if_its_instance_is_replaced_first_and_at_a_destroy_with_the_program(
    program: Callable[[str], Project], ec2: EmbeddedEC2, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = program(WITH_ITS_INSTANCE)
    aws_plugin.install(project.env)
    order = Order(project, ec2, monkeypatch)
    order.do(up)
    order.do(up, ami="ami-87654321")
    assert len(order.ever) == 4
    assert ec2.calls("TerminateInstances")
    order.do(destroy_with_the_program)


def test_every_snapshot_stays_if_one_of_two_stacks_with_the_same_sets_is_destroyed(order: Order) -> None:
    order.do(up)
    exported = order.project.cwd / "exported.json"
    order.project.pulumi("stack", "export", "--file", str(exported), "--stack", "test").ok()
    exported.write_text(exported.read_text().replace("urn:pulumi:test::", "urn:pulumi:copy::"))
    order.project.pulumi("stack", "init", "copy").ok()
    order.project.pulumi("stack", "import", "--file", str(exported), "--stack", "copy").ok()
    both = order.recorded()
    order.switch_to("copy")
    assert order.recorded() == both
    order.do(destroy)
    order.switch_to("test")
    assert changes(order.project.up().ok()).keys() == {"unchanged"}
    assert order.recorded() == both
