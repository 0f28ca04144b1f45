"""The process that forks: `python -m support.warm` prints where it listens, until its stdin is closed."""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

IMPORTED = (
    "boto3",
    "botocore.httpsession",
    "grpc.aio",
    "grpc.experimental",
    "pulumi.dynamic",
    "pulumi.runtime.proto.provider_pb2_grpc",
    "pulumi_aws.ec2",
    # By typer, where it is installed.
    "pydantic.type_adapter",
    "requests",
    "standin.server",
)
PACKAGES = ("cli", "aws", "pipeline", "resources", "restore", "sets")


def main() -> None:
    """Fork for each that connects."""
    for module in IMPORTED:
        importlib.import_module(module)
    for package in PACKAGES:
        for found in pkgutil.iter_modules(importlib.import_module(f"snapset.{package}").__path__):
            importlib.import_module(f"snapset.{package}.{found.name}")
    importlib.import_module("standin.cloud").load_services()
    # No fork need look for garbage in what was imported.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Not a TemporaryDirectory, which each fork would remove at its end.
    folder = tempfile.mkdtemp(prefix="snapset-warm-")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen()
        sys.stdout.write(f"{folder}/socket\n")
        sys.stdout.flush()
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            launcher, _ = listener.accept()
            with launcher:
                if os.fork() == 0:
                    listener.close()
                    _keep(launcher)
    shutil.rmtree(folder)


def _keep(launcher: socket.socket) -> None:
    """Fork once more, tell the launcher the process id, and later how it ended. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(launcher, 1, 3)
    wanted = json.loads(launcher.makefile().readline())
    fork = os.fork()
    if fork == 0:
        launcher.close()
        _become(streams, **wanted)
        sys.exit()
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    launcher.sendall(f"{fork}\n".encode())
    threading.Thread(target=_kill_with, args=(launcher, fork), daemon=True).start()
    _, status = os.waitpid(fork, 0)
    launcher.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _kill_with(launcher: socket.socket, fork: int) -> None:
    launcher.recv(1)
    os.kill(fork, signal.SIGKILL)


def _become(streams: list[int], *, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be what `python ARGUMENTS` would have been."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # As with -u, which all of them are started with.
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    # What it starts in its turn is a fork, too.
    sys.executable = os.path.join(os.path.dirname(__file__), "python3")
    _run([argument for argument in arguments if argument != "-u"])


def _run(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path[0] = ""
        exec(arguments[1], {"__name__": "__main__"})
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(arguments[0])
        runpy.run_path(arguments[0], run_name="__main__")


main()
