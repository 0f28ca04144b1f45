"""Take sets to restore, without an engine, and find the restored volumes in the embedded EC2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snapset.aws.ec2 import connect
from snapset.aws.settings import AwsSettings
from snapset.emulator.client import EmbeddedEC2, LaunchedInstance
from snapset.sets import tags
from snapset.sets.claims import claim_set
from snapset.sets.inputs import parse
from snapset.sets.take import take_set as take

from support.command_line import CommandLine, InProcess
from support.project import run_environment

if TYPE_CHECKING:
    from pathlib import Path

ROOT, DATA, SCRATCH = "/dev/sda1", "/dev/sdf", "/dev/sdg"
SIZES = {ROOT: 8, DATA: 20, SCRATCH: 100}


@dataclass(frozen=True)
class Restored:
    """A volume in EC2 that was made from a snapshot."""

    raw: Mapping[str, Any]

    @property
    def volume_id(self) -> str:
        return str(self.raw["VolumeId"])

    @property
    def snapshot_id(self) -> str:
        return str(self.raw["SnapshotId"])

    @property
    def attached_to(self) -> tuple[str, str] | None:
        """The instance and the device."""
        return next(((found["InstanceId"], found["Device"]) for found in self.raw["Attachments"]), None)

    @property
    def tags(self) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.raw["Tags"]}


def without_engine(ec2: EmbeddedEC2, folder: Path, **more: str) -> CommandLine:
    """`snapset` where there is neither an engine nor a state."""
    env = run_environment(folder, {**ec2.environment(), **more})
    return InProcess({**env, "PATH": "", "PULUMI_BACKEND_URL": "file:///nonexistent"}, folder)


def launch_source(ec2: EmbeddedEC2) -> LaunchedInstance:
    """An instance with two data volumes, each with content of its own."""
    source = ec2.launch([(SIZES[DATA], DATA, {"Name": "data"}), (SIZES[SCRATCH], SCRATCH, {})])
    for device, volume_id in source.volume_ids.items():
        ec2.write(volume_id, 4096, f"{source.instance_id} {device}".encode())
    return source


def launch_empty(ec2: EmbeddedEC2) -> str:
    """A stopped instance without any volume."""
    target = ec2.launch()
    ec2.ec2().stop_instances(InstanceIds=[target.instance_id])
    ec2.ec2().detach_volume(VolumeId=target.root_volume_id)
    return target.instance_id


def settings_of(ec2: EmbeddedEC2) -> AwsSettings:
    return AwsSettings(region=ec2.region, endpoint_url=ec2.endpoint, access_key="testing", secret_key="testing")


def take_set(ec2: EmbeddedEC2, instance: LaunchedInstance, *, marked: bool = True, **inputs: Any) -> str:
    """Take a set of the instance, mark it with claim and devices as a program does, and return its id."""
    aws = connect(settings_of(ec2))
    wanted = {"instance_id": instance.instance_id, "region": ec2.region, "copy_tags_from_source": "volume"}
    parsed = parse({**wanted, "tags": {"app": "shop"}, **inputs})
    taken = take(aws, parsed).set
    if marked:
        claim_set(aws, taken, claim=tags.new_claim())
    return taken.set_id


def terminate(ec2: EmbeddedEC2, instance: LaunchedInstance) -> None:
    """Terminate the instance, and delete all of its volumes."""
    client = ec2.ec2()
    client.terminate_instances(InstanceIds=[instance.instance_id])
    for volume in client.describe_volumes()["Volumes"]:
        if volume["VolumeId"] in instance.volume_ids.values():
            for attachment in volume["Attachments"]:
                client.detach_volume(VolumeId=attachment["VolumeId"])
            client.delete_volume(VolumeId=volume["VolumeId"])


def forget_instance(ec2: EmbeddedEC2, set_id: str) -> None:
    """Take away what is recorded of the instance, as on a set of an older version."""
    keys: Any = [{"Key": key} for key in tags.INSTANCE_WAS]
    ec2.ec2().delete_tags(Resources=list(snapshots_of(ec2, set_id)), Tags=keys)


def restored_in(ec2: EmbeddedEC2) -> list[Restored]:
    """All volumes that were made from snapshots."""
    return [Restored(volume) for volume in ec2.ec2().describe_volumes()["Volumes"] if volume.get("SnapshotId")]


def snapshots_of(ec2: EmbeddedEC2, set_id: str) -> dict[str, dict[str, Any]]:
    """The set's snapshots by id, with `tags` as a mapping."""
    found = ec2.ec2().describe_snapshots(Filters=[{"Name": f"tag:{tags.SET}", "Values": [set_id]}])["Snapshots"]
    return {
        snapshot["SnapshotId"]: {**snapshot, "tags": {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}}
        for snapshot in found
    }


def assert_same_bytes(ec2: EmbeddedEC2, restored: Mapping[str, str]) -> None:
    """Check that volumes have the content of their snapshots, each its own: snapshots by volume."""
    contents = {volume_id: ec2.digest(volume_id) for volume_id in restored}
    assert contents == {volume_id: ec2.digest(snapshot_id) for volume_id, snapshot_id in restored.items()}
    assert len(set(contents.values())) == len(set(restored.values()))


def assert_matches(ec2: EmbeddedEC2, set_id: str, *, instance_id: str | None) -> None:
    """Check that each snapshot has one volume, with its size and its tags, attached at its device."""
    snapshots, restored = snapshots_of(ec2, set_id), restored_in(ec2)
    assert sorted(volume.snapshot_id for volume in restored) == sorted(snapshots)
    assert_same_bytes(ec2, {volume.volume_id: volume.snapshot_id for volume in restored})
    for volume in restored:
        snapshot = snapshots[volume.snapshot_id]
        device = snapshot["tags"][tags.DEVICE]
        theirs = {key: value for key, value in snapshot["tags"].items() if not key.startswith(tags.PREFIX)}
        assert volume.raw["Size"] == snapshot["VolumeSize"] == SIZES[device]
        assert volume.raw["AvailabilityZone"] == "us-east-1a"
        assert volume.attached_to == ((instance_id, device) if instance_id else None)
        assert theirs.items() <= volume.tags.items()
        assert volume.tags["snapset:restored-from"] == set_id
        assert volume.tags["snapset:restored-snapshot"] == volume.snapshot_id
        assert volume.tags["snapset:restored-device"] == device
        assert volume.tags["snapset:restored-at"]
