"""The inputs of one restore: their rules, the tags of its volumes, and the request to AWS. Calls nothing.

Limits: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from snapset import rules
from snapset.aws.ec2 import tag_list
from snapset.aws.records import Snapshot, Volume
from snapset.errors import InputError
from snapset.rules import Problem, Rule
from snapset.sets import tags as tag_rules
from snapset.sets.volume_tag import VOLUME_TYPES, VolumeAttributes

# Set by CreateVolume itself. No key of a set is among them: CopyTagsFromSource copies them to snapshots.
RESTORED_FROM = "snapset:restored-from"
RESTORE = "snapset:restored-by"
SNAPSHOT = "snapset:restored-snapshot"
DEVICE = "snapset:restored-device"
# Set when the restore is finished, to AWS's time: from then on, anybody may have used the volume.
FINISHED = "snapset:restored-at"

# A rerun may correct these, and goes on with the same restore.
_NOT_IN_TOKEN = ("scope", "exclude_boot_volume", "volume_initialization_rate", "allow_incomplete", "tags")

# What messages call each, its unit, and the least and the most of it by volume type.
_LIMITS = {
    "iops": ("IOPS", "IOPS", {"gp3": (3000, 80_000), "io1": (100, 64_000), "io2": (100, 256_000)}),
    "throughput": ("throughput", "MiB/s", {"gp3": (125, 2000)}),
}
_NEEDS_IOPS = ("io1", "io2")
_INITIALIZATION_RATE = (100, 300)


@dataclass(frozen=True, kw_only=True)
class RestoreInputs:
    """The inputs of one restore; `snapset restore --help` says what each is.

    `devices_from` is the device of the first volume, where the others follow; None where each has its own.
    `scope` is what the volumes are for: `snapset restore`, or one rollback. `volume_type`, `iops` and `throughput`
    are None where each volume is to be as it was. `throughput` and `volume_initialization_rate` are in MiB/s. A
    `kms_key_id` implies `encrypted`; the volumes of encrypted snapshots are encrypted in any case.
    """

    set_id: str
    scope: str
    region: str
    instance_id: str | None = None
    availability_zone: str | None = None
    devices_from: str | None = None
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
        """The token of this restore: the same in every run for this set, target and kind of volumes."""
        shape = {name: value for name, value in vars(self).items() if name not in _NOT_IN_TOKEN}
        return tag_rules.token_of(scope=self.scope, shape=shape)

    def tags_of(self, source: Source) -> dict[str, str]:
        """Return all tags of a snapshot's volume: the snapshot's, those it had, the user's and snapset's own."""
        copied = {
            key: value
            for key, value in source.snapshot.tags.items()
            if not key.startswith(("aws:", tag_rules.PREFIX))
        }
        own = {
            RESTORED_FROM: self.set_id,
            tag_rules.RESTORED_FOR: self.scope,
            RESTORE: self.token,
            SNAPSHOT: source.snapshot.snapshot_id,
            **({DEVICE: source.device} if source.device else {}),
        }
        theirs = source.was.tags if source.was else {}
        return {**copied, **theirs, **self.tags, **own}

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
        """Return type, IOPS and throughput of a snapshot's volume; None stands for AWS's default."""
        was = source.was
        kind = self.volume_type or (was.volume_type if was else None)
        if was is None or kind != was.volume_type:
            return kind, self.iops, self.throughput
        return kind, self.iops or was.iops, self.throughput or was.throughput

    def find_kind_problem(self, source: Source) -> Problem | None:
        """Return why AWS would not make a volume of this type with these IOPS and this throughput, or None."""
        kind, iops, throughput = self.kind_of(source)
        given = {"volume_type": kind, "iops": iops, "throughput": throughput}
        return next(_kind_problems(given, of=source.snapshot.snapshot_id), None)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A snapshot that a volume is made of.

    Attributes:
        snapshot: the snapshot.
        device: where its volume was attached; empty if that is not known.
        was: how its volume was, or None if that is not known.
        volume: the new volume, if an earlier attempt made it.
        set_aside: the ids of those that earlier restores made, and that may have been used since; the oldest first.
    """

    snapshot: Snapshot
    device: str
    was: VolumeAttributes | None
    volume: Volume | None = None
    set_aside: tuple[str, ...] = ()


