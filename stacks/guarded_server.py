"""An instance with data volumes that is backed up before each change of it.

The volume attachments have the guard too: when the instance is replaced or destroyed, Pulumi deletes them first, and
a set that is taken after that would miss the data volumes.

pulumi config set program guarded_server && pulumi up; pulumi destroy --run-program
"""

import pulumi
import pulumi_aws as aws
from snapset import backup_before_change

config = pulumi.Config()
# The zone is fixed: the instance's own zone is unknown while it is replaced, and would replace the volumes too.
zone = config.get("availabilityZone") or "us-east-1a"

# A volume is attached to one instance, and a device holds one volume, at a time: the old one must be deleted first.
guard = pulumi.ResourceOptions.merge(
    backup_before_change(tags={"app": "shop"}), pulumi.ResourceOptions(delete_before_replace=True)
)
server = aws.ec2.Instance(
    "server",
    ami=config.get("ami") or "ami-12345678",
    instance_type=config.get("instanceType") or "t3.micro",
    availability_zone=zone,
    tags={"Name": "shop-1"},
    opts=guard,
)
for device, size in {"/dev/sdf": 20, "/dev/sdg": 100}.items():
    volume = aws.ebs.Volume(f"data-{device[-1]}", availability_zone=zone, size=size)
    aws.ec2.VolumeAttachment(
        f"data-{device[-1]}",
        device_name=device,
        instance_id=server.id,
        volume_id=volume.id,
        opts=guard,
    )

pulumi.export("instanceId", server.id)
