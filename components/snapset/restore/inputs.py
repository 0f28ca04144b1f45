"""The inputs of one restore: their rules, the tags of its volumes, and the request to AWS. Calls nothing.

Limits: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from snapset import rules
from snapset.aws.ec2 import tag_list
from snapset.aws.records import Snapshot
from snapset.rules import Problem, Rule
from snapset.sets import tags as tag_rules
from snapset.sets.volume_tag import VOLUME_TYPES, VolumeAttributes

# Applied atomically by CreateVolume itself. None is a key of a set: CopyTagsFromSource copies them to snapshots.
RESTORED_FROM = "snapset:restored-from"
RESTORE = "snapset:restored-by"
SNAPSHOT = "snapset:restored-snapshot"
DEVICE = "snapset:restored-device"
# When the restore was finished, in AWS's time: from then on, anybody may have used the volume.
FINISHED = "snapset:restored-at"
OWN_KEYS = (RESTORED_FROM, tag_rules.RESTORED_FOR, RESTORE, SNAPSHOT, DEVICE, FINISHED)

# A restore with other values of these is another restore.
_IN_TOKEN = (
    "set_id",
    "region",
    "instance_id",
    "availability_zone",
    "volume_type",
    "iops",
    "throughput",
    "encrypted",
    "kms_key_id",
)

# What messages call each, its unit, and the least and the most of it by volume type.
_LIMITS = {
    "iops": ("IOPS", "IOPS", {"gp3": (3000, 80_000), "io1": (100, 64_000), "io2": (100, 256_000)}),
    "throughput": ("throughput", "MiB/s", {"gp3": (125, 2000)}),
}
_NEEDS_IOPS = ("io1", "io2")
_INITIALIZATION_RATE = (100, 300)

# Availability Zones, Local Zones and Wavelength Zones.
_ZONE = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+([a-z]|-[a-z]+-\d+[a-z]|-wl\d+-[a-z]+-wlz-\d+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class RestoreInputs:
    """The valid inputs of one restore.

    Attributes:
        set_id: the set.
        scope: whom the volumes are for: `snapset restore`, or one rollback.
        region: where the set is.
        instance_id: the instance to attach the volumes to, at the devices that they had.
        availability_zone: instead of an instance, where to make the volumes.
        exclude_boot_volume: leave the root volume's snapshot out.
        volume_type: of every volume; None for as each was. So are `iops` and `throughput` (MiB/s).
        encrypted: encrypt every volume; those of encrypted snapshots are in any case.
        kms_key_id: the key to encrypt with, which implies `encrypted`; None for the snapshot's own.
        volume_initialization_rate: MiB/s at which AWS loads the data beforehand; None for not at all.
        allow_incomplete: restore what is left of a set that is not whole.
        tags: for every volume, beside those that it had and that its snapshot has.
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
    volume_initialization_rate: int | None = None
    allow_incomplete: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The token of this restore: whose it is, of which set, where to, and of what kind the volumes are.

        Exclusions and tags are no part of it, so that a restore that failed because of them goes on.
        """
        kind = {name: getattr(self, name) for name in _IN_TOKEN}
        return tag_rules.token_of(scope=self.scope, shape=kind)

    @property
    def restored_for(self) -> str:
        """The scope, as a tag has room for it."""
        return tag_rules.fit(self.scope)

    def tags_of(self, source: Source) -> dict[str, str]:
        """Return all tags of the volume of a snapshot: the volume's as it was, the user's and snapset's own."""
        copied = {
            key: value
            for key, value in source.snapshot.tags.items()
            if not key.startswith(("aws:", tag_rules.PREFIX))
        }
        own = {
            RESTORED_FROM: self.set_id,
            tag_rules.RESTORED_FOR: self.restored_for,
            RESTORE: self.token,
            SNAPSHOT: source.snapshot.snapshot_id,
        }
        theirs = source.was.tags if source.was else {}
        return {**copied, **theirs, **self.tags, **own, **({DEVICE: source.device} if source.device else {})}

    def request(self, source: Source, *, zone: str, outpost_arn: str = "") -> dict[str, Any]:
        """Return the CreateVolume request for a snapshot: the volume as it was, or as the inputs say."""
        kind, iops, throughput = self.kind_of(source)
        was = source.was
        optional = {
            "VolumeType": kind,
            "Iops": iops,
            "Throughput": throughput,
            "MultiAttachEnabled": bool(was and was.multi_attach and kind == was.volume_type),
            # A key is for encryption only. The volume of an encrypted snapshot is encrypted with the same key anyway.
            "Encrypted": self.encrypted or bool(self.kms_key_id),
            "KmsKeyId": self.kms_key_id,
            "OutpostArn": outpost_arn,
            "VolumeInitializationRate": self.volume_initialization_rate,
        }
        return {
            "SnapshotId": source.snapshot.snapshot_id,
            "AvailabilityZone": zone,
            "TagSpecifications": [{"ResourceType": "volume", "Tags": tag_list(self.tags_of(source))}],
            **{name: value for name, value in optional.items() if value},
        }

    def kind_of(self, source: Source) -> tuple[str | None, int | None, int | None]:
        """Return type, IOPS and throughput of the volume of a snapshot; None where AWS's default is meant."""
        was = source.was
        kind = self.volume_type or (was.volume_type if was else None)
        if was is None or kind != was.volume_type:
            return kind, self.iops, self.throughput
        return kind, self.iops or was.iops, self.throughput or was.throughput

    def find_kind_problem(self, source: Source) -> Problem | None:
        """Return why AWS would not make a volume of this type with these IOPS and this throughput, or None."""
        kind, iops, throughput = self.kind_of(source)
        given = {"volume_type": kind, "iops": iops, "throughput": throughput}
        return next(iter(_kind_problems(given, of=source.snapshot.snapshot_id)), None)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A snapshot that a volume is made of.

    Attributes:
        snapshot: the snapshot.
        device: where its volume was attached; empty if that is not known.
        was: how its volume was, or None if that is not known.
    """

    snapshot: Snapshot
    device: str
    was: VolumeAttributes | None


def client_token(request: Mapping[str, Any], *, salt: str) -> str:
    """Return the ClientToken of a CreateVolume: the same for the same request and salt, in whatever run."""
    text = json.dumps([request, salt], sort_keys=True)
    return f"snapset-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def parse(props: Mapping[str, Any], *, names: Mapping[str, str] | None = None) -> RestoreInputs:
    """Return the inputs as a value.

    Args:
        props: the inputs.
        names: what they are called where they were given, such as `--tag`.

    Raises:
        InputError: the first problem that `check_inputs` finds.
    """
    rules.refuse(check_inputs(props), names=names)
    return RestoreInputs(**props)


def check_inputs(props: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the inputs, by property."""
    found: list[Problem] = []
    for name, rule in _RULES.items():
        value = props.get(name)
        if value is not None and (reason := rule(value)):
            found.append(Problem(property=name, reason=reason))
    return found or [*_target_problems(props), *_kind_problems(props, of="")]


