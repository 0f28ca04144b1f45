"""`snapset backup`: take a set of each instance, through the Pulumi engine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapset import errors, rules
from snapset.cli.options import ExcludeBoot, Json, Profile, Region, Timeout, parse_filters, parse_tags

if TYPE_CHECKING:
    from snapset.pipeline.backup import Backup
    from snapset.retry import Say

EXIT_CODES = (
    "Exit codes: 0 the backup exists; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out; 5 the stack is locked by another run."
)
INTERRUPTED = 130


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
    tag: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Tag every snapshot; repeatable, at most 38.")
    ] = None,
    copy_tags: Annotated[bool, typer.Option("--copy-tags", help="Copy each volume's tags to its snapshot.")] = False,
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
    preview: Annotated[bool, typer.Option("--preview", help="Only find out what would be done.")] = False,
    json_: Json = False,
) -> None:
    """Take a crash-consistent set of snapshots of each instance.

    Example: snapset backup i-0123456789abcdef0 --change-id "$GIT_SHA" --json
    """
    from snapset.cli.context import one_document
    from snapset.cli.output import print_error, print_sets, progress
    from snapset.retry import parse_duration

    document: dict[str, Any] = {"sets": []}
    interrupted = False
    with one_document(document, as_json=json_):
        inputs = {
            "exclude_boot_volume": exclude_boot,
            "exclude_data_volume_ids": exclude_volume or [],
            "tags": parse_tags(tag or []),
            "copy_tags_from_source": "volume" if copy_tags else None,
            "description": description,
            "outpost_arn": outpost_arn,
            "location": location.value if location else None,
            "region": region,
            "on_delete": on_delete.value,
        }
        seconds = parse_duration(timeout, name="--timeout")
        if profile:
            # For this process and for the engine that it starts.
            os.environ["AWS_PROFILE"] = profile
        instance_ids = _find_instances(instances or [], parse_filters(filter_ or []), inputs, change_id)

        from snapset.pipeline.backup import Backup
        from snapset.pipeline.request import BackupRequest, new_change_id

        request = BackupRequest(
            instance_ids=tuple(instance_ids),
            change_id=change_id or new_change_id(),
            inputs=inputs,
            wait=wait,
            timeout=seconds,
            stack=stack,
            preview=preview,
        )
        run = Backup(request)
        try:
            with progress("starting the engine") as say:
                interrupted = _run_to_the_end(run, say)
        except errors.WaitTimeoutError as error:
            advice = f"Run it again with --change-id {request.change_id} to wait for the same set."
            raise errors.WaitTimeoutError(f"{error} {advice}") from error
        finally:
            document["sets"] = [run.sets[instance_id] for instance_id in instance_ids if instance_id in run.sets]
            if not json_:
                print_sets(document["sets"])
    if interrupted:
        taken = ", ".join(record["set_id"] for record in document["sets"])
        again = f"Run it again with --change-id {request.change_id}"
        if taken:
            print_error(f"interrupted: recorded: {taken}; AWS goes on with the snapshots. {again} to wait for them.")
        else:
            print_error(f"interrupted: no set was recorded. {again}: if AWS took one meanwhile, it is adopted.")
        raise typer.Exit(INTERRUPTED)


def _find_instances(
    named: Sequence[str], filters: Mapping[str, Sequence[str]], inputs: Mapping[str, Any], change_id: str | None
) -> list[str]:
    """Return the instances that are named or match the filters, after a look at the inputs."""
    from snapset.sets.inputs import find_problems

    if not named and not filters:
        raise errors.InputError("reading the instances: there is none. Name one, or a --filter that finds some.")
    for instance_id in named:
        if named.count(instance_id) > 1:
            raise errors.InputError(f"reading the instances: {instance_id} is listed twice.")
        rules.refuse(find_problems({**inputs, "instance_id": instance_id}))
    if change_id is not None and not change_id.strip():
        raise errors.InputError("reading --change-id: it is empty. Leave it out, or name the change.")
    if change_id is not None and not change_id.isprintable():
        raise errors.InputError(
            f"reading --change-id: {change_id!r} can't be printed. Name the change in plain text."
        )
    if not filters:
        return list(named)

    from snapset.cli.context import connect_to

    ec2 = connect_to(inputs["region"], None)
    found = ec2.find_instances(filters)
    if not found:
        shown = " ".join(f"{name}={','.join(values)}" for name, values in filters.items())
        raise errors.NotFoundError(
            f"looking for instances in {ec2.settings.region}: none that is running or stopped matches {shown}. "
            "Check the filter, the Region and the account."
        )
    return list(dict.fromkeys([*named, *found]))


def _run_to_the_end(run: Backup, say: Say) -> bool:
    """Run in a thread, so that an interrupt reaches the engine in order; return whether there was one."""
    failures: list[BaseException] = []
    # Not Thread.join(): once that is interrupted, Python before 3.13 takes the thread for ended.
    ended = threading.Event()

    def work() -> None:
        try:
            run.run(say)
        except BaseException as error:  # raised again below
            failures.append(error)
        finally:
            ended.set()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=work, daemon=True).start()
    try:
        ended.wait()
    except KeyboardInterrupt:
        run.interrupt()
        ended.wait()
        return True
    for failure in failures:
        raise failure
    return False
