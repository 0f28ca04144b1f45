"""`snapset unlock`: who holds a stack, and the end of a lock that a killed run left."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors
from snapset.cli.options import Json

if TYPE_CHECKING:
    from snapset.pipeline.stack_lock import Lock

EXIT_CODES = "Exit codes: 0 there is no lock any more; 1 failed; 2 bad usage or input, or nobody to ask."


def unlock(
    stack: Annotated[str | None, typer.Option(metavar="NAME", help="The backup's --stack.")] = None,
    change_id: Annotated[str | None, typer.Option(metavar="ID", help="Or the backup's --change-id.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Clear the lock without asking.")] = False,
    json_: Json = False,
) -> None:
    """Show who holds a stack's lock, and clear it after asking.

    Only for a run that was killed. If it is still at work, a second run could write the same state.

    Example: snapset unlock --change-id "$GIT_SHA"
    """
    from snapset.cli.context import one_document
    from snapset.pipeline.request import BackupRequest
    from snapset.pipeline.stack_lock import clear_locks, find_locks
    from snapset.pipeline.state import open_state

    name = BackupRequest(instance_ids=(), change_id=change_id or "", stack=stack).stack_name
    document: dict[str, Any] = {"stack": name, "locks": [], "cleared": False}
    with one_document(document, as_json=json_):
        if (stack is None) == (change_id is None):
            raise errors.InputError("reading the options: name the stack by either --stack or --change-id.")
        with open_state() as state:
            locks = find_locks(state, name)
            document["locks"] = [asdict(lock) for lock in locks]
            if locks:
                _ask(name, locks, yes=yes)
                clear_locks(state, name)
                document["cleared"] = True
    if not json_:
        typer.echo(f"stack {name}: {'the lock is cleared' if document['cleared'] else 'nobody holds it'}")


def _ask(stack: str, locks: Sequence[Lock], *, yes: bool) -> None:
    held = "; ".join(str(lock) for lock in locks)
    if not yes and not sys.stdin.isatty():
        raise errors.InputError(
            f"unlocking stack {stack}: {held}, and there is no terminal to ask on. Make sure that the run has ended, "
            "and add --yes."
        )
    typer.echo(f"stack {stack}: {held}", err=True)
    if not yes and not typer.confirm("Has that run ended, and shall its lock be cleared?", err=True):
        raise errors.SnapsetError(f"unlocking stack {stack}: the answer was no. Nothing is changed.")
