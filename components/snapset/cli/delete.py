"""`snapset delete`: delete the sets that a person names, but for what something still needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors
from snapset.cli.context import connect_to, one_document
from snapset.cli.deleting import ask, carry_out, raise_failed, records_of
from snapset.cli.options import Json, Profile, Region, check_set_id
from snapset.cli.output import print_line, progress
from snapset.sets.tags import SET

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.sets.deletion import Deleted
    from snapset.sets.model import SnapshotSet

EXIT_CODES = (
    "Exit codes: 0 the sets are deleted, or were gone already; 1 some were kept, or failed; 2 bad usage or input, or "
    "not a terminal; 3 not permitted."
)


def delete(
    set_ids: Annotated[list[str], typer.Argument(metavar="SET", help="Ids of the sets.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Delete sets with all their snapshots.

    Pinned sets are kept, and so is what an image, a lock, a rollback or a copy needs; each is named, and the rest is
    deleted. Shows the sets, and asks. Safe to repeat: a set that is gone counts as deleted.

    Example: snapset delete $(snapset list --change-id "$GIT_SHA" --ids)
    """
    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_):
        set_ids = list(dict.fromkeys(set_ids))
        for set_id in set_ids:
            check_set_id(set_id, name="SET")
        ec2 = connect_to(region, profile)
        with progress("looking for sets") as say:
            found = _find(ec2.saying(say), set_ids)
        for set_id in set_ids:
            if set_id not in found:
                print_line(f"{set_id} is not there: no snapshot in {ec2.settings.region} belongs to it")
        records = records_of(ec2, found.values())
        document["sets"] = list(records.values())
        if not found:
            if not json_:
                typer.echo("There is nothing to delete.")
            return
        if not yes:
            _ask(ec2, found.values(), records)
        kept = carry_out(ec2, lambda telling: _delete(telling, found), records=records, as_json=json_)
        raise_failed(kept, doing="deleting")
        if kept:
            number = sum(bool(record["kept"]) for record in document["sets"])
            raise errors.SnapsetError(f"deleting: {number} of {len(found)} sets kept, whole or in part.")


def _find(ec2: Ec2, set_ids: Sequence[str]) -> dict[str, SnapshotSet]:
    """Return those of the sets that exist, by id, in the given order."""
    from snapset.sets.find import find_sets_with

    found = {one.set_id: one for one in find_sets_with(ec2, SET, set_ids)}
    return {set_id: found[set_id] for set_id in set_ids if set_id in found}


def _ask(ec2: Ec2, found: Iterable[SnapshotSet], records: Mapping[str, Mapping[str, Any]]) -> None:
    """Ask about the sets that nothing is known to need."""
    from snapset.sets.deletion import why_needed
    from snapset.sets.journal import find_sets_in_use

    with progress("looking for rollbacks") as say:
        in_use = find_sets_in_use(ec2.saying(say))
    if free := [records[one.set_id] for one in found if not why_needed(one, in_use=in_use)]:
        ask(free, doing="deleting")


def _delete(ec2: Ec2, found: Mapping[str, SnapshotSet]) -> Iterator[Deleted]:
    from snapset.sets.deletion import delete_named
    from snapset.sets.journal import find_sets_in_use

    # A set may have been pinned, or a rollback may have begun, while somebody was asked.
    now = {**found, **_find(ec2, list(found))}
    return delete_named(ec2, list(now.values()), in_use=find_sets_in_use(ec2))
