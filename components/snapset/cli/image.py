"""`snapset image`: an image of a set. No engine, and no state."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from snapset.cli.context import connect_to, one_document
from snapset.cli.options import Json, Profile, Region, SetId, check, check_set_id, parse_tags
from snapset.cli.output import progress

EXIT_CODES = (
    "Exit codes: 0 the image is registered; 1 failed; 2 bad usage or input, or it would not boot; 3 not permitted; "
    "4 the set failed."
)
_MAX_TAGS = 49


def image(
    set_id: SetId,
    exclude_data: Annotated[bool, typer.Option("--exclude-data", help="The root volume only.")] = False,
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Tag the image; repeatable.")] = None,
    region: Region = None,
    profile: Profile = None,
    json_: Json = False,
) -> None:
    """Register an image of a set, once: an instance that is launched from it is as the set's was.

    Example: snapset image set-0123456789abcdef0
    """
    from snapset.restore.image import register_image
    from snapset.sets.tags import tag_map

    document: dict[str, Any] = {"image": None}
    with one_document(document, as_json=json_):
        check_set_id(set_id)
        user_tags = parse_tags(tag or [])
        check("--tag", user_tags, partial(tag_map, most=_MAX_TAGS, resource="image"))
        ec2 = connect_to(region, profile)
        with progress(f"registering an image of {set_id}") as say:
            record = register_image(ec2.saying(say), set_id, exclude_data=exclude_data, user_tags=user_tags)
        document["image"] = record
    if not json_:
        typer.echo(f"{record['image_id']} is the image of {set_id}. To launch an instance of it:")
        typer.echo(f"aws ec2 run-instances --region {record['region']} --image-id {record['image_id']}")
