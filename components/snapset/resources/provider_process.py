"""The process of the dynamic providers, as `snapset backup` has the engine start it: it ends soon after its engine.

An engine that is killed before it has told the process what to do would leave it behind: nothing of snapset's would
have been loaded there that could notice.
"""

from __future__ import annotations

import io
import os
import pickle
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

import dill

from snapset import errors
from snapset.end import collect_rarely
from snapset.resources.engine_watch import end_with_engine

_PROVIDERS = (
    ("snapset.resources.snapshot_set", "SnapshotSetProvider"),
    ("snapset.resources.fleet_set", "FleetSetProvider"),
)


class _OwnProviders(pickle.Unpickler):
    """Loads snapset's providers, and nothing else: a state may name whatever Python can call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PROVIDERS:
            raise errors.InputError(f"reading the state: {module}.{name} is no provider of snapset. Who wrote that?")
        return super().find_class(module, name)


def find_starter() -> str:
    """Return the command that starts this process; Python's own where snapset was installed without commands.

    Pulumi calls it with `-u -m pulumi.dynamic ADDRESS`.
    """
    starter = Path(sys.executable).with_name("snapset-provider")
    return os.fspath(starter) if os.access(starter, os.X_OK) else sys.executable


def _load_provider(data: bytes) -> Any:
    """Return the provider that a state has.

    Raises:
        InputError: the class is not one of snapset's own. The engine shows it.
    """
    from snapset.resources.provider_base import for_engine, hide_tracebacks

    hide_tracebacks()
    with for_engine():
        return _OwnProviders(io.BytesIO(data)).load()


def start() -> None:
    """Serve in the place of `python -u -m pulumi.dynamic ADDRESS`, without a second start of Python."""
    address = sys.argv[-1]
    sys.argv[1:] = [address]
    # As -u has it: the engine reads the port from the first line.
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    collect_rarely()
    dill.loads = _load_provider
    threading.Thread(target=end_with_engine, args=(address,), daemon=True).start()
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)
