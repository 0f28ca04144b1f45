"""`snapset schema`: the JSON schema of what the commands print with --json."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON schema of what the commands print with --json.

    Example: snapset schema > snapset.schema.json
    """
    from importlib import resources

    typer.echo(resources.files("snapset").joinpath("schema.json").read_text(encoding="utf-8"), nl=False)
