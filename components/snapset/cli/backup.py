"""`snapset backup`: take a set of each instance, through the Pulumi engine."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors, rules
from snapset.cli.context import INTERRUPTED
from snapset.cli.options import ExcludeBoot, Json, Profile, Region, Timeout, check, parse_filters, parse_tags
from snapset.cli.words import BACKUP, in_options

if TYPE_CHECKING:
    from snapset.pipeline.backup import Backup
    from snapset.pipeline.request import BackupRequest
    from snapset.retry import Say

EXIT_CODES = (
    "Exit codes: 0 the backup exists; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out; 5 the stack is locked by another run."
)


class Location(str, Enum):
    """Where the snapshots of an instance in a Local Zone are stored."""

    REGIONAL = "regional"
    LOCAL = "local"


class OnDelete(str, Enum):
    """What happens to the snapshots when the stack is destroyed."""

    RETAIN = "retain"
    DELETE = "delete"


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
        list[str] | None, typer.Option(metavar="K=V", help="Tag every snapshot; repeatable, at most 35.")
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
    stack: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Pulumi stack that records the set; if left out, each change has its own."),
    ] = None,
    region: Region = None,
    profile: Profile = None,
    on_delete: Annotated[
        OnDelete, typer.Option(help="What happens to the snapshots when the stack is destroyed.")
    ] = OnDelete.RETAIN,
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
    from snapset.cli.context import one_document
    from snapset.retry import parse_duration

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_, words=BACKUP):
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
            "region": region,
            "on_delete": on_delete.value,
        }
        if stack is not None:
            check("--stack", stack, rules.stack)
        seconds = parse_duration(timeout, name="--timeout")
        lock_seconds = parse_duration(lock_timeout, name="--lock-timeout")
        instance_ids = _find_instances(
            instances or [], parse_filters(filter_ or []), inputs, change_id, profile=profile
        )

        from snapset.pipeline.request import BackupRequest, new_change_id

        request = BackupRequest(
            instance_ids=tuple(instance_ids),
            change_id=change_id or new_change_id(),
            inputs=inputs,
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
    from snapset.cli.output import print_planned, progress
    from snapset.pipeline.preview import preview
    from snapset.retry import Retry

    with progress("looking at the instances") as say:
        found = preview(request, retry=Retry.from_environment(say))
    document["planned"] = found.planned
    if not as_json:
        print_planned(found.planned)
    _raise_first(request, document, found.failures)


def _back_up(request: BackupRequest, document: dict[str, Any], *, as_json: bool) -> None:
    from snapset.cli.output import print_error, print_sets, progress
    from snapset.pipeline.backup import Backup

    run = Backup(request)
    try:
        with progress("starting the engine") as say:
            interrupted = _run_to_the_end(run, say)
    finally:
        sets = run.sets
        document["sets"] = [sets[key] for key in request.instance_ids if key in sets]
        if not as_json:
            print_sets(document["sets"])
    if interrupted:
        text = _interrupted(request, [record["set_id"] for record in document["sets"]])
        document["error"] = {"type": "Interrupted", "message": text}
        print_error(text)
        raise typer.Exit(INTERRUPTED)
    _raise_first(request, document, run.failures)


def _interrupted(request: BackupRequest, set_ids: Sequence[str]) -> str:
    again = f"Run it again with --change-id {request.change_id}"
    if set_ids:
        return (
            f"interrupted: recorded: {', '.join(set_ids)}; AWS goes on with the snapshots. {again} to wait for them."
        )
    return f"interrupted: no set was recorded. {again}: if AWS took one meanwhile, it is adopted."


def _raise_first(
    request: BackupRequest, document: dict[str, Any], failures: Mapping[str, errors.SnapsetError]
) -> None:
    """Raise the first failure, after a line for each of the others."""
    from snapset.cli.output import print_error

    in_order = {key: failures[key] for key in request.instance_ids if key in failures}
    if not in_order:
        return
    document["failures"] = [
        {"instance_id": key, "type": type(error).__name__, "message": in_options(str(error), BACKUP)}
        for key, error in in_order.items()
    ]
    first, *others = in_order.values()
    for error in others:
        print_error(in_options(str(error), BACKUP))
    if isinstance(first, errors.WaitTimeoutError):
        advice = f"Run it again with --change-id {request.change_id} to wait for the same set."
        raise errors.WaitTimeoutError(f"{first} {advice}") from first
    raise first


def _find_instances(
    named: Sequence[str],
    filters: Mapping[str, list[str]],
    inputs: Mapping[str, Any],
    change_id: str | None,
    *,
    profile: str | None,
) -> list[str]:
    """Return the instances that are named or match the filters, after a look at the inputs."""
    from snapset.sets.inputs import find_problems

    if not named and not filters:
        raise errors.InputError("reading the instances: there is none. Name one, or a --filter that finds some.")
    for instance_id in named:
        if named.count(instance_id) > 1:
            raise errors.InputError(f"reading the instances: {instance_id} is listed twice.")
        rules.refuse(find_problems({**inputs, "instance_id": instance_id}))
    if change_id is not None:
        check("--change-id", change_id, rules.change_id)
    if not filters:
        return list(named)

    from snapset.cli.context import connect_to, find_matching
    from snapset.cli.output import progress

    ec2 = connect_to(inputs["region"], profile)
    with progress("looking for instances") as say:
        found = find_matching(ec2, filters, say)
    if not found:
        shown = " ".join(f"{name}={','.join(values)}" for name, values in filters.items())
        raise errors.NotFoundError(
            f"looking for instances in {ec2.settings.region}: none that is running or stopped matches {shown}. "
            "Check the filter, the Region and the account."
        )
    return list(dict.fromkeys([*named, *found]))


def _run_to_the_end(run: Backup, say: Say) -> bool:
    """Run in a thread, so that a signal reaches the engine in order; return whether there was one.

    However many signals come, the first ends the run, and the others change nothing.
    """
    failures: list[BaseException] = []
    ended, interrupted = threading.Event(), threading.Event()

    def work() -> None:
        try:
            run.run(say)
        except BaseException as error:  # raised again below
            failures.append(error)
        finally:
            ended.set()

    def interrupt(*_: object) -> None:
        interrupted.set()
        run.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    threading.Thread(target=work, daemon=True).start()
    ended.wait()
    if interrupted.is_set():
        return True
    for failure in failures:
        if not isinstance(failure, errors.SnapsetError) or not run.failures:
            raise failure
    return False
