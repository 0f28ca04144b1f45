"""`snapset backup`: take a set of each instance, through the Pulumi engine."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors, rules
from snapset.cli.context import INTERRUPTED, connect_to, find_matching, find_region_of, one_document
from snapset.cli.options import ExcludeBoot, Json, Profile, Region, Timeout, check, parse_filters, parse_tags
from snapset.cli.output import print_error, print_planned, print_sets, print_way_back, progress
from snapset.durations import parse_duration

if TYPE_CHECKING:
    from snapset.pipeline.backup import Backup
    from snapset.pipeline.request import BackupRequest

EXIT_CODES = (
    "Exit codes: 0 the backup exists; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out; 5 the stack is locked by another run."
)


# How long after a signal the next one is taken for the same: whoever is in a hurry sends it twice.
_PATIENCE_SECONDS = 3.0


class Location(str, Enum):
    """Where the snapshots of an instance in a Local Zone are stored."""

    REGIONAL = "regional"
    LOCAL = "local"


def backup(
    instances: Annotated[
        list[str] | None, typer.Argument(metavar="INSTANCE", help="Ids of the instances; each gets its own set.")
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=V",
            help="Also every instance that this AWS filter matches: tag:app=web; repeatable.",
        ),
    ] = None,
    exclude_boot: ExcludeBoot = False,
    exclude_volume: Annotated[
        list[str] | None, typer.Option(metavar="VOL", help="Leave this data volume out; repeatable, at most 40.")
    ] = None,
    exclude_volume_tag: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Leave the data volumes with this tag out; repeatable.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Tag every snapshot; repeatable, at most 25.")
    ] = None,
    copy_tags: Annotated[bool, typer.Option("--copy-tags", help="Copy each volume's tags to its snapshot.")] = False,
    copy_instance_tags: Annotated[
        bool, typer.Option("--copy-instance-tags", help="Copy the instance's tags to every snapshot.")
    ] = False,
    description: Annotated[str | None, typer.Option(help="Description of every snapshot.")] = None,
    outpost_arn: Annotated[str | None, typer.Option(metavar="ARN", help="Store on the instance's Outpost.")] = None,
    location: Annotated[
        Location | None, typer.Option(help="For an instance in a Local Zone: where to store the snapshots.")
    ] = None,
    change_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="What the backup is for, such as a commit. The same id again takes no second set."
        ),
    ] = None,
    served_within: Annotated[
        str, typer.Option(metavar="24h", help="How old a set of the same change may be to serve this run, too.")
    ] = "24h",
    stack: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Pulumi stack that records the set; by default one a change and Region."),
    ] = None,
    region: Region = None,
    profile: Profile = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the set has completed.")] = True,
    timeout: Timeout = "2h",
    lock_timeout: Annotated[
        str, typer.Option(help="How long to wait for another run that holds the stack's lock: 90s, 30m.")
    ] = "1m",
    preview: Annotated[bool, typer.Option("--preview", help="Only find out what would be done.")] = False,
    json_: Json = False,
) -> None:
    """Take a crash-consistent set of snapshots of each instance.

    Example: snapset backup i-0123456789abcdef0 --change-id "$GIT_SHA" --json
    """
    from snapset.sets.inputs import OPTIONS, check_inputs

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_):
        inputs = {
            "exclude_boot_volume": exclude_boot,
            "exclude_data_volume_ids": exclude_volume or [],
            "exclude_data_volume_tags": parse_tags(exclude_volume_tag or [], name="--exclude-volume-tag"),
            "tags": parse_tags(tag or []),
            "copy_tags_from_source": "volume" if copy_tags else None,
            "copy_tags_from_instance": copy_instance_tags,
            "description": description,
            "outpost_arn": outpost_arn,
            "location": location.value if location else None,
        }
        named = instances or []
        _check_instances(named, has_filter=bool(filter_))
        some_instance = (named or ["i-0123456789abcdef0"])[0]
        rules.refuse(check_inputs({**inputs, "instance_id": some_instance, "change_id": change_id}), names=OPTIONS)
        check("--stack", stack, rules.stack)
        seconds = parse_duration(timeout, name="--timeout")
        lock_seconds = parse_duration(lock_timeout, name="--lock-timeout")
        within = parse_duration(served_within, name="--served-within", bare_seconds=False)
        filters = parse_filters(filter_ or [])
        region = find_region_of(region, profile)

        from snapset.pipeline.request import BackupRequest, new_change_id

        request = BackupRequest(
            instance_ids=tuple(_find_instances(named, filters, region=region, profile=profile)),
            region=region,
            change_id=change_id or new_change_id(),
            inputs=inputs,
            served_within=within,
            wait=wait,
            timeout=seconds,
            stack=stack,
            profile=profile,
            lock_timeout=lock_seconds,
        )
        if preview:
            _preview(request, document, as_json=json_)
        else:
            _back_up(request, document, as_json=json_)


def _preview(request: BackupRequest, document: dict[str, Any], *, as_json: bool) -> None:
    from snapset.pipeline.preview import preview

    with progress("describing the instances") as say:
        document["planned"], failures = preview(request, say=say)
    if not as_json:
        print_planned(document["planned"])
    _raise_first(request, document, failures)


def _back_up(request: BackupRequest, document: dict[str, Any], *, as_json: bool) -> None:
    from snapset.pipeline.look import start_looking

    with progress("looking for what the change has already") as say:
        look = start_looking(request, say=say)
        # Pulumi is imported while EC2 is asked.
        from snapset.pipeline.backup import Backup

        run = Backup(request, look, say=say)
        try:
            interrupted = _run_to_the_end(run)
        finally:
            document["sets"] = run.sets
    if not as_json:
        print_sets(document["sets"])
        print_way_back(document["sets"], change_id=request.change_id)
    if interrupted:
        text = _interrupted(request, [record["set_id"] for record in document["sets"]])
        if run.was_killed:
            text += f" The engine was killed. If the stack is locked then, clear its lock: {run.unlock_command}"
        document["error"] = {"type": "Interrupted", "message": text}
        print_error(text)
        raise typer.Exit(INTERRUPTED)
    _raise_first(request, document, run.failures)


def _interrupted(request: BackupRequest, set_ids: Sequence[str]) -> str:
    again = f"Run it again with --change-id {request.change_id}"
    if not set_ids:
        return f"interrupted: no set was recorded. {again}: if AWS took one meanwhile, it is adopted."
    return f"interrupted: recorded: {', '.join(set_ids)}; AWS goes on with the snapshots. {again} to wait for them."


def _raise_first(
    request: BackupRequest, document: dict[str, Any], failures: Mapping[str, errors.SnapsetError]
) -> None:
    """Raise the first failure, after a line for each of the others."""
    in_order = {key: failures[key] for key in request.instance_ids if key in failures}
    if not in_order:
        return
    document["failures"] = [
        {"instance_id": key, "type": type(error).__name__, "message": str(error)} for key, error in in_order.items()
    ]
    first, *others = in_order.values()
    for error in others:
        print_error(str(error))
    if isinstance(first, errors.WaitTimeoutError):
        advice = f"Run it again with --change-id {request.change_id} to wait for the same set."
        raise errors.WaitTimeoutError(f"{first} {advice}") from first
    raise first


def _check_instances(named: Sequence[str], *, has_filter: bool) -> None:
    if not named and not has_filter:
        raise errors.InputError("reading the instances: there is none. Name one, or a --filter that finds some.")
    for instance_id in named:
        check("INSTANCE", instance_id, rules.instance_id)
        if named.count(instance_id) > 1:
            raise errors.InputError(f"reading the instances: {instance_id} is listed twice.")


def _find_instances(
    named: Sequence[str], filters: Mapping[str, list[str]], *, region: str, profile: str | None
) -> list[str]:
    """Return the instances that are named or match the filters."""
    if not filters:
        return list(named)

    with progress("looking for instances") as say:
        found = find_matching(connect_to(region, profile, say=say), filters)
    return list(dict.fromkeys([*named, *found]))


def _run_to_the_end(run: Backup) -> bool:
    """Run in a thread, so that the engine ends in order at the first signal, and return whether there was one.

    One that comes later kills the engine.
    """
    from snapset.pipeline.look import start_thread

    interrupted, first = threading.Event(), math.inf

    def interrupt(*_: object) -> None:
        nonlocal first
        if time.monotonic() > first + _PATIENCE_SECONDS:
            run.kill()
            raise KeyboardInterrupt
        first = min(first, time.monotonic())
        interrupted.set()
        run.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        failure = start_thread(run.run).exception()
    except KeyboardInterrupt:
        return True
    if interrupted.is_set():
        return True
    # A failure of an instance is among `run.failures`.
    if failure and not (isinstance(failure, errors.SnapsetError) and run.failures):
        raise failure
    return False
