"""`RestoredVolumes` on the real engine: in the program that takes the set, and from only the id of a set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import aws_plugin
from support.project import Project, changes, mutating
from support.restores import (
    DATA,
    ROOT,
    SCRATCH,
    assert_matches,
    launch_source,
    restored_in,
    snapshots_of,
    take_set,
    terminate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

ZONE = "us-east-1a"

IN_ONE_PROGRAM = """
import pulumi
import pulumi_aws as aws
from snapset import InstanceSnapshots, RestoredVolumes

config = pulumi.Config()
backup = InstanceSnapshots("backup", instance=config.require("source"), copy_tags_from_source="volume")
target = aws.ec2.Instance("target", ami="ami-12345678", instance_type="t3.micro", availability_zone="us-east-1b")
attached = RestoredVolumes("attached", source=backup, instance=target, exclude_boot_volume=True)
loose = RestoredVolumes("loose", source=backup.set, availability_zone="us-east-1c", volume_type="gp3", iops=3500)
pulumi.export("setId", backup.set_id)
pulumi.export("targetId", target.id)
pulumi.export("attached", attached.volumes)
pulumi.export("loose", loose.volume_ids)
"""


@pytest.fixture
def source(ec2: EmbeddedEC2) -> LaunchedInstance:
    return launch_source(ec2)


@pytest.fixture
def set_id(ec2: EmbeddedEC2, source: LaunchedInstance) -> str:
    """A set whose instance and volumes no longer exist."""
    taken = take_set(ec2, source)
    terminate(ec2, source)
    return taken


@pytest.fixture
def target(ec2: EmbeddedEC2) -> str:
    return ec2.launch().instance_id


@pytest.fixture
def in_zone(project: Project, set_id: str) -> Project:
    """A stack that restores the set in a zone."""
    project.config = {"program": "restore", "setId": set_id, "availabilityZone": ZONE}
    return project


@pytest.fixture
def attached(project: Project, set_id: str, target: str) -> Project:
    """A stack that attaches the set's data volumes to an instance."""
    project.config = {"program": "restore", "setId": set_id, "instanceId": target, "excludeBootVolume": True}
    return project


def restored_sets(project: Project) -> list[dict[str, Any]]:
    resources = project.state()["deployment"].get("resources", [])
    return [resource for resource in resources if resource["type"].endswith(":RestoredSet")]


def ids_in(ec2: EmbeddedEC2) -> set[str]:
    return {volume.volume_id for volume in restored_in(ec2)}


