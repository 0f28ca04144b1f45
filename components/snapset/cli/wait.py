"""`snapset wait`: wait until a set has completed, from the snapshots' tags alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snapset.cli.context import connect_to, one_document
from snapset.cli.options import Json, Profile, Region, SetId, Timeout, check_set_id
from snapset.cli.output import print_sets, progress
from snapset.durations import parse_duration

if TYPE_CHECKING:
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

    from snapset.sets.find import find_set
    from snapset.sets.wait import wait_for_set

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_), progress(f"looking for {set_id}") as say:
        check_set_id(set_id)
        seconds = parse_duration(timeout, name="--timeout")
        ec2 = connect_to(region, profile, say=say)

        def record(seen: SnapshotSet) -> None:
            # An answer may leave all of its snapshots out.
            if seen.snapshots:
                document["sets"] = [seen.record(region=str(ec2.settings.region))]

        found = find_set(ec2, set_id, wait=seconds)
        record(found)
        asyncio.run(wait_for_set(ec2, found, timeout=seconds, seen=found, report=record))
    if not json_:
        print_sets(document["sets"])
