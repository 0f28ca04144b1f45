"""The plugin's processes: each serves on a free port, which the engine reads from stdout.

To import what they need takes a second, and the engine starts a plugin in every run. So it is imported once, in a
process that forks for each plugin: `pulumi-resource-aws` hands over what the engine has given it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from standin.cloud import load_services
from standin.provider import AwsProvider

# The engine's own limit. A state can be larger than gRPC's default of 4 MiB.
_MESSAGE_BYTES = 400 * 1024 * 1024

# Enough that a call that waits for EC2 does not hold up the stack's other resources.
_THREADS = 16


def fork_for_each() -> None:
    """Serve each plugin that connects, in a process of its own, until stdin is closed. Print where to connect."""
    load_services()
    # No child need look for garbage in what was imported.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(prefix="snapset-standin-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen()
        sys.stdout.write(f"{folder}/socket\n")
        sys.stdout.flush()
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            plugin, _ = listener.accept()
            with plugin:
                if os.fork() == 0:
                    try:
                        listener.close()
                        _become(plugin)
                    except BaseException:
                        traceback.print_exc()
                    finally:
                        # The folder is the parent's.
                        os._exit(1)


def _become(plugin: socket.socket) -> None:
    """Serve with the streams and the environment of the process that the engine has started."""
    _, streams, _, _ = socket.recv_fds(plugin, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(json.loads(plugin.makefile().readline()))
    _serve(plugin)
    os._exit(0)


def _serve(plugin: socket.socket) -> None:
    """Serve as long as the process that the engine has started lives."""
    server = grpc.server(
        ThreadPoolExecutor(_THREADS),
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(AwsProvider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    os.write(1, f"{port}\n".encode())
    plugin.recv(1)
    server.stop(grace=None)


if __name__ == "__main__":
    fork_for_each()
