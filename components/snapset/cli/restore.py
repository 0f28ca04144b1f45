"""`snapset restore`: check the input, restore the set, show the volumes. No engine, and no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from snapset import errors
from snapset.cli.output import error_record, print_json, print_volumes, progress
from snapset.restore.inputs import parse_restore, restore_problems_of

# Whom the volumes are for: the same set and target again is the same restore, whoever asks.
SCOPE = "snapset restore"


def run_restore(inputs: Mapping[str, Any], *, profile: str | None, as_json: bool) -> None:
    """Restore the set and print its volumes.

    Raises:
        InputError: the input can't be right, or does not fit; nothing was created.
        SnapsetError: what went wrong; the same command again goes on from there.
    """
    for problem in restore_problems_of(inputs):
        raise errors.InputError(f"reading {problem.property}: {problem.reason}.")

    from snapset.aws.session import AwsSettings, find_region
    from snapset.aws.volumes import connect_for_volumes
    from snapset.restore.volumes import restore_set

    settings = AwsSettings(region=inputs.get("region"), profile=profile)
    region = find_region(settings)
    # With the Region known, the zone can be held against it.
    wanted = parse_restore({**inputs, "scope": SCOPE, "region": region})
    document: dict[str, Any] = {"set_id": wanted.set_id, "instance_id": wanted.instance_id, "volumes": []}
    failure: errors.SnapsetError | None = None
    with progress(f"restoring {wanted.set_id}") as say:
        try:
            made = restore_set(connect_for_volumes(settings.in_region(region)), wanted, say=say)
            document["volumes"] = [asdict(each) for each in made]
        except errors.SnapsetError as error:
            document["error"] = error_record(error)
            failure = error
    if as_json:
        print_json(document)
    elif not failure:
        print_volumes(document)
    if failure:
        raise failure
