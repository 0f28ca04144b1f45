"""Instances to roll back, and what must be true of one that was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snapset.aws.ec2 import Ec2
from snapset.limits import Limits
from snapset.sets import tags

from support.restores import (
    DATA,
    ROOT,
    SCRATCH,
    assert_same_bytes,
    launch_source,
    restored_in,
    settings_of,
    snapshots_of,
    take_set,
)

if TYPE_CHECKING:
    from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

DEVICES = (ROOT, DATA, SCRATCH)
LIMITS = Limits(consistency=2, throttle=10, late=2, volume=20)


@dataclass(frozen=True)
class Deployed:
    """An instance with a set, to which something was deployed since."""

    instance: LaunchedInstance
    set_id: str
    # The instance of the set, if it is another one.
    of: str | None = None

    @property
    def instance_id(self) -> str:
        return self.instance.instance_id

    @property
    def before(self) -> Mapping[str, str]:
        """What is attached to it before any rollback: volume ids by device."""
        return self.instance.volume_ids


def connect(ec2: EmbeddedEC2) -> Ec2:
    """snapset's own EC2, on the embedded one."""
    return Ec2(settings_of(ec2), LIMITS)


def deploy(ec2: EmbeddedEC2, *, running: bool = True) -> Deployed:
    """Launch an instance with two data volumes, take a set of it, and stop it if it is not to run."""
    instance = launch_source(ec2)
    set_id = take_set(ec2, instance, change_id="release-42", tags={})
    for volume_id in instance.volume_ids.values():
        ec2.write(volume_id, 0, b"what was deployed")
    if not running:
        ec2.ec2().stop_instances(InstanceIds=[instance.instance_id])
    return Deployed(instance, set_id)


def deploy_in_place_of_another(ec2: EmbeddedEC2) -> Deployed:
    """Launch an instance in place of one that is terminated, of which there is a set."""
    gone = deploy(ec2)
    ec2.ec2().terminate_instances(InstanceIds=[gone.instance_id])
    return Deployed(launch_source(ec2), gone.set_id, of=gone.instance_id)


def described(ec2: EmbeddedEC2, instance_id: str) -> Any:
    return ec2.ec2().describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def devices_of(ec2: EmbeddedEC2, instance_id: str) -> dict[str, str]:
    """What is attached to the instance: volume ids by device."""
    mappings = described(ec2, instance_id)["BlockDeviceMappings"]
    return {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in mappings}


def contents_of(ec2: EmbeddedEC2, instance_id: str) -> dict[str, str]:
    """What is on the instance's volumes: digests by device."""
    return {device: ec2.digest(volume_id) for device, volume_id in devices_of(ec2, instance_id).items()}


def tags_of(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or []}


def safety_sets(ec2: EmbeddedEC2, deployed: Deployed) -> dict[str, set[str]]:
    """The sets that rollbacks took of what they replaced: the volumes of each."""
    found: dict[str, set[str]] = {}
    change: Any = {"Name": f"tag:{tags.CHANGE}", "Values": [f"rollback to {deployed.set_id}"]}
    for snapshot in ec2.ec2().describe_snapshots(OwnerIds=["self"], Filters=[change])["Snapshots"]:
        assert tags_of(snapshot)[tags.SNAPSHOT] == snapshot["SnapshotId"], "not marked"
        found.setdefault(tags_of(snapshot)[tags.SET], set()).add(snapshot["VolumeId"])
    return found


def assert_rolled_back(
    ec2: EmbeddedEC2,
    deployed: Deployed,
    *,
    state: str = "running",
    before: Mapping[str, str] | None = None,
    times: int = 1,
) -> None:
    """Check that the instance is on the set's volumes, once a snapshot and rollback, and that nothing is lost.

    Args:
        ec2: where.
        deployed: the instance.
        state: the power state that it had.
        before: what was attached before the last rollback, if that was not the first: volume ids by device.
        times: how many rollbacks there were.
    """
    before = before or deployed.before
    now, snapshots = devices_of(ec2, deployed.instance_id), snapshots_of(ec2, deployed.set_id)
    instance = described(ec2, deployed.instance_id)
    assert instance["State"]["Name"] == state
    assert "snapset:rollback" not in tags_of(instance), "the rollback is not ended"
    new = {volume.volume_id: volume for volume in restored_in(ec2)}
    assert set(now) == set(DEVICES)
    for device, volume_id in now.items():
        assert snapshots[new[volume_id].snapshot_id]["tags"][tags.DEVICE] == device
    made = sorted(volume.snapshot_id for volume in new.values())
    assert made == sorted(list(snapshots) * times), "not exactly one new volume a snapshot"
    assert_same_bytes(ec2, {volume_id: new[volume_id].snapshot_id for volume_id in now.values()})
    mappings = {mapping["DeviceName"]: mapping["Ebs"] for mapping in instance["BlockDeviceMappings"]}
    assert {device for device, ebs in mappings.items() if ebs["DeleteOnTermination"]} == {ROOT}
    volumes = {volume["VolumeId"]: volume for volume in ec2.ec2().describe_volumes()["Volumes"]}
    for device, volume_id in before.items():
        assert volumes[volume_id]["Attachments"] == []
        assert tags_of(volumes[volume_id])["snapset:replaced"].endswith(f" {deployed.instance_id} {device}")
    assert set(before.values()) in safety_sets(ec2, deployed).values(), "there is no whole safety set"
