"""The `snapset` command. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from snapset.cli import sets
from snapset.cli.app import main

__all__ = ["main", "sets"]
