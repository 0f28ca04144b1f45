"""The state that backups are recorded in: where it is, whether a run was cut off, and whether it can be written.

https://www.pulumi.com/docs/iac/concepts/state-and-backends/
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from pulumi import automation

from snapset import errors
from snapset.pipeline.engine import PROJECT, EngineCommand, environment, folder_used_once
from snapset.text import clean


@contextmanager
def open_state() -> Iterator[automation.LocalWorkspace]:
    """Open the state that backups are recorded in.

    Raises:
        SnapsetError: there is no engine, or, from inside the block, what the engine failed at.
    """
    with folder_used_once("snapset-") as folder:
        workspace = automation.LocalWorkspace(
            work_dir=folder,
            env_vars=environment(),
            project_settings=automation.ProjectSettings(name=PROJECT, runtime="python"),
            pulumi_command=EngineCommand(),
        )
        try:
            yield workspace
        except automation.CommandError as error:
            advice = "Check PULUMI_BACKEND_URL, or `pulumi login`, and the permission to read and write there"
            raise errors.SnapsetError(f"using the state: {last_error(error)}. {advice}.") from error


def find_backend(state: automation.LocalWorkspace) -> str:
    """Return the URL of the backend, without the credentials that it may hold."""
    return clean(state.who_am_i().url or "")


def was_cut_off(state: automation.LocalWorkspace, stack: str, urn: str) -> bool:
    """Tell whether a run was killed while the engine made or changed the resource: the stack has it as pending.

    Raises:
        CommandError: the engine can't read the stack.
    """
    shown = state.pulumi_command.run(["stack", "export", "--stack", stack], state.work_dir, state.env_vars)
    deployment = json.loads(shown.stdout).get("deployment") or {}
    return urn in [operation["resource"]["urn"] for operation in deployment.get("pending_operations") or []]


def check_writable(state: automation.LocalWorkspace) -> None:
    """Write to the state and delete what was written.

    Raises:
        CommandError: the backend refuses it.
    """
    stack = f"doctor-{secrets.token_hex(8)}"
    state.create_stack(stack)
    state.pulumi_command.run(["stack", "rm", "--yes", "--remove-backups", stack], state.work_dir, state.env_vars)


def last_error(error: automation.CommandError) -> str:
    """Return the last error that the engine showed, in one line, without credentials."""
    lines = [line.strip() for line in str(error).splitlines() if "error: " in line]
    return clean(lines[-1].split("error: ", 1)[1] if lines else " ".join(str(error).split()))
