"""`snapset list`: the sets in a Region, from the snapshots' tags alone."""

from __future__ import annotations

from typing import Any

from snapset.cli.options import Instances, Json, Profile, Region, parse_instances

EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 bad usage or input; 3 not permitted."


def list_(instance: Instances = None, region: Region = None, profile: Profile = None, json_: Json = False) -> None:
    """List the sets in a Region, the newest first.

    Example: snapset list --instance i-0123456789abcdef0
    """
    from snapset.cli.context import connect_to, one_document
    from snapset.cli.output import print_list, progress
    from snapset.retry import Retry
    from snapset.sets.find import find_sets

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_), progress("looking for sets") as say:
        filters = parse_instances(instance or [])
        ec2 = connect_to(region, profile)
        found = find_sets(ec2, filters, retry=Retry.from_environment(say))
        document["sets"] = [snapshot_set.record(region=str(ec2.settings.region)) for snapshot_set in found]
    if not json_:
        print_list(document["sets"])
