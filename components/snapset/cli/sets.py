"""The commands that work from the snapshots' tags alone: no state and no engine, also for sets of other machines."""

from __future__ import annotations

from importlib import resources
from typing import Annotated

import typer

from snapset.cli.app import app

_EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 bad usage or input, or no such set; 3 not permitted."
_EXIT_CODES_OF_WAIT = (
    "Exit codes: 0 the set has completed; 1 failed; 2 bad usage or input, or no such set; 3 not permitted; 4 the set "
    "failed or the wait timed out."
)

SetId = Annotated[str, typer.Argument(metavar="SET_ID", help="The set; its id is enough.")]
Instances = Annotated[
    list[str] | None, typer.Option("--instance", metavar="I", help="Only sets of this instance; repeatable.")
]
Region = Annotated[str | None, typer.Option(help="Region of the sets; the profile's if left out.")]
Profile = Annotated[str | None, typer.Option(help="AWS profile.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@app.command("list", epilog=_EXIT_CODES)
def list_(instance: Instances = None, region: Region = None, profile: Profile = None, json_: Json = False) -> None:
    """List the sets in a Region, the newest first.

    Example: snapset list --instance i-0123456789abcdef0
    """
    from snapset.cli.reading import run_list

    run_list(instance or [], region=region, profile=profile, as_json=json_)


@app.command(epilog=_EXIT_CODES)
def show(set_id: SetId, region: Region = None, profile: Profile = None, json_: Json = False) -> None:
    """Show a set with its snapshots.

    Example: snapset show set-0123456789abcdef0 --json
    """
    from snapset.cli.reading import run_show

    run_show(set_id, region=region, profile=profile, as_json=json_)


@app.command(epilog=_EXIT_CODES_OF_WAIT)
def wait(
    set_id: SetId,
    timeout: Annotated[str, typer.Option(help="How long to wait: 90s, 30m, 2h.")] = "2h",
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Wait until a set has completed.

    Example: snapset wait set-0123456789abcdef0 --timeout 30m
    """
    from snapset.cli.reading import run_wait

    run_wait(set_id, timeout=timeout, region=region, profile=profile, as_json=json_)


@app.command(epilog=_EXIT_CODES)
def prune(
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep so many completed sets of every instance.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="30d", help="Or: delete what was taken longer ago than this.")
    ] = None,
    instance: Instances = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Delete old sets; the newest completed set of every instance stays in any case.

    Pending sets stay too, and so does what an image uses or a lock keeps. Shows what would go, and asks.

    Example: snapset prune --keep-last 7 --instance i-0123456789abcdef0 --yes
    """
    from snapset.cli.prune import run_prune

    run_prune(
        instance or [],
        keep_last=keep_last,
        older_than=older_than,
        yes=yes,
        region=region,
        profile=profile,
        as_json=json_,
    )


@app.command()
def schema() -> None:
    """Print the JSON schema of what the commands print with --json.

    Example: snapset schema > snapset.schema.json
    """
    typer.echo(resources.files("snapset").joinpath("schema.json").read_text(encoding="utf-8"), nl=False)
