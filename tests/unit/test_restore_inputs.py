"""`snapset.restore.inputs`: what is accepted as an input, and the request to AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from snapset.aws.records import Snapshot
from snapset.restore.inputs import RestoreInputs, Source, check_inputs, client_token
from snapset.sets import tags
from snapset.sets.volume_tag import VOLUME_TYPES, VolumeAttributes

SET = "set-0123456789abcdef0"
INSTANCE = "i-0123456789abcdef0"
VALID: list[dict[str, Any]] = [
    # Which zones there are, only AWS knows.
    *({"availability_zone": zone} for zone in ("us-east-1-bos-1a", "us-east-1-foe-wlz-1a", "us-east-1-new")),
    *({"volume_type": kind} for kind in VOLUME_TYPES),
    {"volume_type": "gp3", "iops": 3000, "throughput": 125},
    {"volume_type": "gp3", "iops": 80_000, "throughput": 2000},
    {"volume_type": "io1", "iops": 100},
    {"volume_type": "io2", "iops": 256_000},
    # What type each volume was is looked up later.
    {"iops": 5, "throughput": 5},
    {"tags": {f"k{number}": "" for number in range(tags.MAX_USER_TAGS)}},
]

# What is given, the property that is blamed, and what is said of it.
INVALID: list[tuple[dict[str, Any], str, str]] = [
    ({"instance_id": "i-1"}, "instance_id", "'i-1' is not an instance id"),
    ({"availability_zone": "use1-az1"}, "availability_zone", "use1-az1 is not in us-east-1, where the set is; "),
    (
        {"availability_zone": None},
        "availability_zone",
        "neither is given: give the instance to attach the volumes to",
    ),
    ({"instance_id": INSTANCE, "availability_zone": "us-east-1a"}, "availability_zone", "both are given: give the"),
    ({"devices_from": "/dev/sdp"}, "devices_from", "volumes in a zone are attached to nothing"),
    ({"devices_from": "/dev/sda1"}, "devices_from", "'/dev/sda1' is not the device of a data volume (like /dev/sdp)"),
    ({"region": "us-west-2"}, "availability_zone", "us-east-1a is not in us-west-2, where the set is; "),
    ({"volume_type": "gp4"}, "volume_type", "'gp4' is not one of gp3, gp2, io2, io1, st1, sc1, standard"),
    (
        {"tags": {f"k{number}": "" for number in range(26)}},
        "tags",
        "26 tags are too many: a volume has room for 50, and snapset keeps 25 for itself; give at most 25",
    ),
    ({"tags": {"snapset:x": "y"}}, "tags", "tag key 'snapset:x'"),
    ({"volume_initialization_rate": 99}, "volume_initialization_rate", "99 is not a rate of 100 to 300 MiB/s"),
    ({"volume_type": "io1", "iops": 64_001}, "iops", "64001 does not fit io1, which takes 100 to 64000"),
    ({"volume_type": "gp3", "iops": 2999}, "iops", "2999 does not fit gp3, which takes 3000 to 80000"),
    ({"volume_type": "gp3", "throughput": 124}, "throughput", "124 does not fit gp3, which takes 125 to 2000"),
    ({"volume_type": "gp3", "throughput": 2001}, "throughput", "2001 does not fit gp3, which takes 125 to 2000"),
    (
        {"volume_type": "st1", "iops": 500},
        "iops",
        "st1 takes no IOPS; leave it out, or choose the type gp3 or io1 or",
    ),
    (
        {"volume_type": "io2", "iops": 500, "throughput": 500},
        "throughput",
        "io2 takes no throughput; leave it out, or choose the type gp3",
    ),
]

SNAPSHOT = Snapshot(
    snapshot_id="snap-0123456789abcdef0",
    volume_id="vol-0123456789abcdef0",
    size_gib=8,
    encrypted=False,
    state="completed",
    progress="100%",
    start_time="2026-11-23T23:15:00.000Z",
    owner_id="123456789012",
    tags={"app": "till", "Name": "data", tags.SET: SET, tags.DEVICE: "/dev/old", "aws:backup:source": "x"},
)


WAS = VolumeAttributes(volume_type="io2", iops=4000, multi_attach=True, tags={"Name": "db"})


def source(*, device: str = "/dev/sdf", was: VolumeAttributes | None = None) -> Source:
    return Source(snapshot=SNAPSHOT, device=device, was=was)


def restore(**given: Any) -> RestoreInputs:
    """A restore in a zone, unless an instance is given."""
    zone = None if "instance_id" in given else "us-east-1a"
    return RestoreInputs(
        **{"set_id": SET, "scope": "snapset restore", "region": "us-east-1", "availability_zone": zone, **given}
    )


@pytest.mark.parametrize("given", VALID)
def test_a_valid_input_has_no_problem(given: dict[str, Any]) -> None:
    assert check_inputs(restore(**given)) == []


@pytest.mark.parametrize(("given", "blamed", "said"), INVALID)
def test_an_invalid_input_is_the_one_problem_and_is_quoted(given: dict[str, Any], blamed: str, said: str) -> None:
    [problem] = check_inputs(restore(**given))
    assert problem.property == blamed
    assert problem.reason.startswith(said)
    assert "\n" not in problem.reason


def test_all_problems_are_found_at_once() -> None:
    found = check_inputs(restore(instance_id="i-1", volume_type="gp4", tags={"aws:a": "b"}))
    assert [problem.property for problem in found] == ["instance_id", "volume_type", "tags"]


def test_the_token_names_the_restore_and_not_what_a_failed_one_is_corrected_with() -> None:
    inputs = restore(instance_id=INSTANCE, volume_type="gp3", iops=3500)
    others: list[dict[str, Any]] = [
        {"set_id": "set-0fedcba9876543210"},
        {"scope": "rollback rb-0123456789abcdef0"},
        {"region": "us-west-2"},
        {"instance_id": "i-0fedcba9876543210"},
        {"volume_type": "gp2"},
        {"iops": 4000},
        {"throughput": 500},
        {"encrypted": True},
        {"kms_key_id": "alias/backup"},
    ]
    tokens = [replace(inputs, **other).token for other in others]
    assert len({inputs.token, *tokens}) == len(others) + 1
    same: list[dict[str, Any]] = [{"exclude_boot_volume": True}, {"tags": {"a": "b"}}]
    assert {replace(inputs, **other).token for other in same} == {inputs.token}


def test_a_volume_has_the_snapshots_tags_the_users_and_snapsets_own() -> None:
    inputs = restore(tags={"app": "shop", "team": "ops"})
    assert inputs.tags_of(source(was=WAS)) == {
        "app": "shop",
        "Name": "db",
        "team": "ops",
        "snapset:restored-from": SET,
        "snapset:restored-for": "snapset restore",
        "snapset:restored-by": inputs.token,
        "snapset:restored-snapshot": SNAPSHOT.snapshot_id,
        "snapset:restored-device": "/dev/sdf",
    }
    assert inputs.tags_of(source())["Name"] == "data"
    assert "snapset:restored-device" not in inputs.tags_of(source(device=""))


def test_the_request_has_what_is_given_and_nothing_else() -> None:
    inputs = restore()
    wanted = [{"Key": key, "Value": value} for key, value in inputs.tags_of(source()).items()]
    plain = {
        "SnapshotId": SNAPSHOT.snapshot_id,
        "AvailabilityZone": "us-east-1b",
        "TagSpecifications": [{"ResourceType": "volume", "Tags": wanted}],
    }
    assert inputs.request(source(), zone="us-east-1b") == plain
    kind = {"volume_type": "gp3", "iops": 3500, "throughput": 250, "volume_initialization_rate": 200}
    # A key implies encryption.
    request = restore(**kind, kms_key_id="alias/backup").request(source(), zone="us-east-1b", outpost_arn="arn")
    assert {name: value for name, value in request.items() if name not in plain} == {
        "VolumeType": "gp3",
        "Iops": 3500,
        "Throughput": 250,
        "Encrypted": True,
        "KmsKeyId": "alias/backup",
        "OutpostArn": "arn",
        "VolumeInitializationRate": 200,
    }


WHAT_WAS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"VolumeType": "io2", "Iops": 4000, "MultiAttachEnabled": True}),
    ({"iops": 500}, {"VolumeType": "io2", "Iops": 500, "MultiAttachEnabled": True}),
    ({"volume_type": "io2"}, {"VolumeType": "io2", "Iops": 4000, "MultiAttachEnabled": True}),
    ({"volume_type": "gp3"}, {"VolumeType": "gp3"}),
    ({"volume_type": "gp3", "throughput": 250}, {"VolumeType": "gp3", "Throughput": 250}),
]


@pytest.mark.parametrize(("given", "sent"), WHAT_WAS)
def test_a_volume_is_as_it_was_where_the_inputs_do_not_say_else(given: dict[str, Any], sent: dict[str, Any]) -> None:
    request = restore(**given).request(source(was=WAS), zone="us-east-1b")
    always = {"SnapshotId", "AvailabilityZone", "TagSpecifications"}
    assert {name: value for name, value in request.items() if name not in always} == sent
    assert restore(**given).find_kind_problem(source(was=WAS)) is None


MISFITS: list[tuple[dict[str, Any], VolumeAttributes | None, str]] = [
    ({"volume_type": "io1"}, WAS, "io1 needs 100 to 64000 IOPS"),
    ({"volume_type": "io2"}, None, "io2 needs 100 to 256000 IOPS"),
    ({"iops": 5}, WAS, "5 does not fit io2, which takes 100 to 256000"),
    ({"throughput": 500}, WAS, f"the volume of {SNAPSHOT.snapshot_id} is io2, which takes no throughput; "),
    ({"iops": 3000}, None, f"the volume of {SNAPSHOT.snapshot_id} is gp2, which takes no IOPS; leave"),
]


@pytest.mark.parametrize(("given", "was", "said"), MISFITS)
def test_what_does_not_fit_a_volume_as_it_was_is_found_before_anything_is_made(
    given: dict[str, Any], was: VolumeAttributes | None, said: str
) -> None:
    problem = restore(**given).find_kind_problem(source(was=was))
    assert problem
    assert problem.reason.startswith(said)


def test_a_client_token_is_the_same_for_the_same_request_only() -> None:
    inputs = restore(tags={"a": "1", "b": "2"})

    def token(inputs: RestoreInputs = inputs, *, device: str = "/dev/sdf", salt: str = "1.0") -> str:
        return client_token(inputs.request(source(device=device), zone="us-east-1a"), salt=salt)

    assert token() == token(replace(inputs))
    assert len(token()) <= 64
    others = [token(salt="1.1"), token(device="/dev/sdg"), token(replace(inputs, tags={"a": "1"}))]
    assert len({token(), *others}) == 4
