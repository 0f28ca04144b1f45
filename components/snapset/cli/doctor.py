"""`snapset doctor`: what is missing for a backup, and how to mend it."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from snapset import errors

EXIT_CODES = "Exit codes: 0 all is well; 1 something is to be mended; 2 bad usage or input."


def doctor(
    instance: Annotated[
        str | None, typer.Option(metavar="INSTANCE", help="Ask for the permissions to snapshot it; else in general.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region to look at; the profile's if left out.")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Check engine, state, Region, credentials and permissions: a line each, with the fix.

    Takes no snapshot. To the state, a stack of its own is written, and deleted again.

    Example: snapset doctor --instance i-0123456789abcdef0
    """
    from snapset.sets.inputs import problems_of

    given = {name: value for name, value in (("instance_id", instance), ("region", region)) if value is not None}
    for problem in problems_of(given):
        if problem.property in given:
            raise errors.InputError(f"reading {problem.property}: {problem.reason}.")
    if profile:
        # For this process and for the engine that it starts.
        os.environ["AWS_PROFILE"] = profile

    from rich.console import Console
    from rich.text import Text

    from snapset.aws.session import AwsSettings
    from snapset.cli.output import print_json
    from snapset.pipeline.doctor import examine

    console = Console(highlight=False)
    findings = []
    for each in examine(AwsSettings(region=region, profile=profile), instance_id=instance):
        findings.append(each)
        if not json_:
            verdict = ("ok    ", "green") if each.ok else ("to fix", "bold red")
            console.print(Text.assemble(verdict, f"  {each.check}: {each.message}"), soft_wrap=True)
    if json_:
        print_json({"findings": [asdict(each) for each in findings]})
    if not all(each.ok for each in findings):
        raise typer.Exit(1)
