"""The `snapset` command: one file a command. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from snapset import errors
from snapset.cli import backup, doctor, list_, prune, restore, schema, show, unlock, wait
from snapset.process import end_now

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=backup.EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("backup", epilog=backup.EXIT_CODES)(backup.backup)
app.command("restore", epilog=restore.EXIT_CODES)(restore.restore)
app.command("list", epilog=list_.EXIT_CODES)(list_.list_)
app.command("show", epilog=show.EXIT_CODES)(show.show)
app.command("wait", epilog=wait.EXIT_CODES)(wait.wait)
app.command("prune", epilog=prune.EXIT_CODES)(prune.prune)
app.command("unlock", epilog=unlock.EXIT_CODES)(unlock.unlock)
app.command("doctor", epilog=doctor.EXIT_CODES)(doctor.doctor)
app.command("schema")(schema.schema)


def main() -> None:
    """Run the command line; every failure is one line on stderr and an exit code."""
    end_now(_run())


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"snapset {version('snapset')}")
        raise typer.Exit


@app.callback()
def _snapset(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show each AWS call on stderr, with its request id and time.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Crash-consistent snapshot sets of EC2 instances, exactly one for each change.

    Example: snapset backup i-0123456789abcdef0 --change-id "$GIT_SHA"
    """
    if verbose:
        # For this process and for the engine that it starts.
        os.environ["SNAPSET_VERBOSE"] = "1"


def _run() -> int:
    from snapset.cli.output import print_error

    debug = bool(os.environ.get("SNAPSET_DEBUG"))
    try:
        app()
    except SystemExit as end:
        if isinstance(end.code, str):
            print_error(end.code)
            return 1
        return end.code or 0
    except errors.SnapsetError as error:
        if debug:
            raise
        print_error(str(error))
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        print_error(f"{type(error).__name__}: {error}. Set SNAPSET_DEBUG=1 to see where.")
        return 1
    return 0
