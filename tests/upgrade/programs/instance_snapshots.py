"""The set of a change. While the change stays the same, no other input is compared: `snapshot_set` is for those."""

import pulumi
from snapset import InstanceSnapshots

config = pulumi.Config()

backup = InstanceSnapshots(
    "backup",
    instance=config.require("instance"),
    exclude_boot_volume=True,
    exclude_data_volume_ids=config.require_object("excluded"),
    description="before the release",
    tags={"app": "shop"},
    triggers=config.require("trigger"),
    change_id=config.require("trigger"),
    wait_timeout="5m",
)

pulumi.export("setId", backup.set_id)
pulumi.export("snapshots", backup.snapshots)
pulumi.export("completed", backup.completed)
