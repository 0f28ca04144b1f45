"""The tags that every snapshot of a set carries, the token in them, and the rule for the user's own. Pure.

Tag limits: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

PREFIX = "snapset:"

SET_ID = re.compile(r"set-[0-9a-f]{17}")

# Applied atomically by CreateSnapshots itself.
SET = "snapset:set"
TOKEN = "snapset:token"  # noqa: S105 - the key of a tag
INSTANCE = "snapset:instance"
CHANGE = "snapset:change"
# Applied once a stack's state is known to hold the set. A set without a claim belongs to no state yet.
CLAIM = "snapset:claim"
_ANNOUNCED = "announced-"
DEVICE = "snapset:device"
# How many snapshots the set has: without it, a set of which some were deleted would pass for a whole one.
COUNT = "snapset:count"

OWN_KEYS = (SET, TOKEN, INSTANCE, CHANGE, CLAIM, DEVICE, COUNT)
MAX_TAGS = 50
# Ten of AWS's 50 are reserved for snapset; seven are in use.
MAX_USER_TAGS = 40
MAX_KEY_LENGTH = 128
MAX_VALUE_LENGTH = 256


def new_set_id() -> str:
    """Return a new id of a set: `set-` and 17 hex digits, as AWS spells its own ids."""
    return f"set-{secrets.token_hex(9)[:17]}"


def new_claim() -> str:
    """Return a new claim: the value by which one resource tells its own set from another's."""
    return secrets.token_hex(8)


def announce(claim: str) -> str:
    """Return the tag value of a resource that is about to hold the set: until it does, no state holds the set."""
    return f"{_ANNOUNCED}{claim}"


def claim_of(snapshot_tags: Mapping[str, str]) -> str | None:
    """Return the claim of the resource that holds the snapshot, or None."""
    claim = snapshot_tags.get(CLAIM)
    return None if claim is None or claim.startswith(_ANNOUNCED) else claim


def holder_of(snapshot_tags: Mapping[str, str]) -> str | None:
    """Return the claim of the resource that holds the snapshot, or is about to, or None."""
    claim = snapshot_tags.get(CLAIM)
    return claim and claim.removeprefix(_ANNOUNCED)


def token_of(*, scope: str, shape: Mapping[str, Any]) -> str:
    """Return the token of one intent: 32 hex digits over whose set it is and all that shapes it.

    Args:
        scope: organization, project, stack and name of the resource.
        shape: every input whose change means a new set; JSON values.
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
            f"of which snapset keeps {MAX_TAGS - most} for itself; give at most {most}"
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
