"""snapset also works on an EC2 endpoint that answers less than AWS does: unmodified moto."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from support.command_line import CommandLine
from support.project import Project, changes, run_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def stock() -> Iterator[dict[str, str]]:
    """The environment variables that make an unmodified moto the AWS endpoint."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    env = {**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                break
        assert found is not None
        yield {
            "AWS_ENDPOINT_URL_EC2": found[1],
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }
        server.stderr.close()
        server.terminate()


@pytest.fixture
def instance_id(stock: dict[str, str]) -> str:
    ec2 = client(stock)
    instance = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"][0]
    volume = ec2.create_volume(Size=20, AvailabilityZone=instance["Placement"]["AvailabilityZone"])
    ec2.attach_volume(InstanceId=instance["InstanceId"], VolumeId=volume["VolumeId"], Device="/dev/sdf")
    return str(instance["InstanceId"])


def client(stock: dict[str, str]) -> Any:
    return boto3.client(
        "ec2",
        endpoint_url=stock["AWS_ENDPOINT_URL_EC2"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def test_the_stack_takes_a_set_once(stock: dict[str, str], instance_id: str, tmp_path: Path) -> None:
    project = Project(tmp_path, environment=stock)
    project.config = {"instanceId": instance_id}
    project.up().ok()
    assert changes(project.up().ok()) == {"unchanged": 3}
    found = client(stock).describe_snapshots(Filters=[{"Name": "tag:snapset:instance", "Values": [instance_id]}])
    assert {snapshot["SnapshotId"] for snapshot in found["Snapshots"]} == set(project.outputs()["snapshotIds"])


def test_the_command_prints_the_ids_that_describe_snapshots_returns(
    stock: dict[str, str], instance_id: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from snapset.cli import main; main()", "backup", instance_id]
    options = ["--json", "--no-wait", "--tag", "app=stock", "--description", "before 42"]
    run = subprocess.run(
        [*command, *options], env=run_environment(tmp_path, stock), capture_output=True, text=True, check=True
    )
    [taken] = json.loads(run.stdout)["sets"]
    filters = [{"Name": "tag:app", "Values": ["stock"]}, {"Name": "description", "Values": ["before 42"]}]
    found = client(stock).describe_snapshots(Filters=filters)["Snapshots"]
    assert {snapshot["SnapshotId"] for snapshot in found} == set(taken["snapshot_ids"])


def test_a_rollback_puts_the_instance_back_twice_in_a_row(
    stock: dict[str, str], instance_id: str, tmp_path: Path
) -> None:
    snapset = CommandLine(run_environment(tmp_path, {**stock, "SNAPSET_CONSISTENCY_SECONDS": "2"}), tmp_path)
    snapset("backup", instance_id, "--no-wait", "--change-id", "42").ok()
    seen: list[dict[str, str]] = [devices_in(stock, instance_id)]
    for _ in range(2):
        snapset("rollback", instance_id, "--change-id", "42", "--yes").ok()
        seen.append(devices_in(stock, instance_id))
    assert [set(devices) for devices in seen] == [{"/dev/sda1", "/dev/sdf"}] * 3
    assert len({volume_id for devices in seen for volume_id in devices.values()}) == 6
    described = client(stock).describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert described["State"]["Name"] == "running"


def devices_in(stock: dict[str, str], instance_id: str) -> dict[str, str]:
    described = client(stock).describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in described["BlockDeviceMappings"]}
