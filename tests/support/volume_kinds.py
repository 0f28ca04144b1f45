"""An instance with a volume of each kind, and what a volume is: what has to come back as it was."""

from __future__ import annotations

from typing import Any

from snapset.emulator.client import EmbeddedEC2, LaunchedInstance

from support.rollbacks import devices_of, tags_of

# By device: what the volume is made with, its tags, and whether it goes with the instance.
KINDS: dict[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "/dev/sdf": ({"Size": 20, "VolumeType": "gp3", "Iops": 6000, "Throughput": 250}, {"Name": "data"}, True),
    "/dev/sdg": ({"Size": 50, "VolumeType": "io2", "Iops": 4000}, {"Name": "db", "tier": "hot"}, False),
    "/dev/sdh": ({"Size": 125, "VolumeType": "st1"}, {}, False),
    "/dev/sdi": ({"Size": 8, "VolumeType": "gp3", "Encrypted": True, "KmsKeyId": "alias/shop"}, {}, False),
    "/dev/sdj": ({"Size": 8, "VolumeType": "io2", "Iops": 200, "MultiAttachEnabled": True}, {}, True),
}
ATTRIBUTES = ("Size", "VolumeType", "Iops", "Throughput", "Encrypted", "KmsKeyId", "MultiAttachEnabled", "OutpostArn")


def launch_kinds(ec2: EmbeddedEC2) -> LaunchedInstance:
    """An instance with one volume of each of the `KINDS`."""
    launched, client = ec2.launch(), ec2.ec2()
    for device, (made_with, theirs, goes_with_it) in KINDS.items():
        volume_id = client.create_volume(AvailabilityZone="us-east-1a", **made_with)["VolumeId"]
        client.attach_volume(VolumeId=volume_id, InstanceId=launched.instance_id, Device=device)
        if theirs:
            client.create_tags(Resources=[volume_id], Tags=[{"Key": key, "Value": theirs[key]} for key in theirs])
        mapping: Any = {"DeviceName": device, "Ebs": {"DeleteOnTermination": goes_with_it}}
        client.modify_instance_attribute(InstanceId=launched.instance_id, BlockDeviceMappings=[mapping])
    return LaunchedInstance(launched.instance_id, launched.root_volume_id, devices_of(ec2, launched.instance_id))


def attributes_at(ec2: EmbeddedEC2, instance_id: str) -> dict[str, dict[str, Any]]:
    """What each attached volume is, by device, its own tags and DeleteOnTermination included."""
    devices = devices_of(ec2, instance_id)
    volumes = ec2.ec2().describe_volumes(VolumeIds=list(devices.values()))["Volumes"]
    by_id: dict[str, Any] = {volume["VolumeId"]: volume for volume in volumes}
    return {
        device: {
            **{name: by_id[volume_id].get(name) for name in ATTRIBUTES},
            "DeleteOnTermination": by_id[volume_id]["Attachments"][0]["DeleteOnTermination"],
            "tags": {
                key: value for key, value in tags_of(by_id[volume_id]).items() if not key.startswith("snapset:")
            },
        }
        for device, volume_id in devices.items()
    }
