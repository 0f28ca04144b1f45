"""Slips in a program end in one line that says what to write, and before anything is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support import aws_plugin
from support.project import Project, mutating

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

HEAD = "import pulumi, pulumi_aws as aws\nfrom snapset import *\ninstance = pulumi.Config().require('instance')\n"

# What the program itself raises, as it is called. In place of NAME each slip has a name of its own.
CALLS = {
    "InstanceSnapshots(NAME)": "reading InstanceSnapshots NAME: instance is missing. Add instance=... to it.",
    "InstanceSnapshots(instance=instance)": "calling InstanceSnapshots: missing a required argument: 'name'.",
    "InstanceSnapshots(NAME, instance_id=instance)": (
        "reading InstanceSnapshots NAME: there is no input instance_id. Did you mean instance?"
    ),
    "InstanceSnapshots(NAME, instance=instance, on_delete='delete')": (
        "reading InstanceSnapshots NAME: there is no input on_delete. "
    ),
    "FleetSnapshots(NAME, instances=[instance], on_delete='delete')": (
        "reading FleetSnapshots NAME: there is no input on_delete. "
    ),
    "backup_before_change(on_delete='retain')": "calling backup_before_change: got an unexpected keyword argument",
    "InstanceSnapshots(NAME, instance)": "reading InstanceSnapshots NAME: the inputs are keywords.",
    "InstanceSnapshots(NAME, instance=aws.ec2.get_instance(instance_id=instance))": (
        "instance is of type AwaitableGetInstanceResult. Give the id in it."
    ),
    "InstanceSnapshots(NAME, instance=instance, wait=pulumi.Output.from_input(False))": (
        "reading InstanceSnapshots NAME: wait is neither True nor False."
    ),
    "InstanceSnapshots(NAME, instance=instance, wait=0)": (
        "reading InstanceSnapshots NAME: wait is neither True nor False."
    ),
    "InstanceSnapshots(NAME, instance=instance, triggers=[2**53, 2**53 + 1])": (
        "NAME: triggers: 9007199254740993 can't be kept exactly. Give it as a string."
    ),
    "FleetSnapshots(NAME, instances=instance)": "instances is of type str. Give a list, such as [server] or ",
    "FleetSnapshots(NAME, instances={'a': instance})": "instances is of type dict. Give a list, such as [server] or ",
    "FleetSnapshots(NAME, instances=aws.ec2.Instance(NAME, ami='ami-12345678', instance_type='t3.micro'))": (
        "instances is of type Instance. Give a list, such as [server] or "
    ),
    "FleetSnapshots(NAME, instances=[aws.ec2.Instance(NAME + letter, ami='ami-12345678', instance_type='t3.micro', "
    "opts=pulumi.ResourceOptions(provider=aws.Provider(NAME + letter, region='us-east-1'))) for letter in 'ab'])": (
        "reading the instances: they are of several providers. Make one resource for those of each, or name "
    ),
    "InstanceSnapshots(NAME, instance=instance, wait_timeout=3600)": (
        "reading InstanceSnapshots NAME: wait_timeout: it is int, not a string. Use 90s, 30m or 2h."
    ),
    "InstanceSnapshots(NAME, instance=instance, triggers={'a': [pulumi.StringAsset('x')]})": (
        "NAME: triggers: a Pulumi asset can't be kept in the state. Give a hash of the content"
    ),
    "get_snapshots(setid='set-1')": "calling get_snapshots: got an unexpected keyword argument 'setid'.",
    "get_snapshots_output('set-0123456789abcdef0')": "calling get_snapshots_output: too many positional arguments.",
    "get_snapshots(set_id=pulumi.Output.from_input('set-0123456789abcdef0'))": (
        "reading get_snapshots: set_id is known later only. Call get_snapshots_output instead."
    ),
    "get_snapshots(instance=instance, latest='false')": "reading get_snapshots: latest: 'false' is neither true nor",
    "get_snapshots(instance=instance, change_id='a', latest=True)": "latest=True goes with an instance alone. Leave ",
    "get_snapshots(set_id='set-0123456789abcdef0', latest=True)": "latest=True goes with an instance alone. Leave ",
    "backup_before_change(provider='aws')": "provider is of type str. Give an aws.Provider.",
    "backup_before_change(name=None)": "reading backup_before_change: name is None. Give a string; ",
    "InstanceSnapshots(NAME, instance=instance, opts=pulumi.ResourceOptions(import_='set-0123456789abcdef0'))": (
        "reading InstanceSnapshots NAME: import_: a set can't be imported, it is taken. get_snapshots and "
    ),
    "FleetSnapshots(NAME, instances=[instance], opts=pulumi.ResourceOptions(import_='fleet-0'))": (
        "reading FleetSnapshots NAME: import_: a set can't be imported, it is taken. get_snapshots and "
    ),
    "backup_before_change(tag={'a': 'b'})": "calling backup_before_change: got an unexpected keyword argument 'tag'.",
}
# What is noticed once a value is known, or by the provider; and one of the others, as the engine shows it.
RUNS = {
    "InstanceSnapshots('b', instance=instance, on_delete='delete')": (
        "error: InputError: reading InstanceSnapshots b: there is no input on_delete. "
    ),
    "InstanceSnapshots('b', instance=instance, triggers=pulumi.Output.from_input(1).apply(lambda _: b'x'))": (
        "b: triggers: a value of type bytes can't be kept."
    ),
    "InstanceSnapshots('b', instance=aws.ec2.get_instance_output(instance_id=instance))": (
        "b: instance_id: a value of type GetInstanceResult can't be kept. Give the id in it."
    ),
    "InstanceSnapshots('b', instance=pulumi.Output.secret('hidden'))": "'[secret]' is not an instance id",
    "InstanceSnapshots('b', instance=instance, location=pulumi.Output.secret('hidden'))": "'[secret]' is not one of",
    "get_snapshots_output(set_id=pulumi.Output.secret('hidden'))": "'[secret]' is not the id of a set",
    "InstanceSnapshots('b', instance=instance, tags=pulumi.Output.secret({'aws:hidden': 'x'}))": (
        "tag key '[secret]': keys that start with 'aws:' are reserved by AWS"
    ),
}


def test_each_slip_is_named_with_what_to_write(program: Callable[[str], Project], ec2: EmbeddedEC2) -> None:
    calls = {call.replace("NAME", f"'b{number}'"): f"b{number}" for number, call in enumerate(CALLS)}
    project = program(
        f"import json\n{HEAD}told = {{}}\nfor call in {list(calls)!r}:\n"
        "    try:\n        eval(call)\n    except pulumi.RunError as error:\n        told[call] = str(error)\n"
        "with open('told.json', 'w') as file:\n    json.dump(told, file)\n"
    )
    aws_plugin.install(project.env)
    project.config = {"instance": ec2.launch().instance_id}
    ec2.clear_calls()
    project.preview().ok()
    told = json.loads((project.cwd / "told.json").read_text())
    for (call, name), said in zip(calls.items(), CALLS.values(), strict=True):
        assert said.replace("NAME", name) in told[call]
        assert told[call].startswith("InputError: ")
    assert mutating(ec2.calls()) == []


@pytest.mark.parametrize("slip", RUNS)
def test_a_slip_is_one_line_and_creates_nothing(
    program: Callable[[str], Project], ec2: EmbeddedEC2, slip: str
) -> None:
    project = program(f"{HEAD}{slip}\n")
    aws_plugin.install(project.env)
    project.config = {"instance": ec2.launch().instance_id}
    ec2.clear_calls()
    failed = project.up().failed()
    assert RUNS[slip] in failed.text
    assert "hidden" not in failed.text
    assert "never awaited" not in failed.text
    assert mutating(ec2.calls()) == []


def test_what_is_secret_among_a_components_outputs_is_secret_in_its_set(
    program: Callable[[str], Project], ec2: EmbeddedEC2
) -> None:
    opts = "opts=pulumi.ResourceOptions(additional_secret_outputs=['snapshot_ids'])"
    project = program(f"{HEAD}InstanceSnapshots('b', instance=instance, {opts})\n")
    project.config = {"instance": ec2.launch().instance_id}
    project.up().ok()
    [snapshot_set] = project.sets()
    assert "ciphertext" in snapshot_set["outputs"]["snapshot_ids"]


@pytest.mark.parametrize("ignored", [["triggers", "instance"], ["*"]])
def test_what_a_component_ignores_its_set_ignores(
    program: Callable[[str], Project], ec2: EmbeddedEC2, ignored: list[str]
) -> None:
    ignoring = f"opts=pulumi.ResourceOptions(ignore_changes={ignored})"
    project = program(
        f"{HEAD}InstanceSnapshots('b', instance=instance, triggers=pulumi.Config().get('t'), {ignoring})\n"
    )
    project.config = {"instance": ec2.launch().instance_id, "t": "1"}
    project.up().ok()
    [first] = project.sets()
    project.config |= {"instance": ec2.launch().instance_id, "t": "2"}
    project.up().ok()
    assert [resource["id"] for resource in project.sets()] == [first["id"]]
