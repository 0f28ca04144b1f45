"""The processes of one test. They are found by their environment, which even an orphan keeps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from support.project import until

# How each part of a run is recognised by its process's arguments.
PARTS: dict[str, Callable[[list[str]], bool]] = {
    "engine": lambda argv: Path(argv[0]).name == "pulumi" and bool({"up", "destroy"} & set(argv)),
    "provider": lambda argv: "pulumi.dynamic" in argv,
    "program": lambda argv: any(argument.endswith("pulumi-language-python-exec") for argument in argv),
    "command": lambda argv: any("snapset.cli" in argument for argument in argv),
}


class Processes:
    """Every process with this environment's PULUMI_HOME, also the children of children."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._mark = f"PULUMI_HOME={env['PULUMI_HOME']}".encode()

    def running(self, part: str | None = None) -> dict[int, list[str]]:
        """The arguments of the processes of one of `PARTS`, or of all, by process id."""
        found: dict[int, list[str]] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                marked = self._mark in (folder / "environ").read_bytes().split(b"\0")
                argv = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            except OSError:
                # The process has ended meanwhile, or belongs to another user.
                continue
            if marked and argv[0] and (part is None or PARTS[part](argv)):
                found[int(folder.name)] = argv
        return found

    def kill(self, part: str) -> None:
        """Kill the one process of this part, and wait until it has ended."""
        [pid] = self.running(part)
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in self.running(part))

    def kill_all(self) -> None:
        """Kill all processes that still run, and wait until they have ended."""
        for pid in self.running():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        until(lambda: not self.running())
