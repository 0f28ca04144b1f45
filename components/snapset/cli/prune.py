"""`snapset prune`: choose what is too old, show it, ask, delete it, and say what stayed and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from snapset import errors
from snapset.cli.output import print_error, print_list, progress
from snapset.cli.reading import answering, connect_to, filters_of, record_of
from snapset.retry import Patience, parse_duration

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.sets.model import TaggedSet
    from snapset.sets.prune import Choice, Pruned


def run_prune(
    instances: Sequence[str],
    *,
    keep_last: int | None,
    older_than: str | None,
    yes: bool,
    region: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Delete the sets that the rule leaves no room for.

    Raises:
        InputError: the input can't be right, or nobody can be asked; nothing was deleted.
        SnapsetError: the answer was no, or AWS's answer; what stayed for want of a permission, or of an answer, too.
    """
    if (keep_last is None) == (older_than is None):
        raise errors.InputError("reading the rule: give one of --keep-last and --older-than.")
    age = parse_duration(older_than) if older_than is not None else None
    filters = filters_of(instances)
    adoption = Patience.from_environment().adoption

    from snapset.sets.prune import choose, find_sets

    def choice(sets: Iterable[TaggedSet]) -> list[TaggedSet]:
        return choose(sets, adoption=adoption, keep_last=keep_last, older_than=age)

    with answering(as_json=as_json) as document:
        ec2 = connect_to(region, profile)
        with progress("looking for sets") as say:
            chosen = choice(find_sets(ec2, filters, say=say))
        records = {each.set_id: {**record_of(each, ec2), **_result_of(each, None)} for each in chosen}
        document["sets"] = list(records.values())
        if not chosen:
            if not as_json:
                typer.echo("Nothing is to be deleted.")
            return
        if not yes:
            _ask(list(records.values()))
        _delete(ec2, chosen, records, choice=choice, as_json=as_json)


def _ask(records: Sequence[Mapping[str, Any]]) -> None:
    print_list(records, stderr=True)
    number = sum(len(each["snapshot_ids"]) for each in records)
    what = f"{len(records)} set{'s'[: len(records) != 1]} with {number} snapshot{'s'[: number != 1]}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.InputError(f"pruning: {what} would be deleted, and nobody is here to be asked. Add --yes.")
    if not typer.confirm(f"Delete {what} for good?", err=True):
        raise errors.SnapsetError("pruning: the answer was no. Nothing is deleted.")


def _delete(
    ec2: Ec2, chosen: Sequence[TaggedSet], records: Mapping[str, dict[str, Any]], *, choice: Choice, as_json: bool
) -> None:
    from snapset.sets.prune import is_refusal, prune

    stay: dict[str, errors.SnapsetError] = {}
    try:
        with progress("deleting") as say:
            for each in prune(ec2, chosen, choice=choice, say=say):
                records[each.chosen.set_id].update(_result_of(each.chosen, each))
                stay |= each.stay
    finally:
        if not as_json:
            print_list(records.values(), last="result")
        for error in dict.fromkeys(map(str, stay.values())):
            print_error(error)
    if failed := [each for each in stay.values() if not is_refusal(each)]:
        raise type(failed[0])(
            f"pruning: {len(failed)} snapshots stay that were to be deleted. Run it again once the reason is gone.",
            code=failed[0].code,
        )


def _result_of(chosen: TaggedSet, pruned: Pruned | None) -> dict[str, Any]:
    """Return what became of a set: chosen, deleted, partly deleted or kept; and of its snapshots."""
    deleted, stay = (list(pruned.deleted), pruned.stay) if pruned else ([], {})
    result = "chosen"
    if pruned:
        result = "deleted" if not stay else "partly deleted" if deleted else "kept"
    return {
        "result": result,
        "deleted_snapshot_ids": deleted,
        "kept": [{"snapshot_id": each, "reason": str(error)} for each, error in stay.items()],
    }
