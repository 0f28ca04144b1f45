"""The embedded EC2 for a person at a terminal: what to export, what there is, and how to make it fail."""

import argparse
import contextlib
import signal
import sys

from .client import EmbeddedEC2, EmbeddedEC2Error
from .seed import fill

DATA_VOLUMES = [(20, "/dev/sdf", {"Name": "data"}), (100, "/dev/sdg", {"Name": "scratch"})]
_NAME = "web-1"
_THROTTLED_CALLS = 3


def serve_person(arguments: argparse.Namespace) -> int:
    """Serve until a signal; return the exit code."""
    server = EmbeddedEC2(
        port=arguments.port,
        snapshot_seconds=arguments.snapshot_seconds,
        visibility_seconds=arguments.visibility_seconds,
        region=arguments.region,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with server, contextlib.suppress(KeyboardInterrupt):
            lines = _introduce(server, seed=arguments.seed)
            _script(server, arguments)
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            signal.pause()
    except EmbeddedEC2Error as error:
        # The last line of the server's own output says why.
        sys.stderr.write(f"snapset: starting an EC2: {str(error).strip().splitlines()[-1]}\n")
        return 1
    return 0


def _introduce(server: EmbeddedEC2, *, seed: bool) -> list[str]:
    lines = ["# Paste this into another terminal. Ctrl-C here ends it, and nothing is kept."]
    lines += [f"export {name}={value}" for name, value in server.environment().items()]
    if seed:
        instance = server.launch(DATA_VOLUMES, tags={"Name": _NAME, "app": "web"})
        fill(server, instance, _NAME)
        lines += [
            f"# {instance.instance_id} runs, with {', '.join(instance.volume_ids)}. A first backup of it:",
            f"snapset backup {instance.instance_id} --change-id release-42",
        ]
    lines.append(f"# Faults and settings: {server.endpoint}/_snapset/, see docs/embedded-ec2.md")
    return lines


def _script(server: EmbeddedEC2, arguments: argparse.Namespace) -> None:
    server.clear_calls()
    for action in arguments.deny:
        server.fault(action=action, kind="deny")
    for action in arguments.lose_answer:
        server.fault(action=action, kind="close_after")
    for action in arguments.throttle:
        server.fault(action=action, kind="error", code="RequestLimitExceeded", times=_THROTTLED_CALLS)
