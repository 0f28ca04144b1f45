"""Slips in a program end in one line that says what to write, and before anything is created."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import Project, mutating

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

HEAD = "import pulumi, pulumi_aws as aws\nfrom snapset import *\ninstance = pulumi.Config().require('instance')\n"

SLIPS = {
    "InstanceSnapshots('b')": "InstanceSnapshots: instance is missing. Write InstanceSnapshots(name, instance=",
    "InstanceSnapshots(instance=instance)": "calling InstanceSnapshots: missing a required argument: 'name'.",
    "InstanceSnapshots('b', instance_id=instance)": "there is no input instance_id. Did you mean instance?",
    "InstanceSnapshots('b', instance)": "reading InstanceSnapshots: the inputs are keywords.",
    "InstanceSnapshots('b', instance=aws.ec2.get_instance(instance_id=instance))": (
        "instance is of type AwaitableGetInstanceResult. Give the id in it."
    ),
    "InstanceSnapshots('b', instance=instance, wait=pulumi.Output.from_input(False))": (
        "reading wait: it is neither True nor False."
    ),
    "InstanceSnapshots('b', instance=instance, wait_timeout=3600)": (
        "reading wait_timeout: it is int, not a string. Use 90s, 30m or 2h."
    ),
    "InstanceSnapshots('b', instance=instance, triggers={'a': [pulumi.StringAsset('x')]})": (
        "reading triggers: a Pulumi asset can't be kept in the state. Give a hash of the content"
    ),
    "InstanceSnapshots('b', instance=instance, triggers=pulumi.Output.from_input(1).apply(lambda _: b'x'))": (
        "reading triggers: a value of type bytes can't be kept."
    ),
    "InstanceSnapshots('b', instance=pulumi.Output.secret('hidden'))": "'[secret]' is not an instance id",
    "InstanceSnapshots('b', instance=instance, location=pulumi.Output.secret('hidden'))": "'[secret]' is not one of",
    "get_snapshots(setid='set-1')": "calling get_snapshots: got an unexpected keyword argument 'setid'.",
    "get_snapshots_output('set-0123456789abcdef0')": "calling get_snapshots_output: too many positional arguments.",
    "get_snapshots_output(set_id=pulumi.Output.secret('hidden'))": "'[secret]' is not the id of a set",
    "backup_before_change(tag={'a': 'b'})": "calling backup_before_change: got an unexpected keyword argument 'tag'.",
    "InstanceSnapshots('b', instance=instance, tags=pulumi.Output.secret({'aws:hidden': 'x'}))": (
        "tag key '[secret]': keys that start with 'aws:' are reserved by AWS"
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line_and_creates_nothing(
    program: Callable[[str], Project], ec2: EmbeddedEC2, slip: str
) -> None:
    project = program(f"{HEAD}{slip}\n")
    aws_plugin.install(project.env)
    project.config = {"instance": ec2.launch().instance_id}
    ec2.clear_calls()
    failed = project.up().failed()
    assert SLIPS[slip] in failed.text
    assert "hidden" not in failed.text
    assert "never awaited" not in failed.text
    assert mutating(ec2.calls()) == []


def test_what_a_component_ignores_its_set_ignores(program: Callable[[str], Project], ec2: EmbeddedEC2) -> None:
    ignoring = "opts=pulumi.ResourceOptions(ignore_changes=['triggers', 'instance'])"
    project = program(
        f"{HEAD}InstanceSnapshots('b', instance=instance, triggers=pulumi.Config().get('t'), {ignoring})\n"
    )
    project.config = {"instance": ec2.launch().instance_id, "t": "1"}
    project.up().ok()
    [first] = project.sets()
    project.config |= {"instance": ec2.launch().instance_id, "t": "2"}
    project.up().ok()
    assert [resource["id"] for resource in project.sets()] == [first["id"]]
