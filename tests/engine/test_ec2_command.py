"""`snapset ec2`: the embedded EC2 as a newcomer starts it, and what it prints is enough to go on."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import boto3
import pytest
from snapset.cli import ec2
from support.command_line import CommandLine, InProcess
from support.project import run_environment

if TYPE_CHECKING:
    from pathlib import Path


@contextmanager
def served(snapset: CommandLine, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start it on a free port, and read what it prints."""
    with snapset.start("ec2", "--port", "0", *options) as process:
        assert process.stdout
        lines: list[str] = []
        while not lines or "Faults and settings" not in lines[-1]:
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            lines.append(line.strip())
        try:
            yield process, lines
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


@pytest.fixture
def snapset(tmp_path: Path) -> CommandLine:
    return CommandLine(run_environment(tmp_path, {}), tmp_path)


def exports_in(lines: list[str]) -> dict[str, str]:
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))


def read_snapshots(exports: dict[str, str]) -> dict[bytes, bytes]:
    """What the set's snapshots hold, by device."""
    session = boto3.Session(exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"])
    clients: list[Any] = [
        session.client(name, endpoint_url=exports["AWS_ENDPOINT_URL"], region_name=exports["AWS_REGION"])
        for name in ("ec2", "ebs")
    ]
    ec2, ebs = clients
    found = {}
    for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        snapshot_id = snapshot["SnapshotId"]
        blocks = ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]
        data = [ebs.get_snapshot_block(SnapshotId=snapshot_id, **block)["BlockData"].read() for block in blocks]
        [device] = [tag["Value"] for tag in snapshot["Tags"] if tag["Key"] == "snapset:device"]
        found[device.encode()] = b"".join(data)
    return found


def test_the_lines_that_it_prints_lead_to_a_first_backup(snapset: CommandLine, tmp_path: Path) -> None:
    with served(snapset, "--seed", "--snapshot-seconds", "0", "--throttle", "CreateSnapshots") as (process, lines):
        [command] = [line for line in lines if line.startswith("snapset ")]
        other = CommandLine({**run_environment(tmp_path, {}), **exports_in(lines)}, tmp_path)
        run = other(*command.split()[1:]).ok()
        assert "RequestLimitExceeded: trying again" in run.stderr
        assert "/dev/sdg" in run.stdout
        found = read_snapshots(exports_in(lines))
        assert [b"This is %s of web-1.\n" % device in data for device, data in found.items()] == [True] * 3
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    # It has ended.
    assert InProcess(other.env, tmp_path)("list").code == 2


def test_calls_of_ebs_direct_can_be_denied(snapset: CommandLine) -> None:
    with served(snapset, "--deny", "GetSnapshotBlock") as (_, lines):
        with urlopen(f"{exports_in(lines)['AWS_ENDPOINT_URL']}/_snapset/faults", timeout=30) as answer:
            [fault] = json.load(answer)
        assert (fault["action"], fault["kind"]) == ("GetSnapshotBlock", "deny")


def test_a_port_that_is_taken_is_one_line(snapset: CommandLine) -> None:
    with served(snapset) as (_, lines):
        port = exports_in(lines)["AWS_ENDPOINT_URL"].rpartition(":")[2]
        run = snapset("ec2", "--port", port).failed()
    assert run.code == 1
    assert run.stderr.startswith(f"snapset: starting an EC2: Port {port} is in use")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", ["--deny", "--lose-answer", "--throttle"])
def test_a_call_that_snapset_does_not_make_is_refused(snapset: CommandLine, option: str) -> None:
    run = InProcess(snapset.env, snapset.folder)("ec2", option, "deletesnapshot")
    assert run.code == 2
    assert run.stderr.startswith(
        f"snapset: reading {option}: snapset makes no call deletesnapshot, but AttachVolume, "
    )


def test_without_the_extra_it_says_what_to_install(snapset: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2, "find_spec", lambda name: None)
    run = InProcess(snapset.env, snapset.folder)("ec2")
    assert run.code == 2
    assert run.stderr == "snapset: starting an EC2: moto is not installed. Install it: pip install 'snapset[demo]'.\n"
