"""`snapset wait`: wait until a set has completed, from the snapshots' tags alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snapset.cli.options import Json, Profile, Region, SetId, Timeout, check_set_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snapset.aws.ec2 import Ec2
    from snapset.aws.records import Snapshot
    from snapset.retry import Retry
    from snapset.sets.model import SnapshotSet

EXIT_CODES = (
    "Exit codes: 0 the set has completed; 1 failed; 2 bad usage or input, or no such set; 3 not permitted; 4 the set "
    "failed or the wait timed out."
)


def wait(
    set_id: SetId, timeout: Timeout = "2h", region: Region = None, profile: Profile = None, json_: Json = False
) -> None:
    """Wait until a set has completed.

    Example: snapset wait set-0123456789abcdef0 --timeout 30m
    """
    import asyncio

    from snapset.cli.context import connect_to, one_document
    from snapset.cli.output import print_sets, progress
    from snapset.retry import Retry, parse_duration
    from snapset.sets.find import find_set

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_), progress(f"looking for {set_id}") as say:
        check_set_id(set_id)
        seconds = parse_duration(timeout, name="--timeout")
        ec2, retry = connect_to(region, profile), Retry.from_environment(say)
        found = find_set(ec2, set_id, retry=retry, wait=seconds)

        def keep(seen: SnapshotSet) -> None:
            document["sets"] = [seen.record(region=str(ec2.settings.region))]

        keep(found)
        asyncio.run(_wait(ec2, found, keep=keep, timeout=seconds, retry=retry))
    if not json_:
        print_sets(document["sets"])


async def _wait(
    ec2: Ec2, found: SnapshotSet, *, keep: Callable[[SnapshotSet], None], timeout: float, retry: Retry
) -> None:
    from snapset.sets.wait import poller_for, wait_for_set

    poller = poller_for(ec2)

    async def look(snapshot_ids: Sequence[str]) -> list[Snapshot]:
        snapshots = await poller.look(snapshot_ids)
        if snapshots:
            keep(found.as_seen(snapshots))
        return snapshots

    await wait_for_set(look, found, seen=found, timeout=timeout, retry=retry)