def test_a_set_is_restored_from_its_id_alone_without_its_instance_and_its_state(
    project: Project, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    project.config = {"instanceId": source.instance_id, "copyTagsFromSource": "volume", "tags": {"app": "shop"}}
    project.up().ok()
    set_id = project.outputs()["setId"]
    terminate(ec2, source)
    project.pulumi("stack", "rm", "--force", "--yes", "--stack", "test").ok()
    project.pulumi("stack", "init", "test").ok()
    project.config = {"program": "restore", "setId": set_id, "availabilityZone": ZONE}
    project.up().ok()
    assert_matches(ec2, set_id, instance_id=None)
    names = {volume.tags["snapset:restored-device"]: volume.tags.get("Name") for volume in restored_in(ec2)}
    assert names == {ROOT: None, DATA: "data", SCRATCH: None}
    assert {volume.tags["app"] for volume in restored_in(ec2)} == {"shop"}


def test_the_outputs_match_ec2(in_zone: Project, ec2: EmbeddedEC2, set_id: str) -> None:
    in_zone.up().ok()
    outputs = in_zone.outputs()
    assert outputs["setId"] == set_id
    assert set(outputs["volumeIds"]) == ids_in(ec2)
    assert [volume["volume_id"] for volume in outputs["volumes"]] == outputs["volumeIds"]
    assert [(volume["device_name"], volume["size_gib"]) for volume in outputs["volumes"]] == [
        (ROOT, 8),
        (DATA, 20),
        (SCRATCH, 100),
    ]
    assert {volume["snapshot_id"] for volume in outputs["volumes"]} == set(snapshots_of(ec2, set_id))
    assert {(volume["availability_zone"], volume["state"]) for volume in outputs["volumes"]} == {(ZONE, "available")}
    [recorded] = restored_sets(in_zone)
    assert len(recorded["inputs"]["__provider"]) < 200


def test_up_again_and_a_refresh_change_nothing(attached: Project, ec2: EmbeddedEC2) -> None:
    attached.up().ok()
    before = ids_in(ec2)
    ec2.clear_calls()
    assert changes(attached.up().ok()) == {"unchanged": 3}
    attached.refresh().ok()
    assert changes(attached.up().ok()) == {"unchanged": 3}
    assert mutating(ec2.calls()) == []
    assert ids_in(ec2) == before


def test_a_preview_creates_nothing(attached: Project, ec2: EmbeddedEC2) -> None:
    ec2.clear_calls()
    attached.preview().ok()
    assert mutating(ec2.calls()) == []
    assert [call["dry_run"] for call in ec2.calls("CreateVolume")] == [True]


@pytest.mark.parametrize("change", [{"volumeType": "gp3"}, {"encrypted": True}])
def test_a_changed_volume_property_replaces_the_volumes_and_deletes_the_old_ones_first(
    attached: Project, ec2: EmbeddedEC2, target: str, change: dict[str, Any]
) -> None:
    attached.up().ok()
    old = ids_in(ec2)
    attached.config |= change
    ec2.clear_calls()
    attached.up("--show-replacement-steps").ok()
    assert not old & ids_in(ec2)
    assert sorted(volume.attached_to or () for volume in restored_in(ec2)) == [(target, DATA), (target, SCRATCH)]
    assert mutating(ec2.calls()) == [
        *["DetachVolume", "DeleteVolume"] * 2,
        *["CreateVolume"] * 2,
        *["AttachVolume"] * 2,
        "CreateTags",
    ]
    assert all(volume.raw["VolumeType"] == "gp3" or volume.raw["Encrypted"] for volume in restored_in(ec2))


def test_a_replacement_can_be_previewed_while_the_old_volumes_hold_the_devices(attached: Project) -> None:
    attached.up().ok()
    attached.config["volumeType"] = "gp3"
    assert "replace" in attached.preview().ok().stdout


@pytest.mark.parametrize("where", ["zone", "instance"])
def test_a_forced_replacement_makes_one_new_volume_per_snapshot(
    in_zone: Project, ec2: EmbeddedEC2, set_id: str, target: str, where: str
) -> None:
    if where == "instance":
        in_zone.config |= {"availabilityZone": "", "instanceId": target, "excludeBootVolume": True}
    in_zone.env["SNAPSET_CONSISTENCY_SECONDS"] = "0"
    in_zone.up().ok()
    old = ids_in(ec2)
    [recorded] = restored_sets(in_zone)
    in_zone.up("--replace", recorded["urn"]).ok()
    assert not old & ids_in(ec2)
    assert set(in_zone.outputs()["volumeIds"]) == ids_in(ec2)
    assert len(ids_in(ec2)) == len(old)


def test_tags_are_changed_in_place(in_zone: Project, ec2: EmbeddedEC2) -> None:
    in_zone.config["tags"] = {"case": "42", "who": "me"}
    in_zone.up().ok()
    before = ids_in(ec2)
    in_zone.config["tags"] = {"case": "43"}
    assert changes(in_zone.up().ok())["updated"] == 1
    assert ids_in(ec2) == before
    assert [(volume.tags["case"], "who" in volume.tags) for volume in restored_in(ec2)] == [("43", False)] * 3
    assert {volume.tags["app"] for volume in restored_in(ec2)} == {"shop"}


def test_occupied_devices_are_refused_at_preview_and_nothing_is_created(
    project: Project, ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    set_id = take_set(ec2, source)
    project.config = {"program": "restore", "setId": set_id, "instanceId": source.instance_id}
    ec2.clear_calls()
    for refused in (project.preview().failed(), project.up().failed()):
        for device, volume_id in source.volume_ids.items():
            assert f"{device} by {volume_id}" in refused.text
        assert "exclude_boot_volume" in refused.text
    assert mutating(ec2.calls()) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"setId": "set-00000000000000000"}, "no snapshot in us-east-1 has the tag snapset:set"),
        ({"availabilityZone": "us-east-1q"}, "there is no zone us-east-1q"),
        ({"availabilityZone": ""}, "neither is given"),
        ({"volumeType": "io2"}, "io2 needs it"),
        ({"throughput": 250}, "takes none"),
    ],
)
def test_bad_input_is_found_at_preview(in_zone: Project, config: dict[str, Any], expected: str) -> None:
    in_zone.config |= config
    assert expected in in_zone.preview().failed().text


