"""`snapset show`: one set with its snapshots, from their tags alone."""

from __future__ import annotations

from typing import Any

from snapset.cli.context import connect_to, one_document
from snapset.cli.options import Json, Profile, Region, SetId, check_set_id
from snapset.cli.output import print_sets, progress

EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 bad usage or input, or no such set; 3 not permitted."


def show(set_id: SetId, region: Region = None, profile: Profile = None, json_: Json = False) -> None:
    """Show a set with its snapshots, and the images that use it.

    Example: snapset show set-0123456789abcdef0 --json
    """
    from snapset.restore.image import find_images_of
    from snapset.sets.find import find_set

    document: dict[str, Any] = {"sets": []}
    with one_document(document, as_json=json_), progress(f"looking for {set_id}") as say:
        check_set_id(set_id)
        ec2 = connect_to(region, profile, say=say)
        found = find_set(ec2, set_id)
        record = found.record(region=str(ec2.settings.region))
        document["sets"] = [record]
        image_ids = find_images_of(ec2, found)
        if image_ids is not None:
            record["image_ids"] = image_ids
    if not json_:
        print_sets(document["sets"])
