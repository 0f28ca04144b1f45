"""The provider's process, as `snapset backup` has it started: it serves, and ends soon after its engine."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from snapset.resources.provider_process import find_starter


def test_it_serves_as_long_as_its_engine_is_there_and_ends_without_having_been_told_anything() -> None:
    starter = find_starter()
    assert Path(starter).name == "snapset-provider"
    with socket.create_server(("127.0.0.1", 0)) as engine:
        address = f"127.0.0.1:{engine.getsockname()[1]}"
        command = [starter, "-u", "-m", "pulumi.dynamic", address]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        # The engine reads the port from the first line.
        port = int(process.stdout.readline())
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert process.poll() is None
    process.communicate(timeout=10)
    assert process.returncode == 1


def test_where_snapset_has_no_commands_python_itself_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_starter() == str(tmp_path / "python")
