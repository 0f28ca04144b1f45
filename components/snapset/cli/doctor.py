"""`snapset doctor`: what is missing for a backup, and how to fix it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from snapset import rules
from snapset.cli.context import one_document
from snapset.cli.options import Json, Profile, Region, check
from snapset.cli.output import print_line
from snapset.text import clean

EXIT_CODES = "Exit codes: 0 all is well; 1 something is to be fixed; 2 bad usage or input."


def doctor(
    instance: Annotated[
        str | None,
        typer.Option(metavar="INSTANCE", help="Check the permissions for this instance; if left out, in general."),
    ] = None,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Check engine, state, Region, credentials and permissions: a line each, with the fix.

    Takes no snapshot. Writes a stack of its own to the state, and deletes it again.

    Example: snapset doctor --instance i-0123456789abcdef0
    """
    document: dict[str, Any] = {"findings": []}
    with one_document(document, as_json=json_):
        check("--instance", instance, rules.instance_id)
        check("--region", region, rules.region)

        from snapset.aws.settings import AwsSettings
        from snapset.pipeline.doctor import examine

        console = Console(highlight=False)
        settings = AwsSettings(region=region, profile=profile)
        for finding in examine(settings, instance_id=instance, say=print_line):
            document["findings"].append(asdict(finding))
            if not json_:
                verdict = ("ok    ", "green") if finding.ok else ("to fix", "bold red")
                console.print(Text.assemble(verdict, f"  {finding.check}: {clean(finding.message)}"), soft_wrap=True)
    if not all(finding["ok"] for finding in document["findings"]):
        raise typer.Exit(1)
