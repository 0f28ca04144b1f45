"""The tags that every snapshot of a set carries, the token in them, and the rule for the user's own. Pure.

Tag limits: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

PREFIX = "snapset:"

SET_ID = re.compile(r"set-[0-9a-f]{17}")

# Set by CreateSnapshots itself, on all snapshots of a set alike.
SET = "snapset:set"
TOKEN = "snapset:token"  # noqa: S105 - the key of a tag
INSTANCE = "snapset:instance"
# Whose set it is: a hash of the resource, or guard. What the command takes for a change is nobody's.
RESOURCE = "snapset:resource"
CHANGE = "snapset:change"
# How many snapshots the set has: without it, a set that has lost some would pass for a whole one.
COUNT = "snapset:count"
# What the instance was, in two tags where one is too short: see `snapset.sets.instance_tag`.
INSTANCE_WAS = ("snapset:was", "snapset:was-2")
# The volumes of the instance that the set leaves out: see `excluded_text`.
EXCLUDED = "snapset:excluded"

# Set once the set is recorded. A set without a claim belongs to no state yet.
CLAIM = "snapset:claim"
DEVICE = "snapset:device"
# The snapshot's own id, among those that the same call marked: a copy whose tags were copied is none of them.
SNAPSHOT = "snapset:snapshot"
# What a snapshot does not record of its volume: see `snapset.sets.volume_tag`.
VOLUME = "snapset:volume"
# The devices of all snapshots of the set, so that a missing one can be named.
DEVICES = "snapset:devices"

# Not empty: the set is never pruned.
PINNED = "snapset:pinned"

# Reserved, so that their names need not change later: whether its file systems were frozen, when the set was
# verified, what it is a copy of, when the data was taken, and until when something else needs it.
CONSISTENT = "snapset:consistent"
VERIFIED = "snapset:verified"
COPY_OF = "snapset:copy-of"
TAKEN_AT = "snapset:taken-at"
IN_USE_UNTIL = "snapset:in-use-until"

# On a restored volume: for whom it was made; with the id of the rollback behind ROLLBACK_SCOPE, for a rollback.
RESTORED_FOR = "snapset:restored-for"
ROLLBACK_SCOPE = "rollback "

# With a set's id behind it: the change id of a safety set.
SAFETY_CHANGE = "rollback to "

OWN_KEYS = (
    *(SET, TOKEN, RESOURCE, INSTANCE, CHANGE, COUNT, EXCLUDED, CLAIM, DEVICE, SNAPSHOT, VOLUME, DEVICES, PINNED),
    *(*INSTANCE_WAS, CONSISTENT, VERIFIED, COPY_OF, TAKEN_AT, IN_USE_UNTIL),
)
MAX_TAGS = 50
# Half of AWS's 50 are reserved for snapset.
MAX_USER_TAGS = 25
ROOT = "root"
_DEV, _BARE, _VOL = "/dev/", "=", "vol-"
MAX_KEY_LENGTH = 128
MAX_VALUE_LENGTH = 256


def new_set_id() -> str:
    """Return a new id of a set: `set-` and 17 hex digits, as AWS spells its own ids."""
    return f"set-{secrets.token_hex(9)[:17]}"


def new_claim() -> str:
    """Return a new claim: the value by which one resource tells its own set from another's."""
    return secrets.token_hex(8)


def own_tags(
    *,
    set_id: str,
    token: str,
    resource: str,
    instance_id: str,
    change_id: str | None,
    count: int | None,
    was: Mapping[str, str],
    excluded: str,
    volumes_copied: bool,
) -> dict[str, str]:
    """Return the own tags as CreateSnapshots sets them, for every snapshot of the set alike.

    Where the tags of volumes are copied, all of them: what the call itself sets is not copied from a volume.
    """
    known = {
        SET: set_id,
        TOKEN: token,
        RESOURCE: resource,
        INSTANCE: instance_id,
        CHANGE: fit(change_id or ""),
        COUNT: "" if count is None else str(count),
        EXCLUDED: excluded,
        **was,
    }
    return {key: known.get(key, "") for key in OWN_KEYS if volumes_copied or known.get(key)}


def fit(text: str) -> str:
    """Return the text as a tag's value has room for it: a long one is cut, and told apart by a hash."""
    if len(text) <= MAX_VALUE_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{text[: MAX_VALUE_LENGTH - 33]}-{digest}"


def devices_text(devices: Iterable[str]) -> str:
    """Return the devices as a tag's value: of more than have room, the first.

    `/dev/` is left out, and a name without it, as some images have them, is marked.
    """
    names = (
        device.removeprefix(_DEV) if device.startswith(_DEV) else f"{_BARE}{device}" for device in devices if device
    )
    text = ",".join(sorted(names))
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH + 1].rpartition(",")[0]


def devices_of(text: str) -> list[str]:
    """Return the devices that `devices_text` wrote."""
    names = filter(None, text.split(","))
    return [name.removeprefix(_BARE) if name.startswith(_BARE) else f"{_DEV}{name}" for name in names]


def excluded_text(volume_ids: Iterable[str], *, root: bool) -> str:
    """Return the excluded volumes as a tag's value: `root`, and the ids without `vol-`.

    Where there is no room for the ids, the last five digits of each have to do.
    """
    ids = sorted(volume_id.removeprefix(_VOL) for volume_id in volume_ids)
    texts = [" ".join([*([ROOT] if root else []), *(digits[-length:] for digits in ids)]) for length in (17, 5)]
    return texts[0] if len(texts[0]) <= MAX_VALUE_LENGTH else texts[1]


def token_of(*, scope: str, shape: Mapping[str, Any]) -> str:
    """Return the token of one intent: 32 hex digits over whose set it is and all that shapes it.

    Args:
        scope: whom the set is for.
        shape: every input that tells this intent from others; JSON values.
    """
    canonical = json.dumps([scope, shape], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def tag_map(value: Any, *, most: int = MAX_USER_TAGS, resource: str = "snapshot") -> str | None:
    """Return what is wrong with the user's tags, or None.

    Args:
        value: the tags, from key to value.
        most: how many the user may give; snapset's own take the rest.
        resource: what is tagged, for messages.
    """
    if not isinstance(value, Mapping):
        return f"{value!r} is not a map of tags"
    if len(value) > most:
        return (
            f"{len(value)} tags are too many: a {resource} has room for {MAX_TAGS}, "
            f"and snapset keeps {MAX_TAGS - most} for itself; give at most {most}"
        )
    for key, text in value.items():
        if not isinstance(text, str):
            return f"the value of tag {key!r} is {text!r}, which is not a string"
        if problem := _tag_problem(key, text):
            return problem
    return None


def _tag_problem(key: str, value: str) -> str | None:
    if not key:
        return "a tag key is empty"
    if key.lower().startswith("aws:"):
        return f"tag key {key!r}: keys that start with 'aws:' are reserved by AWS"
    if key.lower().startswith(PREFIX):
        return f"tag key {key!r}: keys that start with {PREFIX!r} are snapset's own"
    if len(key) > MAX_KEY_LENGTH:
        return f"tag key {key[:20] + '…'!r} has {len(key)} characters; AWS takes at most {MAX_KEY_LENGTH}"
    if len(value) > MAX_VALUE_LENGTH:
        return f"the value of tag {key!r} has {len(value)} characters; AWS takes at most {MAX_VALUE_LENGTH}"
    return None
