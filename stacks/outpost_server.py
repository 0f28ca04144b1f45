"""An instance on an Outpost or in a Local Zone, with a backup that is stored there or in the Region.

The subnet decides where the instance runs. The set is stored on the Outpost if `outpostArn` names it, in the Local
Zone if `location` is `local`, and otherwise in the Region of the Outpost or zone.

pulumi config set program outpost_server && pulumi config set subnetId subnet-0123456789abcdef0
pulumi config set outpostArn arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0 && pulumi up
"""

import pulumi
import pulumi_aws as aws
from snapset import InstanceSnapshots

config = pulumi.Config()
subnet_id = config.get("subnetId")
outpost_arn = config.get("outpostArn") or None
location = config.get("location") or None

if not subnet_id:
    raise pulumi.RunError(
        "reading snapset:subnetId: it is not set. Name a subnet on the Outpost or in the Local Zone."
    )
subnet = aws.ec2.get_subnet(id=subnet_id)
zone = aws.get_availability_zone(name=subnet.availability_zone, all_availability_zones=True)

# snapset checks both against the instance at preview, but before the first `up` only the subnet exists.
if outpost_arn and outpost_arn != subnet.outpost_arn:
    place = f"on {subnet.outpost_arn}" if subnet.outpost_arn else "not on an Outpost"
    raise pulumi.RunError(
        f"reading snapset:outpostArn: {subnet_id} is {place}; use the Outpost of the subnet, or remove this key."
    )
if location and zone.zone_type != "local-zone":
    raise pulumi.RunError(
        f"reading snapset:location: {subnet_id} is in {zone.name}, which is not a Local Zone; remove this key."
    )

server = aws.ec2.Instance(
    "server",
    ami=config.get("ami") or "ami-12345678",
    instance_type=config.get("instanceType") or "m5.large",
    subnet_id=subnet_id,
    tags={"Name": "factory-1"},
    # A volume can be attached to one instance at a time, so the old instance must be deleted first.
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
data = aws.ebs.Volume(
    "data",
    availability_zone=subnet.availability_zone,
    outpost_arn=subnet.outpost_arn or None,
    size=20,
    type="gp2",
)
attached = aws.ec2.VolumeAttachment(
    "data",
    device_name="/dev/sdf",
    instance_id=server.id,
    volume_id=data.id,
    # A device holds one volume at a time, so the old attachment must be deleted first.
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)

backup = InstanceSnapshots(
    "backup",
    instance=server,
    outpost_arn=outpost_arn,
    location=location,
    triggers=config.get("triggers") or None,
    # Before the attachment, the set would miss the data volume.
    opts=pulumi.ResourceOptions(depends_on=attached),
)

pulumi.export("instanceId", server.id)
pulumi.export("setId", backup.set_id)
pulumi.export("snapshotIds", backup.snapshot_ids)
pulumi.export("completed", backup.completed)
