"""The `snapset` command: one file a command. Only a run imports boto3 or Pulumi, so that `--help` is quick."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, TextIO, cast

import typer
from typer.core import TyperCommand

from snapset import errors
from snapset.cli import (
    backup,
    check,
    delete,
    doctor,
    ec2,
    image,
    list_,
    prune,
    restore,
    rollback,
    schema,
    show,
    unlock,
    wait,
)
from snapset.cli.context import INTERRUPTED
from snapset.cli.output import print_error, print_json_error
from snapset.end import collect_rarely, end_now, heed_signals
from snapset.text import DEBUG, show_traceback

_EMPTY_OPTION = re.compile(r"--[a-z-]+=")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=backup.EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command that takes no option twice, unless that is repeatable: of two Regions, one would be passed over."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in order:
            is_switch = getattr(option, "is_flag", False) and not option.secondary_opts
            if order.count(option) > 1 and not is_switch and not option.multiple:
                names = " or ".join([option.opts[0], *option.secondary_opts])
                raise errors.InputError(f"reading {names}: it is given twice. Give it once.")
        return super().parse_args(ctx, args)


_command = partial(app.command, cls=_Command)
_command("backup", epilog=backup.EXIT_CODES)(backup.backup)
_command("restore", epilog=restore.EXIT_CODES)(restore.restore)
_command("rollback", epilog=rollback.EXIT_CODES)(rollback.rollback)
_command("image", epilog=image.EXIT_CODES)(image.image)
_command("list", epilog=list_.EXIT_CODES)(list_.list_)
_command("show", epilog=show.EXIT_CODES)(show.show)
_command("wait", epilog=wait.EXIT_CODES)(wait.wait)
_command("prune", epilog=prune.EXIT_CODES)(prune.prune)
_command("delete", epilog=delete.EXIT_CODES)(delete.delete)
_command("check", epilog=check.EXIT_CODES)(check.check)
_command("unlock", epilog=unlock.EXIT_CODES)(unlock.unlock)
_command("doctor", epilog=doctor.EXIT_CODES)(doctor.doctor)
_command("ec2", epilog=ec2.EXIT_CODES)(ec2.ec2)
_command("schema")(schema.schema)


def main() -> None:
    """Run the command line; every failure is one line on stderr and an exit code."""
    _open_streams()
    collect_rarely()
    heed_signals()
    end_now(_run())


def _open_streams() -> None:
    """Make sure that output never fails: neither on a closed stream, nor on text that the locale can't encode."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # At once, before anything else that is opened gets the stream's number.
            setattr(sys, name, _open_nothing("r" if name == "stdin" else "w"))
        elif name != "stdin":
            stream.reconfigure(errors="backslashreplace")


def _open_nothing(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode, encoding="utf-8"))


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
    try:
        _refuse_arguments(sys.argv[1:])
        return app(standalone_mode=False, prog_name="snapset") or 0
    except KeyboardInterrupt:
        return _fail("Interrupted", "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Nobody reads the rest of the output.
        sys.stdout = _open_nothing("w")
        return 1
    except SystemExit as end:
        return _fail("SystemExit", end.code, 1) if isinstance(end.code, str) else end.code or 0
    except errors.SnapsetError as error:
        show_traceback()
        return _fail(type(error).__name__, str(error), error.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):
            return _show_usage(error)
        show_traceback()
        return _fail(type(error).__name__, f"{type(error).__name__}: {error}. Set {DEBUG}=1 to see where.", 1)


def _refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that no command takes.

    Raises:
        InputError: an argument is empty, or is not UTF-8.
    """
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise errors.InputError("reading the arguments: one is not valid UTF-8. Write it in UTF-8.") from None
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument or _EMPTY_OPTION.fullmatch(argument):
            what = argument.rstrip("=") or (before if before.startswith("-") else "an argument")
            raise errors.InputError(
                f"reading {what}: it is empty, as a variable is that is not set. Leave it out, or give a value."
            )


def _show_usage(error: Any) -> int:
    """Show Typer's error about wrong usage; without arguments, it is the help."""
    if not sys.argv[1:]:
        error.show()
        return 2
    command = error.ctx.command_path if error.ctx else "snapset"
    message = error.format_message().rstrip(".")
    return _fail("UsageError", f"reading the arguments: {message}. See {command} --help.", 2)


def _fail(kind: str, message: str, code: int) -> int:
    print_error(message)
    if "--json" in sys.argv:
        # Stdout may be what failed: the disk may be full.
        with suppress(OSError):
            print_json_error(kind, message)
    return code
