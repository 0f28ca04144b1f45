"""The commands of `snapset`, their options and their exit codes."""

from __future__ import annotations

import os
import sys
from enum import Enum
from typing import Annotated

import typer

from snapset import errors
from snapset.aws.call_log import VERBOSE
from snapset.cli import doctor as _doctor
from snapset.cli import state as _state

_EXIT_CODES = (
    "Exit codes: 0 the backup exists; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out; 5 the stack is locked by another run."
)

_EXIT_CODES_OF_RESTORE = (
    "Exit codes: 0 the volumes are there; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out."
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, epilog=_EXIT_CODES)


class Location(str, Enum):
    """Where the snapshots of an instance in a Local Zone are stored."""

    REGIONAL = "regional"
    LOCAL = "local"


class OnDelete(str, Enum):
    """What happens to the snapshots when the stack is destroyed."""

    RETAIN = "retain"
    DELETE = "delete"


@app.callback()
def _snapset(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show each AWS call on stderr, with its request id and time.")
    ] = False,
) -> None:
    """Crash-consistent snapshot sets of EC2 instances, exactly one for each change.

    Example: snapset backup i-0123456789abcdef0 --change-id "$GIT_SHA"
    """
    if verbose:
        # For this process and for the engine that it starts.
        os.environ[VERBOSE] = "1"


@app.command(epilog=_EXIT_CODES)
def backup(
    instances: Annotated[
        list[str] | None, typer.Argument(metavar="INSTANCE", help="Instance ids; one set of each.")
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="NAME=V", help="And all that match, as AWS filters: tag:app=web; repeatable."
        ),
    ] = None,
    exclude_boot: Annotated[bool, typer.Option("--exclude-boot", help="Leave the root volume out.")] = False,
    exclude_volume: Annotated[
        list[str] | None, typer.Option(metavar="VOL", help="Leave this data volume out; repeatable, at most 40.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Tag every snapshot; repeatable, at most 40.")
    ] = None,
    copy_tags: Annotated[bool, typer.Option("--copy-tags", help="Copy each volume's tags to its snapshot.")] = False,
    description: Annotated[str | None, typer.Option(help="Description of every snapshot.")] = None,
    outpost_arn: Annotated[str | None, typer.Option(metavar="ARN", help="Store on the instance's Outpost.")] = None,
    location: Annotated[Location | None, typer.Option(help="Where to store, in a Local Zone.")] = None,
    change_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The change, such as a commit: served once, however often run."),
    ] = None,
    stack: Annotated[
        str | None, typer.Option(metavar="NAME", help="Pulumi stack of the record; one for the change if left out.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region of the instances; the profile's if left out.")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile.")] = None,
    on_delete: Annotated[OnDelete, typer.Option(help="The snapshots' fate when the stack goes.")] = OnDelete.RETAIN,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the set has completed.")] = True,
    timeout: Annotated[str, typer.Option(help="How long to wait: 90s, 30m, 2h.")] = "2h",
    preview: Annotated[bool, typer.Option("--preview", help="Only find out what would be done.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Take a crash-consistent set of snapshots of each instance.

    Example: snapset backup i-0123456789abcdef0 --change-id "$GIT_SHA" --json
    """
    from snapset.cli import backup as command

    if profile:
        # For this process and for the engine that it starts.
        os.environ["AWS_PROFILE"] = profile
    inputs = {
        "exclude_boot_volume": exclude_boot,
        "exclude_data_volume_ids": exclude_volume or [],
        "tags": command.parse_tags(tag or []),
        "copy_tags_from_source": "volume" if copy_tags else None,
        "description": description,
        "outpost_arn": outpost_arn,
        "location": location.value if location else None,
        "region": region,
        "on_delete": on_delete.value,
    }
    command.run_backup(
        instances or [],
        filters=filter_ or [],
        inputs=inputs,
        change_id=change_id,
        stack=stack,
        wait=wait,
        timeout=timeout,
        preview=preview,
        as_json=json_,
    )


@app.command(epilog=_EXIT_CODES_OF_RESTORE)
def restore(
    set_id: Annotated[str, typer.Argument(metavar="SET_ID", help="The set; its id is enough.")],
    to: Annotated[
        str | None, typer.Option(metavar="INSTANCE", help="Attach the volumes to it, at the devices they had.")
    ] = None,
    availability_zone: Annotated[
        str | None, typer.Option(metavar="AZ", help="Or: make the volumes here, attached to no instance.")
    ] = None,
    exclude_boot: Annotated[bool, typer.Option("--exclude-boot", help="Leave the root volume out.")] = False,
    volume_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Type of every volume: gp3, io2, …; else AWS's default.")
    ] = None,
    iops: Annotated[int | None, typer.Option(metavar="N", help="IOPS of every volume: io1, io2, gp3.")] = None,
    throughput: Annotated[int | None, typer.Option(metavar="N", help="MiB/s of every volume: gp3.")] = None,
    encrypted: Annotated[bool, typer.Option("--encrypted", help="Encrypt every volume.")] = False,
    kms_key_id: Annotated[str | None, typer.Option(metavar="KEY", help="The key to encrypt with.")] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Tag every volume, beside its snapshot's tags; repeatable."),
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region of the set; the profile's if left out.")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Make volumes from a set, and attach them where they were; again makes nothing new.

    Needs neither the instance that the set was taken of, nor the Pulumi state, nor an engine.

    Example: snapset restore set-0123456789abcdef0 --to i-0123456789abcdef0 --exclude-boot
    """
    from snapset.cli.backup import parse_tags
    from snapset.cli.restore import run_restore

    inputs = {
        "set_id": set_id,
        "instance_id": to,
        "availability_zone": availability_zone,
        "exclude_boot_volume": exclude_boot,
        "volume_type": volume_type,
        "iops": iops,
        "throughput": throughput,
        "encrypted": encrypted,
        "kms_key_id": kms_key_id,
        "tags": parse_tags(tag or []),
        "region": region,
    }
    run_restore(inputs, profile=profile, as_json=json_)


app.command(epilog=_doctor.EXIT_CODES)(_doctor.doctor)
app.command(epilog=_state.EXIT_CODES)(_state.unlock)


def main() -> None:
    """Run the command line; every failure is one line on stderr and an exit code."""
    code = _run()
    # The answer is out, and the engine has ended: Python would take half a second to take itself apart.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    from snapset.cli.output import print_error

    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except errors.SnapsetError as error:
        if os.environ.get("SNAPSET_DEBUG"):
            raise
        print_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    except Exception as error:
        if os.environ.get("SNAPSET_DEBUG"):
            raise
        print_error(f"{type(error).__name__}: {error}. Set SNAPSET_DEBUG=1 to see where.")
        return 1
    return 0