def test_a_refresh_drops_and_reports_a_volume_that_no_longer_exists(in_zone: Project, ec2: EmbeddedEC2) -> None:
    in_zone.up().ok()
    gone, *stay = in_zone.outputs()["volumeIds"]
    ec2.ec2().delete_volume(VolumeId=gone)
    assert f"{gone} no longer exists" in in_zone.refresh().ok().text
    [recorded] = restored_sets(in_zone)
    assert recorded["outputs"]["volume_ids"] == stay


def test_volumes_that_were_all_deleted_are_made_again(in_zone: Project, ec2: EmbeddedEC2, set_id: str) -> None:
    in_zone.env["SNAPSET_CONSISTENCY_SECONDS"] = "0"
    in_zone.up().ok()
    for volume_id in ids_in(ec2):
        ec2.ec2().delete_volume(VolumeId=volume_id)
    in_zone.refresh().ok()
    assert restored_sets(in_zone) == []
    in_zone.up().ok()
    assert_matches(ec2, set_id, instance_id=None)


def test_destroy_deletes_the_volumes_and_keeps_the_set(
    attached: Project, ec2: EmbeddedEC2, set_id: str, target: str
) -> None:
    attached.up().ok()
    attached.destroy().ok()
    assert restored_in(ec2) == []
    assert len(snapshots_of(ec2, set_id)) == 3
    described = ec2.ec2().describe_instances(InstanceIds=[target])["Reservations"][0]["Instances"][0]
    assert [mapping["DeviceName"] for mapping in described["BlockDeviceMappings"]] == [ROOT]


def test_destroy_does_not_take_a_volume_from_another_instance(
    attached: Project, ec2: EmbeddedEC2, target: str
) -> None:
    attached.up().ok()
    moved = next(volume for volume in restored_in(ec2) if volume.attached_to == (target, DATA))
    elsewhere = ec2.launch().instance_id
    ec2.ec2().detach_volume(VolumeId=moved.volume_id)
    ec2.ec2().attach_volume(VolumeId=moved.volume_id, InstanceId=elsewhere, Device=DATA)
    failed = attached.destroy().failed()
    assert f"deleting {moved.volume_id}: VolumeInUse" in failed.text
    assert [volume.attached_to for volume in restored_in(ec2)] == [(elsewhere, DATA)]
    ec2.ec2().detach_volume(VolumeId=moved.volume_id)
    attached.destroy().ok()
    assert restored_in(ec2) == []


def test_one_program_can_take_a_set_and_restore_it(
    program: Callable[[str], Project], ec2: EmbeddedEC2, source: LaunchedInstance
) -> None:
    project = program(IN_ONE_PROGRAM)
    aws_plugin.install(project.env)
    project.config = {"source": source.instance_id}
    ec2.settings(snapshot_seconds=1)
    project.preview().ok()
    project.up().ok()
    outputs = project.outputs()
    there = {volume.volume_id: volume for volume in restored_in(ec2)}
    assert [volume["device_name"] for volume in outputs["attached"]] == [DATA, SCRATCH]
    for volume in outputs["attached"]:
        assert there[volume["volume_id"]].attached_to == (outputs["targetId"], volume["device_name"])
        assert there[volume["volume_id"]].zone == "us-east-1b"
    assert [there[volume_id].size for volume_id in outputs["loose"]] == [8, 20, 100]
    assert {there[volume_id].raw["Iops"] for volume_id in outputs["loose"]} == {3500}
    assert len(there) == 5
    assert "created" not in changes(project.up().ok())
    project.destroy().ok()
    assert restored_in(ec2) == []
