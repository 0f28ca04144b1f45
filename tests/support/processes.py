"""The processes of one test, found by their environment: an orphan keeps it, wherever it ends up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from support.project import until

# What tells the process that plays a part from its arguments.
PARTS: dict[str, Callable[[list[str]], bool]] = {
    "engine": lambda argv: Path(argv[0]).name == "pulumi" and bool({"up", "destroy"} & set(argv)),
    "provider": lambda argv: "pulumi.dynamic" in argv,
    "program": lambda argv: any(argument.endswith("pulumi-language-python-exec") for argument in argv),
    "command": lambda argv: any("snapset.cli" in argument for argument in argv),
}


class Processes:
    """Every process that was started, at whatever remove, with this environment's PULUMI_HOME."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._mark = f"PULUMI_HOME={env['PULUMI_HOME']}".encode()

    def running(self, part: str | None = None) -> dict[int, list[str]]:
        """The arguments of each, by process id; of one of `PARTS`, or of all."""
        found: dict[int, list[str]] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                marked = self._mark in (folder / "environ").read_bytes().split(b"\0")
                argv = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            except OSError:
                # It has ended meanwhile, or belongs to somebody else.
                continue
            if marked and argv[0] and (part is None or PARTS[part](argv)):
                found[int(folder.name)] = argv
        return found

    def kill(self, part: str) -> None:
        """Kill the one process that plays this part, and wait until it is gone."""
        [pid] = self.running(part)
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in self.running(part))

    def kill_all(self) -> None:
        """Kill what is left, and wait until it is gone."""
        for pid in self.running():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        until(lambda: not self.running())
