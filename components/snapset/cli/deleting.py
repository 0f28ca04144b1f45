"""What `snapset prune` and `snapset delete` share: the question, the deletion, and what became of each set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from snapset import errors
from snapset.cli.output import print_error, print_list, progress

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.sets.deletion import Deleted
    from snapset.sets.model import SnapshotSet


def records_of(ec2: Ec2, chosen: Iterable[SnapshotSet]) -> dict[str, dict[str, Any]]:
    """Return the sets as the JSON document has them before anything is deleted, by id."""
    region = str(ec2.settings.region)
    return {found.set_id: {**found.record(region=region), **_result_of(None)} for found in chosen}


def ask(records: Sequence[Mapping[str, Any]], *, doing: str) -> None:
    """Show the sets, and ask whether to delete them.

    Raises:
        InputError: this is not a terminal.
        SnapsetError: the answer was no.
    """
    print_list(records, stderr=True)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.InputError(f"{doing}: not a terminal, so I can't ask. Add --yes.")
    number = sum(len(record["snapshot_ids"]) for record in records)
    sets = "1 set" if len(records) == 1 else f"{len(records)} sets"
    snapshots = "1 snapshot" if number == 1 else f"{number} snapshots"
    if not typer.confirm(f"Delete {sets} with {snapshots} for good?", err=True):
        raise errors.SnapsetError(f"{doing}: the answer was no. Nothing is deleted.")


def carry_out(
    ec2: Ec2, delete: Callable[[Ec2], Iterator[Deleted]], *, records: Mapping[str, dict[str, Any]], as_json: bool
) -> dict[str, errors.SnapsetError]:
    """Delete sets, print what became of them, also after a failure, and return why snapshots were kept, by id.

    Args:
        ec2: where.
        delete: deletes one set after the other.
        records: the sets of the document, by id; the results are written into them.
        as_json: leave the table out.

    Raises:
        SnapsetError: the answer of AWS when it was asked for sets; nothing more is deleted.
    """
    kept: dict[str, errors.SnapsetError] = {}
    try:
        with progress("deleting") as say:
            for deleted in delete(ec2.saying(say)):
                records[deleted.chosen.set_id].update(_result_of(deleted))
                kept |= deleted.kept
    finally:
        if not as_json:
            print_list(records.values(), last="result")
        for message in dict.fromkeys(map(str, kept.values())):
            print_error(message)
    return kept


def raise_failed(kept: Mapping[str, errors.SnapsetError], *, doing: str) -> None:
    """Raise an error if snapshots were kept because a permission was missing or AWS did not answer."""
    from snapset.sets.deletion import is_refusal

    if failed := [error for error in kept.values() if not is_refusal(error)]:
        raise type(failed[0])(
            f"{doing}: {len(failed)} of the snapshots could not be deleted. Run it again once the reason is gone.",
            code=failed[0].code,
        )


def _result_of(deleted: Deleted | None) -> dict[str, Any]:
    """Return what became of a set: chosen, deleted, partly deleted or kept; and of its snapshots."""
    if not deleted:
        return {"result": "chosen", "deleted_snapshot_ids": [], "kept": []}
    return {
        "result": "deleted" if not deleted.kept else "partly deleted" if deleted.deleted else "kept",
        "deleted_snapshot_ids": list(deleted.deleted),
        "kept": [{"snapshot_id": key, "reason": str(error)} for key, error in deleted.kept.items()],
    }
