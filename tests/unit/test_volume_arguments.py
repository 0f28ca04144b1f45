"""`snapset.sets.volume_arguments`: the arguments of a stack's own `aws.ebs.Volume`, from a snapshot."""

from __future__ import annotations

import inspect
from typing import Any

import pulumi_aws as aws
import pytest
from snapset.aws.records import Snapshot
from snapset.sets import tags
from snapset.sets.volume_arguments import volume_arguments
from snapset.sets.volume_tag import VolumeAttributes

KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
PLAIN = {"snapshot_id": "snap-0123456789abcdef0", "size": 20}

# How the volume was, and what of that a stack declares.
RECORDED: list[tuple[VolumeAttributes, dict[str, Any]]] = [
    (
        VolumeAttributes(volume_type="gp3", iops=6000, throughput=250),
        {"type": "gp3", "iops": 6000, "throughput": 250},
    ),
    (VolumeAttributes(volume_type="gp3"), {"type": "gp3", "iops": 3000}),
    (VolumeAttributes(volume_type="gp2"), {"type": "gp2"}),
    (
        VolumeAttributes(volume_type="io2", iops=200, multi_attach=True),
        {"type": "io2", "iops": 200, "multi_attach_enabled": True},
    ),
    (
        VolumeAttributes(volume_type="st1", delete_on_termination=True, tags={"Name": "logs"}),
        {"type": "st1", "tags": {"Name": "logs"}},
    ),
]


def snapshot(**fields: Any) -> Snapshot:
    always: dict[str, Any] = {
        "snapshot_id": "snap-0123456789abcdef0",
        "volume_id": "vol-0123456789abcdef0",
        "size_gib": 20,
        "encrypted": False,
        "state": "completed",
        "progress": "100%",
        "start_time": "2026-11-23T23:15:00.000Z",
        "owner_id": "123456789012",
    }
    return Snapshot(**{**always, **fields})


@pytest.mark.parametrize(("was", "declared"), RECORDED)
def test_a_volume_is_declared_as_it_was(was: VolumeAttributes, declared: dict[str, Any]) -> None:
    theirs = {"app": "shop", tags.SET: "set-0123456789abcdef0", tags.VOLUME: was.text()}
    assert volume_arguments(snapshot(tags=theirs)) == {**PLAIN, **declared}


def test_an_encrypted_snapshot_on_an_outpost_names_its_key_and_its_outpost() -> None:
    found = volume_arguments(snapshot(encrypted=True, kms_key_id=KEY, outpost_arn=OUTPOST))
    assert found == {**PLAIN, "encrypted": True, "kms_key_id": KEY, "outpost_arn": OUTPOST}


@pytest.mark.parametrize("theirs", [{}, {tags.VOLUME: ""}, {tags.VOLUME: "?"}])
def test_without_a_record_of_the_volume_its_type_is_left_out(theirs: dict[str, str]) -> None:
    assert volume_arguments(snapshot(tags=theirs)) == PLAIN


def test_every_argument_is_one_of_pulumis() -> None:
    was = VolumeAttributes(volume_type="gp3", iops=1, throughput=1, multi_attach=True, tags={"a": "b"})
    found = volume_arguments(
        snapshot(encrypted=True, kms_key_id=KEY, outpost_arn=OUTPOST, tags={tags.VOLUME: was.text()})
    )
    assert len(found) == 10
    assert found.keys() <= inspect.signature(aws.ebs.VolumeArgs).parameters.keys()
