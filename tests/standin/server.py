"""The plugin serves on a free port, which the engine reads from stdout."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from standin.provider import AwsProvider

# The engine's own limit. A state can be larger than gRPC's default of 4 MiB.
_MESSAGE_BYTES = 400 * 1024 * 1024

# Enough that a call that waits for EC2 does not hold up the stack's other resources.
_THREADS = 16


def serve() -> None:
    """Serve until the engine interrupts its plugins: it does when it is done, and kills them after five seconds.

    It is not Ctrl-C in the terminal, since a plugin has its own process group.
    """
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
    with suppress(KeyboardInterrupt):
        server.wait_for_termination()
    server.stop(grace=None)
