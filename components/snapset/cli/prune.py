"""`snapset prune`: choose what is too old, show it, ask, delete it, and say what was kept and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors
from snapset.cli.options import (
    Instances,
    Json,
    Profile,
    Region,
    WithTags,
    check_set_id,
    parse_instances,
    parse_tags,
)

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.retry import Retry
    from snapset.sets.model import SnapshotSet
    from snapset.sets.prune import Choice, Pruned

EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 bad usage or input, or nobody to ask; 3 not permitted."


def prune(
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep the N newest completed sets of every instance.")
    ] = None,
    keep_daily: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="And the newest of each of the last N days with one.")
    ] = None,
    keep_weekly: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="And the newest of each of the last N weeks with one.")
    ] = None,
    keep_monthly: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="And the newest of each of the last N months with one."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="30d", help="Delete only what was taken longer ago than this.")
    ] = None,
    instance: Instances = None,
    tag: WithTags = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Keep this set, whatever a rule says; repeatable."),
    ] = None,
    unpin: Annotated[list[str] | None, typer.Option(metavar="SET", help="No longer keep it; repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Delete the sets that no rule keeps; the newest completed set of every instance is always kept.

    Pinned and pending sets are kept too, and so is what an image uses or a lock protects. Shows what would be
    deleted, and asks. With --pin or --unpin and no rule, nothing is deleted.

    Example: snapset prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --yes
    """
    from snapset.cli.context import connect_to, one_document
    from snapset.cli.output import progress
    from snapset.restore.rollback_plan import find_sets_in_use
    from snapset.retry import Retry, parse_duration
    from snapset.sets import prune as pruning
    from snapset.sets.find import find_sets

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_):
        age = parse_duration(older_than, name="--older-than", bare_seconds=False) if older_than is not None else None
        rule = pruning.Rule(
            keep_last=keep_last,
            keep_daily=keep_daily,
            keep_weekly=keep_weekly,
            keep_monthly=keep_monthly,
            older_than=age,
        )
        has_rule = rule != pruning.Rule()
        _check_pins(pin or [], unpin or [], has_rule=has_rule)
        filters, wanted = parse_instances(instance or []), parse_tags(tag or [])
        retry = Retry.from_environment()

        ec2 = connect_to(region, profile)

        def choice(sets: Iterable[SnapshotSet]) -> list[SnapshotSet]:
            narrowed = [found for found in sets if found.has_tags(wanted)]
            # Looked for each time: a rollback may have begun while somebody was asked.
            in_use = find_sets_in_use(ec2, retry=retry)
            return pruning.choose(narrowed, rule, adoption=retry.adoption, in_use=in_use)

        with progress("looking for sets") as say:
            pruning.pin(ec2, pin or [], pinned=True, retry=retry.saying(say))
            pruning.pin(ec2, unpin or [], pinned=False, retry=retry.saying(say))
            chosen = choice(find_sets(ec2, filters, retry=retry.saying(say))) if has_rule else []
        records = {
            found.set_id: {**found.record(region=str(ec2.settings.region)), **_result_of(None)} for found in chosen
        }
        document["sets"] = list(records.values())
        if not chosen:
            if not json_:
                typer.echo("There is nothing to delete." if has_rule else "Done.")
            return
        if not yes:
            _ask(list(records.values()))
        _delete(ec2, chosen, records, choice=choice, retry=retry, as_json=json_)


def _check_pins(pins: Sequence[str], unpins: Sequence[str], *, has_rule: bool) -> None:
    for name, set_ids in (("--pin", pins), ("--unpin", unpins)):
        for set_id in set_ids:
            check_set_id(set_id, name=name)
    if both := set(pins) & set(unpins):
        raise errors.InputError(f"reading --pin: {', '.join(sorted(both))} is in --unpin too.")
    if not has_rule and not pins and not unpins:
        raise errors.InputError("reading the rule: give --keep-last, --keep-daily, --older-than or another one.")


def _ask(records: Sequence[Mapping[str, Any]]) -> None:
    from snapset.cli.output import print_list

    print_list(records, stderr=True)
    number = sum(len(record["snapshot_ids"]) for record in records)
    what = f"{len(records)} set{'s'[: len(records) != 1]} with {number} snapshot{'s'[: number != 1]}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.InputError(f"pruning: {what} would be deleted, and nobody is here to be asked. Add --yes.")
    if not typer.confirm(f"Delete {what} for good?", err=True):
        raise errors.SnapsetError("pruning: the answer was no. Nothing is deleted.")


def _delete(
    ec2: Ec2,
    chosen: Sequence[SnapshotSet],
    records: Mapping[str, dict[str, Any]],
    *,
    choice: Choice,
    retry: Retry,
    as_json: bool,
) -> None:
    """Delete the chosen sets.

    Raises:
        SnapsetError: AWS refused, or snapshots were kept because a permission was missing or AWS did not answer.
    """
    from snapset.cli.output import print_error, print_list, progress
    from snapset.sets import prune as pruning

    kept: dict[str, errors.SnapsetError] = {}
    try:
        with progress("deleting") as say:
            for pruned in pruning.prune(ec2, chosen, choice=choice, retry=retry.saying(say)):
                records[pruned.chosen.set_id].update(_result_of(pruned))
                kept |= pruned.kept
    finally:
        if not as_json:
            print_list(records.values(), last="result")
        for message in dict.fromkeys(map(str, kept.values())):
            print_error(message)
    if failed := [error for error in kept.values() if not pruning.is_refusal(error)]:
        raise type(failed[0])(
            f"pruning: {len(failed)} of the snapshots could not be deleted. Run it again once the reason is gone.",
            code=failed[0].code,
        )


def _result_of(pruned: Pruned | None) -> dict[str, Any]:
    """Return what became of a set: chosen, deleted, partly deleted or kept; and of its snapshots."""
    if not pruned:
        return {"result": "chosen", "deleted_snapshot_ids": [], "kept": []}
    return {
        "result": "deleted" if not pruned.kept else "partly deleted" if pruned.deleted else "kept",
        "deleted_snapshot_ids": list(pruned.deleted),
        "kept": [{"snapshot_id": key, "reason": str(error)} for key, error in pruned.kept.items()],
    }
