"""Pipelines that share their state in S3 take one set per change, however many run at once."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from support.command_line import CommandLine
from support.project import Run, run_environment, until

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
    from support.processes import Processes

pytestmark = pytest.mark.long

BUCKET = "their-state"
# A job as a team would write it. Two pipelines run it at once.
PIPELINE = """
set -eu
snapset backup "$INSTANCE" --change-id "$GIT_SHA" --tag app=shop --json > backup.json
touch deployed
"""


@pytest.fixture
def backend(ec2: EmbeddedEC2) -> str:
    """The URL of a new bucket."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": ec2.region}
    boto3.client("s3", endpoint_url=ec2.endpoint, **keys).create_bucket(Bucket=BUCKET)  # type: ignore[call-overload]
    return f"s3://{BUCKET}?endpoint={ec2.endpoint}&s3ForcePathStyle=true&region={ec2.region}&disableSSL=true"


def start(folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start the pipeline as on a separate machine."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        ["sh", "-c", PIPELINE],
        cwd=folder,
        env=run_environment(folder, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> Run:
    with process:
        stdout, stderr = process.communicate(timeout=120)
    return Run(process.returncode, stdout, stderr)


def snapshot_ids_in(folder: Path) -> list[str]:
    [taken] = json.loads((folder / "backup.json").read_text())["sets"]
    ids: list[str] = taken["snapshot_ids"]
    return ids


@pytest.mark.race
def test_two_pipelines_at_once_with_the_same_change_id_make_one_set(
    ec2: EmbeddedEC2, instance: LaunchedInstance, backend: str, tmp_path: Path
) -> None:
    env = {**ec2.environment(), "PULUMI_BACKEND_URL": backend, "INSTANCE": instance.instance_id, "GIT_SHA": "3f2a"}
    folders = [tmp_path / "first", tmp_path / "second"]
    runs = [end(process) for process in [start(folder, env) for folder in folders]]
    codes = sorted(run.code for run in runs)
    assert codes in ([0, 0], [0, 5]), [run.text for run in runs]
    for folder, run in zip(folders, runs, strict=True):
        assert (folder / "deployed").exists() == (run.code == 0)
        if run.code:
            end(start(folder, env)).ok()
    first, second = map(snapshot_ids_in, folders)
    there = ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert first == second
    assert sorted(first) == sorted(snapshot["SnapshotId"] for snapshot in there)
    assert sum(call["carried_out"] for call in ec2.calls("CreateSnapshots")) == 1


def test_the_lock_of_a_killed_pipeline_is_reported_with_its_holder_and_can_be_cleared(
    ec2: EmbeddedEC2, instance: LaunchedInstance, backend: str, tmp_path: Path, processes: Processes
) -> None:
    snapset = CommandLine(run_environment(tmp_path, {**ec2.environment(), "PULUMI_BACKEND_URL": backend}), tmp_path)
    backup = ("backup", instance.instance_id, "--change-id", "release/42", "--json")
    # As long as the set is not claimed, the engine is at work, and the set serves nobody.
    ec2.fault(action="CreateSnapshots", kind="delay_after", seconds=5)
    with snapset.start(*backup) as killed:
        until(lambda: any(call["carried_out"] for call in ec2.calls("CreateSnapshots")))
        [pid] = processes.running("engine")
        processes.kill("engine")
        killed.communicate(timeout=60)
    taken = {snapshot["SnapshotId"] for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"]}

    locked = snapset(*backup, "--lock-timeout", "1s").failed()
    assert locked.code == 5
    message = locked.stderr.splitlines()[-1]
    assert f"{os.uname().nodename} (pid {pid}) holds it since " in message
    assert message.endswith("clear its lock first: snapset unlock --change-id release/42 --region us-east-1")
    cleared = snapset("unlock", "--change-id", "release/42", "--region", "us-east-1", "--yes").ok()
    assert f"(pid {pid}) holds it since" in cleared.stderr
    document: dict[str, Any] = json.loads(snapset(*backup).ok().stdout)
    assert set(document["sets"][0]["snapshot_ids"]) == taken
