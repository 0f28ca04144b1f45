"""Snapshot an instance that this stack does not manage. The stack's config names it.

pulumi config set instanceId i-0123456789abcdef0 && pulumi up
"""

import pulumi
from snapset import InstanceSnapshots

config = pulumi.Config()

backup = InstanceSnapshots(
    "backup",
    instance=config.require("instanceId"),
    exclude_boot_volume=config.get_bool("excludeBootVolume"),
    exclude_data_volume_tags=config.get_object("excludeDataVolumeTags"),
    exclude_data_volume_ids=config.get_object("excludeDataVolumeIds"),
    description=config.get("description") or None,
    tags=config.get_object("tags"),
    copy_tags_from_source=config.get("copyTagsFromSource") or None,
    copy_tags_from_instance=config.get_bool("copyTagsFromInstance"),
    outpost_arn=config.get("outpostArn") or None,
    location=config.get("location") or None,
    triggers=config.get("triggers") or None,
    change_id=config.get("changeId") or None,
    wait=config.get_bool("wait"),
    wait_timeout=config.get("waitTimeout") or None,
)

pulumi.export("setId", backup.set_id)
pulumi.export("snapshotIds", backup.snapshot_ids)
pulumi.export("snapshots", backup.snapshots)
pulumi.export("startTime", backup.start_time)
pulumi.export("completed", backup.completed)
