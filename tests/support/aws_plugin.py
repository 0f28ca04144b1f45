"""Which `aws` plugin the engine starts in a test: the real one where it is installed, else the stand-in.

    aws_plugin.install(project.env)

The engine takes any version of a plugin from PATH, but warns about it in every run. It takes one from the folder
`plugins` of PULUMI_HOME without a warning, if the folder's name has the version that the SDK asks for. Every test has
its own PULUMI_HOME, so the plugin is put there. `destroy` and `refresh`, which run no program, find it there too.
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
    """Return the real plugin, or None: the SDK's version in the user's PULUMI_HOME, else any version on PATH."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    on_path = shutil.which(EXECUTABLE)
    candidates = [home / "plugins" / FOLDER / EXECUTABLE, *([Path(on_path)] if on_path else [])]
    return next(
        (candidate for candidate in candidates if candidate.exists() and candidate.resolve() != STANDIN), None
    )


def install(environment: Mapping[str, str]) -> None:
    """Put the plugin into this environment's PULUMI_HOME."""
    # The engine ignores a linked folder, but accepts a linked executable in a real folder.
    folder = Path(environment["PULUMI_HOME"]) / "plugins" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / EXECUTABLE
    if link.is_symlink():
        return
    link.symlink_to(find_real() or STANDIN)


on_standin_only = pytest.mark.skipif(find_real() is not None, reason="the real aws plugin is installed")
"""Marks a test that needs the stand-in."""
