"""`snapset list`: the sets in a Region, from the snapshots' tags alone."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from snapset import errors
from snapset.cli.context import connect_to, one_document
from snapset.cli.options import Instances, Json, Profile, Region, WithTags, parse_instances, parse_tags
from snapset.cli.output import print_list, progress
from snapset.sets.tags import fit

EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 bad usage or input; 3 not permitted."


class State(str, Enum):
    """How a set stands."""

    COMPLETED = "completed"
    ARCHIVED = "archived"
    PENDING = "pending"
    INCOMPLETE = "incomplete"
    ERROR = "error"


def list_(
    instance: Instances = None,
    change_id: Annotated[str | None, typer.Option(metavar="ID", help="Only sets taken for this change.")] = None,
    state: Annotated[State | None, typer.Option(help="Only sets in this state.")] = None,
    tag: WithTags = None,
    ids: Annotated[
        bool, typer.Option("--ids", help="Print only the ids, one a line, such as for `snapset delete`.")
    ] = False,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """List the sets in a Region, the newest first.

    Example: snapset list --instance i-0123456789abcdef0 --state completed
    """
    from snapset.sets.find import find_sets

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_), progress("looking for sets") as say:
        if ids and json_:
            raise errors.InputError("reading --ids: --json prints the ids too. Give one of them.")
        filters, wanted = parse_instances(instance or []), parse_tags(tag or [])
        ec2 = connect_to(region, profile, say=say)
        document["sets"] = [
            found.record(region=str(ec2.settings.region))
            for found in find_sets(ec2, filters)
            if found.has_tags(wanted)
            and (change_id is None or found.change_id == fit(change_id))
            and (state is None or found.state == state.value)
        ]
    if ids:
        for record in document["sets"]:
            typer.echo(record["set_id"])
    elif not json_:
        print_list(document["sets"])