def place_from(first: str, sources: Sequence[Source]) -> list[Source]:
    """Return the sources at this device and those that follow it in the alphabet.

    Raises:
        InputError: the alphabet has too few letters.
    """
    stem, letter = first[:-1], first[-1]
    letters = [chr(code) for code in range(ord(letter), ord("z") + 1)]
    if len(letters) < len(sources):
        reason = f"from {first} on there are {len(letters)} names for {len(sources)} volumes. Begin earlier"
        raise InputError(f"reading --devices-from: {reason}.")
    return [replace(source, device=stem + each) for source, each in zip(sources, letters, strict=False)]


def client_token(request: Mapping[str, Any], *, salt: str) -> str:
    """Return the ClientToken of a CreateVolume: the same for the same request and salt, in whatever run."""
    text = json.dumps([request, salt], sort_keys=True)
    return f"snapset-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def check_inputs(inputs: RestoreInputs) -> list[Problem]:
    """Return everything that is wrong with the inputs, by property."""
    given = vars(inputs)
    found = [
        Problem(property=name, reason=reason)
        for name, rule in _RULES.items()
        if given[name] is not None and (reason := rule(given[name]))
    ]
    if found:
        return found
    if inputs.devices_from and not inputs.instance_id:
        found.append(Problem(property="devices_from", reason="volumes in a zone are attached to nothing"))
    if reason := _find_target_problem(inputs):
        found.append(Problem(property="availability_zone", reason=reason))
    return [*found, *_kind_problems(given, of="")]


def _find_target_problem(inputs: RestoreInputs) -> str | None:
    zone, region = inputs.availability_zone, inputs.region
    if bool(inputs.instance_id) == bool(zone):
        given = "both are given" if zone else "neither is given"
        return f"{given}: give the instance to attach the volumes to, or the zone to make them in"
    if zone and not zone.startswith(region):
        return f"{zone} is not in {region}, where the set is; copy the snapshots there, or choose another zone"
    return None


def _kind_problems(given: Mapping[str, Any], *, of: str) -> Iterator[Problem]:
    """Yield what is wrong with type, IOPS and throughput together; `of` is the snapshot, or empty for any."""
    # Without a type and a snapshot, each volume is of the type that it had.
    kind = given["volume_type"] or ("gp2" if of else None)
    for name, (noun, unit, limits) in _LIMITS.items():
        value = given[name]
        if kind in limits:
            low, high = limits[kind]
            takes = f"{low} to {high} {unit}"
            if value is None and of and kind in _NEEDS_IOPS:
                yield Problem(property=name, reason=f"{kind} needs {takes}")
            elif value is not None and not low <= value <= high:
                yield Problem(property=name, reason=f"{value} does not fit {kind}, which takes {takes}")
        elif kind and value is not None:
            whose = f"the volume of {of} is {kind}, which" if of else kind
            advice = f"leave it out, or choose the type {' or '.join(limits)}"
            yield Problem(property=name, reason=f"{whose} takes no {noun}; {advice}")


def _initialization_rate(value: Any) -> str | None:
    low, high = _INITIALIZATION_RATE
    return None if low <= value <= high else f"{value} is not a rate of {low} to {high} MiB/s"


_RULES: Mapping[str, Rule] = {
    "instance_id": rules.instance_id,
    "devices_from": rules.matches(re.compile("/dev/(sd|xvd)[b-z]"), "the device of a data volume", "/dev/sdp"),
    "volume_type": rules.one_of(*VOLUME_TYPES),
    "volume_initialization_rate": _initialization_rate,
    "tags": partial(tag_rules.tag_map, resource="volume"),
}
