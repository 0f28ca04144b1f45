"""What a person or a pipeline sees: progress and errors on stderr, the result on stdout."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from snapset.aws.clock import age_of
from snapset.restore.way_back import rollback_command
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

_STYLES = {"completed": "green", "archived": "yellow", "pending": "yellow", "error": "red", "incomplete": "red"}
_TITLES = {"snapshot_id": "snapshot", "volume_id": "volume", "device_name": "device", "size_gib": "GiB"}
_TAKEN_BY = {"created": " by this run", "adopted": " by an earlier run", "unchanged": " by an earlier run"}

# The version of every JSON document: raised when a field goes, or changes its meaning.
_VERSION = 1


class _StderrConsole(Console):
    """A console on stderr. On a broken pipe it falls silent: rich would end the thread that prints."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@contextmanager
def progress(first: str, *, keep_lines: bool = False) -> Iterator[Say]:
    """Show progress on stderr: one live line on a terminal, plain lines elsewhere.

    Args:
        first: the live line at the start.
        keep_lines: on a terminal, too, leave each line in place.
    """
    console = _StderrConsole(stderr=True, highlight=False)
    with console.status(Text(first)) if console.is_terminal else nullcontext() as status:

        def say(text: str) -> None:
            if keep_lines or not status:
                _print_text(console, text)
            if status:
                status.update(Text(clean(text)))

        yield say


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one document of a `--json` run on stdout, its version first."""
    # GitHub's runners obey a command anywhere in a line.
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
        more += ["pinned"] if record.get("pinned") else []
        title = f"{record['set_id']} of {record['instance_id']}: {', '.join([record['state'], *more])}"
        _print_text(console, title, style="bold")
        start, by = record["start_time"], _TAKEN_BY.get(record.get("outcome", ""), "")
        _print_text(console, f"taken {_clock_time(start)} UTC, {_age(start)} ago{by}")
        if missing := record.get("missing_volume_ids"):
            _print_text(console, f"not in it, but attached now: {', '.join(missing)}")
        if surplus := record.get("surplus_set_ids"):
            _print_text(console, f"taken for the same change, too: {', '.join(surplus)}")
        if images := record.get("image_ids"):
            _print_text(console, f"images that use it: {', '.join(images)}")
        if tags := _tags_in(record):
            _print_text(console, f"tags: {tags}")
        _print_records(console, record["snapshots"], "snapshot_id", "volume_id", "device_name", "size_gib", "state")
        for snapshot in record["snapshots"]:
            if reason := snapshot.get("state_message"):
                _print_text(console, f"{snapshot['snapshot_id']}: {reason}")


def print_way_back(sets: Sequence[SetRecord], *, change_id: str) -> None:
    """Print the command that goes back to what a backup took."""
    good = [record for record in sets if record["state"] != "error"]
    if not good:
        return
    instance_id, set_id, region = good[0]["instance_id"], good[0]["set_id"], good[0]["region"]
    way = rollback_command(instance_id, set_id, region=region)
    if len(good) > 1:
        way = f"snapset rollback INSTANCE --change-id {shlex.quote(change_id)} --region {region}"
    _print_text(_console(), f"To go back: {way}")


def print_planned(planned: Iterable[PlannedSet]) -> None:
    """Print what would be taken as a table of volumes for each instance that fits 80 columns."""
    console = _console()
    for one in planned:
        what = f"has {one['set_id']} already" if one["set_id"] else "would get a set of"
        _print_text(console, f"{one['instance_id']} {what}", style="bold")
        _print_records(console, one["volumes"], "volume_id", "device_name", "size_gib")


def print_list(sets: Iterable[Mapping[str, Any]], *, last: str = "change_id", stderr: bool = False) -> None:
    """Print the sets as a table, a line each, that fits the terminal; `last` names what the last column shows."""
    console = _console(stderr=stderr)
    is_wide = console.width >= _WIDE
    titles = ("set", "instance", *(("taken (UTC)",) if is_wide else ()), "age", "GiB", "state")
    table = _table(titles)
    # A narrow terminal cuts this column, and has none for the tags.
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
    _print_text(console, f"{set_id} is restored in {zone}, attached to {instance_id or 'no instance'}", style="bold")
    _print_records(console, volumes, "volume_id", "snapshot_id", "device_name", "size_gib", "state")


def print_check(records: Iterable[CheckRecord]) -> None:
    """Print how each instance stands as a table that fits 80 columns, those without a fresh set first."""
    table = _table(("instance", "backup", "newest set", "age"))
    for record in sorted(records, key=lambda record: (record["ok"], record["instance_id"])):
        word, style = ("fresh", "green") if record["ok"] else ("old" if record["set_id"] else "none", "red")
        age = _age(record["start_time"]) if record["start_time"] else "-"
        table.add_row(record["instance_id"], Text(word, style=style), record["set_id"] or "-", age)
    _console().print(table)


def print_rollback(record: RollbackRecord, plan: RollbackPlan, *, is_done: bool, stderr: bool = False) -> None:
    """Print a rollback as a table of devices: what is planned, or, once it is done, what became of it."""
    console = _console(stderr=stderr)
    instance_id, state, set_id = record["instance_id"], record["state"], record["set_id"]
    if is_done:
        title = f"{instance_id} is {state}, on the volumes of {set_id}"
    else:
        to = f"{set_id} of {plan.found.instance_id}" if plan.has_other_root else set_id
        title = f"{instance_id} ({state}) would go back to {to}, {_age(plan.found.start_time)} old"
    _print_text(console, title, style="bold")
    rows = [
        (swap["device_name"], swap["old_volume_id"] or "-", swap["new_volume_id"] or "new", swap["snapshot_id"])
        for swap in record["devices"]
    ]
    console.print(_table(("device", "volume before", "volume after", "snapshot"), rows))
    lines = [f"{device}: {volume_id} stays as it is" for device, volume_id in plan.stays.items()]
    if record["safety_set_id"]:
        lines.append(f"safety set of what was there: {record['safety_set_id']}")
    if leftovers := ", ".join(record["leftover_volume_ids"]):
        what = "what was never attached is deleted" if plan.inputs.delete_leftovers else "see --delete-leftovers"
        lines.append(f"made by an earlier rollback, and attached to nothing: {leftovers}; {what}")
    if record["deleted_volume_ids"]:
        lines.append(f"deleted: {', '.join(record['deleted_volume_ids'])}")
    for line in lines if is_done else [*lines, *_steps_of(plan)]:
        _print_text(console, line)


def _steps_of(plan: RollbackPlan) -> Iterator[str]:
    """Return what else the user should know before a rollback begins."""
    instance = plan.instance
    if plan.begun:
        yield f"it goes on with the rollback that began at {plan.begun}; --start-over forgets that one"
    elif plan.journal:
        yield f"{plan.journal.title}: this one takes its place"
    if plan.was_running and instance.state in ("running", "pending"):
        yield f"{instance.instance_id} is stopped and started for it"
        if instance.public_ip:
            yield f"its address {instance.public_ip} changes then, unless it is an Elastic IP"
    elif plan.was_running:
        yield f"{instance.instance_id} is started at the end: it ran when that rollback began"
    if plan.has_other_root:
        yield "with another instance's root, cloud-init runs the user data again, and the host keys change"
    if instance.is_hibernated:
        yield f"{instance.instance_id} is hibernated: what is in its memory is lost"
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


def _print_text(console: Console, text: str, *, style: str = "") -> None:
    console.print(Text(clean(text), style=style), soft_wrap=True)


def _print_records(console: Console, records: Iterable[Mapping[str, Any]], *fields: str) -> None:
    """Print a table of these fields of the records."""
    rows = [["?" if record[field] is None else str(record[field]) for field in fields] for record in records]
    console.print(_table([_TITLES.get(field, field) for field in fields], rows))


def _console(*, stderr: bool = False) -> Console:
    """Return a console that is as wide as the terminal, or as COLUMNS says; elsewhere nothing is cut."""
    console = _StderrConsole(highlight=False, stderr=True) if stderr else Console(highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNLIMITED
    return console


def _tags_in(record: Mapping[str, Any]) -> str:
    return clean(", ".join(f"{key}={value}" for key, value in sorted((record.get("tags") or {}).items())))


def _clock_time(start_time: str) -> str:
    return start_time[:16].replace("T", " ")


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]] = ()) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title in ("age", "GiB") else "left")
    for row in rows:
        # Rich would read markup in a plain string.
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def _age(start_time: str) -> str:
    seconds = age_of(start_time)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
