"""The plugin's process: a server on a free port. The engine reads the port from stdout."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from standin.provider import AwsProvider

# The engine's own limit. A state can be larger than gRPC's default of 4 MiB.
_MESSAGE_BYTES = 400 * 1024 * 1024

# Enough that a call that waits for EC2 does not hold up the stack's other resources.
_THREADS = 16


def serve() -> None:
    """Serve until the engine ends the process."""
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
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        # The plugin has its own process group, so this is not Ctrl-C in the terminal. It is the engine, which
        # interrupts its plugins when it is done, and kills them after five seconds.
        server.stop(grace=None)
