"""Make volumes from a set, attached to an instance at the devices that they had.

They are volumes of this stack, and come back as they were when the set was taken. The set's id is enough, even if its
instance and the state that took the set no longer exist. `latest` is the newest completed set of the instance itself.

pulumi config set program restore && pulumi config set setId set-0123456789abcdef0
pulumi config set instanceId i-0123456789abcdef0 && pulumi config set --path 'devices[0]' /dev/sdf && pulumi up
"""

import pulumi
import pulumi_aws as aws
from snapset import get_snapshots

config = pulumi.Config()

needed = {
    "setId": "Name a set, or latest.",
    "instanceId": "Name the instance to attach the volumes to.",
    "devices": "Name at least one device of the set, such as /dev/sdf.",
}
for key, advice in needed.items():
    if config.get(key) in (None, "", "[]"):
        raise pulumi.RunError(f"reading snapset:{key}: it is not set. {advice}")
set_id, instance_id = config.require("setId"), config.require("instanceId")

before = get_snapshots(instance=instance_id, latest=True) if set_id == "latest" else get_snapshots(set_id=set_id)
server = aws.ec2.get_instance(instance_id=instance_id)
volume_ids = {}
for device in config.require_object("devices"):
    name = device.removeprefix("/dev/")
    # Wherever the set is stored, only a volume on the instance's own Outpost can be attached to it.
    arguments = {**before.volume(device), "outpost_arn": server.outpost_arn or None}
    volume = aws.ebs.Volume(
        name,
        availability_zone=server.availability_zone,
        **arguments,
        # What was written to it is not lost when it is replaced, or when the stack is destroyed.
        opts=pulumi.ResourceOptions(retain_on_delete=True),
    )
    aws.ec2.VolumeAttachment(
        name,
        device_name=device,
        instance_id=instance_id,
        volume_id=volume.id,
        # A device holds one volume at a time, so the old attachment must be deleted first.
        opts=pulumi.ResourceOptions(delete_before_replace=True),
    )
    volume_ids[device] = volume.id

pulumi.export("setId", before.set_id)
pulumi.export("volumeIds", volume_ids)
