"""`snapset restore` as an on-call engineer runs it: without an engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import CommandLine
from support.project import Run, mutating
from support.restores import (
    DATA,
    SCRATCH,
    SIZES,
    assert_matches,
    assert_same_bytes,
    launch_empty,
    launch_source,
    restored_in,
    snapshots_of,
    take_set,
    terminate,
    without_engine,
)

if TYPE_CHECKING:
    from pathlib import Path

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

ZONE = "us-east-1a"


@pytest.fixture
def snapset(ec2: EmbeddedEC2, tmp_path: Path) -> CommandLine:
    return without_engine(ec2, tmp_path)


@pytest.fixture
def source(ec2: EmbeddedEC2) -> LaunchedInstance:
    return launch_source(ec2)


@pytest.fixture
def set_id(ec2: EmbeddedEC2, source: LaunchedInstance) -> str:
    return take_set(ec2, source)


@pytest.fixture
def target(ec2: EmbeddedEC2) -> str:
    """An instance with only a root volume."""
    return ec2.launch().instance_id


def document(run: Run) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run.stdout)
    return parsed


def ids_in(run: Run) -> list[str]:
    return [volume["volume_id"] for volume in document(run)["volumes"]]


def test_a_set_is_restored_from_its_id_alone_without_its_instance_and_volumes(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, set_id: str
) -> None:
    terminate(ec2, source)
    restored = document(snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok())
    assert_matches(ec2, set_id, instance_id=None)
    assert (restored["version"], restored["set_id"], restored["instance_id"]) == (1, set_id, None)
    made = {volume.snapshot_id: volume.volume_id for volume in restored_in(ec2)}
    assert {volume["snapshot_id"]: volume["volume_id"] for volume in restored["volumes"]} == made
    assert [(volume["device_name"], volume["size_gib"]) for volume in restored["volumes"]] == list(SIZES.items())
    assert {(volume["availability_zone"], volume["state"]) for volume in restored["volumes"]} == {(ZONE, "available")}


def test_an_instance_that_is_just_starting_is_waited_for(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str
) -> None:
    ec2.ec2().stop_instances(InstanceIds=[target])
    ec2.settings(instance_seconds=2)
    ec2.ec2().start_instances(InstanceIds=[target])
    snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    assert [call["code"] for call in ec2.calls("AttachVolume")][:1] == ["IncorrectState"]


def test_data_volumes_are_attached_at_their_old_devices(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, set_id: str, target: str
) -> None:
    terminate(ec2, source)
    restored = document(snapset("restore", set_id, "--to", target, "--exclude-boot", "--json").ok())
    assert restored["instance_id"] == target
    assert [(volume["device_name"], volume["state"]) for volume in restored["volumes"]] == [
        (DATA, "in-use"),
        (SCRATCH, "in-use"),
    ]
    names = {volume.attached_to: volume.tags.get("Name") for volume in restored_in(ec2)}
    assert names == {(target, DATA): "data", (target, SCRATCH): None}


def test_a_set_is_put_beside_the_volumes_in_use(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, set_id: str
) -> None:
    short = snapset("restore", set_id, "--to", source.instance_id, "--devices-from", "/dev/sdy").failed()
    assert "from /dev/sdy on there are 2 names for 3 volumes. Begin earlier." in short.stderr
    assert restored_in(ec2) == []
    beside = ("restore", set_id, "--to", source.instance_id, "--devices-from", "/dev/sdp", "--json")
    made = document(snapset(*beside).ok())["volumes"]
    assert [volume["device_name"] for volume in made] == ["/dev/sdp", "/dev/sdq", "/dev/sdr"]
    assert_same_bytes(ec2, {volume["volume_id"]: volume["snapshot_id"] for volume in made})
    [there] = ec2.ec2().describe_instances(InstanceIds=[source.instance_id])["Reservations"][0]["Instances"]
    used = {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in there["BlockDeviceMappings"]}
    assert used.items() >= source.volume_ids.items()
    assert document(snapset(*beside).ok())["volumes"] == made


@pytest.mark.parametrize("where", ["instance", "zone"])
def test_repeating_a_restore_makes_nothing_new_and_prints_the_same(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str, where: str
) -> None:
    place = ("--to", target, "--exclude-boot") if where == "instance" else ("--availability-zone", ZONE)
    first = snapset("restore", set_id, *place, "--json").ok()
    ec2.clear_calls()
    again = snapset("restore", set_id, *place, "--json").ok()
    assert mutating(ec2.calls()) == []
    assert again.stdout == first.stdout
    [line] = [line for line in again.stderr.splitlines() if line.endswith(", which an earlier run made")]
    assert f"{set_id}: restored at 2" in line
    assert all(volume.volume_id in line for volume in restored_in(ec2))
    assert "which an earlier run made" not in first.stderr


def test_every_option_reaches_the_call(snapset: CommandLine, ec2: EmbeddedEC2, set_id: str) -> None:
    options = "--volume-type gp3 --iops 4000 --throughput 250 --encrypted --kms-key-id alias/shop --tag case=42"
    snapset("restore", set_id, "--availability-zone", "us-east-1b", *options.split()).ok()
    calls = [call["params"] for call in ec2.calls("CreateVolume")]
    sent = {"AvailabilityZone": "us-east-1b", "VolumeType": "gp3", "Iops": "4000", "Throughput": "250"}
    sent |= {"Encrypted": "true", "KmsKeyId": "alias/shop"}
    assert len(calls) == 3
    assert all(sent.items() <= params.items() and params["ClientToken"] for params in calls)
    assert {volume.tags["case"] for volume in restored_in(ec2)} == {"42"}
    assert {volume.tags["app"] for volume in restored_in(ec2)} == {"shop"}


def test_occupied_devices_are_named_before_anything_is_created(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, set_id: str
) -> None:
    ec2.clear_calls()
    run = snapset("restore", set_id, "--to", source.instance_id, "--json").failed()
    assert run.code == 2
    for device, volume_id in source.volume_ids.items():
        assert f"{device} by {volume_id}" in run.stderr
    assert "--exclude-boot" in run.stderr
    assert mutating(ec2.calls()) == []
    assert document(run)["error"]["type"] == "InputError"
    assert document(run)["volumes"] == []


def test_a_rerun_without_the_root_volume_attaches_the_data_volumes(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str
) -> None:
    ec2.fault(action="AttachVolume", kind="error", code="InvalidParameterValue", message="not here")
    target = launch_empty(ec2)
    assert "not here" in snapset("restore", set_id, "--to", target).failed().stderr
    snapset("restore", set_id, "--to", target, "--exclude-boot").ok()
    assert len(restored_in(ec2)) == 3
    assert {volume.attached_to for volume in restored_in(ec2)} == {None, (target, DATA), (target, SCRATCH)}


def test_a_stopped_instance_without_a_root_volume_gets_the_root_volume_too(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str
) -> None:
    target = launch_empty(ec2)
    snapset("restore", set_id, "--to", target).ok()
    assert_matches(ec2, set_id, instance_id=target)


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("pending", 2, "not completed yet: snap-"),
        ("error", 4, "is in error: Given key ID is not accessible. Restore another set."),
    ],
)
def test_a_set_that_has_not_completed_is_refused(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, state: str, code: int, expected: str
) -> None:
    ec2.settings(snapshot_seconds=float("inf"))
    if state == "error":
        ec2.fail(message="Given key ID is not accessible.")
    set_id = take_set(ec2, source)
    ec2.clear_calls()
    run = snapset("restore", set_id, "--availability-zone", ZONE).failed()
    assert run.code == code
    assert run.stderr.splitlines()[-1].startswith(f"snapset: restoring {set_id}: ")
    assert expected in run.stderr.splitlines()[-1]
    assert mutating(ec2.calls()) == []


def test_a_set_without_device_tags_can_only_be_restored_in_a_zone(
    snapset: CommandLine, ec2: EmbeddedEC2, source: LaunchedInstance, target: str
) -> None:
    set_id = take_set(ec2, source, marked=False)
    run = snapset("restore", set_id, "--to", target, "--exclude-boot").failed()
    assert run.code == 2
    assert all(snapshot_id in run.stderr for snapshot_id in snapshots_of(ec2, set_id))
    assert "tag it with snapset:device" in run.stderr
    snapset("restore", set_id, "--availability-zone", ZONE).ok()
    assert len(restored_in(ec2)) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["set-1", "--availability-zone", ZONE], "'set-1' is not the id of a set"),
        (["{set}"], "neither is given"),
        (["{set}", "--to", "i-0123456789abcdef0"], "InvalidInstanceID.NotFound"),
        (
            ["{set}", "--availability-zone", "eu-west-1a"],
            "reading --availability-zone: eu-west-1a is not in us-east-1",
        ),
        (["{set}", "--availability-zone", "us-east-1q"], "there is no zone us-east-1q"),
        (["{set}", "--availability-zone", "us-east-1-foe-wlz-1a"], "there is no zone us-east-1-foe-wlz-1a"),
        (["{set}", "--availability-zone", "eu-west-1a", "--region", "eu-west-1"], "no snapshot in eu-west-1 has the"),
        (
            ["{set}", "--availability-zone", ZONE, "--volume-type", "gp9"],
            "reading --volume-type: 'gp9' is not one of",
        ),
        (["{set}", "--availability-zone", ZONE, "--iops", "4000"], "is gp2, which takes no IOPS"),
        (["{set}", "--availability-zone", ZONE, "--tag", "novalue"], "Write it as KEY=VALUE"),
    ],
)
def test_bad_input_exits_with_2_and_creates_nothing(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, arguments: list[str], expected: str
) -> None:
    ec2.clear_calls()
    run = snapset("restore", *(argument.replace("{set}", set_id) for argument in arguments)).failed()
    assert run.code == 2
    assert expected in run.stderr
    assert mutating(ec2.calls()) == []


def test_volumes_that_may_have_been_used_since_are_not_handed_out_again(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str
) -> None:
    used = ids_in(snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok())
    ec2.ec2().attach_volume(VolumeId=used[1], InstanceId=target, Device="/dev/sdx")
    run = snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok()
    again = ids_in(run)
    assert not set(used) & set(again)
    assert f"an earlier restore made {', '.join(sorted(used))}, which may have been used since" in run.stderr
    assert snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok().stdout.count(again[0]) == 1
    assert len(restored_in(ec2)) == 6


def test_after_a_while_volumes_that_are_attached_nowhere_count_as_used(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str
) -> None:
    first = ids_in(snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok())
    long_ago: Any = [{"Key": "snapset:restored-at", "Value": "2026-11-01T00:00:00Z"}]
    ec2.ec2().create_tags(Resources=first, Tags=long_ago)
    again = ids_in(snapset("restore", set_id, "--availability-zone", ZONE, "--json").ok())
    assert not set(first) & set(again)


def test_volumes_that_were_deleted_are_made_again(snapset: CommandLine, ec2: EmbeddedEC2, set_id: str) -> None:
    snapset.env["SNAPSET_CONSISTENCY_SECONDS"] = "0"
    for _ in range(3):
        snapset("restore", set_id, "--availability-zone", ZONE).ok()
        assert_matches(ec2, set_id, instance_id=None)
        for volume in restored_in(ec2):
            ec2.ec2().delete_volume(VolumeId=volume.volume_id)


@pytest.mark.parametrize(
    ("action", "needs"),
    [("CreateVolume", "ec2:CreateVolume and ec2:CreateTags"), ("AttachVolume", "ec2:AttachVolume")],
)
def test_a_missing_permission_exits_with_3_and_is_named(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str, target: str, action: str, needs: str
) -> None:
    ec2.fault(action=action, kind="deny")
    run = snapset("restore", set_id, "--to", target, "--exclude-boot", "--json").failed()
    assert run.code == 3
    assert f"Allow {needs}." in run.stderr
    assert document(run)["error"]["type"] == "NotPermittedError"


def test_without_json_a_table_of_80_columns_shows_the_volumes(
    snapset: CommandLine, ec2: EmbeddedEC2, set_id: str
) -> None:
    shown = snapset("restore", set_id, "--availability-zone", ZONE).ok().stdout
    assert f"{set_id} is restored in {ZONE}, attached to no instance" in shown
    assert all(volume.volume_id in shown for volume in restored_in(ec2))
    assert max(len(line) for line in shown.splitlines()) <= 80
