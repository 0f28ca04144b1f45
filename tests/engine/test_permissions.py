"""The permissions in docs/permissions.md are exactly those of the calls that snapset makes, for each way of use."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from snapset.aws import ec2 as ec2_calls
from support.command_line import CommandLine
from support.project import REPOSITORY, Project, run_environment
from support.restores import DATA, launch_source, take_set
from support.rollbacks import deploy

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

pytestmark = pytest.mark.long

PAGE = (REPOSITORY / "docs/permissions.md").read_text()
ROWS = dict(re.findall(r"^\| (.+?) \| (.*`(?:ec2|sts):.+) \|$", PAGE, re.MULTILINE))


def allowed(way: str) -> set[str]:
    """The actions in this row of the table, including those of the row that it refers to."""
    actions = set(re.findall(r"`\w+:(\w+)`", ROWS[way]))
    base = re.match(r"as (.+?), and", ROWS[way])
    return actions | (allowed(next(row for row in ROWS if row.startswith(base[1]))) if base else set())


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    env = run_environment(tmp_path, ec2.environment())
    return CommandLine({**env, "SNAPSET_CONSISTENCY_SECONDS": "1"}, tmp_path)


def test_the_policy_grants_exactly_what_taking_sets_needs() -> None:
    [policy] = [json.loads(text) for text in re.findall(r"```json\n(\{\n  \"Version\".*?)```", PAGE, re.DOTALL)]
    granted = {action.removeprefix("ec2:") for statement in policy["Statement"] for action in statement["Action"]}
    [taking] = [row for row in ROWS if row.startswith("taking sets")]
    assert granted == allowed(taking)


IN_STACKS: dict[str, dict[str, Any]] = {
    # What a look at the volumes alone does not tell.
    "taking sets": {"excludeDataVolumeTags": {"backup": "no"}},
    "… with `location`": {"location": "local", "aws:region": "us-west-2"},
}


@pytest.mark.parametrize("way", IN_STACKS)
def test_a_set_in_a_stack_needs_exactly_the_permissions_of_its_row(
    project: Project, ec2: EmbeddedEC2, way: str
) -> None:
    local: dict[str, Any] = (
        {"zone": "us-west-2-lax-1a", "region": "us-west-2"} if "location" in IN_STACKS[way] else {}
    )
    project.config = {"instanceId": ec2.launch([(20, "/dev/sdf", {})], **local).instance_id, **IN_STACKS[way]}
    ec2.clear_calls()
    project.preview().ok()
    project.up().ok()
    project.config["triggers"] = "again"
    project.up().ok()
    project.refresh().ok()
    project.destroy().ok()
    [row] = [row for row in ROWS if row.startswith(way)]
    assert called(ec2) == allowed(row)


def source_of(ec2: EmbeddedEC2) -> LaunchedInstance:
    """An instance one of whose data volumes goes with it."""
    source = launch_source(ec2)
    mapping: Any = {"DeviceName": DATA, "Ebs": {"DeleteOnTermination": True}}
    ec2.ec2().modify_instance_attribute(InstanceId=source.instance_id, BlockDeviceMappings=[mapping])
    return source


def backup(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    instance = ec2.launch([(20, "/dev/sdf", {})]).instance_id
    ec2.clear_calls()
    snapset("backup", "--filter", f"instance-id={instance}").ok()
    snapset("backup", instance, "--preview", "--change-id", "c").ok()


def read(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    set_id = take_set(ec2, ec2.launch())
    ec2.clear_calls()
    for command in (["list"], ["wait", set_id]):
        snapset(*command).ok()


def show(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    set_id = take_set(ec2, ec2.launch())
    ec2.clear_calls()
    snapset("show", set_id).ok()


def prune(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    instance = ec2.launch()
    for number in (1, 2):
        take_set(ec2, instance, triggers=number)
    ec2.clear_calls()
    snapset("prune", "--keep-last", "1", "--yes").ok()
    assert ec2.calls("DeleteSnapshot")


def delete(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    set_id = take_set(ec2, ec2.launch())
    ec2.clear_calls()
    snapset("delete", set_id, "--yes").ok()
    assert ec2.calls("DeleteSnapshot")


def restore(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    set_id, target = take_set(ec2, source_of(ec2)), ec2.launch().instance_id
    ec2.clear_calls()
    snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    snapset("restore", set_id, "--availability-zone", "us-east-1a").ok()


def pin(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    prune(snapset, ec2)
    [taken, *_] = ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
    set_id = next(tag["Value"] for tag in taken["Tags"] if tag["Key"] == "snapset:set")
    snapset("prune", "--pin", set_id).ok()


def check(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    take_set(ec2, ec2.launch())
    ec2.clear_calls()
    snapset("check").ok()


def roll_back(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    ec2.clear_calls()
    snapset("rollback", deployed.instance_id, "--yes").ok()


def roll_back_and_delete(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    deployed = deploy(ec2)
    ec2.clear_calls()
    snapset("rollback", deployed.instance_id, "--delete-replaced", "--yes").ok()


def image(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    set_id = take_set(ec2, ec2.launch())
    ec2.clear_calls()
    snapset("image", set_id).ok()


def image_again(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    image(snapset, ec2)
    [found] = ec2.ec2().describe_images(Owners=["self"])["Images"]
    ec2.clear_calls()
    snapset("image", next(tag["Value"] for tag in found["Tags"])).ok()


def doctor(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    ec2.clear_calls()
    snapset("doctor").ok()


COMMANDS: dict[str, Callable[[CommandLine, EmbeddedEC2], None]] = {
    "taking sets: in a stack, with a guard, `snapset backup`": backup,
    "`snapset list`, `wait`, `get_snapshots`": read,
    "`snapset show`": show,
    "`snapset check`": check,
    "`snapset prune`": prune,
    "… with `--pin`": pin,
    "`snapset delete`": delete,
    "`snapset restore`": restore,
    "`snapset image`": image,
    "… of a set that has one": image_again,
    "`snapset rollback`": roll_back,
    "… with `--delete-replaced`, `--delete-leftovers`": roll_back_and_delete,
    "`snapset doctor`": doctor,
}


@pytest.mark.parametrize("way", COMMANDS)
def test_a_command_needs_exactly_the_permissions_of_its_row(snapset: CommandLine, ec2: EmbeddedEC2, way: str) -> None:
    COMMANDS[way](snapset, ec2)
    # These need ec2:CreateTags too, without a call of it, since they tag what they make.
    makers = ("CreateVolume", "CreateSnapshots", "RegisterImage")
    implied = {"CreateTags"} if any(map(ec2.calls, makers)) else set()
    assert called(ec2) | implied == allowed(way)


def called(ec2: EmbeddedEC2) -> set[str]:
    return {call["action"] for call in ec2.calls()}


def test_every_row_has_a_test() -> None:
    # The embedded EC2 knows no requests of Spot Instances.
    tried = [*COMMANDS, *IN_STACKS, "… of a Spot Instance"]
    assert [row for row in ROWS if not any(row.startswith(way) for way in tried)] == []


def test_every_permission_that_an_error_asks_for_is_in_the_table() -> None:
    folder = REPOSITORY / "components/snapset/aws"
    named = re.findall(r"needs=\"sts:(\w+)\"", (folder / "session.py").read_text())
    # The action is the second argument of each of these, and the permission has its name.
    calls = [
        eval(ast.unparse(node.args[1]), vars(ec2_calls))
        for node in ast.walk(ast.parse((folder / "ec2.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("self._call", "self._call_pages")
    ]
    assert {*named, *calls} == set().union(*map(allowed, ROWS))
