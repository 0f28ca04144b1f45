"""Which `aws` plugin the engine starts in a test: the real one where it is installed, else the stand-in.

    aws_plugin.install(project.env)

The engine takes a plugin from PATH, whatever its version, and warns of it in every run. It says nothing of one in the
folder `plugins` of PULUMI_HOME, if the version in its folder's name is the one that the SDK asks for. A test has a
PULUMI_HOME of its own, so either plugin is put there; `destroy` and `refresh`, which run no program, find it too.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

EXECUTABLE = "pulumi-resource-aws"
STANDIN = Path(__file__).resolve().parents[1] / "standin" / EXECUTABLE
FOLDER = f"resource-aws-v{importlib.metadata.version('pulumi-aws')}"


def find_real() -> Path | None:
    """Return the real plugin: the SDK's version in the user's own PULUMI_HOME, or any on PATH; None without one."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    on_path = shutil.which(EXECUTABLE)
    candidates = [home / "plugins" / FOLDER / EXECUTABLE, *([Path(on_path)] if on_path else [])]
    return next(
        (candidate for candidate in candidates if candidate.exists() and candidate.resolve() != STANDIN), None
    )


def install(environment: Mapping[str, str]) -> None:
    """Let the runs in this environment find the plugin, in its PULUMI_HOME."""
    # The engine overlooks a folder that is a link; a linked executable in a folder it takes.
    folder = Path(environment["PULUMI_HOME"]) / "plugins" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / EXECUTABLE
    if not link.is_symlink():
        link.symlink_to(find_real() or STANDIN)


on_standin_only = pytest.mark.skipif(find_real() is not None, reason="the real aws plugin is installed")
"""Marks a test of what only the stand-in does."""
