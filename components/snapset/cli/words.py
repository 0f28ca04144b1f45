"""What the inputs are called on the command line: a message about one of them names the option."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SHARED = {"exclude_boot_volume": "--exclude-boot", "tags": "--tag"}
BACKUP = {
    **_SHARED,
    "instance_id": "INSTANCE",
    "exclude_data_volume_ids": "--exclude-volume",
    "exclude_data_volume_tags": "--exclude-volume-tag",
    "copy_tags_from_source": "--copy-tags",
    "copy_tags_from_instance": "--copy-instance-tags",
    "outpost_arn": "--outpost-arn",
    "change_id": "--change-id",
    "on_delete": "--on-delete",
}
RESTORE = {
    **_SHARED,
    "instance_id": "--to",
    "set_id": "SET_ID",
    "availability_zone": "--availability-zone",
    "volume_type": "--volume-type",
    "kms_key_id": "--kms-key-id",
    "volume_initialization_rate": "--initialization-rate",
    "allow_incomplete": "--allow-incomplete",
}


def in_options(text: str, words: Mapping[str, str]) -> str:
    """Return a message with the names of inputs as the command spells them.

    A word such as `tags` is an input's name only where the message begins with it.
    """

    def option(match: re.Match[str]) -> str:
        return words.get(match[1], f"--{match[1].replace('_', '-')}")

    text = re.sub(r"(?<=^reading )([a-z_]+)(?=: )", option, text)
    return re.sub(r"\b([a-z]+(?:_[a-z]+)+)\b", lambda match: words.get(match[1], match[0]), text)
