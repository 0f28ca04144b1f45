"""Parse and validate what shapes a restore, and the tags that its volumes carry. Pure: no AWS, no Pulumi.

Limits: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from snapset.errors import InputError
from snapset.sets import tags as tag_rules
from snapset.sets.inputs import INSTANCE_ID, REGION, Problem, boolean, has_unknown, matches, one_of, tag_map

# Applied atomically by CreateVolume itself.
RESTORED_FROM = "snapset:restored-from"
RESTORED_FOR = "snapset:restored-for"
RESTORE = "snapset:restore"
SNAPSHOT = "snapset:snapshot"
OWN_KEYS = (RESTORED_FROM, RESTORED_FOR, RESTORE, SNAPSHOT, tag_rules.DEVICE)

VOLUME_TYPES = ("gp3", "gp2", "io2", "io1", "st1", "sc1", "standard")

_IOPS = {"gp3": (3000, 80_000), "io1": (100, 64_000), "io2": (100, 256_000)}
_NEEDS_IOPS = ("io1", "io2")
_THROUGHPUT = {"gp3": (125, 2000)}

_ZONE = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+(-[a-z]+-\d+)?[a-z]", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class RestoreInputs:
    """The valid inputs of one restore.

    Attributes:
        set_id: the set, `set-` and 17 hex digits.
        scope: whom the volumes are for: organization, project, stack and name of the resource, or the command line.
        region: where the set is.
        instance_id: the instance to attach the volumes to, in its zone.
        availability_zone: where to make the volumes, if they are attached to none.
        exclude_boot_volume: leave the root volume's snapshot out.
        volume_type: of every volume; AWS's default if left out.
        iops: I/O operations per second of every volume.
        throughput: of every volume, in MiB/s.
        encrypted: encrypt the volumes; those of encrypted snapshots are in any case.
        kms_key_id: the key to encrypt with.
        tags: for every volume, beside those of its snapshot.
        devices: the snapshots' devices by snapshot id, as far as a resource knows them.
    """

    set_id: str
    scope: str
    region: str
    instance_id: str | None = None
    availability_zone: str | None = None
    exclude_boot_volume: bool = False
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool = False
    kms_key_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The token of this restore: whose it is, of which set, where to, and of what kind the volumes are.

        What is left out, and the tags, are no part of it, so that a restore that failed over either goes on.
        """
        kind = {name: getattr(self, name) for name in _DEFAULTS if name != "exclude_boot_volume"}
        return tag_rules.token_of(scope=self.scope, shape=kind)

    @property
    def restored_for(self) -> str:
        """The scope, as far as a tag has room for it."""
        return self.scope[: tag_rules.MAX_VALUE_LENGTH]

    def tags_of(self, *, snapshot_id: str, device: str, tags: Mapping[str, str]) -> dict[str, str]:
        """Return all tags of the volume of a snapshot: the snapshot's, the user's and snapset's own."""
        theirs = {key: value for key, value in tags.items() if not key.startswith(("aws:", tag_rules.PREFIX))}
        own = {
            RESTORED_FROM: self.set_id,
            RESTORED_FOR: self.restored_for,
            RESTORE: self.token,
            SNAPSHOT: snapshot_id,
        }
        return {**theirs, **self.tags, **own, **({tag_rules.DEVICE: device} if device else {})}

    def client_token(self, *, snapshot_id: str, tags: Mapping[str, str], salt: str) -> str:
        """Return the ClientToken of a CreateVolume: the same for the same request and salt, in whatever run."""
        text = repr([self.token, snapshot_id, sorted(tags.items()), salt])
        return f"snapset-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


# Every input whose change means other volumes.
_DEFAULTS: Mapping[str, Any] = {
    "set_id": None,
    "region": None,
    "instance_id": None,
    "availability_zone": None,
    "exclude_boot_volume": False,
    "volume_type": None,
    "iops": None,
    "throughput": None,
    "encrypted": False,
    "kms_key_id": None,
}


