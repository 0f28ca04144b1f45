"""An instance with two data volumes, and a backup that leaves one of them out.

The backup waits for the attachments, so that the set has the data volume. A new instance gets a new set; the old set
stays. With `restoreSet`, the data volume is replaced by one that is made from that set, and the instance by one whose
root volume is; the old data volume stays in AWS. With `restoreRoot` set to false, the instance is left as it is. The
page of this program in docs/ says how to take the key out again.

pulumi config set program app_server && pulumi up
pulumi config set restoreSet set-0123456789abcdef0 && pulumi up
"""

import pulumi
import pulumi_aws as aws
from snapset import InstanceSnapshots, get_snapshots

config = pulumi.Config()
# The zone is fixed: the instance's own zone is unknown while it is replaced, and would replace the volumes too.
zone = config.get("availabilityZone") or "us-east-1a"
restore_set = config.get("restoreSet")
before = get_snapshots(set_id=restore_set) if restore_set else None

ami: pulumi.Input[str] = config.get("ami") or "ami-12345678"
if before and config.get_bool("restoreRoot") is not False:
    ami = aws.ec2.Ami(
        # Another set gets another image: what AWS says of this one's volumes is not compared.
        f"server-{before.set_id}",
        **before.image(exclude_data=True),
        opts=pulumi.ResourceOptions(ignore_changes=["ebsBlockDevices"]),
    ).id
server = aws.ec2.Instance(
    "server",
    ami=ami,
    instance_type=config.get("instanceType") or "t3.micro",
    availability_zone=zone,
    tags={"Name": "app-1"},
    # A volume can be attached to one instance at a time, so the old instance must be deleted first.
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
volumes = {
    "data": aws.ebs.Volume(
        "data",
        availability_zone=zone,
        **{"size": 20, **(before.volume("/dev/sdf") if before else {})},
        # What was written to it is not lost when it is replaced, or when the stack is destroyed.
        opts=pulumi.ResourceOptions(retain_on_delete=True),
    ),
    "scratch": aws.ebs.Volume("scratch", availability_zone=zone, size=100),
}
attachments = [
    aws.ec2.VolumeAttachment(
        name,
        device_name=device,
        instance_id=server.id,
        volume_id=volumes[name].id,
        # A device holds one volume at a time, so the old attachment must be deleted first.
        opts=pulumi.ResourceOptions(delete_before_replace=True),
    )
    for name, device in {"data": "/dev/sdf", "scratch": "/dev/sdg"}.items()
]
backup = InstanceSnapshots(
    "server",
    instance=server,
    exclude_data_volume_ids=[volumes["scratch"].id],
    description=config.get("description") or None,
    tags={"app": "shop"},
    triggers=config.get("triggers") or None,
    opts=pulumi.ResourceOptions(depends_on=attachments),
)

pulumi.export("ami", server.ami)
pulumi.export("instanceId", server.id)
pulumi.export("setId", backup.set_id)
pulumi.export("snapshots", backup.snapshots)
