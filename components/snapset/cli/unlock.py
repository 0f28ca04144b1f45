"""`snapset unlock`: show who holds a stack's lock, and clear the lock of a run that was killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors
from snapset.cli.context import find_region_of, one_document
from snapset.cli.options import Json, Profile, Region

if TYPE_CHECKING:
    from snapset.pipeline.stack_lock import Lock

EXIT_CODES = "Exit codes: 0 there is no lock any more; 1 failed; 2 bad usage or input, or not a terminal."


def unlock(
    stack: Annotated[str | None, typer.Option(metavar="NAME", help="The backup's --stack.")] = None,
    change_id: Annotated[str | None, typer.Option(metavar="ID", help="Or the backup's --change-id.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Clear the lock without asking.")] = False,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Show who holds a stack's lock, and clear it after asking.

    Only for a run that was killed. If it is still at work, a second run could write the same state.

    Example: snapset unlock --change-id "$GIT_SHA"
    """
    from snapset.pipeline.stack_lock import clear_locks, find_locks
    from snapset.pipeline.state import open_state

    document: dict[str, Any] = {"stack": stack, "locks": [], "cleared": False}
    with one_document(document, as_json=json_):
        name = document["stack"] = _stack_of(stack, change_id, region=region, profile=profile)
        with open_state() as state:
            locks = find_locks(state, name)
            document["locks"] = [asdict(lock) for lock in locks]
            if locks:
                _ask(name, locks, yes=yes)
                clear_locks(state, name)
                document["cleared"] = True
    if not json_:
        typer.echo(f"stack {name}: {'the lock is cleared' if document['cleared'] else 'nobody holds it'}")


def _stack_of(stack: str | None, change_id: str | None, *, region: str | None, profile: str | None) -> str:
    """Return the name of the stack; by default a change has one in each Region."""
    from snapset.pipeline.request import BackupRequest

    if stack is not None and change_id is None:
        return stack
    if stack is not None or change_id is None:
        raise errors.InputError("reading the options: name the stack by either --stack or --change-id.")
    where = find_region_of(region, profile)
    return BackupRequest(instance_ids=(), change_id=change_id, region=where).stack_name


def _ask(stack: str, locks: Sequence[Lock], *, yes: bool) -> None:
    held = "; ".join(map(str, locks))
    if not yes and not sys.stdin.isatty():
        raise errors.InputError(
            f"unlocking stack {stack}: {held}: not a terminal, so I can't ask. Make sure that the run has ended, and "
            "add --yes."
        )
    typer.echo(f"stack {stack}: {held}", err=True)
    if not yes and not typer.confirm("Has that run ended, and shall its lock be cleared?", err=True):
        raise errors.SnapsetError(f"unlocking stack {stack}: the answer was no. Nothing is changed.")