def changed_restore(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs whose difference, now or once they are known, means other volumes."""
    old, new = _shape_of(olds), _shape_of(news)
    return [key for key in _DEFAULTS if old[key] != new[key] or has_unknown(new[key])]


def parse_restore(props: Mapping[str, Any]) -> RestoreInputs:
    """Return the inputs as a value.

    Raises:
        InputError: the first problem that `restore_problems_of` finds.
    """
    for problem in restore_problems_of(props):
        raise InputError(f"reading {problem.property}: {problem.reason}.")
    shape = _shape_of(props)
    whole = {name: int(shape[name]) if shape[name] is not None else None for name in ("iops", "throughput")}
    return RestoreInputs(
        **{**shape, **whole},
        scope=props.get("scope") or "",
        tags=props.get("tags") or {},
        devices=props.get("devices") or {},
    )


def restore_problems_of(props: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the inputs as far as they are known, by property."""
    found: list[Problem] = []
    for name, find_problem in _RULES.items():
        value = props.get(name)
        if has_unknown(value) or (_is_unset(value) and name != "set_id"):
            continue
        if reason := find_problem(value):
            found.append(Problem(property=name, reason=reason))
    return found or [*_target_problems(props), *_kind_problems(props)]


def _shape_of(props: Mapping[str, Any]) -> dict[str, Any]:
    return {key: default if _is_unset(props.get(key)) else props[key] for key, default in _DEFAULTS.items()}


def _is_unset(value: Any) -> bool:
    return value is None or value == ""


def _target_problems(props: Mapping[str, Any]) -> list[Problem]:
    instance, zone, region = (props.get(name) for name in ("instance_id", "availability_zone", "region"))
    if bool(instance) == bool(zone):
        what = "both are given" if zone else "neither is given"
        reason = f"{what}: give the instance to attach the volumes to (--to), or the zone to make them in"
        return [Problem(property="availability_zone", reason=reason)]
    if zone and region and not has_unknown([zone, region]) and not zone.startswith(region):
        reason = f"{zone} is not in {region}, where the set is; copy the snapshots there, or choose another zone"
        return [Problem(property="availability_zone", reason=reason)]
    return []


def _kind_problems(props: Mapping[str, Any]) -> list[Problem]:
    kind, iops = props.get("volume_type") or "gp2", props.get("iops")
    if has_unknown([kind, iops]):
        return []
    if kind in _NEEDS_IOPS and _is_unset(iops):
        return [Problem(property="iops", reason=f"{kind} needs it, {_range_of(_IOPS[kind])}")]
    return [
        *_limit_problems("iops", props, kind=kind, limits=_IOPS),
        *_limit_problems("throughput", props, kind=kind, limits=_THROUGHPUT),
    ]


def _limit_problems(
    name: str, props: Mapping[str, Any], *, kind: str, limits: Mapping[str, tuple[int, int]]
) -> list[Problem]:
    value: Any = props.get(name)
    if _is_unset(value) or has_unknown(value):
        return []
    if kind not in limits:
        default = "" if props.get("volume_type") else ", AWS's default,"
        reason = f"{kind}{default} takes none; leave it out, or set volume_type to {' or '.join(limits)}"
        return [Problem(property=name, reason=reason)]
    low, high = limits[kind]
    if low <= value <= high:
        return []
    return [Problem(property=name, reason=f"{int(value)} does not fit {kind}, which takes {_range_of(limits[kind])}")]


def _range_of(limits: tuple[int, int]) -> str:
    return f"{limits[0]} to {limits[1]}"


def _whole_number(value: Any) -> str | None:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
    return None if whole else f"{value!r} is not a whole number"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"{value!r} is not a text"


_RULES: Mapping[str, Callable[[Any], str | None]] = {
    "set_id": matches(tag_rules.SET_ID, "the id of a set", "set-0123456789abcdef0"),
    "instance_id": matches(INSTANCE_ID, "an instance id", "i-0123456789abcdef0"),
    "availability_zone": matches(_ZONE, "an Availability Zone", "us-east-1a"),
    "exclude_boot_volume": boolean,
    "volume_type": one_of(*VOLUME_TYPES),
    "iops": _whole_number,
    "throughput": _whole_number,
    "encrypted": boolean,
    "kms_key_id": _text,
    "tags": tag_map,
    "region": matches(REGION, "a Region", "us-east-1"),
}
