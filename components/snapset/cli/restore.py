"""`snapset restore`: a set's volumes again. No engine, and no state."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from snapset.cli.options import ExcludeBoot, Json, Profile, Region, SetId, parse_tags

EXIT_CODES = (
    "Exit codes: 0 the volumes are there; 1 failed; 2 bad usage or input; 3 not permitted; 4 the set failed or the "
    "wait timed out."
)
# Whom the volumes are for: the same set and target again is the same restore, whoever asks.
SCOPE = "snapset restore"


def restore(
    set_id: SetId,
    to: Annotated[
        str | None, typer.Option(metavar="INSTANCE", help="Attach the volumes to it, at the devices they had.")
    ] = None,
    availability_zone: Annotated[
        str | None, typer.Option(metavar="AZ", help="Or: make the volumes here, attached to no instance.")
    ] = None,
    exclude_boot: ExcludeBoot = False,
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
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Make volumes from a set, and attach them where they were; a repetition makes nothing new.

    Needs neither the instance that the set was taken of, nor the Pulumi state, nor an engine.

    Example: snapset restore set-0123456789abcdef0 --to i-0123456789abcdef0 --exclude-boot
    """
    from snapset.cli.context import connect_to, one_document
    from snapset.cli.output import print_volumes, progress
    from snapset.restore.inputs import find_problems, parse
    from snapset.restore.volumes import restore_set
    from snapset.retry import Retry
    from snapset.rules import refuse

    document: dict[str, Any] = {"set_id": set_id, "instance_id": to, "volumes": []}
    with one_document(document, as_json=json_):
        inputs = {
            "scope": SCOPE,
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
        refuse(find_problems(inputs))
        ec2 = connect_to(region, profile)
        # With the Region known, the zone can be held against it.
        wanted = parse({**inputs, "region": ec2.settings.region})
        with progress(f"restoring {set_id}") as say:
            document["volumes"] = restore_set(ec2, wanted, retry=Retry.from_environment(say))
    if not json_:
        print_volumes(set_id, to, document["volumes"])
