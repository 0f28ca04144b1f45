"""`snapset check` as a monitoring system runs it, without an engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine, InProcess
from support.project import Run, mutating, run_environment
from support.restores import take_set

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    env = run_environment(tmp_path, ec2.environment())
    return InProcess({**env, "PATH": "", "PULUMI_BACKEND_URL": "file:///nonexistent"}, tmp_path)


def instances_in(run: Run) -> dict[str, Any]:
    return {record["instance_id"]: record for record in json.loads(run.stdout)["instances"]}


def test_instances_without_a_fresh_set_are_named_and_end_with_6(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    fresh, bare = ec2.launch(tags={"app": "web"}), ec2.launch(tags={"app": "web"})
    taken = take_set(ec2, fresh)
    ec2.clear_calls()
    run = snapset("check", "--filter", "tag:app=web", "--json").failed()
    assert run.code == 6
    assert [call["action"] for call in ec2.calls()] == ["DescribeInstances", "DescribeSnapshots"]
    assert {key: record["ok"] for key, record in instances_in(run).items()} == {
        fresh.instance_id: True,
        bare.instance_id: False,
    }
    assert instances_in(run)[fresh.instance_id]["set_id"] == taken
    assert json.loads(run.stdout)["error"]["type"] == "NotFresh"
    assert run.stderr.splitlines()[-1] == (
        f"snapset: 1 of 2 instances have no whole, completed set younger than 24h: {bare.instance_id}"
    )
    take_set(ec2, bare)
    shown = snapset("check").ok().stdout
    assert shown.count("fresh") == 2
    assert max(map(len, shown.splitlines())) <= 80
    assert mutating(ec2.calls())


def test_a_look_that_aws_throttles_is_made_again(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    take_set(ec2, ec2.launch())
    ec2.fault(action="DescribeInstances", kind="error", code="RequestLimitExceeded", times=4)
    assert "RequestLimitExceeded: trying again in" in snapset("check").ok().stderr


def test_a_full_disk_behind_stdout_is_one_line(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    take_set(ec2, ec2.launch())
    with open("/dev/full", "w") as full, snapset.start("check", "--json", stdout=full.fileno()) as process:
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("snapset: OSError: [Errno 28]")
    assert "Traceback" not in stderr


def test_a_set_grows_old(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    instance = ec2.launch()
    take_set(ec2, instance)
    snapshot_ids = [item["SnapshotId"] for item in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]]
    ec2.age(snapshot_ids, seconds=2 * 3600)
    snapset("check", "--instance", instance.instance_id, "--max-age", "3h").ok()
    run = snapset("check", "--instance", instance.instance_id, "--max-age", "1h").failed()
    assert run.code == 6
    assert "old" in run.stdout


def test_a_set_in_the_archive_does_not_count_and_is_shown_as_archived(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    set_id = take_set(ec2, ec2.launch())
    for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        ec2.ec2().modify_snapshot_tier(SnapshotId=snapshot["SnapshotId"], StorageTier="archive")
    run = snapset("check").failed()
    assert run.code == 6
    assert f"{set_id} of " in run.stderr
    assert "does not count: it is in the archive" in run.stderr
    for arguments in (["list"], ["list", "--state", "archived"], ["show", set_id]):
        assert "archived" in snapset(*arguments).ok().stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--filter", "web"], "write it as NAME=VALUE"),
        (["--filter", "tag:app=nonesuch"], "none that is running or stopped matches tag:app=nonesuch. Check the"),
        ([], "none that is running or stopped matches. Check the filter, the Region and the account."),
    ],
)
def test_bad_input_ends_with_2(snapset: CommandLine, arguments: list[str], said: str) -> None:
    run = snapset("check", *arguments, "--json").failed()
    assert run.code == 2
    assert said in run.stderr
    assert json.loads(run.stdout)["error"]["message"]


def test_thousands_of_snapshots_are_one_call_a_thousand(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    instance = ec2.launch([(1, f"/dev/sd{letter}", {}) for letter in "fghijklmn"])
    take_set(ec2, instance)
    for _ in range(110):
        ec2.ec2().create_snapshots(InstanceSpecification={"InstanceId": instance.instance_id})
    ec2.clear_calls()
    snapset("check").ok()
    assert len(ec2.calls("DescribeSnapshots")) == 2
