"""A guard that comes into a program together with a replacement.

Pulumi calls the delete hooks that the state names. A guard that the state does not know yet would not be asked, and
the old instance would go without a set. So before the new one is created, a hook looks for the old one in the state.
https://www.pulumi.com/docs/iac/cli/commands/pulumi_stack_export/
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import pulumi

from snapset import errors
from snapset.sets.threads import run_in_thread

_EXPORT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Unguarded:
    """A resource of the state that a new one replaces, and whose delete hooks are none of this program's guards.

    Attributes:
        id: its id.
        outputs: as the state has them.
        is_deleted: Pulumi has deleted it already, before it creates the new one.
    """

    id: str
    outputs: Mapping[str, Any]
    is_deleted: bool


# The state of each program's stack, as it was when the first guarded resource was about to be created.
_resources: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[list[dict[str, Any]]]] = WeakKeyDictionary()


async def find_unguarded(urn: str, *, hooks: Collection[str]) -> Unguarded | None:
    """Return the resource of this URN in the state, if none of these hooks is called before its deletion.

    Args:
        urn: of the resource that is about to be created.
        hooks: the names of this program's guards' hooks.

    Raises:
        SnapsetError: the state could not be read.
    """
    loop = asyncio.get_running_loop()
    if loop not in _resources:
        stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
        _resources[loop] = asyncio.create_task(run_in_thread(partial(_export, stack)))
    for resource in await _resources[loop]:
        if resource["urn"] == urn and resource.get("id") and not resource.get("delete"):
            if set(hooks) & set(resource.get("resourceHooks", {}).get("BeforeDelete", ())):
                return None
            is_deleted = bool(resource.get("pendingReplacement"))
            return Unguarded(id=resource["id"], outputs=resource.get("outputs", {}), is_deleted=is_deleted)
    return None


def _export(stack: str) -> list[dict[str, Any]]:
    command = ["pulumi", "stack", "export", "--non-interactive", "--stack", stack]
    doing = f"reading the state of {stack}"
    try:
        done = subprocess.run(  # noqa: S603 - the engine's own command
            command, capture_output=True, text=True, check=True, timeout=_EXPORT_SECONDS, stdin=subprocess.DEVNULL
        )
        deployment = json.loads(done.stdout)["deployment"] or {}
    except subprocess.CalledProcessError as error:
        raise errors.SnapsetError(f"{doing}: {error.stderr}") from error
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise errors.SnapsetError(f"{doing}: {error}") from error
    resources: list[dict[str, Any]] = deployment.get("resources") or []
    return resources
