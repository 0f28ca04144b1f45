"""The provider's process, as `snapset backup` has it started: it serves, and ends soon after its engine."""

from __future__ import annotations

import base64
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub
from snapset import errors
from snapset.resources.provider_process import find_starter
from snapset.resources.snapshot_set import SnapshotSetProvider


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and its port, until the engine is gone."""
    with socket.create_server(("127.0.0.1", 0)) as engine:
        address = f"127.0.0.1:{engine.getsockname()[1]}"
        command = [find_starter(), "-u", "-m", "pulumi.dynamic", address]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        # The engine reads the port from the first line.
        yield process, int(process.stdout.readline())
    process.communicate(timeout=10)


def test_it_serves_as_long_as_its_engine_is_there_and_ends_without_having_been_told_anything() -> None:
    assert Path(find_starter()).name == "snapset-provider"
    with serving() as (process, port):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert process.poll() is None
    assert process.returncode == 1


class Foreign:
    def __reduce__(self) -> Any:
        return (sys.exit, (3,))


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        (serialize_provider(SnapshotSetProvider()), "InputError: importing set-1: "),
        # Who can write the state must not have code run here.
        (
            base64.b64encode(pickle.dumps(Foreign())).decode(),
            "InputError: reading the state: sys.exit is no provider",
        ),
    ],
)
def test_an_error_reaches_the_engine_as_one_line_with_its_name_whatever_sdk_is_installed(
    provider: str, told: str
) -> None:
    asked = Struct()
    asked.update({"__provider": provider})
    with serving() as (_, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ResourceProviderStub(channel).Read(provider_pb2.ReadRequest(id="set-1", properties=asked), timeout=30)
        shown = caught.value.details()
    # gRPC puts its words before what SDK 3.259 leaves to it.
    said = re.sub(r"^Exception calling application: ", "", shown).rstrip("\n")
    read = errors.parse_shown(shown)
    assert type(read) is errors.InputError
    assert said == errors.show(read)
    assert said.startswith(told)


def test_where_snapset_has_no_commands_python_itself_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_starter() == str(tmp_path / "python")
