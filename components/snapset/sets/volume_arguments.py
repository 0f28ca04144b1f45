"""The arguments with which a stack declares its own `aws.ebs.Volume` of a snapshot. Pure.

https://www.pulumi.com/registry/packages/aws/api-docs/ebs/volume/
"""

from __future__ import annotations

from typing import Any

from snapset.aws.records import Snapshot
from snapset.sets import tags
from snapset.sets.volume_tag import VolumeAttributes, parse

# What AWS gives a gp3 volume by default, and what it has at least.
_GP3_IOPS = 3000


def volume_arguments(snapshot: Snapshot) -> dict[str, Any]:
    """Return what describes the volume as it was, by argument; only those that have a value.

    `size` is in GiB, `throughput` in MiB/s. Of a snapshot without the tag `snapset:volume`, type, IOPS, throughput,
    multi-attach and tags are not known, and left out.
    """
    known = {
        "snapshot_id": snapshot.snapshot_id,
        "size": snapshot.size_gib,
        "encrypted": snapshot.encrypted,
        "kms_key_id": snapshot.kms_key_id if snapshot.encrypted else "",
        "outpost_arn": snapshot.outpost_arn,
        **_recorded(parse(snapshot.tags.get(tags.VOLUME, ""))),
    }
    return {name: value for name, value in known.items() if value}


def _recorded(was: VolumeAttributes | None) -> dict[str, Any]:
    if was is None:
        return {}
    return {
        "type": was.volume_type,
        "iops": was.iops or (_GP3_IOPS if was.volume_type == "gp3" else None),
        "throughput": was.throughput,
        "multi_attach_enabled": was.multi_attach,
        "tags": dict(was.tags),
    }
