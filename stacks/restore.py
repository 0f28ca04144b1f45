"""Restore a set, as volumes attached to an instance at their old devices, or unattached in a zone.

The set's id is enough, even if its instance and the state that took the set no longer exist.

pulumi config set program restore && pulumi config set setId set-0123456789abcdef0
pulumi config set instanceId i-0123456789abcdef0 && pulumi up
"""

import pulumi
from snapset import RestoredVolumes

config = pulumi.Config()

restored = RestoredVolumes(
    "restore",
    source=config.require("setId"),
    instance=config.get("instanceId") or None,
    availability_zone=config.get("availabilityZone") or None,
    exclude_boot_volume=config.get_bool("excludeBootVolume"),
    volume_type=config.get("volumeType") or None,
    iops=config.get_int("iops") or None,
    throughput=config.get_int("throughput") or None,
    encrypted=config.get_bool("encrypted"),
    kms_key_id=config.get("kmsKeyId") or None,
    volume_initialization_rate=config.get_int("volumeInitializationRate") or None,
    allow_incomplete=config.get_bool("allowIncomplete"),
    tags=config.get_object("tags"),
)

pulumi.export("setId", restored.set_id)
pulumi.export("volumeIds", restored.volume_ids)
pulumi.export("volumes", restored.volumes)
