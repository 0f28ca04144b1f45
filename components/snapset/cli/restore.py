"""`snapset restore`: a set's volumes again. No engine, and no state."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from snapset import errors, rules
from snapset.cli.context import connect_to, one_document
from snapset.cli.options import ExcludeBoot, Json, Profile, Region, check, check_set_id, parse_tags
from snapset.cli.output import print_volumes, progress

EXIT_CODES = (
    "Exit codes: 0 the volumes are there; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out."
)

# What this command calls the inputs that may be refused.
OPTIONS = {
    "set_id": "SET_ID",
    "instance_id": "--to",
    "availability_zone": "--availability-zone",
    "devices_from": "--devices-from",
    "exclude_boot_volume": "--exclude-boot",
    "volume_type": "--volume-type",
    "iops": "--iops",
    "throughput": "--throughput",
    "encrypted": "--encrypted",
    "kms_key_id": "--kms-key-id",
    "volume_initialization_rate": "--initialization-rate",
    "allow_incomplete": "--allow-incomplete",
    "tags": "--tag",
    "region": "--region",
}


def restore(
    set_id: Annotated[str | None, typer.Argument(metavar="[SET_ID]", help="Id of the set.")] = None,
    latest: Annotated[
        bool,
        typer.Option(
            "--latest",
            help="Instead of SET_ID: the newest completed set, whole unless --allow-incomplete; with --of.",
        ),
    ] = False,
    of: Annotated[str | None, typer.Option(metavar="INSTANCE", help="What the set was taken of.")] = None,
    change_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Instead of SET_ID: the one set that was taken for this change.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="INSTANCE", help="Attach the volumes to it, at the devices they had.")
    ] = None,
    availability_zone: Annotated[
        str | None, typer.Option(metavar="AZ", help="Or: make the volumes here, attached to no instance.")
    ] = None,
    devices_from: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="With --to: attach them at this device and the next ones: /dev/sdp."),
    ] = None,
    exclude_boot: ExcludeBoot = False,
    volume_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Type of every volume: gp3, io2, …; else as each was.")
    ] = None,
    iops: Annotated[int | None, typer.Option(metavar="N", help="IOPS of every volume: io1, io2, gp3.")] = None,
    throughput: Annotated[int | None, typer.Option(metavar="N", help="MiB/s of every volume: gp3.")] = None,
    encrypted: Annotated[bool, typer.Option("--encrypted", help="Encrypt every volume.")] = False,
    kms_key_id: Annotated[str | None, typer.Option(metavar="KEY", help="The key to encrypt with.")] = None,
    initialization_rate: Annotated[
        int | None, typer.Option(metavar="N", help="MiB/s at which AWS loads the data beforehand: 100 to 300.")
    ] = None,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Restore what is left of a set that is not whole.")
    ] = False,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Tag every volume, beside its snapshot's tags; repeatable."),
    ] = None,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Make volumes from a set as they were, and attach them where they were.

    Run again, it goes on where it was cut off; volumes that may have been used since are not handed out again. Needs
    neither the instance that the set was taken of, nor the Pulumi state, nor an engine.

    Example: snapset restore set-0123456789abcdef0 --to i-0123456789abcdef0 --exclude-boot
    """
    from snapset.restore.inputs import RestoreInputs, check_inputs
    from snapset.restore.volumes import restore_set
    from snapset.sets.find import find_latest

    document: dict[str, Any] = {"set_id": set_id, "instance_id": to, "volumes": []}
    with one_document(document, as_json=json_):
        _check_choice(set_id, latest=latest, of=of, change_id=change_id)
        ec2 = connect_to(region, profile)
        inputs = RestoreInputs(
            set_id=set_id or "",
            # The same set and target again is the same restore, whoever asks.
            scope="snapset restore",
            region=str(ec2.settings.region),
            instance_id=to,
            availability_zone=availability_zone,
            devices_from=devices_from,
            exclude_boot_volume=exclude_boot,
            volume_type=volume_type,
            iops=iops,
            throughput=throughput,
            encrypted=encrypted,
            kms_key_id=kms_key_id,
            volume_initialization_rate=initialization_rate,
            allow_incomplete=allow_incomplete,
            tags=parse_tags(tag or []),
        )
        rules.refuse(check_inputs(inputs), names=OPTIONS)
        with progress("looking for the set") as say:
            ec2 = ec2.saying(say)
            if set_id is None:
                found = find_latest(ec2, instance_id=of, change_id=change_id, allow_incomplete=allow_incomplete)
                document["set_id"] = set_id = found.set_id
            say(f"restoring {set_id}")
            document["volumes"] = restore_set(ec2, replace(inputs, set_id=set_id))
    if not json_:
        print_volumes(str(set_id), to, document["volumes"])


def _check_choice(set_id: str | None, *, latest: bool, of: str | None, change_id: str | None) -> None:
    """Raise an `InputError` unless exactly one option names the set."""
    if [set_id is not None, latest, change_id is not None].count(True) != 1:
        raise errors.InputError("reading the set: give one of SET_ID, --latest with --of INSTANCE, and --change-id.")
    if set_id is not None:
        check_set_id(set_id)
        if of is not None:
            raise errors.InputError("reading --of: SET_ID says which set. Leave --of out.")
    if latest and of is None:
        raise errors.InputError("reading --latest: of which instance? Add --of INSTANCE.")
    check("--of", of, rules.instance_id)
