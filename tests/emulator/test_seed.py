"""What `snapset ec2 --seed` writes to its volumes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from snapset.emulator import seed
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from support.pages import find_all

SIZE = 16 * 1024 * 1024
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def need(*tools: str) -> None:
    """Skip the test where one of these tools is not installed."""
    for tool in tools:
        if not shutil.which(tool, path=PATH):
            pytest.skip(f"needs {tool}")


def ask(*command: str | Path) -> str:
    """What a command prints; it must succeed."""
    ran = subprocess.run(command, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def instance(ec2_server: EmbeddedEC2) -> LaunchedInstance:
    return ec2_server.launch([(20, "/dev/sdf", {})])


def texts(instance: LaunchedInstance) -> dict[str, bytes]:
    """What is to be found on each volume."""
    return {volume_id: f"This is {device} of web-1.\n".encode() for device, volume_id in instance.volume_ids.items()}


def test_each_volume_has_a_file_system_with_a_file_and_so_have_its_snapshots(
    ec2: Any, ec2_server: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path
) -> None:
    need("mkfs.ext4", "debugfs")
    seed.fill(ec2_server, instance, "web-1")
    for volume_id, text in texts(instance).items():
        snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        for resource_id in (volume_id, snapshot_id):
            image = tmp_path / resource_id
            image.write_bytes(ec2_server.read(resource_id, 0, SIZE))
            assert ask("debugfs", "-R", f"cat /{seed.FILE}", image) == text.decode()


def test_a_file_system_is_sound(ec2_server: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path) -> None:
    need("mkfs.ext4", "e2fsck")
    seed.fill(ec2_server, instance, "web-1")
    image = tmp_path / "image"
    image.write_bytes(ec2_server.read(instance.root_volume_id, 0, SIZE))
    ask("e2fsck", "-f", "-n", image)


def test_the_file_is_read_as_the_page_prints_it(
    ec2_server: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("mkfs.ext4", "bash", "curl", "jq", "/sbin/debugfs")
    seed.fill(ec2_server, instance, "web-1")
    [block] = [block.text for block in find_all("sh") if "debugfs" in block.text]
    for name, value in ec2_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    script = block.replace("vol-0123456789abcdef0", instance.volume_ids["/dev/sdf"])
    assert ask("bash", "-euo", "pipefail", "-c", script).strip() == block.rstrip().rpartition("# ")[2]


def test_without_mkfs_the_text_is_at_the_start_of_the_volume(
    ec2_server: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(seed, "_SYSTEM_FOLDERS", ())
    seed.fill(ec2_server, instance, "web-1")
    for volume_id, text in texts(instance).items():
        assert ec2_server.read(volume_id, 0, len(text) + 1) == text + b"\0"


def test_a_mkfs_that_fails_is_none(
    ec2_server: EmbeddedEC2, instance: LaunchedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "mkfs.ext4"
    old.write_text("#!/bin/sh\necho 'mkfs.ext4: invalid option -- d' >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    seed.fill(ec2_server, instance, "web-1")
    for volume_id, text in texts(instance).items():
        assert ec2_server.read(volume_id, 0, len(text) + 1) == text + b"\0"
