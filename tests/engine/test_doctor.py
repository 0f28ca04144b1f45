"""`snapset doctor` reports each thing that a backup lacks in one line, with the fix."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine, InProcess
from support.project import Run, mutating, run_environment

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2

CHECKS = ["engine", "plugins", "state", "region", "credentials"]
ACTIONS = ["DescribeInstances", "DescribeSnapshots", "DescribeVolumes", "CreateSnapshots", "CreateTags"]
PERMISSIONS = [f"ec2:{action}" for action in ACTIONS]
SYSTEM = "/usr/bin:/bin"


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return InProcess(run_environment(tmp_path, ec2.environment()), tmp_path)


@pytest.fixture
def without_engine(snapset: CommandLine, tmp_path: Path) -> CommandLine:
    """A machine on which Pulumi was never installed."""
    snapset.env |= {"PATH": SYSTEM, "SNAPSET_ENGINE_DIR": str(tmp_path / "no-engine")}
    return snapset


def lines(run: Run) -> list[str]:
    assert run.stderr == ""
    return run.stdout.splitlines()


def to_fix(run: Run) -> list[str]:
    assert run.code == 1
    return [line.removeprefix("to fix  ") for line in lines(run) if not line.startswith("ok      ")]


def put_engine(folder: Path, script: str) -> str:
    """Make this script the `pulumi` in a new folder, and return a PATH that starts with the folder."""
    folder.mkdir()
    (folder / "pulumi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "pulumi").chmod(0o755)
    return os.pathsep.join([str(folder), SYSTEM])


def test_without_problems_each_check_is_ok_and_nothing_is_changed(
    snapset: CommandLine, ec2: EmbeddedEC2, tmp_path: Path
) -> None:
    instance = ec2.launch().instance_id
    ec2.clear_calls()
    run = snapset("doctor", "--instance", instance, "--json").ok()
    findings: list[dict[str, Any]] = json.loads(run.stdout)["findings"]
    assert [finding["check"] for finding in findings] == CHECKS + PERMISSIONS
    assert all(finding["ok"] for finding in findings)
    assert {call["action"] for call in ec2.calls()} == {"GetCallerIdentity", *ACTIONS}
    assert mutating(ec2.calls()) == []
    assert list((tmp_path / "state").rglob("*.json*")) == []


def test_a_missing_engine_is_reported_with_where_to_get_it(without_engine: CommandLine) -> None:
    run = without_engine("doctor")
    [line] = to_fix(run)
    assert line.startswith("engine: starting the Pulumi engine: there is no `pulumi` on PATH. Install it from https:")
    assert len(lines(run)) == len(["engine", "region", "credentials", *PERMISSIONS])


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo v2.0.0", "engine: starting the Pulumi engine: Minimum version requirement failed."),
        ("exit 7", "engine: starting the Pulumi engine: Command '['pulumi', 'version']' returned non-zero exit"),
    ],
)
def test_an_engine_that_is_too_old_or_broken_is_reported(
    without_engine: CommandLine, tmp_path: Path, script: str, expected: str
) -> None:
    without_engine.env["PATH"] = put_engine(tmp_path / "bin", script)
    [line] = to_fix(without_engine("doctor"))
    assert line.startswith(expected)


def test_an_engine_without_its_python_plugins_is_reported(without_engine: CommandLine, tmp_path: Path) -> None:
    pulumi = shutil.which("pulumi")
    without_engine.env["PATH"] = put_engine(tmp_path / "bin", f'exec "{pulumi}" "$@"')
    [line] = to_fix(without_engine("doctor"))
    assert "pulumi-language-python and pulumi-resource-pulumi-python missing on PATH and beside" in line
    assert line.endswith("Install Pulumi again: they belong to it.")


def test_a_state_that_can_not_be_used_is_reported(snapset: CommandLine, ec2: EmbeddedEC2) -> None:
    query = f"endpoint={ec2.endpoint}&s3ForcePathStyle=true&region={ec2.region}&disableSSL=true"
    snapset.env["PULUMI_BACKEND_URL"] = f"s3://nobody-made-this?{query}"
    [line] = to_fix(snapset("doctor"))
    assert line.startswith("state: using the state: ")
    assert "NoSuchBucket" in line
    assert "Check PULUMI_BACKEND_URL, or `pulumi login`, and the permission to read and write there." in line


def test_missing_credentials_are_reported_with_how_to_set_them(snapset: CommandLine) -> None:
    del snapset.env["AWS_ACCESS_KEY_ID"], snapset.env["AWS_SECRET_ACCESS_KEY"]
    run = snapset("doctor")
    [line] = to_fix(run)
    assert line.startswith("credentials: ")
    assert "no AWS credentials were found. Set AWS_PROFILE, AWS_ACCESS_KEY_ID" in line
    assert len(lines(run)) == len(CHECKS)


def test_credentials_that_aws_refuses_are_reported(without_engine: CommandLine, ec2: EmbeddedEC2) -> None:
    ec2.fault(kind="error", action="GetCallerIdentity", code="InvalidClientTokenId", status=403)
    _, line = to_fix(without_engine("doctor"))
    assert "InvalidClientTokenId" in line
    assert line.endswith("Renew or correct the AWS credentials.")


def test_a_missing_region_is_reported_with_how_to_set_it(without_engine: CommandLine) -> None:
    del without_engine.env["AWS_REGION"], without_engine.env["AWS_DEFAULT_REGION"]
    _, line = to_fix(without_engine("doctor"))
    assert line.startswith("region: looking up the Region: no Region is set. Set region (--region)")


@pytest.mark.parametrize("denied", [["CreateTags"], ACTIONS])
def test_each_missing_permission_is_reported_on_its_own_line(
    without_engine: CommandLine, ec2: EmbeddedEC2, denied: list[str]
) -> None:
    for action in denied:
        ec2.fault(kind="deny", action=action)
    _, *found = to_fix(without_engine("doctor"))
    assert [line.split(": ")[0] for line in found] == [f"ec2:{action}" for action in denied]
    for action, line in zip(denied, found, strict=True):
        assert "UnauthorizedOperation" in line
        assert f"Allow ec2:{action}" in line


def test_an_instance_that_does_not_exist_is_reported(without_engine: CommandLine) -> None:
    _, line = to_fix(without_engine("doctor", "--instance", "i-0123456789abcdef0"))
    described = "ec2:DescribeInstances: describing instance i-0123456789abcdef0"
    assert line.startswith(f"{described}: InvalidInstanceID.NotFound")
