"""What a person or a pipeline sees: progress and errors on stderr, the result on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from snapset import errors
from snapset.retry import age_of

_STYLES = {"completed": "green", "pending": "yellow", "error": "red", "incomplete": "red"}


class Say(Protocol):
    """Tells the user, in one line, how far the work is."""

    def __call__(self, text: str) -> None:
        """Show the line in place of the one before on a terminal, else below it."""


@contextmanager
def progress(first: str) -> Iterator[Say]:
    """Show progress on stderr: one live line on a terminal, plain lines elsewhere."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:

        def say(text: str) -> None:
            console.print(text, markup=False, soft_wrap=True)

        yield say
        return
    with console.status(first) as status:

        def say_live(text: str) -> None:
            status.update(text.replace("[", r"\["))

        yield say_live


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one document of a `--json` run on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def error_record(error: errors.SnapsetError) -> dict[str, str]:
    """Return the error as `--json` documents have it."""
    return {"type": type(error).__name__, "message": str(error)}


def print_sets(sets: Iterable[Mapping[str, Any]]) -> None:
    """Print each set as a table of its snapshots that fits 80 columns."""
    console = Console(highlight=False)
    for each in sets:
        more = [each[name] for name in ("outcome", "change_id") if name in each]
        title = f"{each['set_id']} of {each['instance_id']}: {', '.join([each['state'], *more])}"
        console.print(title, style="bold", markup=False)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("snapshot", "volume", "device"):
            table.add_column(title, no_wrap=True)
        table.add_column("GiB", justify="right")
        table.add_column("state", no_wrap=True)
        for snapshot in each["snapshots"]:
            table.add_row(
                snapshot["snapshot_id"],
                snapshot["volume_id"],
                snapshot["device_name"],
                str(snapshot["size_gib"]),
                snapshot["state"],
            )
        console.print(table)


def print_list(sets: Iterable[Mapping[str, Any]], *, last: str = "change_id", stderr: bool = False) -> None:
    """Print the sets as a table that fits 80 columns, a line each; `last` names what the last column shows."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for title in ("set", "instance"):
        table.add_column(title, no_wrap=True)
    for title in ("age", "GiB"):
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("state", no_wrap=True)
    # The one column that gives way where the terminal is narrow.
    table.add_column(last.removesuffix("_id"), max_width=14)
    for each in sets:
        table.add_row(
            each["set_id"],
            each["instance_id"],
            _age(min(snapshot["start_time"] for snapshot in each["snapshots"])),
            str(sum(snapshot["size_gib"] for snapshot in each["snapshots"])),
            Text(each["state"], style=_STYLES.get(each["state"], "")),
            Text(each.get(last, ""), no_wrap=True, overflow="ellipsis"),
        )
    Console(highlight=False, stderr=stderr).print(table if table.rows else "There are no sets.")


def _age(start_time: str) -> str:
    seconds = age_of(start_time)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "now"


def print_volumes(restored: Mapping[str, Any]) -> None:
    """Print the volumes of a restored set as a table that fits 80 columns."""
    console = Console(highlight=False)
    [zone] = {each["availability_zone"] for each in restored["volumes"]}
    where = f"attached to {restored['instance_id']}" if restored["instance_id"] else "attached to no instance"
    console.print(f"{restored['set_id']} is restored in {zone}, {where}", style="bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("volume", "snapshot", "device"):
        table.add_column(title, no_wrap=True)
    table.add_column("GiB", justify="right")
    table.add_column("state", no_wrap=True)
    for each in restored["volumes"]:
        table.add_row(
            each["volume_id"],
            each["snapshot_id"],
            each["device_name"],
            str(each["size_gib"]),
            each["state"],
        )
    console.print(table)


def print_error(text: str) -> None:
    """Print one line on stderr; on GitHub an annotation of the run beside it.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    sys.stderr.write(f"snapset: {text}\n")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        sys.stderr.write(f"::error title=snapset::{data}\n")
