"""What a person or a pipeline sees: progress and errors on stderr, the result on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from snapset.aws.clock import age_of
from snapset.retry import Say
from snapset.text import clean

if TYPE_CHECKING:
    from snapset.pipeline.preview import PlannedSet
    from snapset.restore.rollback_plan import RollbackPlan, RollbackRecord
    from snapset.restore.volumes import VolumeRecord
    from snapset.sets.freshness import CheckRecord
    from snapset.sets.model import SetRecord

# From this width on, a list shows clock times and tags.
_WIDE = 130
_UNLIMITED = 1000
_printed: list[Mapping[str, Any]] = []

_STYLES = {"completed": "green", "pending": "yellow", "error": "red", "incomplete": "red"}

# Of every JSON document. It is raised when a field goes, or changes its meaning.
_VERSION = 1


class _StderrConsole(Console):
    """A console on stderr. If nobody reads it any more, it is silent: rich would end the thread that prints."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@contextmanager
def progress(first: str, *, keep_lines: bool = False) -> Iterator[Say]:
    """Show progress on stderr: one live line on a terminal, plain lines elsewhere.

    Args:
        first: what is shown at first.
        keep_lines: on a terminal, too, leave each line in place.
    """
    console = _StderrConsole(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: console.print(Text(clean(text)), soft_wrap=True)
        return
    with console.status(Text(first)) as status:

        def say(text: str) -> None:
            if keep_lines:
                console.print(Text(clean(text)), soft_wrap=True)
            status.update(Text(clean(text)))

        yield say


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one document of a `--json` run on stdout, its version first."""
    # A runner of GitHub would obey it anywhere in a line.
    text = json.dumps({"version": _VERSION, **document}, indent=2).replace("##[", r"##\u005b")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    _printed.append(document)


def print_json_error(kind: str, message: str) -> None:
    """Print a document with this error only, unless the command got as far as to print its own."""
    if not _printed:
        print_json({"error": {"type": kind, "message": message}})


def print_sets(sets: Iterable[SetRecord]) -> None:
    """Print each set as a table of its snapshots that fits 80 columns."""
    console = _console()
    for record in sets:
        more = [text for name in ("outcome", "change_id") if (text := str(record.get(name) or ""))]
        title = f"{record['set_id']} of {record['instance_id']}: {', '.join([record['state'], *more])}"
        console.print(Text(clean(title), style="bold"), soft_wrap=True)
        taken = f"taken {_clock_time(record['start_time'])} UTC, {_age(record['start_time'])} ago"
        by = {"created": " by this run", "adopted": " by an earlier run", "unchanged": " by an earlier run"}
        console.print(Text(taken + by.get(record.get("outcome", ""), "")), soft_wrap=True)
        if missing := record.get("missing_volume_ids"):
            console.print(Text(f"not in it, but attached now: {', '.join(missing)}"), soft_wrap=True)
        if surplus := record.get("surplus_set_ids"):
            console.print(Text(f"taken for the same change, too: {', '.join(surplus)}"), soft_wrap=True)
        if tags := _tags_in(record):
            console.print(Text(f"tags: {tags}"), soft_wrap=True)
        rows = [
            (
                snapshot["snapshot_id"],
                snapshot["volume_id"],
                snapshot["device_name"],
                str(snapshot["size_gib"]),
                snapshot["state"],
            )
            for snapshot in record["snapshots"]
        ]
        console.print(_table(("snapshot", "volume", "device", "GiB", "state"), rows))
        for snapshot in record["snapshots"]:
            if reason := snapshot.get("state_message"):
                console.print(Text(clean(f"{snapshot['snapshot_id']}: {reason}")), soft_wrap=True)


def print_planned(planned: Iterable[PlannedSet]) -> None:
    """Print what would be taken as a table of volumes for each instance that fits 80 columns."""
    console = _console()
    for one in planned:
        what = f"has {one['set_id']} already" if one["set_id"] else "would get a set of"
        console.print(Text(f"{one['instance_id']} {what}", style="bold"), soft_wrap=True)
        rows = [
            (volume["volume_id"], volume["device_name"], str(volume["size_gib"] or "?")) for volume in one["volumes"]
        ]
        console.print(_table(("volume", "device", "GiB"), rows))


def print_list(sets: Iterable[Mapping[str, Any]], *, last: str = "change_id", stderr: bool = False) -> None:
    """Print the sets as a table, a line each, that fits the terminal; `last` names what the last column shows."""
    console = _console(stderr=stderr)
    is_wide = console.width >= _WIDE
    titles = ("set", "instance", *(("taken (UTC)",) if is_wide else ()), "age", "GiB", "state")
    table = _table(titles, ())
    # Where the terminal is narrow, this column gives way, and there is none for the tags.
    table.add_column(last.removesuffix("_id"), max_width=None if is_wide else 14)
    if is_wide:
        table.add_column("tags")
    for record in sets:
        cells: list[str | Text] = [record["set_id"], record["instance_id"]]
        cells += [_clock_time(record["start_time"])] if is_wide else []
        cells += [
            _age(record["start_time"]),
            str(sum(snapshot["size_gib"] for snapshot in record["snapshots"])),
            Text(record["state"], style=_STYLES.get(record["state"], "")),
            Text(clean(record.get(last, "")), no_wrap=True, overflow="ellipsis"),
        ]
        cells += [Text(_tags_in(record), no_wrap=True, overflow="ellipsis")] if is_wide else []
        table.add_row(*cells)
    console.print(table if table.rows else "There are no sets.")


def print_volumes(set_id: str, instance_id: str | None, volumes: Sequence[VolumeRecord]) -> None:
    """Print the volumes of a restored set as a table that fits 80 columns."""
    console = _console()
    [zone] = {volume["availability_zone"] for volume in volumes}
    where = f"attached to {instance_id}" if instance_id else "attached to no instance"
    console.print(Text(f"{set_id} is restored in {zone}, {where}", style="bold"), soft_wrap=True)
    rows = [
        (
            volume["volume_id"],
            volume["snapshot_id"],
            volume["device_name"],
            str(volume["size_gib"]),
            volume["state"],
        )
        for volume in volumes
    ]
    console.print(_table(("volume", "snapshot", "device", "GiB", "state"), rows))


def print_check(records: Iterable[CheckRecord]) -> None:
    """Print how each instance stands as a table that fits 80 columns, those without a fresh set first."""
    table = _table(("instance", "backup", "newest set", "age"), ())
    for record in sorted(records, key=lambda record: (record["ok"], record["instance_id"])):
        word, style = ("fresh", "green") if record["ok"] else ("old" if record["set_id"] else "none", "red")
        table.add_row(
            record["instance_id"],
            Text(word, style=style),
            record["set_id"] or "-",
            _age(record["start_time"]) if record["start_time"] else "-",
        )
    _console().print(table)


def print_rollback(record: RollbackRecord, plan: RollbackPlan, *, is_done: bool, stderr: bool = False) -> None:
    """Print a rollback as a table of devices: what is planned, or, once it is done, what became of it."""
    console = _console(stderr=stderr)
    instance_id = record["instance_id"]
    if is_done:
        title = f"{instance_id} is {record['state']}, on the volumes of {record['set_id']}"
    else:
        age = _age(plan.found.start_time)
        title = f"{instance_id} ({record['state']}) would go back to {record['set_id']}, {age} old"
    console.print(Text(clean(title), style="bold"), soft_wrap=True)
    rows = [
        (
            device["device_name"],
            device["old_volume_id"] or "-",
            device["new_volume_id"] or "new",
            device["snapshot_id"],
        )
        for device in record["devices"]
    ]
    console.print(_table(("device", "volume before", "volume after", "snapshot"), rows))
    lines = [f"{device}: {volume_id} stays as it is" for device, volume_id in plan.stays.items()]
    if record["safety_set_id"]:
        lines.append(f"safety set of what was there: {record['safety_set_id']}")
    if record["deleted_volume_ids"]:
        lines.append(f"deleted: {', '.join(record['deleted_volume_ids'])}")
    for line in lines if is_done else [*lines, *_steps_of(plan)]:
        console.print(Text(clean(line)), soft_wrap=True)


def _steps_of(plan: RollbackPlan) -> Iterator[str]:
    """Return what the user has to know of a rollback beside its devices, before it begins."""
    instance = plan.instance
    if plan.begun:
        yield f"it goes on with the rollback that began at {plan.begun}"
    if plan.was_running and instance.state in ("running", "pending"):
        yield f"{instance.instance_id} is stopped and started for it"
        if instance.public_ip:
            yield f"its address {instance.public_ip} changes then, unless it is an Elastic IP"
    elif plan.was_running:
        yield f"{instance.instance_id} is started at the end: it ran when that rollback began"
    if plan.inputs.delete_replaced:
        kept = "" if not plan.inputs.safety_set else ", once a safety set has all that is on them"
        yield f"the volumes before are deleted at the end{kept}"


def print_error(text: str) -> None:
    """Print one line on stderr; on GitHub an annotation of the run beside it.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    line = clean(text)
    print_line(f"snapset: {line}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print_line(f"::error title=snapset::{line.replace('%', '%25')}")


def print_line(text: str) -> None:
    """Print one line on stderr, if anybody reads it."""
    with suppress(BrokenPipeError):
        sys.stderr.write(f"{clean(text)}\n")


def _console(*, stderr: bool = False) -> Console:
    """Return a console that is as wide as the terminal, or as COLUMNS says; elsewhere nothing is cut."""
    kind = _StderrConsole if stderr else Console
    console = kind(highlight=False, stderr=stderr)
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return kind(highlight=False, stderr=stderr, width=_UNLIMITED)


def _tags_in(record: Mapping[str, Any]) -> str:
    return clean(", ".join(f"{key}={value}" for key, value in sorted((record.get("tags") or {}).items())))


def _clock_time(start_time: str) -> str:
    return start_time[:16].replace("T", " ")


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title in ("age", "GiB") else "left")
    for row in rows:
        # As texts: a string would be read for markup.
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def _age(start_time: str) -> str:
    seconds = age_of(start_time)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
