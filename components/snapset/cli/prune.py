"""`snapset prune`: choose what is too old, show it, ask, delete it, and say what was kept and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors
from snapset.cli.context import connect_to, one_document
from snapset.cli.deleting import ask, carry_out, raise_failed, records_of
from snapset.cli.options import Instances, Json, Profile, Region, WithTags, check_set_id, parse_instances, parse_tags
from snapset.cli.output import progress
from snapset.durations import parse_duration

if TYPE_CHECKING:
    from snapset.sets.model import SnapshotSet

EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 bad usage or input, or not a terminal; 3 not permitted."


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
        int | None, typer.Option(metavar="N", min=1, help="And the newest of each of the last N months with one.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="30d", help="Delete only what was taken longer ago than this.")
    ] = None,
    instance: Instances = None,
    tag: WithTags = None,
    pin: Annotated[
        list[str] | None, typer.Option(metavar="SET", help="Keep this set, whatever a rule says; repeatable.")
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
    from snapset.sets import prune as pruning
    from snapset.sets.find import find_sets
    from snapset.sets.journal import find_sets_in_use

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
        ec2 = connect_to(region, profile)

        def choice(sets: Iterable[SnapshotSet]) -> list[SnapshotSet]:
            narrowed = [found for found in sets if found.has_tags(wanted)]
            # Each time anew: a rollback may have begun while somebody was asked.
            in_use = find_sets_in_use(ec2)
            return pruning.choose(narrowed, rule, adoption=ec2.limits.adoption, in_use=in_use)

        with progress("looking for sets") as say:
            telling = ec2.saying(say)
            pruning.pin(telling, pin or [], pinned=True)
            pruning.pin(telling, unpin or [], pinned=False)
            chosen = choice(find_sets(telling, filters)) if has_rule else []
        records = records_of(ec2, chosen)
        document["sets"] = list(records.values())
        if not chosen:
            if not json_:
                typer.echo("There is nothing to delete." if has_rule else "Done.")
            return
        if not yes:
            ask(document["sets"], doing="pruning")
        kept = carry_out(
            ec2, lambda telling: pruning.prune(telling, chosen, choice=choice), records=records, as_json=json_
        )
        raise_failed(kept, doing="pruning")


def _check_pins(pins: Sequence[str], unpins: Sequence[str], *, has_rule: bool) -> None:
    for name, set_ids in (("--pin", pins), ("--unpin", unpins)):
        for set_id in set_ids:
            check_set_id(set_id, name=name)
    if both := set(pins) & set(unpins):
        raise errors.InputError(f"reading --pin: {', '.join(sorted(both))} is in --unpin too.")
    if not has_rule and not pins and not unpins:
        raise errors.InputError("reading the rule: give --keep-last, --keep-daily, --older-than or another one.")
