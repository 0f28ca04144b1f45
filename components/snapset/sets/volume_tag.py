"""What a snapshot does not record of its volume, as the value of one tag. Pure.

A snapshot has its volume's size, encryption and key; of the rest CreateVolume makes what is AWS's default.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snapset.aws.records import Volume
from snapset.sets import tags as tag_rules

VOLUME_TYPES = ("gp3", "gp2", "io2", "io1", "st1", "sc1", "standard")
# The types of which CreateVolume takes these; of others DescribeVolumes may show them, too.
IOPS_TYPES = ("gp3", "io1", "io2")
THROUGHPUT_TYPES = ("gp3",)
MULTI_ATTACH_TYPES = ("io1", "io2")


@dataclass(frozen=True, kw_only=True)
class VolumeAttributes:
    """How a volume was when it was snapshotted. `throughput` in MiB/s; None where its type has none."""

    volume_type: str
    iops: int | None = None
    throughput: int | None = None
    multi_attach: bool = False
    delete_on_termination: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, volume: Volume) -> VolumeAttributes:
        """Return those of a volume as it is now."""
        kind = volume.volume_type
        return cls(
            volume_type=kind,
            iops=volume.iops or None if kind in IOPS_TYPES else None,
            throughput=volume.throughput or None if kind in THROUGHPUT_TYPES else None,
            multi_attach=volume.multi_attach and kind in MULTI_ATTACH_TYPES,
            delete_on_termination=volume.deleted_with_instance,
            tags={key: value for key, value in volume.tags.items() if not key.startswith(("aws:", tag_rules.PREFIX))},
        )

    def text(self) -> str:
        """Return them as a tag's value: compact JSON, with as many of the volume's tags as there is room for."""
        known = {
            "type": self.volume_type,
            "iops": self.iops,
            "throughput": self.throughput,
            "multiAttach": self.multi_attach,
            "deleteOnTermination": self.delete_on_termination,
        }
        record: dict[str, Any] = {name: value for name, value in known.items() if value}
        kept: dict[str, str] = {}
        for key in sorted(self.tags, key=lambda key: (key != "Name", key)):
            more = {**kept, key: self.tags[key]}
            if len(_compact({**record, "tags": more})) <= tag_rules.MAX_VALUE_LENGTH:
                kept = more
        return _compact({**record, "tags": kept} if kept else record)


def parse(text: str) -> VolumeAttributes | None:
    """Return what a tag's value says, or None if it is not one that snapset wrote: anyone can write a tag."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("type") not in VOLUME_TYPES:
        return None
    numbers, theirs = (record.get("iops"), record.get("throughput")), record.get("tags") or {}
    if not all(number is None or type(number) is int for number in numbers) or not isinstance(theirs, dict):
        return None
    return VolumeAttributes(
        volume_type=record["type"],
        iops=numbers[0],
        throughput=numbers[1],
        multi_attach=record.get("multiAttach") is True,
        delete_on_termination=record.get("deleteOnTermination") is True,
        tags={key: value for key, value in theirs.items() if tag_rules.tag_map({key: value}) is None},
    )


def _compact(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)
