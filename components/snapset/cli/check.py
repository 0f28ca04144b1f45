"""`snapset check`: which instances have no fresh backup, for monitoring. No engine, and no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset.cli.context import connect_to, find_matching, one_document
from snapset.cli.options import Filters, Instances, Json, Profile, Region, parse_filters, parse_instances
from snapset.cli.output import print_check, print_error, print_line, progress
from snapset.durations import parse_duration

if TYPE_CHECKING:
    from snapset.aws.ec2 import Ec2
    from snapset.sets.freshness import CheckRecord

EXIT_CODES = (
    "Exit codes: 0 every instance has a fresh set; 1 failed; 2 bad usage or input; 3 not permitted; 6 some instances "
    "have none."
)
_NOT_FRESH = 6


def check(
    instance: Instances = None,
    filter_: Filters = None,
    max_age: Annotated[
        str, typer.Option(metavar="24h", help="How old the newest whole, completed set may be: 12h, 2d.")
    ] = "24h",
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Check that every instance has a whole, completed set that is young enough.

    Without --instance and --filter, all instances of the Region that are running or stopped are checked.

    Example: snapset check --filter tag:app=web --max-age 24h
    """
    from snapset.sets.find import find_sets
    from snapset.sets.freshness import check_sets
    from snapset.sets.model import ARCHIVED

    document: dict[str, Any] = {"instances": []}
    with one_document(document, as_json=json_):
        seconds = parse_duration(max_age, name="--max-age", bare_seconds=False)
        of_them, filters = parse_instances(instance or []), parse_filters(filter_ or [])
        with progress("looking for instances and sets") as say:
            ec2 = connect_to(region, profile, say=say)
            instance_ids = _find_instances(ec2, instance or [], filters)
            # The sets of many are found with fewer calls if all sets are asked for.
            found = find_sets(ec2, of_them if instance and not filters else {})
        records = check_sets(instance_ids, found, max_age=seconds)
        document["instances"] = records
        if not json_:
            print_check(records)
        if late := [record for record in records if not record["ok"]]:
            for one in found:
                if one.state == ARCHIVED and one.age <= seconds:
                    print_line(f"{one.set_id} of {one.instance_id} does not count: it is in the archive")
            text = f"{len(late)} of {len(records)} instances have no whole, completed set younger than {max_age}"
            document["error"] = {"type": "NotFresh", "message": text}
            print_error(f"{text}: {_names(late)}")
            raise typer.Exit(_NOT_FRESH)


def _find_instances(ec2: Ec2, named: list[str], filters: dict[str, list[str]]) -> list[str]:
    """Return the instances that are named, or match; all if none is named and there is no filter."""
    if not named:
        return find_matching(ec2, filters)
    return list(dict.fromkeys([*named, *(ec2.find_instances(filters) if filters else [])]))


def _names(late: list[CheckRecord]) -> str:
    most = 5
    more = f" and {len(late) - most} more" if len(late) > most else ""
    return ", ".join(record["instance_id"] for record in late[:most]) + more
