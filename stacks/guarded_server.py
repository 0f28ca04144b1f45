"""An instance with data volumes that is backed up before any change of it goes ahead.

The guard hangs on the volume attachments too: where the instance is replaced or destroyed, Pulumi takes those off
first, and a set that is taken after that has the data volumes no more.

pulumi config set program guarded_server && pulumi up; pulumi destroy --run-program
"""

import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
# A fixed zone: one that comes from the instance would be unknown in its replacement, and replace the volumes too.
zone = config.get("availabilityZone") or "us-east-1a"

guard = backup_before_change(tags={"app": "shop"})
server = aws.ec2.Instance(
    "server",
    ami=config.get("ami") or "ami-12345678",
    instance_type=config.get("instanceType") or "t3.micro",
    availability_zone=zone,
    tags={"Name": "shop-1"},
    # Its volumes can be attached to one instance at a time, so the old one goes first.
    opts=pulumi.ResourceOptions.merge(guard, pulumi.ResourceOptions(delete_before_replace=True)),
)
for device, size in {"/dev/sdf": 20, "/dev/sdg": 100}.items():
    volume = aws.ebs.Volume(f"data-{device[-1]}", availability_zone=zone, size=size)
    aws.ec2.VolumeAttachment(
        f"data-{device[-1]}", device_name=device, instance_id=server.id, volume_id=volume.id, opts=guard
    )

pulumi.export("instanceId", server.id)
