"""EC2's limits for ids, descriptions, tags and Outpost ARNs. Each check raises EC2's own error."""

import re
from collections.abc import Iterable, Sequence

from . import errors

MAX_DESCRIPTION = 255
MAX_EXCLUSIONS = 40
MAX_SNAPSHOTS_IN_SET = 128
MAX_TAGS = 50
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
RESERVED_TAG_PREFIX = "aws:"

INSTANCE = "i"
VOLUME = "vol"
SNAPSHOT = "snap"

_ID_DIGITS = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{9})?")
_OUTPOST_ARN = re.compile(r"arn:aws[a-z-]*:outposts:[a-z0-9-]+:\d{12}:outpost/op-[0-9a-f]{17}")


def is_reserved(key: str) -> bool:
    """Whether only AWS may set a tag with this key."""
    return key.lower().startswith(RESERVED_TAG_PREFIX)


def check_id(kind: str, resource_id: str) -> None:
    """Refuse an id that does not have the format of this kind: `i`, `vol` or `snap`."""
    prefix, dash, digits = resource_id.partition("-")
    if prefix != kind or not dash or not _ID_DIGITS.fullmatch(digits):
        raise errors.malformed_id(kind, resource_id)


def check_ids(kind: str, resource_ids: Iterable[str]) -> None:
    """Refuse the first id that does not have the format of this kind."""
    for resource_id in resource_ids:
        check_id(kind, resource_id)


def check_description(description: str) -> None:
    """Refuse a description that is too long for a snapshot."""
    if len(description) > MAX_DESCRIPTION:
        raise errors.invalid_value(
            f"Value ({description}) for parameter description is invalid. It exceeds {MAX_DESCRIPTION} characters"
        )


def check_outpost_arn(arn: str) -> None:
    """Refuse a string that is not the ARN of an Outpost."""
    if not _OUTPOST_ARN.fullmatch(arn):
        # assumption: no code is documented for a malformed Outpost ARN.
        raise errors.invalid_value(f"Value ({arn}) for parameter outpostArn is invalid. Expected an Outpost ARN.")


def check_tags(tags: Sequence[tuple[str, str]]) -> None:
    """Refuse tags that EC2 does not allow on any resource."""
    seen: set[str] = set()
    for key, value in tags:
        if not key:
            raise errors.invalid_value(
                "Value ( '' ) for parameter Tag key is invalid. Tag key cannot be null or empty."
            )
        if is_reserved(key):
            raise errors.invalid_value(
                f"Value ( {key} ) for parameter key is invalid. "
                "Tag keys starting with 'aws:' are reserved for internal use"
            )
        if len(key) > MAX_TAG_KEY:
            # assumption: the limits of keys and values are documented, their codes are not.
            raise errors.invalid_value(f"Tag key exceeds the maximum length of {MAX_TAG_KEY} characters")
        if len(value) > MAX_TAG_VALUE:
            raise errors.invalid_value(f"Tag value exceeds the maximum length of {MAX_TAG_VALUE} characters")
        if key in seen:
            raise errors.invalid_value(f"Duplicate tag key '{key}' specified.")
        seen.add(key)
    if len(tags) > MAX_TAGS:
        raise errors.too_many_tags()
