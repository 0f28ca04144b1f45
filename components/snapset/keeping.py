"""`keep_last`: which older sets of its own line a resource lets go of, once the new set has completed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from snapset import errors, tags, waiting
from snapset.aws_provider import provider_of, settings_of
from snapset.catalog import TaggedSet
from snapset.ec2 import Ec2, connect
from snapset.finish import Finished
from snapset.line import SetLine
from snapset.mocks import is_mocked
from snapset.patience import Patience
from snapset.pruning import Pruned, choose, find_sets, prune
from snapset.resource import SnapshotSet


def keep_last(
    taken: SnapshotSet, line: SetLine, finished: pulumi.Output[Finished], *, number: int, wait: bool
) -> pulumi.Output[None]:
    """Put the set in the line, and delete the line's older completed sets but for the newest `number`.

    Only sets that this state has held are in the line. Without `wait`, or before the set has completed, nothing is
    deleted; in a preview nothing is called. What can't be deleted is said in one warning.

    Args:
        taken: the resource.
        line: its line.
        finished: how the set stands.
        number: how many completed sets of an instance stay in the line, the new one among them.
        wait: whether the program waited for the set.
    """

    async def keep(known: dict[str, Any]) -> None:
        if pulumi.runtime.is_dry_run() or is_mocked():
            return
        completed = wait and known["finished"]["completed"]
        try:
            settings = await settings_of(provider_of(taken))
            ec2 = connect(settings.in_region(known["region"]))
            await waiting.run_in_thread(lambda: _mark(ec2, known))
            pruned = (
                await waiting.run_in_thread(lambda: _delete_older(ec2, known, number=number)) if completed else []
            )
        except errors.SnapsetError as error:
            # The backup is there; that older ones are there too fails nothing.
            pulumi.log.warn(f"older sets than {known['set_id']} stay: {error}", taken)
            return
        for each in pruned:
            if each.deleted:
                which = f"{len(each.deleted)} of {len(each.chosen.snapshots)} snapshots"
                pulumi.log.info(f"deleted {each.chosen.set_id} ({which}): keep_last is {number}", taken)
        if stay := dict.fromkeys(str(error) for each in pruned for error in each.stay.values()):
            pulumi.log.warn(f"older snapshots than those of {known['set_id']} stay: {' '.join(stay)}", taken)

    known = {name: getattr(taken, name) for name in ("set_id", "snapshot_ids", "region")}
    return pulumi.Output.all(**known, line=line.id, finished=finished).apply(keep)


def _mark(ec2: Ec2, known: dict[str, Any]) -> None:
    there = ec2.describe_snapshots(known["snapshot_ids"])
    if any(each.tags.get(tags.LINE) != known["line"] for each in there):
        ec2.tag_snapshots([each.snapshot_id for each in there], {tags.LINE: known["line"]})


def _delete_older(ec2: Ec2, known: dict[str, Any], *, number: int) -> list[Pruned]:
    adoption = Patience.from_environment().adoption

    def choice(sets: Sequence[TaggedSet]) -> list[TaggedSet]:
        own = [each for each in sets if each.is_in_line(known["line"])]
        chosen = choose(own, adoption=adoption, keep_last=number)
        return [each for each in chosen if each.set_id != known["set_id"]]

    found = choice(find_sets(ec2, {f"tag:{tags.LINE}": [known["line"]]}))
    return list(prune(ec2, found, choice=choice))