def _target_problems(props: Mapping[str, Any]) -> list[Problem]:
    instance, zone, region = (props.get(name) for name in ("instance_id", "availability_zone", "region"))
    if bool(instance) == bool(zone):
        given = "both are given" if zone else "neither is given"
        reason = f"{given}: give the instance to attach the volumes to, or the zone to make them in"
        return [Problem(property="availability_zone", reason=reason)]
    if zone and region and not zone.startswith(region):
        reason = f"{zone} is not in {region}, where the set is; copy the snapshots there, or choose another zone"
        return [Problem(property="availability_zone", reason=reason)]
    return []


def _kind_problems(props: Mapping[str, Any], *, of: str) -> list[Problem]:
    """Return what is wrong with type, IOPS and throughput together, of a known snapshot's volume or of any."""
    kind = props.get("volume_type")
    if of and kind in _NEEDS_IOPS and props.get("iops") is None:
        return [Problem(property="iops", reason=f"{kind} needs {_range_of('iops', kind)}")]
    reasons = {name: _find_misfit(name, props.get(name), kind, of=of) for name in _LIMITS}
    return [Problem(property=name, reason=reason) for name, reason in reasons.items() if reason]


def _find_misfit(name: str, value: int | None, kind: str | None, *, of: str) -> str | None:
    if kind is None and of:
        kind = "gp2"
    # Without a type and a snapshot, each volume is of the type that it had.
    if value is None or kind is None:
        return None
    noun, _, limits = _LIMITS[name]
    if kind not in limits:
        whose = f"the volume of {of} is {kind}, which" if of else kind
        return f"{whose} takes no {noun}; leave it out, or choose the type {' or '.join(limits)}"
    low, high = limits[kind]
    return None if low <= value <= high else f"{value} does not fit {kind}, which takes {_range_of(name, kind)}"


def _range_of(name: str, kind: str) -> str:
    _, unit, limits = _LIMITS[name]
    low, high = limits[kind]
    return f"{low} to {high} {unit}"


def _initialization_rate(value: Any) -> str | None:
    low, high = _INITIALIZATION_RATE
    if low <= value <= high:
        return None
    return f"{value} is not a rate of {low} to {high} MiB/s"


_RULES: Mapping[str, Rule] = {
    "set_id": rules.matches(tag_rules.SET_ID, "the id of a set", "set-0123456789abcdef0"),
    "instance_id": rules.instance_id,
    "availability_zone": rules.matches(_ZONE, "an Availability Zone", "us-east-1a"),
    "volume_type": rules.one_of(*VOLUME_TYPES),
    "volume_initialization_rate": _initialization_rate,
    "tags": partial(tag_rules.tag_map, resource="volume"),
    "region": rules.region,
}
